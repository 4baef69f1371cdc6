//! Faults: something broken on purpose, mended when dropped.

use crate::lab::{Lab, said};
use anyhow::{Context, Result, ensure};

/// A routing table that knows the default route and nothing else.
const DEFAULT_ALONE: &str = "4242";

/// A fault that is in force until dropped.
#[must_use = "the fault is mended as soon as it is dropped"]
pub struct Fault<'a> {
    what: String,
    mend: Option<Box<dyn FnOnce() -> Result<()> + 'a>>,
}

impl<'a> Fault<'a> {
    /// Breaks something now; `mend` undoes it.
    pub fn inject(
        what: impl Into<String>,
        harm: impl FnOnce() -> Result<()>,
        mend: impl FnOnce() -> Result<()> + 'a,
    ) -> Result<Self> {
        let what = what.into();
        harm().with_context(|| format!("inject: {what}"))?;
        Ok(Self {
            what,
            mend: Some(Box::new(mend)),
        })
    }

    /// Mends it, and says whether that worked.
    pub fn mend(mut self) -> Result<()> {
        match self.mend.take() {
            Some(mend) => mend().with_context(|| format!("mend: {}", self.what)),
            None => Ok(()),
        }
    }

    /// A node that sends what is for another node's pods, in one family, the way of its default route, as if it had no better one. The route
    /// itself stays: a CNI that keeps its routes would put it back.
    pub fn route_lost(lab: &'a Lab, node: &'a str, to: &str, v6: bool) -> Result<Self> {
        let ranges = lab.kubectl(&format!("get node {to} -o jsonpath={{.spec.podCIDRs[*]}}"))?;
        let mut ranges = ranges.split_whitespace();
        let range = ranges
            .find(|range| range.contains(':') == v6)
            .with_context(|| format!("{to} has no such range of pods"))?;
        let family = if v6 { "-6" } else { "-4" };
        let default = lab.rig.node(node)?.run(["ip", family, "route", "show", "default"])?;
        let default = default.trim();
        ensure!(!default.is_empty(), "{node} has no default route");
        let run = move |line: &str| run_on_node(lab, node, line);
        Self::inject(
            format!("{node} has no route to {range}"),
            || {
                run(&format!("ip {family} route add {default} table {DEFAULT_ALONE}"))?;
                run(&format!("ip {family} rule add to {range} lookup {DEFAULT_ALONE}"))
            },
            move || {
                run(&format!("ip {family} rule del lookup {DEFAULT_ALONE}"))?;
                run(&format!("ip {family} route flush table {DEFAULT_ALONE}"))
            },
        )
    }

    /// An nftables table of its own in a pod's namespace, made of these commands (without the leading `add`).
    pub fn nft_in_pod(lab: &'a Lab, namespace: &'a str, pod: &'a str, commands: &[&str]) -> Result<Self> {
        Self::nft(pod, commands, move |line| {
            let output = lab.rig.pod_exec(namespace, pod, line.split_whitespace())?;
            ensure!(output.status.success(), "`{line}` in {pod}: {}", said(&output));
            Ok(())
        })
    }

    /// The same on a node.
    pub fn nft_on_node(lab: &'a Lab, node: &'a str, commands: &[&str]) -> Result<Self> {
        Self::nft(node, commands, move |line| run_on_node(lab, node, line))
    }

    fn nft(place: &str, commands: &[&str], run: impl Fn(&str) -> Result<()> + Copy + 'a) -> Result<Self> {
        Self::inject(
            format!("nft in {place}: {commands:?}"),
            || {
                run("nft add table inet fault")?;
                commands
                    .iter()
                    .try_for_each(|command| run(&format!("nft add {command}")))
            },
            move || run("nft delete table inet fault"),
        )
    }
}

fn run_on_node(lab: &Lab, node: &str, line: &str) -> Result<()> {
    let output = lab.rig.node(node)?.run(line.split_whitespace());
    output.map(drop).with_context(|| format!("`{line}` on {node}"))
}

impl Drop for Fault<'_> {
    fn drop(&mut self) {
        if let Some(mend) = self.mend.take() {
            // A test that already failed keeps its own message; the next one would notice what is still broken.
            let _mended = mend();
        }
    }
}
