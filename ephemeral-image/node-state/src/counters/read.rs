//! Reads counters of the calling thread's network namespace.

use super::{Counters, DeviceCounters, Numbers, texts};
use crate::{netlink::DumpError, snapshot::devices};
use std::{fs, io};

/// Why counters were not read.
#[derive(Debug, thiserror::Error)]
pub enum CountersError {
    /// Devices were not.
    #[error(transparent)]
    Devices(#[from] DumpError),
    /// A table was not.
    #[error("cannot read /proc/net/{name}: {source}")]
    Table {
        /// Its name below `/proc/net`.
        name: &'static str,
        /// The error of the system call.
        source: io::Error,
    },
}

/// What the calling thread's network namespace has counted.
pub fn counters() -> Result<Counters, CountersError> {
    let mut protocols = Numbers::new();
    texts::pairs(&table("snmp")?, &mut protocols);
    texts::pairs(&table("netstat")?, &mut protocols);
    // Without IPv6, and without connection tracking, there is no such table.
    texts::lines(&optional("snmp6")?, &mut protocols);
    let conntrack = texts::conntrack(&optional("stat/nf_conntrack")?);
    let devices = devices()?.into_iter().map(|(name, device)| {
        let (index, counters) = (device.index, device.counters);
        (name, DeviceCounters { index, counters })
    });
    Ok(Counters {
        protocols,
        conntrack,
        devices: devices.collect(),
    })
}

/// What the processors have counted of packets that wait to be taken in: `processed`, `dropped`, `time_squeeze`, `flow_limit`, of all namespaces together.
pub fn softnet() -> Result<Numbers, CountersError> {
    Ok(texts::softnet(&table("softnet_stat")?))
}

/// `/proc/net` is that of the process; the thread may be in another namespace.
fn table(name: &'static str) -> Result<String, CountersError> {
    let failed = |source| CountersError::Table { name, source };
    fs::read_to_string(format!("/proc/thread-self/net/{name}")).map_err(failed)
}

fn optional(name: &'static str) -> Result<String, CountersError> {
    match table(name) {
        Err(CountersError::Table { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        other => other,
    }
}
