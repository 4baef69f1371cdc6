//! Whether all nodes run the same builds: a network that was upgraded by half does things by two rules.

use super::{evidence::Evidence, found::Found, generic::configuration::PLUGINS, objects::Objects};
use netcheck_cni_intent::names::{BPF_PINS, PLUGIN};
use netcheck_node_state::record::NodeRecord;
use std::collections::BTreeMap;

/// Pins of programs begin so, below the folder of the network's pins.
const PROGRAMS: &str = "progs/";

/// Something of which all alike nodes should have the same build.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Part<'a> {
    /// What is told where it is another one.
    id: &'static str,
    name: &'a str,
    /// The nodes' architecture, where that makes a difference.
    architecture: &'a str,
}

/// What most nodes run.
#[derive(Debug, Default)]
pub struct Builds<'a> {
    /// The build that more than half of the nodes have which have any, on how many, and of how many.
    usual: BTreeMap<Part<'a>, Usual>,
}

#[derive(Debug)]
struct Usual {
    build: String,
    nodes: usize,
    of: usize,
}

impl<'a> Builds<'a> {
    /// By everything that was read.
    pub fn of(evidence: &'a Evidence) -> Self {
        let mut builds: BTreeMap<Part<'_>, BTreeMap<String, usize>> = BTreeMap::new();
        for (node, looked) in &evidence.nodes {
            let looked = looked.iter();
            for (part, build) in looked.flat_map(|looked| parts(&evidence.objects, node, &looked.record)) {
                *builds.entry(part).or_default().entry(build).or_default() += 1;
            }
        }
        let usual = builds.into_iter().filter_map(|(part, builds)| {
            let of = builds.values().sum();
            let (build, nodes) = builds.into_iter().max_by_key(|(_, nodes)| *nodes)?;
            // Of two halves nobody knows which is the older one.
            (nodes * 2 > of).then_some((part, Usual { build, nodes, of }))
        });
        Self { usual: usual.collect() }
    }

    /// What of a node's is not what most nodes have.
    pub fn differences(&self, objects: &Objects, node: &str, record: &NodeRecord) -> Vec<Found> {
        let others = parts(objects, node, record).into_iter().filter_map(|(part, build)| {
            let usual = self.usual.get(&part).filter(|usual| usual.build != build)?;
            let expected = format!("{}, as on {} of {} nodes", usual.build, usual.nodes, usual.of);
            let look = if part.name == PLUGIN {
                format!("ls -l {PLUGINS}/{PLUGIN}")
            } else {
                format!("bpftool prog show pinned {BPF_PINS}{PROGRAMS}{}", part.name)
            };
            Some(Found::new(part.id, part.name, expected, build).look(look))
        });
        others.collect()
    }
}

/// A node's pinned programs and their tags, and the plugin's length. The kernel makes a tag of the instructions, of which maps are no part
/// (`bpf_prog_calc_tag()`, kernel/bpf/core.c).
fn parts<'a>(objects: &'a Objects, node: &str, record: &'a NodeRecord) -> Vec<(Part<'a>, String)> {
    let pins = record.pins.iter().flatten();
    let programs = pins.flat_map(|pins| &pins.programs).filter_map(|(path, program)| {
        let part = Part {
            id: "verify-bpf-program-other",
            name: path.strip_prefix(PROGRAMS)?,
            architecture: "",
        };
        Some((part, format!("tag {}", program.as_ref().ok()?.tag)))
    });
    let folder = record.folders.get(PLUGINS).and_then(|folder| folder.as_ref().ok());
    let plugin = folder.and_then(|folder| folder.get(PLUGIN)).and_then(|file| {
        let part = Part {
            id: "verify-plugin-other",
            name: PLUGIN,
            architecture: objects.architectures.get(node)?,
        };
        // What has no length is told of as missing.
        (file.length > 0 && !file.is_link).then(|| (part, format!("{} bytes", file.length)))
    });
    programs.chain(plugin).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::evidence::Looked;
    use netcheck_node_state::record::{Entry, PinnedProgram, Pins, Space};

    /// Nodes of an architecture, with a tag and a plugin's length each.
    fn evidence(nodes: &[(&str, &str, u64)]) -> Evidence {
        let node = |(number, (_, tag, length)): (usize, &(&str, &str, u64))| {
            let program = PinnedProgram {
                id: 7,
                tag: (*tag).to_owned(),
                maps: Vec::new(),
            };
            let pins = Pins {
                programs: BTreeMap::from([("progs/nc_vx_in".to_owned(), Ok(program))]),
                ..Pins::default()
            };
            let plugin = Entry {
                length: *length,
                mode: 0o755,
                age_seconds: 99,
                is_link: false,
                text: None,
            };
            let folder = BTreeMap::from([(PLUGIN.to_owned(), plugin)]);
            let record = NodeRecord {
                pins: Some(Ok(pins)),
                folders: BTreeMap::from([(PLUGINS.to_owned(), Ok(folder))]),
                ..NodeRecord::of(Space::default())
            };
            let places = BTreeMap::new();
            (format!("n{number}"), Ok(Looked { record, places }))
        };
        let architectures = nodes.iter().enumerate();
        let architectures =
            architectures.map(|(number, (architecture, ..))| (format!("n{number}"), (*architecture).to_owned()));
        Evidence {
            taken: String::new(),
            context: None,
            objects: Objects {
                architectures: architectures.collect(),
                ..Objects::default()
            },
            nodes: nodes.iter().enumerate().map(node).collect(),
            observed: None,
        }
    }

    fn told(nodes: &[(&str, &str, u64)]) -> Vec<String> {
        let evidence = evidence(nodes);
        let builds = Builds::of(&evidence);
        let each = evidence.nodes.iter().flat_map(|(node, looked)| {
            let found = builds.differences(&evidence.objects, node, &looked.as_ref().unwrap().record);
            found.into_iter().map(move |one| format!("{node}: {}", one.actual))
        });
        each.collect()
    }

    #[test]
    fn a_node_that_runs_another_build_is_told() {
        let amd = |tag, length| ("amd64", tag, length);
        assert_eq!(told(&[amd("aa", 5), amd("bb", 5), amd("aa", 5)]), ["n1: tag bb"]);
        assert_eq!(told(&[amd("aa", 5), amd("aa", 5), amd("aa", 6)]), ["n2: 6 bytes"]);
        assert_eq!(told(&[amd("aa", 5), amd("aa", 5), ("arm64", "aa", 6)]), [""; 0]);
        assert_eq!(
            told(&[amd("aa", 5), amd("bb", 6)]),
            [""; 0],
            "either may be the older one"
        );
    }
}
