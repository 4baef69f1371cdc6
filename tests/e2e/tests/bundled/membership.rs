//! Nodes that come, move and go: the others follow, and keep nothing of who left.

use anyhow::{Context as _, Result, ensure};
use netcheck_e2e::{
    bundled::{PATIENCE, reach, settled},
    lab::Lab,
    ledger,
    runner::Case,
    verify::Verify,
};
use netcheck_rig::{Rig, Stderr};
use std::time::Instant;

pub const CASES: &[Case] = &[(
    "bundled: a node joins, changes its addresses, and leaves no trace",
    members,
)];

fn members(lab: &Lab) -> Result<()> {
    let mut rig = lab.rig.clone();
    let joined = rig.add_node(&Stderr::start())?.name().to_owned();
    let outcome = lab.anew().and_then(|lab| joins_and_moves(&lab, &mut rig, &joined));
    let addresses = rig.node(&joined)?.addresses();
    let ranges = rig.kubectl(["get", "node", &joined, "-o", "jsonpath={.spec.podCIDRs[*]}"])?;
    rig.remove_node(&joined)?;
    outcome?;
    // The API's objects of the pods that were on it go when the garbage collector comes to them.
    ledger::wait(&rig, PATIENCE, "a node's end")?;
    verified(&lab.anew()?, "a node's end")?;
    for node in rig.nodes() {
        let state = node.run([
            "sh",
            "-c",
            "ip -4 route; ip -6 route; ip neigh show dev ncvx0; bridge fdb show dev ncvx0; nft list table inet netcheck-cni",
        ])?;
        let words: Vec<String> = addresses.iter().map(ToString::to_string).collect();
        for word in ranges.split_whitespace().chain(words.iter().map(String::as_str)) {
            let found = state.split_whitespace().any(|there| there == word);
            ensure!(!found, "{} still knows {word}:\n{state}", node.name());
        }
    }
    Ok(())
}

fn verified(lab: &Lab, after: &str) -> Result<()> {
    let verify = Verify::run(lab, [] as [&str; 0])?;
    ensure!(verify.held(), "after {after}: {}", verify.told());
    Ok(())
}

fn joins_and_moves(lab: &Lab, rig: &mut Rig, joined: &str) -> Result<()> {
    let pod = format!("on-{joined}");
    let namespace = lab.namespace("privileged")?;
    namespace.pod_per_node(&["n1", joined])?;
    let both_ways = |why: &str| {
        reach(&namespace, "on-n1", &pod, why)?;
        reach(&namespace, &pod, "on-n1", why)
    };
    both_ways("a node's coming")?;
    ledger::wait(rig, PATIENCE, "a node's coming")?;
    verified(lab, "a node's coming")?;

    let before = rig.node(joined)?.addresses();
    rig.readdress_node(joined, &Stderr::start())?;
    let start = Instant::now();
    ensure!(rig.node(joined)?.addresses() != before, "{joined} is where it was");
    both_ways("other addresses").context("after the API told them")?;
    println!(
        "bundled: reached at other addresses {} ms after the API told them",
        start.elapsed().as_millis()
    );
    settled(lab)?;
    ledger::wait(rig, PATIENCE, "other addresses")?;
    verified(lab, "other addresses")?;
    namespace.pod_per_node(&["n2"])?;
    reach(&namespace, "on-n2", &pod, "other addresses")
}
