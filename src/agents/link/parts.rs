//! Splits a long task into several: a task is one frame, which holds 1 MiB at most, and its results are kept until it is done.

use netcheck_wire::Task;

/// Things in one part. With the longest DNS name and IPv6 addresses that is still well below the limit of a frame.
const MOST: usize = 2000;

/// The parts of a task, to be done one after the other; together their events are those of the whole.
pub fn parts(task: Task) -> Vec<Task> {
    match task {
        Task::Locate { places } => split(places, |places| Task::Locate { places }),
        Task::Probe {
            probes,
            timeout_ms,
            parallel,
        } => split(probes, |probes| Task::Probe {
            probes,
            timeout_ms,
            parallel,
        }),
        Task::Look { queries } => split(queries, |queries| Task::Look { queries }),
        // Numbers only, one for each pod of a node; and it does not end, so that no second part would ever begin.
        whole @ (Task::Watch { .. }
        | Task::Capture(_)
        | Task::Claim(_)
        | Task::Release { .. }
        | Task::Clock
        | Task::Record(_)
        | Task::Observe(_)) => {
            vec![whole]
        }
    }
}

fn split<T>(mut things: Vec<T>, task: impl Fn(Vec<T>) -> Task) -> Vec<Task> {
    let mut parts = Vec::new();
    while things.len() > MOST {
        let rest = things.split_off(MOST);
        parts.push(task(std::mem::replace(&mut things, rest)));
    }
    parts.push(task(things));
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use netcheck_wire::{
        ToAgent,
        frame::MAX_PAYLOAD,
        probe::{Mark, Place, Probe, ProbeKind, Query, Record, Whereabouts},
    };

    const MANY: u32 = 20_000;

    /// The parts' numbers in their order, after a look at every part's size.
    fn numbers(task: Task) -> Vec<u32> {
        let mut numbers = Vec::new();
        for part in parts(task) {
            let message = ToAgent::Task {
                id: u32::MAX,
                task: part.clone(),
            };
            let bytes = serde_json::to_vec(&message).unwrap().len();
            assert!(bytes <= MAX_PAYLOAD, "a part of {bytes} bytes");
            match part {
                Task::Locate { places } => numbers.extend(places.iter().map(|place| place.id)),
                Task::Watch { places } => numbers.extend(places),
                Task::Probe { probes, .. } => numbers.extend(probes.iter().map(|probe| probe.id)),
                Task::Look { queries } => numbers.extend(queries.iter().map(|query| query.probe)),
                _ => {}
            }
        }
        numbers
    }

    #[test]
    fn parts_fit_a_frame_and_leave_nothing_out() {
        let address = "2001:db8:1111:2222:3333:4444:5555:6666";
        let ids = || 1_000_000..1_000_000 + MANY;
        let places = ids().map(|id| Place {
            id,
            whereabouts: Whereabouts::Pod {
                uid: "0".repeat(36),
                ips: vec![address.parse().unwrap(), "192.168.100.100".parse().unwrap()],
            },
        });
        let probes = ids().map(|id| Probe {
            id,
            from: u32::MAX,
            kind: ProbeKind::Dns {
                to: format!("[{address}]:65535").parse().unwrap(),
                name: "n".repeat(253),
                record: Record::Aaaa,
            },
        });
        let queries = ids().map(|id| Query {
            probe: id,
            place: u32::MAX,
            mark: Mark::Dns {
                id: u16::MAX,
                name: "n".repeat(253),
            },
        });
        let tasks = [
            Task::Locate {
                places: places.collect(),
            },
            Task::Probe {
                probes: probes.collect(),
                timeout_ms: u32::MAX,
                parallel: 512,
            },
            Task::Look {
                queries: queries.collect(),
            },
            Task::Watch {
                places: ids().collect(),
            },
        ];
        for task in tasks {
            assert_eq!(numbers(task), ids().collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_task_without_anything_stays_one_task() {
        let nothing = Task::Look { queries: Vec::new() };
        assert_eq!(parts(nothing.clone()), [nothing]);
    }
}
