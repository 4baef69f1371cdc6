//! Who gets an agent: subjects grouped by what an agent can live on, and those that cannot have one, with the reason. Pure.

use crate::{
    cluster::inventory::{Inventory, Node, Pod, Subject},
    findings::{Absence, Obstacle},
};
use std::collections::{BTreeMap, BTreeSet};

/// An agent to start, and whom it serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Where it lives.
    pub home: Home,
    /// Whom it serves, in the order asked for.
    pub subjects: Vec<Subject>,
}

/// Where an agent lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Home {
    /// On a node.
    Node(String),
    /// In a pod.
    Pod {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
}

impl std::fmt::Display for Home {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Node(name) => write!(f, "node/{name}"),
            Self::Pod { namespace, name } => write!(f, "{namespace}/{name}"),
        }
    }
}

/// The agents of a run, and the subjects without one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Crew {
    /// Agents to start.
    pub members: Vec<Member>,
    /// Who gets none, and why.
    pub absent: BTreeMap<Subject, Absence>,
}

impl Crew {
    /// Takes subjects out again.
    pub fn leave_out(&mut self, subjects: &BTreeSet<Subject>, why: &str) {
        for member in &mut self.members {
            let (out, stay) = member
                .subjects
                .drain(..)
                .partition(|subject| subjects.contains(subject));
            member.subjects = stay;
            let out: Vec<Subject> = out;
            self.absent.extend(out.into_iter().map(|subject| (subject, why.into())));
        }
        self.members.retain(|member| !member.subjects.is_empty());
    }
}

/// One agent per node involved.
pub fn on_nodes(inventory: &Inventory, subjects: &[Subject]) -> Crew {
    let mut crew = Crew::default();
    let mut by_node: BTreeMap<&str, Vec<Subject>> = BTreeMap::new();
    for subject in subjects {
        match node_of(inventory, subject) {
            Ok(node) => by_node.entry(node).or_default().push(subject.clone()),
            Err(why) => {
                crew.absent.insert(subject.clone(), why);
            }
        }
    }
    crew.members = by_node
        .into_iter()
        .map(|(node, subjects)| Member {
            home: Home::Node(node.to_owned()),
            subjects,
        })
        .collect();
    crew
}

/// One agent per pod.
pub fn in_pods(inventory: &Inventory, subjects: &[Subject]) -> Crew {
    let mut crew = Crew::default();
    for subject in subjects {
        match pod_for(inventory, subject) {
            Ok(pod) => crew.members.push(Member {
                home: Home::Pod {
                    namespace: pod.namespace.clone(),
                    name: pod.name.clone(),
                },
                subjects: vec![subject.clone()],
            }),
            Err(why) => {
                crew.absent.insert(subject.clone(), why);
            }
        }
    }
    crew
}

fn node_of<'a>(inventory: &'a Inventory, subject: &Subject) -> Result<&'a str, Absence> {
    let name = match subject {
        Subject::Node(name) => name.as_str(),
        Subject::Pod(uid) => {
            let pod = live_pod(inventory, uid)?;
            pod.node.as_deref().ok_or("the pod is not bound to a node")?
        }
    };
    let node = inventory
        .nodes
        .iter()
        .find(|node| node.name == name)
        .ok_or_else(|| format!("there is no node {name}"))?;
    can_host(node)?;
    Ok(&node.name)
}

/// Whether something of ours can run on a node. One that is not ready may still start an agent, which needs no pod network: only one whose kubelet is silent cannot.
pub fn can_host(node: &Node) -> Result<(), Absence> {
    if node.is_virtual {
        return Err(Obstacle::Unsupported.because(format!("unsupported: {} is a virtual node", node.name)));
    }
    if node.os != "linux" {
        return Err(Obstacle::Unsupported.because(format!("unsupported: {} runs {}", node.name, node.os)));
    }
    match &node.reason {
        Some(reason) if !node.ready && (reason.starts_with("NodeStatus") || reason.contains("stopped posting")) => {
            Err(Obstacle::NodeNotReady.because(format!("node {} is NotReady: {reason}", node.name)))
        }
        _ => Ok(()),
    }
}

fn pod_for<'a>(inventory: &'a Inventory, subject: &Subject) -> Result<&'a Pod, Absence> {
    let Subject::Pod(uid) = subject else {
        return Err("nodes have no ephemeral containers: only --via node looks at them".into());
    };
    let pod = live_pod(inventory, uid)?;
    if let Some(node) = inventory
        .nodes
        .iter()
        .find(|node| Some(&node.name) == pod.node.as_ref())
    {
        can_host(node)?;
    }
    Ok(pod)
}

