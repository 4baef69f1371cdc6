//! Captures of pods that come and go: armed before they are there, kept to them through rescheduling, and noted when they are gone.

#![allow(
    clippy::print_stderr,
    reason = "gaps are worth seeing, and are goals rather than limits"
)]

use crate::Case;
use anyhow::{Context, Result, ensure};
use netcheck_e2e::{
    lab::{Lab, Namespace},
    manifests,
};
use netcheck_node_state::{residents, started_ns};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    io::Read as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, SystemTime},
};

pub const CASES: &[Case] = &[
    (
        "coming: --wait is there before the pod, and has all that a tcpdump beside it sees",
        first_packets,
    ),
    (
        "coming: --wait for a workload that does not exist yet",
        workload_to_come,
    ),
    ("coming: --wait in vain is exit code 3, and leaves nothing", in_vain),
    ("coming: --wait and --follow refuse ephemeral containers", not_ephemeral),
    (
        "coming: --follow keeps to a workload through a deleted pod and a rollout",
        followed,
    ),
    (
        "going: a pod deleted in mid-capture is noted in the file and the report",
        deleted,
    ),
];

/// How long a pod may take to come or go.
const SOON: Duration = Duration::from_mins(1);

/// A capture that runs.
struct Running {
    child: Child,
    said: PathBuf,
    folder: tempfile::TempDir,
}

/// What came of it.
struct Ended {
    code: Option<i32>,
    report: Value,
    said: String,
    folder: tempfile::TempDir,
}

impl Running {
    /// Starts `capture -n NAMESPACE WORDS… -w FILE -o json` and waits until it says that it captures.
    fn start(lab: &Lab, namespace: &Namespace<'_>, words: &[&str]) -> Result<Self> {
        let folder = tempfile::tempdir().context("make a folder")?;
        let said = folder.path().join("said");
        let mut command = lab.netcheck(["capture", "-n", &namespace.name]);
        command
            .args(words)
            .args(["-o", "json", "-w"])
            .arg(folder.path().join("file.pcapng"));
        command
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(&said).context("make a file")?);
        let child = command.spawn().context("start a capture")?;
        let running = Self { child, said, folder };
        running.wait_until_said("Ctrl-C ends it")?;
        Ok(running)
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("file.pcapng")
    }

    fn said(&self) -> String {
        std::fs::read_to_string(&self.said).unwrap_or_default()
    }

    fn wait_until_said(&self, words: &str) -> Result<()> {
        Ok(netcheck_rig::wait_until(
            &format!("the capture says {words:?}"),
            SOON,
            || {
                let said = self.said();
                if said.contains(words) { Ok(()) } else { Err(said) }
            },
        )?)
    }

    /// Ctrl-C, and its end.
    fn stop(self) -> Result<Ended> {
        kill_process(Pid::from_child(&self.child), Signal::INT).context("interrupt the capture")?;
        self.end()
    }

    /// Its end.
    fn end(mut self) -> Result<Ended> {
        let mut stdout = Vec::new();
        let mut pipe = self.child.stdout.take().context("stdout")?;
        pipe.read_to_end(&mut stdout).context("read the report")?;
        let status = self.child.wait().context("wait for the capture")?;
        let said = self.said();
        Ok(Ended {
            code: status.code(),
            report: serde_json::from_slice(&stdout).with_context(|| said.clone())?,
            said,
            folder: self.folder,
        })
    }
}

impl Ended {
    fn path(&self) -> PathBuf {
        self.folder.path().join("file.pcapng")
    }

    fn sources(&self) -> Vec<&Value> {
        self.report["status"]["sources"]
            .as_array()
            .into_iter()
            .flatten()
            .collect()
    }

    fn source(&self, name: &str) -> Result<&Value> {
        let found = self.sources().into_iter().find(|source| source["name"] == name);
        found.with_context(|| format!("no source {name}: {:#}", self.report))
    }

    fn is_complete(&self) -> Result<()> {
        ensure!(
            self.report["status"]["complete"] == true,
            "{:#}\n{}",
            self.report,
            self.said
        );
        let lost = &self.report["status"]["total"];
        for place in ["lostInRing", "lostInAgent", "lostInStream", "lostAtOutput"] {
            ensure!(lost[place] == 0, "{place}: {lost:#}");
        }
        Ok(())
    }
}

/// What tshark says of a file, a line for each packet.
fn tshark(path: &Path, arguments: &[&str]) -> Result<Vec<String>> {
    let output = Command::new("tshark")
        .arg("-r")
        .arg(path)
        .args(arguments)
        .output()
        .context("run tshark")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8_lossy(&output.stdout)
        .lines()
        .map(str::to_owned)
        .collect())
}

