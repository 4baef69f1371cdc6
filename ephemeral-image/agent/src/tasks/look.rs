//! `look`: tells what the watch saw of probes, by their marks.

use super::{Gone, Reporter, Shared, not_located};
use netcheck_wire::{
    Event,
    probe::{Query, Sightings},
};

/// Runs the task.
pub fn run(queries: Vec<Query>, shared: &Shared, reporter: &Reporter) -> Result<(), Gone> {
    for Query { probe, place, mark } in queries {
        let sightings = match shared.place(place) {
            None => Sightings {
                probe,
                place,
                seen: Err(not_located(place)),
                missed: 0,
            },
            Some(located) => Sightings {
                probe,
                place,
                seen: shared.watches.look(&located.netns, &mark),
                missed: shared.watches.missed(&located.netns),
            },
        };
        reporter.event(Event::Seen(sightings))?;
        if reporter.is_stopped() {
            break;
        }
    }
    Ok(())
}
