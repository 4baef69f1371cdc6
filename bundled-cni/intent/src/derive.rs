//! What follows from names and addresses alone (SPEC.md, sections 2.1 and 2.2): anyone can compute it, and nobody needs to ask.

use crate::{
    inputs::PodName,
    names::{ALIAS_BYTES, FILE_NAME_BYTES, GATEWAY4, GATEWAY6, VETH_ALIAS_START, VETH_NAME_START},
};
use ipnet::IpNet;
use netcheck_node_state::Mac;
use sha2::{Digest, Sha256};
use std::{collections::BTreeMap, fmt, fmt::Write, net::IpAddr, str::FromStr};

/// Hardware address of a node's overlay device, from the Node's name. `0a`: locally administered, unicast (RFC 9542, section 2.1).
pub fn vtep_mac(node: &str) -> Mac {
    let digest = Sha256::digest(format!("vtep/{node}"));
    Mac([0x0a, digest[0], digest[1], digest[2], digest[3], digest[4]])
}

/// Address of the overlay device in a range: its first, which no pod gets.
pub fn vtep_address(range: &IpNet) -> IpAddr {
    range.network()
}

/// One interface of one pod sandbox: `NETWORK@CONTAINERID@IFNAME`, the primary key of stored state in the CNI specification.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AttachmentKey {
    /// The CNI network.
    pub network: String,
    /// The sandbox, as the runtime names it.
    pub container_id: String,
    /// The interface inside.
    pub if_name: String,
}

/// Why a text is no attachment key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no attachment: NETWORK@CONTAINERID@IFNAME is wanted, each part of at least one character, which a file can be named"
)]
pub struct NoAttachmentKey(String);

impl fmt::Display for AttachmentKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}@{}@{}", self.network, self.container_id, self.if_name)
    }
}

impl FromStr for AttachmentKey {
    type Err = NoAttachmentKey;

    fn from_str(text: &str) -> Result<Self, NoAttachmentKey> {
        // Network and container names cannot hold `@`; an interface's name can.
        let mut parts = text.splitn(3, '@').filter(|part| !part.is_empty()).map(str::to_owned);
        match (parts.next(), parts.next(), parts.next()) {
            (Some(network), Some(container_id), Some(if_name)) if is_file_name(text) => Ok(Self {
                network,
                container_id,
                if_name,
            }),
            _ => Err(NoAttachmentKey(text.to_owned())),
        }
    }
}

impl AttachmentKey {
    /// Whether a file can have this name: files and link targets are how attachments are stored.
    pub fn fits_a_file_name(&self) -> bool {
        is_file_name(&self.to_string())
    }

    /// Name of the veth's end on the node: what DEL always knows is enough for it.
    pub fn host_veth(&self) -> String {
        let text = format!("{}/{}/{}", self.network, self.container_id, self.if_name);
        format!("{VETH_NAME_START}{}", hex_start(text.as_bytes(), 11))
    }

    /// Alias of the veth's end on the node, cut to what the kernel takes.
    pub fn alias(&self, pod: &PodName) -> String {
        let mut alias = format!("{VETH_ALIAS_START}{self} {pod}");
        alias.truncate(alias.floor_char_boundary(ALIAS_BYTES));
        alias
    }

    /// The attachment that the alias of a host veth of this name names; `None` if it is not ours, or was cut inside the key.
    pub fn of_alias(alias: &str, host_veth: &str) -> Option<Self> {
        let named = alias.strip_prefix(VETH_ALIAS_START)?.split(' ').next()?;
        let key: Self = named.parse().ok()?;
        (key.host_veth() == host_veth).then_some(key)
    }

    /// Whether an alias names this attachment. An alias that was cut inside the key does as far as it goes.
    pub fn is_in_alias(&self, alias: &str) -> bool {
        let Some(rest) = alias.strip_prefix(VETH_ALIAS_START) else {
            return false;
        };
        let key = self.to_string();
        match rest.split_once(' ') {
            Some((named, _)) => named == key,
            // Cut before a character, which has four bytes at most.
            None => alias.len() + 4 > ALIAS_BYTES && key.starts_with(rest),
        }
    }
}

fn is_file_name(text: &str) -> bool {
    text.len() <= FILE_NAME_BYTES && !text.contains(['/', '\0'])
}

/// Hardware address of a pod's interface, from its addresses: the IPv4 address's bytes, or a hash of the IPv6 address's text (RFC 5952).
/// `None` for no address.
pub fn pod_mac(ips: &[IpAddr]) -> Option<Mac> {
    let ipv4 = ips.iter().find_map(|ip| match ip {
        IpAddr::V4(ip) => Some(ip.octets()),
        IpAddr::V6(_) => None,
    });
    let [a, b, c, d] = if let Some(octets) = ipv4 {
        octets
    } else {
        let digest = Sha256::digest(ips.first()?.to_string());
        [digest[0], digest[1], digest[2], digest[3]]
    };
    Some(Mac([0x0a, 0x58, a, b, c, d]))
}

/// The gateway that pods see in the family of an address.
pub fn gateway_for(ip: IpAddr) -> IpAddr {
    if ip.is_ipv4() { GATEWAY4 } else { GATEWAY6 }
}

