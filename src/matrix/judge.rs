//! From what was observed of a probe to what became of it. Pure, and total: any combination of observations has a verdict.
//!
//! Two rules hold everywhere. A packet is recognised by its mark alone, never by addresses and ports. And what was not seen proves
//! something only where every place that could have seen it was watched and missed nothing; otherwise the verdict says less.

use super::{
    class::{Class, Meaning},
    evidence::{Aim, Case, End, Observed, Protocol, SourceSide},
};
use crate::findings::{Absence, Obstacle};
use netcheck_wire::probe::Outcome;
use sight::Sight;

mod answered;
mod failed;
mod refused;
mod sight;
mod silent;

/// What became of a probe, and why netcheck thinks so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The class.
    pub class: Class,
    /// For what was not tested: what stood in the way.
    pub obstacle: Obstacle,
    /// What was found, in one line.
    pub reason: String,
    /// Who said no, or who answered in place of the destination, where that is known.
    pub by: Option<String>,
    /// The end that got the probe.
    pub backend: Option<String>,
    /// What the API says that explains it.
    pub cause: Option<String>,
    /// For names: what became of the query's packets.
    pub transport: Option<Class>,
}

impl Verdict {
    fn new(class: Class, reason: impl Into<String>) -> Self {
        Self {
            class,
            obstacle: Obstacle::default(),
            reason: reason.into(),
            by: None,
            backend: None,
            cause: None,
            transport: None,
        }
    }

    /// A verdict for what was never tried.
    pub fn not_tested(why: impl Into<Absence>) -> Self {
        let Absence { obstacle, why } = why.into();
        Self {
            obstacle,
            ..Self::new(Class::NotTested, why)
        }
    }

    /// Id of the finding, for `explain`; `None` where all is well.
    pub fn finding(&self) -> Option<&'static str> {
        match self.class {
            Class::NotTested => Some(self.obstacle.finding()),
            class => class.finding(),
        }
    }

    fn by(mut self, by: impl Into<String>) -> Self {
        self.by = Some(by.into());
        self
    }

    fn at(mut self, end: &End) -> Self {
        self.backend = Some(end.who.clone());
        self
    }
}

/// Errors of the source's own kernel that say something about the source, nothing about the way.
const OWN_TROUBLE: [&str; 9] = [
    "EMFILE",
    "ENFILE",
    "ENOBUFS",
    "ENOMEM",
    "EAGAIN",
    "EADDRNOTAVAIL",
    "EADDRINUSE",
    "EAFNOSUPPORT",
    "EINTR",
];

/// Judges one probe.
pub fn judge(case: &Case<'_>, observed: &Observed) -> Verdict {
    let source = match &observed.source {
        Ok(source) => source,
        Err(why) => return Verdict::not_tested(why.clone()),
    };
    let sight = Sight {
        case,
        source,
        ends: &observed.ends,
        transit: &observed.transit,
    };
    let verdict = match &source.outcome {
        Outcome::NotSent { why } => Verdict::not_tested(why.as_str()),
        Outcome::Failed { errno } if OWN_TROUBLE.contains(&errno.as_str()) => {
            Verdict::not_tested(format!("the source's own kernel could not send it: {errno}"))
        }
        Outcome::Connected | Outcome::Echoed => sight.answered(),
        Outcome::Resolved { rcode, addresses, .. } => sight.resolved(*rcode, addresses),
        Outcome::Failed { errno } if errno == "ECONNREFUSED" => sight.refused(),
        // A reset of a connection that is not established yet is ECONNREFUSED (`tcp_reset` in net/ipv4/tcp_input.c): this one was.
        Outcome::Failed { errno } if errno == "ECONNRESET" => sight.answered(),
        Outcome::Failed { errno } if errno == "ETIMEDOUT" => sight.silent(),
        Outcome::Failed { errno } => sight.failed(errno),
        Outcome::TimedOut => sight.silent(),
    };
    with_cause(case, as_name(case, source, verdict))
}

/// A query whose packets failed is a name that was not resolved, and says how the packets fared.
fn as_name(case: &Case<'_>, source: &SourceSide, verdict: Verdict) -> Verdict {
    let packets_failed = !matches!(source.outcome, Outcome::Resolved { .. });
    if case.protocol != Protocol::Dns || verdict.class == Class::NotTested || !packets_failed {
        return verdict;
    }
    Verdict {
        class: Class::NameNotResolved,
        transport: Some(verdict.class),
        ..verdict
    }
}

fn with_cause(case: &Case<'_>, mut verdict: Verdict) -> Verdict {
    if verdict.class.meaning() != Meaning::Held && verdict.class != Class::NotTested {
        verdict.cause = match case.aim {
            Aim::Service { ready_endpoints: 0 } => Some("the Service has no ready endpoints".into()),
            _ => case.trouble.map(Into::into),
        };
    }
    verdict
}

#[cfg(test)]
mod tests;
