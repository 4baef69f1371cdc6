//! From facts to lines and findings.

use super::{
    admission,
    api::{self, Server},
    book::{Book, listed},
    dns::{self, Asked},
    machines::Machine,
    network,
    nodes::{self, Node},
    packets,
    proxy::{self, Guess},
    report::{State, Status, Topic},
    rights::{self, Answers, Scope},
};
use crate::{
    agents::permissions::Verb,
    cluster::inventory::Service,
    findings::{Absence, Finding, Obstacle, page},
    networks::{self, Trace},
    verify::report::NodeFinding,
};
use std::collections::BTreeMap;

/// What the API says. What may not be read says why instead.
#[derive(Debug, Clone)]
pub struct ApiFacts {
    /// The server, and who asks it.
    pub server: Server,
    /// Where verbs would work.
    pub scope: Scope,
    /// Verbs that must be allowed.
    pub asked: Vec<Verb>,
    /// All verbs that are told of.
    pub verbs: Vec<Verb>,
    /// What is allowed.
    pub answers: Answers,
    /// The agents' namespace.
    pub agents: admission::Agents,
    /// The namespace that is looked at; `None` for all.
    pub target: Option<admission::Target>,
    /// All nodes.
    pub nodes: Result<Vec<Node>, String>,
    /// Networks that show themselves.
    pub traces: Result<Vec<Trace>, String>,
    /// The service proxy.
    pub proxy: Guess,
    /// The cluster's DNS Service.
    pub dns: Result<Service, String>,
}

/// What agents found, where some were started.
#[derive(Debug, Clone, Default)]
pub struct NodeFacts {
    /// Nodes that were to be looked at.
    pub chosen: Vec<String>,
    /// As many could have been.
    pub candidates: usize,
    /// Nodes without an agent, or that could not be read, and why.
    pub absent: BTreeMap<String, Absence>,
    /// Why there is none at all.
    pub none: Option<Absence>,
    /// What the others hold.
    pub machines: BTreeMap<String, Machine>,
    /// What `verify` takes the network for.
    pub judged: Option<String>,
    /// What `verify` finds, of the checks that count here.
    pub found: Vec<NodeFinding>,
    /// Questions to the cluster's DNS.
    pub asked: Vec<Asked>,
}

/// Lines and findings. `looked`: what agents found; `None` if none was to be started.
pub fn assess(facts: &ApiFacts, looked: Option<&NodeFacts>) -> Status {
    let mut book = Book::default();
    api::judge(&facts.server, &mut book);
    let me = facts.server.me.as_ref().ok();
    rights::judge(&facts.scope, &facts.asked, &facts.verbs, &facts.answers, me, &mut book);
    admission::agents(&facts.agents, &mut book);
    if let Some(target) = &facts.target {
        admission::target(target, &mut book);
    }
    let mend = facts.scope.mend(Verb::Doctor, me);
    let version = facts.server.version.as_deref().ok();
    let all = facts.nodes.as_deref().unwrap_or_default();
    match &facts.nodes {
        Ok(nodes) => nodes::judge(nodes, version, needs_ranges(facts), &mut book),
        Err(why) => book.untold(Topic::Nodes, "ready", why).next(mend.clone()),
    }
    let nothing = NodeFacts::default();
    let looked = looked.unwrap_or(&nothing);
    kinds(all, &looked.machines, &mut book);
    agents(looked, &mend, &mut book);
    let network = network::judge(&facts.traces, &looked.machines, looked.judged.as_deref(), &mut book);
    let service_proxy = proxy::judge(&facts.proxy, &looked.machines, &mut book);
    packets::judge(&looked.machines, &looked.found, &mut book);
    dns::judge(&facts.dns, &looked.asked, &mut book);
    let out_of_scope = all
        .iter()
        .filter_map(|node| Some(format!("{}: {}", node.name, node.out_of_scope?)));
    Status {
        network,
        service_proxy,
        nodes: looked.chosen.clone(),
        out_of_scope: out_of_scope.collect(),
        next: next(facts, &book),
        sections: book.sections,
        findings: book.findings,
        ..Status::default()
    }
}

