//! Making the changes: one failure does not stop the others (SPEC.md, section 9.1).

use crate::{nft, sysctl_before};
use netcheck_cni_intent::diff::{Cause, Delta, Diff, Mend};
use netcheck_node_state::{Change, Changer, Netns, within};
use std::{collections::BTreeMap, path::Path};

/// What was done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Applied {
    /// Changes made, by kind.
    pub made: BTreeMap<String, u64>,
    /// Changes that failed, by kind.
    pub not_made: BTreeMap<String, u64>,
    /// What failed, a line each.
    pub failed: Vec<String>,
}

impl Applied {
    /// Counts changes.
    pub fn add(&mut self, kind: &str, count: u64) {
        if count > 0 {
            *self.made.entry(kind.to_owned()).or_default() += count;
        }
    }

    /// How many changes were made.
    pub fn total(&self) -> u64 {
        self.made.values().sum()
    }
}

/// Makes all changes of a difference, in their order. `state` is where the kernel parameters are kept that we change.
pub fn apply(difference: &Diff, state: &Path) -> Applied {
    let mut applied = Applied::default();
    if difference.deltas.is_empty() {
        return applied;
    }
    let mut changer = Changer::open();
    for delta in &difference.deltas {
        let outcome = match (&delta.mend, &mut changer) {
            (Mend::Node(change), Ok(changer)) => node(change, changer, state),
            (Mend::Node(_), Err(error)) => Err(error.to_string()),
            (Mend::Pod { netns, change, .. }, _) => pod(netns.as_deref(), change),
            (Mend::WriteNft(table), _) => nft::write(table).map_err(|error| error.to_string()),
            (Mend::DeleteNft(name), _) => nft::delete(name).map_err(|error| error.to_string()),
            // The maps are compared by themselves, when all else is done.
            (Mend::Bpf(_), _) => continue,
        };
        let mut kind = delta.kind.to_string();
        if delta.cause == Cause::Foreign {
            kind.insert_str(0, "foreign ");
        }
        match outcome {
            Ok(()) => {
                log(delta);
                applied.add(&kind, 1);
            }
            Err(error) => {
                tracing::warn!(%delta, error, "cannot mend");
                *applied.not_made.entry(kind).or_default() += 1;
                applied.failed.push(error);
            }
        }
    }
    applied
}

fn log(delta: &Delta) {
    match delta.cause {
        Cause::Differs => tracing::info!(%delta, "mended"),
        Cause::Follows(_) => tracing::debug!(%delta, "mended"),
        // Who put it there should be able to find out where it went.
        Cause::Foreign => tracing::warn!(%delta, "replaced what somebody else put in the place of ours"),
    }
}

fn node(change: &Change, changer: &mut Changer, state: &Path) -> Result<(), String> {
    if let Change::WriteSysctl { key, .. } = change {
        sysctl_before::remember(state, key).map_err(|error| error.to_string())?;
    }
    changer.apply(change).map_err(|error| error.to_string())
}

fn pod(netns: Option<&str>, change: &Change) -> Result<(), String> {
    let path = netns.ok_or("its network namespace is not known")?;
    let netns = Netns::open(Path::new(path)).map_err(|error| error.to_string())?;
    within(&netns, || Changer::open()?.apply(change))
        .map_err(|error| error.to_string())?
        .map_err(|error| format!("{path}: {error}"))
}
