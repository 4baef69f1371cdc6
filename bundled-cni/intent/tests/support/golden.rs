//! Reads `golden/*.json`: the words of `ip -j`, `bridge -j` and SPEC.md into values. An unknown key is an error, so that nothing
//! that a vector says is passed over.

use ipnet::IpNet;
use netcheck_cni_intent::publish::NodeJson;
use netcheck_node_state as state;
use netcheck_node_state::{LinkKind, Mac, NetState, RouteKind};
use serde::Deserialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

/// One file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Vector {
    pub input: Input,
    #[serde(default)]
    pub before: BTreeMap<String, Before>,
    pub expected: BTreeMap<String, Expected>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Input {
    pub config: BTreeMap<String, String>,
    pub nodes: Vec<Node>,
    pub attachments: Vec<Attachment>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Node {
    pub name: String,
    pub uid: String,
    pub created: String,
    #[serde(rename = "podCIDRs")]
    pub pod_cidrs: Vec<String>,
    #[serde(rename = "internalIPs")]
    pub internal_ips: Vec<String>,
    pub annotations: BTreeMap<String, String>,
    pub local: BTreeMap<String, Local>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Local {
    pub dev: String,
    pub address: IpNet,
    pub mtu: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attachment {
    pub node: String,
    pub key: String,
    pub ips: Vec<IpAddr>,
    pub pod: Pod,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pod {
    pub namespace: String,
    pub name: String,
    pub uid: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Before {
    pub stale: Kernel,
    pub foreign: Kernel,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub struct Kernel {
    pub links: Vec<Link>,
    pub addresses: Vec<Address>,
    pub routes: Vec<Route>,
    pub neighbours: Vec<Neighbour>,
    pub fdb: Vec<Fdb>,
    pub bpf: Bpf,
    #[serde(rename = "nftTables")]
    pub nft_tables: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expected {
    pub accepted: bool,
    pub reason: Option<String>,
    #[serde(rename = "refusedPeers")]
    pub refused_peers: Vec<RefusedPeer>,
    pub degraded: BTreeSet<String>,
    pub annotations: BTreeMap<String, String>,
    #[serde(rename = "nodeJson")]
    pub node_json: NodeJson,
    pub sysctls: BTreeMap<String, String>,
    pub links: Vec<Link>,
    pub addresses: Vec<Address>,
    pub routes: Vec<Route>,
    pub neighbours: Vec<Neighbour>,
    pub fdb: Vec<Fdb>,
    pub nft: Option<Nft>,
    pub pods: Option<BTreeMap<String, Inside>>,
    pub bpf: Bpf,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RefusedPeer {
    pub node: String,
    pub reason: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Link {
    pub ifname: String,
    address: Option<String>,
    mtu: Option<u32>,
    ifalias: Option<String>,
    inet6_addr_gen_mode: Option<String>,
    linkinfo: Option<LinkInfo>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LinkInfo {
    info_kind: String,
    info_data: Option<InfoData>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct InfoData {
    id: u32,
    local: Option<IpAddr>,
    local6: Option<IpAddr>,
    link: String,
    port: u16,
    learning: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Address {
    dev: Option<String>,
    local: IpAddr,
    prefixlen: u8,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Route {
    r#type: Option<String>,
    dst: String,
    gateway: Option<IpAddr>,
    dev: Option<String>,
    protocol: Option<String>,
    scope: Option<String>,
    metric: Option<u32>,
    #[serde(default)]
    metrics: Vec<Metrics>,
    #[serde(default)]
    flags: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Metrics {
    mtu: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Neighbour {
    dst: IpAddr,
    dev: String,
    lladdr: String,
    state: Vec<String>,
    protocol: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fdb {
    mac: String,
    dst: IpAddr,
    flags: Vec<String>,
    state: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Nft {
    pub pods4: BTreeSet<IpNet>,
    pub pods6: BTreeSet<IpNet>,
    pub nomasq4: BTreeSet<IpNet>,
    pub nomasq6: BTreeSet<IpNet>,
    pub rules: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Inside {
    pub link: Link,
    pub addresses: Vec<Address>,
    pub routes: Vec<Route>,
    pub neighbours: Vec<Neighbour>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub struct Bpf {
    #[serde(rename = "nc_ep")]
    pub endpoints: Vec<Endpoint>,
    #[serde(rename = "nc_node")]
    pub nodes: Vec<NodeEntry>,
    #[serde(rename = "nc_peer")]
    pub peers: BTreeSet<IpAddr>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Endpoint {
    pub address: IpAddr,
    pub dev: String,
    pub pod_mac: String,
    pub host_mac: String,
    pub pod_uid: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct NodeEntry {
    pub prefix: IpNet,
    pub node: IpAddr,
    pub vtep_mac: String,
    pub flags: BTreeSet<String>,
}

pub fn mac(text: &str) -> Mac {
    text.parse().unwrap()
}

/// `default`, an address, or a range; `default` is of the gateway's family.
fn destination(text: &str, gateway: Option<IpAddr>) -> IpNet {
    if text == "default" {
        return match gateway.unwrap() {
            IpAddr::V4(_) => "0.0.0.0/0".parse().unwrap(),
            IpAddr::V6(_) => "::/0".parse().unwrap(),
        };
    }
    text.parse()
        .unwrap_or_else(|_| IpNet::from(text.parse::<IpAddr>().unwrap()))
}

/// Names of /etc/iproute2/rt_protos; nothing shown is boot.
fn protocol(text: Option<&str>) -> u8 {
    match text {
        None => 3,
        Some("static") => 4,
        Some("bird") => 12,
        Some(number) => number.parse().unwrap(),
    }
}

impl Link {
    /// What a vector leaves out of a link is as the kernel makes it; all are up.
    pub fn value(&self) -> state::Link {
        let kind = match &self.linkinfo {
            None => LinkKind::Other(String::new()),
            Some(info) if info.info_kind == "veth" => LinkKind::Veth,
            Some(info) => {
                assert_eq!(info.info_kind, "vxlan");
                let data = info.info_data.as_ref().unwrap();
                LinkKind::Vxlan(state::Vxlan {
                    vni: data.id,
                    port: data.port,
                    local: data.local.or(data.local6),
                    device: Some(data.link.clone()),
                    learns: data.learning,
                    unusual: BTreeMap::new(),
                })
            }
        };
        state::Link {
            mac: self.address.as_deref().map(mac),
            mtu: self.mtu.unwrap_or(1500),
            is_up: true,
            alias: self.ifalias.clone(),
            makes_link_local: Some(self.inet6_addr_gen_mode.as_deref() != Some("none")),
            kind,
        }
    }
}

impl Address {
    /// `device`: where the vector names none.
    pub fn value(&self, device: &str) -> state::Address {
        state::Address {
            interface: self.dev.clone().unwrap_or_else(|| device.to_owned()),
            ip: self.local,
            prefix: self.prefixlen,
        }
    }
}

impl Route {
    pub fn value(&self) -> state::Route {
        assert!(self.metrics.len() <= 1 && self.flags.iter().all(|flag| flag == "onlink"));
        state::Route {
            table: 254,
            destination: destination(&self.dst, self.gateway),
            metric: self.metric.unwrap_or(0),
            kind: match self.r#type.as_deref() {
                None => RouteKind::Unicast,
                Some("unreachable") => RouteKind::Unreachable,
                Some(other) => panic!("route of type {other}"),
            },
            gateway: self.gateway,
            device: self.dev.clone(),
            scope: match self.scope.as_deref() {
                None => 0,
                Some("link") => 253,
                Some(other) => panic!("scope {other}"),
            },
            protocol: protocol(self.protocol.as_deref()),
            mtu: self.metrics.first().map(|metrics| metrics.mtu),
            is_onlink: !self.flags.is_empty(),
            next_hops: Vec::new(),
            source: None,
        }
    }
}

impl Neighbour {
    pub fn value(&self) -> state::Neighbour {
        state::Neighbour {
            device: self.dev.clone(),
            ip: self.dst,
            mac: Some(mac(&self.lladdr)),
            is_permanent: self.state == ["PERMANENT"],
            protocol: self.protocol.as_ref().map_or(0, |text| text.parse().unwrap()),
            flags: 0,
        }
    }
}

impl Fdb {
    fn value(&self) -> state::FdbEntry {
        assert_eq!(self.flags, ["self"]);
        state::FdbEntry {
            device: "ncvx0".to_owned(),
            mac: mac(&self.mac),
            destination: Some(self.dst),
            is_permanent: self.state == "permanent",
            port: None,
            vni: None,
            via: None,
            flags: 0,
        }
    }
}

impl Kernel {
    /// Adds all this to a namespace.
    pub fn put_into(&self, net: &mut NetState) {
        put(
            net,
            &self.links,
            &self.addresses,
            &self.routes,
            &self.neighbours,
            &self.fdb,
        );
    }
}

impl Expected {
    /// The namespace that is expected, ours only.
    pub fn net(&self) -> NetState {
        let mut net = NetState::default();
        put(
            &mut net,
            &self.links,
            &self.addresses,
            &self.routes,
            &self.neighbours,
            &self.fdb,
        );
        net
    }
}

fn put(
    net: &mut NetState,
    links: &[Link],
    addresses: &[Address],
    routes: &[Route],
    neighbours: &[Neighbour],
    fdb: &[Fdb],
) {
    net.links
        .extend(links.iter().map(|link| (link.ifname.clone(), link.value())));
    net.addresses.extend(addresses.iter().map(|address| address.value("")));
    net.routes.extend(routes.iter().map(Route::value));
    net.neighbours.extend(neighbours.iter().map(Neighbour::value));
    net.fdb.extend(fdb.iter().map(Fdb::value));
}
