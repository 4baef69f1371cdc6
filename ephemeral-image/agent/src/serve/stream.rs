//! One stream from a `join`: frames in, frames out, never waiting.

use bytes::{Buf as _, Bytes};
use netcheck_wire::{Decoder, Frame, FrameError};
use rustix::{event::PollFlags, net::sockopt::set_socket_send_buffer_size};
use std::{
    collections::VecDeque,
    io::{self, IoSlice, Read as _, Write as _},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::net::UnixStream,
    },
    time::Instant,
};

/// Bytes read at one time, so that one stream does not keep the others waiting.
const PIECE: usize = 16 << 10;
/// Bytes that the socket may hold; the kernel gives less if its administrator allows less (`net.core.wmem_max`).
const SEND_BUFFER: usize = 1 << 20;
/// Frames written at one time.
const FRAMES: usize = 64;

/// The stream.
#[derive(Debug)]
pub struct Stream {
    socket: UnixStream,
    decoder: Decoder,
    /// What the socket has not taken yet of frames, and how many bytes that are.
    out: VecDeque<Bytes>,
    queued: usize,
    /// When the last bytes came.
    pub heard: Instant,
    /// When the last frame was pushed.
    pub spoke: Instant,
}

impl Stream {
    /// Takes over a socket.
    pub fn new(socket: UnixStream, now: Instant) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        // The default is little for data frames, and makes for many turns.
        let _ = set_socket_send_buffer_size(&socket, SEND_BUFFER);
        Ok(Self {
            socket,
            decoder: Decoder::default(),
            out: VecDeque::new(),
            queued: 0,
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
    pub fn push(&mut self, frame: Bytes) {
        self.queued += frame.len();
        self.out.push_back(frame);
    }

    /// Puts a frame that the session does not keep into the queue.
    pub fn push_unnumbered(&mut self, frame: &Frame) {
        // Only a payload beyond the limit cannot be encoded, and these are short.
        if let Ok(frame) = frame.encode() {
            self.push(frame);
        }
    }

    /// Writes what the socket takes; how many bytes are left.
    pub fn flush(&mut self) -> io::Result<usize> {
        while self.queued > 0 {
            let mut slices = [IoSlice::new(&[]); FRAMES];
            for (slice, frame) in slices.iter_mut().zip(&self.out) {
                *slice = IoSlice::new(frame);
            }
            match self.socket.write_vectored(&slices[..self.out.len().min(FRAMES)]) {
                Ok(length) => self.wrote(length),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(self.queued)
    }

    fn wrote(&mut self, mut length: usize) {
        self.queued -= length;
        while let Some(frame) = self.out.front_mut().filter(|_| length > 0) {
            let taken = length.min(frame.len());
            length -= taken;
            frame.advance(taken);
            if frame.is_empty() {
                self.out.pop_front();
            }
        }
    }

    /// Bytes that wait to be written.
    pub fn queued(&self) -> usize {
        self.queued
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sent_is_not_kept_though_the_queue_never_runs_empty() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let mut stream = Stream::new(ours, Instant::now()).unwrap();
        let (mut next, mut received) = (0..=u8::MAX, Vec::new());
        let mut piece = vec![0; 1 << 16];
        loop {
            while stream.queued() < 1 << 20
                && let Some(byte) = next.next()
            {
                stream.push(Bytes::from(vec![byte; 50_000]));
            }
            if stream.flush().unwrap() == 0 && next.is_empty() {
                break;
            }
            let length = theirs.read(&mut piece).unwrap();
            received.extend_from_slice(&piece[..length]);
            assert_eq!(stream.queued(), stream.out.iter().map(Bytes::len).sum::<usize>());
            assert!(stream.out.len() <= 22, "{} frames are kept", stream.out.len());
        }
        drop(stream);
        theirs.read_to_end(&mut received).unwrap();
        let sent: Vec<u8> = (0..=u8::MAX).flat_map(|byte| vec![byte; 50_000]).collect();
        assert!(received == sent);
    }
}
