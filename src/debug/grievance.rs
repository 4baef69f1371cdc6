//! What of a container's privileges keeps it from starting, once it was admitted. Pure.

/// What a lower profile would not ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grievance {
    /// To be root.
    Root,
    /// More than the runtime gives by default.
    Capabilities,
}

impl Grievance {
    /// Where in a security context that is asked for (RFC 6901).
    pub fn pointer(self) -> &'static str {
        match self {
            Self::Root => "/runAsUser",
            Self::Capabilities => "/capabilities/add",
        }
    }
}

/// How the kubelet says that root is the trouble (pkg/kubelet/kuberuntime/security_context_others.go).
const ROOT: [&str; 2] = ["runasnonroot", "non-root policy"];
/// How containerd, CRI-O, runc and crun say that capabilities are.
const CAPABILITIES: [&str; 4] = ["capabilit", "apply caps", "capset", "unknown cap"];

/// Reads the kubelet's words for why a container does not start; `None` if they are about something else.
pub fn grievance(why: &str) -> Option<Grievance> {
    let why = why.to_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| why.contains(word));
    if says(&ROOT) {
        Some(Grievance::Root)
    } else if says(&CAPABILITIES) {
        Some(Grievance::Capabilities)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::debug::Profile;

    #[test]
    fn privileges_are_told_from_other_reasons() {
        for (why, expected) in [
            (
                r#"CreateContainerConfigError: container has runAsNonRoot and image will run as root (pod: "web_shop(0)", container: x)"#,
                Some(Grievance::Root),
            ),
            (
                r#"CreateContainerConfigError: container's runAsUser breaks non-root policy (pod: "web_shop(0)", container: x)"#,
                Some(Grievance::Root),
            ),
            (
                "container ended (StartError, exit code 128): runc create failed: unable to start container process: can't apply capabilities: operation not permitted: unknown",
                Some(Grievance::Capabilities),
            ),
            (
                "RunContainerError: unable to apply caps: operation not permitted",
                Some(Grievance::Capabilities),
            ),
            (
                "CreateContainerError: unknown capability \"CAP_CHECKPOINT_RESTORE\" to add",
                Some(Grievance::Capabilities),
            ),
            ("CreateContainerConfigError: secret \"tokens\" not found", None),
            (
                "container ended (StartError, exit code 128): exec: \"sh\": executable file not found in $PATH",
                None,
            ),
            ("container ended (Error, exit code 1)", None),
        ] {
            assert_eq!(grievance(why), expected, "{why}");
        }
    }

    #[test]
    fn where_root_is_the_trouble_no_other_root_is_tried() {
        let settles = |grievance| Profile::LADDER.map(|profile| profile.settles(grievance));
        assert_eq!(settles(Grievance::Root), [false, false, true]);
        assert_eq!(settles(Grievance::Capabilities), [false, true, true]);
        for profile in Profile::ALL.into_iter().filter(|one| one.settles(Grievance::Root)) {
            assert_ne!(profile.security_context(false)["runAsUser"], 0, "{profile:?}");
        }
    }
}
