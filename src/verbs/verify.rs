//! `verify`: the kernel against the API, on every node.

use super::Shared;
use crate::{
    agents::{self, AgentFlags, AgentIndex, Farewell, Fleet, LaunchSpec, Via},
    cluster::{
        Cluster,
        inventory::{Inventory, Subject},
    },
    exit::{Exit, Failure},
    output::{Format, file, junit as xml, safe},
    report::{Conclusion, Metadata},
    verify::{
        archive,
        evidence::Evidence,
        generic,
        judge::{Judgement, judge},
        junit,
        observed::{report::ObservedReport, with_observed},
        report::{Fix, Spec, VerifyReport},
        text,
    },
};
pub use args::VerifyArgs;
pub use intent::VerifyPlan;
use look::Look;
pub(super) use read::labelled;
use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

mod args;
mod fix;
mod intent;
pub(super) mod look;
pub(super) mod observe;
mod read;
mod services;

/// Nodes without `--max-nodes` and `--yes`.
const MAX_NODES: usize = 20;
/// What a run may take: agents' start (image pulls), two looks, removal.
const DEADLINE: Duration = Duration::from_mins(10);
/// Between two looks where the first one found something: an ADD, a pass of a daemon and a leaving pod are over by then.
const SETTLING: Duration = Duration::from_secs(3);

/// Runs the verb.
pub async fn run(args: VerifyArgs, shared: Shared) -> Result<Exit, Failure> {
    if let Some(path) = &args.junit {
        xml::check(path)?;
    }
    if let Some(path) = &args.save {
        file::check(path).map_err(|why| Failure::usage(format!("--save {}: {why}", path.display())))?;
    }
    let outcome = Box::pin(verify(&args, &shared)).await;
    let outcome = outcome.map_err(|failure| failure.of_verb("verify"));
    let (ended, text) = match &outcome {
        Ok(None) => return Ok(Exit::Held),
        Ok(Some((report, farewell))) => (
            show(report, &shared).map(|()| exit(report.status.conclusion, farewell)),
            junit::of_report(report, &farewell.failures),
        ),
        // CI reads the file even if there is nothing else to read.
        Err(failure) => (Err(failure.clone()), xml::of_failure(junit::NAME, failure)),
    };
    xml::conclude(args.junit.as_deref(), ended, text, &shared.printer)
}

fn show(report: &VerifyReport, shared: &Shared) -> Result<(), Failure> {
    let printer = Some(&shared.printer);
    shared.print(report, |format| match format {
        Format::Wide => text::wide(report, printer),
        Format::Name => text::names(report),
        _ => text::table(report, printer),
    })
}

/// How a run ends: what it left incomplete is not known to hold.
pub(super) fn exit(conclusion: Conclusion, farewell: &Farewell) -> Exit {
    let exit = match conclusion {
        Conclusion::Held => Exit::Held,
        Conclusion::Failed => Exit::Failed,
        Conclusion::Inconclusive => Exit::Unknown,
        Conclusion::Interrupted => Exit::Interrupted,
    };
    let is_whole = farewell.failures.is_empty() && farewell.incomplete.is_empty();
    if exit == Exit::Held && !is_whole {
        Exit::Unknown
    } else {
        exit
    }
}

