//! What namespaces admit: Pod Security by its labels, and what the API server answered when it was asked about agents (nothing was stored).

use super::{
    book::{Book, finding},
    report::{State, Topic},
};
use crate::agents::{gate::Verdict, ladder::Rung};
use std::collections::BTreeMap;

const ENFORCE: &str = "pod-security.kubernetes.io/enforce";
const WARN: &str = "pod-security.kubernetes.io/warn";

/// A namespace, as far as it could be looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Labels {
    /// It is there, with these labels.
    There(BTreeMap<String, String>),
    /// There is none.
    Missing,
    /// It may not be looked at, for this reason.
    Unread(String),
}

/// What is known of the agents' namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agents {
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: Labels,
    /// What admission says of an agent there, or why it was not asked.
    pub verdict: Result<Verdict, String>,
    /// Whether it may be created.
    pub may_create: bool,
}

/// What is known of the namespace that is looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: Labels,
    /// The highest rung of the ladder that admission let an ephemeral container on (`None`: none), and the pod that it was asked about; or why it was not
    /// asked.
    pub rung: Result<(Option<Rung>, String), String>,
}

fn level<'a>(labels: &'a Labels, key: &str) -> Option<&'a str> {
    match labels {
        Labels::There(labels) => labels.get(key).map(String::as_str),
        _ => None,
    }
}

/// `enforce=baseline, warn=restricted`, or what is known instead.
fn words(labels: &Labels) -> String {
    let words: Vec<String> = [("enforce", ENFORCE), ("warn", WARN)]
        .iter()
        .filter_map(|(word, key)| Some(format!("{word}={}", level(labels, key)?)))
        .collect();
    match labels {
        Labels::There(_) if words.is_empty() => "no Pod Security label".to_owned(),
        Labels::There(_) => words.join(", "),
        Labels::Missing => "there is none".to_owned(),
        Labels::Unread(why) => format!("its labels could not be read: {why}"),
    }
}

/// The highest rung that a level of Pod Security admits; without a level the cluster's default counts, and it is privileged unless somebody changed it.
fn rung_of(level: Option<&str>) -> Rung {
    match level {
        Some("restricted") => Rung::Plain,
        Some("baseline") => Rung::Root,
        _ => Rung::Raw,
    }
}

/// The agents' namespace: whether node agents are let in.
pub fn agents(agents: &Agents, book: &mut Book) {
    let check = format!("agents in {}", agents.name);
    let labels = words(&agents.labels);
    let refusal = match (&agents.verdict, level(&agents.labels, ENFORCE)) {
        (Ok(Verdict::Refused(words)), _) => Some(words.clone()),
        (Ok(Verdict::Admitted), _) => None,
        (_, Some(level @ ("baseline" | "restricted"))) => Some(format!(
            "Pod Security enforces {level}, which forbids hostNetwork and hostPID"
        )),
        _ => None,
    };
    if let Some(refusal) = refusal {
        book.line(
            Topic::Admission,
            check,
            State::Warning,
            format!("node agents are refused ({labels}): {refusal}"),
        )
        .next("kubectl netcheck matrix --via ephemeral");
        let mut found = finding("doctor-agents-refused", format!("namespace/{}", agents.name), refusal);
        found.evidence = vec![labels];
        book.find(
            Topic::Admission,
            found,
            format!("kubectl get namespace {} --show-labels", agents.name),
        );
        return;
    }
    let (state, says) = match (&agents.verdict, &agents.labels) {
        (Ok(Verdict::Admitted), _) => (
            State::Ok,
            format!("node agents are admitted ({labels}; asked by a dry run)"),
        ),
        (_, Labels::Missing) if agents.may_create => (
            State::Ok,
            "there is no such namespace; a run creates it, labelled privileged, and removes it".to_owned(),
        ),
        (_, Labels::Missing) => (
            State::Warning,
            "there is no such namespace, and you may not create namespaces: no node agents".to_owned(),
        ),
        (Err(why), _) => (State::Unknown, format!("could not tell: {why} ({labels})")),
        (Ok(_), _) => (
            State::Ok,
            "it is being removed, after an earlier run; the next one waits for that and makes it anew".to_owned(),
        ),
    };
    let line = book.line(Topic::Admission, check, state, says);
    if state != State::Ok {
        line.next(format!(
            "kubectl netcheck rbac doctor --agent-namespace {}",
            agents.name
        ));
    }
}

/// The namespace that is looked at: what ephemeral containers would be let in.
pub fn target(target: &Target, book: &mut Book) {
    let check = format!("pods in {}", target.name);
    let labels = words(&target.labels);
    let (state, says) = match (&target.rung, &target.labels) {
        (_, Labels::Missing) => (State::Failed, "there is no such namespace".to_owned()),
        (Ok((Some(rung), pod)), _) => (
            State::Ok,
            format!(
                "ephemeral containers: {} ({labels}; asked about pod {pod} by a dry run)",
                rung.describe()
            ),
        ),
        (Ok((None, pod)), _) => (
            State::Warning,
            format!("no ephemeral container is admitted ({labels}; asked about pod {pod})"),
        ),
        (Err(_), Labels::There(_)) => {
            let rung = rung_of(level(&target.labels, ENFORCE));
            (
                State::Ok,
                format!("ephemeral containers: {} (by its labels: {labels})", rung.describe()),
            )
        }
        (Err(why), Labels::Unread(_)) => (State::Unknown, format!("could not tell: {why}; {labels}")),
    };
    book.line(Topic::Admission, check, state, says);
}
