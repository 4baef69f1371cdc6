//! The filter as programs for the kernels of the nodes. Pure.
//!
//! A capture on a node would see itself: packets on their way to the plugin pass the kubelet's port and, between kubelet and container runtime,
//! the loopback interface, and each would be captured and sent in its turn. Those two are left out there unless they are asked for.

use super::CaptureArgs;
use crate::{
    capture::{names::Names, source::Source},
    cluster::inventory::Inventory,
    exit::Failure,
    output::safe,
};
use netcheck_filter::{Filter, Loopback, Options, Source as PacketSource};
use netcheck_wire::capture::Instruction;
use std::collections::BTreeSet;

/// Where pods are captured, and where nodes are.
#[derive(Debug, Clone)]
pub struct Programs {
    /// By [`Programs::of`].
    pub all: Vec<Vec<Instruction>>,
    /// What is left out on nodes, for the user; `None` if nothing is, or no node is captured.
    pub left_out: Option<String>,
}

/// Understands the expression.
///
/// # Errors
/// What is wrong with it, and where.
pub fn parse(expression: &str) -> Result<Filter, Failure> {
    Filter::parse(expression).map_err(|error| wrong(expression, &error))
}

/// The line, and under it the place.
fn wrong(expression: &str, error: &netcheck_filter::Error) -> Failure {
    let blanks = " ".repeat(error.column.saturating_sub(1));
    Failure::usage(safe(&error.to_string())).hint(format!("\n  {}\n  {blanks}^", safe(expression)))
}

impl Programs {
    /// Makes them.
    ///
    /// # Errors
    /// What is wrong with the filter, in one line.
    pub fn compile(
        filter: &Filter,
        args: &CaptureArgs,
        names: &Names,
        inventory: &Inventory,
        sources: &[Source],
    ) -> Result<Self, Failure> {
        let expression = args.expression();
        let make = |filter: &Filter, loopback| {
            let options = Options {
                source: PacketSource::AnySocket,
                snap_length: args.snaplen,
                loopback,
            };
            let program = filter
                .compile(options, names)
                .map_err(|error| wrong(&expression, &error))?;
            Ok::<Vec<Instruction>, Failure>(program.into_iter().map(Into::into).collect())
        };
        let for_pods = make(filter, Loopback::Once)?;
        let nodes: BTreeSet<&str> = sources
            .iter()
            .filter(|source| source.is_node_network)
            .filter_map(|source| source.node.as_deref())
            .collect();
        if nodes.is_empty() {
            return Ok(Self {
                all: vec![for_pods],
                left_out: None,
            });
        }
        let asks_for = |port: &u16| {
            expression
                .split(|c: char| !c.is_ascii_digit())
                .any(|word| word == port.to_string())
        };
        let kubelets: BTreeSet<u16> = inventory
            .nodes
            .iter()
            .filter(|node| nodes.contains(node.name.as_str()))
            .filter_map(|node| node.kubelet_port)
            .filter(|port| !asks_for(port))
            .collect();
        let asks_for_loopback = args.interface.iter().any(|name| name == "lo");
        let without = kubelets.iter().map(|port| format!("tcp port {port}"));
        let without: Vec<String> = without.collect();
        let on_nodes = match (expression.trim(), without.join(" or ")) {
            (expression, without) if without.is_empty() => expression.to_owned(),
            ("", without) => format!("not ({without})"),
            (expression, without) => format!("({expression}) and not ({without})"),
        };
        let loopback = if asks_for_loopback {
            Loopback::Once
        } else {
            Loopback::Never
        };
        let for_nodes = make(&parse(&on_nodes)?, loopback)?;
        let mut parts: Vec<String> = kubelets
            .iter()
            .map(|port| format!("the kubelet's port {port}"))
            .collect();
        if !asks_for_loopback {
            parts.push("interface lo".to_owned());
        }
        Ok(Self {
            all: vec![for_pods, for_nodes],
            left_out: (!parts.is_empty()).then(|| {
                format!(
                    "left out on nodes: {}, for this capture itself goes that way (-i lo, or a filter that names the port, takes it in)",
                    parts.join(" and ")
                )
            }),
        })
    }

    /// The number of a source's program.
    pub fn of(&self, source: &Source) -> usize {
        usize::from(source.is_node_network).min(self.all.len().saturating_sub(1))
    }
}
