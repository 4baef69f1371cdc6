//! The ladder of security contexts for an ephemeral container, and what a refusal or a failed start says about the next rung. Pure.
//!
//! Pod Security judges the whole pod, also what was in it before; so a refusal is read for *who* violates: our container, for which a
//! lower rung may be the answer, or the pod itself, for which none is.

use super::run::{PREFIX, RunId};
use crate::findings::{Absence, Obstacle};
use serde_json::{Value, json};

/// A security context to try, from the one that sees most to the one that every policy admits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Rung {
    /// Root with nothing but `NET_RAW`: sees and sends everything.
    Raw,
    /// Root with what the runtime gives by default: Pod Security's *baseline* forbids adding `NET_RAW`, but containerd gives it unasked.
    Root,
    /// Not root, nothing at all: *restricted*-compliant. It can connect and ask; it can neither watch nor ping.
    Plain,
}

impl Rung {
    /// All, in the order of trying.
    pub const ALL: [Self; 3] = [Self::Raw, Self::Root, Self::Plain];

    /// The rung's word in names of containers.
    pub fn word(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Root => "root",
            Self::Plain => "plain",
        }
    }

    /// What is asked for, for `--dry-run` and notes.
    pub fn describe(self) -> &'static str {
        match self {
            Self::Raw => "user 0, drop ALL, add NET_RAW",
            Self::Root => "user 0, the runtime's default capabilities",
            Self::Plain => "user 65532, drop ALL (no watching, no ping)",
        }
    }

    /// Name of the container of a run on this rung.
    pub fn container_name(self, run: &RunId) -> String {
        format!("{PREFIX}{run}-{}", self.word())
    }

    /// Reads a container's name back; `None` if it is none of ours.
    pub fn of_container(name: &str) -> Option<(RunId, Self)> {
        let (run, word) = name.strip_prefix(PREFIX)?.rsplit_once('-')?;
        let rung = Self::ALL.into_iter().find(|rung| rung.word() == word)?;
        Some((RunId::parse(run)?, rung))
    }

    /// The container's security context. Every rung sets user *and* `runAsNonRoot`: the pod's own values would be inherited.
    pub fn security_context(self) -> Value {
        match self {
            Self::Raw => json!({
                "runAsUser": 0,
                "runAsNonRoot": false,
                "allowPrivilegeEscalation": false,
                "capabilities": { "drop": ["ALL"], "add": ["NET_RAW"] },
            }),
            Self::Root => json!({
                "runAsUser": 0,
                "runAsNonRoot": false,
                "allowPrivilegeEscalation": false,
            }),
            Self::Plain => json!({
                "runAsUser": 65532,
                "runAsGroup": 65532,
                "runAsNonRoot": true,
                "allowPrivilegeEscalation": false,
                "capabilities": { "drop": ["ALL"] },
                "seccompProfile": { "type": "RuntimeDefault" },
            }),
        }
    }
}

/// The patch that adds an agent to a pod (strategic merge: appends by name).
pub fn patch(run: &RunId, rung: Rung, image: &str, command: &[String]) -> Value {
    json!({ "spec": { "ephemeralContainers": [{
        "name": rung.container_name(run),
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": command,
        "securityContext": rung.security_context(),
    }] } })
}

/// Whom a refusal by an admission policy is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Violator {
    /// Our container, and nothing else that is named.
    OurContainer,
    /// The pod itself, or a container that was in it before: no rung can be admitted.
    ThePod,
    /// The message does not say.
    Unknown,
}

/// Reads Pod Security's message: `violates PodSecurity "baseline:latest": non-default capabilities (container "x" must not …),
/// host namespaces (hostNetwork=true)`. Other policies write what they like, hence [`Violator::Unknown`].
pub fn violator(message: &str, ours: &str) -> Violator {
    let Some((_, violations)) = message.split_once("violates PodSecurity") else {
        return Violator::Unknown;
    };
    // After the level in quotes: each violation is a phrase with its details in brackets.
    let violations = violations.split_once(": ").map_or(violations, |(_, rest)| rest);
    let mut about_us = false;
    for violation in brackets(violations) {
        let named = quoted_after_container(violation);
        if named.is_empty() || named.iter().any(|name| *name != ours) {
            return Violator::ThePod;
        }
        about_us = true;
    }
    if about_us {
        Violator::OurContainer
    } else {
        Violator::Unknown
    }
}

/// The outermost bracketed parts of a text.
fn brackets(text: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut start) = (Vec::new(), 0_usize, 0);
    for (at, letter) in text.char_indices() {
        match letter {
            '(' => {
                if depth == 0 {
                    start = at + 1;
                }
                depth += 1;
            }
            ')' if depth > 0 => {
                depth -= 1;
                if depth == 0 {
                    parts.push(&text[start..at]);
                }
            }
            _ => {}
        }
    }
    parts
}

/// Names in `container "a" must …` and `containers "a", "b" must …`; none if the pod itself is blamed: `pod must …`, `pod and container
/// "a" must …`. (`pod or container "a" must …` blames the container: it could have said what the pod does not.)
fn quoted_after_container(violation: &str) -> Vec<&str> {
    if ["pod must", "pod and "]
        .iter()
        .any(|blame| violation.starts_with(blame))
    {
        return Vec::new();
    }
    let mut names = Vec::new();
    let mut rest = violation;
    while let Some(at) = rest.find("container") {
        rest = rest[at + "container".len()..].trim_start_matches('s').trim_start();
        while let Some((name, after)) = rest.strip_prefix('"').and_then(|rest| rest.split_once('"')) {
            names.push(name);
            rest = after.trim_start_matches([',', ' ']);
        }
    }
    names
}

