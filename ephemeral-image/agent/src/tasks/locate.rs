//! `locate`: finds network namespaces and reads what they hold.

use super::{Gone, Reporter, Shared};
use crate::{probe, watch};
use netcheck_node_state::{FoundBy, Netns, Resolver, Wanted, addresses, find, listeners, resolver, within};
use netcheck_wire::{
    Event,
    probe::{self as wire, PlaceFacts, Placed, Whereabouts},
};
use std::{path::Path, sync::Arc};

/// A located place.
#[derive(Debug)]
pub struct Place {
    /// Its namespace.
    pub netns: Netns,
}

/// Most listeners or addresses of one place that are told: what a message can carry.
const MAX_LISTED: usize = 8192;

/// Runs the task.
pub fn run(places: &[wire::Place], shared: &Shared, reporter: &Reporter) -> Result<(), Gone> {
    let pods: Vec<(u32, Wanted)> = places
        .iter()
        .filter_map(|place| match &place.whereabouts {
            Whereabouts::Own => None,
            Whereabouts::Pod { uid, ips } => Some((
                place.id,
                Wanted {
                    uid: uid.clone(),
                    ips: ips.clone(),
                },
            )),
        })
        .collect();
    for place in places.iter().filter(|place| place.whereabouts == Whereabouts::Own) {
        let outcome = Netns::own().map_err(|error| error.to_string());
        tell(
            place.id,
            outcome.and_then(|netns| read(netns, &Origin::Own)),
            shared,
            reporter,
        )?;
    }
    let (numbers, wanted): (Vec<u32>, Vec<Wanted>) = pods.into_iter().unzip();
    if wanted.is_empty() {
        return Ok(());
    }
    for (number, found) in numbers.into_iter().zip(find(&wanted)) {
        let outcome = found.map_err(|error| error.to_string());
        tell(
            number,
            outcome.and_then(|found| read(found.netns, &Origin::Pod(found.by))),
            shared,
            reporter,
        )?;
        if reporter.is_stopped() {
            break;
        }
    }
    Ok(())
}

/// How a namespace was come by.
enum Origin {
    Own,
    Pod(FoundBy),
}

fn tell(
    number: u32,
    outcome: Result<(Place, PlaceFacts), String>,
    shared: &Shared,
    reporter: &Reporter,
) -> Result<(), Gone> {
    let outcome = outcome.map(|(place, facts)| {
        shared.insert(number, Arc::new(place));
        facts
    });
    reporter.event(Event::Located(Placed { place: number, outcome }))
}

fn read(netns: Netns, origin: &Origin) -> Result<(Place, PlaceFacts), String> {
    let (addresses, listeners, cannot_watch, cannot_ping) = within(&netns, || {
        let cannot_watch = watch::try_here().err().map(|error| watch::cannot_watch(&error));
        (addresses(), listeners(), cannot_watch, probe::cannot_ping_here())
    })
    .map_err(|error| error.to_string())?;
    let addresses = addresses.map_err(|error| error.to_string())?;
    let listeners = listeners.map_err(|error| error.to_string())?;
    for (what, count) in [("addresses", addresses.len()), ("listening sockets", listeners.len())] {
        if count > MAX_LISTED {
            return Err(format!("it holds {count} {what}, the limit is {MAX_LISTED}"));
        }
    }
    let facts = PlaceFacts {
        inode: netns.inode(),
        found_by: match origin {
            Origin::Own => "own",
            Origin::Pod(FoundBy::Cgroup { .. }) => "cgroup",
            Origin::Pod(FoundBy::Address) => "address",
        }
        .to_owned(),
        addresses: addresses
            .into_iter()
            .map(|address| wire::Address {
                interface: address.interface,
                ip: address.ip,
                prefix: address.prefix,
            })
            .collect(),
        listeners: listeners
            .into_iter()
            .map(|listener| wire::Listener {
                ip: listener.ip,
                port: listener.port,
                v6_only: listener.v6_only,
            })
            .collect(),
        resolver: resolver_of(origin),
        cannot_watch,
        cannot_ping,
    };
    Ok((Place { netns }, facts))
}

/// The first `resolv.conf` with a name server in it among the place's processes: a pause process may have none.
fn resolver_of(origin: &Origin) -> Option<wire::Resolver> {
    let Resolver {
        nameservers,
        search,
        ndots,
    } = match origin {
        Origin::Own => resolver::read(Path::new("/")).ok()?,
        Origin::Pod(FoundBy::Cgroup { pids }) => pids
            .iter()
            .filter_map(|pid| resolver::read(Path::new(&format!("/proc/{pid}/root"))).ok())
            .find(|resolver| !resolver.nameservers.is_empty())?,
        Origin::Pod(FoundBy::Address) => return None,
    };
    Some(wire::Resolver {
        nameservers,
        search,
        ndots,
    })
}
