//! The bundled CNI's daemon as shipped, in a network namespace that stands for a node.

use super::{
    fake_api::FakeApi,
    namespace::Namespace,
    products::{self, folder_in_memory},
};
use anyhow::{Context, Result, bail, ensure};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use serde_json::Value;
use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_mins(1);
/// Where it serves its metrics, in its namespace.
const METRICS: &str = "127.0.0.1:9469";

/// The process; it ends with this, and so does what it wrote on disk.
pub struct NodeDaemon {
    child: Child,
    folder: TempDir,
}

/// Passes so far, and how many seconds they took together.
#[derive(Debug, Clone, Copy)]
pub struct Passes {
    pub count: f64,
    pub seconds: f64,
}

impl NodeDaemon {
    pub fn start(namespace: &Namespace, node: &str, api: &FakeApi) -> Result<Self> {
        let folder = folder_in_memory()?;
        let place = |name: &str| folder.path().join(name);
        fs::write(place("kubeconfig"), api.kubeconfig())?;
        fs::create_dir(place("bpf"))?;
        mount("bpf", place("bpf"), "bpf", MountFlags::empty(), None).context("cannot mount a BPF filesystem")?;
        let log = fs::File::create(place("log"))?;
        let mut command = Command::new(products::daemon()?);
        command
            .args(["--node", node, "--listen", METRICS, "--plugin"])
            .arg(products::plugin()?)
            .arg("--bin")
            .arg(place("bin"))
            .arg("--conf")
            .arg(place("conf"))
            .arg("--state")
            .arg(place("state"))
            .arg("--bpf")
            .arg(place("bpf").join("netcheck-cni"))
            .env("KUBECONFIG", place("kubeconfig"))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        let child = namespace
            .within(|| command.spawn())?
            .context("cannot start the daemon")?;
        Ok(Self { child, folder })
    }

    /// The plugin's state directory.
    pub fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    /// Waits until a pass has ended without failure and `state.json` is as wanted.
    pub fn wait_for(&mut self, what: &str, is_so: impl Fn(&Value) -> bool) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let text = fs::read(self.state().join("state.json")).unwrap_or_default();
            let state: Value = serde_json::from_slice(&text).unwrap_or_default();
            if state["lastPass"]["failed"] == Value::Array(Vec::new()) && is_so(&state) {
                return Ok(());
            }
            let ended = self.child.try_wait()?;
            if ended.is_some() || Instant::now() > deadline {
                let log = fs::read_to_string(self.folder.path().join("log"))?;
                bail!("{what} does not come, {ended:?}: {state}\n{log}");
            }
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// On how many hooks it has programs.
    pub fn hooks(&self) -> usize {
        let links = self.folder.path().join("bpf/netcheck-cni/v1/links");
        fs::read_dir(links).map_or(0, Iterator::count)
    }

    /// A line of its `/proc/PID/status` in MiB: `VmHWM`, the most memory that it ever held, `VmRSS`, what it holds (proc_pid_status(5)).
    pub fn memory(&self, name: &str) -> Result<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB"));
        Ok(kilobytes.with_context(|| format!("no {name}"))?.trim().parse::<f64>()? / 1024.0)
    }

    /// Seconds of processor time that it used so far.
    pub fn processor_time(&self) -> Result<f64> {
        let path = format!("/proc/{}/task", self.child.id());
        let mut sum = 0.0;
        for task in fs::read_dir(path)? {
            let text = fs::read_to_string(task?.path().join("schedstat"))?;
            let nanoseconds: f64 = text.split(' ').next().context("no processor time")?.parse()?;
            sum += nanoseconds / 1e9;
        }
        ensure!(sum > 0.0, "no processor time");
        Ok(sum)
    }
}

/// Passes of the daemon in a namespace, by its metrics.
pub fn passes(namespace: &Namespace) -> Result<Passes> {
    let mut stream = namespace.within(|| TcpStream::connect(METRICS))??;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: bench\r\nconnection: close\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let number = |name: &str| -> Result<f64> {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        Ok(line
            .with_context(|| format!("no {name} among the metrics"))?
            .trim()
            .parse()?)
    };
    Ok(Passes {
        count: number("netcheck_cni_pass_duration_seconds_count ")?,
        seconds: number("netcheck_cni_pass_duration_seconds_sum ")?,
    })
}

impl Drop for NodeDaemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = unmount(self.folder.path().join("bpf"), UnmountFlags::DETACH);
    }
}