/// Whether the network's pods have addresses of their nodes' ranges; `None` if that is not known.
fn needs_ranges(facts: &ApiFacts) -> Option<bool> {
    let traces = facts.traces.as_deref().ok()?;
    let guessed = network::guess(traces);
    let known = networks::named(&guessed.first()?.name)?;
    Some(known.uses_node_ranges)
}

/// A line about kernels and runtimes: of nodes that were looked at in fact, else as all nodes tell it.
fn kinds(nodes: &[Node], machines: &BTreeMap<String, Machine>, book: &mut Book) {
    let mut by_kind: BTreeMap<String, usize> = BTreeMap::new();
    let inside = nodes.iter().filter(|node| node.out_of_scope.is_none());
    for node in inside.filter(|node| machines.is_empty() || machines.contains_key(&node.name)) {
        let kernel = machines.get(&node.name).map_or(&node.kernel, |machine| &machine.kernel);
        *by_kind.entry(format!("{kernel}, {}", node.runtime)).or_default() += 1;
    }
    let words: Vec<String> = by_kind
        .iter()
        .map(|(kind, count)| match by_kind.len() {
            1 => kind.clone(),
            _ => format!("{kind} ({count})"),
        })
        .collect();
    if !words.is_empty() {
        book.line(Topic::Nodes, "kernel, runtime", State::Ok, listed(&words));
    }
}

/// A line about agents: whether they came to run.
fn agents(looked: &NodeFacts, mend: &str, book: &mut Book) {
    const CHECK: &str = "started";
    if let Some(why) = &looked.none {
        absent("agents", why, mend, book);
        book.untold(Topic::Agents, CHECK, &why.why).next(next_of(why, mend));
        return;
    }
    if looked.chosen.is_empty() {
        return;
    }
    let count = looked.chosen.len();
    let (state, says) = match looked.absent.iter().next() {
        None if count < looked.candidates => (
            State::Ok,
            format!("on {}, {count} of {} nodes", listed(&looked.chosen), looked.candidates),
        ),
        None => (State::Ok, format!("on {}", listed(&looked.chosen))),
        Some((node, why)) => (
            State::Unknown,
            format!("not on {} of {count}: {node}: {why}", looked.absent.len()),
        ),
    };
    book.line(Topic::Agents, CHECK, state, says);
    for (node, why) in &looked.absent {
        absent(&format!("node/{node}"), why, mend, book);
    }
}

fn absent(subject: &str, why: &Absence, mend: &str, book: &mut Book) {
    let id = match why.obstacle {
        Obstacle::Untested => Obstacle::NotStarted.finding(),
        obstacle => obstacle.finding(),
    };
    if let Some(page) = page(id) {
        book.find(Topic::Agents, Finding::new(page, subject, &why.why), next_of(why, mend));
    }
}

fn next_of(why: &Absence, mend: &str) -> String {
    match why.obstacle {
        Obstacle::Forbidden => mend.to_owned(),
        Obstacle::ImagePull => "kubectl netcheck images list".to_owned(),
        obstacle => format!("kubectl netcheck explain {}", obstacle.finding()),
    }
}

/// What goes further, of what is allowed.
fn next(facts: &ApiFacts, book: &Book) -> Vec<String> {
    let may = |verb| rights::Standing::of(verb, &facts.scope, &facts.answers).is_possible();
    let scope = match &facts.scope.namespace {
        Some(namespace) => format!("-n {namespace}"),
        None => "-A".to_owned(),
    };
    let mut next = Vec::new();
    if let Some(first) = book.findings.first() {
        next.push(format!("kubectl netcheck explain {}", first.finding.id));
    }
    let is_refused = book
        .findings
        .iter()
        .any(|one| one.finding.id == "doctor-agents-refused");
    if may(Verb::Verify) && !is_refused {
        next.push("kubectl netcheck verify".to_owned());
    }
    if may(Verb::Matrix) {
        let way = if is_refused { " --via ephemeral" } else { "" };
        next.push(format!("kubectl netcheck matrix {scope}{way}"));
    }
    next
}
