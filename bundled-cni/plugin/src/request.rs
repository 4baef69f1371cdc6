//! What a runtime asks for, from environment variables (CNI 1.1.0 section 2 "Parameters").

use crate::{Code, Failure};
use netcheck_cni_intent::PodName;
use std::{ffi::OsString, path::PathBuf};

/// Longest name of an interface, in bytes (`IFNAMSIZ` of linux/if.h, less the closing zero).
const IF_NAME_MAX: usize = 15;

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Attach a pod.
    Add,
    /// Detach it.
    Del,
    /// Look whether all of it is still there.
    Check,
    /// Detach those that the runtime no longer knows.
    Gc,
    /// Say whether ADD can succeed.
    Status,
    /// Say which versions we speak.
    Version,
}

impl Verb {
    /// All.
    pub const ALL: [Self; 6] = [Self::Add, Self::Del, Self::Check, Self::Gc, Self::Status, Self::Version];

    /// As in `CNI_COMMAND`.
    pub fn text(self) -> &'static str {
        match self {
            Self::Add => "ADD",
            Self::Del => "DEL",
            Self::Check => "CHECK",
            Self::Gc => "GC",
            Self::Status => "STATUS",
            Self::Version => "VERSION",
        }
    }

    fn is_about_one_attachment(self) -> bool {
        matches!(self, Self::Add | Self::Del | Self::Check)
    }

    fn needs_netns(self) -> bool {
        matches!(self, Self::Add | Self::Check)
    }

    fn needs_path(self) -> bool {
        !matches!(self, Self::Version | Self::Status)
    }
}

/// A call, complete for its verb. What the verb has no use for is empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// What to do.
    pub verb: Verb,
    /// The sandbox, as the runtime calls it.
    pub container_id: String,
    /// File of the sandbox's network namespace.
    pub netns: Option<PathBuf>,
    /// Name of the interface inside.
    pub if_name: String,
    /// The pod that it is for, by `CNI_ARGS`.
    pub pod: PodName,
    /// Folders with other plugins.
    pub path: Vec<PathBuf>,
    /// Whether the namespace may be the plugin's own (`CNI_NETNS_OVERRIDE`, as in the reference plugins' skeleton).
    pub may_be_own_netns: bool,
}

impl Request {
    /// Reads the variables; `None` where none asks for a verb.
    ///
    /// # Errors
    /// [`Code::ENVIRONMENT`], with every variable that is wrong.
    pub fn from_variables(variable: impl Fn(&str) -> Option<OsString>) -> Result<Option<Self>, Failure> {
        let mut faults = Vec::new();
        let mut text = |name: &str| {
            let value = variable(name).unwrap_or_default().into_string();
            value.unwrap_or_else(|_| {
                faults.push(format!("{name} is not UTF-8"));
                String::new()
            })
        };
        let command = text("CNI_COMMAND");
        let container_id = text("CNI_CONTAINERID");
        let netns = text("CNI_NETNS");
        let if_name = text("CNI_IFNAME");
        let args = text("CNI_ARGS");
        let path = text("CNI_PATH");
        let netns_override = text("CNI_NETNS_OVERRIDE").to_uppercase();
        if command.is_empty() && faults.is_empty() {
            return Ok(None);
        }
        let verb = Verb::ALL.into_iter().find(|verb| verb.text() == command);
        if verb.is_none() {
            faults.push(format!("CNI_COMMAND {command:?} is no verb of CNI"));
        }
        let demands = |demand: fn(Verb) -> bool| verb.is_some_and(demand);
        if demands(Verb::is_about_one_attachment) {
            faults.extend(fault_of("CNI_CONTAINERID", &container_id, is_name));
            faults.extend(fault_of("CNI_IFNAME", &if_name, is_if_name));
        }
        if demands(Verb::needs_netns) {
            faults.extend(fault_of("CNI_NETNS", &netns, |netns| !netns.contains('\0')));
        }
        if demands(Verb::needs_path) {
            faults.extend(fault_of("CNI_PATH", &path, |path| !path.contains('\0')));
        }
        // What names the pod is of no use to the other verbs, and DEL must not be stopped by it.
        let pod = match verb {
            Some(Verb::Add | Verb::Check) => pod_of(&args).unwrap_or_else(|fault| {
                faults.push(fault);
                PodName::default()
            }),
            _ => PodName::default(),
        };
        let (Some(verb), true) = (verb, faults.is_empty()) else {
            let faults = faults.join("; ");
            return Err(Failure::new(Code::ENVIRONMENT, format!("environment: {faults}")));
        };
        Ok(Some(Self {
            verb,
            container_id,
            netns: (!netns.is_empty()).then(|| netns.into()),
            if_name,
            pod,
            path: std::env::split_paths(&path).collect(),
            may_be_own_netns: matches!(netns_override.as_str(), "1" | "TRUE"),
        }))
    }
}

