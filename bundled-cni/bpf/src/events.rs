//! Events, as the programs send them.

use crate::{error::BpfError, layout::Event, maps::open};
use aya::maps::{Map, MapData, RingBuf};
use std::{
    os::fd::{AsFd, BorrowedFd},
    path::Path,
};

/// The reading end of `nc_event`. There must be one reader only: what one has read, another does not see.
pub struct Events(RingBuf<MapData>);

impl Events {
    /// Opens the ring pinned under `root`. Events that nobody has read yet come first.
    pub fn open(root: &Path) -> Result<Self, BpfError> {
        open(root, "nc_event", Map::RingBuf).map(Self)
    }

    /// The next event, or `None` if there is none now; does not wait. Poll the descriptor to wait.
    pub fn next_event(&mut self) -> Option<Event> {
        // An entry of another size would be a program of another layout, which the pins' path rules out.
        self.0.next().and_then(|bytes| Event::decode(&bytes))
    }
}

/// Readable when there is something to read.
impl AsFd for Events {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
