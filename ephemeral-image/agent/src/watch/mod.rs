//! The watch: one packet socket per namespace, one thread that empties them all into one bounded table.
//!
//! Whoever asks the table empties the socket first. The kernel hands a packet to the watch before it hands it on, so what a probe's
//! outcome depends on is in the table by the time it is looked for, and nobody waits.

mod filter;
mod packet;
mod socket;
mod table;

use crate::probe::Endpoints;
use netcheck_node_state::{Netns, interface_names, within};
use netcheck_wire::probe::{Direction, Mark, Sighting};
use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use socket::{PacketSocket, Received};
use std::{
    collections::{BTreeMap, HashMap},
    io,
    os::fd::OwnedFd,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    thread,
};
use table::{NetnsInode, Seen, Table};

/// Most packets taken from a socket at once. Probes and looks at all places wait meanwhile, so a flood that comes faster than it is read
/// must not keep them.
const MAX_AT_ONCE: usize = 16_384;

/// All watched namespaces of a session.
#[derive(Debug)]
pub struct Watches {
    state: Mutex<State>,
    /// Tells the thread that the list of sockets changed.
    bell: OwnedFd,
}

#[derive(Debug, Default)]
struct State {
    table: Table,
    sockets: HashMap<NetnsInode, Watched>,
    /// Interface names of namespaces that were looked at, by index.
    names: HashMap<NetnsInode, BTreeMap<u32, String>>,
}

#[derive(Debug)]
struct Watched {
    socket: Arc<PacketSocket>,
    users: usize,
}

/// Keeps a namespace watched while it lives.
#[derive(Debug)]
pub struct Watching {
    watches: Arc<Watches>,
    netns: NetnsInode,
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.watches.release(self.netns);
    }
}

/// Why a namespace cannot be watched, in words for the user.
pub fn cannot_watch(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => "watching packets needs the capability NET_RAW".to_owned(),
        _ => format!("cannot watch packets: {error}"),
    }
}

/// Tries whether the calling thread's namespace could be watched.
pub fn try_here() -> io::Result<()> {
    PacketSocket::open().map(drop)
}

impl Watches {
    /// Starts the thread; it ends when the last reference is gone.
    pub fn start() -> io::Result<Arc<Self>> {
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let watches = Arc::new(Self {
            state: Mutex::default(),
            bell,
        });
        let weak = Arc::downgrade(&watches);
        thread::Builder::new()
            .name("watch".to_owned())
            .spawn(move || empty_until_dropped(&weak))?;
        Ok(watches)
    }

    /// Watches a namespace from now on. Several users share one socket.
    pub fn watch(self: &Arc<Self>, netns: &Netns) -> Result<Watching, String> {
        let inode = netns.inode();
        if let Some(watched) = self.lock().sockets.get_mut(&inode) {
            watched.users += 1;
            return Ok(Watching {
                watches: self.clone(),
                netns: inode,
            });
        }
        let opened = within(netns, || (PacketSocket::open(), interface_names())).map_err(|error| error.to_string())?;
        let socket = Arc::new(opened.0.map_err(|error| cannot_watch(&error))?);
        let mut state = self.lock();
        state.table.begin(inode);
        state.names.insert(inode, opened.1.unwrap_or_default());
        // Somebody else may have been quicker: then ours is closed again.
        state.sockets.entry(inode).or_insert(Watched { socket, users: 0 }).users += 1;
        drop(state);
        self.ring();
        Ok(Watching {
            watches: self.clone(),
            netns: inode,
        })
    }

    /// What was seen of a probe in a namespace so far; an error if it was never watched.
    pub fn look(&self, netns: &Netns, mark: &Mark) -> Result<Vec<Sighting>, String> {
        let inode = netns.inode();
        self.empty(inode);
        let seen = {
            let state = self.lock();
            if !state.table.knows(inode) {
                return Err("not watched".to_owned());
            }
            state.table.look(inode, mark)
        };
        self.learn_names(netns, &seen);
        let state = self.lock();
        let names = state.names.get(&inode);
        let name = |index| {
            names
                .and_then(|names| names.get(&index))
                .cloned()
                .unwrap_or_else(|| format!("#{index}"))
        };
        Ok(seen
            .into_iter()
            .map(|seen| Sighting {
                at_ns: seen.at_ns,
                interface: name(seen.interface),
                direction: seen.direction,
                packet: seen.packet,
                source: seen.source,
                destination: seen.destination,
            })
            .collect())
    }

    /// Packets of a namespace that the watch may have missed since it began.
    pub fn missed(&self, netns: &Netns) -> u64 {
        self.empty(netns.inode());
        self.lock().table.missed(netns.inode())
    }

    /// Announces a SYN from a local port: see [`Watches::expected_isn`].
    pub fn expect_syn_from(&self, netns: &Netns, port: u16) {
        self.lock().table.expect(netns.inode(), port);
    }

    /// The sequence number of the announced SYN, if it was seen and is beyond doubt; ends the announcement.
    pub fn expected_isn(&self, netns: &Netns, endpoints: Endpoints) -> Option<u32> {
        self.empty(netns.inode());
        self.lock().table.expected(netns.inode(), endpoints)
    }

