//! How rigs end, in order and not.

use crate::{Outcome, directory, ensure, machine::Machine, shared, traffic::all_pairs};
use netcheck_rig::{Cni, Error, Families, ProxyMode, Rig, RigSpec, Stderr, wait_until};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    fs,
    process::{Command, Stdio},
    time::Duration,
};

fn small(name: &str) -> RigSpec {
    RigSpec {
        name: name.into(),
        nodes: 1,
        ..RigSpec::default()
    }
}

/// Processes that name the rig's directory: its inits, and whatever was started with a file of its.
fn processes_of(name: &str) -> Vec<String> {
    let wanted = directory(name).display().to_string();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| fs::read(entry.path().join("cmdline")).ok())
        .map(|line| String::from_utf8_lossy(&line).replace('\0', " "))
        .filter(|line| line.contains(&wanted))
        .collect()
}

pub fn ipv6_alone() -> Outcome {
    // Beside the shared one: both must work at the same time.
    let other = shared()?;
    let spec = RigSpec {
        families: Families::V6,
        proxy_mode: ProxyMode::Nftables,
        nodes: 2,
        ..small("six")
    };
    Rig::down_in(&directory("six"), &Stderr::start())?;
    let rig = Rig::up_in(&directory("six"), &spec, &Stderr::start())?;
    rig.start_plain_pods("pairs", "pair", 2)?;
    all_pairs(&rig, "pairs", 1)?;
    let rules = rig.node("n1")?.run(["nft", "list", "tables"])?;
    ensure!(
        rules.contains("table ip6 kube-proxy"),
        "kube-proxy made no nftables table: {rules}"
    );
    all_pairs(&other, "pairs", 2)?;
    Ok(rig.down()?)
}

pub fn lost_route_is_felt() -> Outcome {
    // The plugin that keeps no routes: what is lost stays lost until somebody comes.
    let spec = RigSpec {
        cni: Cni::Plain,
        nodes: 2,
        ..small("plain")
    };
    Rig::down_in(&directory("plain"), &Stderr::start())?;
    let rig = Rig::up_in(&directory("plain"), &spec, &Stderr::start())?;
    rig.start_plain_pods("pairs", "pair", 4)?;
    all_pairs(&rig, "pairs", 2)?;
    let node = rig.node("n1")?;
    let networks = rig.kubectl(["get", "node", "n2", "-o", "jsonpath={.spec.podCIDRs[*]}"])?;
    for network in networks.split_whitespace() {
        node.run(["ip", "route", "delete", network])?;
    }
    ensure!(
        all_pairs(&rig, "pairs", 2).is_err(),
        "pods of n1 and n2 reach each other though n1 has no route: there is a detour"
    );
    // Coming up again sets what is missing.
    Rig::up_in(&directory("plain"), &spec, &Stderr::start())?;
    all_pairs(&rig, "pairs", 2)?;
    Ok(rig.down()?)
}

/// Kills init after init of a rig, the hub's first.
fn kill(rig: &Rig, how_many: usize) -> Outcome {
    let hub = rig.hub_init_pid().ok_or("the hub does not run")?;
    let nodes = rig.nodes();
    let inits = [Some(hub)]
        .into_iter()
        .chain(nodes.iter().map(netcheck_rig::Node::init_pid))
        .flatten();
    for init in inits.take(how_many) {
        kill_process(Pid::from_raw(init).ok_or("no process")?, Signal::KILL)?;
    }
    wait_until(
        "the killed rig to be gone",
        Duration::from_secs(20),
        || match Rig::attach(rig.directory()) {
            Err(Error::NotRunning { .. }) => Ok(()),
            other => Err(format!("{:?}", other.map(|_| "still attached"))),
        },
    )?;
    Ok(())
}

pub fn killed_rig_is_cleared_by_up() -> Outcome {
    let spec = small("ends");
    Rig::down_in(&directory("ends"), &Stderr::start())?;
    let rig = Rig::up_in(&directory("ends"), &spec, &Stderr::start())?;
    rig.start_plain_pods("pairs", "pair", 1)?;
    // The hub alone: the node goes on, without underlay and control plane.
    kill(&rig, 1)?;
    let rig = Rig::up_in(&directory("ends"), &spec, &Stderr::start())?;
    ensure!(rig.status().is_whole(), "not whole: {:?}", rig.status());
    let pods = rig.kubectl(["get", "pods", "-n", "pairs", "-o", "name"])?;
    ensure!(pods.is_empty(), "pods of the killed rig are still there: {pods}");
    Ok(rig.down()?)
}

pub fn down_leaves_nothing() -> Outcome {
    let spec = small("ends");
    Rig::down_in(&directory("ends"), &Stderr::start())?;
    // What the shared rig and the machine have now must be there afterwards, and nothing else.
    let own = Rig::mark(&directory("ends"))?;
    let before = Machine::now(&own)?;
    for killed in [0, 1, 2] {
        let rig = Rig::up_in(&directory("ends"), &spec, &Stderr::start())?;
        rig.start_plain_pods("pairs", "pair", 2)?;
        let during = Machine::now(&own)?;
        for what in ["link", "cgroup"] {
            ensure!(
                during.new_since(&before).iter().any(|seen| seen.starts_with(what)),
                "this test is blind: a running rig shows no {what}"
            );
        }
        if killed > 0 {
            kill(&rig, killed)?;
        }
        rig.down()?;
        let left = wait_until("the machine to be as before", Duration::from_secs(10), || {
            let now = Machine::now(&own).map_err(|error| error.to_string())?;
            let left = now.new_since(&before);
            if left.is_empty() { Ok(()) } else { Err(left.join("\n")) }
        });
        ensure!(left.is_ok(), "after {killed} inits were killed: {left:?}");
        let processes = processes_of("ends");
        ensure!(processes.is_empty(), "still running: {processes:#?}");
    }
    Ok(())
}

pub fn up_killed_half_way() -> Outcome {
    Rig::down_in(&directory("ends"), &Stderr::start())?;
    let own = Rig::mark(&directory("ends"))?;
    let before = Machine::now(&own)?;
    // From namespaces hardly made to pods about to start.
    for delay in [50, 300, 1000, 6000].map(Duration::from_millis) {
        let mut up = Command::new(env!("CARGO_BIN_EXE_netcheck-rig"))
            .args(["--name", "ends", "--dir"])
            .arg(directory("ends"))
            .args(["up", "--nodes", "2"])
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        wait_until("the first process of the rig", Duration::from_mins(1), || {
            let started = processes_of("ends").iter().any(|line| line.contains("sandbox-init"));
            if started { Ok(()) } else { Err("none yet".into()) }
        })?;
        // Not a wait for anything: the moment at which the kill strikes.
        std::thread::sleep(delay);
        up.kill()?;
        up.wait()?;
        Rig::down_in(&directory("ends"), &Stderr::start())?;
        let now = Machine::now(&own)?;
        let left = now.new_since(&before);
        ensure!(left.is_empty(), "killed after {delay:?}: {left:#?}");
        let processes = processes_of("ends");
        ensure!(
            processes.is_empty(),
            "killed after {delay:?}, still running: {processes:#?}"
        );
        let files: Vec<_> = fs::read_dir(directory("ends"))?
            .flatten()
            .map(|entry| entry.file_name())
            .collect();
        ensure!(
            files.iter().all(|name| name == "logs" || name == "lock"),
            "files are left: {files:?}"
        );
    }
    Ok(())
}
