//! Reading what a network namespace holds.

mod devices;
mod entries;
mod links;
mod rules;
mod traffic_control;

pub(crate) use entries::ROUTE_HEADER;
pub(crate) use links::LinkAnswer;
pub(crate) use rules::rules;
pub(crate) use traffic_control::traffic_control;

use crate::{
    Address, NetState,
    addresses::{dump_addresses, read_address},
    interfaces::{Counters, dump_links},
    netlink::DumpError,
    record::Device,
    wire::Message,
};
use std::collections::BTreeMap;

/// One of the kernel's tables, as [`NetState`] has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    /// [`NetState::links`].
    Links,
    /// [`NetState::addresses`].
    Addresses,
    /// [`NetState::routes`].
    Routes,
    /// [`NetState::neighbours`].
    Neighbours,
    /// [`NetState::fdb`].
    Fdb,
}

impl Table {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Links, Self::Addresses, Self::Routes, Self::Neighbours, Self::Fdb];
}

/// Reads everything that the calling thread's network namespace holds.
///
/// Each table is read whole: the kernel says where one changed meanwhile, and it is then read again. Between two tables time passes.
pub fn snapshot() -> Result<NetState, DumpError> {
    let mut state = NetState::default();
    refresh(&mut state, &Table::ALL)?;
    Ok(state)
}

/// As [`snapshot()`], with what is to be seen of devices and is nobody's wish: read at the same moment as the links.
pub(crate) fn snapshot_with_devices() -> Result<(NetState, BTreeMap<String, Device>), DumpError> {
    let mut state = NetState::default();
    let (links, names) = read(&mut state, &Table::ALL, Counters::Told)?;
    let mut devices = of_links(&links, &names);
    devices::add_features(&mut devices, &state.links);
    Ok((state, devices))
}

/// What is to be seen of devices and is nobody's wish, alone.
pub(crate) fn devices() -> Result<BTreeMap<String, Device>, DumpError> {
    let links = dump_links(Counters::Told)?;
    let read = links.iter().filter_map(LinkAnswer::read);
    let names: Names = read.map(|link| (link.index, link.name)).collect();
    Ok(of_links(&links, &names))
}

fn of_links(links: &[Message], names: &Names) -> BTreeMap<String, Device> {
    links
        .iter()
        .filter_map(|answer| devices::device(answer, names))
        .collect()
}

/// Reads some tables again, and the links always: they name what the others number.
///
/// Links are read last, so what hangs on a device that is gone by then is left out, as the kernel removes it too.
pub fn refresh(state: &mut NetState, tables: &[Table]) -> Result<(), DumpError> {
    read(state, tables, Counters::LeftOut).map(drop)
}

/// As [`refresh`]; gives what the kernel said about the links, and their names.
fn read(state: &mut NetState, tables: &[Table], counters: Counters) -> Result<(Vec<Message>, Names), DumpError> {
    let wants = |table| tables.contains(&table);
    let addresses = wants(Table::Addresses).then(dump_addresses).transpose()?;
    let routes = wants(Table::Routes).then(entries::dump_routes).transpose()?;
    let neighbours = wants(Table::Neighbours).then(entries::dump_neighbours).transpose()?;
    let fdb = wants(Table::Fdb).then(entries::dump_fdb).transpose()?;
    let link_answers = dump_links(counters)?;
    let links: Vec<LinkAnswer> = link_answers.iter().filter_map(LinkAnswer::read).collect();

    let names: Names = links.iter().map(|link| (link.index, link.name.clone())).collect();
    state.links = links.into_iter().map(|link| link.named(&names)).collect();
    if let Some(answers) = addresses {
        let read = answers.iter().filter_map(|answer| {
            let (index, ip, prefix) = read_address(answer)?;
            let interface = names.get(&index)?.clone();
            Some(Address { interface, ip, prefix })
        });
        state.addresses = read.collect();
    }
    if let Some(answers) = routes {
        state.routes = answers
            .iter()
            .filter_map(|answer| entries::route(answer, &names))
            .collect();
    }
    if let Some(answers) = neighbours {
        let read = answers.iter().filter_map(|answer| entries::neighbour(answer, &names));
        state.neighbours = read.collect();
    }
    if let Some(answers) = fdb {
        state.fdb = answers
            .iter()
            .filter_map(|answer| entries::fdb(answer, &names))
            .collect();
    }
    Ok((link_answers, names))
}

/// Names of devices by number.
pub(crate) type Names = BTreeMap<u32, String>;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{record::Side, wire::put};
    use proptest::prelude::*;

    /// Attributes as a kernel might send them, or no kernel.
    fn body() -> impl Strategy<Value = Vec<u8>> {
        let value = prop_oneof![
            prop::collection::vec(any::<u8>(), 0..24),
            prop::collection::vec((0_u16..40, prop::collection::vec(any::<u8>(), 0..24)), 0..6).prop_map(nest),
        ];
        let attributes = prop::collection::vec((0_u16..64, value), 0..12).prop_map(nest);
        (prop::collection::vec(any::<u8>(), 0..20), attributes).prop_map(|(fixed, rest)| [fixed, rest].concat())
    }

    fn nest(attributes: Vec<(u16, Vec<u8>)>) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (number, value) in attributes {
            put(&mut bytes, number, &value);
        }
        bytes
    }

    proptest! {
        #[test]
        fn any_answer_is_read(kind in 16_u16..46, body in body()) {
            let names = Names::from([(0, "lo".to_owned())]);
            let answer = Message { kind, body };
            if let Some(link) = LinkAnswer::read(&answer) {
                link.named(&names);
            }
            read_address(&answer);
            devices::device(&answer, &names);
            entries::route(&answer, &names);
            entries::neighbour(&answer, &names);
            entries::fdb(&answer, &names);
            rules::rule(&answer);
            traffic_control::qdisc(&answer, &names);
            traffic_control::filter(&answer, "lo", Side::Ingress, &names);
        }
    }
}
