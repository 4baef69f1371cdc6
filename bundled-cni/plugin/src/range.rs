//! Which addresses a podCIDR has for pods, and which comes next (SPEC.md 7.3).

use ipnet::IpNet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The first offset for pods: 0 is the node's own on the overlay (for IPv6 the routers' anycast, RFC 4291 section 2.6.1), 1 is kept.
const FIRST: u128 = 2;
/// The last offset in an IPv6 range: more would not be found by looking through a folder.
const LAST6: u128 = 65_535;

/// Addresses for pods, of one family, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    first: u128,
    last: u128,
    is_ipv4: bool,
}

impl Range {
    /// That of a podCIDR; `None` if it has room for no pod.
    pub fn of(net: IpNet) -> Option<Self> {
        let is_ipv4 = matches!(net, IpNet::V4(_));
        let start = number(net.network());
        let end = number(net.broadcast());
        let last = if is_ipv4 {
            end.checked_sub(1)?
        } else {
            end.min(start.checked_add(LAST6)?)
        };
        let first = start.checked_add(FIRST)?;
        (first <= last).then_some(Self { first, last, is_ipv4 })
    }

    /// Whether its addresses are of this one's family.
    pub fn is_of_family(&self, ip: IpAddr) -> bool {
        ip.is_ipv4() == self.is_ipv4
    }

    /// Whether a pod can have this address.
    pub fn contains(&self, ip: IpAddr) -> bool {
        self.is_of_family(ip) && (self.first..=self.last).contains(&number(ip))
    }

    /// Each address once, the one after `cursor` first, round; from the front if the cursor is none of them.
    pub fn after(self, cursor: Option<IpAddr>) -> impl Iterator<Item = IpAddr> {
        let start = match cursor.filter(|ip| self.contains(*ip)) {
            Some(ip) if number(ip) < self.last => number(ip) + 1,
            _ => self.first,
        };
        let numbers = (start..=self.last).chain(self.first..start);
        numbers.map(move |number| self.address(number))
    }

    /// Name of the file with the address that was given out last.
    pub fn cursor_file(&self) -> &'static str {
        if self.is_ipv4 { "cursor4" } else { "cursor6" }
    }

    fn address(&self, number: u128) -> IpAddr {
        match u32::try_from(number) {
            Ok(number) if self.is_ipv4 => Ipv4Addr::from(number).into(),
            _ => Ipv6Addr::from(number).into(),
        }
    }
}

fn number(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(ip) => u32::from(ip).into(),
        IpAddr::V6(ip) => ip.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(net: &str) -> Range {
        Range::of(net.parse().unwrap()).unwrap()
    }

    fn list(net: &str, cursor: Option<&str>) -> Vec<String> {
        let cursor = cursor.map(|ip| ip.parse().unwrap());
        range(net).after(cursor).map(|ip| ip.to_string()).collect()
    }

    #[test]
    fn the_ends_of_a_range_are_kept() {
        assert_eq!(
            list("10.0.0.0/29", None),
            ["10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5", "10.0.0.6"]
        );
        let v6 = list("fd00::/64", None);
        assert_eq!(
            (v6.len(), v6[0].as_str(), v6[65_533].as_str()),
            (65_534, "fd00::2", "fd00::ffff")
        );
        assert_eq!(list("fd00::/126", None), ["fd00::2", "fd00::3"]);
        assert_eq!(list("255.255.255.0/24", None).len(), 253);
        for too_small in ["10.0.0.0/31", "10.0.0.0/32", "fd00::/128", "10.0.0.0/30"] {
            let range = Range::of(too_small.parse().unwrap());
            assert_eq!(range.is_some(), too_small == "10.0.0.0/30", "{too_small}");
        }
    }

    #[test]
    fn the_next_is_the_one_after_the_cursor() {
        assert_eq!(
            list("10.0.0.0/29", Some("10.0.0.4"))[..3],
            ["10.0.0.5", "10.0.0.6", "10.0.0.2"]
        );
        assert_eq!(list("10.0.0.0/29", Some("10.0.0.6"))[0], "10.0.0.2");
        for foreign in ["10.0.0.1", "10.0.0.7", "192.0.2.1", "fd00::2"] {
            assert_eq!(list("10.0.0.0/29", Some(foreign))[0], "10.0.0.2");
        }
        assert_eq!(list("fd00::/64", Some("fd00::ffff"))[0], "fd00::2");
    }

    #[test]
    fn only_pods_addresses_are_inside() {
        let range = range("10.0.0.0/29");
        let inside = |ip: &str| range.contains(ip.parse().unwrap());
        assert!(inside("10.0.0.2") && inside("10.0.0.6"));
        assert!(!inside("10.0.0.0") && !inside("10.0.0.1") && !inside("10.0.0.7") && !inside("::a00:2"));
    }
}