/// The report, and how the agents were left; `None` for `--dry-run`, which makes none.
async fn verify(args: &VerifyArgs, shared: &Shared) -> Result<Option<(VerifyReport, Farewell)>, Failure> {
    let started = Instant::now();
    let checks: BTreeSet<String> = args.check.iter().cloned().collect();
    if let Some(path) = &args.from {
        if shared.flags.selector.is_some() {
            return Err(Failure::usage("--from has no labels for -l to choose by").hint("name nodes instead"));
        }
        let mut evidence = archive::load(path)?;
        let nodes = names(&args.nodes)?;
        check_names(&nodes, evidence.nodes.keys())?;
        if !nodes.is_empty() {
            evidence.nodes.retain(|node, _| nodes.contains(node));
            if let Some(interval) = &mut evidence.observed {
                interval.nodes.retain(|node, _| nodes.contains(node));
            }
        }
        let judgement = with_observed(judge(&evidence), &evidence).only(&checks);
        let mut report = report(args, &nodes, &evidence, &judgement);
        report.spec.from = Some(path.display().to_string());
        report.status.timing.total_ms = milliseconds(started.elapsed());
        return Ok(Some((report, Farewell::default())));
    }
    if args.agents.via == Via::Ephemeral {
        return Err(
            Failure::usage("verify reads nodes, and --via ephemeral has agents in pods only")
                .hint("leave out --via, or judge what somebody else has read: kubectl netcheck verify --from FILE"),
        );
    }
    let request = tokio::select! {
        request = Request::prepare(args, shared) => request?,
        () = shared.interrupt.requested() => return Err(interrupted()),
    };
    if args.fix && request.read.objects.bundled.is_none() {
        return Err(
            Failure::usage("--fix asks netcheck-cni's daemons, and this cluster has another pod network")
                .hint("without --fix, each finding says what mends it"),
        );
    }
    let launch = request.launch_spec(&args.agents, args.observe.unwrap_or_default(), shared);
    if shared.flags.dry_run {
        return intent::describe(&request, &launch, args.observe, shared).map(|()| None);
    }
    let mut fleet = Fleet::launch(&request.cluster, &request.inventory, &launch, &shared.printer).await?;
    let way = fleet.way().to_string();
    let agents = started.elapsed();
    let looked = Box::pin(request.look(&mut fleet, args, shared)).await;
    let farewell = fleet.close(&shared.printer).await;
    for failure in &farewell.failures {
        shared.printer.failure(failure);
    }
    let (Look { evidence, judgement }, fix) = looked?;
    if let Some(path) = &args.save {
        archive::save(path, &evidence)?;
        shared.printer.note(format!("what was read is in {}", path.display()));
    }
    let mut report = report(args, &request.nodes, &evidence, &judgement.only(&checks));
    report.status.way = way;
    report.status.fix = fix;
    report
        .status
        .notes
        .extend(farewell.resumed.iter().chain(&farewell.incomplete).cloned());
    report.status.timing.agents_ms = milliseconds(agents);
    report.status.timing.total_ms = milliseconds(started.elapsed());
    report.status.timing.verify_ms = report
        .status
        .timing
        .total_ms
        .saturating_sub(report.status.timing.agents_ms);
    Ok(Some((report, farewell)))
}

pub(super) fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn interrupted() -> Failure {
    Failure::interrupted("interrupted before anything was checked")
}

fn report(args: &VerifyArgs, nodes: &BTreeSet<String>, evidence: &Evidence, judgement: &Judgement) -> VerifyReport {
    let metadata = Metadata {
        creation_timestamp: jiff::Timestamp::now().to_string(),
        context: evidence.context.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let spec = Spec {
        nodes: nodes.iter().cloned().collect(),
        checks: args.check.clone(),
        from: None,
    };
    let observed = ObservedReport::new(evidence);
    VerifyReport::new(metadata, spec, evidence.taken.clone(), judgement, observed)
}

/// Names of nodes, as `NAME`, `node/NAME`, or as kubectl's other words for the kind.
pub(super) fn names(words: &[String]) -> Result<BTreeSet<String>, Failure> {
    words
        .iter()
        .map(|word| match word.split_once('/') {
            None => Ok(word.clone()),
            Some(("node" | "nodes" | "no", name)) if !name.is_empty() => Ok(name.to_owned()),
            Some(_) => Err(Failure::usage(format!("{:?} is no node", safe(word)))
                .hint("name nodes as kubectl get nodes lists them, or node/NAME")),
        })
        .collect()
}

pub(super) fn check_names<'a>(
    wanted: &BTreeSet<String>,
    there: impl Iterator<Item = &'a String>,
) -> Result<(), Failure> {
    let there: BTreeSet<&String> = there.collect();
    match wanted.iter().find(|name| !there.contains(name)) {
        None => Ok(()),
        Some(name) => Err(Failure::usage(format!("node {:?} not found", safe(name)))
            .hint("kubectl get nodes lists those that are there")),
    }
}

