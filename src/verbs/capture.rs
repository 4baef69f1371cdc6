//! `capture`: what is on the wire, from any pod, with nothing lost unseen.

use super::{
    API_VERSION, Shared,
    targets::{Targets, Wanted},
};
use crate::{
    agents::{self, AgentIndex, Budget, Farewell, Fleet, LaunchSpec, Via},
    capture::{
        account::Account,
        command, found,
        limits::{Limits, size_words},
        names::Names,
        sink::{PacketFormat, SinkError, file::About},
        source::Source,
        writer::Enough,
    },
    cluster::{
        Cluster,
        inventory::{Inventory, Subject},
        list::{self, Namespaces},
    },
    exit::{Exit, Failure},
    flags::duration,
    output::{document, safe},
};
pub use args::CaptureArgs;
use netcheck_filter::Filter;
use netcheck_wire::capture::PayloadRule;
use output::Destination;
use program::Programs;
pub use report::{CapturePlan, CaptureReport};
use report::{KIND, SourceStatus, Spec, Status};
use session::{Ended, Session};
use std::{collections::BTreeSet, sync::Arc, time::Duration};

mod args;
mod board;
mod forward;
mod keeper;
mod output;
mod program;
mod report;
mod roster;
mod session;
mod setup;

/// Nodes without `--max-nodes` and `--yes`.
const MAX_NODES: usize = 20;
/// What a run may take besides its capture: agents' start (image pulls), draining, removal.
const OVERHEAD: Duration = Duration::from_mins(5);
/// How long agents live where the user set no limit.
const UNLIMITED: Duration = Duration::from_hours(24);
/// Memory for rings on one node, shared by its sources …
const RINGS_PER_NODE: u64 = 64 << 20;
/// … and the bounds of one ring.
const RING: std::ops::RangeInclusive<u64> = (1 << 20)..=(16 << 20);

/// Runs the verb.
pub async fn run(args: CaptureArgs, shared: Shared) -> Result<Exit, Failure> {
    let destination = Destination::choose(&args, shared.flags.output.format)?;
    let filter = program::parse(&args.expression())?;
    let request = tokio::select! {
        request = Request::prepare(args, &filter, destination, &shared) => request?,
        () = shared.interrupt.requested() => return Err(interrupted()),
    };
    let launch = request.launch_spec(&shared);
    if shared.flags.dry_run {
        return request.describe(&launch, &shared);
    }
    let launched = Fleet::launch(&request.cluster, &request.inventory, &launch, &shared.printer).await;
    let mut fleet = launched.map_err(|failure| request.explain(failure))?;
    let way = fleet.way().to_string();
    let captured = session::carry_out(&request, &mut fleet, &shared).await;
    let farewell = fleet.close(&shared.printer).await;
    for failure in &farewell.failures {
        shared.printer.failure(failure);
    }
    let captured = captured?;
    let report = request.report(&captured, way, &farewell);
    request.show(&report, &captured, &shared)?;
    if captured.sources.is_empty() && captured.ended != Ended::Interrupted {
        return Err(request.nothing_came(&captured));
    }
    Ok(request.exit(&report, &captured, &farewell))
}

fn interrupted() -> Failure {
    Failure::interrupted("interrupted before anything was captured")
}

/// What is to be done, with all that is known before an agent runs.
pub struct Request {
    args: CaptureArgs,
    cluster: Cluster,
    inventory: Inventory,
    sources: Vec<Source>,
    names: Arc<Names>,
    programs: Programs,
    destination: Destination,
    limits: Limits,
    /// Where pods are looked for.
    namespaces: Namespaces,
    /// Pods that may come later, if they shall be captured.
    awaited: Option<Wanted>,
    /// Nodes to which they may come.
    candidates: Vec<Source>,
}

