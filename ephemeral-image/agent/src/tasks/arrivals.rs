//! Network namespaces that appear while a capture awaits pods: each gets a ring at once, and nothing of it leaves the agent before its pod is claimed.
//!
//! What a runtime does to a pod's namespace, in this order: it makes a file in a folder for named namespaces, binds the namespace onto it,
//! has the CNI put interfaces in, starts the pod's first process in it. The file is what we see first ([`Folders`]); the process's cgroup is
//! what says whose namespace it is. Where a runtime names no namespaces, the first process is the first sign.

use super::{
    Gone, Place, Reporter, Shared,
    capture::{Lane, Programs, open_ring},
    folders::Folders,
};
use netcheck_node_state::{Netns, Resident, addresses, residents, started_ns, within};
use netcheck_wire::{
    Event,
    capture::CaptureOrder,
    claim::{Attachment, Awaiting, Claim, Witness},
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::{
    collections::{BTreeMap, BTreeSet},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// Memory of a ring that is opened before anybody asked for it; as a claimed source's ring it keeps that size.
const RING: u32 = 2 << 20;
/// Rings held at once without a claim; beyond that the oldest goes.
const MOST_HELD: usize = 32;
/// How long a ring is held without a claim …
const HELD_FOR: Duration = Duration::from_secs(30);
/// … how long while some claimed pod was not found yet, as its network may take its time …
const CLAIMED_HELD_FOR: Duration = Duration::from_mins(2);
/// … and how long if its namespace turns out to be that of a pod which nobody has claimed. The API's news may be late by that much.
const OTHERS_HELD_FOR: Duration = Duration::from_secs(5);
/// How long a file may take to become a namespace.
const BINDS_WITHIN: Duration = Duration::from_secs(2);
/// How often a file is looked at that is to become a namespace.
const BINDING: Duration = Duration::from_millis(1);
/// How often a claimed pod's first process is looked for …
const LOOKING: Duration = Duration::from_millis(20);
/// … within this time; a pod that is claimed for longer waits for something slow.
const LOOKING_FOR: Duration = Duration::from_secs(20);
/// How often the rings that are held are emptied.
const EMPTYING: Duration = Duration::from_millis(100);
/// How often all the rest is looked after.
const TICK: Duration = Duration::from_millis(500);

/// A namespace that nobody has claimed yet, and its ring.
struct Held {
    lane: Lane,
    attachment: Attachment,
    since: Instant,
}

/// A claim whose pod was not found yet.
struct Pending {
    claim: Claim,
    since: Instant,
    addresses_tried: Instant,
}

/// The watch for namespaces.
pub struct Arrivals<'a> {
    order: &'a CaptureOrder,
    programs: &'a Programs,
    awaiting: &'a Awaiting,
    shared: &'a Shared,
    reporter: &'a Reporter,
    folders: Folders,
    /// Files that are no namespaces yet.
    files: Vec<(PathBuf, Instant)>,
    held: Vec<Held>,
    claims: Vec<Pending>,
    /// Inode of our own namespace, in which pods' processes may be for a moment before they enter theirs.
    own: u64,
    tended: Instant,
}

impl<'a> Arrivals<'a> {
    /// Begins to watch, and says so.
    pub fn begin(
        order: &'a CaptureOrder,
        programs: &'a Programs,
        awaiting: &'a Awaiting,
        shared: &'a Shared,
        reporter: &'a Reporter,
    ) -> Result<Self, Gone> {
        let mut folders = Folders::new();
        // What is in them by now is not new.
        folders.watch();
        shared.claims.await_them(true);
        reporter.event(Event::Awaiting {
            folders: folders.names(),
        })?;
        Ok(Self {
            order,
            programs,
            awaiting,
            shared,
            reporter,
            folders,
            files: Vec::new(),
            held: Vec::new(),
            claims: Vec::new(),
            own: Netns::own().map_or(0, |netns| netns.inode()),
            tended: Instant::now(),
        })
    }

    /// Until the task is to stop; `start` gets each claimed lane.
    pub fn run(mut self, mut start: impl FnMut(Lane)) -> Result<(), Gone> {
        while !self.reporter.is_stopped() {
            self.wait();
            let now = Instant::now();
            self.files
                .extend(self.folders.news().into_iter().map(|path| (path, now)));
            self.hold();
            self.held.iter_mut().for_each(|held| held.lane.hold());
            let pending = |claim| Pending {
                claim,
                since: now,
                addresses_tried: now,
            };
            for claim in self.shared.claims.take() {
                self.claims.retain(|pending| pending.claim.source != claim.source);
                self.claims.push(pending(claim));
            }
            self.let_go()?;
            self.settle(&mut start)?;
            if self.tended.elapsed() >= TICK {
                self.tend();
            }
        }
        self.shared.claims.await_them(false);
        Ok(())
    }

    fn wait(&self) {
        let is_looking = self.claims.iter().any(|claim| claim.since.elapsed() < LOOKING_FOR);
        let at_most = match (self.files.is_empty(), is_looking) {
            (false, _) => BINDING,
            (true, true) => LOOKING,
            (true, false) if !self.held.is_empty() => EMPTYING,
            (true, false) => TICK,
        };
        let mut fds = vec![
            PollFd::from_borrowed_fd(self.reporter.stop(), PollFlags::IN),
            PollFd::from_borrowed_fd(self.shared.claims.bell(), PollFlags::IN),
        ];
        fds.extend(
            self.folders
                .descriptor()
                .map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)),
        );
        // A wait that is cut short is a look more.
        let _ = poll(&mut fds, Timespec::try_from(at_most).ok().as_ref());
    }

    /// Opens a ring in each file's namespace.
    fn hold(&mut self) {
        for (path, since) in std::mem::take(&mut self.files) {
            if !is_namespace(&path) {
                if since.elapsed() < BINDS_WITHIN {
                    self.files.push((path, since));
                }
                continue;
            }
            let appeared_ns = changed_ns(&path);
            let Ok(netns) = Netns::open(&path) else { continue };
            let is_known =
                netns.inode() == self.own || self.held.iter().any(|held| held.lane.netns().inode() == netns.inode());
            if is_known {
                continue;
            }
            let Ok(lane) = self.open(netns, self.awaiting.program) else {
                // If its pod is claimed, that is tried again, and then told.
                continue;
            };
            if self.held.len() >= MOST_HELD {
                self.held.remove(0);
            }
            self.held.push(Held {
                lane,
                attachment: Attachment {
                    appeared_ns,
                    attached_ns: now_ns(),
                    told_by: Witness::Namespace,
                },
                since,
            });
        }
    }

    /// A lane of nobody yet.
    fn open(&self, netns: Netns, program: usize) -> Result<Lane, String> {
        let program = self.programs.get(program)?;
        let ring_bytes = self.order.ring_bytes.min(RING);
        let ring = within(&netns, || open_ring(self.order, program, None, ring_bytes));
        let ring = ring.map_err(|error| error.to_string())??;
        let place = Arc::new(Place { netns });
        let only = &self.awaiting.interfaces;
        Ok(Lane::new(self.order, 0, place, ring, BTreeMap::new(), only))
    }

    /// Claims whose source is not wanted any more.
    fn let_go(&mut self) -> Result<(), Gone> {
        let (gone, stay) = std::mem::take(&mut self.claims)
            .into_iter()
            .partition(|pending| self.shared.claims.is_released(pending.claim.source));
        self.claims = stay;
        let gone: Vec<Pending> = gone;
        gone.into_iter().try_for_each(|pending| {
            self.reporter.event(Event::Released {
                source: pending.claim.source,
            })
        })
    }

    /// Looks for the claimed pods.
    fn settle(&mut self, start: &mut impl FnMut(Lane)) -> Result<(), Gone> {
        if self.claims.is_empty() {
            return Ok(());
        }
        let wanted: BTreeSet<String> = self.claims.iter().map(|pending| pending.claim.uid.clone()).collect();
        let there = residents(|uid| wanted.contains(uid));
        for mut pending in std::mem::take(&mut self.claims) {
            let Some(found) = self.find(&mut pending, &there) else {
                self.claims.push(pending);
                continue;
            };
            let source = pending.claim.source;
            match found {
                Ok(Held {
                    mut lane, attachment, ..
                }) => {
                    lane.assign(source);
                    self.reporter.event(Event::Attached { source, attachment })?;
                    self.reporter.event(lane.begins())?;
                    start(lane);
                }
                Err(why) => self.reporter.event(Event::Capturing {
                    source,
                    outcome: Err(why),
                })?,
            }
        }
        Ok(())
    }

    /// The claimed pod's namespace and ring, or why it cannot be captured; `None` if it is not there yet.
    fn find(&mut self, pending: &mut Pending, there: &[Resident]) -> Option<Result<Held, String>> {
        let Pending {
            claim, addresses_tried, ..
        } = pending;
        if let Some(program) = claim.on_node {
            let netns = match Netns::own() {
                Ok(netns) => netns,
                Err(error) => return Some(Err(error.to_string())),
            };
            return Some(self.late(netns, program, None, Witness::Nobody));
        }
        let processes = || there.iter().filter(|resident| resident.uid == claim.uid);
        let of_process = self
            .held
            .iter()
            .position(|held| processes().any(|resident| resident.inode == held.lane.netns().inode()));
        if let Some(index) = of_process.or_else(|| self.by_address(claim, addresses_tried)) {
            return Some(Ok(self.held.remove(index)));
        }
        // Not one that we saw appear: it was there before, or its runtime names none.
        let first = processes().find(|resident| resident.inode != self.own)?;
        let netns = Netns::open(Path::new(&format!("/proc/{}/ns/net", first.pid))).ok()?;
        // The number may have gone to another process meanwhile.
        if netns.inode() != first.inode {
            return None;
        }
        Some(self.late(netns, self.awaiting.program, started_ns(first.pid), Witness::Process))
    }

    /// Now and then: entering all of them for every look would cost more than it brings.
    fn by_address(&self, claim: &Claim, tried: &mut Instant) -> Option<usize> {
        if claim.ips.is_empty() || tried.elapsed() < TICK {
            return None;
        }
        *tried = Instant::now();
        self.held.iter().position(|held| {
            let here = within(held.lane.netns(), addresses).ok().and_then(Result::ok);
            here.is_some_and(|here| here.iter().any(|address| claim.ips.contains(&address.ip)))
        })
    }

    fn late(&self, netns: Netns, program: usize, appeared_ns: Option<u64>, told_by: Witness) -> Result<Held, String> {
        let lane = self.open(netns, program)?;
        Ok(Held {
            lane,
            attachment: Attachment {
                appeared_ns,
                attached_ns: now_ns(),
                told_by,
            },
            since: Instant::now(),
        })
    }

    /// Drops rings that nobody claims, and looks for folders that are new.
    fn tend(&mut self) {
        self.tended = Instant::now();
        let now = self.tended;
        self.files
            .extend(self.folders.watch().into_iter().map(|path| (path, now)));
        let held_for = if self.claims.is_empty() {
            HELD_FOR
        } else {
            CLAIMED_HELD_FOR
        };
        self.held.retain(|held| held.since.elapsed() < held_for);
        if self.held.iter().any(|held| held.since.elapsed() >= OTHERS_HELD_FOR) {
            let claimed: BTreeSet<&str> = self.claims.iter().map(|pending| pending.claim.uid.as_str()).collect();
            let others: BTreeSet<u64> = residents(|uid| !claimed.contains(uid))
                .iter()
                .map(|resident| resident.inode)
                .collect();
            self.held
                .retain(|held| held.since.elapsed() < OTHERS_HELD_FOR || !others.contains(&held.lane.netns().inode()));
        }
    }
}

/// `NSFS_MAGIC` of linux/magic.h.
const NSFS: u64 = 0x6e73_6673;

/// Whether a namespace has been bound onto the file.
fn is_namespace(path: &Path) -> bool {
    rustix::fs::statfs(path).is_ok_and(|found| u64::try_from(found.f_type) == Ok(NSFS))
}

/// When the namespace's inode was made: that happens when it is first looked up, which is when it is bound onto its file.
fn changed_ns(path: &Path) -> Option<u64> {
    let found = std::fs::metadata(path).ok()?;
    let seconds = u64::try_from(found.ctime()).ok()?;
    Some(seconds * 1_000_000_000 + u64::try_from(found.ctime_nsec()).ok()?)
}

fn now_ns() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)
}
