//! Frames: length-prefixed, checksummed, numbered.
//!
//! ```text
//! offset  bytes  field
//!      0      4  length of kind + number + acknowledged + payload, big endian
//!      4      4  CRC-32 (IEEE 802.3) of those bytes, big endian
//!      8      1  kind
//!      9      8  number in its direction, from 1; 0 in frames that are not numbered
//!     17      8  highest number received in order from the other side (the acknowledgement)
//!     25      …  payload
//! ```
//!
//! The length and checksum exist because an exec stream may end early and still report success
//! (kubernetes/kubernetes#124571, kubernetes/kubectl#1726).

use crate::message::{DATA_HEADER, TaskId};
use bytes::{Bytes, BytesMut};
use serde::Serialize;

/// Bytes before the payload.
pub const HEADER: usize = 25;
/// Bytes covered by the length field besides the payload: kind, number, acknowledged.
const FIXED: usize = 1 + 8 + 8;
/// Largest payload in bytes. A longer announced length means garbage, and is refused before anything is allocated.
pub const MAX_PAYLOAD: usize = 1 << 20;
/// Bytes that are read from a stream at once, at least while there is no longer frame to complete, and below which it pays to get more room.
const READ: usize = 1 << 16;
const FEW: usize = 1 << 12;

/// What a frame carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Opens or resumes a session; JSON [`crate::PluginHello`] or [`crate::AgentHello`]. Not numbered.
    Hello = 1,
    /// JSON [`crate::ToAgent`] or [`crate::FromAgent`]. Numbered.
    Message = 2,
    /// Raw bytes of a task: its id as a big-endian `u32`, then the bytes. Numbered.
    Data = 3,
    /// Nothing but an acknowledgement and a sign of life. Not numbered.
    Heartbeat = 4,
    /// The agent will not serve this plugin; the payload says why in UTF-8. Not numbered, nothing follows.
    Refusal = 5,
}

impl Kind {
    fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => Self::Hello,
            2 => Self::Message,
            3 => Self::Data,
            4 => Self::Heartbeat,
            5 => Self::Refusal,
            _ => return None,
        })
    }

    /// Whether frames of this kind carry a number and are kept until acknowledged.
    pub fn is_numbered(self) -> bool {
        matches!(self, Self::Message | Self::Data)
    }
}

/// One frame, decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// What it carries.
    pub kind: Kind,
    /// Its number in its direction, from 1; 0 where the kind is not numbered.
    pub number: u64,
    /// Highest number the sender has received in order.
    pub acknowledged: u64,
    /// Content, at most [`MAX_PAYLOAD`] bytes.
    pub payload: Bytes,
}

/// Why bytes are not a frame. Every variant means: this stream is broken, drop it and resume on a new one.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum FrameError {
    /// The announced length is impossible.
    #[error("frame announces {0} bytes, the limit is {limit}", limit = MAX_PAYLOAD + FIXED)]
    Length(usize),
    /// The content is not what the sender sent.
    #[error("frame checksum is {found:08x}, announced was {announced:08x}")]
    Checksum {
        /// Checksum in the header.
        announced: u32,
        /// Checksum of the received bytes.
        found: u32,
    },
    /// A kind this version does not know.
    #[error("frame of unknown kind {0}")]
    Kind(u8),
    /// The stream ended inside a frame.
    #[error("stream ended inside a frame, {0} bytes of it had arrived")]
    CutInside(usize),
    /// The payload to send is larger than a frame may be.
    #[error("payload of {0} bytes is larger than a frame may be")]
    PayloadTooLong(usize),
}

impl Frame {
    /// The frame's bytes on the wire.
    pub fn encode(&self) -> Result<Bytes, FrameError> {
        let payload = Payload::new(self.kind, HEADER + self.payload.len(), |bytes| {
            bytes.extend_from_slice(&self.payload);
        });
        payload.into_frame(self.number, self.acknowledged)
    }
}

/// A payload on its way out. Its memory has room for the frame's header too, so that nothing of it is copied when it becomes a frame.
#[derive(Debug)]
pub struct Payload {
    kind: Kind,
    /// The header's room, then the payload.
    bytes: Vec<u8>,
}