impl Request {
    async fn prepare(
        args: CaptureArgs,
        filter: &Filter,
        destination: Destination,
        shared: &Shared,
    ) -> Result<Self, Failure> {
        let flags = &shared.flags;
        if args.targets.is_empty() && flags.selector.is_none() && !flags.all_namespaces {
            return Err(
                Failure::usage("say what to capture: a pod, deploy/NAME, svc/NAME, node/NAME, or -l SELECTOR")
                    .hint("kubectl netcheck capture --help has examples"),
            );
        }
        if args.awaits() && args.agents.via == Via::Ephemeral {
            return Err(Failure::usage(
                "--wait and --follow need an agent on every node, and --via ephemeral has one in each pod that is there already",
            )
            .hint("leave out --via ephemeral, or --wait and --follow"));
        }
        let cluster = Cluster::connect(flags).await?;
        let phase = shared.printer.phase("reading the cluster");
        let targets = if args.wait {
            Targets::to_come(&cluster, flags, &args.targets).await?
        } else {
            Targets::resolve(&cluster, flags, &args.targets, &[]).await?
        };
        let wanted = if args.awaits() {
            Some(targets.wanted(&cluster).await?).filter(Wanted::is_of_pods)
        } else {
            None
        };
        let (inventory, labelled) =
            tokio::try_join!(list::inventory(&cluster, &targets.scope), targets.labelled(&cluster))?;
        let chosen = if args.wait {
            targets.present(&inventory, labelled.as_ref())?
        } else {
            targets.sources(&inventory, labelled.as_ref())?
        };
        let subjects: Vec<Subject> = match chosen {
            // Nodes first: a pod of a node's own network is the node then.
            Some(chosen) => chosen
                .nodes
                .into_iter()
                .map(Subject::Node)
                .chain(chosen.pods.into_iter().map(Subject::Pod))
                .collect(),
            None => inventory.pods.iter().map(|pod| Subject::Pod(pod.uid.clone())).collect(),
        };
        let sources = match &wanted {
            None => sources(&inventory, &subjects, &args.targets)?,
            Some(_) => running(&inventory, &subjects),
        };
        let candidates = wanted.as_ref().map_or_else(Vec::new, |_| candidates(&inventory));
        phase.finish(format!("{} to capture", counted(sources.len(), "source")));
        let names = Arc::new(Names::new(&inventory, &cluster.namespace));
        // A pod on the host's network may come to any node.
        let all: Vec<Source> = sources.iter().chain(&candidates).cloned().collect();
        let mut programs = Programs::compile(filter, &args, &names, &inventory, &all)?;
        if !sources.iter().any(|source| source.is_node_network) {
            programs.left_out = None;
        }
        let limits = Limits {
            duration: args.duration,
            count: args.count,
            bytes: args.max_bytes,
        };
        let request = Self {
            args,
            cluster,
            inventory,
            sources,
            names,
            programs,
            destination,
            limits,
            namespaces: targets.scope.namespaces.clone(),
            awaited: wanted,
            candidates,
        };
        request.check(shared)?;
        Ok(request)
    }

    fn check(&self, shared: &Shared) -> Result<(), Failure> {
        let nodes = self.nodes();
        let most = self
            .args
            .max_nodes
            .unwrap_or(if shared.flags.yes { usize::MAX } else { MAX_NODES });
        if nodes.len() > most {
            let failure = if self.awaited.is_some() {
                format!(
                    "pods may come to any of {} nodes, and --wait and --follow start an agent on each: more than the limit of {most}",
                    nodes.len()
                )
            } else {
                format!(
                    "the sources are on {} nodes, more than the limit of {most}",
                    nodes.len()
                )
            };
            return Err(Failure::usage(failure).hint(format!(
                "name fewer, or allow it with --max-nodes {} or --yes",
                nodes.len()
            )));
        }
        let is_classic = matches!(self.destination, Destination::File(_, PacketFormat::Pcap));
        if is_classic && (self.awaited.is_some() || self.sources.len() > 1 || self.args.interface.len() != 1) {
            return Err(Failure::usage(format!(
                "{} would be a classic pcap file, which holds one interface only",
                self.destination.words()
            ))
            .hint("name one target and one interface (-i eth0), or let the file's name end in .pcapng"));
        }
        Ok(())
    }

