//! A namespace's interfaces, by rtnetlink: it follows the namespace, which `/sys/class/net` does not.

use crate::netlink::{DumpError, dump};
use netlink_packet_route::{
    RouteNetlinkMessage,
    link::{LinkAttribute, LinkMessage},
};
use netlink_sys::protocols::NETLINK_ROUTE;
use std::collections::BTreeMap;

/// A network interface.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// `ARPHRD_*` of linux/if_arp.h.
    pub hardware_type: u16,
    /// Its hardware address; empty if it has none.
    pub address: Vec<u8>,
}

/// The interfaces in the calling thread's network namespace, by index.
pub fn interfaces() -> Result<BTreeMap<u32, Interface>, DumpError> {
    let request = RouteNetlinkMessage::GetLink(LinkMessage::default());
    let mut found = BTreeMap::new();
    for message in dump(NETLINK_ROUTE, "interfaces", &request)? {
        let RouteNetlinkMessage::NewLink(link) = message else {
            continue;
        };
        let mut interface = Interface {
            hardware_type: link.header.link_layer_type.into(),
            ..Interface::default()
        };
        for attribute in link.attributes {
            match attribute {
                LinkAttribute::IfName(name) => interface.name = name,
                LinkAttribute::Address(address) => interface.address = address,
                _ => {}
            }
        }
        found.insert(link.header.index, interface);
    }
    Ok(found)
}

/// Names of the interfaces in the calling thread's network namespace, by index.
pub fn interface_names() -> Result<BTreeMap<u32, String>, DumpError> {
    let found = interfaces()?.into_iter();
    Ok(found.map(|(index, interface)| (index, interface.name)).collect())
}
