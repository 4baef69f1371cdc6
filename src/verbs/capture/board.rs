//! What is known of the sources while they come and go: written by whoever hears of it, read by the live line and the report.

use crate::{
    agents::AgentIndex,
    capture::{source::Source, writer::Lane},
};
use jiff::Timestamp;
use netcheck_wire::claim::{Attachment, Witness};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// Since when a source that came later is captured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Joined {
    /// When its network namespace appeared on the node, or its first process started; by our clock.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub appeared: Option<String>,
    /// Since when every packet counts; by our clock.
    pub captured_from: String,
    /// The time between the two, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gap_milliseconds: Option<f64>,
    /// The same in words.
    pub words: String,
}

/// The board.
#[derive(Debug, Default)]
pub struct Board(Mutex<Content>);

/// What is on it.
#[derive(Debug, Default)]
pub struct Content {
    /// By number.
    pub sources: Vec<Source>,
    /// By number, each with the agent that brings it.
    pub lanes: Vec<(AgentIndex, Lane)>,
    /// Sources that came later, by number, from the moment when they are captured.
    pub joined: BTreeMap<usize, Joined>,
    /// Sources that are not captured, and why.
    pub failed: BTreeMap<usize, String>,
    /// Number of sources that were there from the beginning.
    pub first: usize,
}

impl Board {
    /// With the sources and lanes that are there from the beginning.
    pub fn new(sources: Vec<Source>, lanes: Vec<(AgentIndex, Lane)>) -> Self {
        Self(Mutex::new(Content {
            first: sources.len(),
            sources,
            lanes,
            ..Content::default()
        }))
    }

    /// To read and write.
    pub fn content(&self) -> MutexGuard<'_, Content> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The lane of this number, if this agent brings it.
    pub fn lane(&self, agent: AgentIndex, number: u32) -> Option<usize> {
        let content = self.content();
        let lane = number as usize;
        content.lanes.get(lane).filter(|(of, _)| *of == agent).map(|_| lane)
    }

    /// All lanes that this agent brings.
    pub fn lanes_of(&self, agent: AgentIndex) -> Vec<usize> {
        let content = self.content();
        let lanes = content.lanes.iter().enumerate().filter(|(_, (of, _))| *of == agent);
        lanes.map(|(lane, _)| lane).collect()
    }

    /// A claimed pod is captured from now on; its source and what is to be said of it.
    pub fn join(&self, lane: usize, attachment: Attachment) -> Option<(usize, String)> {
        let mut content = self.content();
        let (_, of) = content.lanes.get(lane)?;
        let source = of.source;
        let joined = Joined::new(attachment, of.correction_ns);
        let words = joined.words.clone();
        content.joined.insert(source, joined);
        Some((source, words))
    }

    /// A lane could not be begun.
    pub fn fail(&self, lane: usize, why: &str) {
        let mut content = self.content();
        let source = content.lanes.get(lane).map(|(_, lane)| lane.source);
        if let Some(source) = source.filter(|source| *source >= content.first) {
            content.failed.insert(source, why.to_owned());
        }
    }
}

impl Joined {
    fn new(attachment: Attachment, correction_ns: i64) -> Self {
        let time = |at_ns: u64| {
            let at_ns = i128::from(at_ns) + i128::from(correction_ns);
            let at = Timestamp::from_nanosecond(at_ns).unwrap_or(Timestamp::UNIX_EPOCH);
            at.round(jiff::Unit::Microsecond).unwrap_or(at).to_string()
        };
        let captured_from = time(attachment.attached_ns);
        let gap_ns = attachment
            .appeared_ns
            .map(|appeared_ns| attachment.attached_ns.saturating_sub(appeared_ns));
        let gap_milliseconds = gap_ns.map(|gap_ns| (gap_ns / 1000) as f64 / 1000.0);
        let appeared = attachment.appeared_ns.map(time);
        let words = match (gap_milliseconds, &appeared, attachment.told_by) {
            (Some(gap), Some(appeared), Witness::Namespace) => {
                format!("captured from {gap:.1} ms after its network namespace appeared at {appeared}")
            }
            (Some(gap), Some(appeared), _) => format!(
                "captured from {gap:.1} ms after its first process started at {appeared}; its network namespace may be older"
            ),
            (_, _, Witness::Nobody) => format!("captured from {captured_from} on in its node's network"),
            _ => format!("captured from {captured_from} on; since when its network namespace is there is not known"),
        };
        Self {
            appeared,
            captured_from,
            gap_milliseconds,
            words,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attachment(appeared_ns: Option<u64>, told_by: Witness) -> Attachment {
        Attachment {
            appeared_ns,
            attached_ns: 1_000_000_000_003_200_000,
            told_by,
        }
    }

    #[test]
    fn the_gap_is_told_with_what_it_is_measured_from() {
        let joined = Joined::new(
            attachment(Some(1_000_000_000_000_000_000), Witness::Namespace),
            -1_000_000_000,
        );
        assert_eq!(joined.gap_milliseconds, Some(3.2));
        assert_eq!(
            joined.words,
            "captured from 3.2 ms after its network namespace appeared at 2001-09-09T01:46:39Z"
        );
        let joined = Joined::new(attachment(Some(1_000_000_000_000_000_000), Witness::Process), 0);
        assert!(joined.words.contains("first process started"), "{}", joined.words);
        let joined = Joined::new(attachment(None, Witness::Nobody), 0);
        assert_eq!((joined.gap_milliseconds, joined.appeared), (None, None));
        // A clock that is set back in between makes no negative gap.
        let joined = Joined::new(attachment(Some(2_000_000_000_000_000_000), Witness::Namespace), 0);
        assert_eq!(joined.gap_milliseconds, Some(0.0));
    }
}
