//! Results: the one that comes in with the configuration, and ours appended to it (CNI 1.1.0 section 5 "ADD Success").

use crate::{
    Failure,
    config::{Dns, wrong},
    version::Version,
};
use ipnet::IpNet;
use netcheck_cni_intent::{
    derive::gateway_for,
    names::{GATEWAY4, HOST_MAC, SCOPE_LINK},
};
use netcheck_node_state::Mac;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::net::IpAddr;

/// A result, checked as far as it is used, with all its keys kept.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Previous {
    whole: Map<String, Value>,
    interfaces: Vec<RawInterface>,
    ips: Vec<RawIp>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
struct RawInterface {
    name: String,
    #[serde(default)]
    sandbox: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
struct RawIp {
    address: IpNet,
    #[serde(rename = "gateway")]
    _gateway: Option<IpAddr>,
    interface: Option<usize>,
}

#[derive(Deserialize)]
struct RawRoute {
    #[serde(rename = "dst")]
    _destination: IpNet,
    #[serde(rename = "gw")]
    _gateway: Option<IpAddr>,
}

/// What one ADD of ours made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    /// The veth's end on the node.
    pub host_veth: String,
    /// Its end in the pod.
    pub if_name: String,
    /// The pod's hardware address.
    pub mac: Mac,
    /// File of the pod's namespace.
    pub sandbox: String,
    /// The pod's addresses.
    pub ips: Vec<IpAddr>,
    /// MTU of both ends, in bytes.
    pub link_mtu: u32,
    /// MTU in the pod's default routes, in bytes.
    pub route_mtu: u32,
    /// Name servers for the pod.
    pub dns: Option<Dns>,
}

impl Previous {
    /// Checks a result.
    ///
    /// # Errors
    /// [`crate::Code::CONFIG`].
    pub fn from_value(value: &Value) -> Result<Self, Failure> {
        let bad = |what: &dyn std::fmt::Display| wrong(format!("prevResult: {what}"));
        let Value::Object(whole) = value else {
            return Err(bad(&"it is no JSON object"));
        };
        let list = |key: &str| match whole.get(key) {
            None | Some(Value::Null) => Value::Array(Vec::new()),
            Some(list) => list.clone(),
        };
        let interfaces: Vec<RawInterface> =
            Deserialize::deserialize(list("interfaces")).map_err(|error| bad(&format!("interfaces: {error}")))?;
        let ips: Vec<RawIp> = Deserialize::deserialize(list("ips")).map_err(|error| bad(&format!("ips: {error}")))?;
        if let Some(index) = ips
            .iter()
            .filter_map(|ip| ip.interface)
            .find(|index| *index >= interfaces.len())
        {
            return Err(bad(&format!("ips: there is no interface {index}")));
        }
        Vec::<RawRoute>::deserialize(list("routes")).map_err(|error| bad(&format!("routes: {error}")))?;
        if let Some(dns) = whole.get("dns").filter(|dns| !dns.is_null()) {
            Dns::deserialize(dns).map_err(|error| bad(&format!("dns: {error}")))?;
        }
        Ok(Self {
            whole: whole.clone(),
            interfaces,
            ips,
        })
    }

    /// The addresses that it says an interface inside a sandbox has; `None` if it does not know the interface.
    pub fn ips_of(&self, if_name: &str, sandbox: &str) -> Option<Vec<IpAddr>> {
        let is_it = |one: &RawInterface| one.name == if_name && one.sandbox.as_deref() == Some(sandbox);
        let index = self.interfaces.iter().position(is_it)?;
        let its = self.ips.iter().filter(|ip| ip.interface == Some(index));
        Some(its.map(|ip| ip.address.addr()).collect())
    }

    /// All addresses of it, as a plugin that only gives out addresses answers.
    pub fn ips(&self) -> Vec<IpAddr> {
        self.ips.iter().map(|ip| ip.address.addr()).collect()
    }

    /// Name servers that it names.
    pub fn dns(&self) -> Option<Dns> {
        let dns = self.whole.get("dns")?;
        Dns::deserialize(dns).ok()
    }

    /// This result with an interface more, in the words of a version.
    pub fn with(self, made: &Made, version: Version) -> Value {
        let mut whole = self.whole;
        let pod_end = self.interfaces.len() + 1;
        let knows_mtu = version >= Version::V1_1_0;
        let interface = |name: &str, mac: Mac, sandbox: Option<&str>| {
            let mut interface = json!({"name": name, "mac": mac.to_string()});
            if knows_mtu {
                interface["mtu"] = made.link_mtu.into();
            }
            if let Some(sandbox) = sandbox {
                interface["sandbox"] = sandbox.into();
            }
            interface
        };
        let ip = |ip: &IpAddr| {
            let mut entry = json!({
                "address": IpNet::from(*ip).to_string(), "gateway": gateway_for(*ip).to_string(), "interface": pod_end
            });
            if version < Version::V1_0_0 {
                entry["version"] = if ip.is_ipv4() { "4" } else { "6" }.into();
            }
            entry
        };
        let mut routes = Vec::new();
        if made.ips.iter().any(IpAddr::is_ipv4) {
            let mut to_gateway = json!({"dst": format!("{GATEWAY4}/32")});
            if knows_mtu {
                to_gateway["scope"] = SCOPE_LINK.into();
            }
            routes.push(to_gateway);
        }
        for (is_there, everywhere) in [
            (made.ips.iter().find(|ip| ip.is_ipv4()), "0.0.0.0/0"),
            (made.ips.iter().find(|ip| ip.is_ipv6()), "::/0"),
        ] {
            let Some(ip) = is_there else { continue };
            let mut default = json!({"dst": everywhere, "gw": gateway_for(*ip).to_string()});
            if knows_mtu {
                default["mtu"] = made.route_mtu.into();
            }
            routes.push(default);
        }
        let interfaces = [
            interface(&made.host_veth, HOST_MAC, None),
            interface(&made.if_name, made.mac, Some(&made.sandbox)),
        ];
        append(&mut whole, "interfaces", interfaces);
        append(&mut whole, "ips", made.ips.iter().map(ip));
        append(&mut whole, "routes", routes);
        if let Some(dns) = &made.dns {
            whole.insert("dns".to_owned(), json!(dns));
        }
        finish(whole, version)
    }

