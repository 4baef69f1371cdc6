//! What the kernel tells of its own accord: that a table of this namespace has changed (rtnetlink(7); `nf_tables_api.c`).
//!
//! What exactly has changed is not looked at: a pass compares everything, so a message that was lost costs nothing but itself.

use netlink_sys::{
    Socket, SocketAddr,
    protocols::{NETLINK_NETFILTER, NETLINK_ROUTE},
};
use rustix::event::{PollFd, PollFlags, poll};
use std::{
    io,
    os::fd::{AsRawFd as _, BorrowedFd},
};

/// `RTNLGRP_*` of linux/rtnetlink.h: LINK, NEIGH, IPV4_IFADDR, IPV4_ROUTE, IPV6_IFADDR, IPV6_ROUTE.
const ROUTE_GROUPS: [u32; 6] = [1, 3, 5, 7, 9, 11];
/// `NFNLGRP_NFTABLES` of linux/netfilter/nfnetlink.h.
const NFTABLES_GROUPS: [u32; 1] = [7];

/// `RTM_NEWNEIGH`, `AF_INET` … of linux/rtnetlink.h, linux/neighbour.h.
const RTM_NEWNEIGH: u16 = 28;
const NUD_PERMANENT: u16 = 0x80;
/// Place of `ndm_state` behind the header of 16 bytes.
const NDM_STATE: usize = 16 + 8;

/// How soon to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Urgency {
    /// Neighbours that come and go by themselves, as on every uplink: most likely nothing of ours.
    Soon,
    /// Anything else.
    Now,
}

/// Listens in the namespace of the thread that opened it.
#[derive(Debug)]
pub struct Monitor {
    sockets: Vec<Socket>,
}

impl Monitor {
    /// Opens it. A kernel without nftables is no obstacle: there is nothing to hear from it.
    pub fn open() -> io::Result<Self> {
        let mut sockets = vec![listening(NETLINK_ROUTE, &ROUTE_GROUPS)?];
        sockets.extend(listening(NETLINK_NETFILTER, &NFTABLES_GROUPS).ok());
        Ok(Self { sockets })
    }

    /// Waits until something has changed and takes in all that is told of it.
    pub fn wait(&self) -> io::Result<Urgency> {
        let mut fds: Vec<PollFd<'_>> = self.sockets.iter().map(poll_fd).collect();
        loop {
            match poll(&mut fds, None) {
                Ok(_) => {}
                Err(rustix::io::Errno::INTR) => continue,
                Err(errno) => return Err(errno.into()),
            }
            let heard: Option<Urgency> = self.sockets.iter().filter_map(drain).max();
            if let Some(urgency) = heard {
                return Ok(urgency);
            }
        }
    }
}

fn listening(protocol: isize, groups: &[u32]) -> io::Result<Socket> {
    let mut socket = Socket::new(protocol)?;
    let mask = groups.iter().fold(0, |mask, group| mask | 1 << (group - 1));
    socket.bind(&SocketAddr::new(0, mask))?;
    socket.set_non_blocking(true)?;
    Ok(socket)
}

fn poll_fd(socket: &Socket) -> PollFd<'_> {
    // SAFETY: the descriptor belongs to the socket, which outlives the borrow.
    let fd = unsafe { BorrowedFd::borrow_raw(socket.as_raw_fd()) };
    PollFd::from_borrowed_fd(fd, PollFlags::IN)
}

/// Takes what waits on a socket; `None` if nothing does.
fn drain(socket: &Socket) -> Option<Urgency> {
    let mut heard = None;
    let mut datagram = Vec::with_capacity(64 << 10);
    loop {
        datagram.clear();
        match socket.recv(&mut datagram, 0) {
            Ok(_) => heard = heard.max(Some(urgency(&datagram))),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return heard,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // ENOBUFS: more happened than fitted. Anything else is looked into as well, at the cost of one pass.
            Err(_) => return Some(Urgency::Now),
        }
    }
}

fn urgency(datagram: &[u8]) -> Urgency {
    let at = |place: usize| datagram.get(place..place + 2).map(|two| u16::from_ne_bytes([two[0], two[1]]));
    match (at(4), at(NDM_STATE)) {
        (Some(RTM_NEWNEIGH), Some(state)) if state & NUD_PERMANENT == 0 => Urgency::Soon,
        _ => Urgency::Now,
    }
}
