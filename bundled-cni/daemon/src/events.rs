//! Reading the sampled flow events (SPEC.md, section 6.5): each is counted, and a line of the log for who wants it.

use crate::counted::REASONS;
use crate::metrics::{Metrics, Reason};
use netcheck_cni_bpf::{Event, Events};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::{
    fs,
    os::{fd::AsFd as _, unix::fs::MetadataExt as _},
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::Duration,
};

/// How often it is looked whether there is a ring, and whether it is still the same.
const LOOK: Duration = Duration::from_secs(1);
/// The least time between two readings. The ring has room for 3,640 events: whoever makes more in that time, such as a pod that
/// spoofs as fast as it can, costs a few per cent of a processor and not a whole one; what finds no room is counted as lost.
const PAUSE: Duration = Duration::from_millis(100);

const HOOKS: [&str; 6] = ["pod_from", "pod_to", "vx_out", "vx_in", "ul_out", "ul_in"];

/// The one reader of the ring under a folder of pins, whichever ring that is just now.
pub struct Reader {
    root: PathBuf,
    /// What is open, and the pin's inode, by which another one is known.
    open: Option<(Events, u64)>,
}

impl Reader {
    /// Nothing is opened yet.
    pub fn under(root: PathBuf) -> Self {
        Self { root, open: None }
    }

    /// Waits for events, a second at most, and hands over all that are there.
    pub fn take(&mut self, mut each: impl FnMut(&Event)) {
        let Some(events) = self.events() else {
            thread::sleep(LOOK);
            return;
        };
        let second = Timespec { tv_sec: 1, tv_nsec: 0 };
        let mut fds = [PollFd::from_borrowed_fd(events.as_fd(), PollFlags::IN)];
        if matches!(poll(&mut fds, Some(&second)), Ok(0)) {
            return;
        }
        while let Some(event) = events.next_event() {
            each(&event);
        }
    }

    fn events(&mut self) -> Option<&mut Events> {
        let pinned = inode(&self.root);
        if self.open.as_ref().map(|(_, inode)| *inode) != pinned {
            self.open = None;
            let opened = Events::open(&self.root)
                .inspect_err(|error| tracing::debug!(%error, "no events can be read"))
                .ok()?;
            self.open = Some((opened, pinned?));
        }
        self.open.as_mut().map(|(events, _)| events)
    }
}

fn inode(root: &Path) -> Option<u64> {
    Some(fs::metadata(root.join("maps/nc_event")).ok()?.ino())
}

/// Counts an event, and logs it.
pub fn note(event: &Event, metrics: &Metrics) {
    let reason = REASONS.get(usize::from(event.reason)).copied().unwrap_or("unknown");
    let label = Reason {
        reason: reason.to_owned(),
    };
    metrics.events.get_or_create(&label).inc();
    tracing::debug!(
        hook = HOOKS.get(usize::from(event.hook)).copied().unwrap_or("unknown"),
        reason,
        source = %event.source,
        source_port = event.source_port,
        destination = %event.destination,
        destination_port = event.destination_port,
        protocol = event.protocol,
        tcp_flags = event.tcp_flags,
        ifindex = event.ifindex,
        length = event.length,
        segments = event.segments,
        "packet"
    );
}

/// Reads for as long as the process lives.
pub fn read(root: PathBuf, metrics: Arc<Metrics>) -> std::io::Result<()> {
    let listen = move || {
        let mut reader = Reader::under(root);
        loop {
            reader.take(|event| note(event, &metrics));
            thread::sleep(PAUSE);
        }
    };
    thread::Builder::new()
        .name("flow-events".to_owned())
        .spawn(listen)
        .map(drop)
}
