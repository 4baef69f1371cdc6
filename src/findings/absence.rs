//! Why something could not be looked at: in words, and by which page explains it.

use std::fmt;

/// What stood in the way. Each has a page.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Obstacle {
    /// Nothing of netcheck's own: a pod that does not run, a port that is not known, an interrupt.
    #[default]
    Untested,
    /// The agent's image could not be pulled.
    ImagePull,
    /// The agent may not be created, or not be spoken to.
    Forbidden,
    /// The agent did not come to run.
    NotStarted,
    /// No agent can run there.
    Unsupported,
    /// The agent is of another version than the plugin.
    VersionMismatch,
    /// The stream from the agent was cut, and what it carried is not whole.
    StreamIncomplete,
    /// The node is not ready.
    NodeNotReady,
    /// The agent lacks a capability.
    CapabilityMissing,
}

impl Obstacle {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Untested,
        Self::ImagePull,
        Self::Forbidden,
        Self::NotStarted,
        Self::Unsupported,
        Self::VersionMismatch,
        Self::StreamIncomplete,
        Self::NodeNotReady,
        Self::CapabilityMissing,
    ];

    /// Id of its page.
    pub fn finding(self) -> &'static str {
        match self {
            Self::Untested => "matrix-not-tested",
            Self::ImagePull => "agent-image-pull",
            Self::Forbidden => "agent-forbidden",
            Self::NotStarted => "agent-not-started",
            Self::Unsupported => "agent-unsupported",
            Self::VersionMismatch => "agent-version-mismatch",
            Self::StreamIncomplete => "stream-incomplete",
            Self::NodeNotReady => "node-not-ready",
            Self::CapabilityMissing => "node-capability-missing",
        }
    }

    /// With its words.
    pub fn because(self, why: impl Into<String>) -> Absence {
        Absence {
            obstacle: self,
            why: why.into(),
        }
    }
}

/// Why nothing is known of something.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Absence {
    /// What stood in the way.
    pub obstacle: Obstacle,
    /// In words, one line.
    pub why: String,
}

impl Absence {
    /// The same obstacle in other words.
    #[must_use]
    pub fn reworded(self, words: impl FnOnce(String) -> String) -> Self {
        Self {
            why: words(self.why),
            ..self
        }
    }
}

impl fmt::Display for Absence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}

/// Words alone name no agent's trouble.
impl From<String> for Absence {
    fn from(why: String) -> Self {
        Obstacle::Untested.because(why)
    }
}

/// Words alone name no agent's trouble.
impl From<&str> for Absence {
    fn from(why: &str) -> Self {
        Obstacle::Untested.because(why)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::findings::{Severity, page};

    #[test]
    fn every_obstacle_has_a_page_that_is_inconclusive() {
        for obstacle in Obstacle::ALL {
            let page = page(obstacle.finding()).unwrap_or_else(|| panic!("{obstacle:?}"));
            assert_eq!(page.severity, Severity::Inconclusive, "{obstacle:?}");
        }
    }

    #[test]
    fn other_words_do_not_change_the_obstacle() {
        let absence = Obstacle::ImagePull
            .because("ErrImagePull")
            .reworded(|why| format!("node/a: {why}"));
        assert_eq!(absence, Obstacle::ImagePull.because("node/a: ErrImagePull"));
    }
}
