//! The ConfigMap's data (SPEC.md, section 1.1): flat keys, checked one by one, refused as a whole.

use crate::{derive::config_hash, family::Family};
use ipnet::IpNet;
use std::{collections::BTreeMap, fmt};

/// How packets get to another node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    /// In a tunnel.
    Vxlan,
    /// By the other node as gateway; nodes that are not on the same link are refused.
    HostGw,
    /// By the other node as gateway where that can be, else in a tunnel.
    Auto,
}

/// A configuration that was found good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// All pod ranges of the cluster.
    pub cluster_cidrs: Vec<IpNet>,
    /// The way to other nodes.
    pub backend: Backend,
    /// Family between nodes, if one is prescribed.
    pub underlay: Option<Family>,
    /// VXLAN network identifier.
    pub vni: u32,
    /// UDP port.
    pub port: u16,
    /// Upper limit of the pods' MTU in bytes, if there is one.
    pub mtu: Option<u32>,
    /// Whether what leaves the cluster gets the node's address.
    pub masquerade: bool,
    /// Further destinations that see the pods' own addresses.
    pub no_masquerade_cidrs: Vec<IpNet>,
    /// Whether BPF is used where it can be.
    pub ebpf: bool,
    /// One packet in so many becomes an event; 0: none.
    pub event_sample: u32,
    /// Plugins after ours, in order.
    pub chain: Vec<Chained>,
    /// Seconds between full comparisons.
    pub period_seconds: u32,
    /// Hash of the data as it is.
    pub hash: String,
}

/// A plugin that may come after ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Chained {
    /// hostPort.
    Portmap,
    /// Limits of bandwidth.
    Bandwidth,
    /// Kernel parameters.
    Tuning,
}

impl fmt::Display for Chained {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Portmap => "portmap",
            Self::Bandwidth => "bandwidth",
            Self::Tuning => "tuning",
        })
    }
}

/// One thing that is wrong in the ConfigMap.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// A key that means nothing here; most likely a misspelt one.
    #[error("ConfigMap netcheck-cni/netcheck-cni: key {0:?} is unknown; known are {known}", known = KEYS.join(", "))]
    UnknownKey(String),
    /// A value that must be given.
    #[error("ConfigMap netcheck-cni/netcheck-cni: key {0} is missing; set it to {1}")]
    Missing(&'static str, &'static str),
    /// A value that cannot be.
    #[error("ConfigMap netcheck-cni/netcheck-cni: {key} is {value:?}; set it to {wanted}")]
    BadValue {
        /// The key.
        key: &'static str,
        /// Its value, or the part of a list that is bad.
        value: String,
        /// What would be good.
        wanted: &'static str,
    },
}

/// All keys, as SPEC.md lists them.
const KEYS: [&str; 12] = [
    "clusterCIDRs",
    "backend",
    "underlay",
    "vni",
    "port",
    "mtu",
    "masquerade",
    "noMasqueradeCIDRs",
    "ebpf",
    "eventSample",
    "chain",
    "periodSeconds",
];

const WANTED_CIDRS: &str =
    "ranges without host bits, each once, with commas between them, as in 10.244.0.0/16,fd00:10:244::/48";

