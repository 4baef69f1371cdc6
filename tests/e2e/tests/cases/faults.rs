//! Each fault is seen, put into the right class, and nothing else is blamed.

use crate::Case;
use anyhow::{Context, Result, ensure};
use netcheck_e2e::{
    fault::Fault,
    lab::{Lab, Namespace},
    manifests,
    matrix::Matrix,
};
use netcheck_rig::{Endpoint, Part, wait_until};
use serde_json::json;
use std::time::Duration;

pub const CASES: &[Case] = &[
    (
        "fault: a route lost on one node is rejected there, and replies from there are lost",
        route_lost,
    ),
    ("fault: only the reply path is broken", reply_path),
    ("fault: nft drop inside the pod: arrived, no answer", drop_in_pod),
    (
        "fault: nft reject inside the pod: rejected, though something listens",
        reject_in_pod,
    ),
    (
        "fault: REDIRECT in the source pod: answered by something else",
        redirect_in_source,
    ),
    ("fault: a declared port without a listener is refused", no_listener),
    (
        "fault: a listener on loopback only is refused, and the reason says so",
        loopback_only,
    ),
    (
        "fault: CoreDNS at 0: the name is not resolved, and who rejects is named",
        no_dns,
    ),
    (
        "fault: a Service without endpoints is rejected, and the reason says so",
        no_endpoints,
    ),
    (
        "fault: a stopped kubelet makes rows not tested, the others stand",
        kubelet_stopped,
    ),
    (
        "fault: a crash-looping pod is not tested, with the kubelet's reason",
        crash_loop,
    ),
    (
        "fault: a NotReady, a virtual and a Windows node are rows or out of scope, not an abort",
        odd_nodes,
    ),
];

const NODES: [&str; 3] = ["n1", "n2", "n3"];

/// A pod on each node, and the matrix over their pairs once it is healthy.
fn pods_on_nodes(lab: &Lab) -> Result<Namespace<'_>> {
    let namespace = lab.namespace("privileged")?;
    namespace.pod_per_node(&NODES)?;
    Ok(namespace)
}

fn tcp_matrix(lab: &Lab, namespace: &Namespace<'_>) -> Result<Matrix> {
    lab.matrix(["-n", &namespace.name, "--full", "--protocol", "tcp"])
}

fn route_lost(lab: &Lab) -> Result<()> {
    let namespace = pods_on_nodes(lab)?;
    let fault = Fault::route_lost(lab, "n1", "n2", false)?;
    let matrix = tcp_matrix(lab, &namespace)?;
    fault.mend()?;
    let ipv4 = |source: &str, destination: &str| {
        matrix
            .between(source, destination)
            .into_iter()
            .find(|row| row.family == "ipv4")
            .cloned()
            .context("no such row")
    };
    let there = ipv4("on-n1", "on-n2")?;
    // n1 now takes its default route, and the router there, outside of the cluster, knows no pods.
    ensure!(there.class == "rejected", "{there:#?}");
    let router = lab.rig.addresses().primary(Endpoint::Hub).to_string();
    ensure!(there.says(&router), "who rejected is not named: {there:#?}");
    let back = ipv4("on-n2", "on-n1")?;
    ensure!(back.class == "reply-lost", "{back:#?}");
    // Either way it is the rule on n1, whose table knows no pods.
    for row in [&there, &back] {
        let is_the_rule = |line: &String| line.starts_with("node/n1 rule ") && line.contains("(verify-route-diverted)");
        ensure!(
            row.on_path.len() == 1 && row.on_path.iter().all(is_the_rule),
            "{row:#?}"
        );
    }
    let touched = |name: &str| name.ends_with("n1") || name.ends_with("n2");
    matrix.others_reached(|row| row.family == "ipv4" && touched(&row.source.name) && touched(&row.destination.name))?;
    matrix.expect_exit(1)?;
    tcp_matrix(lab, &namespace)?.others_reached(|_| false)
}