/// A hash of each packet of an interface, as often as it is there.
fn hashes(path: &Path, filter: &str) -> Result<Vec<String>> {
    let fields = [
        "-o",
        "frame.generate_md5_hash:TRUE",
        "-T",
        "fields",
        "-e",
        "frame.md5_hash",
        "-Y",
        filter,
    ];
    let mut hashes = tshark(path, &fields)?;
    hashes.sort();
    Ok(hashes)
}

/// A pod on a node that is asked at its port as soon as it runs.
fn probed_pod(namespace: &Namespace<'_>, name: &str, node: &str) -> Value {
    let mut pod = manifests::server_pod(&namespace.name, name, node, &["serve", "--tcp", "8080"], 8080);
    pod["spec"]["containers"][0]["readinessProbe"] = probe();
    pod
}

fn probe() -> Value {
    json!({ "tcpSocket": { "port": 8080 }, "periodSeconds": 1 })
}

fn deployment(namespace: &Namespace<'_>, name: &str, replicas: u32) -> Value {
    let pod = probed_pod(namespace, name, "");
    let mut spec = pod["spec"].clone();
    if let Some(spec) = spec.as_object_mut() {
        spec.remove("nodeName");
    }
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": { "name": name, "namespace": namespace.name },
        "spec": {
            "replicas": replicas,
            "selector": { "matchLabels": { "app": name } },
            "template": { "metadata": { "labels": { "app": name } }, "spec": spec },
        },
    })
}

/// tcpdump on eth0 of the namespace that appears next on a node, as early as a shell can start it.
struct Beside {
    child: Child,
    file: PathBuf,
}

impl Beside {
    fn arm(lab: &Lab, node: &str, folder: &Path) -> Result<Self> {
        let node = lab.rig.node(node)?;
        let root = format!(
            "/proc/{}/root/run/netns",
            node.init_pid().context("the node's first process")?
        );
        let file = folder.join("beside.pcap");
        let script = format!(
            "before=$(ls {root}); while :; do for n in $(ls {root}); do case \" $(echo $before) \" in *\" $n \"*) continue;; esac
             if nsenter --net={root}/$n ip link show eth0 up >/dev/null 2>&1; then
               exec nsenter --net={root}/$n tcpdump -Z root -i eth0 -U --immediate-mode -w {}; fi; done; done",
            file.display()
        );
        let child = Command::new("bash")
            .args(["-c", &script])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("start tcpdump")?;
        Ok(Self { child, file })
    }

    fn stop(mut self) -> Result<PathBuf> {
        kill_process(Pid::from_child(&self.child), Signal::INT).context("end tcpdump")?;
        self.child.wait().context("wait for tcpdump")?;
        Ok(self.file.clone())
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        let _ended = self.child.kill().and_then(|()| self.child.wait());
    }
}

fn nanoseconds(time: &Value) -> Result<u64> {
    let time = time.as_str().context("a time")?;
    let output = Command::new("date")
        .args(["-d", time, "+%s%N"])
        .output()
        .context("run date")?;
    String::from_utf8_lossy(&output.stdout)
        .trim()
        .parse()
        .with_context(|| format!("a time: {time}"))
}

