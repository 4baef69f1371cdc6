//! From evidence to findings.

use super::{
    builds::Builds,
    evidence::Evidence,
    firewall::{self, Scene},
    found::Found,
    generic::{self, Habits, host_ports},
    group::Group,
    multus,
    network::{self, Differences, Network, Unchecked},
    objects::Objects,
    pods,
    ranges::Claims,
    rules, services,
};
use ipnet::IpNet;
use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZero,
    thread,
};

/// What was found on all nodes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Judgement {
    /// Name of the network, if it is known.
    pub network: Option<&'static str>,
    /// By node.
    pub nodes: BTreeMap<String, Differences>,
}

/// Judges all nodes of the evidence.
pub fn judge(evidence: &Evidence) -> Judgement {
    let network = network::of(&evidence.objects);
    let network = network.as_deref();
    let habits = Habits::of(evidence, network);
    let owners = pods::owners(&evidence.objects);
    let has_ranges = network.map_or_else(|| pods::has_ranges(&evidence.objects), Network::uses_node_ranges);
    let claims = if has_ranges {
        Claims::of(&evidence.objects, network)
    } else {
        Claims::default()
    };
    let builds = Builds::of(evidence);
    let of_pods = evidence.objects.pods.iter().flat_map(|pod| &pod.ips).copied().collect();
    let of_node = |node: &String, looked: &Result<_, String>| {
        let mut differences = Differences {
            found: pods::differences(&evidence.objects, &owners, has_ranges, node),
            unchecked: Vec::new(),
        };
        differences.found.extend(claims.differences(&evidence.objects, node));
        match looked {
            Ok(looked) => {
                let scene = Scene::new(&evidence.objects, node, looked);
                differences.append(firewall::differences(&scene, &of_pods));
                differences.append(services::differences(&scene));
                if let Some(network) = network {
                    differences.append(network.differences(&evidence.objects, node, looked));
                }
                if network.is_some_and(Network::is_routed_by_main) {
                    let (own, others) = ranges(&evidence.objects, node);
                    let diversions = rules::diversions(&looked.record.node, &own, &others);
                    differences.found.extend(diversions);
                }
                differences.append(generic::differences(evidence, network, &habits, node, looked));
                differences
                    .found
                    .extend(builds.differences(&evidence.objects, node, &looked.record));
                host_ports::judge(
                    &evidence.objects,
                    &of_pods,
                    node,
                    &looked.record,
                    &mut differences.found,
                );
                differences.append(multus::differences(&evidence.objects, node, looked));
            }
            Err(why) => differences.unchecked.extend(all(why)),
        }
        follow_tables(&mut differences.found);
        (node.clone(), differences)
    };
    Judgement {
        network: network.map(Network::name).or(habits.style),
        nodes: at_once(&evidence.nodes.iter().collect::<Vec<_>>(), |(node, looked)| {
            of_node(node, looked)
        }),
    }
}

