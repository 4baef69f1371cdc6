//! What a network namespace has counted, and how much of it between two readings.
//!
//! Plain values; with the feature `kernel` they are read here as well: [`counters()`], [`softnet()`].

#[cfg(feature = "kernel")]
mod read;
mod texts;

#[cfg(feature = "kernel")]
pub use read::{CountersError, counters, softnet};

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Numbers that only grow, those that are not zero, by name.
pub type Numbers = BTreeMap<String, u64>;

/// What a network namespace has counted since it was made.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Counters {
    /// Of its protocols, named as by nstat(8): `IpInAddrErrors`, `TcpExtIPReversePathFilter`, `Ip6InDiscards`. What is no count (`IpForwarding`,
    /// `TcpCurrEstab`) is left out.
    pub protocols: Numbers,
    /// Of connection tracking, on all processors together, named as in the head of `/proc/net/stat/nf_conntrack`: `insert_failed`, `early_drop`.
    /// Empty where there is none.
    pub conntrack: Numbers,
    /// Of its devices, by their names.
    pub devices: BTreeMap<String, DeviceCounters>,
}

/// What a device has counted.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DeviceCounters {
    /// Its number: one that was made anew has another.
    pub index: u32,
    /// `IFLA_STATS64`: `rx_packets`, `tx_dropped`, `rx_otherhost_dropped` …
    pub counters: Numbers,
}

impl Counters {
    /// What was counted since an earlier reading of the same namespace.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        let nothing = Numbers::new();
        let device = |(name, now): (&String, &DeviceCounters)| {
            // One that was made since has counted all of it since.
            let same = before.devices.get(name).filter(|before| before.index == now.index);
            let counters = grown(&now.counters, same.map_or(&nothing, |before| &before.counters));
            let index = now.index;
            (name.clone(), DeviceCounters { index, counters })
        };
        Self {
            protocols: grown(&self.protocols, &before.protocols),
            conntrack: grown(&self.conntrack, &before.conntrack),
            devices: self.devices.iter().map(device).collect(),
        }
    }

    /// A protocol's counter; 0 if it is not there.
    pub fn protocol(&self, name: &str) -> u64 {
        self.protocols.get(name).copied().unwrap_or(0)
    }

    /// A device's counter; 0 if it, or the device, is not there.
    pub fn device(&self, device: &str, name: &str) -> u64 {
        let device = self.devices.get(device);
        device
            .and_then(|device| device.counters.get(name))
            .copied()
            .unwrap_or(0)
    }
}

/// By how much numbers have grown: those that have. One that is smaller now was set back, and what it has counted is not known.
#[must_use]
pub fn grown(now: &Numbers, before: &Numbers) -> Numbers {
    let by = |(name, now): (&String, &u64)| {
        let by = now.checked_sub(before.get(name).copied().unwrap_or(0))?;
        (by > 0).then(|| (name.clone(), by))
    };
    now.iter().filter_map(by).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(of: &[(&str, u64)]) -> Numbers {
        of.iter().map(|(name, number)| ((*name).to_owned(), *number)).collect()
    }

    fn reading(index: u32, dropped: u64) -> Counters {
        let counters = numbers(&[("tx_dropped", dropped)]);
        Counters {
            protocols: numbers(&[("IpInReceives", 100 + dropped), ("IpInDelivers", 7)]),
            conntrack: numbers(&[("drop", dropped)]),
            devices: BTreeMap::from([("vx0".to_owned(), DeviceCounters { index, counters })]),
        }
    }

    #[test]
    fn what_has_grown_is_the_difference() {
        let grown = reading(3, 9).since(&reading(3, 4));
        assert_eq!(grown.protocols, numbers(&[("IpInReceives", 5)]));
        assert_eq!(grown.conntrack, numbers(&[("drop", 5)]));
        assert_eq!(
            (grown.device("vx0", "tx_dropped"), grown.device("vx1", "tx_dropped")),
            (5, 0)
        );
        assert_eq!(grown.protocol("IpInDelivers"), 0);
    }

    #[test]
    fn a_device_made_anew_has_counted_all_of_it_since() {
        assert_eq!(reading(4, 2).since(&reading(3, 9)).device("vx0", "tx_dropped"), 2);
    }

    #[test]
    fn what_was_set_back_is_not_known() {
        assert_eq!(reading(3, 2).since(&reading(3, 9)).device("vx0", "tx_dropped"), 0);
    }
}
