//! Our own CNI on a rig: its image, its manifests as anybody would apply them, and nothing else.

use super::{PATIENCE, Rig};
use crate::{Error, Progress, Result, RigSpec, wait_until};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

/// As `kubectl netcheck cni install --dry-run` prints them, for ranges that are not the rig's.
const MANIFESTS: &str = include_str!("../../../../bundled-cni/deploy/netcheck-cni.yaml");
/// Where `make` puts the image, from the root of the checkout.
const IMAGE: &str = "target/cni-image/netcheck-cni.tar";
/// The key of its ConfigMap that must fit the cluster.
const RANGES: &str = "clusterCIDRs";

/// What can be told before anything runs: the image is built, and settings have keys that there are.
pub(super) fn check(spec: &RigSpec) -> Result<()> {
    let image = image();
    if !image.is_file() {
        return Err(Error::MissingImage { path: image });
    }
    manifests(&spec.cni_settings).map(drop)
}

/// Loads the image into every node, and applies the manifests for the rig's pod ranges and settings.
pub(super) fn install(rig: &Rig, progress: &dyn Progress) -> Result<()> {
    rig.image_load(&image())?;
    let mut settings = rig.spec().cni_settings.clone();
    settings.insert(RANGES.to_owned(), rig.addresses().pod_networks().join(","));
    rig.apply(&manifests(&settings)?)?;
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

/// The manifests with other values of the ConfigMap's keys.
fn manifests(settings: &BTreeMap<String, String>) -> Result<String> {
    let mut lines: Vec<String> = MANIFESTS.lines().map(str::to_owned).collect();
    for (key, value) in settings {
        let start = format!("  {key}: ");
        // The ConfigMap's is the only `data` there is.
        let data = lines.iter_mut().skip_while(|line| *line != "data:").skip(1);
        let mut data = data.take_while(|line| line.starts_with("  "));
        let line = data.find(|line| line.starts_with(&start));
        let line = line.ok_or_else(|| Error::UnknownSetting { key: key.clone() })?;
        // Quoted as JSON is, which YAML takes.
        *line = format!("{start}{}", Value::from(value.as_str()));
    }
    Ok(lines.join("\n") + "\n")
}

#[cfg(test)]
mod tests {
    use super::manifests;
    use std::collections::BTreeMap;

    #[test]
    fn settings_take_the_place_of_the_defaults() {
        let settings = [("clusterCIDRs", "10.9.0.0/16,fd09::/48"), ("mtu", "1300")];
        let settings = settings.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let text = manifests(&BTreeMap::from(settings)).expect("both are keys");
        assert_eq!(text.matches("\n  clusterCIDRs: \"10.9.0.0/16,fd09::/48\"\n").count(), 1);
        assert_eq!(text.matches("\n  clusterCIDRs: ").count(), 1);
        assert_eq!(text.matches("\n  mtu: \"1300\"\n").count(), 1);
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let settings = BTreeMap::from([("name".to_owned(), "other".to_owned())]);
        let error = manifests(&settings).expect_err("there is no such key");
        assert!(error.to_string().contains("name"), "{error}");
    }
}