impl Config {
    /// Reads the ConfigMap's `.data`.
    ///
    /// # Errors
    /// Everything that is wrong, each as one line: whoever mends it wants to see all at once.
    pub fn parse(data: &BTreeMap<String, String>) -> Result<Self, Vec<ConfigError>> {
        let mut read = Reader {
            data,
            errors: Vec::new(),
        };
        for key in data.keys().filter(|key| !KEYS.contains(&key.as_str())) {
            read.errors.push(ConfigError::UnknownKey(key.clone()));
        }
        let cluster_cidrs = read.list("clusterCIDRs", "", WANTED_CIDRS, range);
        if data.get("clusterCIDRs").is_none_or(|value| value.trim().is_empty()) {
            read.errors.push(ConfigError::Missing("clusterCIDRs", WANTED_CIDRS));
        }
        let config = Self {
            cluster_cidrs,
            backend: read
                .one("backend", "vxlan", "vxlan, host-gw or auto", |value| match value {
                    "vxlan" => Some(Backend::Vxlan),
                    "host-gw" => Some(Backend::HostGw),
                    "auto" => Some(Backend::Auto),
                    _ => None,
                })
                .unwrap_or(Backend::Vxlan),
            underlay: read
                .one("underlay", "auto", "ipv4, ipv6 or auto", |value| match value {
                    "ipv4" => Some(Some(Family::V4)),
                    "ipv6" => Some(Some(Family::V6)),
                    "auto" => Some(None),
                    _ => None,
                })
                .flatten(),
            vni: read.number("vni", "4242", "a number from 1 to 16777215", 1, 0xff_ffff),
            // In range, so nothing is cut off.
            port: read.number("port", "8472", "a number from 1 to 65535", 1, 0xffff) as u16,
            mtu: read
                .one("mtu", "0", "0 for no limit, or a number from 576 to 65535", |value| {
                    let mtu = value.parse().ok()?;
                    (mtu == 0 || (576..=65535).contains(&mtu)).then_some(mtu)
                })
                .filter(|&mtu| mtu != 0),
            masquerade: read
                .one("masquerade", "true", "true or false", |value| value.parse().ok())
                .unwrap_or(true),
            no_masquerade_cidrs: read.list("noMasqueradeCIDRs", "", WANTED_CIDRS, range),
            ebpf: read
                .one("ebpf", "auto", "auto or off", |value| match value {
                    "auto" => Some(true),
                    "off" => Some(false),
                    _ => None,
                })
                .unwrap_or(true),
            event_sample: read.number(
                "eventSample",
                "1024",
                "0 for none, or a number up to 4294967295",
                0,
                u32::MAX,
            ),
            chain: read.list(
                "chain",
                "portmap",
                "some of portmap, bandwidth, tuning, each once, with commas between them",
                |value| match value {
                    "portmap" => Some(Chained::Portmap),
                    "bandwidth" => Some(Chained::Bandwidth),
                    "tuning" => Some(Chained::Tuning),
                    _ => None,
                },
            ),
            period_seconds: read.number("periodSeconds", "30", "a number from 1 to 86400", 1, 86400),
            hash: config_hash(data),
        };
        if read.errors.is_empty() {
            Ok(config)
        } else {
            Err(read.errors)
        }
    }

    /// Whether there is an overlay device.
    pub fn has_overlay(&self) -> bool {
        self.backend != Backend::HostGw
    }
}

/// A range without host bits.
pub(crate) fn range(text: &str) -> Option<IpNet> {
    text.parse().ok().filter(|net: &IpNet| net.trunc() == *net)
}

/// Reads values and gathers what is wrong with them.
struct Reader<'a> {
    data: &'a BTreeMap<String, String>,
    errors: Vec<ConfigError>,
}

impl Reader<'_> {
    fn bad(&mut self, key: &'static str, value: &str, wanted: &'static str) {
        let value = value.to_owned();
        self.errors.push(ConfigError::BadValue { key, value, wanted });
    }

    fn text(&self, key: &str, default: &str) -> String {
        self.data.get(key).map_or(default, |value| value.trim()).to_owned()
    }

    fn one<T>(
        &mut self,
        key: &'static str,
        default: &str,
        wanted: &'static str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Option<T> {
        let text = self.text(key, default);
        let value = parse(&text);
        if value.is_none() {
            self.bad(key, &text, wanted);
        }
        value
    }

    fn number(&mut self, key: &'static str, default: &str, wanted: &'static str, low: u32, high: u32) -> u32 {
        let in_range = |text: &str| text.parse().ok().filter(|number| (low..=high).contains(number));
        self.one(key, default, wanted, in_range).unwrap_or(low)
    }

    fn list<T: PartialEq>(
        &mut self,
        key: &'static str,
        default: &str,
        wanted: &'static str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Vec<T> {
        let text = self.text(key, default);
        let mut values = Vec::new();
        if text.is_empty() {
            return values;
        }
        for word in text.split(',').map(str::trim) {
            match parse(word) {
                Some(value) if !values.contains(&value) => values.push(value),
                _ => self.bad(key, word, wanted),
            }
        }
        values
    }
}

