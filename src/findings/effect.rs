//! What a finding does to traffic.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Id, effect and how many faults had it, a line each: written by the tests' catalogue of faults, whose effects are measured with packets.
const TRIED: &str = include_str!("tried.tsv");

/// What is wrong does this to traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Effect {
    /// Nothing is lost yet: a detour, a spare entry, or what will harm only later.
    Lucky,
    /// What runs is well, and no new pod starts.
    NewPods,
    /// Some packets are lost and some are not.
    Degraded,
    /// Packets of pods are lost.
    Broken,
}

impl Effect {
    /// Its word in tables.
    pub fn word(self) -> &'static str {
        match self {
            Self::Lucky => "lucky",
            Self::NewPods => "new-pods",
            Self::Degraded => "degraded",
            Self::Broken => "broken",
        }
    }

    /// What it means, with its word first.
    pub fn words(self) -> &'static str {
        match self {
            Self::Lucky => "lucky: nothing is lost yet",
            Self::NewPods => "broken for new pods: none starts on the node",
            Self::Degraded => "degraded: large packets, or those to the outside, are lost",
            Self::Broken => "broken: pods' packets are lost",
        }
    }

    fn parse(word: &str) -> Option<Self> {
        const ALL: [Effect; 4] = [Effect::Lucky, Effect::NewPods, Effect::Degraded, Effect::Broken];
        ALL.into_iter().find(|effect| effect.word() == word)
    }
}

/// What faults that are found by this id did to traffic where they were tried (docs/faults.md), and how many did so; empty if none was.
pub fn tried(id: &str) -> impl Iterator<Item = (Effect, u32)> {
    TRIED.lines().filter_map(move |line| {
        let (name, rest) = line.split_once('\t')?;
        let (effect, count) = rest.split_once('\t')?;
        Some((Effect::parse(effect)?, count.parse().ok()?)).filter(|_| name == id)
    })
}

/// What a finding does to traffic, as far as that is known.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Harm {
    /// What faults of this kind did where they were tried; more than one, if that depends on what is wrong.
    pub tried: BTreeSet<Effect>,
    /// What probes from and to the node showed; absent where none were sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probed: Option<Probed>,
}

/// What probes showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Probed {
    /// In one word.
    pub effect: Effect,
    /// Echo requests that were sent.
    pub sent: u64,
    /// Those that were answered.
    pub answered: u64,
}

impl Probed {
    /// By how many were answered; `None` if none were sent.
    pub fn new(sent: u64, answered: u64) -> Option<Self> {
        let effect = match answered {
            0 => Effect::Broken,
            some if some < sent => Effect::Degraded,
            _ => Effect::Lucky,
        };
        (sent > 0).then_some(Self { effect, sent, answered })
    }
}

impl Harm {
    /// Of a finding with this id.
    pub fn new(id: &str, probed: Option<Probed>) -> Self {
        Self {
            tried: tried(id).map(|(effect, _)| effect).collect(),
            probed,
        }
    }

    /// The worst that is to be expected. Probes are small and go between running pods of different nodes: that these arrive does not mean
    /// that all do, but what they lose is lost.
    pub fn worst(&self) -> Option<Effect> {
        let probed = self.probed.map(|probed| probed.effect);
        self.tried.last().copied().max(probed)
    }

    /// A line for people; `None` if nothing is known.
    pub fn words(&self) -> Option<String> {
        let tried: Vec<&str> = self.tried.iter().rev().map(|effect| effect.words()).collect();
        let tried = (!tried.is_empty()).then(|| tried.join("; or "));
        let probed = self.probed.map(|Probed { effect, sent, answered }| {
            let what = match effect {
                Effect::Broken => "broken: no echo request from or to this node's pods was answered".to_owned(),
                Effect::Degraded => {
                    format!("degraded: {answered} of {sent} echo requests from or to this node's pods were answered")
                }
                Effect::NewPods | Effect::Lucky => {
                    format!("small packets pass: all {sent} echo requests from or to this node's pods were answered")
                }
            };
            format!("probed: {what}")
        });
        match (probed, tried) {
            (Some(probed), Some(tried)) => Some(format!("{probed} (where tried, it was {tried})")),
            (Some(one), None) => Some(one),
            (None, tried) => tried,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_tried_is_of_findings_that_there_are() {
        for line in TRIED.lines() {
            let mut fields = line.split('\t');
            let id = fields.next().unwrap();
            assert!(crate::findings::page(id).is_some(), "{line}");
            assert!(fields.next().and_then(Effect::parse).is_some(), "{line}");
            assert!(
                fields.next().is_some_and(|count| count.parse::<u32>().is_ok()),
                "{line}"
            );
        }
        let effects: Vec<Effect> = tried("verify-overlay-down").map(|(effect, _)| effect).collect();
        assert_eq!(effects, [Effect::Broken]);
        assert_eq!(tried("no-such-id").count(), 0);
    }

    #[test]
    fn one_answer_too_few_is_degraded_and_none_is_broken() {
        assert_eq!(Probed::new(0, 0), None);
        let effect = |sent, answered| Probed::new(sent, answered).unwrap().effect;
        assert_eq!(effect(10, 10), Effect::Lucky);
        assert_eq!(effect(10, 9), Effect::Degraded);
        assert_eq!(effect(10, 0), Effect::Broken);
    }

    #[test]
    fn probes_that_arrive_do_not_make_light_of_what_was_tried() {
        let harm = Harm::new("verify-overlay-mtu", Probed::new(4, 4));
        assert_eq!(harm.worst(), Some(Effect::Broken));
        assert_eq!(
            harm.words().unwrap(),
            "probed: small packets pass: all 4 echo requests from or to this node's pods were answered \
             (where tried, it was broken: pods' packets are lost; or degraded: large packets, or those to the outside, are lost)"
        );
        let harm = Harm::new("verify-overlay-learning", Probed::new(4, 0));
        assert_eq!(harm.worst(), Some(Effect::Broken));
        assert_eq!(
            Harm::new("verify-overlay-learning", None).words().unwrap(),
            "lucky: nothing is lost yet"
        );
        assert_eq!(Harm::default().words(), None);
    }
}
