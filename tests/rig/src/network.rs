//! The underlay: a bridge in the hub, a veth pair to every node and one to the root namespace. All of it is made by `ip`, in
//! batches, and vanishes with the namespaces.

use crate::{
    Addresses, Endpoint, Error, Node, Result,
    addresses::underlay_prefix,
    error::Context,
    layout::Layout,
    sandbox::{Sandbox, checked},
    wait_until,
};
use rustix::process::Pid;
use std::{
    fs,
    io::Write,
    net::IpAddr,
    process::{Command, Stdio},
    time::Duration,
};

/// The bridge's name.
const BRIDGE: &str = "underlay";
/// Its hardware address, and so the hub's as a router.
const HUB_MAC: &str = "0e:72:69:67:00:01";
/// A node's link to the underlay.
pub const NODE_LINK: &str = "eth0";

/// How long the kernel may take for the link of a namespace that has ended.
const OLD_LINK_GONE_WITHIN: Duration = Duration::from_mins(1);

/// Builds the bridge, and the way in from the root namespace.
pub fn build_hub(hub: &Sandbox, init: Pid, addresses: Addresses, layout: &Layout) -> Result<()> {
    let root_link = layout.root_link();
    ip(&[format!(
        "link add {root_link} type veth peer name root netns {}",
        init.as_raw_nonzero()
    )])?;
    let mut hub_side = vec![
        "link set lo up".to_owned(),
        format!("link add {BRIDGE} address {HUB_MAC} type bridge mcast_snooping 0"),
        format!("link set {BRIDGE} up"),
        format!("link set root master {BRIDGE} up"),
    ];
    hub_side.extend(address_lines(addresses, Endpoint::Hub, BRIDGE));
    hub.on_network(|| {
        // Answers "unreachable" for what is outside of the rig, instead of swallowing it. Pods are outside too for whoever asks the
        // hub to forward: a node that lost a route to them must not find a detour. Only the API server itself may go there.
        forward_packets()?;
        ip(&hub_side)?;
        answer_without_limits(addresses)?;
        let rule = [format!("rule add iif lo lookup {}", Table::OwnTraffic.number())];
        addresses
            .pick("-4", "-6")
            .into_iter()
            .try_for_each(|family| ip_of(family, &rule))
    })?;
    let mut root_side = address_lines(addresses, Endpoint::Root, &root_link);
    root_side.push(format!("link set {root_link} up"));
    ip(&root_side)
}

/// Answers each packet for what is outside, not only some: a router that has no route answers one sender a second once five are used up
/// (`ip_error()`, net/ipv4/route.c, which no namespace can change), so that a connection that waits its turn would seem to vanish. A reject rule
/// knows no such limit, and the one on ICMP of the same kind can be lifted. What the bridge only passes on from node to node is not the
/// router's, though it may come by here (br_netfilter).
fn answer_without_limits(addresses: Addresses) -> Result<()> {
    for (switch, value) in [
        ("/proc/sys/net/ipv4/icmp_ratemask", "0"),
        ("/proc/sys/net/ipv6/icmp/ratelimit", "0"),
    ] {
        fs::write(switch, value).context(format!("write {switch}"))?;
    }
    let v4 = addresses.of(Endpoint::Hub).into_iter().find(IpAddr::is_ipv4);
    let Some(own) = v4 else { return Ok(()) };
    let chain = format!(
        "add table ip rig
        add chain ip rig prerouting {{ type filter hook prerouting priority filter; }}
        add rule ip rig prerouting iifname {BRIDGE} ether daddr {HUB_MAC} fib daddr type unicast ip daddr != {own}/{} reject with icmp type net-unreachable",
        underlay_prefix(own)
    );
    nft(&chain)
}

/// Joins a node to the underlay. Of one that was there before, the link goes first: the kernel may not have come to it.
pub fn attach_node(hub: &Sandbox, node: &Node, init: Pid, addresses: Addresses) -> Result<()> {
    let name = &node.name;
    wait_until(&format!("the old link of {name} to go"), OLD_LINK_GONE_WITHIN, || {
        let links = hub.on_network(link_names).map_err(|error| error.to_string())?;
        if links.contains(name) {
            // It may go by itself just now.
            let gone = hub.on_network(|| ip(&[format!("link delete {name}")]));
            return Err(gone
                .err()
                .map_or_else(|| "deleted just now".to_owned(), |error| error.to_string()));
        }
        Ok(())
    })?;
    let link = [
        format!(
            "link add {name} type veth peer name {NODE_LINK} netns {}",
            init.as_raw_nonzero()
        ),
        format!("link set {name} master {BRIDGE} up"),
    ];
    hub.on_network(|| ip(&link))?;
    let mut node_side = vec!["link set lo up".to_owned(), format!("link set {NODE_LINK} up")];
    node_side.extend(address_lines(addresses, node.endpoint, NODE_LINK));
    node_side.extend(default_routes(addresses));
    node.sandbox.on_network(|| {
        forward_packets()?;
        ip(&node_side)
    })
}

/// Gives a node its other addresses. The default route goes with the last old one.
pub fn readdress_node(node: &Node, old: Endpoint, addresses: Addresses) -> Result<()> {
    let delete = addresses
        .of(old)
        .into_iter()
        .map(|address| format!("address delete {address}/{} dev {NODE_LINK}", underlay_prefix(address)));
    let mut lines: Vec<_> = delete.collect();
    lines.extend(address_lines(addresses, node.endpoint, NODE_LINK));
    lines.extend(default_routes(addresses));
    node.sandbox.on_network(|| ip(&lines))
}

