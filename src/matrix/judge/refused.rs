//! Something said no: who?

use super::{
    Verdict,
    sight::{Sight, node_of},
};
use crate::matrix::{
    class::Class,
    evidence::{End, Protocol, find, is_refusal},
    icmp,
    ports::Serving,
};
use netcheck_wire::probe::{Direction, Packet, Sighting};
use std::net::IpAddr;

impl Sight<'_> {
    /// `ECONNREFUSED`: an RST, or an ICMP error that the kernel turns into one.
    pub(super) fn refused(&self) -> Verdict {
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
    pub(super) fn refused_at_a_node(&self) -> Option<Verdict> {
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
    pub(super) fn refused_at(&self, end: &End, sent: &Sighting) -> Verdict {
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

    pub(super) fn refused_by_unknown(&self) -> Verdict {
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

    pub(super) fn rejected_by_icmp(&self, icmp: &Sighting) -> Verdict {
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
    pub(super) fn untranslated_sender(&self, icmp: &Sighting) -> IpAddr {
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
}
