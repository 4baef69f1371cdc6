//! The kernel's tables of counters, as text.
#![cfg_attr(
    not(feature = "kernel"),
    allow(dead_code, reason = "they are read where there is a kernel")
)]

use super::Numbers;

/// Of `/proc/net/snmp`: what is a setting, or now more and now less (as nstat(8) leaves out, too).
const NO_COUNTS: [&str; 7] = [
    "IpForwarding",
    "IpDefaultTTL",
    "TcpRtoAlgorithm",
    "TcpRtoMin",
    "TcpRtoMax",
    "TcpMaxConn",
    "TcpCurrEstab",
];
/// Columns of `/proc/net/softnet_stat` (`softnet_seq_show()`, net/core/net-procfs.c), which has no head.
const SOFTNET: [(usize, &str); 4] = [
    (0, "processed"),
    (1, "dropped"),
    (2, "time_squeeze"),
    (10, "flow_limit"),
];

/// `/proc/net/snmp` and `/proc/net/netstat`: pairs of lines, names and numbers, both after the protocol.
pub(super) fn pairs(text: &str, into: &mut Numbers) {
    let lines: Vec<&str> = text.lines().collect();
    for pair in lines.as_chunks::<2>().0 {
        let [Some((protocol, names)), Some((same, numbers))] = pair.map(|line| line.split_once(':')) else {
            continue;
        };
        if protocol != same {
            continue;
        }
        for (name, number) in names.split_whitespace().zip(numbers.split_whitespace()) {
            count(into, &format!("{protocol}{name}"), number);
        }
    }
}

/// `/proc/net/snmp6`: a name and a number on each line.
pub(super) fn lines(text: &str, into: &mut Numbers) {
    for (name, number) in text.lines().filter_map(|line| line.split_once(char::is_whitespace)) {
        count(into, name, number.trim());
    }
}

fn count(into: &mut Numbers, name: &str, number: &str) {
    let number = number.parse().ok().filter(|&number| number != 0);
    if let Some(number) = number
        && !NO_COUNTS.contains(&name)
    {
        into.insert(name.to_owned(), number);
    }
}

/// `/proc/net/stat/nf_conntrack`: a head, and a line for each processor, hexadecimal; the first column is how many connections there are.
pub(super) fn conntrack(text: &str) -> Numbers {
    let mut lines = text.lines();
    let names: Vec<&str> = lines.next().unwrap_or_default().split_whitespace().collect();
    sum(lines, &names.into_iter().enumerate().skip(1).collect::<Vec<_>>())
}

/// `/proc/net/softnet_stat`: a line for each processor, hexadecimal.
pub(super) fn softnet(text: &str) -> Numbers {
    sum(text.lines(), &SOFTNET)
}

/// Adds up columns of hexadecimal numbers.
fn sum<'a>(lines: impl Iterator<Item = &'a str>, columns: &[(usize, &str)]) -> Numbers {
    let mut sums = Numbers::new();
    for line in lines {
        let numbers: Vec<&str> = line.split_whitespace().collect();
        for (column, name) in columns {
            let number = numbers
                .get(*column)
                .and_then(|number| u64::from_str_radix(number, 16).ok());
            if let Some(number) = number.filter(|&number| number != 0) {
                let sum = sums.entry((*name).to_owned()).or_default();
                *sum = sum.saturating_add(number);
            }
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn numbers<const N: usize>(of: [(&str, u64); N]) -> Numbers {
        of.map(|(name, number)| (name.to_owned(), number)).into()
    }

    #[test]
    fn a_table_of_pairs_is_read() {
        let mut into = Numbers::new();
        pairs(
            "Ip: Forwarding DefaultTTL InReceives InAddrErrors\nIp: 1 64 17 0\nTcp: MaxConn\nTcp: -1\n",
            &mut into,
        );
        pairs("TcpExt: IPReversePathFilter\nTcpExt: 2\n", &mut into);
        lines("Ip6InReceives                   \t5\nIp6InDiscards \t0\n", &mut into);
        assert_eq!(
            into,
            numbers([
                ("IpInReceives", 17),
                ("TcpExtIPReversePathFilter", 2),
                ("Ip6InReceives", 5)
            ])
        );
    }

    #[test]
    fn processors_are_added_up() {
        let text =
            "entries  clashres found drop\n0000000a 00000001 00000000 0000000f\n0000000a 00000000 00000000 00000001\n";
        assert_eq!(conntrack(text), numbers([("clashres", 1), ("drop", 16)]));
        let line = "000000ff 00000001 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000002 00000000 00000000";
        assert_eq!(
            softnet(&format!("{line}\n{line}\n")),
            numbers([("processed", 510), ("dropped", 2), ("flow_limit", 4)])
        );
        assert!(
            softnet("ff").contains_key("processed"),
            "older kernels have fewer columns"
        );
    }

    proptest! {
        #[test]
        fn any_text_is_read(text in "[a-zA-Z0-9: \n\t-]{0,200}") {
            let mut into = Numbers::new();
            pairs(&text, &mut into);
            lines(&text, &mut into);
            into.append(&mut conntrack(&text));
            into.append(&mut softnet(&text));
            prop_assert!(into.values().all(|&number| number != 0));
        }
    }
}
