//! The configuration that comes on stdin (CNI 1.1.0 section 1, as a runtime derives it for one plugin).

use crate::{Code, Failure, previous::Previous, request::is_name, version::Version};
use netcheck_cni_intent::names::{PLUGIN, STATE_DIRECTORY};
use netcheck_node_state::Mac;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{collections::BTreeSet, net::IpAddr, path::PathBuf};

/// Longest configuration, in bytes.
pub const LONGEST: usize = 1 << 20;
/// The least MTU of a veth (`ETH_MIN_MTU` of linux/if_ether.h), in bytes.
const LEAST_MTU: u32 = 68;

/// A configuration, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The version that the result shall have.
    pub version: Version,
    /// The network's name.
    pub network: String,
    /// Which part we play.
    pub role: Role,
    /// Who gives out addresses.
    pub ipam: Ipam,
    /// Upper limit of this attachment's MTUs, in bytes.
    pub mtu: Option<u32>,
    /// Name servers for the pod, passed into the result.
    pub dns: Option<Dns>,
    /// Where the state is kept.
    pub data_dir: PathBuf,
    /// Addresses that the runtime asks for.
    pub wanted_ips: Vec<IpAddr>,
    /// The hardware address that the runtime asks for.
    pub wanted_mac: Option<Mac>,
    /// GC: the attachments that stay, as (container, interface).
    pub valid: Option<BTreeSet<(String, String)>>,
    previous: Option<Value>,
}

/// Which plugin we are called as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The one that makes a pod's interface.
    Network,
    /// The one that sets `lo` up.
    Loopback,
}

/// Who gives out addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ipam {
    /// We, from the node's podCIDRs.
    Own,
    /// A plugin of this name in `CNI_PATH`.
    Delegate(String),
}

/// Name servers, as CNI has them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Dns {
    /// Addresses of name servers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub nameservers: Vec<String>,
    /// The local domain.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub domain: String,
    /// Domains to search.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub search: Vec<String>,
    /// Options for the resolver.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<String>,
}

/// What of the configuration is ours; the rest is of chained plugins and runtimes.
#[derive(Deserialize)]
struct Raw {
    name: Option<String>,
    #[serde(rename = "type")]
    plugin: Option<String>,
    ipam: Option<RawIpam>,
    mtu: Option<u32>,
    dns: Option<Dns>,
    #[serde(rename = "dataDir")]
    data_dir: Option<PathBuf>,
    #[serde(rename = "runtimeConfig")]
    runtime: Option<RawRuntime>,
    args: Option<RawArgs>,
}

/// Of the configuration's `args` (CONVENTIONS.md of containernetworking/cni): what an orchestrator asks of all plugins.
#[derive(Deserialize)]
struct RawArgs {
    cni: Option<RawCniArgs>,
}

