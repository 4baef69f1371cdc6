//! The ring: opened, emptied block by block, stopped and drained.

use crate::{
    Block, Event, Options, Packets, RingError, Size, Statistics, Watermark, block::Header, filter, map::Map,
    socket::PacketSocket,
};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    time::{ClockId, clock_gettime},
};
use std::{
    io,
    os::fd::{AsFd, BorrowedFd},
    sync::atomic::{Ordering, fence},
    time::{Duration, Instant},
};

/// An open ring.
#[derive(Debug)]
pub struct Ring {
    socket: PacketSocket,
    map: Map,
    /// Index of the interface; 0 is every one.
    interface: u32,
    snap_length: u32,
    /// Blocks taken so far. They come in turn, so this is also which one comes next.
    taken: usize,
    /// Packets in blocks taken so far.
    delivered: u64,
    statistics: Statistics,
    watermark: Watermark,
    link: Link,
    /// Since when nothing enters any more; put forward with each block that comes.
    stopped: Option<Instant>,
}

/// What is known of the interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Link {
    /// It was never heard to go down.
    Up,
    /// It was down at least once: from then on it may vanish without a sign.
    WasDown,
    Gone,
}

/// EtherTypes for local experiments (IEEE 802): what [`Ring::stop`] binds the socket to, together with a filter that rejects everything.
const UNUSED_PROTOCOLS: [u16; 2] = [0x88b5, 0x88b6];
/// How often to see whether an interface that was down has vanished, which nothing wakes for.
const LOOK_FOR_LINK: Duration = Duration::from_millis(200);
/// How long the kernel may keep the last block beyond its timeout, before its count is taken for wrong.
const DRAIN_PATIENCE: Duration = Duration::from_secs(10);
/// The kernel counts in 32 bits: it is asked anew each so many blocks, long before they overflow.
const BLOCKS_PER_COUNT: usize = 256;

impl Ring {
    /// Opens a ring in the calling thread's network namespace; it may be used from any. It holds every packet that the filter accepts from
    /// its return on, and none that the filter does not accept. If the kernel refuses the memory, the ring is smaller: [`Ring::size`].
    pub fn open(options: &Options<'_>) -> Result<Self, RingError> {
        let interface = options.interface.unwrap_or(0);
        let snap_length = options.snap_length.max(1);
        let program = filter::cut(options.program, snap_length)?;
        // Its protocol is 0 until all is in place, so no packet comes before the filter.
        let socket = PacketSocket::new().map_err(RingError::Open)?;
        socket.filter(&program).map_err(|source| RingError::Filter {
            instructions: program.len(),
            interface,
            source,
        })?;
        let map = set_up(&socket, options, snap_length)?;
        let refused = |source| RingError::Bind { interface, source };
        if options.promiscuous && interface != 0 {
            socket.make_promiscuous(interface).map_err(refused)?;
        }
        socket.bind(interface, libc::ETH_P_ALL as u16).map_err(refused)?;
        Ok(Self {
            socket,
            map,
            interface,
            snap_length,
            taken: 0,
            delivered: 0,
            statistics: Statistics::default(),
            watermark: Watermark::NONE,
            link: Link::Up,
            stopped: None,
        })
    }

    /// The ring's size, which is smaller than asked for if the kernel had not that much memory.
    pub fn size(&self) -> Size {
        self.map.size()
    }

