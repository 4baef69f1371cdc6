//! Findings: what netcheck can report, as data. Each has a stable id and a page that `kubectl netcheck explain ID` prints.

mod absence;
mod agents;
mod capture;
mod cni;
mod doctor;
mod effect;
mod matrix;
mod observe;
pub mod text;
mod verify;
mod verify_firewall;
mod verify_networks;

pub use absence::{Absence, Obstacle};
pub use effect::{Effect, Harm, Probed, tried};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// It could not be told.
    Inconclusive,
    /// It works, but deserves a look.
    Warning,
    /// Traffic is broken.
    Error,
}

impl Severity {
    /// Its word in tables.
    pub fn word(self) -> &'static str {
        match self {
            Self::Inconclusive => "inconclusive",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// Something that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// Stable id, see `kubectl netcheck explain`.
    pub id: String,
    /// How bad it is.
    pub severity: Severity,
    /// What it is about: a node, a pod, a pair.
    pub subject: String,
    /// What a healthy network would have shown.
    pub expected: String,
    /// What was seen.
    pub actual: String,
    /// The observations behind it, one a line.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub evidence: Vec<String>,
    /// Why it is so, as far as that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// The command or change that mends it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
}

impl Finding {
    /// A finding of a known kind, with what its page expects.
    pub fn new(page: &Page, subject: impl Into<String>, actual: impl Into<String>) -> Self {
        Self {
            id: page.id.into(),
            severity: page.severity,
            subject: subject.into(),
            expected: page.expected.into(),
            actual: actual.into(),
            evidence: Vec::new(),
            cause: None,
            fix: page.fix.first().map(|fix| (*fix).into()),
        }
    }
}

/// What is known about a kind of finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page {
    /// Stable id.
    pub id: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// What it says, in a few words.
    pub title: &'static str,
    /// What was observed when it is reported, and so what is proven.
    pub proves: &'static str,
    /// What a healthy network does instead.
    pub expected: &'static str,
    /// Why it breaks traffic.
    pub breaks: &'static str,
    /// How to look yourself: what a command shows, and the command.
    pub look: &'static [(&'static str, &'static str)],
    /// What mends it, likeliest first.
    pub fix: &'static [&'static str],
}

/// All pages, in the order in which they are listed.
pub fn all() -> impl Iterator<Item = &'static Page> {
    matrix::PAGES
        .iter()
        .chain(capture::PAGES)
        .chain(cni::PAGES)
        .chain(verify::PAGES)
        .chain(observe::PAGES)
        .chain(verify_firewall::PAGES)
        .chain(verify_networks::PAGES)
        .chain(doctor::PAGES)
        .chain(agents::PAGES)
}

/// The page of a finding.
pub fn page(id: &str) -> Option<&'static Page> {
    all().find(|page| page.id == id)
}

#[cfg(test)]
mod tests {
    use std::{
        collections::BTreeSet,
        fs,
        path::{Path, PathBuf},
    };

    use super::*;

    fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                sources(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }

    /// Quoted words of the source that look like a finding's id.
    fn ids_in(text: &str) -> impl Iterator<Item = &str> {
        text.split('"').filter(|word| {
            word.split_once('-').is_some_and(|(family, rest)| {
                [
                    "matrix", "capture", "cni", "verify", "observe", "agent", "node", "stream", "doctor",
                ]
                .contains(&family)
                    && !rest.is_empty()
                    && rest.chars().all(|c| c.is_ascii_lowercase() || c == '-')
            })
        })
    }

    #[test]
    fn every_id_used_in_the_source_has_a_page() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let mut files = Vec::new();
        sources(&root, &mut files);
        let texts: Vec<String> = files.iter().map(|file| fs::read_to_string(file).unwrap()).collect();
        // Tests misspell ids on purpose.
        let texts: Vec<&str> = texts
            .iter()
            .filter_map(|text| text.split("#[cfg(test)]").next())
            .collect();
        let used: BTreeSet<&str> = texts.iter().flat_map(|text| ids_in(text)).collect();
        assert!(used.contains("matrix-refused"), "the search must find what is there");
        // `rbac` takes verbs of that shape.
        let verbs = <crate::agents::permissions::Verb as clap::ValueEnum>::value_variants();
        let is_verb = |word: &str| verbs.iter().any(|verb| verb.word() == word);
        let missing: Vec<_> = used
            .into_iter()
            .filter(|id| page(id).is_none() && !is_verb(id))
            .collect();
        assert!(missing.is_empty(), "no page for {missing:?}");
    }

    #[test]
    fn pages_are_complete_and_ids_unique() {
        let mut seen = BTreeSet::new();
        for page in all() {
            assert!(seen.insert(page.id), "{} twice", page.id);
            for text in [page.title, page.proves, page.expected, page.breaks] {
                assert!(!text.is_empty(), "{}", page.id);
            }
            assert!(!page.look.is_empty() && !page.fix.is_empty(), "{}", page.id);
            assert!(page.title.len() <= 70 && !page.title.ends_with('.'), "{}", page.title);
        }
    }

    #[test]
    fn every_class_of_the_matrix_has_its_page_with_its_severity() {
        use crate::matrix::class::{Class, Meaning};
        for class in Class::ALL {
            let Some(id) = class.finding() else { continue };
            let severity = page(id).unwrap_or_else(|| panic!("{id}")).severity;
            assert_eq!(severity == Severity::Error, class.meaning() == Meaning::Failed, "{id}");
        }
    }
}
