//! `doctor`: may I, can I, and what is this cluster. First what the API says, creating nothing, then a look at a few nodes.

use super::{Shared, verify};
use crate::{
    agents::{Farewell, NodePlan, Via, permissions::Verb},
    cluster::Cluster,
    doctor::{
        admission::Labels,
        assess::{NodeFacts, assess},
        choose::choose,
        junit,
        nodes::Node,
        report::{DoctorReport, Spec},
        rights::Standing,
        text,
    },
    exit::{Exit, Failure},
    findings::{Absence, Obstacle},
    output::{Format, junit as xml, safe},
    report::Metadata,
};
pub use args::DoctorArgs;
pub use intent::DoctorPlan;
use look::Looked;
use std::{collections::BTreeSet, time::Instant};

mod args;
mod dns;
mod intent;
mod look;
mod read;

/// Runs the verb.
///
/// # Errors
/// If the API server does not answer, or what was named does not exist.
pub async fn run(args: DoctorArgs, shared: Shared) -> Result<Exit, Failure> {
    if let Some(path) = &args.junit {
        xml::check(path)?;
    }
    let outcome = Box::pin(doctor(&args, &shared)).await;
    let outcome = outcome.map_err(|failure| failure.of_verb("doctor"));
    let (ended, text) = match &outcome {
        Ok(None) => return Ok(Exit::Held),
        Ok(Some((report, farewell))) => (
            show(report, &shared).map(|()| verify::exit(report.status.conclusion, farewell)),
            junit::of_report(report, &farewell.failures),
        ),
        // CI reads the file even if there is nothing else to read.
        Err(failure) => (Err(failure.clone()), xml::of_failure(junit::NAME, failure)),
    };
    xml::conclude(args.junit.as_deref(), ended, text, &shared.printer)
}

fn show(report: &DoctorReport, shared: &Shared) -> Result<(), Failure> {
    let printer = Some(&shared.printer);
    shared.print(report, |format| match format {
        Format::Wide => text::wide(report, printer),
        Format::Name => text::names(report),
        _ => text::table(report, printer),
    })
}

/// The report, and how the agents were left; `None` for `--dry-run`, which makes none.
async fn doctor(args: &DoctorArgs, shared: &Shared) -> Result<Option<(DoctorReport, Farewell)>, Failure> {
    let started = Instant::now();
    if args.agents.via == Via::Ephemeral && !args.api_only {
        return Err(
            Failure::usage("doctor looks at nodes, and --via ephemeral has agents in pods only")
                .hint("--api-only asks the API alone, and tells what ephemeral containers may do"),
        );
    }
    let named = verify::names(&args.nodes)?;
    let created = jiff::Timestamp::now().to_string();
    let cluster = Cluster::connect(&shared.flags).await?;
    let phase = shared.printer.phase(if args.api_only {
        "asking the API, creating nothing"
    } else {
        "stage 1 of 2: asking the API, creating nothing"
    });
    let read = tokio::select! {
        read = read::read(&cluster, args, &shared.flags) => read?,
        () = shared.interrupt.requested() => return Err(interrupted()),
    };
    let facts = &read.facts;
    if let (Some(namespace), Some(target)) = (&shared.flags.connect.namespace, &facts.target)
        && target.labels == Labels::Missing
    {
        return Err(
            Failure::usage(format!("namespace {:?} does not exist", safe(namespace)))
                .hint("kubectl get namespaces lists those that do"),
        );
    }
    let nodes = facts.nodes.as_deref().unwrap_or_default();
    if facts.nodes.is_ok() {
        verify::check_names(&named, nodes.iter().map(|node| &node.name))?;
    }
    let is_candidate = |node: &&Node| {
        node.out_of_scope.is_none()
            && (named.is_empty() || named.contains(&node.name))
            && read
                .labelled
                .as_ref()
                .is_none_or(|labelled| labelled.contains(&node.name))
    };
    let candidates: Vec<&Node> = nodes.iter().filter(is_candidate).collect();
    let is_narrowed = !named.is_empty() || read.labelled.is_some();
    if candidates.is_empty() && is_narrowed && facts.nodes.is_ok() {
        return Err(Failure::usage("there is no such node that an agent could run on")
            .hint("choose other nodes, or another selector"));
    }
    let chosen = choose(&candidates, args.max_nodes);
    phase.finish(format!(
        "{} questions about rights, {} nodes",
        facts.answers.len(),
        nodes.len()
    ));
    let api = started.elapsed();
    let blocked = blocked(facts, &chosen);
    if shared.flags.dry_run {
        let on_nodes = match blocked {
            None if !args.api_only => look::plan(&cluster, &chosen, args, shared).await?,
            _ => NodePlan {
                objects: Vec::new(),
                without_agent: blocked.iter().map(|why| safe(&why.why)).collect(),
                nodes: Vec::new(),
            },
        };
        return intent::describe(on_nodes, shared).map(|()| None);
    }
    let mut farewell = Farewell::default();
    let looked = if args.api_only {
        None
    } else {
        let mut facts = NodeFacts {
            candidates: candidates.len(),
            ..NodeFacts::default()
        };
        if let Some(why) = blocked {
            shared.printer.note("stage 2 of 2: no agents on nodes");
            facts.none = Some(why);
        } else if !chosen.is_empty() {
            shared.printer.note(format!(
                "stage 2 of 2: agents on {} of {} nodes: {}",
                chosen.len(),
                candidates.len(),
                chosen.iter().map(|node| safe(node)).collect::<Vec<_>>().join(" ")
            ));
            let Looked {
                facts: found,
                farewell: left,
            } = look::look(&cluster, &chosen, &read.facts, args, shared).await?;
            facts = NodeFacts {
                candidates: facts.candidates,
                ..found
            };
            farewell = left;
        }
        Some(facts)
    };
    let mut status = assess(&read.facts, looked.as_ref());
    status
        .notes
        .extend(farewell.resumed.iter().chain(&farewell.incomplete).cloned());
    status.timing.api_ms = verify::milliseconds(api);
    status.timing.nodes_ms = verify::milliseconds(started.elapsed().saturating_sub(api));
    status.timing.total_ms = verify::milliseconds(started.elapsed());
    let metadata = Metadata {
        creation_timestamp: created,
        context: cluster.context.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let report = DoctorReport::new(metadata, spec(args, read.facts.scope.namespace.clone(), &named), status);
    Ok(Some((report, farewell)))
}

fn spec(args: &DoctorArgs, namespace: Option<String>, named: &BTreeSet<String>) -> Spec {
    Spec {
        namespace,
        agent_namespace: args.agents.agent_namespace.clone(),
        nodes: named.iter().cloned().collect(),
        verbs: args.verb.iter().map(|verb| verb.word().to_owned()).collect(),
        api_only: args.api_only,
    }
}

/// Why there can be no agent at all, as far as that is known beforehand.
fn blocked(facts: &crate::doctor::assess::ApiFacts, chosen: &[String]) -> Option<Absence> {
    if let Err(why) = &facts.nodes {
        return Some(Obstacle::Forbidden.because(why));
    }
    let standing = Standing::of(Verb::Doctor, &facts.scope, &facts.answers);
    (!chosen.is_empty() && standing.untold.is_none() && !standing.is_possible_on_nodes()).then(|| {
        let lacks = standing.both.iter().chain(&standing.node);
        let lacks = crate::doctor::book::listed(lacks);
        Obstacle::Forbidden.because(format!("you may not {lacks}"))
    })
}

fn interrupted() -> Failure {
    Failure::interrupted("interrupted before anything was looked at")
}