    fn nodes(&self) -> BTreeSet<&str> {
        let sources = self.sources.iter().chain(&self.candidates);
        sources.filter_map(|source| source.node.as_deref()).collect()
    }

    /// Why there are no node agents is not to be answered with the other way in where that is none.
    fn explain(&self, failure: Failure) -> Failure {
        if self.awaited.is_none() || failure.exit != Exit::Unknown {
            return failure;
        }
        Failure {
            message: format!("{}; --wait and --follow need an agent on every node", failure.message),
            hint: Some(format!(
                "kubectl netcheck rbac capture --via node --agent-namespace {} prints what an administrator applies once; without --wait and --follow, --via ephemeral captures what is there",
                self.args.agents.agent_namespace
            )),
            ..failure
        }
    }

    /// Memory of each ring on the node that has the most of them.
    fn ring_bytes(&self) -> u64 {
        let rings = self.rings_on_one_node() as u64;
        (RINGS_PER_NODE / rings.max(1)).clamp(*RING.start(), *RING.end())
    }

    fn rings_on_one_node(&self) -> usize {
        let on = |node: &str| {
            let here = self
                .sources
                .iter()
                .filter(|source| source.node.as_deref() == Some(node));
            here.count() * self.args.interface.len().max(1)
        };
        self.nodes().into_iter().map(on).max().unwrap_or(1)
    }

    fn launch_spec(&self, shared: &Shared) -> LaunchSpec {
        let sources = self.sources.iter().chain(&self.candidates);
        let subjects: BTreeSet<Subject> = sources.map(|source| source.subject.clone()).collect();
        let duration = if self.limits.duration.is_zero() {
            UNLIMITED
        } else {
            self.limits.duration
        };
        let spec = self.args.agents.launch_spec(
            subjects.into_iter().collect(),
            OVERHEAD.saturating_add(duration),
            &shared.flags,
            &shared.interrupt,
        );
        let (to_come, via) = match self.awaited {
            Some(_) => (RINGS_PER_NODE, Via::Node),
            None => (0, spec.via),
        };
        LaunchSpec {
            verb: "capture",
            budget: Budget::capturing(self.ring_bytes() * self.rings_on_one_node() as u64 + to_come),
            via,
            ..spec
        }
    }

    /// `--dry-run`.
    fn describe(&self, launch: &LaunchSpec, shared: &Shared) -> Result<Exit, Failure> {
        let (objects, absent) = agents::describe(launch, &self.inventory)?;
        let plan = CapturePlan {
            api_version: API_VERSION.to_owned(),
            kind: report::PLAN.to_owned(),
            objects,
            without_agent: absent
                .iter()
                .filter_map(|(subject, why)| {
                    let source = self.sources.iter().find(|source| source.subject == *subject)?;
                    Some(safe(&format!("{}: {why}", source.title)))
                })
                .collect(),
            spec: self.spec(),
            limits: self.limits.describe(),
        };
        let text = document(shared.flags.output.format, &plan)?;
        shared.printer.data(&text.unwrap_or_else(|| plan.text()))?;
        Ok(Exit::Held)
    }

    fn spec(&self) -> Spec {
        Spec {
            sources: self.sources.iter().map(|source| safe(&source.title)).collect(),
            filter: safe(&self.args.expression()),
            output: safe(&self.destination.words()),
            snap_length: self.args.snaplen,
        }
    }

    fn about(&self, clocks: &[String]) -> About {
        let mut comments = vec![
            command::shown(std::env::args().skip(1)),
            format!(
                "cluster {}, context {}",
                self.cluster.server,
                self.cluster.context.as_deref().unwrap_or("none")
            ),
        ];
        comments.extend(clocks.iter().cloned());
        About {
            comments,
            filter: self.args.expression(),
            snap_length: self.args.snaplen,
            names: Arc::clone(&self.names),
        }
    }

