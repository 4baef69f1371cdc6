//! Our own CNI on a rig: its image, its manifests as anybody would apply them, and nothing else.

use super::{PATIENCE, Rig};
use crate::{Error, Progress, Result, wait_until};
use std::path::{Path, PathBuf};

/// As `kubectl netcheck cni install --dry-run` prints them, for ranges that are not the rig's.
const MANIFESTS: &str = include_str!("../../../../bundled-cni/deploy/netcheck-cni.yaml");
/// Where `make` puts the image, from the root of the checkout.
const IMAGE: &str = "target/cni-image/netcheck-cni.tar";
/// The key of its ConfigMap that must fit the cluster.
const RANGES: &str = "clusterCIDRs: ";

/// Loads the image into every node, and applies the manifests for the rig's pod ranges.
pub(super) fn install(rig: &Rig, progress: &dyn Progress) -> Result<()> {
    let image = image();
    if !image.is_file() {
        return Err(Error::MissingImage { path: image });
    }
    rig.image_load(&image)?;
    let ranges = rig.addresses().pod_networks().join(",");
    rig.apply(&manifests(&ranges))?;
    progress.step("the bundled CNI is applied; waiting for its daemons");
    wait_until("the bundled CNI on every node", PATIENCE, || {
        let status = rig
            .kubectl
            .json(&["get", "daemonset", "netcheck-cni", "-n", "netcheck-cni"])
            .map_err(|error| error.to_string())?["status"]
            .clone();
        let (wanted, ready) = (&status["desiredNumberScheduled"], &status["numberReady"]);
        if wanted.as_u64().is_some_and(|wanted| wanted > 0) && wanted == ready {
            return Ok(());
        }
        let pods = rig
            .kubectl(["get", "pods", "-n", "netcheck-cni", "-o", "wide"])
            .unwrap_or_default();
        Err(format!("{ready} of {wanted} are ready\n{pods}"))
    })
}

fn image() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(IMAGE)
}

fn manifests(ranges: &str) -> String {
    let line = |line: &str| match line.find(RANGES) {
        Some(at) if !line.trim_start().starts_with('#') => format!("{}{RANGES}{ranges}\n", &line[..at]),
        _ => format!("{line}\n"),
    };
    MANIFESTS.lines().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::manifests;

    #[test]
    fn the_rigs_ranges_take_the_place_of_the_examples() {
        let text = manifests("10.9.0.0/16,fd09::/48");
        assert_eq!(text.matches("\n  clusterCIDRs: 10.9.0.0/16,fd09::/48\n").count(), 1);
        assert!(!text.contains("clusterCIDRs: 10.244.0.0/16"));
    }
}
