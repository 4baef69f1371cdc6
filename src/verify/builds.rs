//! Whether all nodes run the same programs: a network that was upgraded by half counts by two rules.

use super::{evidence::Evidence, found::Found};
use netcheck_cni_intent::names::BPF_PINS;
use netcheck_node_state::record::NodeRecord;
use std::collections::BTreeMap;

/// Pins of programs begin so, below the folder of the network's pins.
const PROGRAMS: &str = "progs/";

/// What most nodes run.
#[derive(Debug, Default)]
pub struct Builds<'a> {
    /// By program: its tag on more than half of the nodes that have it, on how many, and of how many.
    usual: BTreeMap<&'a str, Usual<'a>>,
}

#[derive(Debug)]
struct Usual<'a> {
    tag: &'a str,
    nodes: usize,
    of: usize,
}

impl<'a> Builds<'a> {
    /// By everything that was read.
    pub fn of(evidence: &'a Evidence) -> Self {
        let mut tags: BTreeMap<&str, BTreeMap<&str, usize>> = BTreeMap::new();
        for looked in evidence.nodes.values().flatten() {
            for (program, tag) in programs(&looked.record) {
                *tags.entry(program).or_default().entry(tag).or_default() += 1;
            }
        }
        let usual = tags.into_iter().filter_map(|(program, tags)| {
            let of = tags.values().sum();
            let (tag, nodes) = tags.into_iter().max_by_key(|(_, nodes)| *nodes)?;
            // Of two halves nobody knows which is the older one.
            (nodes * 2 > of).then_some((program, Usual { tag, nodes, of }))
        });
        Self { usual: usual.collect() }
    }

    /// Programs of a node that are not what most nodes run.
    pub fn differences(&self, record: &NodeRecord) -> Vec<Found> {
        let others = programs(record).filter_map(|(program, tag)| {
            let usual = self.usual.get(program).filter(|usual| usual.tag != tag)?;
            let expected = format!("tag {}, as on {} of {} nodes", usual.tag, usual.nodes, usual.of);
            let found = Found::new("verify-bpf-program-other", program, expected, format!("tag {tag}"));
            Some(found.look(format!("bpftool prog show pinned {BPF_PINS}{PROGRAMS}{program}")))
        });
        others.collect()
    }
}

/// A node's pinned programs and their tags. The kernel makes a tag of the instructions, of which maps are no part (`bpf_prog_calc_tag()`,
/// kernel/bpf/core.c).
fn programs(record: &NodeRecord) -> impl Iterator<Item = (&str, &str)> {
    let pins = record.pins.iter().flatten();
    pins.flat_map(|pins| &pins.programs).filter_map(|(path, program)| {
        let program = program.as_ref().ok()?;
        Some((path.strip_prefix(PROGRAMS)?, program.tag.as_str()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::{evidence::Looked, objects::Objects};
    use netcheck_node_state::record::{PinnedProgram, Pins, Space};

    fn evidence(tags: &[&str]) -> Evidence {
        let node = |(number, tag): (usize, &&str)| {
            let program = PinnedProgram {
                id: 7,
                tag: (*tag).to_owned(),
                maps: Vec::new(),
            };
            let pins = Pins {
                programs: BTreeMap::from([("progs/nc_vx_in".to_owned(), Ok(program))]),
                ..Pins::default()
            };
            let record = NodeRecord {
                pins: Some(Ok(pins)),
                ..NodeRecord::of(Space::default())
            };
            let places = BTreeMap::new();
            (format!("n{number}"), Ok(Looked { record, places }))
        };
        Evidence {
            taken: String::new(),
            context: None,
            objects: Objects::default(),
            nodes: tags.iter().enumerate().map(node).collect(),
            observed: None,
        }
    }

    fn told(tags: &[&str]) -> Vec<String> {
        let evidence = evidence(tags);
        let builds = Builds::of(&evidence);
        let each = evidence.nodes.iter().flat_map(|(node, looked)| {
            let found = builds.differences(&looked.as_ref().unwrap().record);
            found.into_iter().map(move |one| format!("{node}: {}", one.actual))
        });
        each.collect()
    }

    #[test]
    fn a_node_that_runs_another_build_is_told() {
        assert_eq!(told(&["aa", "bb", "aa"]), ["n1: tag bb"]);
        assert_eq!(told(&["aa", "aa", "aa"]), [""; 0]);
        assert_eq!(told(&["aa", "bb"]), [""; 0], "either may be the older one");
    }
}
