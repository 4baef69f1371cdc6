//! What a report says of packets is what tcpdump saw of them, on the nodes themselves.

use crate::Case;
use anyhow::{Context, Result, ensure};
use netcheck_e2e::{
    fault::Fault,
    lab::Lab,
    matrix::Matrix,
    tcpdump::{Seen, Tcpdump},
};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};

pub const CASES: &[Case] = &[(
    "witness: tcpdump on the nodes saw each packet of a lost reply that the report shows, and no SYN more",
    lost_reply,
)];

/// One entry of a row's `transitSaw`.
#[derive(Deserialize)]
struct Observation {
    place: String,
    packets: Vec<Seen>,
}

/// Node → what the report's failed rows say was seen there, and how often.
fn reported(matrix: &Matrix) -> Result<BTreeMap<String, BTreeMap<Seen, usize>>> {
    let mut nodes: BTreeMap<String, BTreeMap<Seen, usize>> = BTreeMap::new();
    for row in matrix.report["status"]["rows"].as_array().context("rows")? {
        let Ok(observations) = Vec::<Observation>::deserialize(&row["transitSaw"]) else {
            continue;
        };
        for observation in observations {
            let node = observation.place.trim_start_matches("node ").to_owned();
            for packet in observation.packets {
                *nodes.entry(node.clone()).or_default().entry(packet).or_default() += 1;
            }
        }
    }
    Ok(nodes)
}

fn lost_reply(lab: &Lab) -> Result<()> {
    let namespace = lab.namespace("privileged")?;
    namespace.pod_per_node(&["n1", "n2", "n3"])?;
    let rules = ["ip", "ip6"].map(|family| {
        format!(
            "rule inet fault forward meta nfproto {} tcp sport 8080 tcp flags & (syn|ack) == syn|ack drop",
            match family {
                "ip" => "ipv4",
                _ => "ipv6",
            }
        )
    });
    let fault = Fault::nft_on_node(
        lab,
        "n2",
        &[
            "chain inet fault forward { type filter hook forward priority 0 ; }",
            &rules[0],
            &rules[1],
        ],
    )?;
    let eyes: Vec<(String, Tcpdump)> = lab
        .rig
        .nodes()
        .iter()
        .map(|node| Ok((node.name().to_owned(), Tcpdump::start(node)?)))
        .collect::<Result<_>>()?;
    let to = ["--to", "on-n2"];
    let line = ["-n", &namespace.name, "--full", "--protocol", "tcp", "on-n1", "on-n3"];
    let matrix = lab.matrix(line.iter().chain(&to))?;
    fault.mend()?;
    let witnessed = eyes
        .into_iter()
        .map(|(node, eye)| Ok((node, eye.stop()?)))
        .collect::<Result<BTreeMap<_, _>>>()?;
    for source in ["on-n1", "on-n3"] {
        matrix.expect(source, "on-n2", "reply-lost")?;
    }
    let reported = reported(&matrix)?;
    let nodes: BTreeSet<_> = reported.keys().map(String::as_str).collect();
    ensure!(nodes == ["n1", "n2", "n3"].into(), "nodes on the way: {nodes:?}");
    for (node, packets) in &reported {
        let witnessed = &witnessed[node];
        for (packet, count) in packets {
            let there = witnessed.get(packet).copied().unwrap_or(0);
            // A server repeats its answer after the report was made; a probe's own packets end with it.
            let fits = if packet.packet == "SYN" {
                there == *count
            } else {
                there >= *count
            };
            ensure!(
                fits,
                "{node}: the report has {packet:?} {count} times, tcpdump {there} times"
            );
        }
        // The other way round: no SYN of these probes went unreported.
        let sources: BTreeSet<_> = packets
            .keys()
            .filter(|seen| seen.packet == "SYN")
            .map(|seen| seen.from)
            .collect();
        for (packet, there) in witnessed
            .iter()
            .filter(|(seen, _)| seen.packet == "SYN" && sources.contains(&seen.from))
        {
            let count = packets.get(packet).copied().unwrap_or(0);
            ensure!(
                count == *there,
                "{node}: tcpdump has {packet:?} {there} times, the report {count} times"
            );
        }
    }
    let veth = namespace.host_veth("on-n2", "n2")?;
    ensure!(
        reported["n2"]
            .keys()
            .any(|seen| seen.packet == "SYN-ACK" && seen.direction == "in" && seen.interface == veth),
        "the lost answer is not in the report: {reported:#?}"
    );
    Ok(())
}
