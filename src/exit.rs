//! Exit codes, the same for every verb, and the one error type that reaches `main`.

use std::fmt;

/// How a run ended, as scripts see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Exit {
    /// All checks held.
    Held,
    /// Checks ran and at least one failed.
    Failed,
    /// Usage, or a target that does not exist.
    Usage,
    /// It could not be told: no permission, agent not started, stream cut, a timeout of our own.
    Unknown,
    /// Interrupted by the user.
    Interrupted,
    /// The code of a command that was run for the user.
    Command(u8),
}

impl Exit {
    /// The process's exit code.
    pub fn code(self) -> u8 {
        match self {
            Self::Held => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Unknown => 3,
            Self::Interrupted => 130,
            Self::Command(code) => code,
        }
    }
}

/// Why a verb stopped: one line for the user, what to do about it, and the exit code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// How the process ends.
    pub exit: Exit,
    /// What went wrong and where, in one line.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl Failure {
    /// The request itself is wrong, or names something that does not exist.
    pub fn usage(message: impl Into<String>) -> Self {
        Self {
            exit: Exit::Usage,
            message: message.into(),
            hint: None,
        }
    }

    /// The user did not want to go on; the message says how far it went.
    pub fn interrupted(message: impl Into<String>) -> Self {
        Self {
            exit: Exit::Interrupted,
            message: message.into(),
            hint: None,
        }
    }

    /// The answer could not be found out.
    pub fn unknown(message: impl Into<String>) -> Self {
        Self {
            exit: Exit::Unknown,
            message: message.into(),
            hint: None,
        }
    }

    /// Puts a verb's name where a hint that knows only of an object says `VERB`.
    #[must_use]
    pub fn of_verb(mut self, verb: &str) -> Self {
        self.hint = self.hint.map(|hint| hint.replace("VERB", verb));
        self
    }

    /// Adds what the user can do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}
