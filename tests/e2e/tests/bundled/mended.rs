//! What is deleted or falsified by hand is put right: by the kernel's event at once, or, where nothing tells, within a period.

use anyhow::{Context as _, Result, bail};
use netcheck_e2e::{
    bundled::{PATIENCE, configure, reach, settled, two_pods},
    fault::Fault,
    lab::Lab,
    ledger,
    runner::Case,
    stream::Stream,
};
use netcheck_rig::{Node, wait_until};
use serde_json::{Value, json};
use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

pub const CASES: &[Case] = &[
    (
        "bundled: what is deleted or falsified by hand is back by event",
        by_event,
    ),
    ("bundled: what nothing tells of is back within a period", by_period),
    (
        "bundled: with an API server that does not answer, nodes are kept",
        with_silent_api,
    ),
    (
        "bundled: a Node with another's range is refused, told of, and harms nobody",
        doubled_range,
    ),
];

/// A day: what is mended then was mended because of an event.
const NEVER: &str = "86400";
/// What an event tells of, and what a period finds, is mended far sooner even where several clusters share a machine.
const PROMPT: Duration = Duration::from_secs(20);
/// Long enough to see that something is wrong first.
const SHORT: u64 = 2;

fn sh(node: &Node, line: &str) -> Result<String> {
    node.run(["sh", "-c", line]).with_context(|| line.to_owned())
}

fn by_event(lab: &Lab) -> Result<()> {
    configure(lab, &json!({ "periodSeconds": NEVER }))?;
    let outcome = deeds(lab);
    configure(lab, &json!({ "periodSeconds": null }))?;
    outcome
}

fn deeds(lab: &Lab) -> Result<()> {
    let namespace = two_pods(lab)?;
    let n1 = lab.rig.node("n1")?;
    ledger::wait(&lab.rig, PATIENCE, "the start")?;
    let remote = sh(&n1, "ip route show proto 147 | grep -m 1 onlink | cut -d' ' -f1")?;
    let remote = remote.trim();
    let own = namespace.address("on-n1", false)?;
    let veth = namespace.host_veth("on-n1", "n1")?;
    let stream = Stream::open(lab, &namespace, "on-n1", "on-n2", false)?;
    for deed in [
        "ip link set ncvx0 down",
        "ip link delete ncvx0",
        "ip link set ncvx0 address 02:00:00:00:00:01",
        "ip link set ncvx0 mtu 1200",
        "ip address flush dev ncvx0",
        &format!("ip route delete {remote}"),
        &format!("ip route replace blackhole {remote} proto 147"),
        &format!("ip route replace blackhole {remote}"),
        "bridge fdb show dev ncvx0 | while read mac rest; do bridge fdb delete $mac dev ncvx0; done",
        "ip neigh flush dev ncvx0 nud permanent",
        &format!("ip neigh replace {own} lladdr 02:00:00:00:00:02 nud permanent dev {veth}"),
        &format!("ip link set {veth} down; ip link set {veth} up"),
        &format!("ip link set {veth} down"),
        &format!("ip route delete {own}"),
        "nft delete table inet netcheck-cni",
        "nft flush set inet netcheck-cni pods4",
    ] {
        let gap = stream
            .gap(PROMPT, || sh(&n1, deed).map(drop))
            .with_context(|| deed.to_owned())?;
        let shown = deed.replace(&veth, "VETH");
        println!("bundled: `{shown}`: {} ms without a round", gap.as_millis());
        ledger::wait(&lab.rig, PATIENCE, deed)?;
    }
    reach(&namespace, "on-n1", "on-n2", "all of it")
}

fn by_period(lab: &Lab) -> Result<()> {
    configure(lab, &json!({ "periodSeconds": SHORT.to_string() }))?;
    let outcome = silent_deeds(lab);
    configure(lab, &json!({ "periodSeconds": null }))?;
    outcome
}

