//! How a capture ends: what was got is kept and readable, and nothing stays in the cluster.

use crate::{
    Case,
    death::{GONE, leaves_only_the_namespace},
};
use anyhow::{Context, Result, ensure};
use netcheck_e2e::{
    capture::{Capture, Files, in_bash},
    cutting_proxy::{Cut, CuttingProxy},
    lab::{Lab, Namespace},
    traffic::{Inside, talkers},
    tshark::{blocks, count, show},
};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    net::SocketAddr,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

pub const CASES: &[Case] = &[
    (
        "capture endings: Ctrl-C closes the file and leaves nothing",
        interrupted,
    ),
    ("capture endings: a reader that leaves is no failure", reader_leaves),
    (
        "capture endings: a full disk keeps whole blocks, says so, exit code 3",
        disk_full,
    ),
    (
        "capture endings: kill -9 leaves a readable file, and nothing in the cluster",
        killed,
    ),
    (
        "capture endings: an agent killed: incomplete, said on stderr and in the file, what was got is kept",
        agent_killed,
    ),
    (
        "capture endings: a stream cut once loses nothing; cut for good is exit code 3",
        cut,
    ),
];

/// Datagrams that are small enough in number to be carried whatever the machine does.
const FEW: u32 = 2000;
/// How long a capture that ended by itself may take to leave the cluster as it was.
const SOON: Duration = Duration::from_secs(20);

/// Two pods, and a way to send from one to a port of the other on which nobody listens.
struct Scene<'a> {
    namespace: Namespace<'a>,
    inside: Inside,
    to: SocketAddr,
    files: Files,
}

impl<'a> Scene<'a> {
    fn new(lab: &'a Lab) -> Result<Self> {
        let namespace = lab.namespace("privileged")?;
        talkers(lab, &namespace, &[("one", "n1"), ("two", "n2")])?;
        Ok(Self {
            inside: Inside::pod(lab, &namespace, "one")?,
            to: (namespace.address("two", false)?, 7).into(),
            namespace,
            files: Files::new()?,
        })
    }

    /// `capture one -i eth0 ARGUMENTS… -- udp dst port 7`
    fn command(&self, lab: &Lab, arguments: &[&str]) -> Command {
        let mut command = lab.netcheck(["capture", "-n", &self.namespace.name, "one", "-i", "eth0"]);
        command.args(arguments).args(["--", "udp dst port 7"]);
        command
    }

    /// Sends, and waits until the file has packets.
    fn some_arrive(&self, path: &Path) -> Result<u64> {
        self.inside.datagrams(self.to, FEW, 500)?;
        Ok(netcheck_rig::wait_until(
            "packets are in the file",
            SOON,
            || match count(path) {
                Ok(packets @ 1..) => Ok(packets),
                other => Err(format!("{other:?}")),
            },
        )?)
    }
}

fn interrupted(lab: &Lab) -> Result<()> {
    let scene = Scene::new(lab)?;
    let (path, file) = scene.files.path("interrupted.pcapng");
    let capture = Capture::of(scene.command(lab, &["-w", &file, "-o", "json"]))?;
    let sent = scene.inside.datagrams(scene.to, FEW, 500)?;
    let captured = capture.stop()?;
    ensure!(
        captured.report()?["status"]["endedBy"] == "interrupted",
        "{}",
        captured.all()
    );
    ensure!(count(&path)? == sent, "{} of {sent}", count(&path)?);
    ensure!(
        blocks(&path)?.interface_drops.iter().all(|dropped| *dropped == 0),
        "no clean end of the file"
    );
    lab.wait_until_clean(SOON)
}

fn reader_leaves(lab: &Lab) -> Result<()> {
    let scene = Scene::new(lab)?;
    for (arguments, behind) in [(&[][..], "| head -1"), (&["-w", "-"], "| head -c 100 | wc -c")] {
        let capture = Capture::of(in_bash(
            &scene.command(lab, arguments),
            &format!("set -o pipefail; run {behind}"),
        ))?;
        let captured = netcheck_rig::wait_until("the capture ends with its reader", SOON, || {
            scene
                .inside
                .datagrams(scene.to, 500, 500)
                .map_err(|error| error.to_string())?;
            if capture.said().contains("the reader has left") {
                Ok(())
            } else {
                Err(capture.said())
            }
        })
        .map_err(Into::into)
        .and_then(|()| capture.end())?;
        captured.expect(0)?;
        ensure!(
            String::from_utf8_lossy(&captured.stdout).lines().count() == 1,
            "{}",
            captured.all()
        );
        ensure!(!captured.stderr.contains("error"), "{}", captured.all());
    }
    lab.wait_until_clean(SOON)
}