    /// This result as it is, in a version.
    pub fn unchanged(self, version: Version) -> Value {
        finish(self.whole, version)
    }
}

fn finish(mut whole: Map<String, Value>, version: Version) -> Value {
    whole.insert("cniVersion".to_owned(), version.text().into());
    whole.entry("dns").or_insert_with(|| json!({}));
    Value::Object(whole)
}

fn append(whole: &mut Map<String, Value>, key: &str, more: impl IntoIterator<Item = Value>) {
    let list = whole.entry(key).or_insert_with(|| json!([]));
    if list.is_null() {
        *list = json!([]);
    }
    if let Value::Array(list) = list {
        list.extend(more);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made() -> Made {
        Made {
            host_veth: "nc53ffe5c7906".to_owned(),
            if_name: "eth0".to_owned(),
            mac: Mac([0x0a, 0x58, 0x0a, 0xf4, 1, 2]),
            sandbox: "/run/netns/x".to_owned(),
            ips: vec!["10.244.1.2".parse().unwrap(), "fd00:10:244:1::2".parse().unwrap()],
            link_mtu: 1500,
            route_mtu: 1450,
            dns: None,
        }
    }

    /// Written out by hand from SPEC.md 8.1.
    #[test]
    fn the_newest_result_is_that_of_the_specification() {
        let expected = json!({
            "cniVersion": "1.1.0",
            "interfaces": [
                {"name": "nc53ffe5c7906", "mac": "0e:6e:63:00:00:01", "mtu": 1500},
                {"name": "eth0", "mac": "0a:58:0a:f4:01:02", "mtu": 1500, "sandbox": "/run/netns/x"}
            ],
            "ips": [
                {"address": "10.244.1.2/32", "gateway": "169.254.1.1", "interface": 1},
                {"address": "fd00:10:244:1::2/128", "gateway": "fe80::1", "interface": 1}
            ],
            "routes": [
                {"dst": "169.254.1.1/32", "scope": 253},
                {"dst": "0.0.0.0/0", "gw": "169.254.1.1", "mtu": 1450},
                {"dst": "::/0", "gw": "fe80::1", "mtu": 1450}
            ],
            "dns": {}
        });
        assert_eq!(Previous::default().with(&made(), Version::V1_1_0), expected);
    }

    #[test]
    fn older_results_have_only_what_they_know() {
        for version in [Version::V0_3_1, Version::V0_4_0, Version::V1_0_0] {
            let result = Previous::default().with(&made(), version);
            let text = result.to_string();
            assert!(!text.contains("mtu") && !text.contains("scope"), "{text}");
            let family = result["ips"][1].get("version");
            assert_eq!(family, (version < Version::V1_0_0).then(|| json!("6")).as_ref());
            assert_eq!(result["cniVersion"], version.text());
        }
        let only_v6 = Made {
            ips: vec!["fd00::2".parse().unwrap()],
            ..made()
        };
        let result = Previous::default().with(&only_v6, Version::V1_0_0);
        assert_eq!(result["routes"], json!([{"dst": "::/0", "gw": "fe80::1"}]));
    }

    #[test]
    fn what_came_before_is_kept_and_ours_counted_behind_it() {
        let before = json!({
            "cniVersion": "1.0.0", "extra": true, "dns": {"domain": "a.b"},
            "interfaces": [{"name": "lo", "sandbox": "/run/netns/x", "odd": 1}],
            "ips": [{"address": "127.0.0.1/8", "interface": 0}], "routes": null
        });
        let before = Previous::from_value(&before).unwrap();
        let result = before.with(&made(), Version::V1_0_0);
        assert_eq!(result["extra"], true);
        assert_eq!(result["interfaces"][0]["odd"], 1);
        assert_eq!(result["ips"][0]["interface"], 0);
        assert_eq!(result["ips"][1]["interface"], 2);
        assert_eq!(result["dns"], json!({"domain": "a.b"}));
        assert_eq!(result["routes"].as_array().unwrap().len(), 3);
        let again = Previous::from_value(&result).unwrap();
        assert_eq!(again.ips_of("eth0", "/run/netns/x"), Some(made().ips));
        assert_eq!(again.ips_of("eth0", "/run/netns/y"), None);
    }

    #[test]
    fn wrong_shapes_are_refused() {
        for bad in [
            json!([]),
            json!({"interfaces": {}}),
            json!({"interfaces": [{}]}),
            json!({"ips": [{"address": "x"}]}),
            json!({"ips": [{"address": "10.0.0.1/32", "interface": 0}]}),
            json!({"ips": [{"address": "10.0.0.1/32", "interface": -1}]}),
            json!({"ips": [{"address": "10.0.0.1/32", "gateway": "x"}]}),
            json!({"routes": [{"dst": "x"}]}),
            json!({"dns": 5}),
        ] {
            assert_eq!(
                Previous::from_value(&bad).unwrap_err().code,
                crate::Code::CONFIG,
                "{bad}"
            );
        }
    }
}
