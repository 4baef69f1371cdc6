//! A session: numbered frames that are kept until acknowledged, so that a new stream continues where the last one broke.
//!
//! Both sides run the same state machine, and it does no I/O: the caller writes the frames that come out of [`Session::send`]
//! and [`Session::resume`], and hands every frame it reads to [`Session::accept`].

use crate::frame::{Frame, FrameError, Kind, Payload};
use bytes::Bytes;
use std::collections::VecDeque;

/// Unacknowledged bytes a side keeps for a resume. When they are used up, [`Session::has_room`] turns false and the sender waits:
/// back-pressure instead of memory without bound.
pub const WINDOW: usize = 4 << 20;

/// Why a session cannot go on.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SessionError {
    /// A number was skipped: frames are missing although the stream looked whole.
    #[error("frame {got} arrived where {expected} was due: frames are missing")]
    Gap {
        /// The number that was due.
        expected: u64,
        /// The number that came.
        got: u64,
    },
    /// The other side acknowledged what was never sent.
    #[error("the other side acknowledges frame {acknowledged}, only {sent} were sent")]
    AcknowledgesUnsent {
        /// What it claims to have.
        acknowledged: u64,
        /// The highest number sent.
        sent: u64,
    },
    /// The other side wants frames that it acknowledged before, so it is not the one we talked to.
    #[error("the other side resumes after frame {received}, but had acknowledged {acknowledged}")]
    Forgotten {
        /// What it says it has.
        received: u64,
        /// What it had acknowledged.
        acknowledged: u64,
    },
    /// The frame is too large to be sent at all.
    #[error(transparent)]
    Frame(#[from] FrameError),
}

/// What a received frame is to its receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accepted {
    /// To be acted upon.
    New,
    /// Seen before the cut and sent again after it; to be ignored.
    Duplicate,
}

/// One side's state of a session.
#[derive(Debug, Default)]
pub struct Session {
    sent: u64,
    acknowledged: u64,
    received: u64,
    /// Frames as they are on the wire, the first of which has the number after `acknowledged`.
    kept: VecDeque<Bytes>,
    kept_bytes: usize,
}

impl Session {
    /// Numbers a payload and keeps it until acknowledged. The caller writes the returned frame, or leaves that to the next
    /// [`Session::resume`] if the stream is broken.
    pub fn send(&mut self, payload: Payload) -> Result<Bytes, SessionError> {
        let frame = payload.into_frame(self.sent + 1, self.received)?;
        self.sent += 1;
        self.kept_bytes += frame.len();
        self.kept.push_back(frame.clone());
        Ok(frame)
    }

    /// Whether another frame fits the window; if not, wait for acknowledgements before sending.
    pub fn has_room(&self) -> bool {
        self.kept_bytes < WINDOW
    }

    /// A frame that is not numbered, carrying the current acknowledgement.
    pub fn unnumbered(&self, kind: Kind, payload: impl Into<Bytes>) -> Frame {
        debug_assert!(!kind.is_numbered());
        Frame {
            kind,
            number: 0,
            acknowledged: self.received,
            payload: payload.into(),
        }
    }

    /// Takes note of a frame that was read: its acknowledgement, and whether it is new.
    pub fn accept(&mut self, frame: &Frame) -> Result<Accepted, SessionError> {
        self.forget_until(frame.acknowledged)?;
        if !frame.kind.is_numbered() {
            return Ok(Accepted::New);
        }
        let expected = self.received + 1;
        match frame.number {
            number if number == expected => {
                self.received = expected;
                Ok(Accepted::New)
            }
            number if number < expected => Ok(Accepted::Duplicate),
            got => Err(SessionError::Gap { expected, got }),
        }
    }

    /// On a new stream: what the other side, having received frames up to `received`, must get again. They are the same frames as before:
    /// what they acknowledge may have been overtaken by the hello, which changes nothing.
    pub fn resume(&mut self, received: u64) -> Result<Vec<Bytes>, SessionError> {
        if received < self.acknowledged {
            return Err(SessionError::Forgotten {
                received,
                acknowledged: self.acknowledged,
            });
        }
        self.forget_until(received)?;
        Ok(self.kept.iter().cloned().collect())
    }