/// What is wrong on some nodes, for other verbs.
///
/// # Errors
/// If the API may not be read as `verify` does, or no agent may be on a node, or on an interrupt.
pub async fn of_nodes(
    cluster: &Cluster,
    agents: &AgentFlags,
    nodes: BTreeSet<String>,
    shared: &Shared,
) -> Result<Judgement, Failure> {
    let look = async {
        let request = Request::of(cluster, nodes).await?;
        let launch = request.launch_spec(agents, Duration::ZERO, shared);
        let mut fleet = Fleet::launch(cluster, &request.inventory, &launch, &shared.printer).await?;
        let look = tokio::select! {
            look = request.look_twice(&mut fleet) => look,
            () = shared.interrupt.requested() => Err(interrupted()),
        };
        for failure in &fleet.close(&shared.printer).await.failures {
            shared.printer.failure(failure);
        }
        Ok(look?.judgement)
    };
    Box::pin(look).await
}

/// What is to be done, with all that is known before an agent runs.
pub(super) struct Request {
    pub(super) cluster: Cluster,
    pub(super) inventory: Inventory,
    pub(super) read: read::Read,
    /// Those that were asked for; empty: all.
    nodes: BTreeSet<String>,
    /// Those that are looked at.
    pub(super) chosen: Vec<String>,
}

impl Request {
    /// About these nodes, as far as they are there.
    pub(super) async fn of(cluster: &Cluster, nodes: BTreeSet<String>) -> Result<Self, Failure> {
        let read = read::read(cluster).await?;
        let names = read.objects.nodes.iter().map(|node| node.name.clone());
        let chosen = names.filter(|name| nodes.contains(name)).collect();
        Ok(Self {
            cluster: cluster.clone(),
            inventory: read.inventory(),
            read,
            nodes,
            chosen,
        })
    }

    async fn prepare(args: &VerifyArgs, shared: &Shared) -> Result<Self, Failure> {
        let nodes = names(&args.nodes)?;
        let cluster = Cluster::connect(&shared.flags).await?;
        let phase = shared.printer.phase("reading the cluster");
        let read = read::read(&cluster).await?;
        let labelled = labelled(&cluster, shared.flags.selector.as_deref()).await?;
        check_names(&nodes, read.objects.nodes.iter().map(|node| &node.name))?;
        let is_chosen = |name: &String| {
            (nodes.is_empty() || nodes.contains(name))
                && labelled.as_ref().is_none_or(|labelled| labelled.contains(name))
        };
        let chosen: Vec<String> = read
            .objects
            .nodes
            .iter()
            .map(|node| node.name.clone())
            .filter(is_chosen)
            .collect();
        if chosen.is_empty() {
            return Err(Failure::unknown("there is no node to check").hint("choose other nodes, or another selector"));
        }
        let most = args
            .max_nodes
            .unwrap_or(if shared.flags.yes { usize::MAX } else { MAX_NODES });
        if chosen.len() > most {
            return Err(Failure::usage(format!(
                "{} nodes are to be checked, more than the limit of {most}",
                chosen.len()
            ))
            .hint(format!(
                "name some, choose by -l, or allow it with --max-nodes {} or --yes",
                chosen.len()
            )));
        }
        phase.finish(format!(
            "{} nodes, {} pods",
            read.objects.nodes.len(),
            read.objects.pods.len()
        ));
        Ok(Self {
            inventory: read.inventory(),
            cluster,
            read,
            nodes,
            chosen,
        })
    }

