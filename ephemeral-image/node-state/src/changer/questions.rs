//! Questions about one device or address: whether the kernel is done with it.

use super::{ChangeError, Changer, Deed};
use crate::{
    ethtool,
    numbers::{AF_INET, AF_INET6, RTA_DST, RTM_GETROUTE, RTN_LOCAL},
    wire::{Message, ip_bytes},
};
use std::{net::IpAddr, os::fd::AsFd as _};

/// `struct rtmsg` of linux/rtnetlink.h, in bytes; its kind of route is the eighth.
const ROUTE_HEADER: usize = 12;
const KIND: usize = 7;

impl Changer {
    /// Has the kernel do at once what it does some time after a device got its carrier; says whether there is one.
    ///
    /// When one end of a pair is set up, the other one, which has been up before, gets its carrier, but is given the queue that sends only
    /// by a worker thread (`linkwatch_event()`, net/core/link_watch.c). Until that has its turn, everything sent there is dropped. Asking for the
    /// carrier does that work first (`ethtool_op_get_link()`, net/ethtool/ioctl.c).
    pub fn settle_link(&mut self, name: &str) -> Result<bool, ChangeError> {
        let asked = ethtool::ask(self.channel.as_fd(), name, ethtool::LINK);
        let has_carrier = asked.map(|answer| answer != 0);
        has_carrier.map_err(|source| Deed::new("link settle", name).failed((source, None)))
    }

    /// Whether packets for this address are taken in here.
    ///
    /// An IPv6 address is there as soon as it was added, but its local route is made by a worker thread, even if no duplicates are looked for
    /// (`addrconf_dad_work()`, net/ipv6/addrconf.c). Until then, what comes for it is dropped.
    pub fn takes_in(&mut self, ip: IpAddr) -> Result<bool, ChangeError> {
        let (family, length) = match ip {
            IpAddr::V4(_) => (AF_INET, 32),
            IpAddr::V6(_) => (AF_INET6, 128),
        };
        let mut header = [0; ROUTE_HEADER];
        header[..2].copy_from_slice(&[family, length]);
        let request = Message::new(RTM_GETROUTE, &header).with(RTA_DST, &ip_bytes(ip));
        match self.exchange(&request, 0) {
            Ok(answer) => Ok(answer.is_some_and(|answer| answer.body.get(KIND) == Some(&RTN_LOCAL))),
            Err((error, _)) if matches!(error.raw_os_error(), Some(libc::ENETUNREACH | libc::EHOSTUNREACH)) => {
                Ok(false)
            }
            Err(refusal) => Err(Deed::new("route get", ip.to_string()).failed(refusal)),
        }
    }
}
