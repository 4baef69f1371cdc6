//! ICMP errors as the judge sees them.

use netcheck_decode::icmp_meaning;

/// What an ICMP error says, in words.
pub fn meaning(is_v6: bool, kind: u8, code: u8) -> String {
    format!("ICMP {}", icmp_meaning(is_v6, kind, code))
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