impl Payload {
    fn new(kind: Kind, capacity: usize, write: impl FnOnce(&mut Vec<u8>)) -> Self {
        let mut bytes = Vec::with_capacity(capacity);
        bytes.resize(HEADER, 0);
        write(&mut bytes);
        Self { kind, bytes }
    }

    /// A message, as JSON.
    ///
    /// # Errors
    /// If it cannot be JSON.
    pub fn message(message: &impl Serialize) -> Result<Self, serde_json::Error> {
        let mut written = Ok(());
        let payload = Self::new(Kind::Message, HEADER, |bytes| {
            written = serde_json::to_writer(bytes, message);
        });
        written.map(|()| payload)
    }

    /// Raw bytes of a task.
    pub fn data(task: TaskId, data: &[u8]) -> Self {
        Self::new(Kind::Data, HEADER + DATA_HEADER + data.len(), |bytes| {
            bytes.extend_from_slice(&task.to_be_bytes());
            bytes.extend_from_slice(data);
        })
    }

    /// Its length in bytes.
    pub fn length(&self) -> usize {
        self.bytes.len() - HEADER
    }

    /// The bytes on the wire of a frame that carries it.
    pub(crate) fn into_frame(mut self, number: u64, acknowledged: u64) -> Result<Bytes, FrameError> {
        let length = self.length();
        if length > MAX_PAYLOAD {
            return Err(FrameError::PayloadTooLong(length));
        }
        self.bytes[..4].copy_from_slice(&((FIXED + length) as u32).to_be_bytes());
        self.bytes[8] = self.kind as u8;
        self.bytes[9..17].copy_from_slice(&number.to_be_bytes());
        self.bytes[17..HEADER].copy_from_slice(&acknowledged.to_be_bytes());
        let checksum = crc32fast::hash(&self.bytes[8..]);
        self.bytes[4..8].copy_from_slice(&checksum.to_be_bytes());
        Ok(self.bytes.into())
    }
}

/// Turns a byte stream, in pieces of any size, into frames. Payloads lie where they were received.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: BytesMut,
}

impl Decoder {
    /// Adds bytes as they came from the stream.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Where the next bytes from the stream are to be appended, with room for the rest of the frame that has begun.
    pub fn room(&mut self) -> &mut BytesMut {
        let announced = self
            .buffer
            .first_chunk()
            .map_or(0, |length| u32::from_be_bytes(*length));
        let frame = (8 + announced as usize).min(HEADER + MAX_PAYLOAD);
        let missing = frame.saturating_sub(self.buffer.len());
        // Small frames share memory that was got once: each keeps all of it.
        if self.buffer.capacity() - self.buffer.len() < missing.max(FEW) {
            self.buffer.reserve(missing.max(READ));
        }
        &mut self.buffer
    }

