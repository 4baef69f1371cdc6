//! A rig that changes while it runs.

use crate::{
    Outcome, directory, ensure,
    images::{self, LOADED},
    shared,
    traffic::all_pairs,
};
use libtest_mimic::Failed;
use netcheck_rig::{Error, Families, Part, Rig, RigSpec, Stderr, wait_until};
use std::{fs, time::Duration};

/// The Ready condition of a node: `True`, `False` or `Unknown`.
fn readiness(rig: &Rig, node: &str) -> Result<String, String> {
    let path = r#"jsonpath={.status.conditions[?(@.type=="Ready")].status}"#;
    rig.kubectl(["get", "node", node, "-o", path])
        .map_err(|error| error.to_string())
}

fn wait_for_readiness(rig: &Rig, node: &str, wanted: &str) -> Outcome {
    wait_until(
        &format!("{node} to be Ready={wanted}"),
        Duration::from_mins(1),
        || match readiness(rig, node)? {
            status if status == wanted => Ok(()),
            status => Err(status),
        },
    )?;
    Ok(())
}

/// Process numbers of everything lasting in the rig.
fn processes(rig: &Rig) -> Result<Vec<String>, Failed> {
    let mut found = Vec::new();
    for node in rig.nodes() {
        let listed = node.run(["ps", "-e", "-o", "pid,lstart,args", "--no-headers"])?;
        let lasting = [
            "containerd --config",
            "kubelet --config",
            "kube-proxy --config",
            "sandbox-init",
        ];
        let lines = listed
            .lines()
            .filter(|line| lasting.iter().any(|name| line.contains(name)));
        found.extend(lines.map(|line| format!("{} {line}", node.name())));
    }
    ensure!(found.len() >= 4 * rig.nodes().len(), "only these run: {found:?}");
    Ok(found)
}

pub fn up_again_changes_nothing() -> Outcome {
    let rig = shared()?;
    let before = processes(&rig)?;
    Rig::up_in(rig.directory(), rig.spec(), &Stderr::start())?;
    let after = processes(&rig)?;
    ensure!(before == after, "before: {before:#?}\nafter: {after:#?}");
    Ok(())
}

pub fn stopped_kubelet() -> Outcome {
    let rig = shared()?;
    let node = rig.node("n2")?;
    node.stop_part(Part::Kubelet)?;
    let seen = wait_for_readiness(&rig, "n2", "Unknown");
    node.start_part(Part::Kubelet)?;
    seen?;
    wait_for_readiness(&rig, "n2", "True")
}

pub fn up_starts_what_was_killed() -> Outcome {
    let rig = shared()?;
    let node = rig.node("n1")?;
    for part in Part::ALL {
        node.kill_part(part)?;
        ensure!(!node.part_runs(part), "{} survived", part.name());
    }
    rig.kill_control_plane()?;
    ensure!(!rig.status().is_whole(), "the status does not show what was killed");
    Rig::up_in(rig.directory(), rig.spec(), &Stderr::start())?;
    ensure!(rig.status().is_whole(), "not all parts run again: {:?}", rig.status());
    all_pairs(&rig, "pairs", 2)
}

pub fn nodes_come_and_go() -> Outcome {
    let mut rig = shared()?;
    images::load(&rig)?;
    let node = rig.add_node(&Stderr::start())?;
    let name = node.name().to_owned();
    let its_images = node.run(["ctr", "--namespace", "k8s.io", "images", "list", "--quiet"])?;
    // One pod for each node, the new one included.
    let joined = rig
        .start_plain_pods("newcomers", "newcomer", rig.nodes().len())
        .map_err(Failed::from)
        .and_then(|()| all_pairs(&rig, "newcomers", 2));
    let networks = rig.kubectl(["get", "node", &name, "-o", "jsonpath={.spec.podCIDRs[*]}"])?;
    rig.remove_node(&name)?;
    joined?;
    ensure!(
        its_images.contains(LOADED),
        "{name} has not the image that was loaded before it came:\n{its_images}"
    );
    ensure!(rig.node(&name).is_err(), "the rig still counts {name}");
    ensure!(node.init_pid().is_none(), "{name} still runs");
    let objects = rig.kubectl(["get", "nodes", "-o", "name"])?;
    ensure!(!objects.contains(&name), "the cluster still has {name}: {objects}");
    let n1 = rig.node("n1")?;
    wait_until("n1 to have no route to it", Duration::from_mins(1), || {
        let routes = n1.run(["sh", "-c", "ip route; ip -6 route"]);
        let routes = routes.map_err(|error| error.to_string())?;
        if networks.split_whitespace().any(|network| routes.contains(network)) {
            Err(routes)
        } else {
            Ok(())
        }
    })?;
    rig.kubectl(["delete", "namespace", "newcomers", "--wait=false"])?;
    Ok(())
}

/// What is in memory goes with a boot, what is on disk stays; other addresses are there for the API and for whoever asks kubelet.
pub fn a_node_boots_and_moves() -> Outcome {
    let mut rig = shared()?;
    rig.start_plain_pods("pairs", "pair", 4)?;
    let node = rig.node("n2")?;
    node.run(["touch", "/run/in-memory", "/etc/cni/on-disk"])?;
    let first = (node.init_pid(), node.addresses());
    rig.reboot_node("n2", &Stderr::start())?;
    ensure!(node.init_pid() != first.0, "n2 has the same init");
    ensure!(
        !node.exec(["test", "-e", "/run/in-memory"])?.status.success(),
        "/run outlived the boot"
    );
    node.run(["rm", "/etc/cni/on-disk"])?;
    all_pairs_again(&rig)?;

    rig.readdress_node("n2", &Stderr::start())?;
    let moved = rig.node("n2")?.addresses();
    ensure!(
        moved.iter().all(|address| !first.1.contains(address)),
        "n2 is still at {moved:?}"
    );
    all_pairs_again(&rig)?;
    // The API server comes to kubelet by its new address, and believes its certificate.
    rig.kubectl(["get", "--raw", "/api/v1/nodes/n2/proxy/healthz"])?;
    rig.readdress_node("n2", &Stderr::start())?;
    ensure!(
        rig.node("n2")?.addresses() == first.1,
        "n2 has not its first addresses again"
    );
    all_pairs_again(&rig)
}

/// Pods of a node that booted get other sandboxes, and for a while the API tells of the old ones, or of none.
fn all_pairs_again(rig: &Rig) -> Outcome {
    wait_until("every pair to reach each other again", Duration::from_mins(1), || {
        all_pairs(rig, "pairs", 2).map_err(|failed| failed.message().unwrap_or_default().to_owned())
    })?;
    Ok(())
}

pub fn up_refuses_other_settings() -> Outcome {
    let rig = shared()?;
    let other = RigSpec {
        families: Families::V4,
        ..rig.spec().clone()
    };
    let state = fs::read(directory("selftest").join("rig.json"))?;
    match Rig::up_in(rig.directory(), &other, &netcheck_rig::Silent) {
        Err(Error::OtherSettings { .. }) => {}
        unexpected => return Err(format!("not refused: {:?}", unexpected.map(|_| "up")).into()),
    }
    ensure!(
        fs::read(directory("selftest").join("rig.json"))? == state,
        "the refused call changed the rig's state"
    );
    Ok(())
}
