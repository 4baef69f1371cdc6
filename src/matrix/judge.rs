//! From what was observed of a probe to what became of it. Pure, and total: any combination of observations has a verdict.
//!
//! Two rules hold everywhere. A packet is recognised by its mark alone, never by addresses and ports. And what was not seen proves
//! something only where every place that could have seen it was watched and missed nothing; otherwise the verdict says less.

use super::{
    class::{Class, Meaning},
    evidence::{
        Aim, Case, End, Intake, Observed, Protocol, SourceSide, Watch, find, is_answer, is_refusal, is_request,
    },
    icmp,
    ports::Serving,
};
use crate::findings::{Absence, Obstacle};
use netcheck_wire::probe::{Direction, Outcome, Packet, Sighting};
use std::{net::IpAddr, time::Duration};

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

/// Errors that an ICMP error from anywhere makes of a connection (`icmp_err_convert` in net/ipv4/icmp.c, `tab_unreach` in net/ipv6/icmp.c), as
/// well as the source's own routing. Any other is its own kernel's.
const SAID_FROM_AFAR: [&str; 9] = [
    "ENETUNREACH",
    "EHOSTUNREACH",
    "EHOSTDOWN",
    "ENONET",
    "EACCES",
    "EPROTO",
    "ENOPROTOOPT",
    "EMSGSIZE",
    "EOPNOTSUPP",
];

/// A neighbour that does not answer makes the kernel give up after three solicitations, one second apart. An unreachable error that comes
/// sooner is a routing table's.
const NEIGHBOUR_GIVES_UP: Duration = Duration::from_millis(800);

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

/// A probe as the rules look at it.
struct Sight<'a> {
    case: &'a Case<'a>,
    source: &'a SourceSide,
    ends: &'a [End],
    transit: &'a [End],
}

impl<'a> Sight<'a> {
    // ---- what was seen ----