fn fault_of(name: &str, value: &str, is_right: impl Fn(&str) -> bool) -> Option<String> {
    if value.is_empty() {
        return Some(format!("{name} is missing"));
    }
    (!is_right(value)).then(|| format!("{name} {value:?} is malformed"))
}

/// Whether CNI allows this as name of a container or network: letters, digits, `_`, `.` and `-`, the first a letter or digit.
pub(crate) fn is_name(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphanumeric()) && text.bytes().all(is_name_byte)
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-')
}

/// Whether Linux and CNI allow this as name of an interface (`dev_valid_name()` of net/core/dev.c).
fn is_if_name(text: &str) -> bool {
    let is_bad = |character: char| {
        character == '/'
            || character == ':'
            || character == '\0'
            || character.is_ascii_whitespace()
            || character == '\x0b'
    };
    text.len() <= IF_NAME_MAX && text != "." && text != ".." && !text.contains(is_bad)
}

/// `KEY=VALUE;KEY=VALUE`; what we do not know is left alone.
fn pod_of(args: &str) -> Result<PodName, String> {
    let mut pod = PodName::default();
    for pair in args.split(';').filter(|pair| !pair.is_empty()) {
        let Some((key, value)) = pair.split_once('=') else {
            return Err(format!("CNI_ARGS: {pair:?} has no ="));
        };
        let place = match key {
            "K8S_POD_NAMESPACE" => &mut pod.namespace,
            "K8S_POD_NAME" => &mut pod.name,
            "K8S_POD_UID" => &mut pod.uid,
            _ => continue,
        };
        if !value.bytes().all(is_name_byte) {
            return Err(format!("CNI_ARGS: {key} {value:?} is malformed"));
        }
        value.clone_into(place);
    }
    Ok(pod)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::{collections::BTreeMap, os::unix::ffi::OsStringExt};

    const WHOLE: [(&str, &str); 6] = [
        ("CNI_COMMAND", "ADD"),
        ("CNI_CONTAINERID", "a1b2"),
        ("CNI_NETNS", "/run/netns/x"),
        ("CNI_IFNAME", "eth0"),
        ("CNI_PATH", "/opt/cni/bin:/usr/lib/cni"),
        (
            "CNI_ARGS",
            "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web;K8S_POD_UID=0000aaaa",
        ),
    ];

    fn read(changes: &[(&str, &str)]) -> Result<Option<Request>, Failure> {
        let variables: BTreeMap<_, _> = WHOLE.iter().chain(changes).copied().collect();
        Request::from_variables(|name| variables.get(name).map(OsString::from))
    }

    #[test]
    fn a_whole_call_is_read() {
        let request = read(&[]).unwrap().unwrap();
        assert_eq!(request.verb, Verb::Add);
        assert_eq!(request.pod.to_string(), "default/web");
        assert_eq!(request.path.len(), 2);
        assert!(!request.may_be_own_netns);
        assert!(
            read(&[("CNI_NETNS_OVERRIDE", "true")])
                .unwrap()
                .unwrap()
                .may_be_own_netns
        );
        assert_eq!(read(&[("CNI_COMMAND", "")]), Ok(None));
        assert_eq!(read(&[("CNI_ARGS", "")]).unwrap().unwrap().pod.to_string(), "-");
    }

    #[test]
    fn every_variable_that_is_wrong_is_named() {
        let empty = ["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"].map(|name| (name, ""));
        for (verb, missing) in [
            ("ADD", &["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"][..]),
            ("CHECK", &["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"]),
            ("DEL", &["CNI_CONTAINERID", "CNI_IFNAME", "CNI_PATH"]),
            ("GC", &["CNI_PATH"]),
            ("STATUS", &[]),
            ("VERSION", &[]),
        ] {
            let mut changes = empty.to_vec();
            changes.push(("CNI_COMMAND", verb));
            match read(&changes) {
                Ok(_) => assert!(missing.is_empty(), "{verb}"),
                Err(failure) => {
                    assert_eq!(failure.code, Code::ENVIRONMENT);
                    for (name, _) in empty {
                        assert_eq!(failure.message.contains(name), missing.contains(&name), "{failure}");
                    }
                }
            }
        }
    }

    #[test]
    fn malformed_values_are_refused() {
        let long = "e".repeat(16);
        for (name, value) in [
            ("CNI_COMMAND", "add"),
            ("CNI_COMMAND", "UPDATE"),
            ("CNI_CONTAINERID", "a@b"),
            ("CNI_CONTAINERID", "-a"),
            ("CNI_CONTAINERID", "a/b"),
            ("CNI_IFNAME", long.as_str()),
            ("CNI_IFNAME", ".."),
            ("CNI_IFNAME", "a b"),
            ("CNI_IFNAME", "a:b"),
            ("CNI_IFNAME", "a/b"),
            ("CNI_ARGS", "K8S_POD_NAME"),
            ("CNI_ARGS", "A=B;C"),
            ("CNI_ARGS", "K8S_POD_NAME=a\nb"),
        ] {
            let failure = read(&[(name, value)]).unwrap_err();
            assert_eq!(failure.code, Code::ENVIRONMENT);
            assert!(failure.message.contains(name), "{failure}");
        }
        // DEL must take away what ADD could not have made with them.
        assert!(read(&[("CNI_COMMAND", "DEL"), ("CNI_ARGS", "A")]).is_ok());
        let not_text = |name: &str| (name == "CNI_IFNAME").then(|| OsString::from_vec(vec![0xff]));
        let failure = Request::from_variables(not_text).unwrap_err();
        assert!(failure.message.contains("CNI_IFNAME is not UTF-8"), "{failure}");
    }

    proptest! {
        #[test]
        fn any_args_are_read_or_named(args in prop_oneof![
            "\\PC{0,60}",
            "((K8S_POD_(NAMESPACE|NAME|UID)|[A-Z]{1,3})?=?[a-z0-9.=/ -]{0,5};?){0,6}",
        ]) {
            match read(&[("CNI_ARGS", &args)]) {
                Ok(request) => {
                    let PodName { namespace, name, uid } = request.unwrap().pod;
                    for part in [namespace, name, uid] {
                        // What we write and log of it is all from the arguments, and harmless.
                        prop_assert!(part.bytes().all(is_name_byte) && args.contains(&part), "{part}");
                    }
                }
                Err(failure) => {
                    prop_assert_eq!(failure.code, Code::ENVIRONMENT);
                    prop_assert!(failure.message.contains("CNI_ARGS"), "{failure}");
                }
            }
            prop_assert!(read(&[("CNI_COMMAND", "DEL"), ("CNI_ARGS", &args)]).is_ok());
        }

        #[test]
        fn a_pod_is_found_among_other_args(
            [namespace, name, uid] in prop::array::uniform3("[A-Za-z0-9_.-]{0,20}"),
            others in prop::collection::vec("([A-Z]{1,8}=[^;\\x00]{0,8})?", 0..4),
            place in any::<prop::sample::Index>(),
        ) {
            let mut pairs = others;
            for (key, value) in [("NAMESPACE", &namespace), ("NAME", &name), ("UID", &uid)] {
                pairs.insert(place.index(pairs.len() + 1), format!("K8S_POD_{key}={value}"));
            }
            let pod = read(&[("CNI_ARGS", &pairs.join(";"))]).unwrap().unwrap().pod;
            prop_assert_eq!(pod, PodName { namespace, name, uid });
        }
    }
}
