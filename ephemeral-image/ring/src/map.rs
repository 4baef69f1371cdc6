//! The ring's memory, which kernel and process share, and who has which block.

#![allow(unsafe_code, reason = "memory shared with the kernel")]

use crate::{Size, block::offset};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use std::{
    os::fd::AsFd,
    ptr::{self, NonNull},
    slice,
    sync::atomic::{AtomicU32, AtomicU64, Ordering},
};

/// The mapped blocks.
#[derive(Debug)]
pub(crate) struct Map {
    start: NonNull<u8>,
    size: Size,
}

// SAFETY: the mapping belongs to the process, not to a thread, and all access goes through `&self` and `&mut self`.
unsafe impl Send for Map {}

/// A block that the kernel has, as it is just now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Glimpse {
    /// The number that the kernel gave the block when it last began to fill it; it counts from 1.
    pub sequence: u64,
    /// Packets that have a place in it.
    pub count: u32,
}

impl Map {
    /// Maps the ring of a packet socket that was set up with this size.
    pub fn new(socket: impl AsFd, size: Size) -> rustix::io::Result<Self> {
        // SAFETY: a new mapping at an address of the kernel's choice touches no memory of ours.
        let start = unsafe {
            mmap(
                ptr::null_mut(),
                size.bytes(),
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED,
                socket,
                0,
            )
        }?;
        let start = NonNull::new(start.cast()).ok_or(rustix::io::Errno::NOMEM)?;
        Ok(Self { start, size })
    }

    pub fn size(&self) -> Size {
        self.size
    }

    /// Start of a block. An index beyond the last one counts from the first again, so that every index is good.
    fn block(&self, index: usize) -> *mut u8 {
        // SAFETY: the block lies within the mapping, which has `count` of them.
        unsafe { self.start.as_ptr().add(index % self.size.count * self.size.block) }
    }

    fn status(&self, index: usize) -> &AtomicU32 {
        // SAFETY: blocks begin at pages, so the word is aligned; it lives as long as the mapping, and both sides take it as atomic.
        unsafe { AtomicU32::from_ptr(self.block(index).add(offset::STATUS).cast()) }
    }

    fn is_ours(&self, index: usize) -> bool {
        self.status(index).load(Ordering::Acquire) & libc::TP_STATUS_USER != 0
    }

    /// A block's bytes, if the kernel has handed it over.
    pub fn bytes(&self, index: usize) -> Option<&[u8]> {
        // SAFETY: the block lies within the mapping and is initialised. The kernel does not write to it until `release`, which nobody
        // can call while this borrow lasts.
        self.is_ours(index)
            .then(|| unsafe { slice::from_raw_parts(self.block(index), self.size.block) })
    }

    /// Gives a block back to the kernel; nothing if the kernel has it.
    pub fn release(&mut self, index: usize) {
        if self.is_ours(index) {
            self.status(index).store(libc::TP_STATUS_KERNEL, Ordering::Release);
        }
    }

    /// What a block's header says while the kernel has the block; `None` if it is ours.
    pub fn glimpse(&self, index: usize) -> Option<Glimpse> {
        if self.is_ours(index) {
            return None;
        }
        let block = self.block(index);
        // SAFETY: the words are aligned (`__aligned_u64` and `__u32` of a header that begins at a page), live as long as the mapping, and
        // are read as atomics because the kernel may write them meanwhile.
        let (sequence, count) = unsafe {
            (
                AtomicU64::from_ptr(block.add(offset::SEQUENCE).cast()).load(Ordering::Acquire),
                AtomicU32::from_ptr(block.add(offset::COUNT).cast()).load(Ordering::Acquire),
            )
        };
        Some(Glimpse { sequence, count })
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        // SAFETY: the mapping is exactly this, and no borrow of it outlives `self`. A failure would leave it mapped, no more.
        let _ = unsafe { munmap(self.start.as_ptr().cast(), self.size.bytes()) };
    }
}
