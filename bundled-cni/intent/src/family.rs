//! The two families of addresses, and pairs of things of which there is one for each.

use ipnet::IpNet;
use std::{fmt, net::IpAddr};

/// A family of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Both, IPv4 first, as everything of ours is listed.
    pub const BOTH: [Self; 2] = [Self::V4, Self::V6];

    /// That of an address.
    pub fn of(ip: IpAddr) -> Self {
        if ip.is_ipv4() { Self::V4 } else { Self::V6 }
    }

    /// That of a prefix.
    pub fn of_net(net: &IpNet) -> Self {
        Self::of(net.addr())
    }

    /// Bits of an address.
    pub fn bits(self) -> u8 {
        match self {
            Self::V4 => 32,
            Self::V6 => 128,
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        })
    }
}

/// One thing at most for each family.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PerFamily<T> {
    /// That of IPv4.
    pub ipv4: Option<T>,
    /// That of IPv6.
    pub ipv6: Option<T>,
}

impl<T> Default for PerFamily<T> {
    fn default() -> Self {
        Self { ipv4: None, ipv6: None }
    }
}

impl<T> PerFamily<T> {
    /// That of a family.
    pub fn get(&self, family: Family) -> Option<&T> {
        match family {
            Family::V4 => self.ipv4.as_ref(),
            Family::V6 => self.ipv6.as_ref(),
        }
    }

    /// Puts one in if the place is free: the first counts.
    pub fn put_first(&mut self, family: Family, value: T) {
        match family {
            Family::V4 => self.ipv4.get_or_insert(value),
            Family::V6 => self.ipv6.get_or_insert(value),
        };
    }

    /// Those there are, IPv4 first.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.ipv4.iter().chain(&self.ipv6)
    }
}