    fn payload(&self) -> PayloadRule {
        match (self.args.headers_only, self.args.redact) {
            (true, _) => PayloadRule::Cut,
            (_, true) => PayloadRule::Zero,
            _ => PayloadRule::Keep,
        }
    }

    fn report(&self, captured: &Session, way: String, farewell: &Farewell) -> CaptureReport {
        let sources: Vec<SourceStatus> = captured
            .sources
            .iter()
            .zip(&captured.outcome.accounts)
            .zip(&captured.outcome.remarks)
            .enumerate()
            .map(|(number, ((source, account), remarks))| SourceStatus {
                name: safe(&source.title),
                node: source.node.as_deref().map(safe),
                not_captured: None,
                joined: captured.joined.get(&number).cloned(),
                remarks: remarks.iter().map(|remark| safe(remark)).collect(),
                account: account.clone(),
            })
            .chain(captured.absent.iter().map(|(source, why)| SourceStatus {
                name: safe(&source.title),
                node: source.node.as_deref().map(safe),
                not_captured: Some(safe(why)),
                account: Account::default(),
                ..SourceStatus::default()
            }))
            .collect();
        let findings = found::findings(sources.iter().map(|source| {
            let told = source.not_captured.as_deref().map_or(Ok(&source.account), Err);
            (source.name.as_str(), told)
        }));
        let mut notes = captured.notes.clone();
        notes.extend(farewell.incomplete.iter().chain(&farewell.resumed).cloned());
        let total = Account::total(&captured.outcome.accounts);
        let complete = captured.absent.is_empty()
            && total.unsettled.is_none()
            && farewell.incomplete.is_empty()
            && !matches!(captured.outcome.failure, Some(SinkError::Write(_)));
        CaptureReport {
            api_version: API_VERSION.to_owned(),
            kind: KIND.to_owned(),
            spec: self.spec(),
            status: Status {
                complete,
                ended_by: captured.ended.words(),
                milliseconds: u64::try_from(captured.took.as_millis()).unwrap_or(u64::MAX),
                way,
                total,
                findings,
                sources,
                out_of_order: captured.outcome.out_of_order,
                notes,
            },
        }
    }

    /// For people on stderr, since stdout may hold packets; for scripts on stdout where that is free.
    fn show(&self, report: &CaptureReport, captured: &Session, shared: &Shared) -> Result<(), Failure> {
        let printer = &shared.printer;
        let Status { total, .. } = &report.status;
        if let Some(table) = report.table() {
            printer.note(table.render().trim_end());
        }
        for note in &report.status.notes {
            printer.note(note);
        }
        printer.note(format!(
            "captured {} ({}) of {} in {}: {}; {}",
            counted(total.written as usize, "packet"),
            size_words(total.written_bytes),
            counted(captured.sources.len(), "source"),
            duration::words(captured.took),
            safe(&self.destination.words()),
            captured.ended.words(),
        ));
        if total.lost() > 0 {
            printer.warn(format!(
                "{} of {} packets that passed the filter are lost: {}",
                total.lost(),
                total.accepted,
                total.losses().join(", ")
            ));
            let page = report.status.findings.iter().find(|finding| finding.fix.is_some());
            if let Some((finding, fix)) = page.and_then(|finding| Some((finding, finding.fix.as_ref()?))) {
                printer.hint(&format!("{fix} (kubectl netcheck explain {})", finding.id));
            }
        }
        match &captured.outcome.failure {
            Some(SinkError::Write(why)) => printer.failure(
                &Failure::unknown(why.clone()).hint("what is there is whole up to that point and can be read"),
            ),
            Some(SinkError::ReaderLeft) | None => {}
        }
        if !report.status.complete {
            let why = total
                .unsettled
                .as_deref()
                .unwrap_or("not every source was captured to its end");
            printer.warn(format!("the capture is incomplete: {}", safe(why)));
        }
        if self.destination.leaves_stdout()
            && let Some(text) = document(shared.flags.output.format, report)?
        {
            printer.data(&text)?;
        }
        Ok(())
    }

