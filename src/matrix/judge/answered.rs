//! Something answered: was it the destination?

use super::{Verdict, sight::Sight};
use crate::matrix::{
    class::Class,
    evidence::{Aim, find, is_request},
};
use netcheck_wire::probe::Direction;
use std::net::IpAddr;

impl Sight<'_> {
    pub(super) fn answered(&self) -> Verdict {
        // What a node took in and answered without passing it on was answered by its own backend.
        if let Some(end) = self.arrived().or(self.perhaps_arrived().map(|(end, _)| end)) {
            return Verdict::new(Class::Reached, "reached and answered").at(end);
        }
        if self.ends.is_empty() && !matches!(self.case.aim, Aim::Service { ready_endpoints: 0 }) {
            return Verdict::new(Class::Reached, "answered; who answered could not be watched");
        }
        if let Some(doubt) = self.doubt() {
            return Verdict::new(Class::Reached, format!("answered; the backend was not seen: {doubt}"));
        }
        self.answered_by_other("was answered")
    }

    /// Something answered, and it was none of the ends.
    pub(super) fn answered_by_other(&self, what: &str) -> Verdict {
        if let Some(turned) = self.turned_inside() {
            let inside = self.inside(turned);
            return Verdict::new(Class::AnsweredByOther, format!("{what} {inside}; it never left")).by(inside);
        }
        let rewritten = find(&self.source.saw, Direction::Out, is_request)
            .filter(|sighting| sighting.destination != self.case.target && !self.is_service());
        match rewritten {
            Some(sighting) => {
                let whose = self.case.book.describe(sighting.destination.ip());
                let reason = format!(
                    "{what}, after {} rewrote its destination to {}",
                    self.case.source, sighting.destination
                );
                Verdict::new(Class::AnsweredByOther, reason).by(whose)
            }
            None => Verdict::new(
                Class::AnsweredByOther,
                format!(
                    "{what}, yet {}: a proxy on the way, or NAT that points elsewhere",
                    self.nobody_saw()
                ),
            ),
        }
    }

    pub(super) fn resolved(&self, rcode: u16, addresses: &[IpAddr]) -> Verdict {
        let expected = self.case.expects;
        let right = rcode == 0
            && if expected.is_empty() {
                !addresses.is_empty()
            } else {
                expected.iter().any(|ip| addresses.contains(ip))
            };
        let arrived = self.arrived().or(self.perhaps_arrived().map(|(end, _)| end));
        if right {
            // The answer holds what only the cluster's own DNS knows, so it proves itself even if a cache on the node gave it.
            let verdict = Verdict::new(Class::Reached, "resolved");
            return arrived.map_or(verdict.clone(), |end| verdict.at(end));
        }
        let answer = match (rcode, addresses) {
            (0, []) => "NOERROR without an address".to_owned(),
            (0, addresses) => {
                let list: Vec<String> = addresses.iter().take(4).map(ToString::to_string).collect();
                format!(
                    "{} instead of {}",
                    list.join(", "),
                    expected.first().map_or_else(String::new, ToString::to_string)
                )
            }
            (rcode, _) => rcode_name(rcode),
        };
        let proven_other = arrived.is_none() && !self.ends.is_empty() && self.doubt().is_none();
        if proven_other {
            return self.answered_by_other(&format!("the query got {answer}, and it"));
        }
        let verdict = Verdict {
            transport: Some(Class::Reached),
            ..Verdict::new(Class::NameNotResolved, format!("the answer was {answer}"))
        };
        match arrived {
            Some(end) => verdict.at(end),
            None => verdict,
        }
    }
}

/// Name of a DNS response code (RFC 6895 section 2.3).
fn rcode_name(rcode: u16) -> String {
    match rcode {
        1 => "FORMERR".into(),
        2 => "SERVFAIL".into(),
        3 => "NXDOMAIN".into(),
        4 => "NOTIMP".into(),
        5 => "REFUSED".into(),
        other => format!("response code {other}"),
    }
}
