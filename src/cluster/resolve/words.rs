//! Words of the command line, by kubectl's rules. Pure.

use super::kinds::Kind;
use crate::{exit::Failure, output::safe};

/// What one word, or a type and a name, say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Named {
    /// `None`: a type to be found by discovery.
    pub kind: Option<Kind>,
    /// The type as it was typed, without group.
    pub type_word: String,
    /// Its API group, if typed.
    pub group: Option<String>,
    /// `None`: all of the type.
    pub name: Option<String>,
}

impl Named {
    /// `deployment/web`, for messages.
    pub(super) fn label(&self) -> String {
        let kind = self
            .kind
            .map_or_else(|| safe(&self.type_word), |kind| kind.word().to_owned());
        match &self.name {
            Some(name) => format!("{kind}/{name}"),
            None => format!("all {kind}s"),
        }
    }
}

/// - `TYPE/NAME`: that object; a plain word beside such words is a pod.
/// - `TYPE NAME…`, `TYPE`: if the first word is a known type or a list of them (`pods,svc`).
/// - Otherwise each word is a pod.
pub(super) fn parse(words: &[String]) -> Result<Vec<Named>, Failure> {
    if words.iter().any(|word| word.contains('/')) {
        return words.iter().map(|word| with_slash(word)).collect();
    }
    let Some((first, names)) = words.split_first() else {
        return Ok(Vec::new());
    };
    let types: Vec<(Option<Kind>, &str)> = first.split(',').map(|word| (known(word), word)).collect();
    match types.iter().filter(|(kind, _)| kind.is_some()).count() {
        0 if types.len() == 1 => words.iter().map(|name| named("pod", Some(name))).collect(),
        known if known == types.len() => {
            let mut all = Vec::new();
            for (_, word) in &types {
                if names.is_empty() {
                    all.push(named(word, None)?);
                }
                for name in names {
                    all.push(named(word, Some(name))?);
                }
            }
            Ok(all)
        }
        _ => {
            let unknown: Vec<&str> = types
                .iter()
                .filter(|(kind, _)| kind.is_none())
                .map(|(_, word)| *word)
                .collect();
            Err(Failure::usage(format!(
                "{:?} is no type that has pods",
                safe(&unknown.join(","))
            )))
        }
    }
}

/// What names are of.
const LETTERS: &str = "names are of lower-case letters, digits, '-' and '.'";

fn known(word: &str) -> Option<Kind> {
    let (name, group) = split_group(word);
    Kind::find(name, group)
}

fn with_slash(word: &str) -> Result<Named, Failure> {
    match word.split_once('/') {
        None => named("pod", Some(word)),
        Some((kind, name)) if !kind.is_empty() && !name.is_empty() => named(kind, Some(name)),
        Some(_) => Err(Failure::usage(format!("{:?} is not TYPE/NAME", safe(word)))
            .hint("examples: web-7d9c, deploy/web, node/worker-1")),
    }
}

fn named(type_word: &str, name: Option<&str>) -> Result<Named, Failure> {
    let (plain, group) = split_group(type_word);
    if !is_object_name(&plain.to_lowercase()) || group.is_some_and(|group| !is_object_name(group)) {
        return Err(Failure::usage(format!("{:?} is no resource type", safe(type_word))));
    }
    if let Some(name) = name
        && !is_object_name(name)
    {
        return Err(Failure::usage(format!("{:?} cannot be the name of an object", safe(name))).hint(LETTERS));
    }
    Ok(Named {
        kind: Kind::find(plain, group),
        type_word: plain.to_owned(),
        group: group.map(str::to_owned),
        name: name.map(str::to_owned),
    })
}

/// `deployments.apps` and `deployments.v1.apps`: the version is not needed.
fn split_group(word: &str) -> (&str, Option<&str>) {
    let Some((name, rest)) = word.split_once('.') else {
        return (word, None);
    };
    let is_version = |part: &str| {
        part.strip_prefix('v')
            .is_some_and(|digits| digits.starts_with(|c: char| c.is_ascii_digit()))
    };
    match rest.split_once('.') {
        Some((version, group)) if is_version(version) => (name, Some(group)),
        _ => (name, Some(rest)),
    }
}

/// Reads a flag's value that names an object.
///
/// # Errors
/// If no object can have that name.
pub fn object_name(text: &str) -> Result<String, &'static str> {
    is_object_name(text).then(|| text.to_owned()).ok_or(LETTERS)
}

/// A DNS subdomain (RFC 1123), which is what names of pods, nodes and workloads are. Also keeps `..` out of request paths.
fn is_object_name(name: &str) -> bool {
    name.len() <= 253
        && name.split('.').all(|label| {
            !label.is_empty()
                && label
                    .chars()
                    .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn labels(words: &[&str]) -> Vec<String> {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        parse(&words).unwrap().iter().map(Named::label).collect()
    }

    #[test]
    fn all_of_kubectls_forms() {
        let cases: &[(&[&str], &[&str])] = &[
            (&[], &[]),
            (&["web-1"], &["pod/web-1"]),
            (&["web-1", "web-2"], &["pod/web-1", "pod/web-2"]),
            (&["pod/web-1", "deploy/db"], &["pod/web-1", "deployment/db"]),
            (&["web-1", "deploy/db"], &["pod/web-1", "deployment/db"]),
            (&["deploy", "web", "api"], &["deployment/web", "deployment/api"]),
            (&["deployments.apps", "web"], &["deployment/web"]),
            (&["deployments.v1.apps/web"], &["deployment/web"]),
            (&["no/worker-1"], &["node/worker-1"]),
            (&["pods"], &["all pods"]),
            (&["sts,ds"], &["all statefulsets", "all daemonsets"]),
            (&["rollouts.argoproj.io/web"], &["rollouts/web"]),
            (&["my.pod.name"], &["pod/my.pod.name"]),
        ];
        for (words, expected) in cases {
            assert_eq!(labels(words), *expected, "{words:?}");
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for words in [
            vec!["deploy/"],
            vec!["/web"],
            vec!["pods,coffee"],
            vec!["pod/../secrets"],
            vec!["Web"],
            vec!["a\u{1b}[2J"],
            vec![""],
        ] {
            let owned: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            let failure = parse(&owned).expect_err(words[0]);
            assert!(!failure.message.contains('\u{1b}'));
        }
    }

    proptest! {
        #[test]
        fn nothing_panics_and_no_name_escapes_its_path(words in prop::collection::vec(any::<String>(), 0..4)) {
            for named in parse(&words).unwrap_or_default() {
                for text in [Some(named.type_word), named.group, named.name].into_iter().flatten() {
                    prop_assert!(!text.contains('/') && !text.contains(".."));
                }
            }
        }
    }
}