/// The configuration's hash: first 12 hex digits of SHA-256 over its lines `key=value`, sorted by key (SPEC.md, section 1.1).
pub fn config_hash(data: &BTreeMap<String, String>) -> String {
    let mut lines = String::new();
    for (key, value) in data {
        lines.push_str(key);
        lines.push('=');
        lines.push_str(value);
        lines.push('\n');
    }
    hex_start(lines.as_bytes(), 12)
}

/// The first so many hex digits of SHA-256.
fn hex_start(bytes: &[u8], digits: usize) -> String {
    let mut hex = String::new();
    for byte in Sha256::digest(bytes) {
        // Writing to a String cannot fail.
        let _ = write!(hex, "{byte:02x}");
    }
    hex.truncate(digits);
    hex
}

#[cfg(test)]
mod tests {
    use super::{AttachmentKey, pod_mac, vtep_address, vtep_mac};
    use crate::{inputs::PodName, names::ALIAS_BYTES};

    fn key() -> AttachmentKey {
        "netcheck@a1b2c3d4@eth0".parse().unwrap()
    }

    fn pod(namespace: &str, name: &str) -> PodName {
        let (namespace, name) = (namespace.to_owned(), name.to_owned());
        let uid = String::new();
        PodName { namespace, name, uid }
    }

    // Values of SPEC.md, made there with printf and sha256sum.
    #[test]
    fn derives_what_the_specification_s_commands_print() {
        assert_eq!(vtep_mac("n1").to_string(), "0a:3d:1f:b3:8c:45");
        assert_eq!(vtep_mac("n2").to_string(), "0a:48:9d:da:b5:3d");
        assert_eq!(key().host_veth(), "nc53ffe5c7906");
        let (v4, v6) = ("10.244.1.2".parse().unwrap(), "fd00:10:244:1::2".parse().unwrap());
        assert_eq!(pod_mac(&[v6, v4]).unwrap().to_string(), "0a:58:0a:f4:01:02");
        assert_eq!(pod_mac(&[v6]).unwrap().to_string(), "0a:58:1e:02:46:41");
        assert_eq!(pod_mac(&[]), None);
        assert_eq!(
            vtep_address(&"10.244.1.0/24".parse().unwrap()).to_string(),
            "10.244.1.0"
        );
    }

    #[test]
    fn keys_read_what_they_write_and_refuse_what_is_none() {
        let text = "netcheck@a1b2c3d4@eth@0";
        let read: AttachmentKey = text.parse().unwrap();
        assert_eq!((read.to_string().as_str(), read.if_name.as_str()), (text, "eth@0"));
        let long = |bytes: usize| format!("a@b@{}", "c".repeat(bytes - 4));
        assert!(long(255).parse::<AttachmentKey>().unwrap().fits_a_file_name());
        for foreign in ["", "a", "a@b", "@a@b", "a@@c", "a@b@", "a@b@c/d", "a@b@c\0", &long(256)] {
            assert!(foreign.parse::<AttachmentKey>().is_err(), "{foreign}");
        }
        let long = AttachmentKey {
            if_name: "e".repeat(250),
            ..key()
        };
        assert!(!long.fits_a_file_name());
    }

    #[test]
    fn aliases_name_the_pod_and_fit_into_the_kernel() {
        assert_eq!(
            key().alias(&pod("default", "web")),
            "netcheck-cni netcheck@a1b2c3d4@eth0 default/web"
        );
        assert_eq!(
            key().alias(&PodName::default()),
            "netcheck-cni netcheck@a1b2c3d4@eth0 -"
        );
        let long = key().alias(&pod("default", &"ü".repeat(250)));
        assert!(
            (ALIAS_BYTES - 1..=ALIAS_BYTES).contains(&long.len()),
            "{} bytes",
            long.len()
        );
    }

    #[test]
    fn an_alias_names_its_key_even_when_cut() {
        let alias = key().alias(&pod("default", "web"));
        assert!(key().is_in_alias(&alias));
        assert_eq!(AttachmentKey::of_alias(&alias, "nc53ffe5c7906"), Some(key()));
        assert_eq!(AttachmentKey::of_alias(&alias, "ncother"), None);
        assert_eq!(AttachmentKey::of_alias("netcheck-cni v1", "ncvx0"), None);
        let other: AttachmentKey = "netcheck@a1b2c3d4@eth01".parse().unwrap();
        assert!(!other.is_in_alias(&alias) && !key().is_in_alias(&other.alias(&PodName::default())));
        assert!(!key().is_in_alias("uplink") && !key().is_in_alias("netcheck-cni v1"));
        for character in ["c", "ü", "日"] {
            let long = AttachmentKey {
                if_name: character.repeat(240 / character.len()),
                ..key()
            };
            let cut = long.alias(&pod("default", "web"));
            assert!((ALIAS_BYTES - 3..=ALIAS_BYTES).contains(&cut.len()));
            assert!(long.is_in_alias(&cut) && !key().is_in_alias(&cut));
            assert_eq!(AttachmentKey::of_alias(&cut, &long.host_veth()), None);
        }
    }
}
