//! The source's kernel gave another error than a refusal.

use super::{Verdict, sight::Sight};
use crate::matrix::{
    class::Class,
    evidence::{find, is_request},
};
use netcheck_wire::probe::{Direction, Packet};
use std::time::Duration;

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

impl Sight<'_> {
    /// The kernel gave another error than a refusal.
    pub(super) fn failed(&self, errno: &str) -> Verdict {
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
}
