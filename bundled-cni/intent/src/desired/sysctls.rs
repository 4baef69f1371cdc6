//! Kernel parameters (SPEC.md, section 5.7).

use crate::{
    census::Member,
    family::{Family, PerFamily},
    inputs::LocalAddress,
};
use netcheck_node_state::NetState;
use std::collections::{BTreeMap, BTreeSet};

/// Which kernel parameters must read what. Names are as [`netcheck_node_state::Change::WriteSysctl`] takes them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sysctls {
    /// Those of the whole namespace, and what they must read.
    pub global: BTreeMap<String, String>,
    /// Devices of ours, which must forward: 1 is written where 0 is read.
    pub forwarding: BTreeSet<(String, Family)>,
    /// Devices that must not lose what router advertisements told them when IPv6 forwarding starts.
    pub uplinks: BTreeSet<String>,
}

impl Sysctls {
    pub(super) fn new(own: &Member<'_>, local: &PerFamily<LocalAddress>, net: &NetState) -> Self {
        let mut sysctls = Self::default();
        for family in own.range_families() {
            sysctls
                .global
                .insert(forwarding_of_all(family).to_owned(), "1".to_owned());
            sysctls
                .forwarding
                .extend(net.links.keys().map(|device| (device.clone(), family)));
        }
        if sysctls.global.contains_key(forwarding_of_all(Family::V6)) {
            sysctls.uplinks = local.iter().map(|local| local.device.clone()).collect();
        }
        sysctls
    }

    /// Everything that must be read to compare.
    pub fn keys(&self) -> BTreeSet<String> {
        let mut keys: BTreeSet<String> = self.global.keys().cloned().collect();
        for (device, family) in &self.forwarding {
            keys.extend([forwarding(device, *family), forwarding("default", *family)]);
        }
        keys.extend(self.uplinks.iter().map(|device| accept_ra(device)));
        keys
    }
}

/// What makes a namespace forward a family.
pub fn forwarding_of_all(family: Family) -> &'static str {
    match family {
        Family::V4 => "net.ipv4.ip_forward",
        Family::V6 => "net.ipv6.conf.all.forwarding",
    }
}

/// What makes a device forward a family.
pub fn forwarding(device: &str, family: Family) -> String {
    let number = match family {
        Family::V4 => 4,
        Family::V6 => 6,
    };
    format!("net.ipv{number}.conf.{}.forwarding", in_key(device))
}

/// What makes a device hear router advertisements: 2 even where it forwards.
pub fn accept_ra(device: &str) -> String {
    format!("net.ipv6.conf.{}.accept_ra", in_key(device))
}

/// A dot in a device's name is a slash in a key, as for sysctl(8).
fn in_key(device: &str) -> String {
    device.replace('.', "/")
}
