//! Profiles: what a container may do. Their names are kubectl's, and so is what they are for.

use super::Grievance;
use crate::agents::ladder::Rung;
use serde_json::{Value, json};

/// A set of privileges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// What the runtime gives by default, and tracing.
    General,
    /// Root with what the runtime gives by default: Pod Security's *baseline* admits it.
    Baseline,
    /// Not root, nothing at all: Pod Security's *restricted* admits it.
    Restricted,
    /// Root with all that network tools want.
    Netadmin,
    /// Privileged: everything.
    Sysadmin,
}

/// What tools of the network want of root: packets and settings, other processes' sockets (`ss -p`), files whoever owns them, ports below
/// 1024, and tcpdump's change to a user of its own.
const NETADMIN: [&str; 11] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "KILL",
    "NET_ADMIN",
    "NET_BIND_SERVICE",
    "NET_RAW",
    "SETGID",
    "SETUID",
    "SYS_CHROOT",
    "SYS_PTRACE",
];
/// Besides, on a node: entering pods' namespaces.
const ON_NODES: &str = "SYS_ADMIN";

impl Profile {
    /// All, as kubectl lists them.
    pub const ALL: [Self; 5] = [
        Self::General,
        Self::Baseline,
        Self::Restricted,
        Self::Netadmin,
        Self::Sysadmin,
    ];
    /// Those that are tried in a pod when none is asked for, in this order.
    pub const LADDER: [Self; 3] = [Self::Netadmin, Self::Baseline, Self::Restricted];

    /// Its name.
    pub fn word(self) -> &'static str {
        match self {
            Self::General => "general",
            Self::Baseline => "baseline",
            Self::Restricted => "restricted",
            Self::Netadmin => "netadmin",
            Self::Sysadmin => "sysadmin",
        }
    }

    /// By its name.
    pub fn find(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|profile| profile.word() == word)
    }

    /// What it gives, in words.
    pub fn describe(self) -> &'static str {
        match self {
            Self::General => "user 0, the runtime's default capabilities and SYS_PTRACE",
            Self::Baseline => "user 0, the runtime's default capabilities",
            Self::Restricted => "user 65532, no capabilities (no captures, no ping)",
            Self::Netadmin => "user 0, the network's capabilities",
            Self::Sysadmin => "privileged",
        }
    }

    /// Whether it makes sense on a node, whose namespaces the other profiles are there to keep out of.
    pub fn is_for_nodes(self) -> bool {
        matches!(self, Self::General | Self::Netadmin | Self::Sysadmin)
    }

    /// Whether a container with it may start where a higher one did not for this reason.
    pub fn settles(self, grievance: Grievance) -> bool {
        match grievance {
            Grievance::Root => self == Self::Restricted,
            Grievance::Capabilities => matches!(self, Self::Baseline | Self::Restricted),
        }
    }

    /// The security context of a container. Each says both user and `runAsNonRoot`: a pod's own values would be inherited.
    pub fn security_context(self, on_node: bool) -> Value {
        let mut root = json!({ "runAsUser": 0, "runAsGroup": 0, "runAsNonRoot": false });
        match self {
            Self::Baseline => {}
            Self::General => root["capabilities"] = json!({ "add": ["SYS_PTRACE"] }),
            Self::Netadmin => {
                let mut add = NETADMIN.to_vec();
                if on_node {
                    add.push(ON_NODES);
                    root["appArmorProfile"] = json!({ "type": "Unconfined" });
                }
                root["capabilities"] = json!({ "drop": ["ALL"], "add": add });
            }
            Self::Sysadmin => root["privileged"] = json!(true),
            Self::Restricted => return Rung::Plain.security_context(),
        }
        root
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_profile_says_both_user_and_whether_root_is_allowed() {
        for profile in Profile::ALL {
            for on_node in [false, true] {
                let context = profile.security_context(on_node);
                assert_eq!(context["runAsNonRoot"], context["runAsUser"] != 0, "{profile:?}");
            }
        }
    }

    #[test]
    fn only_who_asks_for_everything_gets_it() {
        for profile in Profile::ALL {
            let privileged = profile.security_context(true)["privileged"] == true;
            assert_eq!(privileged, profile == Profile::Sysadmin);
        }
        assert!(!Profile::LADDER.contains(&Profile::Sysadmin));
    }

    #[test]
    fn names_are_kubectls() {
        for profile in Profile::ALL {
            assert_eq!(Profile::find(profile.word()), Some(profile));
        }
        assert_eq!(Profile::find("legacy"), None);
    }
}