fn live_pod<'a>(inventory: &'a Inventory, uid: &str) -> Result<&'a Pod, Absence> {
    let pod = inventory
        .pods
        .iter()
        .find(|pod| pod.uid == uid)
        .ok_or("the pod is gone")?;
    if pod.running {
        return Ok(pod);
    }
    Err(format!(
        "the pod does not run: {}",
        pod.reason.as_deref().unwrap_or("not Running")
    )
    .into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inventory() -> Inventory {
        let node = |name: &str, os: &str| Node {
            name: name.into(),
            os: os.into(),
            ready: true,
            ..Node::default()
        };
        let pod = |uid: &str, node: Option<&str>| Pod {
            namespace: "n".into(),
            name: uid.into(),
            uid: uid.into(),
            node: node.map(str::to_owned),
            running: node.is_some(),
            reason: node.is_none().then(|| "Pending: 0/3 nodes are available".to_owned()),
            ..Pod::default()
        };
        let silent = Node {
            ready: false,
            reason: Some("NodeStatusUnknown: Kubelet stopped posting node status.".into()),
            ..node("silent", "linux")
        };
        let without_cni = Node {
            ready: false,
            reason: Some("KubeletNotReady: network plugin is not ready".into()),
            ..node("without-cni", "linux")
        };
        Inventory {
            nodes: vec![
                node("a", "linux"),
                node("b", "linux"),
                node("win", "windows"),
                silent,
                without_cni,
            ],
            pods: vec![
                pod("p1", Some("a")),
                pod("p2", Some("a")),
                pod("p3", Some("b")),
                pod("p4", None),
                pod("p5", Some("win")),
                pod("p6", Some("silent")),
                pod("p7", Some("without-cni")),
            ],
            ..Inventory::default()
        }
    }

    fn pods(uids: &[&str]) -> Vec<Subject> {
        uids.iter().map(|&uid| Subject::Pod(uid.to_owned())).collect()
    }

    #[test]
    fn one_agent_serves_all_of_a_node() {
        let mut subjects = pods(&["p1", "p2", "p3"]);
        subjects.push(Subject::Node("a".into()));
        let crew = on_nodes(&inventory(), &subjects);
        assert_eq!(crew.absent, BTreeMap::new());
        let sizes: Vec<_> = crew
            .members
            .iter()
            .map(|member| (member.home.to_string(), member.subjects.len()))
            .collect();
        assert_eq!(sizes, [("node/a".to_owned(), 3), ("node/b".to_owned(), 1)]);
    }

    #[test]
    fn who_gets_no_agent_is_told_why() {
        let crew = on_nodes(&inventory(), &pods(&["p4", "p5", "p6", "p7", "gone"]));
        let why = |uid: &str| crew.absent.get(&Subject::Pod(uid.into()));
        let of = |obstacle: Obstacle, why: &str| Some(obstacle.because(why));
        assert_eq!(
            why("p4").cloned(),
            of(
                Obstacle::Untested,
                "the pod does not run: Pending: 0/3 nodes are available"
            )
        );
        assert_eq!(
            why("p5").cloned(),
            of(Obstacle::Unsupported, "unsupported: win runs windows")
        );
        assert_eq!(
            why("p6").cloned(),
            of(
                Obstacle::NodeNotReady,
                "node silent is NotReady: NodeStatusUnknown: Kubelet stopped posting node status."
            )
        );
        assert_eq!(why("p7"), None, "an agent needs no pod network");
        assert_eq!(why("gone").cloned(), of(Obstacle::Untested, "the pod is gone"));
    }

    #[test]
    fn who_is_left_out_is_told_why() {
        let mut crew = in_pods(&inventory(), &pods(&["p1", "p2"]));
        crew.leave_out(&pods(&["p2"]).into_iter().collect(), "not asked for");
        assert_eq!(crew.members.len(), 1);
        assert_eq!(crew.absent[&Subject::Pod("p2".into())].why, "not asked for");
    }

    #[test]
    fn nodes_have_no_ephemeral_containers() {
        let subjects = [Subject::Node("a".into()), Subject::Pod("p1".into())];
        let crew = in_pods(&inventory(), &subjects);
        assert_eq!(crew.members.len(), 1);
        assert!(crew.absent[&subjects[0]].why.contains("--via node"));
    }
}
