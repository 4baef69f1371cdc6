//! When each probe goes: no source opens more than one handshake a second to one target port.
//!
//! A Service's port and the ports of its backends count as one target, since the Service's handshake ends at one of them.

use super::Row;
use crate::{cluster::inventory::Subject, matrix::evidence::Protocol};
use std::{
    collections::{HashMap, HashSet},
    net::{IpAddr, SocketAddr},
};

/// Indices of rows that go at the same time; rounds are a second apart.
pub type Round = Vec<usize>;

/// Sorts rows that send something into as few rounds as the order of rows allows. `place` maps a source to its namespace: two sources in one
/// namespace are one source.
pub fn rounds<P: std::hash::Hash + Eq + Clone>(rows: &[Row], place: impl Fn(&Subject) -> P) -> Vec<Round> {
    let mut rounds: Vec<Round> = Vec::new();
    let mut taken: Vec<HashSet<(P, IpAddr, u16)>> = Vec::new();
    // Where the search for a free round starts, for rows with the same first target: keeps long lists linear.
    let mut next: HashMap<(P, SocketAddr), usize> = HashMap::new();
    for (index, row) in rows.iter().enumerate() {
        let (Ok(_), Some(target)) = (&row.probe, row.target) else {
            continue;
        };
        if row.protocol != Protocol::Tcp {
            put(&mut rounds, 0, index);
            continue;
        }
        let source = place(&row.pair.from);
        let mut claims: HashSet<(P, IpAddr, u16)> =
            row.ends.iter().map(|end| (source.clone(), end.ip, end.port)).collect();
        claims.insert((source.clone(), target.ip(), target.port()));
        let start = next.entry((source, target)).or_default();
        let mut round = *start;
        while taken.get(round).is_some_and(|taken| !taken.is_disjoint(&claims)) {
            round += 1;
        }
        *start = round + 1;
        if taken.len() <= round {
            taken.resize_with(round + 1, HashSet::new);
        }
        taken[round].extend(claims);
        put(&mut rounds, round, index);
    }
    rounds
}

fn put(rounds: &mut Vec<Round>, round: usize, index: usize) {
    if rounds.len() <= round {
        rounds.resize_with(round + 1, Vec::new);
    }
    rounds[round].push(index);
}
