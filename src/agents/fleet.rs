//! The agents of one run: launched together, asked together, removed together.

use super::{
    LaunchSpec, Via, Way,
    crew::{self, Crew, Member},
    ephemeral::{self, EphemeralSpec},
    gate, image,
    link::{Flow, Link, LinkError},
    manifest::AgentSpec,
    node::{self, NoNodeAgents},
    permissions,
    run::RunId,
    sweep::Agents,
    teardown::Teardown,
};
use crate::{
    cluster::{
        Cluster,
        inventory::{Inventory, Subject},
    },
    exit::Failure,
    findings::{Absence, Obstacle},
    output::{Printer, safe},
};
use futures::future::join_all;
use netcheck_wire::{
    Event, Task,
    probe::{Place, PlaceFacts, Placed, Whereabouts},
};
use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};
use tokio::time::{Instant, timeout};

/// How long an agent may take to say goodbye. Its results are known by then.
const FAREWELL: Duration = Duration::from_secs(10);

/// How the agents were left.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Farewell {
    /// What could not be removed; it names what remains.
    pub failures: Vec<Failure>,
    /// Sessions whose totals were not confirmed in the end, one line each. With any, the run is incomplete.
    pub incomplete: Vec<String>,
    /// Sessions that took more than one stream, one line each. Their results are whole.
    pub resumed: Vec<String>,
}

/// What the ends of the agents' sessions mean: the agent's home, how its session ended, how often it was resumed.
fn notes(ends: &[(String, Result<(), LinkError>, u32)]) -> Farewell {
    let mut farewell = Farewell::default();
    for (home, end, resumed) in ends {
        let home = safe(home);
        if let Err(why) = end {
            farewell.incomplete.push(format!(
                "the session with the agent on {home} has no confirmed end, so results may be missing: {why}"
            ));
        }
        if *resumed > 0 {
            farewell.resumed.push(format!(
                "the stream to the agent on {home} was cut and resumed {resumed} times"
            ));
        }
    }
    farewell
}

/// One agent of a [`Fleet`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AgentIndex(usize);

impl Default for AgentIndex {
    /// The index of no agent.
    fn default() -> Self {
        Self(usize::MAX)
    }
}

/// An agent that answers.
struct Agent {
    link: Link,
    member: Member,
}

/// The agents of one run.
pub struct Fleet {
    way: Way,
    agents: BTreeMap<AgentIndex, Agent>,
    absent: BTreeMap<Subject, Absence>,
    /// Pods and their addresses, to tell agents whom to look for.
    whereabouts: BTreeMap<Subject, Whereabouts>,
    placed: HashMap<Subject, (AgentIndex, u32)>,
    deadline: Instant,
    teardown: Option<Teardown>,
    /// Ephemeral containers that stay.
    residue: usize,
}

impl Fleet {
    /// Starts agents for all subjects. That some have none is not an error but in [`Fleet::absent`].
    ///
    /// # Errors
    /// If there can be no agent at all this way, or the user interrupts; what was created is removed again.
    pub async fn launch(
        cluster: &Cluster,
        inventory: &Inventory,
        spec: &LaunchSpec,
        printer: &Printer,
    ) -> Result<Self, Failure> {
        let image = spec.image.reference(&image::AGENT)?;
        let run = RunId::new()?;
        let deadline = Instant::now() + spec.deadline;
        let why_not_nodes = match spec.via {
            Via::Ephemeral => "asked for with --via ephemeral".to_owned(),
            Via::Auto | Via::Node => match Self::launch_on_nodes(cluster, inventory, spec, &image, &run, printer).await
            {
                Ok(launched) => {
                    let way = Way::Node {
                        namespace: spec.agent_namespace.clone(),
                    };
                    return Ok(Self::new(way, launched, inventory, deadline));
                }
                Err(NoNodeAgents::Failed(failure)) => return Err(failure),
                Err(NoNodeAgents::NotAllowed { why, grantable }) => {
                    let why = format!("node agents are not allowed: {}", safe(&why));
                    if spec.via == Via::Node {
                        return Err(Failure::unknown(why).hint(node_hint(spec.verb, &spec.agent_namespace, grantable)));
                    }
                    why
                }
            },
        };
        if !spec.image.pull_secrets.is_empty() {
            printer.warn(
                "--image-pull-secret has no effect on ephemeral containers: they pull with the secrets of their pod",
            );
        }
        let mut crew = crew::in_pods(inventory, &spec.subjects);
        crew.leave_out(
            &spec.bystanders,
            "it is not among the pods asked for, and an ephemeral container would stay in it",
        );
        let ephemeral = EphemeralSpec {
            run,
            image,
            deadline: spec.deadline,
        };
        let launched = tokio::select! {
            launched = ephemeral::launch(cluster, &ephemeral, &crew.members, printer) => launched,
            () = spec.interrupt.requested() => return Err(interrupted()),
        };
        let residue = launched.added;
        let links = launched
            .started
            .into_iter()
            .map(|(index, started)| (index, started.link))
            .collect();
        let launched = Launched {
            links,
            absent: launched.absent,
            crew,
            teardown: None,
        };
        let fleet = Self::new(Way::Ephemeral { why: why_not_nodes }, launched, inventory, deadline);
        Ok(Self { residue, ..fleet })
    }