#[cfg(test)]
mod tests {
    use super::{Backend, Chained, Config};
    use std::collections::BTreeMap;

    fn parse(pairs: &[(&str, &str)]) -> Result<Config, Vec<String>> {
        let data: BTreeMap<_, _> = pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        Config::parse(&data).map_err(|errors| errors.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn what_is_not_said_has_the_specification_s_default() {
        let config = parse(&[("clusterCIDRs", "10.244.0.0/16")]).unwrap();
        assert_eq!(
            (config.backend, config.underlay, config.vni, config.port),
            (Backend::Vxlan, None, 4242, 8472)
        );
        assert_eq!((config.mtu, config.masquerade, config.ebpf), (None, true, true));
        assert_eq!((config.event_sample, config.period_seconds), (1024, 30));
        assert_eq!(config.chain, [Chained::Portmap]);
        assert!(config.no_masquerade_cidrs.is_empty());
        assert!(
            parse(&[("clusterCIDRs", "10.244.0.0/16"), ("chain", "")])
                .unwrap()
                .chain
                .is_empty()
        );
    }

    #[test]
    fn every_mistake_is_one_line_that_says_what_to_do() {
        let bad = [
            (
                "clusterCIDR",
                "10.244.0.0/16",
                "key \"clusterCIDR\" is unknown; known are clusterCIDRs, backend",
            ),
            (
                "clusterCIDRs",
                "10.244.1.0/16",
                "clusterCIDRs is \"10.244.1.0/16\"; set it to ranges without host bits",
            ),
            (
                "clusterCIDRs",
                "10.244.0.0/16,",
                "clusterCIDRs is \"\"; set it to ranges",
            ),
            (
                "backend",
                "ipip",
                "backend is \"ipip\"; set it to vxlan, host-gw or auto",
            ),
            ("underlay", "v4", "underlay is \"v4\""),
            ("vni", "0", "vni is \"0\"; set it to a number from 1 to 16777215"),
            ("vni", "16777216", "vni is \"16777216\""),
            ("port", "65536", "port is \"65536\""),
            ("mtu", "575", "mtu is \"575\""),
            ("masquerade", "yes", "masquerade is \"yes\"; set it to true or false"),
            ("noMasqueradeCIDRs", "10.0.0.0", "noMasqueradeCIDRs is \"10.0.0.0\""),
            ("ebpf", "on", "ebpf is \"on\""),
            ("eventSample", "-1", "eventSample is \"-1\""),
            ("chain", "portmap,portmap", "chain is \"portmap\"; set it to some of"),
            ("chain", "flannel", "chain is \"flannel\""),
            ("periodSeconds", "0", "periodSeconds is \"0\""),
            ("backend", "a\nb", "backend is \"a\\nb\""),
        ];
        for (key, value, line) in bad {
            let errors = parse(&[("clusterCIDRs", "10.244.0.0/16"), (key, value)]).unwrap_err();
            assert_eq!(errors.len(), 1, "{key}={value}: {errors:?}");
            let start = "ConfigMap netcheck-cni/netcheck-cni: ";
            assert!(
                errors[0].starts_with(&format!("{start}{line}")),
                "{key}={value}: {errors:?}"
            );
            assert!(!errors[0].contains('\n'));
        }
        assert_eq!(parse(&[("vni", "x"), ("prot", "1")]).unwrap_err().len(), 3);
    }
}
