//! One stream from a `join`: frames in, frames out, never waiting.

use netcheck_wire::{Decoder, Frame, FrameError};
use rustix::event::PollFlags;
use std::{
    io::{self, Read as _, Write as _},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::net::UnixStream,
    },
    time::Instant,
};

/// Bytes read at one time, so that one stream does not keep the others waiting.
const PIECE: usize = 16 << 10;

/// The stream.
#[derive(Debug)]
pub struct Stream {
    socket: UnixStream,
    decoder: Decoder,
    /// Encoded frames not yet taken by the socket, of which `written` bytes are.
    out: Vec<u8>,
    written: usize,
    /// When the last bytes came.
    pub heard: Instant,
    /// When the last frame was pushed.
    pub spoke: Instant,
}

impl Stream {
    /// Takes over a socket.
    pub fn new(socket: UnixStream, now: Instant) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        Ok(Self {
            socket,
            decoder: Decoder::default(),
            out: Vec::new(),
            written: 0,
            heard: now,
            spoke: now,
        })
    }

    /// Takes in what has come; whether the stream is still open.
    pub fn read(&mut self, now: Instant) -> bool {
        let mut piece = [0; PIECE];
        match self.socket.read(&mut piece) {
            Ok(0) => false,
            Ok(length) => {
                self.heard = now;
                self.decoder.push(&piece[..length]);
                true
            }
            Err(error) => matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted),
        }
    }

    /// The next whole frame.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, FrameError> {
        self.decoder.next_frame()
    }

    /// Puts a frame into the queue.
    pub fn push(&mut self, frame: &Frame) {
        // Only a payload beyond the limit cannot be encoded, and the session lets none through.
        if let Ok(bytes) = frame.encode() {
            self.out.extend_from_slice(&bytes);
        }
    }

    /// Writes what the socket takes; how many bytes are left.
    pub fn flush(&mut self) -> io::Result<usize> {
        while self.written < self.out.len() {
            match self.socket.write(&self.out[self.written..]) {
                Ok(length) => self.written += length,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        if self.written == self.out.len() {
            self.out.clear();
            self.written = 0;
        }
        Ok(self.queued())
    }

    /// Bytes that wait to be written.
    pub fn queued(&self) -> usize {
        self.out.len() - self.written
    }

    /// What to wait for.
    pub fn interest(&self) -> PollFlags {
        if self.queued() > 0 {
            PollFlags::IN | PollFlags::OUT
        } else {
            PollFlags::IN
        }
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
