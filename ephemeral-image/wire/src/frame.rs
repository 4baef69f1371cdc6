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

/// Bytes before the payload.
pub const HEADER: usize = 25;
/// Bytes covered by the length field besides the payload: kind, number, acknowledged.
const FIXED: usize = 1 + 8 + 8;
/// Largest payload in bytes. A longer announced length means garbage, and is refused before anything is allocated.
pub const MAX_PAYLOAD: usize = 1 << 20;

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
    pub payload: Vec<u8>,
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
    pub fn encode(&self) -> Result<Vec<u8>, FrameError> {
        if self.payload.len() > MAX_PAYLOAD {
            return Err(FrameError::PayloadTooLong(self.payload.len()));
        }
        let mut bytes = Vec::with_capacity(HEADER + self.payload.len());
        bytes.extend_from_slice(&((FIXED + self.payload.len()) as u32).to_be_bytes());
        bytes.extend_from_slice(&[0; 4]);
        bytes.push(self.kind as u8);
        bytes.extend_from_slice(&self.number.to_be_bytes());
        bytes.extend_from_slice(&self.acknowledged.to_be_bytes());
        bytes.extend_from_slice(&self.payload);
        let checksum = crc32fast::hash(&bytes[8..]);
        bytes[4..8].copy_from_slice(&checksum.to_be_bytes());
        Ok(bytes)
    }
}

/// Turns a byte stream, in pieces of any size, into frames.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: Vec<u8>,
    /// Bytes at the start of `buffer` that were already handed out as frames.
    consumed: usize,
}

impl Decoder {
    /// Adds bytes as they came from the stream.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.consumed > 0 {
            self.buffer.drain(..self.consumed);
            self.consumed = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole frame, `None` until more bytes come.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, FrameError> {
        let bytes = &self.buffer[self.consumed..];
        let Some((length, rest)) = bytes.split_first_chunk::<4>() else {
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
        let Some((acknowledged, payload)) = body.split_first_chunk::<8>() else {
            return Ok(None);
        };
        let frame = Frame {
            kind: Kind::from_byte(kind).ok_or(FrameError::Kind(kind))?,
            number: u64::from_be_bytes(*number),
            acknowledged: u64::from_be_bytes(*acknowledged),
            payload: payload.to_vec(),
        };
        self.consumed += 8 + length;
        Ok(Some(frame))
    }

    /// To be asked when the stream ended: an error if it ended inside a frame.
    pub fn finish(&self) -> Result<(), FrameError> {
        match self.buffer.len() - self.consumed {
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
            payload: payload.to_vec(),
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
            let mut bad = good.clone();
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
        fn garbage_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let mut decoder = Decoder::default();
            decoder.push(&bytes);
            while let Ok(Some(_)) = decoder.next_frame() {}
        }
    }
}
