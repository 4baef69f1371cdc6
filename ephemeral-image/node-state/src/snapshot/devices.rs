//! What is to be seen of devices and is nobody's wish, from what the kernel says about them.

use super::Names;
use crate::{
    Link, LinkKind, ethtool,
    netlink::Channel,
    numbers::{IFLA_IFNAME, IFLA_LINK, IFLA_MASTER, IFLA_STATS64, RTM_NEWLINK},
    record::Device,
    wire::{LINK_HEADER, Message, text, u32_at},
};
use netlink_sys::protocols::NETLINK_ROUTE;
use std::{collections::BTreeMap, os::fd::AsFd as _};

/// The members of `struct rtnl_link_stats64` of linux/if_link.h, in order; newer kernels add more behind them.
const COUNTERS: [&str; 25] = [
    "rx_packets",
    "tx_packets",
    "rx_bytes",
    "tx_bytes",
    "rx_errors",
    "tx_errors",
    "rx_dropped",
    "tx_dropped",
    "multicast",
    "collisions",
    "rx_length_errors",
    "rx_over_errors",
    "rx_crc_errors",
    "rx_frame_errors",
    "rx_fifo_errors",
    "rx_missed_errors",
    "tx_aborted_errors",
    "tx_carrier_errors",
    "tx_fifo_errors",
    "tx_heartbeat_errors",
    "tx_window_errors",
    "rx_compressed",
    "tx_compressed",
    "rx_nohandler",
    "rx_otherhost_dropped",
];

/// Adds what devices do instead of the stack; of veths, of which there are many, nobody asks. What is gone meanwhile does nothing.
pub(super) fn add_features(devices: &mut BTreeMap<String, Device>, links: &BTreeMap<String, Link>) {
    // Any socket of the namespace will do.
    let Ok(socket) = Channel::open(NETLINK_ROUTE) else {
        return;
    };
    let is_asked = |name: &str| links.get(name).is_some_and(|link| link.kind != LinkKind::Veth);
    for (name, device) in devices.iter_mut().filter(|(name, _)| is_asked(name)) {
        let does = ethtool::FEATURES.into_iter().filter(|&(_, command)| {
            let answer = ethtool::ask(socket.as_fd(), name, command);
            answer.is_ok_and(|answer| answer != 0)
        });
        device.features = does.map(|(feature, _)| feature.to_owned()).collect();
    }
}

/// Reads a message of `RTM_NEWLINK`: the device under its name. `None` if it is of another kind or too short.
pub(super) fn device(answer: &Message, names: &Names) -> Option<(String, Device)> {
    if answer.kind != RTM_NEWLINK {
        return None;
    }
    let mut name = String::new();
    let mut device = Device {
        index: u32_at(&answer.body, 4)?,
        has_carrier: u32_at(&answer.body, 8)? & libc::IFF_LOWER_UP.cast_unsigned() != 0,
        ..Device::default()
    };
    for (number, value) in answer.attributes(LINK_HEADER) {
        match number {
            IFLA_IFNAME => name = text(value),
            IFLA_MASTER => device.master = u32_at(value, 0).and_then(|index| names.get(&index).cloned()),
            IFLA_LINK => device.peer = u32_at(value, 0).filter(|&index| index != 0),
            IFLA_STATS64 => device.counters = counters(value),
            _ => {}
        }
    }
    Some((name, device))
}

fn counters(value: &[u8]) -> BTreeMap<String, u64> {
    let numbers = value.as_chunks().0.iter().map(|bytes| u64::from_ne_bytes(*bytes));
    let named = COUNTERS.iter().zip(numbers).filter(|(_, number)| *number != 0);
    named.map(|(name, number)| ((*name).to_owned(), number)).collect()
}
