//! What a node holds, as far as it is compared.

use crate::nft;
use netcheck_cni_intent::{Actual, Desired};
use netcheck_node_state::{NetState, Netns, snapshot, sysctl, within};
use std::{collections::BTreeMap, path::Path};

/// What to look at besides the node's own tables.
#[derive(Debug, Clone, Copy)]
pub struct Scope {
    /// What changes rarely, or untold: the inside of pods, tables that should not be.
    pub all: bool,
}

/// Reads the rest of what is compared; with it, what could not be read, a line each. What was not read counts as being as it should be.
pub fn read(desired: &Desired, net: NetState, scope: Scope) -> (Actual, Vec<String>) {
    let mut unread = Vec::new();
    let keys = desired.sysctls.keys();
    let sysctls = sysctl::read_all(keys.iter().map(String::as_str)).unwrap_or_else(|error| {
        unread.push(format!("cannot read kernel parameters: {error}"));
        BTreeMap::new()
    });
    let nft = nft::read().unwrap_or_else(|error| {
        unread.push(error.to_string());
        desired.nft.clone()
    });
    let (mut pods, mut has_policy_table) = (BTreeMap::new(), false);
    if scope.all {
        pods = insides(desired);
        has_policy_table = nft::has_policy_table().unwrap_or_else(|error| {
            unread.push(error.to_string());
            false
        });
    }
    let actual = Actual {
        net,
        sysctls,
        nft,
        has_policy_table,
        pods,
        bpf: desired.bpf.clone(),
    };
    (actual, unread)
}

/// A pod that is going is no failure: it is left out.
fn insides(desired: &Desired) -> BTreeMap<String, NetState> {
    let pods = desired.pods.iter().flatten();
    let inside = |netns: &str| within(&Netns::open(Path::new(netns)).ok()?, snapshot).ok()?.ok();
    pods.filter_map(|(key, pod)| Some((key.clone(), inside(pod.netns.as_deref()?)?)))
        .collect()
}