    /// The next whole frame, `None` until more bytes come.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, FrameError> {
        let Some((length, rest)) = self.buffer.split_first_chunk::<4>() else {
            return Ok(None);
        };
        let length = u32::from_be_bytes(*length) as usize;
        if !(FIXED..=FIXED + MAX_PAYLOAD).contains(&length) {
            return Err(FrameError::Length(length));
        }
        let Some((announced, rest)) = rest.split_first_chunk::<4>() else {
            return Ok(None);
        };
        let Some(body) = rest.get(..length) else {
            return Ok(None);
        };
        let announced = u32::from_be_bytes(*announced);
        let found = crc32fast::hash(body);
        if announced != found {
            return Err(FrameError::Checksum { announced, found });
        }
        // `length` is at least FIXED, so these splits cannot miss; the fallbacks keep the decoder free of panics.
        let Some((&kind, body)) = body.split_first() else {
            return Ok(None);
        };
        let Some((number, body)) = body.split_first_chunk::<8>() else {
            return Ok(None);
        };
        let Some((acknowledged, _)) = body.split_first_chunk::<8>() else {
            return Ok(None);
        };
        let kind = Kind::from_byte(kind).ok_or(FrameError::Kind(kind))?;
        let (number, acknowledged) = (u64::from_be_bytes(*number), u64::from_be_bytes(*acknowledged));
        let payload = self.buffer.split_to(8 + length).freeze().split_off(HEADER);
        Ok(Some(Frame {
            kind,
            number,
            acknowledged,
            payload,
        }))
    }

    /// To be asked when the stream ended: an error if it ended inside a frame.
    pub fn finish(&self) -> Result<(), FrameError> {
        match self.buffer.len() {
            0 => Ok(()),
            left => Err(FrameError::CutInside(left)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frame(payload: &[u8]) -> Frame {
        Frame {
            kind: Kind::Message,
            number: 7,
            acknowledged: 3,
            payload: Bytes::copy_from_slice(payload),
        }
    }

    #[test]
    fn the_layout_is_the_documented_one() {
        let bytes = frame(b"hi").encode().unwrap();
        assert_eq!(&bytes[..4], &[0, 0, 0, 19]);
        assert_eq!(bytes[8], 2);
        assert_eq!(&bytes[9..17], &7u64.to_be_bytes());
        assert_eq!(&bytes[17..25], &3u64.to_be_bytes());
        assert_eq!(&bytes[25..], b"hi");
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let good = frame(b"payload").encode().unwrap();
        for bit in 0..good.len() * 8 {
            let mut bad = good.to_vec();
            bad[bit / 8] ^= 1 << (bit % 8);
            let mut decoder = Decoder::default();
            decoder.push(&bad);
            // Either an error, or a longer frame is awaited which the end of the stream then exposes.
            let outcome = decoder.next_frame();
            assert!(
                outcome.is_err() || (outcome == Ok(None) && decoder.finish().is_err()),
                "bit {bit} went unnoticed: {outcome:?}"
            );
        }
    }

    #[test]
    fn a_cut_at_every_byte_is_noticed() {
        let bytes = frame(b"payload").encode().unwrap();
        for cut in 1..bytes.len() {
            let mut decoder = Decoder::default();
            decoder.push(&bytes[..cut]);
            assert_eq!(decoder.next_frame(), Ok(None));
            assert_eq!(decoder.finish(), Err(FrameError::CutInside(cut)));
        }
    }

    #[test]
    fn an_absurd_length_is_refused_before_it_is_awaited() {
        let mut decoder = Decoder::default();
        decoder.push(&u32::MAX.to_be_bytes());
        assert_eq!(decoder.next_frame(), Err(FrameError::Length(u32::MAX as usize)));
    }

    proptest! {
        #[test]
        fn frames_survive_any_fragmentation(payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 1..8), step in 1usize..64) {
            let frames: Vec<_> = payloads.iter().map(|payload| frame(payload)).collect();
            let bytes: Vec<u8> = frames.iter().flat_map(|frame| frame.encode().unwrap()).collect();
            let mut decoder = Decoder::default();
            let mut seen = Vec::new();
            for piece in bytes.chunks(step) {
                decoder.push(piece);
                while let Some(frame) = decoder.next_frame().unwrap() { seen.push(frame); }
            }
            prop_assert_eq!(seen, frames);
            prop_assert_eq!(decoder.finish(), Ok(()));
        }

        #[test]
        fn frames_survive_being_read_in_place(lengths in prop::collection::vec(0usize..300_000, 1..6), step in 1usize..200_000) {
            let frames: Vec<_> = lengths.iter().map(|&length| frame(&vec![7; length])).collect();
            let bytes: Vec<u8> = frames.iter().flat_map(|frame| frame.encode().unwrap()).collect();
            let (mut left, mut seen) = (&bytes[..], Vec::new());
            let mut decoder = Decoder::default();
            while !left.is_empty() {
                let room = decoder.room();
                prop_assert!(room.capacity() - room.len() >= FEW);
                let (now, later) = left.split_at(step.min(room.capacity() - room.len()).min(left.len()));
                room.extend_from_slice(now);
                left = later;
                while let Some(frame) = decoder.next_frame().unwrap() { seen.push(frame); }
            }
            prop_assert_eq!(seen, frames);
        }

        #[test]
        fn garbage_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let mut decoder = Decoder::default();
            decoder.push(&bytes);
            while let Ok(Some(_)) = decoder.next_frame() {}
        }
    }
}