fn silent_deeds(lab: &Lab) -> Result<()> {
    const PINS: &str = "/sys/fs/bpf/netcheck-cni/v1";
    let n1 = lab.rig.node("n1")?;
    // A deed, what shows it, and what it must say again.
    for (deed, look) in [
        ("sysctl -qw net.ipv4.ip_forward=0", "sysctl -n net.ipv4.ip_forward"),
        (
            "sysctl -qw net.ipv6.conf.all.forwarding=0",
            "sysctl -n net.ipv6.conf.all.forwarding",
        ),
        ("rm /opt/cni/bin/netcheck-cni", "sha256sum /opt/cni/bin/netcheck-cni"),
        (
            "echo '{}' > /etc/cni/net.d/05-netcheck.conflist",
            "cat /etc/cni/net.d/05-netcheck.conflist",
        ),
        ("rm /run/netcheck-cni/node.json", "cat /run/netcheck-cni/node.json"),
        (
            &format!("rm {PINS}/links/ncvx0_in {PINS}/links/ncvx0_out"),
            &format!("ls {PINS}/links"),
        ),
        (
            &format!("rm {PINS}/maps/nc_node"),
            &format!("ls {PINS}/maps; bpftool -j map dump pinned {PINS}/maps/nc_node"),
        ),
    ] {
        let before = sh(&n1, look)?;
        let start = Instant::now();
        // A pass may come between the two, and then it is mended before it is seen.
        wait_until(&format!("`{look}` to show what `{deed}` does"), PATIENCE, || {
            let falsified = sh(&n1, &format!("{deed}; {look} 2>&1; true")).map_err(|error| error.to_string())?;
            if falsified == before { Err(falsified) } else { Ok(()) }
        })?;
        wait_until(&format!("what `{deed}` took away"), PROMPT, || {
            let now = sh(&n1, &format!("{look} 2>&1; true")).map_err(|error| error.to_string())?;
            if now == before { Ok(()) } else { Err(now) }
        })?;
        println!(
            "bundled: `{deed}`: seen as before after {:.1} s, the period being {SHORT} s",
            start.elapsed().as_secs_f64()
        );
    }
    ledger::wait(&lab.rig, PATIENCE, "silent falsifications")?;
    let namespace = two_pods(lab)?;
    let stream = Stream::open(lab, &namespace, "on-n1", "on-n2", true)?;
    let gap = stream.gap(PROMPT, || {
        sh(&n1, "sysctl -qw net.ipv6.conf.all.forwarding=0").map(drop)
    })?;
    println!(
        "bundled: IPv6 forwarding off under a connection: {} ms without a round",
        gap.as_millis()
    );
    ledger::wait(&lab.rig, PATIENCE, "IPv6 forwarding")
}

/// Until n1's conditions tell of a route that is in the way, or do not any more.
fn wait_for_word(lab: &Lab, is_told: bool) -> Result<()> {
    Ok(wait_until("conditions to tell what is", PATIENCE, || {
        let node = lab.kubectl("get node n1 -o json").map_err(|error| error.to_string())?;
        if node.contains("RouteShadowed") == is_told {
            Ok(())
        } else {
            Err(node)
        }
    })?)
}

/// Until an Event about n1 names the route that is in the way.
fn wait_for_event(lab: &Lab) -> Result<()> {
    Ok(wait_until("an Event about n1", PATIENCE, || {
        let events = lab
            .rig
            .kubectl_json(&["get", "events.events.k8s.io", "-A"])
            .map_err(|error| error.to_string())?;
        let mut events = events["items"].as_array().into_iter().flatten();
        let is_it = |event: &Value| {
            event["regarding"]["kind"] == "Node"
                && event["regarding"]["name"] == "n1"
                && format!("{} {}", event["reason"], event["note"]).contains("RouteShadowed")
        };
        if events.any(is_it) {
            Ok(())
        } else {
            Err("none tells of RouteShadowed".to_owned())
        }
    })?)
}