fn first_packets(lab: &Lab) -> Result<()> {
    let namespace = lab.namespace("privileged")?;
    let folder = tempfile::tempdir().context("make a folder")?;
    // Without --follow the capture ends with the pod.
    let running = Running::start(lab, &namespace, &["late", "--wait", "-i", "eth0", "--duration", "2m"])?;
    let beside = Beside::arm(lab, "n2", folder.path())?;
    lab.apply(&probed_pod(&namespace, "late", "n2"))?;
    namespace.wait_ready()?;
    let uid = lab.kubectl(&format!(
        "-n {} get pod late -o jsonpath={{.metadata.uid}}",
        namespace.name
    ))?;
    let first_process = residents(|one| one == uid.trim())
        .iter()
        .filter_map(|resident| started_ns(resident.pid))
        .min()
        .context("the pod's first process")?;
    let theirs = beside.stop()?;
    lab.kubectl(&format!("-n {} delete pod late", namespace.name))?;
    let ended = running.end()?;
    ensure!(ended.code == Some(0), "{:?}\n{}", ended.code, ended.said);
    ended.is_complete()?;
    ensure!(
        ended.report["status"]["endedBy"] == "every source is gone",
        "{:#}",
        ended.report
    );
    let source = ended.source(&format!("pod {}/late", namespace.name))?;
    let gap = source["joined"]["gapMilliseconds"].as_f64();
    let gap = gap.with_context(|| format!("no gap: {source:#}"))?;
    eprintln!("gap: {gap} ms");
    // A clock tick is what the kernel's start times are good for.
    let from = nanoseconds(&source["joined"]["capturedFrom"])?;
    ensure!(
        from < first_process + 10_000_000,
        "captured from {from}, first process at {first_process}"
    );
    let ours = ended.path();
    let mut ours_left = hashes(&ours, "frame")?;
    let theirs_all = hashes(&theirs, "frame")?;
    ensure!(!theirs_all.is_empty(), "tcpdump saw nothing");
    eprintln!(
        "{} packets, {} of them seen by tcpdump",
        ours_left.len(),
        theirs_all.len()
    );
    for hash in &theirs_all {
        let at = ours_left.iter().position(|one| one == hash);
        let missing = || format!("frame.md5_hash == \"{hash}\"");
        let told = || -> Result<String> {
            let hashed = ["-o", "frame.generate_md5_hash:TRUE"];
            let one = tshark(&theirs, &[&hashed[..], &["-Y", &missing()]].concat())?;
            Ok(format!(
                "{one:?} is not among ours: {:#?}; theirs: {:#?}",
                tshark(&ours, &["-t", "e"])?,
                tshark(&theirs, &["-t", "e"])?
            ))
        };
        let Some(at) = at else { anyhow::bail!("{}", told()?) };
        ours_left.remove(at);
    }
    // The kubelet's first question is there, and what IPv6 says first of all.
    let syns = tshark(
        &ours,
        &["-Y", "tcp.dstport == 8080 && tcp.flags.syn == 1 && tcp.flags.ack == 0"],
    )?;
    ensure!(!syns.is_empty(), "no SYN: {:?}", tshark(&ours, &[])?);
    let early = tshark(
        &ours,
        &["-Y", "icmpv6.type == 143 || (icmpv6.type == 135 && ipv6.src == ::)"],
    )?;
    ensure!(
        !early.is_empty(),
        "nothing of IPv6's beginning: {:?}",
        tshark(&ours, &[])?
    );
    // What is said of the beginning and the end stands in the file.
    let text = String::from_utf8_lossy(&std::fs::read(&ours).context("read the file")?).into_owned();
    ensure!(
        text.contains("ms after its network namespace appeared"),
        "no gap in the file"
    );
    ensure!(text.contains("late was deleted at"), "no end in the file");
    lab.wait_until_clean(SOON)
}

fn workload_to_come(lab: &Lab) -> Result<()> {
    let namespace = lab.namespace("privileged")?;
    let running = Running::start(lab, &namespace, &["deploy/late", "--wait"])?;
    lab.apply(&deployment(&namespace, "late", 2))?;
    lab.kubectl(&format!(
        "-n {} rollout status deployment/late --timeout=60s",
        namespace.name
    ))?;
    let ended = running.stop()?;
    ensure!(ended.code == Some(130), "{:?}: {}", ended.code, ended.said);
    ensure!(ended.sources().len() == 2, "{:#}", ended.report);
    for source in ended.sources() {
        let gap = source["joined"]["gapMilliseconds"].as_f64();
        ensure!(
            gap.is_some() && source["account"]["written"].as_u64() > Some(0),
            "{source:#}"
        );
        eprintln!("gap: {gap:?} ms");
    }
    Ok(())
}

fn in_vain(lab: &Lab) -> Result<()> {
    let namespace = lab.namespace("privileged")?;
    let line = ["capture", "-n", &namespace.name, "never", "--wait", "--duration", "2s"];
    let output = lab.netcheck(line).output().context("run a capture")?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.code() == Some(3), "{:?}: {said}", output.status);
    ensure!(said.contains("nothing was captured"), "{said}");
    lab.wait_until_clean(SOON)
}

fn not_ephemeral(lab: &Lab) -> Result<()> {
    for flag in ["--wait", "--follow"] {
        let output = lab
            .netcheck(["capture", "x", flag, "--via", "ephemeral"])
            .output()
            .context("run a capture")?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.code() == Some(2), "{:?}: {said}", output.status);
        ensure!(said.contains("need an agent on every node"), "{said}");
    }
    Ok(())
}

