//! Rules that choose a routing table, from what the kernel says about them (`fib_nl_fill_rule()`, net/core/fib_rules.c).

use crate::{
    Rule,
    netlink::{DumpError, dump},
    numbers::{
        AF_INET, AF_INET6, FIB_RULE_INVERT, FRA_DST, FRA_FLOW, FRA_FWMARK, FRA_FWMASK, FRA_GOTO, FRA_IIFNAME,
        FRA_OIFNAME, FRA_PAD, FRA_PRIORITY, FRA_PROTOCOL, FRA_SRC, FRA_SUPPRESS_IFGROUP, FRA_SUPPRESS_PREFIXLEN,
        FRA_TABLE, RTM_GETRULE, RTM_NEWRULE,
    },
    wire::{Message, ip, text, u32_at},
};
use ipnet::IpNet;
use netlink_sys::protocols::NETLINK_ROUTE;

/// `struct fib_rule_hdr` of linux/fib_rules.h, in bytes.
const HEADER: usize = 12;

/// Reads the rules of the calling thread's network namespace, of both families, each in the order in which the kernel asks them.
pub(crate) fn rules() -> Result<Vec<Rule>, DumpError> {
    let mut rules = Vec::new();
    for family in [AF_INET, AF_INET6] {
        let mut header = [0; HEADER];
        header[0] = family;
        let answers = dump(NETLINK_ROUTE, "rules", &Message::new(RTM_GETRULE, &header))?;
        rules.extend(answers.iter().filter_map(rule));
    }
    Ok(rules)
}

/// Reads a rule; `None` if it is none of IP's.
pub(super) fn rule(answer: &Message) -> Option<Rule> {
    let &[family, to_length, from_length, service, table, _, _, action, ..] = answer.body.as_slice() else {
        return None;
    };
    let flags = u32_at(&answer.body, 8)?;
    if answer.kind != RTM_NEWRULE || !matches!(family, AF_INET | AF_INET6) {
        return None;
    }
    let mut rule = Rule {
        is_ipv6: family == AF_INET6,
        is_inverted: flags & FIB_RULE_INVERT != 0,
        action,
        table: table.into(),
        ..Rule::default()
    };
    // Selectors that no field has: the rule fits less than its fields say.
    if service != 0 {
        rule.others.insert(0);
    }
    let (mut marked, mut bits) = (None, None);
    for (number, value) in answer.attributes(HEADER) {
        match number {
            FRA_DST => rule.destination = IpNet::new(ip(value)?, to_length).ok(),
            FRA_SRC => rule.source = IpNet::new(ip(value)?, from_length).ok(),
            FRA_IIFNAME => rule.in_device = Some(text(value)),
            FRA_OIFNAME => rule.out_device = Some(text(value)),
            FRA_PRIORITY => rule.priority = u32_at(value, 0)?,
            FRA_FWMARK => marked = u32_at(value, 0),
            FRA_FWMASK => bits = u32_at(value, 0),
            FRA_TABLE => rule.table = u32_at(value, 0)?,
            // -1 is none.
            FRA_SUPPRESS_PREFIXLEN => rule.suppressed_prefix = u8::try_from(u32_at(value, 0)?).ok(),
            FRA_SUPPRESS_IFGROUP if u32_at(value, 0)? == u32::MAX => {}
            // Who put it there, where a jump leads, and what it is accounted as: nothing of what it fits.
            FRA_GOTO | FRA_FLOW | FRA_PAD | FRA_PROTOCOL => {}
            other => drop(rule.others.insert(other)),
        }
    }
    rule.mark = match (marked, bits) {
        (None | Some(0), None | Some(0)) => None,
        _ => Some((marked.unwrap_or_default(), bits.unwrap_or(u32::MAX))),
    };
    Some(rule)
}
