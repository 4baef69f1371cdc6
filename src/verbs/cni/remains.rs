//! What an uninstall found and did, node by node. Pure but for printing.

use super::pods::{is_of_daemon_set, node_of};
use crate::{
    exit::{Exit, Failure},
    findings::{self, Finding},
    output::{Format, Printer, Table, document, lines, safe},
    verbs::API_VERSION,
};
use k8s_openapi::api::core::v1::Pod;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What `cni uninstall` prints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CniUninstallReport {
    /// `netcheck.dev/v1alpha1`.
    pub api_version: String,
    /// `CniUninstallReport`.
    pub kind: String,
    /// Pods that live in the network, as long as nothing was done.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pods: Vec<WiredPod>,
    /// One entry per node.
    pub items: Vec<NodeOutcome>,
}

/// A pod that lives in the network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WiredPod {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its node.
    pub node: String,
    /// A DaemonSet makes it anew at once, so it cannot be evicted.
    pub of_daemon_set: bool,
}

/// One node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeOutcome {
    /// Its name.
    pub node: String,
    /// What became of it.
    pub outcome: Outcome,
    /// Why it could not be cleaned, what is left there, and how to remove that by hand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finding: Option<Finding>,
}

/// What became of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Nothing of ours is left there.
    Cleaned,
    /// It would be cleaned, without `--dry-run`.
    WouldBeCleaned,
    /// Nothing was done, for pods are in the way.
    Kept,
    /// What is left there is not known.
    NotCleaned,
}

impl Outcome {
    fn words(self) -> &'static str {
        match self {
            Self::Cleaned => "cleaned",
            Self::WouldBeCleaned => "would be cleaned",
            Self::Kept => "kept",
            Self::NotCleaned => "not cleaned",
        }
    }
}

impl NodeOutcome {
    /// With nothing to add.
    pub fn new(node: String, outcome: Outcome) -> Self {
        Self {
            node,
            outcome,
            finding: None,
        }
    }

    /// A node of which it is not known what is left.
    pub fn not_cleaned(node: String, why: &str) -> Self {
        let page = findings::page("cni-node-not-cleaned");
        let finding = page.map(|page| {
            let mut finding = Finding::new(page, format!("node/{node}"), safe(why));
            // The first says to try again; whoever cannot needs the second.
            finding.fix = Some(page.fix.join("; "));
            finding.evidence = vec![
                "may be left: the conflist and binary of the CNI, ncvx0, routes and neighbours of protocol 147, veths nc…, table inet netcheck-cni, BPF pins, /run/netcheck-cni; the Node's annotations and conditions, and its cordon if --evict made one".to_owned(),
            ];
            finding
        });
        Self {
            node,
            outcome: Outcome::NotCleaned,
            finding,
        }
    }
}

impl CniUninstallReport {
    /// From the rows, and the pods that are in the way.
    pub fn new(items: Vec<NodeOutcome>, wired: &[Pod]) -> Self {
        let pods = wired.iter().map(|pod| WiredPod {
            namespace: pod.metadata.namespace.clone().unwrap_or_default(),
            name: pod.metadata.name.clone().unwrap_or_default(),
            node: node_of(pod).unwrap_or_default().to_owned(),
            of_daemon_set: is_of_daemon_set(pod),
        });
        Self {
            api_version: API_VERSION.to_owned(),
            kind: "CniUninstallReport".to_owned(),
            pods: pods.collect(),
            items,
        }
    }

    /// 3 if it is not known of a node what is left.
    pub fn exit(&self) -> Exit {
        let unknown = self.items.iter().any(|row| row.outcome == Outcome::NotCleaned);
        if unknown { Exit::Unknown } else { Exit::Held }
    }

    /// The pods, then the nodes, as one table.
    pub fn table(&self) -> Table {
        let pods = self.pods.iter().map(|pod| {
            let note = if pod.of_daemon_set {
                "in its network; its DaemonSet makes it anew"
            } else {
                "in its network"
            };
            [
                format!("pod/{}", pod.name),
                pod.namespace.clone(),
                pod.node.clone(),
                note.to_owned(),
            ]
        });
        let nodes = self.items.iter().map(|row| {
            let why = row
                .finding
                .as_ref()
                .map(|finding| format!(": {}", finding.actual))
                .unwrap_or_default();
            [
                format!("node/{}", row.node),
                "-".to_owned(),
                row.node.clone(),
                format!("{}{why}", row.outcome.words()),
            ]
        });
        pods.chain(nodes)
            .fold(Table::new(["OBJECT", "NAMESPACE", "NODE", "STATE"]), Table::row)
    }

    /// As asked for.
    ///
    /// # Errors
    /// If stdout cannot be written.
    pub fn print(&self, format: Format, printer: &Printer) -> Result<(), Failure> {
        let text = match document(format, self)? {
            Some(text) => text,
            None if format == Format::Name => lines(self.items.iter().map(|row| format!("node/{}", row.node))),
            None => self.table().render_on(printer),
        };
        printer.data(&text)?;
        if self.exit() == Exit::Unknown {
            printer.hint("kubectl netcheck explain cni-node-not-cleaned says what may be left on a node, and how to remove it by hand");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_node_that_was_not_reached_is_a_row_with_what_is_left_and_how_to_remove_it() {
        let rows = vec![
            NodeOutcome::new("n1".to_owned(), Outcome::Cleaned),
            NodeOutcome::not_cleaned("n2".to_owned(), "did not end in time (no kubelet took its pod up)"),
        ];
        let report = CniUninstallReport::new(rows, &[]);
        assert_eq!(report.exit(), Exit::Unknown);
        assert_eq!(
            report.table().render(),
            "OBJECT    NAMESPACE   NODE   STATE\n\
             node/n1   -           n1     cleaned\n\
             node/n2   -           n2     not cleaned: did not end in time (no kubelet took its pod up)\n"
        );
        let finding = report.items[1].finding.as_ref().unwrap();
        assert!(finding.evidence[0].contains("ncvx0"));
        assert!(finding.fix.as_ref().unwrap().contains("ip link delete ncvx0"));
    }

    #[test]
    fn pods_in_the_way_are_listed_with_those_that_come_back() {
        let pods: Vec<Pod> = serde_json::from_value(json!([
            { "metadata": { "namespace": "shop", "name": "web" }, "spec": { "containers": [], "nodeName": "n1" } },
            {
                "metadata": { "namespace": "logs", "name": "tail", "ownerReferences": [{ "apiVersion": "apps/v1", "kind": "DaemonSet", "name": "tail", "uid": "u" }] },
                "spec": { "containers": [], "nodeName": "n1" },
            },
        ]))
        .unwrap();
        let report = CniUninstallReport::new(vec![NodeOutcome::new("n1".to_owned(), Outcome::Kept)], &pods);
        assert_eq!(report.exit(), Exit::Held);
        let text = report.table().render();
        assert!(
            text.contains("pod/web    shop        n1     in its network\n"),
            "{text}"
        );
        assert!(text.contains("its DaemonSet makes it anew"), "{text}");
    }
}
