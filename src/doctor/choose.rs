//! Which nodes get an agent: few, and of as many kinds as there are. The same nodes from run to run.

use super::nodes::Node;
use std::collections::BTreeMap;

/// At most so many of these, by name: first one of each kind (kernel, runtime, system), then the second of each, and so on. Nodes that are not ready
/// come last, since an agent would hardly start there.
pub fn choose(candidates: &[&Node], most: usize) -> Vec<String> {
    let mut kinds: BTreeMap<(&str, &str, &str), Vec<&Node>> = BTreeMap::new();
    let mut sorted = candidates.to_vec();
    sorted.sort_by_key(|node| (node.not_ready.is_some(), &node.name));
    for node in sorted {
        kinds
            .entry((&node.kernel, &node.runtime, &node.image))
            .or_default()
            .push(node);
    }
    let mut ranked: Vec<(usize, &Node)> = kinds
        .values()
        .flat_map(|nodes| nodes.iter().copied().enumerate())
        .collect();
    ranked.sort_by_key(|(rank, node)| (node.not_ready.is_some(), *rank, &node.name));
    let mut chosen: Vec<String> = ranked
        .into_iter()
        .take(most)
        .map(|(_, node)| node.name.clone())
        .collect();
    chosen.sort();
    chosen
}