#[derive(Deserialize)]
struct RawCniArgs {
    ips: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct RawIpam {
    #[serde(rename = "type")]
    plugin: Option<String>,
}

#[derive(Deserialize)]
struct RawRuntime {
    ips: Option<Vec<String>>,
    mac: Option<String>,
}

#[derive(Deserialize)]
struct RawAttachment {
    #[serde(rename = "containerID")]
    container_id: String,
    ifname: String,
}

/// JSON of an object that says no more than which version is asked for.
///
/// # Errors
/// [`Code::DECODE`] if it is no JSON object or too long, [`Code::CONFIG`] if the version is no text.
pub fn read(input: &[u8]) -> Result<(Value, Option<String>), Failure> {
    if input.len() > LONGEST {
        return Err(Failure::new(
            Code::DECODE,
            format!("the configuration on stdin is longer than {LONGEST} bytes"),
        ));
    }
    let value: Value = serde_json::from_slice(input)
        .map_err(|error| Failure::new(Code::DECODE, format!("the configuration on stdin is no JSON: {error}")))?;
    let Value::Object(object) = &value else {
        return Err(wrong("it is no JSON object"));
    };
    let version = match object.get("cniVersion") {
        None | Some(Value::Null) => None,
        Some(Value::String(version)) => Some(version.clone()),
        Some(other) => return Err(wrong(format!("cniVersion {other} is no text"))),
    };
    Ok((value, version.filter(|version| !version.is_empty())))
}

impl Config {
    /// What a configuration of this version says.
    ///
    /// # Errors
    /// [`Code::CONFIG`] for a wrong shape, [`Code::UNSUPPORTED`] for a value that cannot be done.
    pub fn from_value(version: Version, mut value: Value) -> Result<Self, Failure> {
        let previous = value.get_mut("prevResult").map(Value::take);
        let valid = valid_attachments(&value)?;
        let raw = Raw::deserialize(value).map_err(wrong)?;
        let network = raw.name.unwrap_or_default();
        if !is_name(&network) {
            return Err(wrong(format!("name {network:?} is none that CNI allows")));
        }
        let role = match raw.plugin.as_deref() {
            Some("loopback") => Role::Loopback,
            _ => Role::Network,
        };
        let ipam = match raw.ipam.and_then(|ipam| ipam.plugin) {
            None => Ipam::Own,
            Some(plugin) if plugin == PLUGIN => Ipam::Own,
            Some(plugin) if is_name(&plugin) => Ipam::Delegate(plugin),
            Some(plugin) => return Err(wrong(format!("ipam.type {plugin:?} is no plugin's name"))),
        };
        // As in the reference plugins, 0 is no limit.
        let mtu = raw.mtu.filter(|mtu| *mtu != 0);
        if let Some(mtu) = mtu.filter(|mtu| *mtu < LEAST_MTU) {
            let what = format!("mtu {mtu} is below {LEAST_MTU}, the least of a veth");
            return Err(Failure::new(Code::UNSUPPORTED, what));
        }
        let data_dir = raw.data_dir.unwrap_or_else(|| STATE_DIRECTORY.into());
        if !data_dir.is_absolute() {
            return Err(wrong(format!("dataDir {:?} is no absolute path", data_dir.display())));
        }
        let (ips, mac) = raw.runtime.map_or((None, None), |runtime| (runtime.ips, runtime.mac));
        let args_ips = raw.args.and_then(|args| args.cni?.ips);
        // What is asked for this very attachment counts more than what is asked of the network.
        let wanted_ips = match ips.filter(|ips| !ips.is_empty()) {
            Some(ips) => wanted_ips("runtimeConfig.ips", &ips),
            None => wanted_ips("args.cni.ips", &args_ips.unwrap_or_default()),
        }?;
        let mac = mac.filter(|mac| !mac.is_empty());
        let wanted_mac = mac.map(|mac| wanted_mac(&mac)).transpose()?;
        Ok(Self {
            version,
            network,
            role,
            ipam,
            mtu,
            dns: raw.dns,
            data_dir,
            wanted_ips,
            wanted_mac,
            valid,
            previous,
        })
    }

    /// The result that the plugins before us came to, if there were any.
    ///
    /// # Errors
    /// [`Code::CONFIG`] if it is none. Only the verbs that use it look at it: DEL must succeed with a broken one.
    pub fn previous(&self) -> Result<Option<Previous>, Failure> {
        match &self.previous {
            None | Some(Value::Null) => Ok(None),
            Some(value) => Previous::from_value(value).map(Some),
        }
    }

    /// The lower of `mtu` and the configuration's limit.
    pub fn limit(&self, mtu: u32) -> u32 {
        self.mtu.map_or(mtu, |limit| limit.min(mtu))
    }
}

pub(crate) fn wrong(what: impl std::fmt::Display) -> Failure {
    Failure::new(Code::CONFIG, format!("configuration: {what}"))
}

/// With or without prefix length: pods have /32 and /128 whatever is asked for.
fn wanted_ips(key: &str, texts: &[String]) -> Result<Vec<IpAddr>, Failure> {
    let wanted_ip = |text: &String| {
        let address = text.parse::<ipnet::IpNet>().map(|net| net.addr());
        address
            .or_else(|_| text.parse())
            .map_err(|_| wrong(format!("{key}: {text:?} is no address")))
    };
    texts.iter().map(wanted_ip).collect()
}

fn wanted_mac(text: &str) -> Result<Mac, Failure> {
    let mac: Mac = text
        .parse()
        .map_err(|error| wrong(format!("runtimeConfig.mac: {error}")))?;
    // The lowest bit of the first byte marks groups (RFC 9542 section 2.1); all zero is nobody.
    if mac.0[0] & 1 == 1 || mac == Mac::default() {
        return Err(wrong(format!(
            "runtimeConfig.mac: {mac} is no address of one interface"
        )));
    }
    Ok(mac)
}

/// Both keys that runtimes write; the older one came by an error of libcni 1.2 and stayed. `null` is an empty list, written in Go.
fn valid_attachments(config: &Value) -> Result<Option<BTreeSet<(String, String)>>, Failure> {
    let mut valid = None;
    for key in ["cni.dev/valid-attachments", "cni.dev/attachments"] {
        let Some(value) = config.get(key) else { continue };
        let listed =
            Option::<Vec<RawAttachment>>::deserialize(value).map_err(|error| wrong(format!("{key}: {error}")))?;
        let listed = listed.into_iter().flatten();
        valid
            .get_or_insert_with(BTreeSet::new)
            .extend(listed.map(|one| (one.container_id, one.ifname)));
    }
    Ok(valid)
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