fn reply_path(lab: &Lab) -> Result<()> {
    let namespace = pods_on_nodes(lab)?;
    let server = namespace.address("on-n2", false)?;
    let fault = Fault::nft_on_node(
        lab,
        "n2",
        &[
            "chain inet fault forward { type filter hook forward priority 0 ; }",
            &format!("rule inet fault forward ip saddr {server} tcp flags & (syn|ack) == syn|ack drop"),
        ],
    )?;
    let matrix = tcp_matrix(lab, &namespace)?;
    fault.mend()?;
    for source in ["on-n1", "on-n3"] {
        let row = matrix
            .between(source, "on-n2")
            .into_iter()
            .find(|row| row.family == "ipv4")
            .context("no row")?;
        ensure!(row.class == "reply-lost", "{row:#?}");
    }
    matrix.others_reached(|row| row.family == "ipv4" && row.destination.name == "on-n2")?;
    matrix.expect_exit(1)
}

/// A rule on input inside the pod on n2, for TCP port 8080.
fn ruled(lab: &Lab, verdict: &str) -> Result<Matrix> {
    let namespace = pods_on_nodes(lab)?;
    let fault = Fault::nft_in_pod(
        lab,
        &namespace.name,
        "on-n2",
        &[
            "chain inet fault input { type filter hook input priority 0 ; }",
            &format!("rule inet fault input tcp dport 8080 {verdict}"),
        ],
    )?;
    let matrix = tcp_matrix(lab, &namespace)?;
    fault.mend()?;
    Ok(matrix)
}

fn drop_in_pod(lab: &Lab) -> Result<()> {
    let matrix = ruled(lab, "drop")?;
    matrix.expect("on-n1", "on-n2", "no-answer")?;
    matrix.others_reached(|row| row.destination.name == "on-n2")?;
    matrix.expect_exit(1)
}

fn reject_in_pod(lab: &Lab) -> Result<()> {
    for verdict in ["reject", "reject with tcp reset"] {
        let matrix = ruled(lab, verdict)?;
        matrix
            .expect("on-n1", "on-n2", "rejected")
            .with_context(|| format!("verdict {verdict}"))?;
        matrix.others_reached(|row| row.destination.name == "on-n2")?;
    }
    Ok(())
}

fn redirect_in_source(lab: &Lab) -> Result<()> {
    let namespace = pods_on_nodes(lab)?;
    let server = namespace.address("on-n2", false)?;
    let fault = Fault::nft_in_pod(
        lab,
        &namespace.name,
        "on-n1",
        &[
            "chain inet fault output { type nat hook output priority -100 ; }",
            &format!("rule inet fault output ip daddr {server} tcp dport 8080 redirect to :8080"),
        ],
    )?;
    let matrix = tcp_matrix(lab, &namespace)?;
    fault.mend()?;
    let row = matrix
        .between("on-n1", "on-n2")
        .into_iter()
        .find(|row| row.family == "ipv4")
        .context("no row")?;
    ensure!(row.class == "answered-by-other", "{row:#?}");
    matrix.others_reached(|row| row.source.name == "on-n1" && row.destination.name == "on-n2")?;
    matrix.expect_exit(1)
}

fn no_listener(lab: &Lab) -> Result<()> {
    let namespace = pods_on_nodes(lab)?;
    lab.apply(&manifests::server_pod(&namespace.name, "deaf", "n2", &["sleep"], 8080))?;
    namespace.wait_ready()?;
    let matrix = tcp_matrix(lab, &namespace)?;
    matrix.expect("on-n1", "deaf", "refused")?;
    matrix.others_reached(|row| row.destination.name == "deaf")?;
    matrix.expect_exit(1)
}

fn loopback_only(lab: &Lab) -> Result<()> {
    let namespace = pods_on_nodes(lab)?;
    let arguments = ["serve", "--tcp", "8080", "--bind", "127.0.0.1"];
    lab.apply(&manifests::server_pod(&namespace.name, "shy", "n2", &arguments, 8080))?;
    namespace.wait_ready()?;
    let matrix = tcp_matrix(lab, &namespace)?;
    for row in matrix.expect("on-n1", "shy", "refused")? {
        let said = row.says("127.0.0.1") || row.says("loopback");
        ensure!(said || row.family == "ipv6", "{row:#?}");
    }
    matrix.others_reached(|row| row.destination.name == "shy")
}

