//! A capture of one pod under way, ours or a peer's, from its command to its file.

use crate::{flood, lab::Lab};
use anyhow::{Context, Result, bail, ensure};
use netcheck_oci::{ImageSpec, Layer};
use netcheck_rig::wait_until;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use std::{
    fs::{self, File},
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// The image with a tcpdump, and the pod's one container.
const IMAGE: &str = "docker.io/bench/tcpdump:1";
/// How long a capture may take to begin, and to end.
const PATIENCE: Duration = Duration::from_mins(2);
/// A file that did not grow for so long has all that will come.
const AT_REST: Duration = Duration::from_secs(3);

/// Who captures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    /// `kubectl netcheck capture POD -w FILE`.
    Ours,
    /// `kubectl exec POD -- tcpdump -w - > FILE`, as people do it today.
    Exec,
    /// tcpdump in the pod's namespace, with a large ring and no cluster in between: what there was to see.
    Beside,
}

/// A capture that runs.
#[derive(Debug)]
pub struct Capturing {
    who: Who,
    child: Child,
    file: PathBuf,
}

/// What a capture said of itself.
#[derive(Debug, Clone, Copy, Default)]
pub struct Told {
    /// Packets that passed the filter.
    pub accepted: u64,
    /// Of these, lost on the way.
    pub lost: u64,
}

impl Capturing {
    /// Starts one of a pod, whole packets of what [`flood::FILTER`] lets through.
    pub fn start(lab: &Lab, namespace: &str, pod: &str, who: Who, file: &Path) -> Result<Self> {
        let filter = flood::FILTER;
        let mut command = match who {
            Who::Ours => {
                let mut command = lab.plugin(["capture", pod, "-n", namespace, "-i", "eth0", "-o", "json"]);
                command
                    .args(["--duration", "0", "--count", "0", "--max-bytes", "0", "-w"])
                    .arg(file)
                    .args(["--", filter])
                    .stdout(Stdio::piped());
                command
            }
            Who::Exec => {
                let mut command = lab.rig.kubectl_command(["exec", "-n", namespace, pod, "--"]);
                command
                    .args(["tcpdump", "-Z", "root", "-n", "-i", "eth0", "-w", "-", filter])
                    .stdout(File::create(file)?);
                command
            }
            Who::Beside => {
                let mut command = Command::new("tcpdump");
                command
                    .args(["-Z", "root", "-n", "-i", "eth0", "-B", "65536", "-w"])
                    .arg(file)
                    .arg(filter)
                    .stdout(Stdio::null());
                command
            }
        };
        command.stdin(Stdio::null()).stderr(Stdio::piped());
        let child = match who {
            Who::Beside => lab.rig.pod_spawn(namespace, pod, command)?,
            Who::Ours | Who::Exec => command.spawn()?,
        };
        let mut capturing = Self {
            who,
            child,
            file: file.to_owned(),
        };
        if who == Who::Beside {
            capturing.wait_until_listening()?;
        }
        Ok(capturing)
    }

    fn wait_until_listening(&mut self) -> Result<()> {
        let mut words = BufReader::new(self.child.stderr.take().context("stderr")?);
        let mut line = String::new();
        while !line.contains("listening on") {
            line.clear();
            ensure!(words.read_line(&mut line)? > 0, "tcpdump ended early");
        }
        self.child.stderr = Some(words.into_inner());
        Ok(())
    }

    /// The process on this side.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until packets of a trickle are in the file.
    pub fn wait_for_packets(&mut self) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mut packets = 0;
            if self.file.exists() {
                crate::capture_file::packets(&self.file, |_| packets += 1)?;
            }
            if packets > 0 {
                return Ok(());
            }
            if let Some(status) = self.child.try_wait()? {
                let mut words = String::new();
                if let Some(mut stderr) = self.child.stderr.take() {
                    stderr.read_to_string(&mut words)?;
                }
                bail!("{:?} ended with {status}: {words}", self.who);
            }
            ensure!(Instant::now() < deadline, "{:?}: no packet yet", self.who);
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits until the file grows no more; when it last did.
    pub fn wait_until_at_rest(&self) -> Result<Instant> {
        let deadline = Instant::now() + PATIENCE;
        let (mut length, mut since) = (self.length()?, Instant::now());
        while since.elapsed() < AT_REST {
            ensure!(Instant::now() < deadline, "{:?} still writes", self.who);
            thread::sleep(Duration::from_millis(20));
            let now = self.length()?;
            if now != length {
                (length, since) = (now, Instant::now());
            }
        }
        Ok(since)
    }

    /// Bytes in its file.
    pub fn length(&self) -> Result<u64> {
        Ok(fs::metadata(&self.file)?.len())
    }

