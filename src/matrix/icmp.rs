//! Words for ICMP errors: RFC 792, RFC 1122 section 3.2.2.1 and RFC 1812 section 5.2.7.1 for IPv4, RFC 4443 section 3 for IPv6.

/// What an ICMP error says, in words.
pub fn meaning(is_v6: bool, kind: u8, code: u8) -> String {
    let known = if is_v6 {
        meaning_v6(kind, code)
    } else {
        meaning_v4(kind, code)
    };
    known.map_or_else(
        || format!("ICMP type {kind} code {code}"),
        |words| format!("ICMP {words}"),
    )
}

fn meaning_v4(kind: u8, code: u8) -> Option<&'static str> {
    Some(match (kind, code) {
        (3, 0) => "network unreachable",
        (3, 1) => "host unreachable",
        (3, 2) => "protocol unreachable",
        (3, 3) => "port unreachable",
        (3, 4) => "fragmentation needed",
        (3, 9 | 10 | 13) => "administratively prohibited",
        (11, _) => "time to live exceeded",
        _ => return None,
    })
}

fn meaning_v6(kind: u8, code: u8) -> Option<&'static str> {
    Some(match (kind, code) {
        (1, 0) => "no route to destination",
        (1, 1) => "administratively prohibited",
        (1, 3) => "address unreachable",
        (1, 4) => "port unreachable",
        (1, 5) => "source address failed policy",
        (1, 6) => "reject route to destination",
        (2, _) => "packet too big",
        (3, _) => "hop limit exceeded",
        _ => return None,
    })
}

/// The errors that a rule which rejects sends, as opposed to a router that knows no way.
pub fn is_refusal_by_rule(is_v6: bool, kind: u8, code: u8) -> bool {
    matches!(
        (is_v6, kind, code),
        (false, 3, 2 | 3 | 9 | 10 | 13) | (true, 1, 1 | 4 | 5 | 6)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_named_by_family() {
        assert_eq!(meaning(false, 3, 1), "ICMP host unreachable");
        assert_eq!(meaning(true, 1, 4), "ICMP port unreachable");
        assert_eq!(meaning(true, 200, 9), "ICMP type 200 code 9");
    }

    #[test]
    fn a_router_without_a_route_is_no_rule() {
        assert!(!is_refusal_by_rule(false, 3, 0));
        assert!(!is_refusal_by_rule(true, 1, 0));
        assert!(is_refusal_by_rule(false, 3, 13));
    }
}
