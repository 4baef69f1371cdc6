//! Addresses of a namespace's interfaces, by rtnetlink: it follows the namespace, which `/sys/class/net` does not.

use crate::{
    interfaces::interface_names,
    netlink::{DumpError, dump},
};
use netlink_packet_route::{
    RouteNetlinkMessage,
    address::{AddressAttribute, AddressMessage},
};
use netlink_sys::protocols::NETLINK_ROUTE;
use std::net::IpAddr;

/// An address of an interface.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Address {
    /// Name of the interface.
    pub interface: String,
    /// The address.
    pub ip: IpAddr,
    /// Length of its prefix in bits.
    pub prefix: u8,
}

/// Addresses of all interfaces in the calling thread's network namespace, both families, as the kernel orders them.
pub fn addresses() -> Result<Vec<Address>, DumpError> {
    let names = interface_names()?;
    let request = RouteNetlinkMessage::GetAddress(AddressMessage::default());
    let mut found = Vec::new();
    for message in dump(NETLINK_ROUTE, "addresses", &request)? {
        let RouteNetlinkMessage::NewAddress(message) = message else {
            continue;
        };
        let Some(ip) = own_address(&message.attributes) else {
            continue;
        };
        let index = message.header.index;
        found.push(Address {
            // An interface may come to be between the two dumps; its number then stands for its name.
            interface: names.get(&index).cloned().unwrap_or_else(|| format!("#{index}")),
            ip,
            prefix: message.header.prefix_len,
        });
    }
    Ok(found)
}

/// On point-to-point links `IFA_ADDRESS` is the peer's address and `IFA_LOCAL` ours (rtnetlink(7)); IPv6 may have the first alone.
fn own_address(attributes: &[AddressAttribute]) -> Option<IpAddr> {
    let mut address = None;
    for attribute in attributes {
        match attribute {
            AddressAttribute::Local(ip) => return Some(*ip),
            AddressAttribute::Address(ip) => address = Some(*ip),
            _ => {}
        }
    }
    address
}
