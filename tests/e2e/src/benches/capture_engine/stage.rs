//! Two namespaces joined by a pair of veth interfaces.

use crate::benches::namespace::Namespace;
use anyhow::Result;

/// The interface on either side.
pub const INTERFACE: &str = "eth0";
/// An address that the far side has, and one that nobody has but that leads there.
pub const FAR: [u8; 4] = [198, 18, 0, 2];
pub const NOBODY: [u8; 4] = [198, 18, 0, 9];

/// The two; they vanish with this.
pub struct Stage {
    near: Namespace,
    far: Namespace,
}

impl Stage {
    pub fn set() -> Result<Self> {
        let stage = Self {
            near: Namespace::new("near")?,
            far: Namespace::new("far")?,
        };
        let Self { near, far } = &stage;
        for side in [near, far] {
            // No packet but those of the flood.
            side.run("echo 1 > /proc/sys/net/ipv6/conf/default/disable_ipv6")?;
        }
        near.ip(&format!(
            "link add {INTERFACE} address 02:00:00:00:00:01 type veth peer name {INTERFACE} address 02:00:00:00:00:02 netns {}",
            far.name()
        ))?;
        for (side, host, other) in [(near, 1, 2), (far, 2, 1)] {
            side.ip(&format!("addr add 198.18.0.{host}/24 dev {INTERFACE}"))?;
            side.ip(&format!("link set {INTERFACE} up"))?;
            for neighbour in [other, 9] {
                side.ip(&format!(
                    "neigh replace 198.18.0.{neighbour} lladdr 02:00:00:00:00:0{other} dev {INTERFACE}"
                ))?;
            }
        }
        Ok(stage)
    }

    pub fn within_near<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        self.near.within(work)
    }

    pub fn within_far<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        self.far.within(work)
    }
}