/// Does it for each, on all processors: the rulesets of many nodes are most of the work, and no node's depends on another's.
fn at_once<T: Copy + Send + Sync, K: Ord + Send, V: Send>(
    all: &[T],
    of: impl Fn(T) -> (K, V) + Sync,
) -> BTreeMap<K, V> {
    let workers = thread::available_parallelism().map_or(1, NonZero::get);
    let share = all.len().div_ceil(workers).max(1);
    thread::scope(|scope| {
        let of = &of;
        let shares: Vec<_> = all
            .chunks(share)
            .map(|share| scope.spawn(move || share.iter().map(|&one| of(one)).collect::<Vec<_>>()))
            .collect();
        let done = shares.into_iter().flat_map(|share| match share.join() {
            Ok(done) => done,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        done.collect()
    })
}

/// A node's ranges of pods, and those of all others.
fn ranges(objects: &Objects, node: &str) -> (Vec<IpNet>, Vec<IpNet>) {
    let of_nodes = objects.nodes.iter().flat_map(|one| {
        let ranges = one.pod_cidrs.iter().filter_map(|text| text.parse().ok());
        ranges.map(|range| (one.name == node, range))
    });
    let (own, others): (Vec<_>, Vec<_>) = of_nodes.partition(|(is_own, _)| *is_own);
    let without = |all: Vec<(bool, IpNet)>| all.into_iter().map(|(_, range)| range).collect();
    (without(own), without(others))
}

/// Where a table that masquerades is not as it must be, what is masqueraded is not either.
fn follow_tables(found: &mut [Found]) {
    const TABLES: [&str; 2] = ["verify-nft-missing", "verify-nft-wrong"];
    const MASQUERADED: [&str; 2] = ["verify-masquerade-missing", "verify-masquerade-pods"];
    let table = found.iter().position(|one| TABLES.contains(&one.id));
    for one in found.iter_mut().filter(|one| MASQUERADED.contains(&one.id)) {
        one.follows = one.follows.or(table);
    }
}

/// Everything but what the API alone tells.
fn all(why: &str) -> impl Iterator<Item = Unchecked> {
    let groups = Group::ALL.into_iter().filter(|group| *group != Group::Api);
    groups.map(move |group| Unchecked {
        group,
        why: why.to_owned(),
    })
}

impl Judgement {
    /// Whether a second look is due: what is under way looks as if it were wrong.
    pub fn is_suspicious(&self) -> bool {
        self.nodes.values().any(|differences| !differences.found.is_empty())
    }

    /// Keeps what an earlier look has found as well.
    #[must_use]
    pub fn confirming(mut self, earlier: &Self) -> Self {
        for (node, differences) in &mut self.nodes {
            let before = earlier
                .nodes
                .get(node)
                .map(|before| before.found.as_slice())
                .unwrap_or_default();
            let known: BTreeSet<_> = before.iter().map(Found::identity).collect();
            let found = differences.found.iter();
            let is_kept: Vec<bool> = found.map(|one| known.contains(&one.identity())).collect();
            keep(&mut differences.found, &is_kept);
        }
        self
    }

    /// Keeps some checks only.
    #[must_use]
    pub fn only(mut self, ids: &BTreeSet<String>) -> Self {
        if ids.is_empty() {
            return self;
        }
        let groups: BTreeSet<Group> = ids.iter().map(|id| Group::of(id)).collect();
        for differences in self.nodes.values_mut() {
            let is_kept: Vec<bool> = differences.found.iter().map(|one| ids.contains(one.id)).collect();
            keep(&mut differences.found, &is_kept);
            differences
                .unchecked
                .retain(|unchecked| groups.contains(&unchecked.group));
        }
        self
    }
}

/// Removes the others; what followed from one that is gone stands for itself.
fn keep(found: &mut Vec<Found>, is_kept: &[bool]) {
    let mut places = Vec::with_capacity(found.len());
    let mut next = 0;
    for kept in is_kept {
        places.push(kept.then_some(next));
        next += usize::from(*kept);
    }
    let mut kept = is_kept.iter();
    found.retain(|_| *kept.next().unwrap_or(&false));
    for one in found {
        one.follows = one.follows.and_then(|root| places.get(root).copied().flatten());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(object: &str, follows: Option<usize>) -> Found {
        Found {
            follows,
            ..Found::new("verify-route-missing", object, "a", "b")
        }
    }

    fn judgement(found: Vec<Found>) -> Judgement {
        let differences = Differences {
            found,
            unchecked: Vec::new(),
        };
        Judgement {
            network: None,
            nodes: BTreeMap::from([("n1".to_owned(), differences)]),
        }
    }

    #[test]
    fn what_was_under_way_at_the_first_look_is_gone_at_the_second() {
        let first = judgement(vec![found("a", None), found("c", None)]);
        let second = judgement(vec![found("b", None), found("c", Some(0)), found("a", Some(1))]);
        let kept = second.confirming(&first);
        assert_eq!(kept.nodes["n1"].found, [found("c", None), found("a", Some(0))]);
    }

    #[test]
    fn some_checks_alone_can_be_asked_for() {
        let all = judgement(vec![found("a", None)]);
        assert_eq!(all.clone().only(&BTreeSet::new()), all);
        let other = BTreeSet::from(["verify-fdb-missing".to_owned()]);
        assert!(!all.only(&other).is_suspicious());
    }
}
