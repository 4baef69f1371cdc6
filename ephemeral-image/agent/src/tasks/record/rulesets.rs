//! The node's firewalls, in the words of the programs that come with the agent's image.

use super::program::{self, Limits};
use crate::tasks::Reporter;
use netcheck_node_state::record::Reading;
use serde_json::value::RawValue;
use std::{fs, io, iter, path::Path};

/// Programs that print iptables' rules, and where the kernel lists the tables of those that ask it for tables: only what is listed is there, and
/// asking for another one would make it.
const IPTABLES: [(&str, Option<&str>); 4] = [
    ("iptables-legacy-save", Some("ip_tables_names")),
    ("ip6tables-legacy-save", Some("ip6_tables_names")),
    ("iptables-nft-save", None),
    ("ip6tables-nft-save", None),
];

/// `nft -j list ruleset`, as it says it.
pub fn nft(reporter: &Reporter) -> Reading<Box<RawValue>> {
    let program = program::find("nft").ok_or("there is no program nft in the agent's image")?;
    let text = program::answer(&program, &["-j", "list", "ruleset"], Limits::usual(), reporter)?;
    RawValue::from_string(text).map_err(|error| format!("nft's answer is not JSON: {error}"))
}

/// Sets that iptables' rules ask, and where the kernel shows that it has any: asking it for some would load what makes them.
const IPSET: (&str, &str) = ("ipset", "/sys/module/ip_set");

/// What each program for iptables and its sets that is here says, by its name.
pub fn iptables(reporter: &Reporter) -> impl Iterator<Item = (&'static str, Reading<String>)> {
    let rules = IPTABLES.iter().filter_map(move |(name, tables)| {
        let program = program::find(name)?;
        let is_empty = tables.is_some_and(has_no_tables);
        let answer = if is_empty {
            Ok(String::new())
        } else {
            program::answer(&program, &[], Limits::usual(), reporter)
        };
        Some((*name, answer))
    });
    // Each is asked when its turn comes.
    rules.chain(iter::once_with(move || sets(reporter)).flatten())
}

fn sets(reporter: &Reporter) -> Option<(&'static str, Reading<String>)> {
    let (name, module) = IPSET;
    let program = program::find(name)?;
    let answer = if Path::new(module).exists() {
        program::answer(&program, &["save"], Limits::usual(), reporter)
    } else {
        Ok(String::new())
    };
    Some((name, answer))
}

/// Whether the kernel lists no tables of this kind in this network namespace.
fn has_no_tables(list: &str) -> bool {
    match fs::read_to_string(format!("/proc/thread-self/net/{list}")) {
        Ok(names) => names.trim().is_empty(),
        // Without the module there is no list.
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    }
}