    /// The end where the request arrived.
    ///
    /// The namespace of a node may be an end, as backends with `hostNetwork` live in it, and yet do no more than forward a packet to another
    /// backend. A pod that was asked by its own address has the packet even if it hands it on inside, as sandboxes with a virtual machine do.
    fn arrived(&self) -> Option<&'a End> {
        self.ends.iter().find(|end| match self.case.aim {
            Aim::Pod => find(end.seen(), Direction::In, is_request).is_some(),
            Aim::Service { .. } => match end.intake(self.case.target) {
                Intake::Taken => true,
                // There is nobody else whom it could be meant for.
                Intake::Unclear(_) => self.ends.iter().all(|other| other.shares == end.shares),
                Intake::Unseen | Intake::Swallowed(_) | Intake::SentOn => false,
            },
            Aim::Node | Aim::Resolver => end.took_in(),
        })
    }

    /// A node that took the request in for a backend of its own, or for another and dropped it: the end there, and how it came in.
    fn perhaps_arrived(&self) -> Option<(&'a End, &'a Sighting)> {
        self.at_a_node(|intake| match intake {
            Intake::Unclear(came) => Some(came),
            _ => None,
        })
    }

    /// A node that took the request in for a backend elsewhere and did not pass it on: its name, and how it came in.
    fn swallowed(&self) -> Option<(String, &'a Sighting)> {
        let (end, came) = self.at_a_node(|intake| match intake {
            Intake::Swallowed(came) => Some(came),
            _ => None,
        })?;
        Some((node_of(end), came))
    }

    fn at_a_node(&self, which: impl Fn(Intake<'a>) -> Option<&'a Sighting>) -> Option<(&'a End, &'a Sighting)> {
        if !self.is_service() || self.arrived().is_some() {
            return None;
        }
        let ends = self.ends.iter();
        ends.filter(|end| end.shares.is_some())
            .find_map(|end| Some((end, which(end.intake(self.case.target))?)))
    }

    /// Why not all of the ends' silence can be believed; `None` if it can.
    fn doubt(&self) -> Option<String> {
        if !self.source.marked {
            let source = self.case.source;
            return Some(match &self.source.blind {
                Some(why) => {
                    format!("{source} could not be watched, so its packet cannot be recognised elsewhere: {why}")
                }
                None => {
                    format!("the packet was not recognised when it left {source}, so it cannot be recognised elsewhere")
                }
            });
        }
        let mut doubts = self.ends.iter().filter_map(End::doubt);
        let first = doubts.next()?;
        Some(match doubts.count() {
            0 => first,
            more => format!("{first} (and {more} more)"),
        })
    }

    fn source_got(&self, what: impl Fn(&Packet) -> bool) -> Option<&'a Sighting> {
        find(&self.source.saw, Direction::In, what)
    }

    /// Why what was not seen at the source may have been there all the same; `None` if it was watched without a gap.
    fn source_doubt(&self) -> Option<String> {
        let source = self.case.source;
        match (&self.source.blind, self.source.missed) {
            (Some(why), _) => Some(format!("{source} could not be watched: {why}")),
            (None, 0) => None,
            (None, missed) => Some(format!("the watch of {source} may have missed {missed} packets")),
        }
    }

    /// The source was watched without a gap, and the request was not seen leaving.
    fn surely_stayed(&self) -> bool {
        self.source_doubt().is_none() && find(&self.source.saw, Direction::Out, is_request).is_none()
    }

    /// The request was seen on the source's loopback interface and surely on no other, although it was meant for somewhere else.
    fn turned_inside(&self) -> Option<&'a Sighting> {
        if self.source_doubt().is_some() {
            return None;
        }
        let mut left = self
            .source
            .saw
            .iter()
            .filter(|sighting| sighting.direction == Direction::Out && is_request(&sighting.packet));
        let first = left.next()?;
        let all_inside = first.interface == "lo" && left.all(|sighting| sighting.interface == "lo");
        (all_inside && !self.case.source_ips.contains(&self.case.target.ip())).then_some(first)
    }

    /// Where the watch saw the request go after it was turned around inside the source.
    fn inside(&self, turned: &Sighting) -> String {
        if turned.destination == self.case.target {
            format!("inside {}", self.case.source)
        } else {
            format!("inside {}, redirected to {}", self.case.source, turned.destination)
        }
    }

    // ---- the outcomes ----

    fn answered(&self) -> Verdict {
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
    fn answered_by_other(&self, what: &str) -> Verdict {
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

    fn resolved(&self, rcode: u16, addresses: &[IpAddr]) -> Verdict {
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

    /// `ECONNREFUSED`: an RST, or an ICMP error that the kernel turns into one.
    fn refused(&self) -> Verdict {
        if let Some(end) = self.arrived()
            && let Some(sent) = find(end.seen(), Direction::Out, is_refusal)
        {
            return self.refused_at(end, sent);
        }
        if let Some(icmp) = self.source_got(|packet| matches!(packet, Packet::IcmpError { .. })) {
            return self.rejected_by_icmp(icmp);
        }
        if let Some(verdict) = self.refused_at_a_node() {
            return verdict;
        }
        if let Some(end) = self.arrived() {
            let reason = match end.doubt() {
                None => format!(
                    "refused after it arrived at {}, which did not send the refusal: by something between",
                    end.who
                ),
                Some(doubt) => format!("refused after it arrived at {}; by whom is not known: {doubt}", end.who),
            };
            return Verdict::new(Class::Rejected, reason).at(end);
        }
        if let Some(turned) = self.turned_inside() {
            let inside = self.inside(turned);
            return Verdict::new(Class::Rejected, format!("refused {inside}; it never left")).by(inside);
        }
        if self.surely_stayed() {
            let by = format!("a rule inside {}", self.case.source);
            return Verdict::new(Class::Rejected, format!("{by} refuses it; it never left")).by(by);
        }
        self.refused_by_unknown()
    }

    /// The refusal was seen leaving a node that took the request in and did not pass it on.
    fn refused_at_a_node(&self) -> Option<Verdict> {
        let said_no = |end: &End| find(end.seen(), Direction::Out, is_refusal).is_some();
        if let Some((end, _)) = self.perhaps_arrived().filter(|(end, _)| said_no(end)) {
            let node = node_of(end);
            let reason = format!(
                "{node} refuses it: its own backend ({}), or a rule on the way to another",
                end.who
            );
            return Some(Verdict::new(Class::Rejected, reason).by(node));
        }
        let (node, came) = self.swallowed()?;
        let refused = self
            .ends
            .iter()
            .any(|end| end.shares.is_some() && node_of(end) == node && said_no(end));
        refused.then(|| {
            let reason = format!("{node} rejects it on the way to {}", came.destination);
            Verdict::new(Class::Rejected, reason).by(node)
        })
    }

    /// The refusal was seen leaving the destination: by its kernel, as nothing listens, or by a rule in there.
    fn refused_at(&self, end: &End, sent: &Sighting) -> Verdict {
        let port = self.case.target.port();
        if let Packet::IcmpError { kind, code } = sent.packet {
            let words = icmp::meaning(sent.source.is_ipv6(), kind, code);
            if self.case.protocol == Protocol::Dns && end.serving != Some(Serving::Yes) {
                return Verdict::new(
                    Class::Refused,
                    format!("{} says {words}: nothing serves that port", end.who),
                )
                .at(end);
            }
            return Verdict::new(
                Class::Rejected,
                format!("a firewall rule inside {} rejects it with {words}", end.who),
            )
            .by(format!("a firewall rule inside {}", end.who))
            .at(end);
        }
        match end.serving {
            // Sockets were listed before the probe. What listened then may be gone, and then the kernel refuses as it does a closed port.
            Some(Serving::Yes) => Verdict::new(
                Class::Rejected,
                format!(
                    "{} refuses it with a RST, yet a socket listened there before the probe: a firewall rule inside rejects it, or the socket has gone since",
                    end.who
                ),
            )
            .by(end.who.clone())
            .at(end),
            Some(Serving::LoopbackOnly) => Verdict::new(
                Class::Refused,
                format!("{} listens on its loopback address only", end.who),
            )
            .at(end),
            Some(Serving::OtherAddressOnly) => Verdict::new(
                Class::Refused,
                format!(
                    "{} listens on that port, but on another address or IP family only",
                    end.who
                ),
            )
            .at(end),
            // For a Service the backend's port is not the one that was dialled, so it is not named.
            _ if self.is_service() => Verdict::new(
                Class::Refused,
                format!("nothing listens on the target port of {}", end.who),
            )
            .at(end),
            _ => Verdict::new(Class::Refused, format!("nothing listens on port {port} of {}", end.who)).at(end),
        }
    }

    fn refused_by_unknown(&self) -> Verdict {
        let only = if let [end] = self.ends { Some(end) } else { None };
        match self.doubt() {
            // The refusal itself was not seen leaving, but it is what a destination without a listener does.
            Some(doubt) if only.is_some_and(|end| matches!(end.serving, Some(Serving::No | Serving::LoopbackOnly))) => {
                let end = only.map_or("", |end| end.who.as_str());
                let how = match only.and_then(|end| end.serving) {
                    Some(Serving::LoopbackOnly) => "listens on its loopback address only",
                    _ => "has no listener on that port",
                };
                Verdict::new(
                    Class::Refused,
                    format!("{end} {how}; the refusal itself was not seen there: {doubt}"),
                )
            }
            Some(doubt) => Verdict::new(Class::Rejected, format!("refused; by whom is not known: {doubt}")),
            None if self.ends.is_empty() => {
                Verdict::new(Class::Rejected, "refused; no destination was there to be watched")
            }
            None => Verdict::new(
                Class::Rejected,
                format!("refused by something on the way: {}", self.nobody_saw()),
            ),
        }
    }

    fn rejected_by_icmp(&self, icmp: &Sighting) -> Verdict {
        let Packet::IcmpError { kind, code } = icmp.packet else {
            return Verdict::new(Class::Rejected, "rejected");
        };
        let words = icmp::meaning(icmp.source.is_ipv6(), kind, code);
        let from = icmp.source.ip();
        if self.case.source_ips.contains(&from.to_canonical()) {
            let by = format!("a rule or route inside {}", self.case.source);
            return Verdict::new(Class::Rejected, format!("{by} rejects it with {words}")).by(by);
        }
        let by = self.case.book.describe(self.untranslated_sender(icmp));
        let how = if icmp::is_refusal_by_rule(icmp.source.is_ipv6(), kind, code) {
            "rejects it by a rule"
        } else {
            "cannot pass it on"
        };
        Verdict::new(Class::Rejected, format!("{by} {how}: {words}")).by(by)
    }

    /// Who sent an ICMP error. Where the probe's destination was translated, the kernel translates an error's sender back too, so that the source
    /// sees the address it asked for (`nf_nat_icmp_reply_translation`); a node on the way saw the error before that.
    fn untranslated_sender(&self, icmp: &Sighting) -> IpAddr {
        let asked = self.case.target.ip().to_canonical();
        let seen_earlier = self
            .transit
            .iter()
            .flat_map(End::seen)
            .filter(|seen| seen.packet == icmp.packet && seen.direction == Direction::In)
            .map(|seen| seen.source.ip())
            .find(|sender| sender.to_canonical() != asked);
        match seen_earlier {
            Some(sender) if icmp.source.ip().to_canonical() == asked => sender,
            _ => icmp.source.ip(),
        }
    }

    /// The kernel gave another error than a refusal.
    fn failed(&self, errno: &str) -> Verdict {
        if let Some(icmp) = self.source_got(|packet| matches!(packet, Packet::IcmpError { .. })) {
            return self.rejected_by_icmp(icmp);
        }
        if self.arrived().is_some() || self.perhaps_arrived().is_some() {
            return self.silent();
        }
        let seen_leaving = find(&self.source.saw, Direction::Out, is_request).is_some();
        if !seen_leaving
            && SAID_FROM_AFAR.contains(&errno)
            && let Some(doubt) = self.source_doubt()
        {
            return Verdict::new(
                Class::Rejected,
                format!("{errno} at the source; by whom is not known: {doubt}"),
            );
        }
        if seen_leaving {
            return match self.doubt() {
                None => Verdict::new(
                    Class::NeverArrived,
                    format!("{errno} at the source, and {}", self.nobody_saw()),
                ),
                Some(doubt) => Verdict::new(
                    Class::Rejected,
                    format!("{errno} at the source; by whom is not known: {doubt}"),
                ),
            };
        }
        let source = self.case.source;
        match errno {
            "EPERM" | "EACCES" => {
                let by = format!("a firewall rule or prohibiting route inside {source}");
                Verdict::new(Class::Rejected, format!("{by} forbids sending it ({errno})")).by(by)
            }
            // What the kernel's routing says for a blackhole route (fib_props in net/ipv4/fib_semantics.c).
            "EINVAL" => {
                let by = format!("a blackhole route inside {source}");
                Verdict::new(Class::Rejected, format!("{by} discards it ({errno})")).by(by)
            }
            "EHOSTUNREACH" | "EHOSTDOWN" if self.source.elapsed >= NEIGHBOUR_GIVES_UP => Verdict::new(
                Class::NeverArrived,
                format!("never left {source}: its next hop does not answer ARP or neighbour discovery ({errno})"),
            ),
            "ENETUNREACH" | "EHOSTUNREACH" | "ENETDOWN" | "EHOSTDOWN" | "ENONET" => {
                let by = format!("the routing table inside {source}");
                Verdict::new(
                    Class::Rejected,
                    format!("no route to {} inside {source} ({errno})", self.case.target.ip()),
                )
                .by(by)
            }
            errno => Verdict::new(
                Class::Rejected,
                format!("the kernel of {source} refused to send it: {errno}"),
            )
            .by(format!("the kernel of {source}")),
        }
    }

    /// Nothing came in time.
    fn silent(&self) -> Verdict {
        if let Some(icmp) = self.source_got(|packet| matches!(packet, Packet::IcmpError { .. })) {
            return self.rejected_by_icmp(icmp);
        }
        if let Some(end) = self.arrived() {
            return self.silent_after_arrival(end);
        }
        if let Some((end, came)) = self.perhaps_arrived() {
            return self.silent_at_a_node(end, came);
        }
        let source = self.case.source;
        if self.source_got(is_answer).is_some() {
            return Verdict::new(
                Class::ReplyLost,
                format!(
                    "the answer came back to the interface of {source} and was dropped inside it: a firewall rule or reverse-path filter"
                ),
            );
        }
        if let Some(turned) = self.turned_inside() {
            let inside = self.inside(turned);
            return Verdict::new(Class::NeverArrived, format!("never left {source}: unanswered {inside}")).by(inside);
        }
        if self.surely_stayed() {
            let why = "dropped by a rule inside it, or its next hop does not answer ARP or neighbour discovery";
            return Verdict::new(Class::NeverArrived, format!("never left {source}: {why}"));
        }
        if self.ends.is_empty() {
            return match self.case.aim {
                Aim::Service { ready_endpoints: 0 } => Verdict::new(
                    Class::NeverArrived,
                    "no answer, and no backend that it could have reached",
                ),
                _ => Verdict::new(
                    Class::Unanswered,
                    "no answer; the destination is not one netcheck can watch",
                ),
            };
        }
        match self.doubt() {
            None if let Some((node, _)) = self.swallowed() => {
                Verdict::new(Class::NeverArrived, self.lost_on_the_way()).by(node)
            }
            None => self.last_seen(
                Verdict::new(Class::NeverArrived, self.lost_on_the_way()),
                is_request,
                self.transit.iter().rev(),
            ),
            Some(doubt) => self.last_seen(
                Verdict::new(
                    Class::Unanswered,
                    format!("no answer, and where it was lost is not known: {doubt}"),
                ),
                is_request,
                self.transit.iter().rev(),
            ),
        }
    }

    /// That no end has the request, and whether it is known to have left the source.
    fn lost_on_the_way(&self) -> String {
        let source = self.case.source;
        let left = find(&self.source.saw, Direction::Out, is_request).is_some();
        match self.source_doubt() {
            Some(doubt) if !left => format!("{}; whether it left is not known: {doubt}", self.nobody_saw()),
            _ => format!("it left {source}, and {}", self.nobody_saw()),
        }
    }

    /// Adds where on the way a packet was seen last. `nodes` are those it should have passed, the last one first.
    fn last_seen(
        &self,
        mut verdict: Verdict,
        what: impl Fn(&Packet) -> bool + Copy,
        nodes: impl Iterator<Item = &'a End>,
    ) -> Verdict {
        let mut nodes = nodes
            .filter(|node| matches!(node.watch, Watch::Looked { .. }))
            .peekable();
        let Some(nearest) = nodes.peek().copied() else {
            return verdict;
        };
        match nodes.find(|node| node.seen().iter().any(|sighting| what(&sighting.packet))) {
            None if self.transit.iter().all(|node| node.doubt().is_none()) => {
                verdict.reason = format!("{}; {} never saw it either", verdict.reason, nearest.who);
            }
            None => {}
            Some(node) => match (
                find(node.seen(), Direction::Out, what),
                find(node.seen(), Direction::In, what),
            ) {
                (Some(left), _) => {
                    verdict.reason = format!(
                        "{}; last seen leaving {} by {}",
                        verdict.reason, node.who, left.interface
                    );
                }
                (None, Some(came)) if node.doubt().is_none() => {
                    verdict.reason = format!(
                        "{}; {} took it in by {} and did not pass it on",
                        verdict.reason, node.who, came.interface
                    );
                    verdict.by = Some(node.who.clone());
                }
                (None, came) => {
                    let interface = came.map_or("an interface", |came| came.interface.as_str());
                    verdict.reason = format!("{}; last seen coming into {} by {interface}", verdict.reason, node.who);
                }
            },
        }
        verdict
    }

    /// The request came into a node under the Service's address, and no answer reached the prober.
    fn silent_at_a_node(&self, end: &End, came: &Sighting) -> Verdict {
        // What was answered there, and not passed on, was answered by its own backend.
        if find(end.seen(), Direction::Out, |packet| {
            is_answer(packet) || is_refusal(packet)
        })
        .is_some()
        {
            return self.silent_after_arrival(end);
        }
        let node = node_of(end);
        let reason = format!(
            "{node} took it in by {}; whether its own backend ({}) got it or it was dropped on the way to another backend is not known",
            came.interface, end.who
        );
        Verdict::new(Class::Unanswered, reason).by(node)
    }

    /// The request came in at `end` and no answer reached the prober.
    fn silent_after_arrival(&self, end: &End) -> Verdict {
        let source = self.case.source;
        let refusal = find(end.seen(), Direction::Out, is_refusal);
        if let Some(answer) = find(end.seen(), Direction::Out, is_answer).or(refusal) {
            let what = if is_answer(&answer.packet) {
                "the answer"
            } else {
                "the refusal"
            };
            let reason = if self
                .source_got(|packet| is_answer(packet) || is_refusal(packet))
                .is_some()
            {
                format!(
                    "{what} of {} came back to the interface of {source} and was dropped inside it: a firewall rule or reverse-path filter",
                    end.who
                )
            } else if self.source_doubt().is_some() {
                format!("{} sent {what}, and it did not come back", end.who)
            } else {
                format!("{} sent {what}, and {source} never saw it", end.who)
            };
            let verdict = Verdict::new(Class::ReplyLost, reason).at(end);
            let came_back = self
                .source_got(|packet| is_answer(packet) || is_refusal(packet))
                .is_some();
            return if came_back {
                verdict
            } else {
                let is_said = |packet: &Packet| is_answer(packet) || is_refusal(packet);
                self.last_seen(verdict, is_said, self.transit.iter())
            };
        }
        if let Watch::Looked { missed, .. } = end.watch
            && missed > 0
        {
            let reason = format!(
                "arrived at {}; whether it answered is not known: its watch may have missed {missed} packets",
                end.who
            );
            return Verdict::new(Class::Unanswered, reason).at(end);
        }
        let why = match end.serving {
            Some(Serving::Yes) => {
                "although a socket listens: a rule inside it drops the packet, its backlog is full, or it has no route back"
            }
            Some(_) => "not even a refusal: a rule inside it drops the packet, or it has no route back",
            None => "a rule inside it drops the packet, nothing serves it, or it has no route back",
        };
        Verdict::new(
            Class::NoAnswer,
            format!("arrived at {}, which sent no answer, {why}", end.who),
        )
        .at(end)
    }

    // ---- words ----

    fn is_service(&self) -> bool {
        matches!(self.case.aim, Aim::Service { .. })
    }

    fn nobody_saw(&self) -> String {
        if let Some((node, came)) = self.swallowed() {
            return format!("{node} took it in by {} and did not pass it on", came.interface);
        }
        let sent_on = self.ends.iter().find_map(|end| Some((end, end.sent_on()?)));
        match (self.ends, sent_on) {
            ([], _) => "there is no backend that could have seen it".into(),
            ([end], Some((_, left))) => format!("{} only sent it on by {}", end.who, left.interface),
            (ends, Some((end, left))) => format!(
                "none of its {} backends took it in ({} only sent it on by {})",
                ends.len(),
                end.who,
                left.interface
            ),
            ([end], None) => format!("{} never saw it", end.who),
            ([first, rest @ ..], None) => format!("none of its {} backends saw it ({} …)", rest.len() + 1, first.who),
        }
    }
}

/// The node whose namespace an end shares, in words.
fn node_of(end: &End) -> String {
    match &end.shares {
        Some(node) => format!("node {node}"),
        None => end.who.clone(),
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

#[cfg(test)]
mod tests;
