//! `matrix`: who can reach whom.

use super::{Shared, targets::Targets, verify};
use crate::{
    agents::{self, AgentIndex, Farewell, Fleet, LaunchSpec, Way},
    cluster::{
        Cluster,
        inventory::{Inventory, Pod, Subject},
        list::{self, Namespaces, Scope},
    },
    exit::{Exit, Failure},
    findings::Absence,
    matrix::{
        assemble,
        book::Book,
        class::Meaning,
        evidence::{Case, Protocol},
        family::Family,
        judge::judge,
        junit,
        measure::{Agents, Measured, measure},
        naming::Names,
        on_path,
        plan::{self, Facts, Plan, Wish},
        report::{API_VERSION, Conclusion, MatrixReport, Row, Untold},
        select::{Choice, Named, Selection, select},
        style::Style,
        text,
        untold::{self, Asked},
    },
    output::{Format, Printer, document, safe},
    verify::report::NodeFinding,
};
pub use args::MatrixArgs;
use netcheck_wire::{Event, Task};
use outcome::limit;
use std::{
    collections::BTreeSet,
    net::IpAddr,
    time::{Duration, Instant},
};

mod args;
mod intent;
mod midrun;
mod outcome;

pub use intent::Intent;

/// Probes without `--max-probes` and `--yes`.
const MAX_PROBES: usize = 2000;
/// Nodes without `--max-nodes` and `--yes`.
const MAX_NODES: usize = 20;
/// What a run may take besides its probes: agents' start (image pulls), looking, removal.
const OVERHEAD: Duration = Duration::from_mins(5);
/// Rounds of probes, one after the other, that a run has time for even if in each of them something waits for its whole timeout. One is
/// usual, and one more for each Service before the same pods.
const SLOW_ROUNDS: u32 = 8;

/// Runs the verb.
pub async fn run(args: MatrixArgs, shared: Shared) -> Result<Exit, Failure> {
    if let Some(path) = &args.junit {
        junit::check(path)?;
    }
    let outcome = Box::pin(test(&args, &shared)).await;
    let outcome = outcome.map_err(|failure| failure.of_verb("matrix"));
    let (ended, xml) = match &outcome {
        Ok(None) => return Ok(Exit::Held),
        Ok(Some((report, farewell))) => (
            show(report, &shared).map(|()| exit(report, farewell)),
            junit::of_report(report, &farewell.failures),
        ),
        // CI reads the file even if there is nothing else to read.
        Err(failure) => (Err(failure.clone()), junit::of_failure(failure)),
    };
    let Some(path) = &args.junit else { return ended };
    let saved = xml.and_then(|xml| junit::save(path, &xml));
    if let Err(failure) = &saved {
        shared.printer.failure(failure);
    }
    if saved.is_ok() { ended } else { ended.map(not_held) }
}

/// The exit code where something is missing without which nothing may be called well.
fn not_held(exit: Exit) -> Exit {
    if exit == Exit::Held { Exit::Unknown } else { exit }
}

/// The report, and how the agents were left; `None` for `--dry-run`, which makes none.
async fn test(args: &MatrixArgs, shared: &Shared) -> Result<Option<(MatrixReport, Farewell)>, Failure> {
    let started = Instant::now();
    let creation_timestamp = jiff::Timestamp::now().to_string();
    let request = tokio::select! {
        request = Request::prepare(args, shared) => request?,
        () = shared.interrupt.requested() => return Err(interrupted()),
    };
    request.check_limits()?;
    let launch = request.launch_spec(args, shared);
    if shared.flags.dry_run {
        return request.describe(&launch, shared).map(|()| None);
    }
    let mut fleet = Fleet::launch(&request.cluster, &request.inventory, &launch, &shared.printer).await?;
    let way = fleet.way();
    let mut tested = request.carry_out(&mut fleet, args.timeout, shared, started).await;
    let farewell = fleet.close(&shared.printer).await;
    for failure in &farewell.failures {
        shared.printer.failure(failure);
    }
    request.look_at_nodes(&mut tested, &way, args, shared).await;
    let report = request.report(args, tested, &way, &farewell, creation_timestamp, started);
    Ok(Some((report, farewell)))
}

/// What is to be done, with all that is known before an agent runs.
struct Request {
    cluster: Cluster,
    scope: Scope,
    inventory: Inventory,
    named_sources: Option<Named>,
    named_destinations: Option<Named>,
    namespaces: Vec<String>,
    selection: Selection,
    wish: Wish,
    full: bool,
    max_nodes: usize,
    selector: Option<String>,
}

