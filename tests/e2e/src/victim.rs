//! A node to break things on.

use crate::{catalogue::Injection, effect::Probes, lab::Lab, verify::Verify};
use anyhow::{Context as _, Result, ensure};
use netcheck_rig::Node;
use std::{collections::BTreeSet, fmt::Write as _};

/// A Node's first address.
const ADDRESS: &str = ".status.addresses[?(@.type==\"InternalIP\")].address";

/// A node to break things on.
#[derive(Debug)]
pub struct Victim {
    /// The node.
    pub node: Node,
    /// Its name.
    pub name: &'static str,
    /// Assignments of what the catalogue's lines use.
    prelude: String,
}

impl Victim {
    /// Takes a node, with what is known of it and what lines of sh find out there; `OWN_IP`, `PEER_IP` (IPv4 where there is any) and `PEER_RANGE`
    /// are known besides.
    pub fn new(
        lab: &Lab,
        name: &'static str,
        peer: &str,
        known: &[(&str, String)],
        variables: &[(&str, &str)],
    ) -> Result<Self> {
        let field = |node: &str, path: &str| {
            let text = lab.kubectl(&format!("get node {node} -o jsonpath={{{path}}}"))?;
            Ok::<_, anyhow::Error>(text.split_whitespace().next().unwrap_or_default().to_owned())
        };
        let mut victim = Self {
            node: lab.rig.node(name)?,
            name,
            prelude: String::new(),
        };
        for (variable, value) in known {
            victim.assign(variable, value);
        }
        victim.assign("OWN_IP", &field(name, ADDRESS)?);
        victim.assign("PEER_IP", &field(peer, ADDRESS)?);
        victim.assign("PEER_RANGE", &field(peer, ".spec.podCIDR")?);
        for (variable, line) in variables {
            let value = victim.ask(line)?;
            ensure!(!value.trim().is_empty(), "{variable} is empty on {name}: {line}");
            victim.assign(variable, value.trim());
        }
        Ok(victim)
    }

    fn assign(&mut self, variable: &str, value: &str) {
        // Writing to a String cannot fail.
        let _ = write!(self.prelude, "{variable}='{value}'; ");
    }

    /// Runs a line of sh with what is known of the node; gives what it prints.
    pub fn ask(&self, line: &str) -> Result<String> {
        let line = format!("{}{line}", self.prelude);
        self.node.run(["sh", "-ec", &line]).with_context(|| line.clone())
    }

    /// Runs a line of the catalogue.
    pub fn run(&self, line: &str) -> Result<()> {
        self.ask(line).map(drop)
    }

    /// Mends what is left to mend; in the end all must be as it was.
    pub fn mend(&self, injection: &Injection) -> Result<()> {
        self.run(&format!("set +e; {}; true", injection.mend))
    }

    /// Runs the commands of iproute2 and sysctl that a report gives for the node's root causes; how many there were.
    pub fn by_hand(&self, verify: &Verify) -> Result<usize> {
        let findings = verify.report["status"]["findings"].as_array();
        let of_node = findings
            .into_iter()
            .flatten()
            .filter(|finding| finding["node"] == self.name && finding["followsFrom"].is_null());
        let commands = of_node.filter_map(|finding| Some(finding["fix"].as_str()?.split_once("by hand: ")?.1));
        let mut count = 0;
        for command in commands {
            self.node
                .run(["sh", "-ec", command])
                .with_context(|| command.to_owned())?;
            count += 1;
        }
        Ok(count)
    }

    /// Each fault alone: found by its root cause, and doing to traffic what the catalogue says. What is wrong with that, a line each.
    pub fn each_alone(&self, lab: &Lab, injections: &[Injection], probes: &Probes<'_>) -> Result<Vec<String>> {
        let mut wrong = Vec::new();
        for injection in injections {
            self.run(&injection.harm).with_context(|| injection.what.to_owned())?;
            let verify = Verify::run(lab, [] as [&str; 0]);
            let effect = probes.effect();
            self.mend(injection)?;
            let verify = verify?;
            let (found, expected) = (verify.roots(self.name), BTreeSet::from([injection.finding]));
            if found != expected {
                wrong.push(format!("{}: {expected:?} expected, found {found:?}", injection.what));
            }
            wrong.extend(effect?.is_not(injection));
        }
        Ok(wrong)
    }
}
