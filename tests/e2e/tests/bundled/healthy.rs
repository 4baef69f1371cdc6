//! Traffic of all kinds; a switch of the way between nodes under it; no daemon.

use anyhow::{Context as _, Result, ensure};
use netcheck_e2e::{
    bundled::{PATIENCE, configure, delete, reach, two_pods, without_daemons},
    lab::{Lab, Namespace, said},
    ledger,
    runner::Case,
    shop,
    stream::Stream,
    verify::Verify,
};
use netcheck_rig::{Node, wait_until};
use serde_json::json;

pub const CASES: &[Case] = &[
    ("bundled: the shop is reached by tcp, dns and icmp", healthy),
    ("bundled: a switch of the backend breaks no connection", switched),
    ("bundled: without its daemons traffic and new pods go on", daemonless),
    (
        "bundled: a runtime that asks for STATUS keeps pods off a node that is not set up",
        asked_for_status,
    ),
];

fn healthy(lab: &Lab) -> Result<()> {
    shop::expect_healthy(lab, &["--protocol", "tcp,dns,icmp"], &["tcp", "dns", "icmp"])?;
    // The network says of itself what the matrix has shown.
    let output = lab.plugin(["cni", "status", "-o", "json"]).output()?;
    ensure!(output.status.success(), "{}", said(&output));
    ledger::wait(&lab.rig, PATIENCE, "the shop's opening")?;
    metrics_tell_the_truth(lab)
}

/// As the daemon of n1 serves them.
fn metric(n1: &Node, name: &str) -> Result<u64> {
    let get = r"exec 3<>/dev/tcp/127.0.0.1/9469; printf 'GET /metrics HTTP/1.0\r\n\r\n' >&3; cat <&3";
    let text = n1.run(["bash", "-c", get])?;
    let values = text
        .lines()
        .filter_map(|line| line.strip_prefix("netcheck_cni_")?.strip_prefix(name))
        .filter(|rest| rest.starts_with([' ', '{']))
        .filter_map(|rest| rest.rsplit(' ').next()?.parse::<u64>().ok());
    let values: Vec<u64> = values.collect();
    ensure!(!values.is_empty(), "no {name} in {text}");
    Ok(values.iter().sum())
}

fn metrics_tell_the_truth(lab: &Lab) -> Result<()> {
    let n1 = lab.rig.node("n1")?;
    let pods = || -> Result<u64> {
        Ok(n1
            .run(["sh", "-c", "ls /run/netcheck-cni/att | wc -l"])?
            .trim()
            .parse()?)
    };
    let others = u64::try_from(lab.rig.nodes().len() - 1)?;
    wait_until(
        "the metrics to tell how many pods and peers there are",
        PATIENCE,
        || {
            let told = metric(&n1, "endpoints").and_then(|endpoints| Ok((endpoints, metric(&n1, "peers")?)));
            let are = pods().map(|pods| (pods, others));
            match (told, are) {
                (Ok(told), Ok(are)) if told == are => Ok(()),
                other => Err(format!("told and are: {other:?}")),
            }
        },
    )?;
    let before = metric(&n1, "changes_total")?;
    n1.run(["ip", "link", "set", "ncvx0", "mtu", "1400"])?;
    Ok(wait_until(
        "the metrics to tell of a change",
        PATIENCE,
        || match metric(&n1, "changes_total") {
            Ok(now) if now > before => Ok(()),
            other => Err(format!("{before} before, now {other:?}")),
        },
    )?)
}