fn no_dns(lab: &Lab) -> Result<()> {
    let namespace = pods_on_nodes(lab)?;
    let scale = |replicas: u8| -> Result<()> {
        lab.kubectl(&format!(
            "-n kube-system scale deployment coredns --replicas={replicas}"
        ))?;
        wait_until("CoreDNS has as many endpoints", Duration::from_mins(1), || {
            let line = "-n kube-system get endpointslices -l kubernetes.io/service-name=kube-dns -o jsonpath={range.items[*].endpoints[?(@.conditions.ready==true)]}x{end}";
            let endpoints = lab.kubectl(line).map_err(|error| error.to_string())?;
            if endpoints.is_empty() == (replicas == 0) {
                Ok(())
            } else {
                Err(format!("ready endpoints: {endpoints}"))
            }
        })?;
        Ok(())
    };
    let fault = Fault::inject("CoreDNS at 0", || scale(0), || scale(2))?;
    let matrix = lab.matrix(["-n", &namespace.name, "--full"])?;
    fault.mend()?;
    let dns: Vec<_> = matrix.rows.iter().filter(|row| row.protocol == "dns").collect();
    ensure!(!dns.is_empty(), "no DNS rows");
    for row in dns {
        ensure!(row.class == "name-not-resolved", "{row:#?}");
        ensure!(row.says("endpoint"), "{row:#?}");
    }
    matrix.others_reached(|row| row.protocol == "dns")?;
    matrix.expect_exit(1)
}

fn no_endpoints(lab: &Lab) -> Result<()> {
    let namespace = pods_on_nodes(lab)?;
    lab.apply(&manifests::service(&namespace.name, "hollow", "nobody", 8080))?;
    lab.apply(&manifests::service(&namespace.name, "solid", "on-n2", 8080))?;
    wait_until(
        "kube-proxy rejects for the hollow Service",
        Duration::from_secs(30),
        || {
            let matrix = tcp_matrix(lab, &namespace).map_err(|error| format!("{error:#}"))?;
            matrix
                .expect("on-n1", "hollow", "rejected")
                .map(drop)
                .map_err(|error| format!("{error:#}"))
        },
    )?;
    let matrix = tcp_matrix(lab, &namespace)?;
    for row in matrix.expect("on-n1", "hollow", "rejected")? {
        ensure!(row.says("endpoint"), "{row:#?}");
    }
    matrix.expect("on-n1", "solid", "reached")?;
    matrix.others_reached(|row| row.destination.name == "hollow")?;
    matrix.expect_exit(1)
}

fn kubelet_stopped(lab: &Lab) -> Result<()> {
    let namespace = pods_on_nodes(lab)?;
    let node = lab.rig.node("n3")?;
    let ready = |wanted: &'static str| {
        wait_until(&format!("n3's Ready is {wanted}"), Duration::from_secs(90), || {
            let line = "get node n3 -o jsonpath={.status.conditions[?(@.type=='Ready')].status}";
            let status = lab.kubectl(line).map_err(|error| error.to_string())?;
            if status == wanted { Ok(()) } else { Err(status) }
        })
    };
    let fault = Fault::inject(
        "kubelet of n3 stopped",
        || Ok(node.stop_part(Part::Kubelet)?),
        || {
            lab.rig.node("n3")?.start_part(Part::Kubelet)?;
            Ok(ready("True")?)
        },
    )?;
    // At once: the API still calls the node Ready, so only a pod that never starts can tell.
    let early = tcp_matrix(lab, &namespace)?;
    for row in early.expect("on-n3", "on-n1", "not-tested")? {
        ensure!(row.says("n3") && row.says("kubelet"), "{row:#?}");
    }
    early.expect("on-n1", "on-n2", "reached")?;
    ready("Unknown")?;
    // Pods alone: the node's own port is the kubelet's, and that is really closed.
    let pods = ["on-n1", "on-n2", "on-n3"];
    let arguments = || {
        let to = pods.iter().flat_map(|pod| ["--to", pod]);
        ["-n", &namespace.name, "--full", "--protocol", "tcp"]
            .into_iter()
            .chain(pods)
            .chain(to)
    };
    let late = lab.matrix(arguments())?;
    for row in late.expect("on-n3", "on-n1", "not-tested")? {
        ensure!(row.says("n3"), "{row:#?}");
    }
    late.expect("on-n1", "on-n2", "reached")?;
    late.expect_exit(3)?;
    let allowed = lab.matrix(arguments().chain(["--allow-inconclusive=n3 is down"]))?;
    allowed.expect_exit(0)?;
    fault.mend()
}

