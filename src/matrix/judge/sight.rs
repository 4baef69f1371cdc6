//! A probe as the rules look at it: what each place saw of it, and how far that can be believed.

use crate::matrix::evidence::{Aim, Case, End, Intake, SourceSide, find, is_request};
use netcheck_wire::probe::{Direction, Packet, Sighting};

/// A probe as the rules look at it.
pub(super) struct Sight<'a> {
    pub(super) case: &'a Case<'a>,
    pub(super) source: &'a SourceSide,
    pub(super) ends: &'a [End],
    pub(super) transit: &'a [End],
}

impl<'a> Sight<'a> {
    /// The end where the request arrived.
    ///
    /// The namespace of a node may be an end, as backends with `hostNetwork` live in it, and yet do no more than forward a packet to another
    /// backend. A pod that was asked by its own address has the packet even if it hands it on inside, as sandboxes with a virtual machine do.
    pub(super) fn arrived(&self) -> Option<&'a End> {
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
    pub(super) fn perhaps_arrived(&self) -> Option<(&'a End, &'a Sighting)> {
        self.at_a_node(|intake| match intake {
            Intake::Unclear(came) => Some(came),
            _ => None,
        })
    }

    /// A node that took the request in for a backend elsewhere and did not pass it on: its name, and how it came in.
    pub(super) fn swallowed(&self) -> Option<(String, &'a Sighting)> {
        let (end, came) = self.at_a_node(|intake| match intake {
            Intake::Swallowed(came) => Some(came),
            _ => None,
        })?;
        Some((node_of(end), came))
    }

    pub(super) fn at_a_node(
        &self,
        which: impl Fn(Intake<'a>) -> Option<&'a Sighting>,
    ) -> Option<(&'a End, &'a Sighting)> {
        if !self.is_service() || self.arrived().is_some() {
            return None;
        }
        let ends = self.ends.iter();
        ends.filter(|end| end.shares.is_some())
            .find_map(|end| Some((end, which(end.intake(self.case.target))?)))
    }

    /// Why not all of the ends' silence can be believed; `None` if it can.
    pub(super) fn doubt(&self) -> Option<String> {
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

    pub(super) fn source_got(&self, what: impl Fn(&Packet) -> bool) -> Option<&'a Sighting> {
        find(&self.source.saw, Direction::In, what)
    }

    /// Why what was not seen at the source may have been there all the same; `None` if it was watched without a gap.
    pub(super) fn source_doubt(&self) -> Option<String> {
        let source = self.case.source;
        match (&self.source.blind, self.source.missed) {
            (Some(why), _) => Some(format!("{source} could not be watched: {why}")),
            (None, 0) => None,
            (None, missed) => Some(format!("the watch of {source} may have missed {missed} packets")),
        }
    }

    /// The source was watched without a gap, and the request was not seen leaving.
    pub(super) fn surely_stayed(&self) -> bool {
        self.source_doubt().is_none() && find(&self.source.saw, Direction::Out, is_request).is_none()
    }

    /// The request was seen on the source's loopback interface and surely on no other, although it was meant for somewhere else.
    pub(super) fn turned_inside(&self) -> Option<&'a Sighting> {
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
    pub(super) fn inside(&self, turned: &Sighting) -> String {
        if turned.destination == self.case.target {
            format!("inside {}", self.case.source)
        } else {
            format!("inside {}, redirected to {}", self.case.source, turned.destination)
        }
    }

    pub(super) fn is_service(&self) -> bool {
        matches!(self.case.aim, Aim::Service { .. })
    }

    pub(super) fn nobody_saw(&self) -> String {
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
pub(super) fn node_of(end: &End) -> String {
    match &end.shares {
        Some(node) => format!("node {node}"),
        None => end.who.clone(),
    }
}
