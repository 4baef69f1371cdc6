//! `observe`: what the node counts in an interval, and why its kernel drops packets in it.

use super::{Reporter, Shared, document::Document, not_located};
use netcheck_drops::Counting;
use netcheck_node_state::{
    counters::{Counters, counters, softnet},
    observation::{Ends, NodeObservation, OBSERVATION, Observed},
    record::Reading,
    within,
};
use netcheck_wire::{Event, message::ObserveOrder};
use std::{
    collections::BTreeMap,
    io::Write as _,
    time::{Duration, Instant},
};

/// Longest interval.
const MOST: Duration = Duration::from_mins(10);

/// All counters at one moment.
struct Moment {
    node: Counters,
    pods: BTreeMap<u32, Reading<Counters>>,
    softnet: Reading<BTreeMap<String, u64>>,
}

impl Moment {
    fn read(places: &[u32], shared: &Shared) -> Result<Self, String> {
        Ok(Self {
            pods: places.iter().map(|&number| (number, pod(number, shared))).collect(),
            softnet: softnet().map_err(|error| error.to_string()),
            node: counters().map_err(|error| error.to_string())?,
        })
    }
}

fn pod(number: u32, shared: &Shared) -> Reading<Counters> {
    let place = shared.place(number).ok_or_else(|| not_located(number))?;
    let read = within(&place.netns, counters).map_err(|error| error.to_string())?;
    read.map_err(|error| error.to_string())
}

/// Runs the task.
pub fn run(order: &ObserveOrder, shared: &Shared, reporter: &Reporter) -> Result<(), String> {
    let interval = Duration::from_millis(order.for_ms).min(MOST);
    let own = netcheck_node_state::Netns::own().map_err(|error| error.to_string())?;
    let counting = Counting::start().map_err(|error| error.to_string());
    let before = Moment::read(&order.places, shared).map_err(|error| format!("cannot read the node: {error}"))?;
    let began = Instant::now();
    let drops = counting.as_ref().map(drop).map_err(Clone::clone);
    if reporter.event(Event::Observing { drops }).is_err() {
        // Without a session there is nobody to hear of it.
        return Ok(());
    }
    if reporter.wait_until(began + interval) {
        return Err("stopped before its interval was over".to_owned());
    }
    let elapsed_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    let drops = counting.and_then(|counting| counting.read().map_err(|error| error.to_string()));
    let after = Moment::read(&order.places, shared).map_err(|error| format!("cannot read the node again: {error}"))?;

    let kernel = rustix::system::uname().release().to_string_lossy().into_owned();
    let ends = |before, after| Ends { before, after };
    let mut pods_after = after.pods;
    let pods = before.pods.into_iter().map(|(number, before)| {
        let after = pods_after.remove(&number).unwrap_or_else(|| Err(not_located(number)));
        let observed = before.and_then(|before| {
            let place = shared.place(number).ok_or_else(|| not_located(number))?;
            Ok(Observed {
                inode: place.netns.inode(),
                counters: ends(before, after?),
            })
        });
        (number, observed)
    });
    let observation = NodeObservation {
        observation: OBSERVATION,
        kernel,
        elapsed_ms,
        node: Observed {
            inode: own.inode(),
            counters: ends(before.node, after.node),
        },
        pods: pods.collect(),
        softnet: before.softnet.and_then(|before| {
            Ok(Ends {
                before,
                after: after.softnet?,
            })
        }),
        drops,
    };
    let mut document = Document::new(reporter);
    serde_json::to_writer(&mut document, &observation)
        .map_err(std::io::Error::from)
        .and_then(|()| document.flush())
        .map_err(|error| format!("cannot send the observation: {error}"))
}