    /// Highest number received in order.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Highest number sent.
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// Whether the other side has everything that was sent.
    pub fn is_acknowledged(&self) -> bool {
        self.kept.is_empty()
    }

    fn forget_until(&mut self, acknowledged: u64) -> Result<(), SessionError> {
        if acknowledged > self.sent {
            return Err(SessionError::AcknowledgesUnsent {
                acknowledged,
                sent: self.sent,
            });
        }
        while self.acknowledged < acknowledged {
            self.acknowledged += 1;
            self.kept_bytes -= self.kept.pop_front().map_or(0, |frame| frame.len());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{Decoder, HEADER};

    fn payload(bytes: &[u8]) -> Payload {
        Payload::data(u32::from_be_bytes(*b"task"), bytes)
    }

    fn read(bytes: &[u8]) -> Frame {
        let mut decoder = Decoder::default();
        decoder.push(bytes);
        decoder.next_frame().unwrap().unwrap()
    }

    /// Sends ten messages over streams that each deliver a limited number of bytes, resuming after every cut.
    fn deliver_with_cuts_every(limit: usize) -> Vec<Vec<u8>> {
        let (mut sender, mut receiver) = (Session::default(), Session::default());
        for byte in 0..10u8 {
            sender.send(payload(&[byte])).unwrap();
        }
        let mut delivered = Vec::new();
        for _stream in 0..1000 {
            let frames = sender.resume(receiver.received()).unwrap();
            if frames.is_empty() {
                break;
            }
            let bytes = frames.concat();
            let mut decoder = Decoder::default();
            decoder.push(&bytes[..limit.min(bytes.len())]);
            while let Some(frame) = decoder.next_frame().unwrap() {
                if receiver.accept(&frame).unwrap() == Accepted::New {
                    delivered.push(frame.payload.to_vec());
                }
            }
        }
        assert!(sender.is_acknowledged());
        delivered
    }

    #[test]
    fn cut_at_any_byte_everything_arrives_once_and_in_order() {
        let all: Vec<Vec<u8>> = (0..10u8).map(|byte| [&b"task"[..], &[byte]].concat()).collect();
        for limit in (HEADER + 5)..=((HEADER + 5) * 10) {
            assert_eq!(deliver_with_cuts_every(limit), all, "cut after {limit} bytes");
        }
    }

    #[test]
    fn a_gap_is_an_error_and_a_repeat_is_not() {
        let mut sender = Session::default();
        let frames: Vec<_> = (0..3)
            .map(|byte| read(&sender.send(payload(&[byte])).unwrap()))
            .collect();
        let mut receiver = Session::default();
        assert_eq!(receiver.accept(&frames[0]), Ok(Accepted::New));
        assert_eq!(receiver.accept(&frames[0]), Ok(Accepted::Duplicate));
        assert_eq!(
            receiver.accept(&frames[2]),
            Err(SessionError::Gap { expected: 2, got: 3 })
        );
    }

    #[test]
    fn a_peer_that_forgot_or_invents_is_refused() {
        let mut sender = Session::default();
        let frame = sender.send(payload(&[1])).unwrap();
        let mut receiver = Session::default();
        receiver.accept(&read(&frame)).unwrap();
        sender
            .accept(&receiver.unnumbered(Kind::Heartbeat, Vec::new()))
            .unwrap();
        assert_eq!(
            sender.resume(0),
            Err(SessionError::Forgotten {
                received: 0,
                acknowledged: 1
            })
        );
        assert_eq!(
            sender.resume(9),
            Err(SessionError::AcknowledgesUnsent {
                acknowledged: 9,
                sent: 1
            })
        );
    }

    #[test]
    fn the_window_fills_and_empties() {
        let mut sender = Session::default();
        let mut receiver = Session::default();
        while sender.has_room() {
            let frame = sender.send(payload(&vec![0; 1 << 18])).unwrap();
            receiver.accept(&read(&frame)).unwrap();
        }
        sender
            .accept(&receiver.unnumbered(Kind::Heartbeat, Vec::new()))
            .unwrap();
        assert!(sender.has_room() && sender.is_acknowledged());
    }
}