fn crash_loop(lab: &Lab) -> Result<()> {
    let namespace = pods_on_nodes(lab)?;
    lab.apply(&manifests::server_pod(
        &namespace.name,
        "crashing",
        "n2",
        &["crash"],
        8080,
    ))?;
    let line = format!(
        "-n {} get pod crashing -o jsonpath={{.status.containerStatuses[0].state.waiting.reason}}{{.status.containerStatuses[0].restartCount}}",
        namespace.name
    );
    // The kubelet waits twice as long each time: after the second one longer than a run takes.
    wait_until("the pod stays in CrashLoopBackOff", Duration::from_mins(2), || {
        let said = lab.kubectl(&line).map_err(|error| error.to_string())?;
        let restarts = said
            .strip_prefix("CrashLoopBackOff")
            .and_then(|count| count.parse::<u32>().ok());
        if restarts >= Some(2) { Ok(()) } else { Err(said) }
    })?;
    let matrix = tcp_matrix(lab, &namespace)?;
    let rows: Vec<_> = matrix
        .rows
        .iter()
        .filter(|row| row.source.name == "crashing" || row.destination.name == "crashing")
        .collect();
    ensure!(!rows.is_empty(), "the crashing pod is not in the report");
    // Its network namespace outlives its container, so what is asked from there is answered; nothing listens there.
    for row in rows.into_iter().filter(|row| row.destination.name == "crashing") {
        ensure!(["refused", "not-tested"].contains(&row.class.as_str()), "{row:#?}");
        ensure!(row.says("CrashLoopBackOff"), "{row:#?}");
    }
    matrix.others_reached(|row| row.destination.name == "crashing")?;
    ensure!([1, 3].contains(&matrix.exit), "exit code {}", matrix.exit);
    Ok(())
}

fn odd_nodes(lab: &Lab) -> Result<()> {
    let namespace = pods_on_nodes(lab)?;
    let node = |name: &str, os: &str, virtual_kubelet: bool| {
        let mut labels = json!({ "kubernetes.io/os": os, "kubernetes.io/hostname": name });
        if virtual_kubelet {
            labels["type"] = json!("virtual-kubelet");
        }
        json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": name, "labels": labels } })
    };
    let names = ["dead", "windows", "virtual"];
    let fault = Fault::inject(
        "three Node objects without a node",
        || {
            lab.apply(&node("dead", "linux", false))?;
            lab.apply(&node("windows", "windows", false))?;
            lab.apply(&node("virtual", "linux", true))
        },
        || lab.kubectl(&format!("delete node {}", names.join(" "))).map(drop),
    )?;
    let matrix = tcp_matrix(lab, &namespace)?;
    fault.mend()?;
    matrix.expect("on-n1", "on-n2", "reached")?;
    matrix.others_reached(|row| {
        names.contains(&row.source.name.as_str()) || names.contains(&row.destination.name.as_str())
    })?;
    let dead: Vec<_> = matrix
        .rows
        .iter()
        .filter(|row| row.destination.name == "dead" || row.source.name == "dead")
        .collect();
    ensure!(dead.iter().all(|row| row.class == "not-tested"), "{dead:#?}");
    let coverage = matrix.report["status"]["coverage"].to_string();
    for name in ["windows", "virtual"] {
        ensure!(coverage.contains(name), "{name} is not out of scope in {coverage}");
        ensure!(
            !matrix
                .rows
                .iter()
                .any(|row| row.source.name == name || row.destination.name == name),
            "{name} has rows"
        );
    }
    Ok(())
}
