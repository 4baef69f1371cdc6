//! Which route decides about a packet, as far as the tables alone tell it.

use ipnet::IpNet;
use netcheck_node_state::{NetState, Route};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

/// `RT_TABLE_MAIN` of linux/rtnetlink.h.
const MAIN: u32 = 254;
/// `RT_TABLE_LOCAL`.
const LOCAL: u32 = 255;

/// The routes of a network namespace but for table `local` and defaults, in a form that is quick to ask.
#[derive(Debug, Default)]
pub struct Routes<'a> {
    by_destination: BTreeMap<IpNet, Vec<&'a Route>>,
    /// Lengths of prefixes that occur, of either family.
    lengths: BTreeSet<u8>,
}

impl<'a> Routes<'a> {
    /// Takes them in.
    pub fn of(net: &'a NetState) -> Self {
        let mut routes = Self::default();
        let is_specific = |route: &&Route| route.table != LOCAL && route.destination.prefix_len() > 0;
        for route in net.routes.iter().filter(is_specific) {
            routes.lengths.insert(route.destination.prefix_len());
            routes.by_destination.entry(route.destination).or_default().push(route);
        }
        routes
    }

    /// Those to an address, of all tables, the longest prefix first.
    pub fn to(&self, ip: IpAddr) -> impl Iterator<Item = &'a Route> {
        let nets = self
            .lengths
            .iter()
            .rev()
            .filter_map(move |length| IpNet::new(ip, *length).ok());
        nets.filter_map(|net| self.by_destination.get(&net.trunc()))
            .flatten()
            .copied()
    }

    /// The route in table main that decides where packets to an address go, if it is not a default.
    pub fn best(&self, ip: IpAddr) -> Option<&'a Route> {
        let first = self.to(ip).find(|route| route.table == MAIN)?;
        self.exact(&first.destination)
    }

    /// The route in table main to exactly that destination.
    pub fn exact(&self, to: &IpNet) -> Option<&'a Route> {
        let all = self.by_destination.get(to)?.iter().copied();
        all.filter(|route| route.table == MAIN).min_by_key(|route| route.metric)
    }
}

/// Whether a route is by a device.
pub fn is_by(route: &Route, device: &str) -> bool {
    let hops = route.next_hops.iter().filter_map(|hop| hop.device.as_deref());
    route
        .device
        .as_deref()
        .into_iter()
        .chain(hops)
        .any(|name| name == device)
}

/// Whether it is a route to one address.
pub fn is_of_host(net: &IpNet) -> bool {
    net.prefix_len() == net.max_prefix_len()
}
