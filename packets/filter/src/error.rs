//! What can be wrong with an expression.

use crate::names::Name;
use crate::program::MAX_INSTRUCTIONS;

/// What is wrong, where, and what to do: one line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("filter, column {column}: {problem}")]
pub struct Error {
    /// Where the offending word begins, in characters from one.
    pub column: usize,
    /// What is wrong with it.
    pub problem: Problem,
}

/// What is wrong with a word of an expression.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// A character no word begins with.
    #[error("`{}` has no meaning here", .0.escape_debug())]
    StrayCharacter(char),
    /// A word where a primitive should begin.
    #[error("`{}` is no primitive{hint}", show(.word))]
    UnknownPrimitive {
        /// The word.
        word: String,
        /// What may be meant, beginning with a comma, or nothing.
        hint: String,
    },
    /// Something else was due.
    #[error("{} where {expected} should be", .found.as_ref().map_or("the expression ends".to_owned(), |word| format!("`{}` stands", show(word))))]
    Unexpected {
        /// What stands there; nothing at the end of the expression.
        found: Option<String>,
        /// What should.
        expected: &'static str,
    },
    /// An address, mask, number or port that cannot be.
    #[error("`{}` is no {what}, {advice}", show(.word))]
    BadValue {
        /// What was written.
        word: String,
        /// What it should be.
        what: &'static str,
        /// What to do.
        advice: String,
    },
    /// Two words that do not go together.
    #[error("`{}` does not go with {with}, {advice}", show(.word))]
    Mismatch {
        /// The word.
        word: String,
        /// What it was put together with.
        with: String,
        /// What to do.
        advice: &'static str,
    },
    /// A part of pcap-filter that this crate leaves out, or that the link lacks.
    #[error("`{}` cannot be used here, {reason}", show(.word))]
    Unsupported {
        /// The word.
        word: String,
        /// Why, and what to do.
        reason: &'static str,
    },
    /// The caller could not turn a name into addresses.
    #[error("{name}: {reason}")]
    Unresolved {
        /// The pod or Service.
        name: Name,
        /// What the caller said, on one line.
        reason: String,
    },
    /// A filter that no packet passes.
    #[error("no packet can match this on {link}, loosen it")]
    MatchesNothing {
        /// The kind of link it was compiled for.
        link: &'static str,
    },
    /// Too many brackets, signs or changes between `and` and `or` in each other.
    #[error("nested deeper than {limit}, use fewer parentheses and changes between `and` and `or`")]
    TooDeep {
        /// How deep it may be.
        limit: usize,
    },
    /// The text itself is too long.
    #[error("longer than {limit} characters, use a network instead of many hosts")]
    TooLong {
        /// How many characters it may have.
        limit: usize,
    },
    /// Arithmetic needs more intermediate results than the kernel keeps.
    #[error("this arithmetic needs more than 16 intermediate results, split it")]
    TooComplex,
    /// The kernel takes no program as long.
    #[error(
        "makes more BPF instructions than the {MAX_INSTRUCTIONS} the kernel takes, use networks instead of many hosts"
    )]
    ProgramTooLong,
}

impl Problem {
    /// The problem at a column.
    pub(crate) fn at(self, column: usize) -> Error {
        Error { column, problem: self }
    }
}

/// A word for a message: harmless to a terminal and not endless.
fn show(word: &str) -> String {
    const LONGEST: usize = 60;
    let mut shown: String = word.chars().take(LONGEST).flat_map(char::escape_debug).collect();
    if word.chars().nth(LONGEST).is_some() {
        shown.push('…');
    }
    shown
}
