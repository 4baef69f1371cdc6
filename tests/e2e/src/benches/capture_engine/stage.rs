//! Two namespaces joined by a pair of veth interfaces.

use anyhow::{Context, Result, ensure};
use netcheck_node_state::{Netns, within};
use std::{path::Path, process::Command};

/// The interface on either side.
pub const INTERFACE: &str = "eth0";
/// An address that the far side has, and one that nobody has but that leads there.
pub const FAR: [u8; 4] = [198, 18, 0, 2];
pub const NOBODY: [u8; 4] = [198, 18, 0, 9];

/// The two; they vanish with this.
pub struct Stage {
    near: String,
    far: String,
}

impl Stage {
    pub fn set() -> Result<Self> {
        let id = std::process::id();
        let stage = Self {
            near: format!("ncbench-{id}-near"),
            far: format!("ncbench-{id}-far"),
        };
        let Self { near, far } = &stage;
        ip(&format!("netns add {near}"))?;
        ip(&format!("netns add {far}"))?;
        for side in [near, far] {
            // No packet but those of the flood. What /proc/sys/net shows is that of the process's first thread: so in a process.
            let quiet = "echo 1 > /proc/sys/net/ipv6/conf/default/disable_ipv6";
            let status = Command::new("ip")
                .args(["netns", "exec", side, "sh", "-c", quiet])
                .status()?;
            ensure!(status.success(), "cannot switch off IPv6 in {side}");
        }
        ip(&format!(
            "-n {near} link add {INTERFACE} address 02:00:00:00:00:01 type veth peer name {INTERFACE} address 02:00:00:00:00:02 netns {far}"
        ))?;
        for (side, host, other) in [(near, 1, 2), (far, 2, 1)] {
            ip(&format!("-n {side} addr add 198.18.0.{host}/24 dev {INTERFACE}"))?;
            ip(&format!("-n {side} link set {INTERFACE} up"))?;
            for neighbour in [other, 9] {
                ip(&format!(
                    "-n {side} neigh replace 198.18.0.{neighbour} lladdr 02:00:00:00:00:0{other} dev {INTERFACE}"
                ))?;
            }
        }
        Ok(stage)
    }

    pub fn within_near<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        Ok(within(&netns(&self.near)?, work)?)
    }

    pub fn within_far<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        Ok(within(&netns(&self.far)?, work)?)
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        for side in [&self.near, &self.far] {
            let _ = ip(&format!("netns del {side}"));
        }
    }
}

fn netns(name: &str) -> Result<Netns> {
    Ok(Netns::open(&Path::new("/run/netns").join(name))?)
}

fn ip(arguments: &str) -> Result<()> {
    let status = Command::new("ip")
        .args(arguments.split(' '))
        .status()
        .context("cannot run ip")?;
    ensure!(status.success(), "ip {arguments}: {status}");
    Ok(())
}