    async fn launch_on_nodes(
        cluster: &Cluster,
        inventory: &Inventory,
        spec: &LaunchSpec,
        image: &str,
        run: &RunId,
        printer: &Printer,
    ) -> Result<Launched, NoNodeAgents> {
        let missing = tokio::select! {
            missing = gate::not_allowed(cluster, permissions::Verb::Matrix, permissions::Place::Agents, &spec.agent_namespace) => missing?,
            () = spec.interrupt.requested() => return Err(interrupted().into()),
        };
        if let Some(missing) = missing {
            return Err(NoNodeAgents::not_granted(format!(
                "you may not {missing} in namespace {:?}",
                spec.agent_namespace
            )));
        }
        let crew = crew::on_nodes(inventory, &spec.subjects);
        let agent_spec = AgentSpec {
            run: run.clone(),
            namespace: spec.agent_namespace.clone(),
            image: image.to_owned(),
            pull_secrets: spec.image.pull_secrets.clone(),
            deadline: spec.deadline,
            budget: spec.budget,
        };
        if crew.members.is_empty() {
            return Ok(Launched {
                links: BTreeMap::new(),
                absent: BTreeMap::new(),
                crew,
                teardown: None,
            });
        }
        let teardown = Teardown::begin(cluster, &spec.flags, &agent_spec, printer);
        let outcome = tokio::select! {
            outcome = node::launch(cluster, &agent_spec, &crew.members, printer) => outcome,
            () = spec.interrupt.requested() => Err(interrupted().into()),
        };
        match outcome {
            Ok(node::Launched { links, absent }) => Ok(Launched {
                links,
                absent,
                crew,
                teardown: Some(teardown),
            }),
            Err(error) => {
                for failure in teardown.finish(Agents::MayRun).await {
                    printer.warn(failure.message);
                }
                Err(error)
            }
        }
    }

    fn new(way: Way, launched: Launched, inventory: &Inventory, deadline: Instant) -> Self {
        let Launched {
            mut links,
            absent,
            crew,
            teardown,
        } = launched;
        let mut fleet = Self {
            whereabouts: BTreeMap::new(),
            agents: BTreeMap::new(),
            absent: crew.absent,
            placed: HashMap::new(),
            deadline,
            teardown,
            residue: 0,
            way,
        };
        for (index, member) in crew.members.into_iter().enumerate() {
            if let Some(link) = links.remove(&index) {
                for subject in &member.subjects {
                    let whereabouts = whereabouts(&fleet.way, inventory, subject);
                    fleet.whereabouts.insert(subject.clone(), whereabouts);
                }
                fleet.agents.insert(AgentIndex(index), Agent { link, member });
            } else {
                let why = absent.get(&index).cloned();
                let why = why.unwrap_or_else(|| Obstacle::NotStarted.because("it has no agent"));
                let why = why.reworded(|why| safe(&format!("{}: {why}", member.home)));
                let absent = member.subjects.into_iter().map(|subject| (subject, why.clone()));
                fleet.absent.extend(absent);
            }
        }
        fleet
    }