fn switched(lab: &Lab) -> Result<()> {
    let namespace = two_pods(lab)?;
    let stream = Stream::open(lab, &namespace, "on-n1", "on-n2", false)?;
    for (backend, mtu) in [("host-gw", 1500), ("vxlan", 1450), ("auto", 1500), ("vxlan", 1450)] {
        let gap = stream
            .gap(PATIENCE, || configure(lab, &json!({ "backend": backend })))
            .with_context(|| format!("the switch to {backend}"))?;
        println!("bundled: switch to {backend}: {} ms without a round", gap.as_millis());
        reach(&namespace, "on-n1", "on-n2", backend)?;
        has_mtu(&namespace, mtu).with_context(|| format!("after the switch to {backend}"))?;
        // The tunnel that is not needed any more stays for a period.
        Verify::wait_until_held(lab, PATIENCE).with_context(|| format!("after the switch to {backend}"))?;
    }
    ledger::wait(&lab.rig, PATIENCE, "the switches")
}

/// The pods' default routes say it, and a packet of that size passes whole.
fn has_mtu(namespace: &Namespace<'_>, mtu: u32) -> Result<()> {
    for pod in ["on-n1", "on-n2"] {
        for family in ["-4", "-6"] {
            let route = namespace.in_pod(pod, &format!("ip {family} route show default"))?;
            ensure!(route.contains(&format!("mtu {mtu}")), "{pod} has {route}");
        }
    }
    // IP and ICMP headers: 28 bytes, 48 with IPv6.
    for (v6, headers) in [(false, 28), (true, 48)] {
        let to = namespace.address("on-n2", v6)?;
        namespace.in_pod("on-n1", &format!("ping -c 1 -W 5 -M do -s {} {to}", mtu - headers))?;
    }
    Ok(())
}

fn daemonless(lab: &Lab) -> Result<()> {
    let namespace = two_pods(lab)?;
    let stream = Stream::open(lab, &namespace, "on-n1", "on-n2", false)?;
    let gap = stream.gap(PATIENCE, || without_daemons(lab, come_and_go))?;
    println!("bundled: daemons gone and back: {} ms without a round", gap.as_millis());
    ledger::wait(&lab.rig, PATIENCE, "the daemons' return")
}

/// n2's runtime asks for STATUS where every plugin of the chain knows it (CNI 1.1.0); the machine's own portmap does not.
fn asked_for_status(lab: &Lab) -> Result<()> {
    configure(lab, &json!({ "chain": "" }))?;
    let outcome = told_by_status(lab);
    configure(lab, &json!({ "chain": null }))?;
    outcome?;
    ledger::wait(&lab.rig, PATIENCE, "a node that was not ready")
}

/// Without what the daemon writes there can be no pods, and the node says why.
fn told_by_status(lab: &Lab) -> Result<()> {
    let n2 = lab.rig.node("n2")?;
    let version = n2.run(["ctr", "version"])?;
    let server = version.split("Server:").nth(1).context(version.clone())?;
    ensure!(server.contains("Version:  2."), "n2 runs another containerd: {version}");
    let ready = || -> Result<(String, String), String> {
        let node = lab
            .rig
            .kubectl_json(&["get", "node", "n2"])
            .map_err(|error| error.to_string())?;
        let mut conditions = node["status"]["conditions"].as_array().into_iter().flatten();
        let ready = conditions
            .find(|condition| condition["type"] == "Ready")
            .ok_or("no such condition")?;
        let word = |key: &str| ready[key].as_str().unwrap_or_default().to_owned();
        Ok((word("status"), word("message")))
    };
    without_daemons(lab, |_| {
        n2.run(["rm", "/run/netcheck-cni/node.json"])?;
        Ok(wait_until(
            "n2 to say what STATUS answered",
            PATIENCE,
            || match ready()? {
                (status, message) if status == "False" && message.contains("netcheck-cni") => Ok(()),
                other => Err(format!("{other:?}")),
            },
        )?)
    })?;
    Ok(wait_until("n2 to be Ready", PATIENCE, || match ready()? {
        (status, _) if status == "True" => Ok(()),
        other => Err(format!("{other:?}")),
    })?)
}

fn come_and_go(lab: &Lab) -> Result<()> {
    let later = two_pods(lab).context("pods that came without a daemon")?;
    delete(lab, &later)
}
