//! `locate`: finds network namespaces and reads what they hold.

use super::{Gone, Reporter, Shared};
use crate::{probe, watch};
use netcheck_node_state::{FoundBy, Netns, Resolver, Wanted, addresses, find, listeners, resolver, within};
use netcheck_wire::{
    Event,
    frame::MAX_PAYLOAD,
    probe::{self as wire, PlaceFacts, Placed, Whereabouts},
};
use std::{path::Path, sync::Arc};

/// A located place.
#[derive(Debug)]
pub struct Place {
    /// Its namespace.
    pub netns: Netns,
}

/// Most bytes of one place's facts as JSON: a frame's, less what the message has around them.
const MAX_FACTS: usize = MAX_PAYLOAD - 256;

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
    check_size(&facts)?;
    Ok((Place { netns }, facts))
}

/// A place that cannot be told in one message is an error of that place, and the others are told.
fn check_size(facts: &PlaceFacts) -> Result<(), String> {
    let encoded = serde_json::to_vec(facts).map_err(|error| format!("cannot encode what it holds: {error}"))?;
    if encoded.len() <= MAX_FACTS {
        return Ok(());
    }
    Err(format!(
        "its network namespace has {} listening sockets and {} addresses, more than a report holds",
        facts.listeners.len(),
        facts.addresses.len()
    ))
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

#[cfg(test)]
mod tests {
    use super::*;
    use netcheck_wire::FromAgent;

    /// Facts with so many addresses and listeners, each as long as can be.
    fn facts(addresses: usize, listeners: usize) -> PlaceFacts {
        let ip = "fd00:1111:2222:3333:4444:5555:6666:7777".parse().unwrap();
        let address = wire::Address {
            interface: "eth0123456789ab".to_owned(),
            ip,
            prefix: 128,
        };
        let listener = wire::Listener {
            ip,
            port: 65_535,
            v6_only: false,
        };
        PlaceFacts {
            inode: u64::MAX,
            addresses: vec![address; addresses],
            listeners: vec![listener; listeners],
            ..PlaceFacts::default()
        }
    }

    #[test]
    fn a_place_too_large_for_a_message_is_an_error_of_that_place() {
        assert_eq!(check_size(&facts(4000, 4000)), Ok(()));
        // Neither alone is too much.
        assert_eq!(check_size(&facts(8000, 0)), Ok(()));
        assert_eq!(check_size(&facts(0, 8000)), Ok(()));
        assert_eq!(
            check_size(&facts(8000, 8001)),
            Err(
                "its network namespace has 8001 listening sockets and 8000 addresses, more than a report holds"
                    .to_owned()
            )
        );
    }

    #[test]
    fn the_largest_place_that_is_told_fits_a_frame() {
        let mut largest = facts(4000, 4000);
        let room = MAX_FACTS - serde_json::to_vec(&largest).unwrap().len();
        largest.found_by = "x".repeat(room);
        assert_eq!(check_size(&largest), Ok(()));
        let message = FromAgent::Event {
            id: u32::MAX,
            event: Event::Located(Placed {
                place: u32::MAX,
                outcome: Ok(largest.clone()),
            }),
        };
        assert!(serde_json::to_vec(&message).unwrap().len() <= MAX_PAYLOAD);
        largest.found_by.push('x');
        assert!(check_size(&largest).is_err());
    }
}
