//! `watch`: keeps places watched until stopped.

use super::{Gone, Reporter, Shared, not_located};
use netcheck_wire::{Event, probe::Placed};

/// Runs the task.
pub fn run(places: &[u32], shared: &Shared, reporter: &Reporter) -> Result<(), Gone> {
    let mut kept = Vec::new();
    for &number in places {
        let place = shared.place(number).ok_or_else(|| not_located(number));
        let outcome = place
            .and_then(|place| shared.watches.watch(&place.netns))
            .map(|watching| kept.push(watching));
        reporter.event(Event::Watching(Placed { place: number, outcome }))?;
    }
    reporter.wait_for_stop();
    Ok(())
}