    /// Reads the names anew if a packet came by an interface that is younger than them.
    fn learn_names(&self, netns: &Netns, seen: &[Seen]) {
        let inode = netns.inode();
        let is_known = |state: &State, index| state.names.get(&inode).is_some_and(|names| names.contains_key(&index));
        let state = self.lock();
        if seen.iter().all(|seen| is_known(&state, seen.interface)) {
            return;
        }
        drop(state);
        if let Ok(Ok(names)) = within(netns, interface_names) {
            // Earlier names stay: an interface that is gone keeps the name it had.
            self.lock().names.entry(inode).or_default().extend(names);
        }
    }

    fn release(&self, netns: NetnsInode) {
        self.empty(netns);
        let mut state = self.lock();
        if let Some(watched) = state.sockets.get_mut(&netns) {
            watched.users -= 1;
            if watched.users == 0 {
                state.sockets.remove(&netns);
                drop(state);
                self.ring();
            }
        }
    }

    /// Moves what a socket holds into the table. Under the lock, so that packets stay in order whoever empties.
    fn empty(&self, netns: NetnsInode) {
        let mut state = self.lock();
        let State { table, sockets, .. } = &mut *state;
        if let Some(watched) = sockets.get(&netns) {
            empty_into(&watched.socket, netns, table);
        }
    }

    fn ring(&self) {
        // It fails only when the counter is full, and then the thread is awake.
        let _ = rustix::io::write(&self.bell, &1u64.to_ne_bytes());
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The table is whole between any two calls, so another thread's panic does not spoil it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Watches {
    fn drop(&mut self) {
        self.ring();
    }
}

fn empty_into(socket: &PacketSocket, netns: NetnsInode, table: &mut Table) {
    drain(|buffer| socket.receive(buffer), netns, table);
    match socket.drops() {
        Ok(drops) => table.miss(netns, drops),
        Err(_) => table.miss(netns, 1),
    }
}

/// Records packets until none is left, or so many were taken that the rest counts as missed for now.
fn drain(mut receive: impl FnMut(&mut [u8]) -> io::Result<Option<Received>>, netns: NetnsInode, table: &mut Table) {
    let mut buffer = [0; filter::SNAP as usize];
    for _ in 0..MAX_AT_ONCE {
        match receive(&mut buffer) {
            Ok(Some(received)) => {
                let direction = match received.packet_type {
                    libc::PACKET_OUTGOING => Direction::Out,
                    // Meant for another station: this one did not get it.
                    libc::PACKET_OTHERHOST => continue,
                    _ => Direction::In,
                };
                if let Some(recognised) = packet::recognise(&buffer[..received.length]) {
                    table.record(netns, received.interface, direction, received.at_ns, recognised);
                }
            }
            Ok(None) => return,
            // Told once (an interface went down); the next read goes on or finds nothing.
            Err(error) if error.raw_os_error() == Some(libc::ENETDOWN) => {}
            Err(_) => break,
        }
    }
    table.miss(netns, 1);
}

/// The thread's work: wait for packets anywhere, move them into the table.
fn empty_until_dropped(watches: &Weak<Watches>) {
    loop {
        let Some(watches) = watches.upgrade() else { return };
        let sockets: Vec<_> = watches
            .lock()
            .sockets
            .iter()
            .map(|(&netns, watched)| (netns, watched.socket.clone()))
            .collect();
        let Ok(bell) = watches.bell.try_clone() else { return };
        let weak = Arc::downgrade(&watches);
        // Not held while waiting, or the thread would keep alive what it waits to see dropped.
        drop(watches);
        let mut fds: Vec<_> = sockets
            .iter()
            .map(|(_, socket)| PollFd::new(&**socket, PollFlags::IN))
            .collect();
        fds.push(PollFd::new(&bell, PollFlags::IN));
        match poll(&mut fds, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(_) => return,
        }
        let mut count = [0; 8];
        let _ = rustix::io::read(&bell, &mut count);
        let ready: Vec<_> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        let Some(watches) = weak.upgrade() else { return };
        for ((netns, _), ready) in sockets.iter().zip(ready) {
            if ready {
                watches.empty(*netns);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A packet to somebody else, of which the buffer is not read.
    const PACKET: Received = Received {
        length: 0,
        at_ns: 1,
        interface: 1,
        packet_type: libc::PACKET_OTHERHOST,
    };

    #[test]
    fn a_flood_does_not_keep_the_lock() {
        let mut table = Table::default();
        let mut received = 0;
        // It ends only for the test's sake.
        let flood = |_: &mut [u8]| {
            received += 1;
            Ok((received <= 2 * MAX_AT_ONCE).then_some(PACKET))
        };
        drain(flood, 1, &mut table);
        assert_eq!((received, table.missed(1)), (MAX_AT_ONCE, 1));
    }

    #[test]
    fn what_was_read_to_its_end_is_not_missed() {
        let mut table = Table::default();
        let went_down = io::Error::from_raw_os_error(libc::ENETDOWN);
        let mut answers = [Ok(Some(PACKET)), Err(went_down), Ok(Some(PACKET)), Ok(None)].into_iter();
        drain(|_| answers.next().unwrap(), 1, &mut table);
        assert_eq!((answers.len(), table.missed(1)), (0, 0));
    }

    #[test]
    fn a_socket_that_cannot_be_read_may_have_missed_something() {
        let mut table = Table::default();
        drain(|_| Err(io::Error::from_raw_os_error(libc::EIO)), 1, &mut table);
        assert_eq!(table.missed(1), 1);
    }
}
