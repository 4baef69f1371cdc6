//! A sink that gets whole blocks.

use crate::error::Error;
use std::io::{self, Write};

/// So many bytes are gathered before they are handed to the sink: few writes, and little lost if the process is killed.
const ENOUGH: usize = 64 * 1024;

/// Gathers what is written until a block is complete, then hands on complete blocks.
#[derive(Debug)]
pub struct WholeBlocks<W: Write> {
    sink: W,
    gathered: Vec<u8>,
    /// Of `gathered`, the bytes of complete blocks.
    complete: usize,
    failed: bool,
}

impl<W: Write> WholeBlocks<W> {
    /// Nothing is written yet.
    pub fn new(sink: W) -> Self {
        Self {
            sink,
            gathered: Vec::with_capacity(2 * ENOUGH),
            complete: 0,
            failed: false,
        }
    }

    /// What was written since the last call is a complete block.
    pub fn end_block(&mut self) -> Result<(), Error> {
        if self.failed {
            self.forget_block();
            return Err(Error::Failed);
        }
        self.complete = self.gathered.len();
        if self.complete < ENOUGH { Ok(()) } else { self.hand_on() }
    }

    /// What was written since the last complete block does not count: it could not be completed.
    pub fn forget_block(&mut self) {
        self.gathered.truncate(self.complete);
    }

    /// Hands every complete block to the sink, and flushes that.
    pub fn flush_blocks(&mut self) -> Result<(), Error> {
        self.hand_on()?;
        self.sink.flush().map_err(Error::Flush)
    }

    fn hand_on(&mut self) -> Result<(), Error> {
        if self.failed {
            return Err(Error::Failed);
        }
        let complete = self.gathered.get(..self.complete).unwrap_or_default();
        if let Err(error) = self.sink.write_all(complete) {
            self.failed = true;
            return Err(Error::Write(error));
        }
        self.gathered.drain(..self.complete);
        self.complete = 0;
        Ok(())
    }
}

/// Gathers; never fails.
impl<W: Write> Write for WholeBlocks<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.gathered.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.gathered.extend_from_slice(bytes);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What is complete is not lost when the caller gives up for another reason.
impl<W: Write> Drop for WholeBlocks<W> {
    fn drop(&mut self) {
        if !self.failed {
            // There is nobody left to tell; `CaptureWriter::finish` is for those who want to know.
            let _ = self.flush_blocks();
        }
    }
}