fn with_silent_api(lab: &Lab) -> Result<()> {
    let namespace = two_pods(lab)?;
    let n1 = lab.rig.node("n1")?;
    let stream = Stream::open(lab, &namespace, "on-n1", "on-n2", false)?;
    let silence = Fault::nft_on_node(
        lab,
        "n1",
        &[
            "chain inet fault output { type filter hook output priority 0 ; }",
            "rule inet fault output tcp dport 6443 drop",
        ],
    )?;
    // Another's route for a part of a pod range: no pod has this address, but the daemon has to tell of it, and waits to be heard.
    let IpAddr::V4(pod) = namespace.address("on-n2", false)? else {
        bail!("not an IPv4 address");
    };
    let [a, b, c, _] = pod.octets();
    let part = format!("{a}.{b}.{c}.250");
    let shadow = Fault::inject(
        "a route for a part of a pod range",
        || sh(&n1, &format!("ip route add blackhole {part}")).map(drop),
        || sh(&n1, &format!("ip route del blackhole {part}")).map(drop),
    )?;
    for deed in [
        "ip link set ncvx0 down",
        "ip link delete ncvx0",
        "ip address flush dev ncvx0",
    ] {
        let gap = stream
            .gap(PROMPT, || sh(&n1, deed).map(drop))
            .with_context(|| deed.to_owned())?;
        println!(
            "bundled: `{deed}` without an API server: {} ms without a round",
            gap.as_millis()
        );
    }
    silence.mend()?;
    let told = wait_for_word(lab, true).and_then(|()| wait_for_event(lab));
    shadow.mend()?;
    told?;
    wait_for_word(lab, false)?;
    settled(lab)?;
    ledger::wait(&lab.rig, PATIENCE, "a silent API server")
}

/// A Node object is all that it takes: no machine is behind this one.
const DOUBLE: &str = "n9";

fn doubled_range(lab: &Lab) -> Result<()> {
    let namespace = two_pods(lab)?;
    let n1 = lab.rig.node("n1")?;
    let ranges = lab.rig.kubectl_json(&["get", "node", "n2"])?["spec"]["podCIDRs"].clone();
    let stream = Stream::open(lab, &namespace, "on-n1", "on-n2", false)?;
    let double = Fault::inject(
        "a Node with n2's range",
        || {
            let node = json!({
                "apiVersion": "v1", "kind": "Node", "metadata": { "name": DOUBLE },
                "spec": { "podCIDR": ranges[0], "podCIDRs": ranges, "unschedulable": true }
            });
            lab.rig.apply(&node.to_string())?;
            let addresses = r#"{"status":{"addresses":[{"type":"InternalIP","address":"192.0.2.199"}]}}"#;
            lab.kubectl(&format!("patch node {DOUBLE} --subresource=status -p {addresses}"))
                .map(drop)
        },
        || lab.kubectl(&format!("delete node {DOUBLE}")).map(drop),
    )?;
    let refused = || -> Result<Value> {
        let state: Value = serde_json::from_str(&sh(&n1, "cat /run/netcheck-cni/state.json")?)?;
        Ok(state["refused"].clone())
    };
    let wait_for = |wanted: Value| {
        wait_until("n1 to say which Nodes are refused", PATIENCE, || match refused() {
            Ok(said) if said == wanted => Ok(()),
            said => Err(format!("{said:?}, not {wanted}")),
        })
    };
    let outcome = (|| -> Result<()> {
        wait_for(json!([{ "node": DOUBLE, "reason": "DuplicatePodCIDR" }]))?;
        stream.wait_until_flowing(PROMPT)?;
        // Nothing leads to it; n2 keeps what is its own.
        reach(&namespace, "on-n1", "on-n2", "beside a Node with its range")
    })();
    double.mend()?;
    outcome?;
    wait_for(json!([]))?;
    ledger::wait(&lab.rig, PATIENCE, "a Node with another's range")
}