    /// `--wait` in vain.
    fn nothing_came(&self, captured: &Session) -> Failure {
        let wanted = self.awaited.as_ref().map(Wanted::words).unwrap_or_default();
        let why = captured.absent.first();
        let why = why.map_or_else(String::new, |(source, why)| format!("; {}: {why}", source.title));
        Failure::unknown(safe(&format!(
            "nothing was captured: no pod of {wanted} came within {}{why}",
            duration::words(captured.took)
        )))
        .hint("--duration gives it more time")
    }

    fn exit(&self, report: &CaptureReport, captured: &Session, farewell: &Farewell) -> Exit {
        if captured.ended == Ended::Interrupted {
            return Exit::Interrupted;
        }
        if self.args.strict && report.status.total.lost() > 0 {
            return Exit::Failed;
        }
        if report.status.complete && farewell.failures.is_empty() {
            Exit::Held
        } else {
            Exit::Unknown
        }
    }
}

/// The sources in the order of their names; pods that ended for good are left out where a workload was named.
fn sources(inventory: &Inventory, subjects: &[Subject], words: &[String]) -> Result<Vec<Source>, Failure> {
    let is_over = |subject: &&Subject| match subject {
        Subject::Pod(uid) => inventory.pods.iter().any(|pod| pod.uid == *uid && pod.end.is_some()),
        Subject::Node(_) => false,
    };
    let mut sources: Vec<Source> = subjects
        .iter()
        .filter(|subject| !is_over(subject))
        .filter_map(|subject| Source::of(inventory, subject))
        .collect();
    if sources.is_empty() {
        let what = if words.is_empty() {
            "the selector".to_owned()
        } else {
            words.join(" ")
        };
        let failure = if subjects.is_empty() {
            format!("{} stands for no pods", safe(&what))
        } else {
            format!(
                "{} stands for pods that have ended: there is nothing left to capture",
                safe(&what)
            )
        };
        return Err(Failure::usage(failure).hint("kubectl get pods shows their state"));
    }
    sources.sort_by(|one, other| (&one.title, &one.subject).cmp(&(&other.title, &other.subject)));
    Ok(sources)
}

/// Those that can be captured now; pods that cannot, yet, are awaited.
fn running(inventory: &Inventory, subjects: &[Subject]) -> Vec<Source> {
    let runs = |subject: &&Subject| match subject {
        Subject::Pod(uid) => inventory.pods.iter().any(|pod| pod.uid == *uid && pod.running),
        Subject::Node(_) => true,
    };
    let mut sources: Vec<Source> = subjects
        .iter()
        .filter(runs)
        .filter_map(|subject| Source::of(inventory, subject))
        .collect();
    sources.sort_by(|one, other| (&one.title, &one.subject).cmp(&(&other.title, &other.subject)));
    sources
}

/// Nodes to which pods may come.
fn candidates(inventory: &Inventory) -> Vec<Source> {
    let nodes = inventory.nodes.iter();
    let takes_pods = nodes.filter(|node| node.ready && !node.is_cordoned && !node.is_virtual && node.os == "linux");
    takes_pods
        .filter_map(|node| Source::of(inventory, &Subject::Node(node.name.clone())))
        .collect()
}

/// `1 packet`, `2 packets`.
fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// One agent's lanes.
type Lanes = Vec<(AgentIndex, Vec<usize>)>;

impl Ended {
    fn words(self) -> String {
        match self {
            Self::Enough(Enough::Limit(reached)) => reached.words().to_owned(),
            Self::Enough(Enough::ReaderLeft) => "the reader has left".to_owned(),
            Self::Enough(Enough::Failed) => "the output took no more".to_owned(),
            Self::Interrupted => "interrupted".to_owned(),
            Self::SourcesGone => "every source is gone".to_owned(),
        }
    }
}
