//! What `doctor` wants besides what a verifier reads; without any of it, it says less.

use super::{Grant, Place, cni::want};

/// What a verifier alone has a use for.
pub(super) const SPARED: [(Place, &str); 1] = [(Place::Cni, "pods/exec")];

pub(super) const OWN: [Grant; 3] = [
    want(
        Place::Cluster,
        "apps",
        "daemonsets",
        &["list"],
        "which pod network and which service proxy are at work",
    ),
    want(Place::Targets, "", "namespaces", &["get"], "its Pod Security level"),
    want(
        Place::Targets,
        "",
        "pods/ephemeralcontainers",
        &["patch"],
        "only as a dry run, to ask admission about ephemeral containers",
    ),
];