fn disk_full(lab: &Lab) -> Result<()> {
    let scene = Scene::new(lab)?;
    let (disk, _) = scene.files.path("disk");
    let (kept, _) = scene.files.path("kept.pcapng");
    std::fs::create_dir(&disk)?;
    let file = disk.join("full.pcapng").display().to_string();
    let command = scene.command(lab, &["-w", &file, "-o", "json"]);
    // A small disk that only this capture sees.
    let script = format!(
        "mount -t tmpfs -o size=1m none {disk} && {{ run; code=$?; cp {file} {kept}; exit $code; }}",
        disk = disk.display(),
        kept = kept.display()
    );
    let bash = in_bash(&command, &script);
    let mut unshare = Command::new("unshare");
    unshare.arg("--mount").arg(bash.get_program()).args(bash.get_args());
    unshare
        .envs(bash.get_envs().filter_map(|(name, value)| Some((name, value?))))
        .stdin(Stdio::null());
    let capture = Capture::of(unshare)?;
    let sent = scene.inside.datagrams(scene.to, 5000, 1000)?;
    let captured = capture.end()?;
    captured.expect(3)?;
    for words in ["full.pcapng", "No space left", "can be read", "lost", "at the output"] {
        ensure!(
            captured.stderr.contains(words),
            "{words:?} is not said: {}",
            captured.all()
        );
    }
    let total = captured.report()?["status"]["total"].clone();
    let number = |key: &str| total[key].as_u64().unwrap_or_default();
    ensure!(
        count(&kept)? == number("written") && number("written") > 0,
        "{}: {total:#}",
        count(&kept)?
    );
    // It ends when the disk is full, which may be before all were sent.
    ensure!(
        number("written") + number("lostAtOutput") == number("accepted") && number("accepted") <= sent,
        "{sent} were sent: {total:#}"
    );
    show(&kept, &["-c", "1"])?;
    lab.wait_until_clean(SOON)
}

fn killed(lab: &Lab) -> Result<()> {
    let scene = Scene::new(lab)?;
    let (path, file) = scene.files.path("killed.pcapng");
    let capture = Capture::of(scene.command(lab, &["-w", &file]))?;
    scene.some_arrive(&path)?;
    kill_process(capture.pid(), Signal::KILL)?;
    let captured = capture.end()?;
    ensure!(captured.status.code().is_none(), "{}", captured.all());
    ensure!(
        count(&path)? > 0 && !show(&path, &[])?.is_empty(),
        "nothing is left of the file"
    );
    lab.wait_until_clean(GONE)
}

fn agent_killed(lab: &Lab) -> Result<()> {
    let scene = Scene::new(lab)?;
    let (path, file) = scene.files.path("agent.pcapng");
    let capture = Capture::of(scene.command(lab, &["-w", &file, "-o", "json"]))?;
    let arrived = scene.some_arrive(&path)?;
    let agents = lab.agents();
    ensure!(!agents.is_empty(), "no agent runs");
    for (pid, _) in agents {
        kill_process(Pid::from_raw(pid).context("a process id")?, Signal::KILL)?;
    }
    let captured = capture.end()?;
    captured.expect(3)?;
    ensure!(captured.stderr.contains("incomplete"), "{}", captured.stderr);
    let report = captured.report()?;
    ensure!(report["status"]["complete"] == false, "{report:#}");
    ensure!(
        count(&path)? >= arrived,
        "{arrived} were in the file, now {}",
        count(&path)?
    );
    ensure!(report["status"]["total"]["written"] == count(&path)?, "{report:#}");
    let comments = blocks(&path)?.comments;
    ensure!(
        comments.iter().any(|comment| comment.contains("incomplete")),
        "{comments:?}"
    );
    lab.wait_until_clean(GONE)
}

fn cut(lab: &Lab) -> Result<()> {
    let scene = Scene::new(lab)?;
    // Reading the cluster and starting agents is below that, the packets are beyond it.
    for (cut, code) in [(Cut::OnceAfter(4_000_000), 130), (Cut::ForGoodAfter(4_000_000), 3)] {
        let (path, file) = scene.files.path("cut.pcapng");
        let proxy = CuttingProxy::start(lab.server()?, cut)?;
        let kubeconfig = lab.kubeconfig_through(proxy.address())?;
        let mut command = scene.command(lab, &["-w", &file, "-o", "json"]);
        command.env("KUBECONFIG", kubeconfig);
        let capture = Capture::of(command)?;
        ensure!(
            proxy.cuts() == 0,
            "cut before the first packet, after {} bytes",
            proxy.carried()
        );
        let mut sent = 0;
        netcheck_rig::wait_until("the stream is cut", SOON, || {
            sent += scene
                .inside
                .datagrams(scene.to, 1000, 1400)
                .map_err(|error| error.to_string())?;
            if proxy.cuts() > 0 {
                Ok(())
            } else {
                Err(format!("{} bytes carried", proxy.carried()))
            }
        })?;
        let captured = if code == 130 {
            capture.interrupt()?
        } else {
            capture.end()?
        };
        captured.expect(code)?;
        let report = captured.report()?;
        let total = &report["status"]["total"];
        ensure!(total["written"] == count(&path)?, "{}: {report:#}", count(&path)?);
        if code == 130 {
            ensure!(
                total["accepted"] == sent && total["written"] == sent,
                "{sent} were sent: {report:#}"
            );
            ensure!(report["status"]["complete"] == true, "{report:#}");
            ensure!(
                report["status"]["notes"].to_string().contains("resumed"),
                "nothing is said: {report:#}"
            );
        } else {
            ensure!(report["status"]["complete"] == false && count(&path)? > 0, "{report:#}");
            ensure!(captured.stderr.contains("incomplete"), "{}", captured.stderr);
        }
    }
    leaves_only_the_namespace(lab)
}