/// What came of it.
struct Tested {
    rows: Vec<Row>,
    node_findings: Vec<NodeFinding>,
    notes: Vec<String>,
    untold: Vec<Untold>,
    over_limit: usize,
    interrupted: bool,
    agents: Duration,
    probes: Duration,
}

impl Request {
    async fn prepare(args: &MatrixArgs, shared: &Shared) -> Result<Self, Failure> {
        let cluster = Cluster::connect(&shared.flags).await?;
        let phase = shared.printer.phase("reading the cluster");
        let targets = Targets::resolve(&cluster, &shared.flags, &args.targets, &args.to).await?;
        let (inventory, labelled) =
            tokio::try_join!(list::inventory(&cluster, &targets.scope), targets.labelled(&cluster))?;
        let (named_sources, named_destinations) = (
            targets.sources(&inventory, labelled.as_ref())?,
            targets.destinations(&inventory)?,
        );
        phase.finish(format!(
            "{} pods, {} nodes, {} Services",
            inventory.pods.len(),
            inventory.nodes.len(),
            inventory.services.len()
        ));
        let namespaces = match &targets.scope.namespaces {
            Namespaces::All => Vec::new(),
            Namespaces::These(names) => names.clone(),
        };
        let unlimited =
            |limit: Option<usize>, default| limit.unwrap_or(if shared.flags.yes { usize::MAX } else { default });
        let or_all = |chosen: BTreeSet<_>, all: &[_]| {
            if chosen.is_empty() {
                all.iter().copied().collect()
            } else {
                chosen
            }
        };
        let wish = Wish {
            protocols: or_all(args.protocol.iter().copied().collect(), &[Protocol::Tcp, Protocol::Dns]),
            families: if args.family.is_empty() {
                [Family::Ipv4, Family::Ipv6].into()
            } else {
                args.family.iter().copied().collect()
            },
            max_probes: unlimited(args.max_probes, MAX_PROBES),
        };
        let max_nodes = unlimited(args.max_nodes, MAX_NODES);
        let choice = Choice {
            namespaces: (!namespaces.is_empty()).then(|| namespaces.iter().cloned().collect()),
            sources: named_sources.clone(),
            destinations: named_destinations.clone(),
            full: args.full,
            max_nodes,
            dns: wish.protocols.contains(&Protocol::Dns),
        };
        let selection = select(&inventory, &choice);
        if selection.pairs.is_empty() {
            let place = if namespaces.is_empty() {
                "any namespace".into()
            } else {
                format!("namespace {}", namespaces.join(", "))
            };
            return Err(Failure::unknown(format!(
                "nothing to test: no pair of a source and a destination in {}",
                safe(&place)
            ))
            .hint("choose other namespaces with -n or -A, other targets, or another selector"));
        }
        Ok(Self {
            cluster,
            scope: targets.scope,
            inventory,
            named_sources,
            named_destinations,
            namespaces,
            selection,
            wish,
            full: args.full,
            max_nodes,
            selector: shared.flags.selector.clone(),
        })
    }

    /// Sampling stays within the limits by itself; `--full` says that sampling is not wanted.
    fn check_limits(&self) -> Result<(), Failure> {
        let estimate = plan::estimate(&self.selection, &self.inventory, &self.wish);
        if self.full && estimate > self.wish.max_probes {
            return Err(Failure::usage(format!(
                "--full means at least {estimate} probes, more than the limit of {}",
                self.wish.max_probes
            ))
            .hint(format!(
                "narrow it with TARGET or --to, or allow it with --max-probes {} or --yes",
                estimate * 2
            )));
        }
        Ok(())
    }

    fn launch_spec(&self, args: &MatrixArgs, shared: &Shared) -> LaunchSpec {
        let subjects: BTreeSet<Subject> = self.selection.subjects(&self.inventory);
        let bystanders = subjects
            .iter()
            .filter(|subject| self.is_bystander(subject))
            .cloned()
            .collect();
        let spec = args.agents.launch_spec(
            subjects.into_iter().collect(),
            OVERHEAD + args.timeout * SLOW_ROUNDS,
            &shared.flags,
            &shared.interrupt,
        );
        LaunchSpec { bystanders, ..spec }
    }

