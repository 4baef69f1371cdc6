//! What the kernel tells of its own accord: that something of ours may have changed. What exactly is not looked at: a pass compares
//! everything, so a message that was lost costs nothing but itself.

use netcheck_cni_intent::names::{OVERLAY, VETH_NAME_START};
use netcheck_node_state::{DumpError, Monitor, News, Table};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_NETFILTER};
use rustix::event::{PollFd, PollFlags, poll};
use std::{
    io,
    os::fd::{AsFd as _, AsRawFd as _, BorrowedFd},
};

/// `NFNLGRP_NFTABLES` of linux/netfilter/nfnetlink.h, as a bit.
const NFTABLES_GROUP: u32 = 1 << (7 - 1);

/// Listens in the namespace of the thread that opened it.
#[derive(Debug)]
pub struct Ears {
    tables: Monitor,
    /// `None` on a kernel without nftables: there is nothing to hear from it.
    nftables: Option<Socket>,
}

impl Ears {
    /// Begins to listen.
    pub fn open() -> Result<Self, DumpError> {
        Ok(Self {
            tables: Monitor::open()?,
            nftables: nftables().ok(),
        })
    }

    /// Waits until something has happened that a pass should look into.
    pub fn wait(&mut self) -> io::Result<()> {
        loop {
            self.wait_for_any()?;
            let is_nftables = self.nftables.as_ref().is_some_and(drain);
            let is_ours = match self.tables.take()? {
                News::Everything => true,
                News::Touched(touched) => touched
                    .iter()
                    .any(|(table, device)| is_of_interest(*table, device.as_deref())),
            };
            if is_nftables || is_ours {
                return Ok(());
            }
        }
    }

    fn wait_for_any(&self) -> io::Result<()> {
        let mut fds = vec![PollFd::from_borrowed_fd(self.tables.as_fd(), PollFlags::IN)];
        fds.extend(self.nftables.as_ref().map(|socket| {
            // SAFETY: the descriptor belongs to the socket, which outlives the borrow.
            let fd = unsafe { BorrowedFd::borrow_raw(socket.as_raw_fd()) };
            PollFd::from_borrowed_fd(fd, PollFlags::IN)
        }));
        match poll(&mut fds, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }
}

/// On an uplink neighbours come and go by themselves all the time; on devices of ours only we put any.
fn is_of_interest(table: Table, device: Option<&str>) -> bool {
    let is_ours = |device: &str| device == OVERLAY || device.starts_with(VETH_NAME_START);
    match table {
        Table::Neighbours | Table::Fdb => device.is_none_or(is_ours),
        Table::Links | Table::Addresses | Table::Routes => true,
    }
}

fn nftables() -> io::Result<Socket> {
    let mut socket = Socket::new(NETLINK_NETFILTER)?;
    socket.bind(&SocketAddr::new(0, NFTABLES_GROUP))?;
    socket.set_non_blocking(true)?;
    Ok(socket)
}

/// Takes what waits on a socket; whether anything did.
fn drain(socket: &Socket) -> bool {
    let mut heard = false;
    let mut datagram = Vec::with_capacity(64 << 10);
    loop {
        datagram.clear();
        match socket.recv(&mut datagram, 0) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return heard,
            // ENOBUFS, which is told once: more has happened than there was room for.
            Ok(_) | Err(_) => heard = true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_of_an_uplink_are_nobodys_business() {
        assert!(!is_of_interest(Table::Neighbours, Some("eth0")));
        assert!(is_of_interest(Table::Neighbours, Some("ncvx0")));
        assert!(is_of_interest(Table::Fdb, Some("nc53ffe5c7906")));
        assert!(is_of_interest(Table::Fdb, None));
        assert!(is_of_interest(Table::Routes, Some("eth0")));
    }
}
