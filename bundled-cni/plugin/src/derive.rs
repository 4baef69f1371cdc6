//! What follows from names and addresses alone (SPEC.md sections 1 and 2): anyone can compute it again with `sha256sum`.

use netcheck_node_state::Mac;
use sha2::{Digest, Sha256};
use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// The version of everything that SPEC.md describes.
pub const SCHEMA: u32 = 1;
/// File name of the plugin, and the `type` by which a configuration names it.
pub const PLUGIN: &str = "netcheck-cni";
/// Where the state is kept, unless a configuration's `dataDir` says otherwise.
pub const STATE_DIRECTORY: &str = "/run/netcheck-cni";
/// What aliases of our devices begin with.
pub const ALIAS: &str = "netcheck-cni ";
/// Mark on routes and neighbours (`RTA_PROTOCOL`, `NDA_PROTOCOL`).
pub const PROTOCOL: u8 = 147;
/// Hardware address of every host veth: the pods' neighbour entries for their gateway need no other.
pub const HOST_MAC: Mac = Mac([0x0e, 0x6e, 0x63, 0, 0, 1]);
/// The IPv4 gateway that pods see; on no interface anywhere.
pub const GATEWAY4: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);
/// The IPv6 gateway that pods see; on no interface anywhere.
pub const GATEWAY6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);

/// Longest name of a file (`NAME_MAX` of linux/limits.h), in bytes: a key is one.
const NAME_MAX: usize = 255;
/// Longest alias of a device, in bytes (`IFALIASZ` of linux/if.h, less the closing zero).
const ALIAS_MAX: usize = 255;

/// One interface of one pod sandbox, as the CNI specification identifies it: `NETWORK@CONTAINERID@IFNAME`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// The network's name.
    pub network: String,
    /// The sandbox, as the runtime calls it.
    pub container_id: String,
    /// The interface's name inside.
    pub if_name: String,
}

impl Key {
    /// The key that a file or a link target spells out; `None` where it is foreign.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.splitn(3, '@');
        let mut part = || parts.next().filter(|part| !part.is_empty()).map(str::to_owned);
        let (network, container_id, if_name) = (part()?, part()?, part()?);
        let is_file_name = text.len() <= NAME_MAX && !text.contains('/');
        is_file_name.then_some(Self {
            network,
            container_id,
            if_name,
        })
    }

    /// Whether a file can have this name.
    pub fn fits_a_file_name(&self) -> bool {
        self.to_string().len() <= NAME_MAX
    }

    /// Name of the veth's end on the node: `nc` and 11 hex digits.
    pub fn host_veth(&self) -> String {
        let text = format!("{}/{}/{}", self.network, self.container_id, self.if_name);
        let hash = sha256(&text);
        // Eleven digits are 44 bits.
        let first = u64::from_be_bytes(std::array::from_fn(|place| hash[place]));
        format!("nc{:011x}", first >> 20)
    }

    /// What a host veth of this attachment is marked with, cut to what the kernel takes; `pod` is `NAMESPACE/NAME` or `-`.
    pub fn alias(&self, pod: &str) -> String {
        let mut alias = format!("{ALIAS}{self} {pod}");
        while alias.len() > ALIAS_MAX {
            alias.pop();
        }
        alias
    }

    /// The attachment that the alias of a host veth of this name names; `None` if it is not ours, or was cut inside the key.
    pub fn of_alias(alias: &str, host_veth: &str) -> Option<Self> {
        let named = alias.strip_prefix(ALIAS)?.split(' ').next()?;
        Self::parse(named).filter(|key| key.host_veth() == host_veth)
    }

    /// Whether an alias names this attachment. An alias that was cut inside the key does as far as it goes.
    pub fn is_in_alias(&self, alias: &str) -> bool {
        let Some(rest) = alias.strip_prefix(ALIAS) else {
            return false;
        };
        let key = self.to_string();
        match rest.split_once(' ') {
            Some((named, _)) => named == key,
            None => alias.len() == ALIAS_MAX && key.starts_with(rest),
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}@{}@{}", self.network, self.container_id, self.if_name)
    }
}

/// Hardware address of a pod with these addresses: from its first IPv4 address, else from its first of all; `None` without any.
pub fn pod_mac(ips: &[IpAddr]) -> Option<Mac> {
    let first = ips.iter().find(|ip| ip.is_ipv4()).or_else(|| ips.first())?;
    let [a, b, c, d] = match first {
        IpAddr::V4(ip) => ip.octets(),
        IpAddr::V6(ip) => {
            let hash = sha256(&ip.to_string());
            [hash[0], hash[1], hash[2], hash[3]]
        }
    };
    Some(Mac([0x0a, 0x58, a, b, c, d]))
}

/// The gateway that pods see in the family of `ip`.
pub fn gateway_for(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(_) => GATEWAY4.into(),
        IpAddr::V6(_) => GATEWAY6.into(),
    }
}

fn sha256(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> Key {
        Key::parse("netcheck@a1b2c3d4@eth0").unwrap()
    }

    /// The examples of SPEC.md 2.2, which `sha256sum` gave.
    #[test]
    fn derivations_are_those_of_the_specification() {
        assert_eq!(key().host_veth(), "nc53ffe5c7906");
        let mac = |ips: &[&str]| {
            let ips: Vec<IpAddr> = ips.iter().map(|ip| ip.parse().unwrap()).collect();
            pod_mac(&ips).unwrap().to_string()
        };
        assert_eq!(mac(&["fd00:10:244:1::2", "10.244.1.2"]), "0a:58:0a:f4:01:02");
        assert_eq!(mac(&["fd00:10:244:1::2"]), "0a:58:1e:02:46:41");
        assert_eq!(pod_mac(&[]), None);
    }

    #[test]
    fn a_key_reads_what_it_writes() {
        assert_eq!(key().to_string(), "netcheck@a1b2c3d4@eth0");
        assert_eq!(Key::parse("n@c@e@0").unwrap().if_name, "e@0");
        for foreign in [
            "",
            "a@b",
            "@b@c",
            "a@@c",
            "a@b@",
            "a@b@c/d",
            &format!("a@b@{}", "c".repeat(252)),
        ] {
            assert_eq!(Key::parse(foreign), None, "{foreign}");
        }
    }

    #[test]
    fn an_alias_names_its_key_even_when_cut() {
        let alias = key().alias("default/web");
        assert_eq!(alias, "netcheck-cni netcheck@a1b2c3d4@eth0 default/web");
        assert!(key().is_in_alias(&alias));
        assert_eq!(Key::of_alias(&alias, "nc53ffe5c7906"), Some(key()));
        assert_eq!(Key::of_alias(&alias, "ncother"), None);
        assert_eq!(Key::of_alias("netcheck-cni v1", "ncvx0"), None);
        let other = Key::parse("netcheck@a1b2c3d4@eth01").unwrap();
        assert!(!other.is_in_alias(&alias) && !key().is_in_alias(&other.alias("-")));
        assert!(!key().is_in_alias("uplink") && !key().is_in_alias("netcheck-cni v1"));
        let long = Key {
            container_id: "c".repeat(240),
            ..key()
        };
        let cut = long.alias("default/web");
        assert_eq!(cut.len(), 255);
        assert!(long.is_in_alias(&cut) && !key().is_in_alias(&cut));
        assert!(long.is_in_alias(&long.alias(&"p".repeat(300))));
    }
}
