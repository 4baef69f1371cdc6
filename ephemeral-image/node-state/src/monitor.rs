//! Hearing of changes: the kernel says what it did, as it does it (rtnetlink(7), multicast groups).
//!
//! What is heard says where to look, not what is there: messages may be lost, and some things the kernel does without a word. An IPv4
//! route that goes with its device's being set down is one: a change of a link is a reason to look at all that hangs on it.

use crate::{
    Table,
    addresses::ADDRESS_HEADER,
    interfaces::interface_names,
    netlink::{Channel, DumpError},
    numbers::{
        AF_BRIDGE, IFLA_IFNAME, RTA_MULTIPATH, RTA_OIF, RTM_DELADDR, RTM_DELLINK, RTM_DELNEIGH, RTM_DELROUTE,
        RTM_NEWADDR, RTM_NEWLINK, RTM_NEWNEIGH, RTM_NEWROUTE, RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV4_ROUTE,
        RTNLGRP_IPV6_IFADDR, RTNLGRP_IPV6_ROUTE, RTNLGRP_LINK, RTNLGRP_NEIGH,
    },
    snapshot::ROUTE_HEADER,
    wire::{LINK_HEADER, Message, text, u32_at},
};
use netlink_sys::protocols::NETLINK_ROUTE;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    os::fd::{AsFd, BorrowedFd},
    time::Duration,
};

/// Room for what was not read yet, in bytes; the kernel gives as much of it as `net.core.rmem_max` allows.
const WAITING: u32 = 1 << 20;

/// What has changed since the last time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// These tables of these devices, `None` where a change is of no one device or of one that is not known. Empty if nothing has.
    Touched(BTreeSet<(Table, Option<String>)>),
    /// More than was kept: anything may have.
    Everything,
}

/// Hears of each change of the network namespace in which it was opened.
#[derive(Debug)]
pub struct Monitor {
    channel: Channel,
    names: BTreeMap<u32, String>,
}

impl Monitor {
    /// Begins to hear, in the calling thread's network namespace. What changes from now on is not missed.
    pub fn open() -> Result<Self, DumpError> {
        let open = || -> io::Result<Channel> {
            let mut channel = Channel::open(NETLINK_ROUTE)?;
            let socket = channel.socket();
            socket.set_rx_buf_sz(WAITING)?;
            socket.set_non_blocking(true)?;
            for group in [
                RTNLGRP_LINK,
                RTNLGRP_NEIGH,
                RTNLGRP_IPV4_IFADDR,
                RTNLGRP_IPV4_ROUTE,
                RTNLGRP_IPV6_IFADDR,
                RTNLGRP_IPV6_ROUTE,
            ] {
                socket.add_membership(group)?;
            }
            Ok(channel)
        };
        let what = "changes";
        let channel = open().map_err(|source| DumpError::Socket { what, source })?;
        let names = interface_names()?;
        Ok(Self { channel, names })
    }

    /// What has been heard by now, without waiting.
    pub fn take(&mut self) -> io::Result<News> {
        let mut touched = BTreeSet::new();
        let mut is_all = true;
        let mut gone = Vec::new();
        loop {
            match self.channel.receive() {
                Ok(datagram) => {
                    for part in datagram {
                        let message = part?.to_message();
                        touched.extend(read(&message, &mut self.names));
                        gone.extend(gone_device(&message));
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // The kernel had no room left, and says so once.
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => is_all = false,
                Err(error) => return Err(error),
            }
        }
        // Only now: what hung on a device may be told of after it.
        for index in gone {
            self.names.remove(&index);
        }
        Ok(if is_all {
            News::Touched(touched)
        } else {
            News::Everything
        })
    }

    /// Waits until there is something, at most so long.
    pub fn wait(&mut self, limit: Duration) -> io::Result<News> {
        let limit = Timespec::try_from(limit).map_err(io::Error::other)?;
        match poll(&mut [PollFd::new(self, PollFlags::IN)], Some(&limit)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => self.take(),
            Err(errno) => Err(errno.into()),
        }
    }
}

/// Ready to read when [`Monitor::take`] has something to give; it never blocks.
impl AsFd for Monitor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.channel.as_fd()
    }
}

/// The device that a message says is gone. Of a bridge's port that leaves it, the same is said by `AF_BRIDGE`.
fn gone_device(message: &Message) -> Option<u32> {
    let is_gone = message.kind == RTM_DELLINK && message.body.first() != Some(&AF_BRIDGE);
    is_gone.then(|| u32_at(&message.body, 4))?
}

/// What a message says has changed. Names of devices are learned on the way.
fn read(message: &Message, names: &mut BTreeMap<u32, String>) -> Option<(Table, Option<String>)> {
    let index = u32_at(&message.body, 4);
    let (table, index) = match message.kind {
        RTM_NEWLINK | RTM_DELLINK => {
            let name = message
                .attributes(LINK_HEADER)
                .find(|(number, _)| *number == IFLA_IFNAME);
            if let (Some(index), Some((_, name))) = (index, name) {
                names.insert(index, text(name));
            }
            (Table::Links, index)
        }
        RTM_NEWADDR | RTM_DELADDR => (Table::Addresses, index.filter(|_| message.body.len() >= ADDRESS_HEADER)),
        RTM_NEWNEIGH | RTM_DELNEIGH if message.body.first() == Some(&AF_BRIDGE) => (Table::Fdb, index),
        RTM_NEWNEIGH | RTM_DELNEIGH => (Table::Neighbours, index),
        RTM_NEWROUTE | RTM_DELROUTE => (Table::Routes, route_device(message)),
        _ => return None,
    };
    Some((table, index.and_then(|index| names.get(&index).cloned())))
}

/// The device of a route that has one, and not several.
fn route_device(message: &Message) -> Option<u32> {
    let mut device = None;
    for (number, value) in message.attributes(ROUTE_HEADER) {
        match number {
            RTA_OIF => device = u32_at(value, 0),
            RTA_MULTIPATH => return None,
            _ => {}
        }
    }
    device
}