    /// Which way was taken.
    pub fn way(&self) -> Way {
        self.way.clone()
    }

    /// Subjects without an agent, and why.
    pub fn absent(&self) -> &BTreeMap<Subject, Absence> {
        &self.absent
    }

    /// All agents that answered.
    pub fn agents(&self) -> impl Iterator<Item = AgentIndex> {
        self.agents.keys().copied()
    }

    /// Where an agent lives: `node/NAME` or `NAMESPACE/POD`.
    pub fn home(&self, agent: AgentIndex) -> String {
        self.agents
            .get(&agent)
            .map_or_else(|| "no agent".to_owned(), |agent| agent.member.home.to_string())
    }

    /// Ephemeral containers this run has added, which nobody can remove.
    pub fn residue(&self) -> usize {
        self.residue
    }

    /// Finds every subject's network namespace and gives it a place number. Pods that share one (hostNetwork) share the place.
    pub async fn locate(&mut self) -> BTreeMap<Subject, Result<PlaceFacts, Absence>> {
        let fleet = &*self;
        let asked = fleet.agents.iter().map(|(&index, agent)| {
            let places = agent.member.subjects.iter().zip(1..).filter_map(|(subject, id)| {
                Some(Place {
                    id,
                    whereabouts: fleet.whereabouts.get(subject)?.clone(),
                })
            });
            let task = Task::Locate {
                places: places.collect(),
            };
            async move { (index, fleet.run(index, task).await) }
        });
        let answers = join_all(asked).await;
        let mut located: BTreeMap<Subject, Result<PlaceFacts, Absence>> = self
            .absent
            .iter()
            .map(|(subject, why)| (subject.clone(), Err(why.clone())))
            .collect();
        for (index, answer) in answers {
            let Some(agent) = self.agents.get(&index) else { continue };
            let mut found = answer.map(facts_by_place);
            // The node's own namespace first: its number counts for the hostNetwork pods that share it.
            let mut subjects: Vec<_> = agent.member.subjects.iter().zip(1_u32..).collect();
            subjects.sort_by_key(|(subject, _)| matches!(subject, Subject::Pod(_)));
            let mut by_inode: HashMap<u64, u32> = HashMap::new();
            for (subject, id) in subjects {
                let facts = match &mut found {
                    Ok(found) => match found.remove(&id) {
                        Some(facts) => facts.map_err(Absence::from),
                        None => Err(Obstacle::StreamIncomplete.because("the agent said nothing of it")),
                    },
                    Err(error) => Err(error.clone().into()),
                };
                if let Ok(facts) = &facts {
                    // Only the kernel's number says that two namespaces are one; 0 is no such number.
                    let place = if facts.inode == 0 {
                        id
                    } else {
                        *by_inode.entry(facts.inode).or_insert(id)
                    };
                    self.placed.insert(subject.clone(), (index, place));
                }
                located.insert(
                    subject.clone(),
                    facts.map_err(|absence| absence.reworded(|why| safe(&why))),
                );
            }
        }
        located
    }

    /// The agent that reaches a subject, and the number of the subject's place there. Known after [`Fleet::locate`].
    pub fn place(&self, subject: &Subject) -> Option<(AgentIndex, u32)> {
        self.placed.get(subject).copied()
    }

    /// Runs a task on one agent to its end. A [`Task::Watch`] returns once every place is watched and goes on until [`Fleet::close`].
    ///
    /// # Errors
    /// If the result is not whole, for whatever reason.
    pub async fn run(&self, agent: AgentIndex, task: Task) -> Result<Vec<Event>, LinkError> {
        let Some(agent) = self.agents.get(&agent) else {
            return Err(LinkError::Closed);
        };
        let left = self.deadline.saturating_duration_since(Instant::now());
        timeout(left, agent.link.run(task))
            .await
            .unwrap_or(Err(LinkError::Timeout(left)))
    }