    /// A backend in a namespace that was not asked for (cluster DNS, above all): worth a look, not worth a container that stays in it.
    fn is_bystander(&self, subject: &Subject) -> bool {
        let Subject::Pod(uid) = subject else { return false };
        let named = |named: &Option<Named>| named.as_ref().is_some_and(|named| named.pods.contains(uid));
        let pod = self.inventory.pods.iter().find(|pod| &pod.uid == uid);
        let asked = |pod: &Pod| self.namespaces.is_empty() || self.namespaces.contains(&pod.namespace);
        !pod.is_some_and(asked) && !named(&self.named_sources) && !named(&self.named_destinations)
    }

    /// Nodes that are involved.
    fn nodes(&self) -> Vec<String> {
        let subjects = self.selection.subjects(&self.inventory);
        let nodes = subjects.into_iter().filter_map(|subject| match subject {
            Subject::Node(name) => Some(name),
            Subject::Pod(_) => None,
        });
        nodes.collect()
    }

    /// `--dry-run`.
    fn describe(&self, launch: &LaunchSpec, shared: &Shared) -> Result<(), Failure> {
        let (objects, absent) = agents::describe(launch, &self.inventory)?;
        let names = Names::new(&self.inventory);
        let intent = Intent {
            api_version: API_VERSION,
            kind: intent::KIND,
            objects,
            without_agent: absent
                .iter()
                .map(|(subject, why)| format!("{}: {}", names.in_words(subject), safe(&why.why)))
                .collect(),
            pairs: self.selection.pairs.len(),
            pairs_in_scope: self.selection.pairs_in_scope,
            probes_at_least: plan::estimate(&self.selection, &self.inventory, &self.wish),
            probes_at_most: limit(self.wish.max_probes),
            nodes: self.nodes().iter().map(|name| safe(name)).collect(),
        };
        let text = document(shared.flags.output.format, &intent)?;
        shared.printer.data(&text.unwrap_or_else(|| intent.text()))
    }

    async fn carry_out(&self, fleet: &mut Fleet, timeout: Duration, shared: &Shared, started: Instant) -> Tested {
        let printer = &shared.printer;
        let phase = printer.phase("looking into network namespaces");
        let facts: Facts = tokio::select! {
            facts = fleet.locate() => facts,
            () = shared.interrupt.requested() => self.unknown("interrupted"),
        };
        let entered = facts.values().filter(|facts| facts.is_ok()).count();
        phase.finish(format!("{entered} of {} entered, {}", facts.len(), fleet.way()));
        let agents = started.elapsed();

        let (selection, mut notes) = self.without_deaf_nodes(&fleet.way());
        let plan = plan::plan(
            &selection,
            &self.inventory,
            &facts,
            &self.wish,
            self.named_destinations.as_ref(),
        );
        let probing = Instant::now();
        let phase = printer.phase("probing");
        let measured = measure(
            &Crew(fleet),
            &plan.rows,
            &facts,
            timeout,
            shared.interrupt.requested(),
            |done, total| {
                phase.set(done as usize, total as usize);
            },
        )
        .await;
        phase.finish(format!("{} probes", plan.probes()));
        let mut rows = self.judge(&plan, &measured, &facts);
        notes.extend(plan.notes.iter().cloned());
        if rows.iter().any(|row| row.class.meaning() == Meaning::Failed) && !measured.interrupted {
            let again = tokio::select! {
                again = self.list_again() => again,
                () = shared.interrupt.requested() => Err("interrupted".into()),
            };
            match again {
                Ok(after) => midrun::settle(&plan.rows, &mut rows, &self.inventory, &after),
                Err(why) => notes.push(format!(
                    "whether failed rows' pods and Services changed in mid-run is not known: {why}"
                )),
            }
        }
        // By name, not by the UIDs that the plan goes by.
        rows.sort_by(|one, other| assemble::order(one).cmp(&assemble::order(other)));
        Tested {
            rows,
            node_findings: Vec::new(),
            notes,
            untold: self.untold(&plan, &fleet.way()),
            over_limit: plan.over_limit,
            interrupted: measured.interrupted || shared.interrupt.is_requested(),
            agents,
            probes: probing.elapsed(),
        }
    }

