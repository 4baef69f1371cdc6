//! Changes to a network namespace, as values: what turns one state into another.

use crate::{Address, FdbEntry, Mac, Neighbour, Route, Vxlan};
use std::net::IpAddr;

/// One change. Adding what is there already and removing what is gone both succeed: the state is what counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Makes a vxlan device, down, without link-local address; or finishes one of this name, alias, number, port and family.
    CreateVxlan {
        /// Its name.
        name: String,
        /// Its hardware address.
        mac: Mac,
        /// In bytes. The kernel makes it less, without a word, where the device below has no room for it.
        mtu: u32,
        /// Whose it is.
        alias: String,
        /// The tunnel.
        vxlan: Vxlan,
    },
    /// Changes one thing about a device.
    SetLink {
        /// The device.
        name: String,
        /// What.
        set: LinkSetting,
    },
    /// Removes a device, and with it what hangs on it.
    DeleteLink(String),
    /// Adds an address; an IPv6 one without looking for duplicates.
    AddAddress(Address),
    /// Removes an address.
    DeleteAddress(Address),
    /// Adds a route or takes the place of the one with the same destination, table and metric, without a moment between.
    ReplaceRoute(Route),
    /// Removes a route.
    DeleteRoute(Route),
    /// Adds a neighbour or takes the place of the one with the same device and address.
    ReplaceNeighbour(Neighbour),
    /// Removes a neighbour.
    DeleteNeighbour(Neighbour),
    /// Makes this the only forwarding entry of a hardware address on a device.
    ReplaceFdb(FdbEntry),
    /// Removes a forwarding entry.
    DeleteFdb(FdbEntry),
    /// Writes a kernel parameter of the namespace, in dots: `net.ipv4.ip_forward`; a dot in a device's name is a slash, as for sysctl(8).
    WriteSysctl {
        /// Which.
        key: String,
        /// What.
        value: String,
    },
}

/// What can be changed about a device that exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkSetting {
    /// Set up.
    Up,
    /// Its hardware address.
    Mac(Mac),
    /// In bytes.
    Mtu(u32),
    /// Free text.
    Alias(String),
    /// Whether the kernel makes a link-local address of its own when it goes up.
    MakesLinkLocal(bool),
    /// Source address and device below of a vxlan; of the family that it has already.
    VxlanSource {
        /// Source of what it sends.
        local: IpAddr,
        /// The device below it.
        device: String,
    },
    /// Whether a vxlan learns forwarding entries.
    VxlanLearns(bool),
    /// Changes back what of [`Vxlan::unusual`] is in [`Vxlan::CHANGEABLE`].
    VxlanUsual {
        /// An address of its family.
        local: IpAddr,
    },
}
