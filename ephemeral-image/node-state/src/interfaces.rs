//! A namespace's interfaces, by rtnetlink: it follows the namespace, which `/sys/class/net` does not.

use crate::{
    netlink::{DumpError, dump},
    numbers::{IFLA_ADDRESS, IFLA_EXT_MASK, IFLA_IFNAME, RTEXT_FILTER_SKIP_STATS, RTM_GETLINK, RTM_NEWLINK},
    wire::{LINK_HEADER, Message, text, u16_at, u32_at},
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
    Ok(dump_links(Counters::LeftOut)?
        .iter()
        .filter_map(read_interface)
        .collect())
}

/// Whether interfaces' counters are wanted, too: adding them up takes time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Counters {
    Told,
    LeftOut,
}

/// What the kernel says about all interfaces.
pub(crate) fn dump_links(counters: Counters) -> Result<Vec<Message>, DumpError> {
    let mask = match counters {
        Counters::Told => 0,
        Counters::LeftOut => RTEXT_FILTER_SKIP_STATS,
    };
    let request = Message::new(RTM_GETLINK, &[0; LINK_HEADER]).with(IFLA_EXT_MASK, &mask.to_ne_bytes());
    dump(NETLINK_ROUTE, "interfaces", &request)
}

fn read_interface(answer: &Message) -> Option<(u32, Interface)> {
    if answer.kind != RTM_NEWLINK {
        return None;
    }
    let mut interface = Interface {
        hardware_type: u16_at(&answer.body, 2)?,
        ..Interface::default()
    };
    for (number, value) in answer.attributes(LINK_HEADER) {
        match number {
            IFLA_IFNAME => interface.name = text(value),
            IFLA_ADDRESS => interface.address = value.to_vec(),
            _ => {}
        }
    }
    Some((u32_at(&answer.body, 4)?, interface))
}

/// Names of the interfaces in the calling thread's network namespace, by index.
pub fn interface_names() -> Result<BTreeMap<u32, String>, DumpError> {
    let found = interfaces()?.into_iter();
    Ok(found.map(|(index, interface)| (index, interface.name)).collect())
}