fn followed(lab: &Lab) -> Result<()> {
    let namespace = lab.namespace("privileged")?;
    let name = &namespace.name;
    lab.apply(&deployment(&namespace, "web", 2))?;
    let settled = || lab.kubectl(&format!("-n {name} rollout status deployment/web --timeout=90s"));
    settled()?;
    let pods = || -> Result<BTreeSet<String>> {
        let names = lab.kubectl(&format!("-n {name} get pods -o name"))?;
        Ok(names
            .lines()
            .map(|line| line.replacen("pod/", &format!("pod {name}/"), 1))
            .collect())
    };
    let at_first = pods()?;
    let running = Running::start(lab, &namespace, &["deploy/web", "--follow"])?;
    netcheck_rig::wait_until("packets of each", SOON, || {
        let fields = ["-T", "fields", "-e", "frame.interface_name"];
        let lines = tshark(&running.path(), &fields).map_err(|error| error.to_string())?;
        let is_seen = |pod: &String| {
            lines
                .iter()
                .any(|name| name.starts_with(pod.trim_start_matches("pod ")))
        };
        if at_first.iter().all(is_seen) {
            Ok(())
        } else {
            Err(format!("{} packets", lines.len()))
        }
    })?;
    let first = at_first
        .first()
        .context("a pod")?
        .rsplit('/')
        .next()
        .unwrap_or_default();
    lab.kubectl(&format!("-n {name} delete pod {first}"))?;
    settled()?;
    let mut all = at_first.clone();
    all.extend(pods()?);
    lab.kubectl(&format!("-n {name} rollout restart deployment/web"))?;
    settled()?;
    let stays = netcheck_rig::wait_until("old pods are gone", SOON, || {
        let there = pods().map_err(|error| error.to_string())?;
        if there.len() == 2 {
            Ok(there)
        } else {
            Err(format!("{there:?}"))
        }
    })?;
    all.extend(stays.iter().cloned());
    ensure!(all.len() == 5, "{all:?}");
    let gone = all.difference(&stays).count();
    netcheck_rig::wait_until("each pod's end is noticed", SOON, || {
        let noticed = running.said().matches(" was deleted at ").count();
        if noticed == gone {
            Ok(())
        } else {
            Err(format!("{noticed} of {gone}: {}", running.said()))
        }
    })?;
    let ended = running.stop()?;
    ended.is_complete()?;
    for pod in &all {
        let source = ended.source(pod)?;
        ensure!(source["account"]["written"].as_u64() > Some(0), "{source:#}");
        ensure!(source["joined"].is_null() == at_first.contains(pod), "{source:#}");
        let remarks = source["remarks"].to_string();
        ensure!(remarks.contains("was deleted at") != stays.contains(pod), "{source:#}");
        eprintln!("{pod}: gap {}", source["joined"]["gapMilliseconds"]);
    }
    // An interface for each, in one file.
    let interfaces: BTreeSet<String> = tshark(&ended.path(), &["-T", "fields", "-e", "frame.interface_name"])?
        .into_iter()
        .collect();
    for pod in &all {
        let wanted = format!("{}/eth0", pod.trim_start_matches("pod "));
        ensure!(interfaces.contains(&wanted), "no {wanted}: {interfaces:?}");
    }
    lab.wait_until_clean(SOON)
}

fn deleted(lab: &Lab) -> Result<()> {
    let namespace = lab.namespace("privileged")?;
    for pod in ["gone", "last"] {
        lab.apply(&probed_pod(&namespace, pod, "n1"))?;
    }
    namespace.wait_ready()?;
    let begun = SystemTime::now();
    let running = Running::start(lab, &namespace, &["gone", "last"])?;
    // The kubelet's probes come to both of them.
    netcheck_rig::wait_until("packets of both", SOON, || {
        let fields = ["-T", "fields", "-e", "frame.interface_name"];
        let lines = tshark(&running.path(), &fields).map_err(|error| error.to_string())?;
        let has = |pod: &str| lines.iter().any(|name| name.contains(pod));
        if has("/gone/") && has("/last/") {
            Ok(())
        } else {
            Err(format!("{} packets", lines.len()))
        }
    })?;
    lab.kubectl(&format!("-n {} delete pod gone", namespace.name))?;
    running.wait_until_said(&format!("pod {}/gone was deleted at", namespace.name))?;
    // It goes on with the other one, and ends by itself when that is gone too.
    lab.kubectl(&format!("-n {} delete pod last", namespace.name))?;
    let ended = running.end()?;
    ensure!(ended.code == Some(0), "{:?}: {}", ended.code, ended.said);
    ended.is_complete()?;
    ensure!(
        ended.report["status"]["endedBy"] == "every source is gone",
        "{:#}",
        ended.report
    );
    ensure!(
        begun.elapsed().unwrap_or_default() < Duration::from_mins(4),
        "it ended by its limit"
    );
    for pod in ["gone", "last"] {
        let source = ended.source(&format!("pod {}/{pod}", namespace.name))?;
        let remarks = source["remarks"].to_string();
        ensure!(
            remarks.contains("was deleted at") && remarks.contains("captured until then"),
            "{source:#}"
        );
        ensure!(source["account"]["written"].as_u64() > Some(0), "{source:#}");
        let text = String::from_utf8_lossy(&std::fs::read(ended.path()).context("read the file")?).into_owned();
        ensure!(text.contains(&format!("{pod} was deleted at")), "not noted in the file");
    }
    ensure!(!tshark(&ended.path(), &[])?.is_empty(), "nothing captured");
    lab.wait_until_clean(SOON)
}
