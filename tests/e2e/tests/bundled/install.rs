//! `cni install` on a cluster without a network, use, and `cni uninstall`: nodes are as they were.

use anyhow::{Result, bail, ensure};
use netcheck_e2e::{
    bundled::{PATIENCE, image, two_pods},
    lab::{Lab, said},
    ledger,
    runner::Case,
    shop,
};
use netcheck_rig::{Node, wait_until};
use std::collections::BTreeSet;

pub const CASES: &[Case] = &[(
    "bundled: installed, used, uninstalled, and every node is as it was",
    there_and_back,
)];

/// All that it may touch of a node, a fact a line. Counters, indexes and what kube-proxy writes by the minute are not compared; pods' own
/// devices, addresses and routes are.
const LOOK: &str = "\
ip -o link | sed 's/^[0-9]*: //; s/@.*//; s/:.*//; s/^/link /'; \
ip -o address | awk '{print \"address\", $2, $4}'; \
ip -4 route show table all | sed 's/^/route /'; ip -6 route show table all | grep -v '^fe80\\|^multicast\\|^local fe80\\|^anycast fe80' | sed 's/^/route /'; \
ip rule; ip -6 rule; ip neigh show nud permanent | sed 's/^/neighbour /'; nft list tables; \
sysctl -a 2>/dev/null | grep -E '^net\\.ipv[46]\\.(ip_forward|conf\\.(all|default|lo|eth0)\\.)'; \
tc qdisc show; \
find /etc/cni /opt/cni /run/netcheck-cni /sys/fs/bpf 2>/dev/null | sed 's/^/file /'; find /var/lib/cni -type f | sed 's/^/cached /'; \
sha256sum /opt/cni/bin/* /etc/cni/net.d/* 2>/dev/null; true";

fn look(node: &Node) -> Result<BTreeSet<String>> {
    let text = node.run(["sh", "-c", LOOK])?;
    Ok(text.lines().map(|line| line.trim().to_owned()).collect())
}

fn there_and_back(lab: &Lab) -> Result<()> {
    lab.rig.image_load(&image())?;
    let nodes = lab.rig.nodes();
    for node in &nodes {
        // What comes by kube-proxy's first rules is not ours.
        wait_until("kube-proxy's rules", PATIENCE, || {
            let rules = "iptables -t nat -S KUBE-SERVICES && ip6tables -t nat -S KUBE-SERVICES";
            node.run(["sh", "-c", rules])
                .map(drop)
                .map_err(|error| error.to_string())
        })?;
    }
    // Pods that tolerate a cordon would come back onto a node while it is cleaned.
    let untolerant = r#"{"spec":{"template":{"spec":{"tolerations":null}}}}"#;
    let of = ["-n", "kube-system", "patch", "deployment", "coredns", "-p", untolerant];
    lab.rig.kubectl(of)?;
    for node in &nodes {
        // Nothing forwards yet, so that there is something to put back.
        node.run([
            "sysctl",
            "-qw",
            "net.ipv4.ip_forward=0",
            "net.ipv6.conf.all.forwarding=0",
        ])?;
    }
    let before = nodes.iter().map(look).collect::<Result<Vec<_>>>()?;

    let installed = lab.plugin(["cni", "install", "--wait"]).output()?;
    ensure!(installed.status.success(), "{}", said(&installed));
    // It could not run before.
    let seconds = PATIENCE.as_secs();
    lab.kubectl(&format!(
        "-n kube-system rollout status deployment/coredns --timeout={seconds}s"
    ))?;
    shop::expect_healthy(lab, &["--protocol", "tcp,dns,icmp"], &["tcp", "dns", "icmp"])?;
    let namespace = two_pods(lab)?;
    ledger::wait(&lab.rig, PATIENCE, "the installation")?;

    let refused = lab.plugin(["cni", "uninstall"]).output()?;
    ensure!(refused.status.code() == Some(1), "{}", said(&refused));
    let listed = String::from_utf8_lossy(&refused.stdout).into_owned();
    for pod in ["on-n1", "on-n2"] {
        let names_it = |line: &str| line.contains(&format!("pod/{pod} ")) && line.contains(&namespace.name);
        ensure!(listed.lines().any(names_it), "{}", said(&refused));
    }
    ledger::wait(&lab.rig, PATIENCE, "a refused uninstall")?;
    let gone = lab.plugin(["cni", "uninstall", "--evict", "--yes"]).output()?;
    ensure!(gone.status.success(), "{}", said(&gone));

    for (node, before) in nodes.iter().zip(&before) {
        let after = look(node)?;
        let lost: Vec<_> = before.difference(&after).collect();
        let left: Vec<_> = after.difference(before).collect();
        if !lost.is_empty() || !left.is_empty() {
            bail!("{} lost {lost:#?} and has left {left:#?}", node.name());
        }
    }
    let objects = lab.rig.kubectl_json(&["get", "nodes"])?.to_string();
    ensure!(
        !objects.contains("cni.netcheck.dev") && !objects.contains("NetcheckCniReady"),
        "{objects}"
    );
    ensure!(!objects.contains("\"unschedulable\""), "still cordoned: {objects}");
    let roles = lab.kubectl("get clusterroles,clusterrolebindings,namespaces -o name")?;
    ensure!(!roles.contains("netcheck-cni"), "{roles}");
    Ok(())
}
