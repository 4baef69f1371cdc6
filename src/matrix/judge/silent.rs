//! Nothing came back: where did it end?

use super::{
    Verdict,
    sight::{Sight, node_of},
};
use crate::matrix::{
    class::Class,
    evidence::{Aim, End, Watch, find, is_answer, is_refusal, is_request},
    ports::Serving,
};
use netcheck_wire::probe::{Direction, Packet, Sighting};

impl<'a> Sight<'a> {
    /// Nothing came in time.
    pub(super) fn silent(&self) -> Verdict {
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
    pub(super) fn lost_on_the_way(&self) -> String {
        let source = self.case.source;
        let left = find(&self.source.saw, Direction::Out, is_request).is_some();
        match self.source_doubt() {
            Some(doubt) if !left => format!("{}; whether it left is not known: {doubt}", self.nobody_saw()),
            _ => format!("it left {source}, and {}", self.nobody_saw()),
        }
    }

    /// Adds where on the way a packet was seen last. `nodes` are those it should have passed, the last one first.
    pub(super) fn last_seen(
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
    pub(super) fn silent_at_a_node(&self, end: &End, came: &Sighting) -> Verdict {
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
    pub(super) fn silent_after_arrival(&self, end: &End) -> Verdict {
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
}