    /// Starts a task that goes on until it is stopped, and whose pieces are taken one by one.
    ///
    /// # Errors
    /// If there is no link to the agent any more.
    pub async fn flow(&self, agent: AgentIndex, task: Task) -> Result<Flow, LinkError> {
        match self.agents.get(&agent) {
            Some(agent) => agent.link.flow(task).await,
            None => Err(LinkError::Closed),
        }
    }

    /// Starts to watch places; returns one [`Event::Watching`] for each.
    ///
    /// # Errors
    /// If the result is not whole, for whatever reason.
    pub async fn watch(&self, agent: AgentIndex, places: Vec<u32>) -> Result<Vec<Event>, LinkError> {
        self.run(agent, Task::Watch { places }).await
    }

    /// Lets all agents go and removes what was created.
    pub async fn close(self, printer: &Printer) -> Farewell {
        let phase = printer.phase("cleaning up");
        let farewells = self.agents.values().map(|agent| async {
            // An agent that did not hear us ends itself.
            let end = timeout(FAREWELL, agent.link.finish())
                .await
                .unwrap_or(Err(LinkError::Timeout(FAREWELL)));
            (agent.member.home.to_string(), end, agent.link.resumed())
        });
        let ends = join_all(farewells).await;
        let have_ended = self.absent.is_empty() && ends.iter().all(|(_, end, _)| end.is_ok());
        let agents = if have_ended { Agents::Ended } else { Agents::MayRun };
        let notes = notes(&ends);
        let failures = match self.teardown {
            Some(teardown) => teardown.finish(agents).await,
            None => Vec::new(),
        };
        drop(phase);
        if self.residue > 0 {
            printer.note(format!(
                "{} ephemeral containers have ended and stay listed in their pods (kubectl netcheck cleanup lists them)",
                self.residue
            ));
        }
        Farewell { failures, ..notes }
    }
}

/// What the first steps of a launch result in, by the members' indexes.
struct Launched {
    links: BTreeMap<usize, Link>,
    absent: BTreeMap<usize, Absence>,
    crew: Crew,
    teardown: Option<Teardown>,
}

/// What opens the first way.
fn node_hint(verb: &str, namespace: &str, grantable: bool) -> String {
    if grantable {
        return format!(
            "kubectl netcheck rbac {verb} --via node --agent-namespace {namespace} prints what an administrator applies once; --via ephemeral needs none of it"
        );
    }
    "--via ephemeral asks for less; --agent-namespace names a namespace whose policies admit them (Pod Security: privileged)".to_owned()
}

fn interrupted() -> Failure {
    Failure::interrupted("interrupted while agents were started")
}

fn whereabouts(way: &Way, inventory: &Inventory, subject: &Subject) -> Whereabouts {
    match (way, subject) {
        // In its own ephemeral container an agent is where it has to be.
        (Way::Ephemeral { .. }, _) | (_, Subject::Node(_)) => Whereabouts::Own,
        (Way::Node { .. }, Subject::Pod(uid)) => {
            let pod = inventory.pods.iter().find(|pod| pod.uid == *uid);
            Whereabouts::Pod {
                uid: uid.clone(),
                ips: pod.map_or_else(Vec::new, |pod| pod.ips.clone()),
            }
        }
    }
}

fn facts_by_place(events: Vec<Event>) -> HashMap<u32, Result<PlaceFacts, String>> {
    let located = events.into_iter().filter_map(|event| match event {
        Event::Located(Placed { place, outcome }) => Some((place, outcome)),
        _ => None,
    });
    located.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_that_are_not_whole_and_streams_that_were_cut_are_told() {
        let lost = Err(LinkError::Incomplete {
            announced: 6,
            arrived: 5,
        });
        let farewell = notes(&[
            ("node/a".to_owned(), Ok(()), 0),
            ("node/b".to_owned(), Ok(()), 2),
            ("node/c".to_owned(), lost, 0),
        ]);
        assert_eq!(
            farewell.resumed,
            ["the stream to the agent on node/b was cut and resumed 2 times"]
        );
        let [incomplete] = farewell.incomplete.as_slice() else {
            panic!("{farewell:?}")
        };
        assert!(
            incomplete.contains("node/c") && incomplete.contains("6 results, 5 arrived"),
            "{incomplete}"
        );
        assert!(farewell.failures.is_empty());
    }
}
