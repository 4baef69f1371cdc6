//! What the eBPF programs counted, read from the maps whenever somebody asks for the metrics (SPEC.md, sections 6.5 and 9.6).

use crate::metrics::Labels;
use netcheck_cni_bpf::{Address, Amount, BpfError, Counters, EndpointCount, Maps, Reasons};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _},
    metrics::{MetricType, counter::ConstCounter},
    registry::Unit,
};
use std::{
    collections::BTreeMap,
    fmt,
    path::PathBuf,
    sync::{Mutex, PoisonError},
};

/// The reasons of SPEC.md, section 6.5, by number.
pub(crate) const REASONS: [&str; 12] = [
    "seen",
    "not_ip",
    "truncated",
    "not_this_pods_source",
    "not_this_pods_destination",
    "tunnel_source_no_peer",
    "tunnel_destination_not_ours",
    "tunnel_to_no_peer",
    "peer_without_entry",
    "event_lost",
    "fragment_without_ports",
    "extension_not_followed",
];

/// Reads the maps pinned under a folder.
#[derive(Debug)]
pub struct Counted {
    root: PathBuf,
    pods: Mutex<Pods>,
}

/// A sum over pods that come and go: what one has counted stays in it.
#[derive(Debug, Default)]
struct Pods {
    seen: Option<BTreeMap<Address, EndpointCount>>,
    sum: EndpointCount,
}

impl Pods {
    /// Adds what was counted since the last time. What was there at the first time was counted by an earlier process.
    fn add(&mut self, now: &BTreeMap<Address, EndpointCount>) -> EndpointCount {
        if let Some(seen) = &self.seen {
            for (pod, count) in now {
                let before = seen.get(pod).copied().unwrap_or_default();
                self.sum.from_pod = self.sum.from_pod.plus(since(before.from_pod, count.from_pod));
                self.sum.to_pod = self.sum.to_pod.plus(since(before.to_pod, count.to_pod));
            }
        }
        self.seen = Some(now.clone());
        self.sum
    }
}

/// How much an amount has grown; one that is smaller than before began anew.
fn since(before: Amount, now: Amount) -> Amount {
    if now.packets < before.packets || now.bytes < before.bytes {
        return now;
    }
    Amount {
        packets: now.packets - before.packets,
        bytes: now.bytes - before.bytes,
    }
}

/// One family of counters, an amount for each set of labels.
struct Told {
    name: &'static str,
    help: &'static str,
    amounts: Vec<(Labels, Amount)>,
}

impl Counted {
    /// Of the maps pinned under `root`; while there are none, nothing is told.
    pub fn under(root: PathBuf) -> Self {
        Self {
            root,
            pods: Mutex::default(),
        }
    }

    fn read(&self) -> Result<[Told; 3], BpfError> {
        let maps = Maps::open(&self.root)?;
        let counters = maps.read_counters()?;
        let mut pods = self.pods.lock().unwrap_or_else(PoisonError::into_inner);
        let sum = pods.add(&counters.endpoints);
        Ok(told(&maps.read_reasons()?, &counters, sum))
    }
}

fn told(reasons: &Reasons, counters: &Counters, pods: EndpointCount) -> [Told; 3] {
    let reasons = REASONS.into_iter().zip(reasons);
    let reasons = reasons.map(|(reason, amount)| (vec![("reason", reason.to_owned())], *amount));
    let peers = counters.peers.iter().flat_map(|(peer, count)| {
        let labels = |direction: &str| vec![("peer", peer.to_string()), ("direction", direction.to_owned())];
        [(labels("sent"), count.sent), (labels("received"), count.received)]
    });
    let direction = |direction: &str| vec![("direction", direction.to_owned())];
    [
        Told {
            name: "hook",
            help: "that programs saw, by what they found; one packet is seen at each hook that it passes",
            amounts: reasons.collect(),
        },
        Told {
            name: "peer",
            help: "of pods, between this node and a peer, by the peer's InternalIP; what both ends count alike",
            amounts: peers.collect(),
        },
        Told {
            name: "endpoint",
            help: "of all pods of this node since the daemon was first asked",
            amounts: vec![
                (direction("from_pod"), pods.from_pod),
                (direction("to_pod"), pods.to_pod),
            ],
        },
    ]
}

impl Collector for Counted {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let told = match self.read() {
            Ok(told) => told,
            Err(error) => {
                // Where eBPF is off there is nothing to open, which the conditions say.
                tracing::debug!(%error, "nothing is counted");
                return Ok(());
            }
        };
        for Told { name, help, amounts } in told {
            let packets = format!("{name}_packets");
            let mut family =
                encoder.encode_descriptor(&packets, &format!("Packets {help}"), None, MetricType::Counter)?;
            for (labels, amount) in &amounts {
                ConstCounter::new(amount.packets).encode(family.encode_family(labels)?)?;
            }
            let mut family =
                encoder.encode_descriptor(name, &format!("Bytes {help}"), Some(&Unit::Bytes), MetricType::Counter)?;
            for (labels, amount) in &amounts {
                ConstCounter::new(amount.bytes).encode(family.encode_family(labels)?)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn amount(packets: u64) -> Amount {
        Amount {
            packets,
            bytes: packets * 100,
        }
    }

    fn pod(packets: u64) -> EndpointCount {
        EndpointCount {
            from_pod: amount(packets),
            to_pod: amount(0),
        }
    }

    #[test]
    fn the_sum_over_pods_never_falls() {
        let ip = |last: u8| Address::from(std::net::Ipv4Addr::new(10, 244, 1, last));
        let mut pods = Pods::default();
        let mut add = |now: &[(u8, u64)]| {
            let now = now.iter().map(|(last, packets)| (ip(*last), pod(*packets))).collect();
            pods.add(&now).from_pod.packets
        };
        assert_eq!(add(&[(2, 1000)]), 0);
        assert_eq!(add(&[(2, 1010), (3, 5)]), 15);
        assert_eq!(add(&[(3, 6)]), 16);
        // Another pod with an address that was given out before.
        assert_eq!(add(&[(3, 2)]), 18);
        assert_eq!(add(&[]), 18);
    }
}
