//! A run: its id, the labels and names of everything it creates, and when that expires.

use crate::exit::Failure;
use jiff::{SignedDuration, Timestamp};
use std::{fmt, time::Duration};

/// Label that says which run an object belongs to.
pub const RUN_LABEL: &str = "netcheck.dev/run";
/// Label by which everything of ours is found.
pub const MANAGED_BY_LABEL: &str = "app.kubernetes.io/managed-by";
/// Label that says which part of ours an object is.
pub const COMPONENT_LABEL: &str = "app.kubernetes.io/component";
/// Value of [`MANAGED_BY_LABEL`] and of `app.kubernetes.io/name`.
pub const NAME: &str = "kubectl-netcheck";
/// Label of a namespace that outlives the last run: one an administrator set up.
pub const KEEP_LABEL: &str = "netcheck.dev/keep";
/// Annotation that every run writes to the namespace once its Lease exists, so that a run that is about to remove the
/// namespace notices: its delete names a resource version that is no longer the current one.
pub const LAST_RUN_ANNOTATION: &str = "netcheck.dev/last-run";
/// What every name of ours starts with.
pub const PREFIX: &str = "netcheck-";
/// A Lease outlives its run's deadline by this much, so that clocks may differ a little.
pub const MARGIN: Duration = Duration::from_mins(1);

const ID_LENGTH: usize = 8;
/// Crockford's base 32: no letters that are mistaken for each other, and a random byte maps evenly.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// Identity of one run of the plugin.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct RunId(String);

impl RunId {
    /// A new one, from the operating system's randomness.
    pub fn new() -> Result<Self, Failure> {
        let mut bytes = [0; ID_LENGTH];
        rustls::crypto::ring::default_provider()
            .secure_random
            .fill(&mut bytes)
            .map_err(|_| Failure::unknown("the operating system gives no random numbers"))?;
        Ok(Self(
            bytes
                .iter()
                .map(|byte| char::from(ALPHABET[usize::from(byte % 32)]))
                .collect(),
        ))
    }

    /// Reads one back from an object; `None` for what is not one of ours.
    pub fn parse(text: &str) -> Option<Self> {
        let ours = text.len() == ID_LENGTH && text.bytes().all(|byte| ALPHABET.contains(&byte));
        ours.then(|| Self(text.to_owned()))
    }

    /// Name of the run's Lease.
    pub fn lease_name(&self) -> String {
        format!("{PREFIX}run-{self}")
    }

    /// Name of the run's Job for its `index`th node.
    pub fn job_name(&self, index: usize) -> String {
        format!("{PREFIX}{self}-{index}")
    }

    /// Session that the agent with this index serves.
    pub fn session(&self, index: usize) -> String {
        format!("{self}-{index}")
    }

    /// Selects everything of this run.
    pub fn selector(&self) -> String {
        format!("{RUN_LABEL}={self}")
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Selects everything of any run.
pub fn managed_selector() -> String {
    format!("{MANAGED_BY_LABEL}={NAME}")
}

/// Whether a Lease's time is over. Counted from its creation by the server's clock, never from what a client wrote.
pub fn is_expired(created: Option<Timestamp>, duration_seconds: Option<i32>, now: Timestamp) -> bool {
    let (Some(created), Some(seconds)) = (created, duration_seconds) else {
        // Without them it is no Lease of a run that could still be at work.
        return true;
    };
    now > created
        .saturating_add(SignedDuration::from_secs(i64::from(seconds)))
        .unwrap_or(created)
}

/// Who runs this, for people who find the Lease.
pub fn holder() -> String {
    let user = std::env::var("USER")
        .or_else(|_| std::env::var("USERNAME"))
        .unwrap_or_else(|_| "unknown".to_owned());
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    format!("{user}@{host}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_differ_and_are_read_back() {
        let (one, other) = (RunId::new().unwrap(), RunId::new().unwrap());
        assert_ne!(one, other);
        assert_eq!(RunId::parse(&one.to_string()), Some(one));
        assert_eq!(RunId::parse("too-long-for-one"), None);
        assert_eq!(RunId::parse("../../ab"), None);
    }

    #[test]
    fn a_lease_expires_after_its_duration_and_not_before() {
        let created: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        assert!(!is_expired(Some(created), Some(60), at("2026-01-01T00:00:59Z")));
        assert!(is_expired(Some(created), Some(60), at("2026-01-01T00:01:01Z")));
        assert!(is_expired(None, Some(60), created));
        assert!(is_expired(Some(created), None, created));
    }
}
