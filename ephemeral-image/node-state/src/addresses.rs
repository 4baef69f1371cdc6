//! Addresses of a namespace's interfaces, by rtnetlink: it follows the namespace, which `/sys/class/net` does not.

use crate::{
    Address,
    interfaces::interface_names,
    netlink::{DumpError, dump},
    numbers::{IFA_ADDRESS, IFA_LOCAL, RTM_GETADDR, RTM_NEWADDR},
    wire::{Message, ip, u32_at},
};
use netlink_sys::protocols::NETLINK_ROUTE;
use std::net::IpAddr;

/// `struct ifaddrmsg` of linux/if_addr.h, in bytes.
pub(crate) const ADDRESS_HEADER: usize = 8;

/// Addresses of all interfaces in the calling thread's network namespace, both families, as the kernel orders them.
pub fn addresses() -> Result<Vec<Address>, DumpError> {
    let names = interface_names()?;
    let answers = dump_addresses()?;
    let read = answers.iter().filter_map(|answer| {
        let (index, ip, prefix) = read_address(answer)?;
        // An interface may come to be between the two dumps; its number then stands for its name.
        let interface = names.get(&index).cloned().unwrap_or_else(|| format!("#{index}"));
        Some(Address { interface, ip, prefix })
    });
    Ok(read.collect())
}

/// What the kernel says about all addresses.
pub(crate) fn dump_addresses() -> Result<Vec<Message>, DumpError> {
    let request = Message::new(RTM_GETADDR, &[0; ADDRESS_HEADER]);
    dump(NETLINK_ROUTE, "addresses", &request)
}

/// The number of the interface, the address and its prefix's length.
///
/// On point-to-point links `IFA_ADDRESS` is the peer's address and `IFA_LOCAL` ours (rtnetlink(7)); IPv6 may have the first alone.
pub(crate) fn read_address(answer: &Message) -> Option<(u32, IpAddr, u8)> {
    if answer.kind != RTM_NEWADDR {
        return None;
    }
    let (mut local, mut address) = (None, None);
    for (number, value) in answer.attributes(ADDRESS_HEADER) {
        match number {
            IFA_LOCAL => local = ip(value),
            IFA_ADDRESS => address = ip(value),
            _ => {}
        }
    }
    Some((u32_at(&answer.body, 4)?, local.or(address)?, *answer.body.get(1)?))
}