    /// What `verify` finds on the nodes of rows that failed. Whatever keeps it from that changes no row.
    async fn look_at_nodes(&self, tested: &mut Tested, way: &Way, args: &MatrixArgs, shared: &Shared) {
        let nodes = on_path::nodes(&tested.rows);
        if nodes.is_empty() || tested.interrupted {
            return;
        }
        let names = nodes.iter().cloned().collect::<Vec<_>>().join(", ");
        let not_looked = |why: &str| format!("what is wrong on nodes {names} was not looked for: {why}");
        if !matches!(way, Way::Node { .. }) {
            tested.notes.push(not_looked("there are agents in pods only"));
            return;
        }
        if nodes.len() > self.max_nodes {
            tested.notes.push(not_looked("they are more than --max-nodes"));
            return;
        }
        let phase = shared.printer.phase("looking for what is wrong on nodes");
        match verify::of_nodes(&self.cluster, &args.agents, nodes, shared).await {
            Ok(judgement) => {
                tested.node_findings = NodeFinding::of(&judgement, None);
                let of_node = |name: &str| self.addresses(&Subject::Node(name.to_owned()), &Facts::new());
                on_path::attach(&mut tested.rows, &tested.node_findings, of_node);
                phase.finish(format!("{} findings", tested.node_findings.len()));
                // What was not checked is nothing that holds.
                let unchecked = judgement.nodes.values().flat_map(|node| &node.unchecked);
                let why: BTreeSet<&str> = unchecked.map(|one| one.why.as_str()).collect();
                let not_all = why
                    .iter()
                    .map(|why| format!("on nodes {names} not all was checked: {why}"));
                tested.notes.extend(not_all);
                if tested.node_findings.is_empty() && why.is_empty() {
                    tested
                        .notes
                        .push(format!("nothing was found to be wrong on nodes {names}"));
                }
            }
            Err(failure) => {
                phase.finish("not possible");
                tested.notes.push(not_looked(&failure.message));
            }
        }
    }

    /// What was to be tested and is no row.
    fn untold(&self, plan: &Plan, way: &Way) -> Vec<Untold> {
        let asked = Asked {
            sources: self.named_sources.as_ref(),
            destinations: self.named_destinations.as_ref(),
            protocols: &self.wish.protocols,
            nodes_speak: matches!(way, Way::Node { .. }),
        };
        let mut untold = untold::unread(&self.inventory, asked);
        untold.extend(plan.untold.iter().cloned());
        if self.full {
            let nodes = self.selection.nodes_in_scope.saturating_sub(self.selection.nodes.len());
            untold.extend(untold::over_limit("nodes", "--max-nodes", self.max_nodes, nodes));
            untold.extend(untold::over_limit(
                "probes",
                "--max-probes",
                self.wish.max_probes,
                plan.over_limit,
            ));
        }
        untold
    }

    /// The inventory as it is now. With less to be read than before, what is missing would look as if it were gone.
    async fn list_again(&self) -> Result<Inventory, String> {
        let after = list::inventory(&self.cluster, &self.scope)
            .await
            .map_err(|failure| failure.message)?;
        let unread = |inventory: &Inventory| -> Vec<String> {
            let rights = inventory.unread.iter().map(ToString::to_string);
            let rest = inventory.gaps.iter().chain(&inventory.dns_missing);
            rights.chain(rest.cloned()).collect()
        };
        let gaps = unread(&after);
        if gaps == unread(&self.inventory) {
            Ok(after)
        } else {
            Err(gaps.join("; "))
        }
    }

    /// Facts that say of everything why nothing is known.
    fn unknown(&self, why: &str) -> Facts {
        self.selection
            .subjects(&self.inventory)
            .into_iter()
            .map(|subject| (subject, Err(why.into())))
            .collect()
    }

    /// Ephemeral containers live in pods: nodes can be dialled then, but not spoken from, unless the user asked for it by name.
    fn without_deaf_nodes(&self, way: &Way) -> (Selection, Vec<String>) {
        let mut selection = self.selection.clone();
        let named = self.named_sources.as_ref().is_some_and(|named| !named.nodes.is_empty());
        if matches!(way, Way::Node { .. }) || named {
            return (selection, Vec::new());
        }
        let before = selection.pairs.len();
        selection.pairs.retain(|pair| matches!(pair.from, Subject::Pod(_)));
        let note = format!(
            "{} pairs with a node as their source are left out: ephemeral containers speak from pods only",
            before - selection.pairs.len()
        );
        (selection, vec![note])
    }

