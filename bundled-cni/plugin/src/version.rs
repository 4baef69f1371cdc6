//! Versions of the CNI specification, and which verb came with which.

use crate::{Code, Failure, request::Verb};

/// A version that we speak, in order of age.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// 0.3.1: ADD and DEL.
    V0_3_1,
    /// 0.4.0: and CHECK.
    V0_4_0,
    /// 1.0.0: results without `ips[].version`.
    V1_0_0,
    /// 1.1.0: GC and STATUS; results with MTUs.
    V1_1_0,
}

impl Version {
    /// All, from old to new.
    pub const ALL: [Self; 4] = [Self::V0_3_1, Self::V0_4_0, Self::V1_0_0, Self::V1_1_0];
    /// What we answer in where nothing else was asked for.
    pub const NEWEST: Self = Self::V1_1_0;

    /// As written in configurations and results.
    pub fn text(self) -> &'static str {
        match self {
            Self::V0_3_1 => "0.3.1",
            Self::V0_4_0 => "0.4.0",
            Self::V1_0_0 => "1.0.0",
            Self::V1_1_0 => "1.1.0",
        }
    }

    /// The version of exactly this text; none at all means 0.1.0 (CNI 0.1.0 had no such key).
    ///
    /// # Errors
    /// [`Code::VERSION`].
    pub fn parse(text: Option<&str>) -> Result<Self, Failure> {
        let text = text.unwrap_or("0.1.0");
        let known = Self::ALL.into_iter().find(|version| version.text() == text);
        known.ok_or_else(|| {
            let ours = Self::ALL.map(Self::text).join(", ");
            Failure::new(
                Code::VERSION,
                format!("cniVersion {text:?} is not supported; use one of {ours}"),
            )
        })
    }

    /// Whether a verb exists in this version.
    ///
    /// # Errors
    /// [`Code::VERSION`].
    pub fn demand(self, verb: Verb) -> Result<(), Failure> {
        let since = match verb {
            Verb::Add | Verb::Del | Verb::Version => Self::V0_3_1,
            Verb::Check => Self::V0_4_0,
            Verb::Gc | Verb::Status => Self::V1_1_0,
        };
        if self >= since {
            return Ok(());
        }
        let (verb, since, own) = (verb.text(), since.text(), self.text());
        Err(Failure::new(
            Code::VERSION,
            format!("{verb} needs cniVersion {since} or newer; the configuration says {own}"),
        ))
    }
}