    pub(super) fn launch_spec(&self, agents: &AgentFlags, observe: Duration, shared: &Shared) -> LaunchSpec {
        let nodes = self.chosen.iter().map(|node| Subject::Node(node.clone()));
        let pods = self
            .chosen
            .iter()
            .flat_map(|node| self.read.objects.wired_on(node))
            .map(|pod| Subject::Pod(pod.uid.clone()));
        let spec = agents.launch_spec(
            nodes.chain(pods).collect(),
            DEADLINE + observe,
            &shared.flags,
            &shared.interrupt,
        );
        LaunchSpec {
            verb: "verify",
            // The other way in would leave containers in pods and see no node.
            via: Via::Node,
            budget: agents::Budget::RECORDING,
            ..spec
        }
    }

    /// Looks, with `--fix` has put right what was found and looks again, and with `--observe` observes what is there then.
    async fn look(
        &self,
        fleet: &mut Fleet,
        args: &VerifyArgs,
        shared: &Shared,
    ) -> Result<(Look, Option<Fix>), Failure> {
        let (mut look, fix) = self.look_and_fix(fleet, args, shared).await?;
        if let Some(interval) = args.observe {
            let phase = shared.printer.phase("observing nodes");
            let observed = async {
                let policed = observe::policed(&self.cluster).await?;
                let objects = &look.evidence.objects;
                let mut observed = observe::observe(fleet, objects, &self.chosen, interval, &policed).await;
                // A pod that ended meanwhile has lost nothing.
                if observed.has_losses() {
                    observed.without_ended(&read::read(&self.cluster).await?.objects);
                }
                Ok::<_, Failure>(observed)
            };
            let observed = tokio::select! {
                observed = observed => observed?,
                () = shared.interrupt.requested() => return Err(interrupted()),
            };
            let told = observed.nodes.values().filter(|node| node.is_ok()).count();
            phase.finish(format!("{told} of {} observed", observed.nodes.len()));
            look.evidence.observed = Some(observed);
            look.judgement = with_observed(look.judgement, &look.evidence);
        }
        Ok((look, fix))
    }

    async fn look_and_fix(
        &self,
        fleet: &mut Fleet,
        args: &VerifyArgs,
        shared: &Shared,
    ) -> Result<(Look, Option<Fix>), Failure> {
        let phase = shared.printer.phase("reading nodes");
        let look = tokio::select! {
            look = self.look_twice(fleet) => look?,
            () = shared.interrupt.requested() => return Err(interrupted()),
        };
        let read = look.evidence.nodes.values().filter(|looked| looked.is_ok()).count();
        phase.finish(format!("{read} of {} read", look.evidence.nodes.len()));
        let has_findings = look.judgement.nodes.values().any(|node| !node.found.is_empty());
        if !args.fix || !has_findings {
            return Ok((look, None));
        }
        tokio::select! {
            fixed = fix::fix(self, fleet, &look.judgement, &shared.printer) => fixed.map(|(look, fix)| (look, Some(fix))),
            () = shared.interrupt.requested() => Err(interrupted()),
        }
    }

    /// Looks once, and where something seems wrong once more: what is under way is told from what stays.
    pub(super) async fn look_twice(&self, fleet: &mut Fleet) -> Result<Look, Failure> {
        let read = read::read(&self.cluster).await?;
        let order = generic::order(&read.objects);
        let evidence = look::look(fleet, &read, &self.chosen, &order).await;
        let judgement = judge(&evidence);
        if !judgement.is_suspicious() {
            return Ok(Look { evidence, judgement });
        }
        tokio::time::sleep(SETTLING).await;
        let read = read::read(&self.cluster).await?;
        let evidence = look::look(fleet, &read, &self.chosen, &order).await;
        let judgement = judge(&evidence).confirming(&judgement);
        Ok(Look { evidence, judgement })
    }

    /// Agents that a node has, by the node's name.
    fn agent_of(fleet: &Fleet, node: &str) -> Option<AgentIndex> {
        fleet.place(&Subject::Node(node.to_owned())).map(|(agent, _)| agent)
    }
}
