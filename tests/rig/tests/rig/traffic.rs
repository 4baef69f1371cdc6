//! Traffic of a healthy rig.

use crate::{Outcome, ensure, shared};
use libtest_mimic::Failed;
use netcheck_rig::Rig;

/// Addresses of all pods of a namespace, with the pods' names.
fn pods(rig: &Rig, namespace: &str) -> Result<Vec<(String, Vec<String>)>, Failed> {
    let list = rig.kubectl_json(&["get", "pods", "-n", namespace])?;
    let items = list["items"].as_array().ok_or("the pod list has no items")?;
    Ok(items
        .iter()
        .map(|pod| {
            let addresses = pod["status"]["podIPs"].as_array().into_iter().flatten();
            let addresses = addresses
                .filter_map(|entry| entry["ip"].as_str().map(str::to_owned))
                .collect();
            (
                pod["metadata"]["name"].as_str().unwrap_or_default().to_owned(),
                addresses,
            )
        })
        .collect())
}

pub fn comes_up_whole() -> Outcome {
    let rig = shared()?;
    ensure!(rig.status().is_whole(), "not all parts run: {:?}", rig.status());
    let nodes = rig.kubectl_json(&["get", "nodes"])?;
    for node in nodes["items"].as_array().ok_or("the node list has no items")? {
        let conditions = node["status"]["conditions"].as_array().cloned().unwrap_or_default();
        for (kind, wanted) in [("Ready", "True"), ("NetworkUnavailable", "False")] {
            let met = conditions
                .iter()
                .any(|condition| condition["type"] == kind && condition["status"] == wanted);
            ensure!(
                met,
                "{} is not {kind}={wanted}: {conditions:?}",
                node["metadata"]["name"]
            );
        }
        ensure!(
            node["spec"]["podCIDRs"]
                .as_array()
                .is_some_and(|networks| networks.len() == 2),
            "{} has not two pod networks",
            node["metadata"]["name"]
        );
    }
    Ok(())
}

pub fn pods_reach_each_other() -> Outcome {
    let rig = shared()?;
    rig.start_plain_pods("pairs", "pair", 4)?;
    all_pairs(&rig, "pairs", 2)
}

/// Every pod pings, and opens a TCP connection to, every address of every pod of the namespace.
pub fn all_pairs(rig: &Rig, namespace: &str, families: usize) -> Outcome {
    let pods = pods(rig, namespace)?;
    let mut addresses = Vec::new();
    for (name, own) in &pods {
        ensure!(own.len() == families, "{name} has {own:?}, not {families} addresses");
        addresses.extend(own.clone());
    }
    for (name, _) in &pods {
        // One command per source, so that a pair costs milliseconds; it names what it could not reach.
        let script = addresses
            .iter()
            .map(|to| {
                format!(
                    "ping -c 1 -W 2 -q {to} >/dev/null || echo no ping to {to}\n\
                     timeout 2 bash -c 'exec 3<>/dev/tcp/{to}/8080 && echo hello >&3 && read -r answer <&3' \
                     || echo no TCP answer of {to}\n"
                )
            })
            .collect::<Vec<_>>()
            .concat();
        let output = rig.pod_exec(namespace, name, ["bash", "-c", &script])?;
        let failures = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(
            output.status.success() && failures.is_empty(),
            "from {name}: {failures} ({})",
            output.status
        );
    }
    Ok(())
}

pub fn services_answer() -> Outcome {
    let rig = shared()?;
    rig.open_shop()?;
    let service = rig.kubectl_json(&["get", "service", "web", "-n", "shop"])?;
    let addresses = service["spec"]["clusterIPs"].as_array().cloned().unwrap_or_default();
    ensure!(addresses.len() == 2, "the Service is not dual-stack: {addresses:?}");
    let db = rig.kubectl(["get", "pods", "-n", "shop", "-l", "app=db", "-o", "name"])?;
    let connect = |host: &str, port: &str| {
        rig.kubectl([
            "exec",
            "-n",
            "shop",
            db.trim(),
            "--",
            "/rig-workload",
            "connect",
            host,
            port,
        ])
    };
    for host in ["web", "web.shop", "web.shop.svc.cluster.local"] {
        let answer = connect(host, "80")?;
        ensure!(answer.starts_with("web-"), "{host} answered {answer:?}");
    }
    for address in addresses.iter().filter_map(|address| address.as_str()) {
        let answer = connect(address, "80")?;
        ensure!(answer.starts_with("web-"), "{address} answered {answer:?}");
    }
    Ok(())
}
