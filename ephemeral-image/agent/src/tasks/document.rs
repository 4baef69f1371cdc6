//! The document on its way: bytes as they are written, in data frames.

use crate::tasks::Reporter;
use serde::{Serialize, Serializer};
use std::{
    cell::Cell,
    io::{self, Write},
};

/// Bytes of one data frame: as much as a batch of packets, and far below what a frame holds.
const CHUNK: usize = 256 << 10;

/// A writer whose bytes are data of a task.
pub struct Document<'a> {
    reporter: &'a Reporter,
    waiting: Vec<u8>,
}

impl<'a> Document<'a> {
    /// Nothing written yet.
    pub fn new(reporter: &'a Reporter) -> Self {
        Self {
            reporter,
            waiting: Vec::with_capacity(CHUNK),
        }
    }
}

impl Write for Document<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(CHUNK - self.waiting.len());
        self.waiting.extend_from_slice(&bytes[..taken]);
        if self.waiting.len() == CHUNK {
            self.flush()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.reporter.is_stopped() {
            return Err(io::Error::other("stopped before all of it was sent"));
        }
        let sent = self.reporter.data(&self.waiting);
        self.waiting.clear();
        sent.map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))
    }
}

/// A map whose values come into being only when it is their turn to be written.
pub struct OneByOne<I>(Cell<Option<I>>);

impl<I> OneByOne<I> {
    /// Of what gives keys and values; it is written once.
    pub fn new(pairs: I) -> Self {
        Self(Cell::new(Some(pairs)))
    }
}

impl<K: Serialize, V: Serialize, I: Iterator<Item = (K, V)>> Serialize for OneByOne<I> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.take().into_iter().flatten())
    }
}
