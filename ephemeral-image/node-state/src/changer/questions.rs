//! Questions about one device or address: whether the kernel is done with it.

use super::{ChangeError, Changer, Deed};
use crate::{
    numbers::{AF_INET, AF_INET6, RTA_DST, RTM_GETROUTE, RTN_LOCAL},
    wire::{Message, ip_bytes},
};
use std::{
    io,
    net::IpAddr,
    os::fd::{AsFd as _, AsRawFd as _},
};

/// `struct rtmsg` of linux/rtnetlink.h, in bytes; its kind of route is the eighth.
const ROUTE_HEADER: usize = 12;
const KIND: usize = 7;

/// `ETHTOOL_GLINK` of linux/ethtool.h: whether a device has a carrier.
const ETHTOOL_GLINK: u32 = 0x0a;

/// `struct ethtool_value` of linux/ethtool.h.
#[repr(C)]
struct EthtoolValue {
    command: u32,
    data: u32,
}

impl Changer {
    /// Has the kernel do at once what it does some time after a device got its carrier; says whether there is one.
    ///
    /// When one end of a pair is set up, the other one, which has been up before, gets its carrier, but is given the queue that sends only
    /// by a worker thread (`linkwatch_event()`, net/core/link_watch.c). Until that has its turn, everything sent there is dropped. Asking for the
    /// carrier does that work first (`ethtool_op_get_link()`, net/ethtool/ioctl.c).
    pub fn settle_link(&mut self, name: &str) -> Result<bool, ChangeError> {
        let asked = self.ask_for_carrier(name);
        asked.map_err(|source| Deed::new("link settle", name).failed((source, None)))
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

    fn ask_for_carrier(&self, name: &str) -> io::Result<bool> {
        let mut value = EthtoolValue {
            command: ETHTOOL_GLINK,
            data: 0,
        };
        let mut wanted = [0; libc::IFNAMSIZ];
        // The last byte stays zero: it ends the name.
        if name.len() >= wanted.len() {
            return Err(io::Error::from_raw_os_error(libc::ENODEV));
        }
        for (place, byte) in wanted.iter_mut().zip(name.bytes()) {
            *place = byte.cast_signed();
        }
        let mut request = libc::ifreq {
            ifr_name: wanted,
            ifr_ifru: libc::__c_anonymous_ifr_ifru {
                ifru_data: (&raw mut value).cast(),
            },
        };
        // SAFETY: the descriptor is open; the request and the value that it points to are of the kernel's layout and live until it returns.
        let outcome = unsafe { libc::ioctl(self.channel.as_fd().as_raw_fd(), libc::SIOCETHTOOL, &raw mut request) };
        if outcome < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(value.data != 0)
    }
}