fn default_routes(addresses: Addresses) -> Vec<String> {
    let gateways = addresses.of(Endpoint::Hub);
    gateways
        .iter()
        .map(|gateway| format!("route replace default via {gateway} dev {NODE_LINK}"))
        .collect()
}

/// Names of the links in the network namespace of the calling thread.
fn link_names() -> Result<Vec<String>> {
    let output = Command::new("ip")
        .args(["-o", "link"])
        .output()
        .context("run `ip -o link`")?;
    let text = checked("ip -o link", &output)?;
    // `7: n1@if2: <…`
    let name = |line: &str| Some(line.split_whitespace().nth(1)?.split(['@', ':']).next()?.to_owned());
    Ok(text.lines().filter_map(name).collect())
}

/// Who may use routes to pods.
#[derive(Debug, Clone, Copy)]
pub enum Table {
    /// Everybody: packets made here and forwarded ones.
    Main,
    /// Packets made here, by a rule of the hub.
    OwnTraffic,
}

impl Table {
    /// Its number; 254 is the main table (rtnetlink(7)).
    fn number(self) -> u8 {
        match self {
            Self::Main => 254,
            Self::OwnTraffic => 100,
        }
    }
}

/// Leads pod networks to their nodes' addresses.
pub fn set_routes(sandbox: &Sandbox, table: Table, routes: &[(String, IpAddr)]) -> Result<()> {
    let lines: Vec<_> = routes
        .iter()
        .map(|(network, via)| format!("route replace {network} via {via} table {}", table.number()))
        .collect();
    sandbox.on_network(|| ip(&lines))
}

/// Forgets pod networks of a node that left.
pub fn remove_routes(sandbox: &Sandbox, table: Table, networks: &[String]) -> Result<()> {
    sandbox.on_network(|| {
        networks.iter().try_for_each(|network| {
            match ip(&[format!("route delete {network} table {}", table.number())]) {
                // ESRCH: there is no such route, which is what was asked for.
                Err(Error::Command { message, .. }) if message.contains("No such process") => Ok(()),
                other => other,
            }
        })
    })
}

/// Removes the root namespace's link, if it is there; the rest goes with the namespaces.
pub fn remove_root_link(layout: &Layout) -> Result<()> {
    let link = layout.root_link();
    if !root_link_exists(layout) {
        return Ok(());
    }
    match ip(&[format!("link delete {link}")]) {
        // The kernel removes it by itself when the hub's namespace ends, maybe just now.
        Err(_) if !root_link_exists(layout) => Ok(()),
        other => other,
    }
}

/// Whether the root namespace has the rig's link.
pub fn root_link_exists(layout: &Layout) -> bool {
    std::path::Path::new("/sys/class/net").join(layout.root_link()).exists()
}

/// The first underlay number from `hint` on that no address of the machine uses.
pub fn free_underlay(hint: u8) -> Result<u8> {
    let output = Command::new("ip")
        .args(["-o", "-4", "address"])
        .output()
        .context("run `ip -o -4 address`")?;
    let taken = checked("ip -o -4 address", &output)?;
    let candidates = (0..=u8::MAX).map(|step| hint.wrapping_add(step));
    candidates
        .into_iter()
        .find(|number| !taken.contains(&format!(" 198.18.{number}.")))
        .ok_or_else(|| Error::Usage("every network of 198.18.0.0/16 is in use on this machine".into()))
}

fn address_lines(addresses: Addresses, endpoint: Endpoint, link: &str) -> Vec<String> {
    let command = |address: IpAddr| {
        // Nobody else is on this network: duplicate detection would only cost a second and a half.
        let nodad = if address.is_ipv6() { " nodad" } else { "" };
        format!("address add {address}/{} dev {link}{nodad}", underlay_prefix(address))
    };
    addresses.of(endpoint).into_iter().map(command).collect()
}

/// Makes a router of the network namespace of the calling thread.
fn forward_packets() -> Result<()> {
    for switch in [
        "/proc/sys/net/ipv4/ip_forward",
        "/proc/sys/net/ipv6/conf/all/forwarding",
    ] {
        fs::write(switch, "1").context(format!("write {switch}"))?;
    }
    Ok(())
}

/// Runs lines of `ip` in the network namespace of the calling thread. The family follows from each line's addresses.
fn ip(lines: &[String]) -> Result<()> {
    run_ip(&["-batch", "-"], lines)
}

/// The same for lines that name no address; `family` is `-4` or `-6`.
fn ip_of(family: &str, lines: &[String]) -> Result<()> {
    run_ip(&[family, "-batch", "-"], lines)
}

/// Runs commands of `nft` in the network namespace of the calling thread.
fn nft(commands: &str) -> Result<()> {
    let output = Command::new("nft").arg(commands).output().context("run nft")?;
    checked("nft", &output).map(drop)
}

fn run_ip(options: &[&str], lines: &[String]) -> Result<()> {
    let shown = format!("ip {}", options.join(" "));
    let mut child = Command::new("ip")
        .args(options)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context(format!("start `{shown}`"))?;
    if let Some(mut input) = child.stdin.take() {
        input
            .write_all(lines.join("\n").as_bytes())
            .context(format!("write to `{shown}`"))?;
    }
    let output = child
        .wait_with_output()
        .context(format!("collect the output of `{shown}`"))?;
    checked(&format!("{shown} <<< {lines:?}"), &output).map(drop)
}