    /// One row for each of the plan, in its order.
    fn judge(&self, plan: &Plan, measured: &Measured, facts: &Facts) -> Vec<Row> {
        let entered = facts
            .iter()
            .filter_map(|(subject, facts)| Some((subject.clone(), facts.as_ref().ok()?.clone())))
            .collect();
        let book = Book::new(&self.inventory, &entered);
        let names = Names::new(&self.inventory);
        let rows = plan.rows.iter().zip(&measured.observed).map(|(row, observed)| {
            let source = names.in_words(&row.pair.from);
            let source_ips = self.addresses(&row.pair.from, facts);
            let case = Case {
                protocol: row.protocol,
                target: row.target.unwrap_or_else(|| ([0, 0, 0, 0], 0).into()),
                aim: row.aim,
                source: &source,
                source_ips: &source_ips,
                expects: &row.expects,
                trouble: row.trouble.as_deref(),
                book: &book,
            };
            assemble::row(&names, row, observed, judge(&case, observed), &source_ips)
        });
        rows.collect()
    }

    /// A source's addresses by the API and by its own interfaces; loopback is everybody's.
    fn addresses(&self, subject: &Subject, facts: &Facts) -> Vec<IpAddr> {
        let mut ips: Vec<IpAddr> = match subject {
            Subject::Pod(uid) => self
                .inventory
                .pods
                .iter()
                .filter(|pod| &pod.uid == uid)
                .flat_map(|pod| pod.ips.clone())
                .collect(),
            Subject::Node(name) => self
                .inventory
                .nodes
                .iter()
                .filter(|node| &node.name == name)
                .flat_map(|node| node.ips.clone())
                .collect(),
        };
        if let Some(Ok(facts)) = facts.get(subject) {
            ips.extend(
                facts
                    .addresses
                    .iter()
                    .map(|address| address.ip)
                    .filter(|ip| !ip.is_loopback()),
            );
        }
        ips
    }
}

/// The fleet, as measuring sees it.
struct Crew<'a>(&'a Fleet);

impl Agents for Crew<'_> {
    type Agent = AgentIndex;

    fn place(&self, subject: &Subject) -> Option<(AgentIndex, u32)> {
        self.0.place(subject)
    }

    async fn run(&self, agent: AgentIndex, task: Task) -> Result<Vec<Event>, Absence> {
        self.0.run(agent, task).await.map_err(Absence::from)
    }
}

fn show(report: &MatrixReport, shared: &Shared) -> Result<(), Failure> {
    let printer: &Printer = &shared.printer;
    let style = Style {
        width: printer.width(),
        printer: Some(printer),
    };
    let format = shared.flags.output.format;
    let text = match document(format, report)? {
        Some(text) => text,
        None => match format {
            Format::Wide => text::wide(report, style),
            Format::Name => text::names(report),
            _ => text::table(report, style),
        },
    };
    printer.data(&text)
}

/// Whatever the rows say: where an object of ours stays behind, a promise is broken, and nothing is called well.
fn exit(report: &MatrixReport, farewell: &Farewell) -> Exit {
    let exit = exit_by_rows(report);
    if farewell.failures.is_empty() {
        exit
    } else {
        not_held(exit)
    }
}

fn exit_by_rows(report: &MatrixReport) -> Exit {
    match report.status.conclusion {
        Conclusion::Held => Exit::Held,
        Conclusion::Failed => Exit::Failed,
        Conclusion::Inconclusive if report.status.summary.inconclusive_allowed.is_some() => Exit::Held,
        Conclusion::Inconclusive => Exit::Unknown,
        Conclusion::Interrupted => Exit::Interrupted,
    }
}

fn interrupted() -> Failure {
    Failure::interrupted("interrupted before anything was tested")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matrix::{class::Class, sample};

    #[test]
    fn an_object_that_stays_behind_is_no_success() {
        let (web, api) = (sample::pod("web", "n1"), sample::pod("api", "n2"));
        let report = |class| sample::report(vec![sample::row(&web, &api, 80, Family::Ipv4, class)]);
        let left = Farewell {
            failures: vec![Failure::unknown("cannot remove Job netcheck-0123bcdf-0")],
            ..Farewell::default()
        };
        assert_eq!(exit(&report(Class::Reached), &Farewell::default()), Exit::Held);
        assert_eq!(exit(&report(Class::Reached), &left), Exit::Unknown);
        assert_eq!(exit(&report(Class::Refused), &left), Exit::Failed);
    }

    #[test]
    fn what_is_missing_takes_a_good_result_back_and_hides_no_bad_one() {
        assert_eq!(not_held(Exit::Held), Exit::Unknown);
        for exit in [Exit::Failed, Exit::Unknown, Exit::Interrupted] {
            assert_eq!(not_held(exit), exit);
        }
    }
}