/// A container that admission did not take.
#[derive(Debug, Clone, Copy)]
pub struct Refused<'a> {
    /// Its name.
    pub container: &'a str,
    /// What it asked for, in words.
    pub asked: &'a str,
    /// What admission said.
    pub message: &'a str,
}

/// The last word about a pod when no rung was left.
pub fn no_rung_left(last: Option<Refused<'_>>) -> Absence {
    let Some(Refused {
        container,
        asked,
        message,
    }) = last
    else {
        return Obstacle::NotStarted
            .because("no security context is left to try in this pod: earlier runs failed to start with each");
    };
    Obstacle::Forbidden.because(match violator(message, container) {
        Violator::ThePod => {
            format!("the pod itself violates its namespace's policy, so nothing can be added to it: {message}")
        }
        _ => format!("admission refuses our container on every rung, at last ({asked}): {message}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: &str = "netcheck-0123bcdf-raw";

    /// Every privilege of it is what users are told of in `README.md`: whoever changes one sees it here.
    #[test]
    fn all_of_an_ephemeral_container_on_each_rung() {
        let run = RunId::parse("0123bcdf").unwrap();
        for rung in Rung::ALL {
            let command = ["/netcheck-agent".to_owned(), "serve".to_owned()];
            insta::assert_json_snapshot!(
                format!("rung-{}", rung.word()),
                patch(&run, rung, "agent:dev", &command)
            );
        }
    }

    #[test]
    fn a_name_tells_run_and_rung() {
        let run = RunId::parse("0123bcdf").unwrap();
        for rung in Rung::ALL {
            assert_eq!(
                Rung::of_container(&rung.container_name(&run)),
                Some((run.clone(), rung))
            );
        }
        for other in [
            "netcheck-0123bcdf-",
            "netcheck-raw",
            "debugger-x7c",
            "netcheck-0123bcdf-3",
            "netcheck-UPPERCAS-raw",
        ] {
            assert_eq!(Rung::of_container(other), None, "{other}");
        }
    }

    #[test]
    fn every_rung_says_both_user_and_whether_root_is_allowed() {
        for rung in Rung::ALL {
            let context = rung.security_context();
            let root = context["runAsUser"] == 0;
            assert_eq!(context["runAsNonRoot"], !root, "{rung:?}");
        }
    }

    #[test]
    fn a_refusal_of_our_container_is_told_from_one_of_the_pod() {
        let refusal = |violations: &str| {
            format!(r#"pods "web" is forbidden: violates PodSecurity "baseline:latest": {violations}"#)
        };
        let ours = r#"non-default capabilities (container "netcheck-0123bcdf-raw" must not include "NET_RAW" in securityContext.capabilities.add)"#;
        for (violations, expected) in [
            (ours.to_owned(), Violator::OurContainer),
            ("host namespaces (hostNetwork=true)".to_owned(), Violator::ThePod),
            (format!("host namespaces (hostNetwork=true), {ours}"), Violator::ThePod),
            (r#"privileged (container "app" must not set securityContext.privileged=true)"#.to_owned(), Violator::ThePod),
            (
                r#"allowPrivilegeEscalation != false (containers "app", "netcheck-0123bcdf-raw" must set securityContext.allowPrivilegeEscalation=false)"#
                    .to_owned(),
                Violator::ThePod,
            ),
            (
                r#"runAsNonRoot != true (container "netcheck-0123bcdf-raw" must not set securityContext.runAsNonRoot=false), runAsUser=0 (container "netcheck-0123bcdf-raw" must not set runAsUser=0), seccompProfile (pod or container "netcheck-0123bcdf-raw" must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost")"#
                    .to_owned(),
                Violator::OurContainer,
            ),
            (
                r#"runAsNonRoot != true (pod or containers "app", "netcheck-0123bcdf-raw" must set securityContext.runAsNonRoot=true)"#
                    .to_owned(),
                Violator::ThePod,
            ),
            ("runAsUser=0 (pod must not set runAsUser=0)".to_owned(), Violator::ThePod),
            (
                r#"runAsNonRoot != true (pod and container "netcheck-0123bcdf-raw" must not set securityContext.runAsNonRoot=false)"#
                    .to_owned(),
                Violator::ThePod,
            ),
        ] {
            assert_eq!(violator(&refusal(&violations), OURS), expected, "{violations}");
        }
        assert_eq!(
            violator("admission webhook \"x\" denied the request: no", OURS),
            Violator::Unknown
        );
    }

    #[test]
    fn the_last_word_is_admissions_where_admission_was_asked() {
        assert_eq!(no_rung_left(None).obstacle, Obstacle::NotStarted);
        let refused = no_rung_left(Some(Refused {
            container: OURS,
            asked: "user 0",
            message: "denied the request: no",
        }));
        assert_eq!(refused.obstacle, Obstacle::Forbidden);
        assert!(refused.why.contains("denied the request: no"), "{refused}");
    }

    #[test]
    fn hostile_messages_do_not_confuse_the_reader() {
        for message in [
            "violates PodSecurity",
            "violates PodSecurity \"x\": (",
            "violates PodSecurity: )))(((\"",
            "violates PodSecurity: a (container \"",
            "",
        ] {
            violator(message, OURS);
        }
    }
}