    /// Ends it as its user would, and says what it said.
    pub fn stop(mut self) -> Result<Told> {
        let pid = match self.who {
            Who::Ours | Who::Beside => Pid::from_child(&self.child),
            // Ending kubectl would lose what is on its way: the tcpdump in the pod is told, and the stream ends with it.
            Who::Exec => tcpdump_in_a_pod()?,
        };
        kill_process(pid, Signal::INT)?;
        let (mut report, mut words) = (String::new(), String::new());
        let stdout = self.child.stdout.take();
        let reading = thread::spawn(move || {
            stdout
                .map(|mut stdout| stdout.read_to_string(&mut report).map(|_| report))
                .transpose()
        });
        self.child.stderr.take().context("stderr")?.read_to_string(&mut words)?;
        let report = reading.join().ok().context("the reader panicked")??;
        self.child.wait()?;
        let Some(report) = report else {
            return Ok(Told {
                accepted: count(&words, "packets captured")? + count(&words, "packets dropped by kernel")?,
                lost: count(&words, "packets dropped by kernel")?,
            });
        };
        let report: serde_json::Value = serde_json::from_str(&report).with_context(|| words.clone())?;
        let status = &report["status"];
        ensure!(status["complete"] == true, "{report:#}\n{words}");
        let number = |name: &str| {
            status["total"][name]
                .as_u64()
                .with_context(|| format!("{name} in {report:#}"))
        };
        let accepted = number("accepted")?;
        Ok(Told {
            accepted,
            lost: accepted - number("written")?,
        })
    }
}

impl Drop for Capturing {
    fn drop(&mut self) {
        let _ended = self.child.kill().and_then(|()| self.child.wait());
    }
}

/// The number before some words in tcpdump's summary.
fn count(summary: &str, words: &str) -> Result<u64> {
    summary
        .lines()
        .find_map(|line| line.strip_suffix(words)?.trim().parse().ok())
        .with_context(|| format!("no {words:?} in {summary:?}"))
}

/// The one tcpdump that writes to its standard output, as nothing but the peer does.
fn tcpdump_in_a_pod() -> Result<Pid> {
    let entries = fs::read_dir("/proc")?.flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let mut found = pids.filter(|pid| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.starts_with(b"tcpdump\0-Z\0root\0-n\0-i\0eth0\0-w\0-\0")
    });
    found.find_map(Pid::from_raw).context("no tcpdump runs in a pod")
}

/// A pod `name` on a node that has a tcpdump, as an administrator's toolbox has.
pub fn toolbox(lab: &Lab, namespace: &str, name: &str, node: &str) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let archive = folder.path().join("tcpdump.tar");
    let mut image = ImageSpec::new(
        IMAGE,
        if cfg!(target_arch = "aarch64") {
            "arm64"
        } else {
            "amd64"
        },
    );
    image.env.insert("PATH".into(), "/usr/bin".into());
    image.layers = vec![tcpdump_with_libraries(&lab.rig)?];
    image.write_archive(&archive)?;
    lab.rig.image_load(&archive)?;
    lab.apply(&json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": name, "namespace": namespace },
        "spec": {
            "nodeName": node,
            "terminationGracePeriodSeconds": 1,
            "containers": [{
                "name": "toolbox",
                "image": IMAGE,
                "imagePullPolicy": "IfNotPresent",
                "command": ["/rig-workload", "sleep"],
            }]
        }
    }))?;
    wait_until("the toolbox runs", PATIENCE, || {
        let phase = lab.kubectl(&format!("-n {namespace} get pod {name} -o jsonpath={{.status.phase}}"));
        match phase {
            Ok(phase) if phase == "Running" => Ok(()),
            Ok(phase) => Err(phase),
            Err(error) => Err(error.to_string()),
        }
    })?;
    Ok(())
}

/// This machine's tcpdump with what it is linked to, and the rig's workload.
fn tcpdump_with_libraries(rig: &netcheck_rig::Rig) -> Result<Layer> {
    let program = "/usr/bin/tcpdump";
    let output = Command::new("ldd").arg(program).output().context("run ldd")?;
    let libraries = String::from_utf8_lossy(&output.stdout).into_owned();
    let libraries = libraries.split_whitespace().filter(|word| word.starts_with('/'));
    let mut layer = Layer::new()
        .file("/rig-workload", fs::read(rig.workload_program())?, 0o755)
        .file("/etc/passwd", "root:x:0:0:root:/:/bin/sh\n", 0o644);
    for path in libraries.chain([program]) {
        layer = layer.file(path, fs::read(path).with_context(|| format!("read {path}"))?, 0o755);
    }
    Ok(layer)
}
