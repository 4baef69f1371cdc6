//! What can become of a probe, and what that means for a run.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What became of one probe. The order is from good to bad: a group of probes is shown by its greatest class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// Reached, and answered.
    Reached,
    /// Not tested; the reason says why.
    NotTested,
    /// No answer came, and what could not be watched leaves open where it was lost.
    Unanswered,
    /// The name was not resolved; the transport's own class is kept beside it.
    NameNotResolved,
    /// The destination itself refused: nothing listens.
    Refused,
    /// The packet arrived at the destination, which sent no answer.
    NoAnswer,
    /// The destination answered, and the answer did not come back.
    ReplyLost,
    /// Something that is not the destination's own socket said no.
    Rejected,
    /// An answer came, but not from the destination.
    AnsweredByOther,
    /// The packet never arrived at the destination.
    NeverArrived,
}

/// What a class means for the run's exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Meaning {
    /// It works.
    Held,
    /// It could not be told.
    Inconclusive,
    /// It does not work.
    Failed,
}

impl Class {
    /// All classes, from good to bad.
    pub const ALL: [Self; 10] = [
        Self::Reached,
        Self::NotTested,
        Self::Unanswered,
        Self::NameNotResolved,
        Self::Refused,
        Self::NoAnswer,
        Self::ReplyLost,
        Self::Rejected,
        Self::AnsweredByOther,
        Self::NeverArrived,
    ];

    /// What it means for the exit code.
    pub fn meaning(self) -> Meaning {
        match self {
            Self::Reached => Meaning::Held,
            Self::NotTested | Self::Unanswered => Meaning::Inconclusive,
            _ => Meaning::Failed,
        }
    }

    /// Its name in JSON.
    pub fn id(self) -> &'static str {
        match self {
            Self::Reached => "reached",
            Self::NotTested => "not-tested",
            Self::Unanswered => "unanswered",
            Self::NameNotResolved => "name-not-resolved",
            Self::Refused => "refused",
            Self::NoAnswer => "no-answer",
            Self::ReplyLost => "reply-lost",
            Self::Rejected => "rejected",
            Self::AnsweredByOther => "answered-by-other",
            Self::NeverArrived => "never-arrived",
        }
    }

    /// Id of its finding, for `explain`; `None` where all is well.
    pub fn finding(self) -> Option<&'static str> {
        Some(match self {
            Self::Reached => return None,
            Self::NotTested => "matrix-not-tested",
            Self::Unanswered => "matrix-unanswered",
            Self::NameNotResolved => "matrix-name-not-resolved",
            Self::Refused => "matrix-refused",
            Self::NoAnswer => "matrix-no-answer",
            Self::ReplyLost => "matrix-reply-lost",
            Self::Rejected => "matrix-rejected",
            Self::AnsweredByOther => "matrix-answered-by-other",
            Self::NeverArrived => "matrix-never-arrived",
        })
    }

    /// Its word in the grid.
    pub fn word(self) -> &'static str {
        match self {
            Self::Reached => "ok",
            Self::NotTested => "not tested",
            Self::Unanswered => "unanswered",
            Self::NameNotResolved => "no name",
            Self::Refused => "refused",
            Self::NoAnswer => "no answer",
            Self::ReplyLost => "reply lost",
            Self::Rejected => "rejected",
            Self::AnsweredByOther => "by other",
            Self::NeverArrived => "lost",
        }
    }

    /// Its sign in a narrow grid, explained in a legend below it.
    pub fn letter(self) -> char {
        match self {
            Self::Reached => '.',
            Self::NotTested => '?',
            Self::Unanswered => 'U',
            Self::NameNotResolved => 'D',
            Self::Refused => 'R',
            Self::NoAnswer => 'N',
            Self::ReplyLost => 'A',
            Self::Rejected => 'J',
            Self::AnsweredByOther => 'O',
            Self::NeverArrived => 'L',
        }
    }

    /// What it says in full, for legends and reports.
    pub fn title(self) -> &'static str {
        match self {
            Self::Reached => "reached and answered",
            Self::NotTested => "not tested",
            Self::Unanswered => "unanswered, where it was lost could not be watched",
            Self::NameNotResolved => "name not resolved",
            Self::Refused => "refused, nothing listens",
            Self::NoAnswer => "arrived, no answer was sent",
            Self::ReplyLost => "answer sent and lost",
            Self::Rejected => "rejected on the way",
            Self::AnsweredByOther => "answered by something else",
            Self::NeverArrived => "never arrived",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_class_has_its_own_name_word_letter_and_finding() {
        let distinct = |values: Vec<String>| values.iter().collect::<BTreeSet<_>>().len();
        let count = Class::ALL.len();
        assert_eq!(distinct(Class::ALL.map(|class| class.id().into()).into()), count);
        assert_eq!(distinct(Class::ALL.map(|class| class.word().into()).into()), count);
        assert_eq!(
            distinct(Class::ALL.map(|class| class.letter().to_string()).into()),
            count
        );
        assert_eq!(
            distinct(Class::ALL.map(|class| format!("{:?}", class.finding())).into()),
            count
        );
        assert!(Class::ALL.is_sorted(), "the order of ALL is the order of badness");
    }

    #[test]
    fn the_id_is_what_json_shows() {
        for class in Class::ALL {
            assert_eq!(serde_json::to_value(class).unwrap(), class.id());
        }
    }
}
