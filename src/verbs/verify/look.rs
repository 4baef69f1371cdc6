//! Reads nodes through their agents.

use super::{Request, read::Read};
use crate::{
    agents::{AgentIndex, Fleet, Flow, Piece},
    cluster::inventory::Subject,
    verify::{
        evidence::{Evidence, Looked},
        generic::configuration::{FOLDER, is_configuration},
        judge::Judgement,
    },
};
use futures::future::join_all;
use netcheck_node_state::record::{NodeRecord, RECORD};
use netcheck_wire::{Task, message::RecordOrder};
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;

/// What was read, and what it comes to.
#[derive(Debug)]
pub struct Look {
    /// Of the last look.
    pub evidence: Evidence,
    /// What all looks have found.
    pub judgement: Judgement,
}

/// A document larger than this is not taken: whoever sends it is no agent of ours.
const MOST: usize = 256 << 20;

/// Reads all nodes at once. A node that cannot be read is told, and the others are read.
pub async fn look(fleet: &mut Fleet, read: &Read, nodes: &[String], order: &RecordOrder) -> Evidence {
    let located = fleet.locate().await;
    let fleet = &*fleet;
    let looks = nodes.iter().map(|node| {
        let mut places = BTreeMap::new();
        for pod in read.objects.wired_on(node) {
            let subject = Subject::Pod(pod.uid.clone());
            let place = match (fleet.place(&subject), located.get(&subject)) {
                (Some((_, place)), Some(Ok(_))) => Ok(place),
                (_, Some(Err(why))) => Err(why.why.clone()),
                // It came after the agents: a next run sees it.
                _ => continue,
            };
            places.insert(pod.uid.clone(), place);
        }
        let located = located.get(&Subject::Node(node.clone()));
        async move {
            let looked = match (Request::agent_of(fleet, node), located) {
                (Some(agent), _) => record(fleet, agent, order, places).await,
                (None, Some(Err(why))) => Err(why.why.clone()),
                (None, _) => Err("it has no agent".to_owned()),
            };
            (node.clone(), looked)
        }
    });
    Evidence {
        taken: jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        context: read.context.clone(),
        objects: read.objects.clone(),
        nodes: join_all(looks).await.into_iter().collect(),
        observed: None,
    }
}

async fn record(
    fleet: &Fleet,
    agent: AgentIndex,
    order: &RecordOrder,
    places: BTreeMap<String, Result<u32, String>>,
) -> Result<Looked, String> {
    let order = RecordOrder {
        places: places
            .values()
            .filter_map(|place| place.as_ref().ok())
            .copied()
            .collect(),
        ..order.clone()
    };
    let flow = fleet.flow(agent, Task::Record(order)).await;
    let mut record: NodeRecord = document(flow.map_err(|error| error.to_string())?).await?;
    if record.record != RECORD {
        return Err(format!(
            "its agent sends a record of version {}, not {RECORD}",
            record.record
        ));
    }
    forget_credentials(&mut record);
    Ok(Looked { record, places })
}

/// The document that a task's data make up.
pub async fn document<T: DeserializeOwned>(mut flow: Flow) -> Result<T, String> {
    let mut bytes = Vec::new();
    while let Some(piece) = flow.next().await {
        if let Piece::Data(more) = piece {
            bytes.extend_from_slice(&more);
        }
        if bytes.len() > MOST {
            return Err(format!("its agent sends more than {} MiB", MOST >> 20));
        }
    }
    // An error unless every piece has arrived.
    flow.end().await.map_err(|error| error.to_string())?;
    serde_json::from_slice(&bytes).map_err(|error| format!("what its agent sends cannot be read: {error}"))
}

/// Networks keep kubeconfigs with tokens beside their CNI configurations (`calico-kubeconfig`, `multus.kubeconfig`): what no runtime reads as a
/// configuration is not kept, neither in memory nor in an archive.
fn forget_credentials(record: &mut NodeRecord) {
    let folder = record.folders.get_mut(FOLDER).and_then(|folder| folder.as_mut().ok());
    for (_, entry) in folder.into_iter().flatten().filter(|(name, _)| !is_configuration(name)) {
        entry.text = None;
    }
}

#[cfg(test)]
mod tests {
    use super::forget_credentials;
    use netcheck_node_state::record::NodeRecord;
    use serde_json::json;

    #[test]
    fn a_token_beside_the_configurations_is_not_kept() {
        let entry = json!({ "length": 6, "mode": 384, "ageSeconds": 1, "text": { "Ok": "secret" } });
        let mut record: NodeRecord = serde_json::from_value(json!({
            "record": 1, "kernel": "", "nft": { "Err": "" },
            "node": { "inode": 1, "net": { "links": {}, "addresses": [], "routes": [], "neighbours": [], "fdb": [] } },
            "folders": { "/etc/cni/net.d": { "Ok": { "05-a.conflist": entry, "calico-kubeconfig": entry } } },
        }))
        .unwrap();
        forget_credentials(&mut record);
        let files = record.folders["/etc/cni/net.d"].as_ref().unwrap();
        assert!(files["05-a.conflist"].text.is_some());
        assert_eq!(files["calico-kubeconfig"].text, None);
    }
}
