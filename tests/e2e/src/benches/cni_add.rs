//! What a pod's start and end wait for: ADD and DEL of the plugin against the reference plugins `ptp` with `host-local`, called in turn as a
//! runtime calls them, on the same namespaces, state in memory for both. One at a time, and fifty at once. And STATUS, which runtimes ask
//! again and again, beside VERSION, which only starts the process.

#![allow(clippy::print_stdout, reason = "figures are this program's output")]

use super::{figures::percentile, namespace::Namespace, plugin_call::Plugin, products::folder_in_memory};
use anyhow::Result;
use serde_json::json;
use std::{fs, path::Path, sync::Barrier, thread};
use tempfile::TempDir;

/// Ranges of the pods, and pods started one after the other by each: with IPv6 the reference plugins wait until no other has the address.
const CASES: [(&str, &[&str], usize); 2] = [("IPv4", &[RANGES[0]], 300), ("both families", &RANGES, 20)];
/// Pods started at once, and how often.
const AT_ONCE: usize = 50;
const ROUNDS: usize = 5;
/// How often STATUS and VERSION are asked.
const ASKED: usize = 300;
const RANGES: [&str; 2] = ["10.244.1.0/24", "fd00:10:244:1::/64"];
const PERCENTS: [(&str, usize); 2] = [("p50", 50), ("p99", 99)];

/// Milliseconds of each call.
#[derive(Default)]
struct Taken {
    add: Vec<f64>,
    del: Vec<f64>,
}

/// Runs it and prints the figures.
pub fn run() -> Result<()> {
    for (case, ranges, pods) in CASES {
        let stage = Stage::set(ranges)?;
        println!("{case}:");
        // A first call of each reads its program from the disk.
        stage.alone(1)?;
        report("alone", &stage.alone(pods)?);
        report(&format!("{AT_ONCE} at once"), &stage.at_once()?);
        stage.report_status()?;
    }
    Ok(())
}

fn report(how: &str, [ours, theirs]: &[Taken; 2]) {
    for (verb, ours, theirs) in [("ADD", &ours.add, &theirs.add), ("DEL", &ours.del, &theirs.del)] {
        for (name, percent) in PERCENTS {
            let (ours, theirs) = (percentile(ours, percent), percentile(theirs, percent));
            println!(
                "  {verb} {how}, {name}: ours {ours:7.1} ms, theirs {theirs:7.1} ms (ptp, host-local), ratio: {:.2}x",
                ours / theirs
            );
        }
    }
}

/// A node, its pods' namespaces, and both plugins. What one has set up, it removes before the other's turn.
struct Stage {
    node: Namespace,
    pods: Vec<Namespace>,
    plugins: [Plugin; 2],
    _state: TempDir,
}

impl Stage {
    fn set(ranges: &[&str]) -> Result<Self> {
        let state = folder_in_memory()?;
        let node = Namespace::new("node")?;
        node.run("sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1")?;
        let pods = (0..AT_ONCE).map(|_| Namespace::new("pod")).collect::<Result<_>>()?;
        Ok(Self {
            node,
            pods,
            plugins: [
                ours(&state.path().join("ours"), ranges)?,
                Plugin::ptp(&state.path().join("theirs"), ranges),
            ],
            _state: state,
        })
    }

    fn alone(&self, pods: usize) -> Result<[Taken; 2]> {
        let mut taken = [Taken::default(), Taken::default()];
        for number in 0..pods {
            // In turns, the first of which changes, so that a drift of the machine favours neither.
            for place in [number % 2, (number + 1) % 2] {
                let (plugin, pod) = (&self.plugins[place], &self.pods[number % AT_ONCE]);
                let container = format!("pod-{number}");
                let call = |verb| self.call(plugin, verb, &container, pod);
                taken[place].add.push(call("ADD")?);
                taken[place].del.push(call("DEL")?);
            }
        }
        Ok(taken)
    }

    /// STATUS and VERSION of ours, in turns; the reference plugins have no STATUS.
    fn report_status(&self) -> Result<()> {
        let verbs = ["STATUS", "VERSION"];
        let mut taken = [Vec::new(), Vec::new()];
        for number in 0..ASKED {
            for place in [number % 2, (number + 1) % 2] {
                taken[place].push(self.call(&self.plugins[0], verbs[place], "none", &self.pods[0])?);
            }
        }
        let [status, version] = &taken;
        for (name, percent) in PERCENTS {
            let (status, floor) = (percentile(status, percent), percentile(version, percent));
            println!("  STATUS alone, {name}: ours {status:7.2} ms, start of the process {floor:7.2} ms (VERSION)");
        }
        Ok(())
    }

    /// Milliseconds of one call on the node.
    fn call(&self, plugin: &Plugin, verb: &str, container: &str, pod: &Namespace) -> Result<f64> {
        self.node
            .within(|| plugin.call(verb, container, pod).map(|called| called.milliseconds()))?
    }

    fn at_once(&self) -> Result<[Taken; 2]> {
        let mut taken = [Taken::default(), Taken::default()];
        for round in 0..ROUNDS {
            for place in [round % 2, (round + 1) % 2] {
                taken[place].add.extend(self.all("ADD", &self.plugins[place])?);
                taken[place].del.extend(self.all("DEL", &self.plugins[place])?);
            }
        }
        Ok(taken)
    }

    /// Calls for all pods at the same time.
    fn all(&self, verb: &str, plugin: &Plugin) -> Result<Vec<f64>> {
        let barrier = Barrier::new(self.pods.len());
        thread::scope(|scope| {
            let (barrier, node) = (&barrier, &self.node);
            let call = |(number, pod)| {
                scope.spawn(move || {
                    node.within(|| {
                        barrier.wait();
                        plugin
                            .call(verb, &format!("pod-{number}"), pod)
                            .map(|called| called.milliseconds())
                    })?
                })
            };
            let calls: Vec<_> = self.pods.iter().enumerate().map(call).collect();
            let join =
                |call: thread::ScopedJoinHandle<_>| call.join().map_err(|_| anyhow::anyhow!("a caller panicked"))?;
            calls.into_iter().map(join).collect()
        })
    }
}

/// Our plugin, with what the daemon would have told it.
fn ours(state: &Path, ranges: &[&str]) -> Result<Plugin> {
    fs::create_dir(state)?;
    let node = json!({
        "schema": 1, "node": "n1", "ready": true, "reason": "", "podCIDRs": ranges, "linkMtu": 1500, "routeMtu": 1450
    });
    fs::write(state.join("node.json"), node.to_string())?;
    Plugin::ours(state)
}
