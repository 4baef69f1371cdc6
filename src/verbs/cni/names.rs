//! Names of the bundled CNI's objects, as `bundled-cni/SPEC.md` (sections 1 and 9.4) lays them down.

pub use crate::networks::{READY_REASON, REFUSALS};

/// Namespace, ConfigMap, DaemonSet, ServiceAccount, and the roles.
pub const NAME: &str = "netcheck-cni";
/// The daemon in its image.
pub const DAEMON: &str = "/netcheck-cni-daemon";
/// Where it answers for its health and tells its metrics, on the node's own loopback only.
pub const HEALTH_PORT: u16 = 9469;
/// Where the node's `/proc/sys/net` is in the daemon's container: `/proc/sys` itself is read-only in one that is not privileged.
pub const SYSCTLS: &str = "/host/proc/sys/net";
/// What each annotation and condition type of ours starts with.
pub const PREFIX: &str = "cni.netcheck.dev/";
/// Annotation: what the node holds is of this schema; there since the daemon first came.
pub const SCHEMA: &str = "cni.netcheck.dev/schema";
/// Annotation: hash of the configuration that was last applied without failures.
pub const APPLIED: &str = "cni.netcheck.dev/config";
/// Annotation: the node was cordoned by an uninstall, which will take that back.
pub const CORDONED: &str = "cni.netcheck.dev/cordoned-by-uninstall";
/// Condition type: something is not as it should be.
pub const DEGRADED: &str = "cni.netcheck.dev/Degraded";
/// Condition type of Kubernetes.
pub const NETWORK_UNAVAILABLE: &str = "NetworkUnavailable";
/// Label that tells the daemon's pods from those of an uninstall.
pub const COMPONENT: &str = "app.kubernetes.io/component";
/// Label of everything of ours, with [`NAME`] as its value.
pub const LABEL: &str = "app.kubernetes.io/name";

#[cfg(test)]
mod tests {
    use super::*;
    use netcheck_cni_intent::{census::Reason, names};

    #[test]
    fn they_are_those_that_the_daemon_uses() {
        assert_eq!(
            (SCHEMA, APPLIED, DEGRADED, NETWORK_UNAVAILABLE),
            (
                names::ANNOTATION_SCHEMA,
                names::ANNOTATION_CONFIG,
                names::CONDITION_DEGRADED,
                names::CONDITION_NETWORK_UNAVAILABLE
            )
        );
        let refusals = [
            Reason::NoPodCIDR,
            Reason::InvalidPodCIDR,
            Reason::NoInternalIP,
            Reason::DuplicateInternalIP,
            Reason::DuplicatePodCIDR,
            Reason::PodCIDRHoldsNodeAddress,
            Reason::DuplicateVtepMAC,
        ];
        assert_eq!(refusals.map(|reason| reason.to_string()), REFUSALS);
    }
}