    /// Waits until there is a block of packets, or anything else to tell, or the timeout passed. A block goes back to the kernel when it
    /// is dropped.
    pub fn next(&mut self, timeout: Duration) -> Result<Event<'_>, RingError> {
        let deadline = Instant::now().checked_add(timeout);
        loop {
            if let Some(count) = self.look()? {
                return Ok(Event::Packets(Block { ring: self, count }));
            }
            if let Some(stopped) = self.stopped {
                if self.is_drained(stopped)? {
                    return Ok(Event::End);
                }
            } else if self.link == Link::WasDown && self.is_gone()? {
                self.link = Link::Gone;
                return Ok(Event::InterfaceGone);
            }
            let left = deadline.map_or(Duration::MAX, |deadline| {
                deadline.saturating_duration_since(Instant::now())
            });
            if left.is_zero() {
                return Ok(Event::Quiet);
            }
            if self.wait(left)? {
                self.link = Link::WasDown;
                return Ok(Event::InterfaceDown);
            }
        }
    }

    /// Lets no further packet in. What is in the ring, the block being filled included, still comes from [`Ring::next`], and then
    /// [`Event::End`]. May wait some milliseconds until packets just being put in are in.
    pub fn stop(&mut self) -> Result<(), RingError> {
        self.socket
            .filter(&filter::NOTHING)
            .map_err(self.failed("close the filter of"))?;
        // A change of protocol unhooks the socket and waits for those that are putting packets in (`synchronize_net` in
        // `packet_do_bind`), but only if it was hooked, which it is not while its interface is down: so twice, and the second one waits.
        for protocol in UNUSED_PROTOCOLS {
            self.socket.bind(0, protocol).map_err(self.failed("stop"))?;
        }
        self.stopped = Some(Instant::now());
        Ok(())
    }

    /// What the kernel counted so far; final after [`Ring::stop`].
    pub fn statistics(&mut self) -> Result<Statistics, RingError> {
        let counted = self.socket.count().map_err(self.failed("count packets of"))?;
        self.statistics.add(counted);
        Ok(self.statistics)
    }

    /// What is certain about packets that [`Ring::next`] has not handed out yet.
    pub fn watermark(&mut self) -> Watermark {
        let now = clock_gettime(ClockId::Realtime);
        // The clock is read before the block is looked at.
        fence(Ordering::SeqCst);
        let expected = self.taken as u64 + 1;
        // With another number it is not open: it waits to be taken, or the ring was full and is not filled again yet.
        if let Some(open) = self.map.glimpse(self.taken)
            && open.sequence == expected
            && open.count == 0
        {
            let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
            let nanoseconds = u64::try_from(now.tv_nsec).unwrap_or(0);
            self.watermark.seen_empty(seconds * 1_000_000_000 + nanoseconds);
        }
        self.watermark
    }

    /// The number of packets in the next block, if the kernel has handed it over.
    fn look(&mut self) -> Result<Option<u32>, RingError> {
        let Some(bytes) = self.map.bytes(self.taken) else {
            return Ok(None);
        };
        let header = Header::read(bytes);
        let first = Packets::of(bytes, self.snap_length).next();
        self.watermark
            .block_closed(header.last_ns, first.is_some_and(|packet| packet.is_stamped_early));
        if let Some(stopped) = &mut self.stopped {
            *stopped = Instant::now();
        }
        if self.taken.is_multiple_of(BLOCKS_PER_COUNT) {
            self.statistics()?;
        }
        Ok(Some(header.count))
    }

    /// The packets of the block that [`Event::Packets`] told of.
    pub(crate) fn packets(&self) -> Packets<'_> {
        Packets::of(self.map.bytes(self.taken).unwrap_or_default(), self.snap_length)
    }

    /// Lets the kernel fill that block anew. Its packets count as delivered.
    pub(crate) fn give_back(&mut self, count: u32) {
        self.map.release(self.taken);
        self.taken += 1;
        self.delivered += u64::from(count);
    }

    /// Whether all that the kernel accepted was delivered.
    fn is_drained(&mut self, since: Instant) -> Result<bool, RingError> {
        let missing = self.statistics()?.delivered().saturating_sub(self.delivered);
        if missing == 0 {
            self.watermark.ended();
        } else if since.elapsed() > DRAIN_PATIENCE && self.map.bytes(self.taken).is_none() {
            return Err(RingError::Undrained {
                interface: self.interface,
                missing,
            });
        }
        Ok(missing == 0)
    }

    fn is_gone(&self) -> Result<bool, RingError> {
        let interface = self.socket.interface().map_err(self.failed("look up"))?;
        Ok(interface.is_none())
    }

    /// Waits for the socket, and tells whether it says that the interface is down.
    fn wait(&self, at_most: Duration) -> Result<bool, RingError> {
        let at_most = match (self.link, self.stopped) {
            (Link::WasDown, _) | (_, Some(_)) => at_most.min(LOOK_FOR_LINK),
            _ => at_most,
        };
        let timeout = Timespec::try_from(at_most).ok();
        let mut polled = [PollFd::new(&self.socket, PollFlags::IN)];
        match poll(&mut polled, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(self.failed("wait for")(errno.into())),
        }
        if !polled[0].revents().intersects(PollFlags::ERR) {
            return Ok(false);
        }
        match self.socket.take_error().map_err(self.failed("ask"))? {
            None => Ok(false),
            Some(error) if error.raw_os_error() == Some(libc::ENETDOWN) => Ok(true),
            Some(error) => Err(self.failed("go on with")(error)),
        }
    }

    fn failed(&self, operation: &'static str) -> impl FnOnce(io::Error) -> RingError + use<> {
        let interface = self.interface;
        move |source| RingError::Socket {
            operation,
            interface,
            source,
        }
    }
}

impl AsFd for Ring {
    /// Readable when there is a block; an error is pending when there is news of the interface. To be polled, not to be read.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Sets up and maps the largest ring that the kernel gives.
fn set_up(socket: &PacketSocket, options: &Options<'_>, snap_length: u32) -> Result<Map, RingError> {
    let refused = |size: Size, source| RingError::Memory {
        bytes: size.bytes(),
        interface: options.interface.unwrap_or(0),
        source,
    };
    let size = Size::largest(options.ring_bytes, snap_length, rustix::param::page_size(), |size| {
        socket.set_ring(size, options.block_timeout)
    })
    .map_err(|(size, source)| refused(size, source))?;
    Map::new(socket, size).map_err(|errno| refused(size, errno.into()))
}
