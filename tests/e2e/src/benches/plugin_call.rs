//! A CNI plugin called as a runtime calls it.

use super::{
    namespace::Namespace,
    products::{self, REFERENCE_PLUGINS},
};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::{
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

/// A plugin and its configuration.
pub struct Plugin {
    program: PathBuf,
    configuration: String,
}

/// What a call came to.
pub struct Called {
    took: Duration,
    /// Its standard output.
    pub said: Vec<u8>,
}

impl Called {
    /// From its start to its end.
    pub fn milliseconds(&self) -> f64 {
        self.took.as_secs_f64() * 1e3
    }
}

impl Plugin {
    /// Ours, as shipped, with its state in a folder.
    pub fn ours(state: &Path) -> Result<Self> {
        let configuration =
            json!({"cniVersion": "1.1.0", "name": "netcheck", "type": "netcheck-cni", "dataDir": state});
        Ok(Self {
            program: products::plugin()?,
            configuration: configuration.to_string(),
        })
    }

    /// `ptp` with a default route of each family, as the rig's `plain` has it.
    pub fn ptp(state: &Path, ranges: &[&str]) -> Self {
        let default = |range: &&str| if range.contains(':') { "::/0" } else { "0.0.0.0/0" };
        let routes: Vec<_> = ranges.iter().map(default).collect();
        Self::reference("ptp", json!({"ipMasq": false}), state, ranges, &routes)
    }

    /// One of the reference plugins, with its other keys, and addresses from `host-local`, whose state is in a folder.
    pub fn reference(name: &str, keys: Value, state: &Path, ranges: &[&str], routes: &[&str]) -> Self {
        let mut configuration = keys;
        configuration["cniVersion"] = json!("1.0.0");
        configuration["name"] = json!("reference");
        configuration["type"] = json!(name);
        configuration["ipam"] = json!({
            "type": "host-local", "dataDir": state,
            "ranges": ranges.iter().map(|range| json!([{"subnet": range}])).collect::<Vec<Value>>(),
            "routes": routes.iter().map(|route| json!({"dst": route})).collect::<Vec<Value>>(),
        });
        Self {
            program: Path::new(REFERENCE_PLUGINS).join(name),
            configuration: configuration.to_string(),
        }
    }

    /// Calls it from a thread that is in the node's namespace.
    pub fn call(&self, verb: &str, container: &str, pod: &Namespace) -> Result<Called> {
        let mut command = Command::new(&self.program);
        command
            .env_clear()
            .env("CNI_COMMAND", verb)
            .env("CNI_IFNAME", "eth0")
            .env("CNI_PATH", REFERENCE_PLUGINS)
            .env("CNI_CONTAINERID", container)
            .env("CNI_NETNS", pod.path())
            // What the reference plugins look for iptables by.
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let start = Instant::now();
        let mut child = command
            .spawn()
            .with_context(|| format!("cannot start {}", self.program.display()))?;
        if let Some(mut input) = child.stdin.take() {
            input.write_all(self.configuration.as_bytes())?;
        }
        let output = child.wait_with_output()?;
        let took = start.elapsed();
        let said = String::from_utf8_lossy(&output.stdout);
        ensure!(output.status.success(), "{verb} of {}: {said}", self.program.display());
        Ok(Called {
            took,
            said: output.stdout,
        })
    }
}
