//! What it costs to write a flood to a file: our ring against `tcpdump -w`, each a process that does nothing else, in turn.

#![allow(clippy::print_stdout, reason = "figures are this program's output")]

mod flood;
mod ours;
mod stage;

pub use ours::capture;

use crate::benches::products::folder_in_memory;
use anyhow::{Context, Result, ensure};
use flood::Traffic;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};
use stage::Stage;
use std::{
    env, fs,
    io::{BufRead, BufReader, Read},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// The argument with which the benchmark starts itself as the process that captures; what follows is the interface and the file.
pub const CAPTURE: &str = "capture-engine-ours";
/// Runs of each with each kind of traffic.
const ROUNDS: usize = 3;
/// Size of both rings, in bytes.
const RING: usize = 16 << 20;
/// A process that used no CPU for so long has written all that it ever will; tcpdump looks after a second at the latest.
const AT_REST: Duration = Duration::from_millis(1500);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Engine {
    Ours,
    Tcpdump,
}

/// What one or more runs came to.
#[derive(Debug, Clone, Copy, Default)]
struct Figures {
    captured: u64,
    dropped: u64,
    /// Size of the file.
    bytes: u64,
    cpu: Duration,
}

impl Figures {
    fn add(&mut self, other: Self) {
        self.captured += other.captured;
        self.dropped += other.dropped;
        self.bytes += other.bytes;
        self.cpu += other.cpu;
    }

    /// CPU time for a captured packet in nanoseconds.
    fn cost(&self) -> f64 {
        self.cpu.as_nanos() as f64 / self.captured as f64
    }

    /// The same for a KiB of the file: what compares runs whose packets differ in length because they lost different ones.
    fn cost_of_kib(&self) -> f64 {
        self.cpu.as_nanos() as f64 * 1024.0 / self.bytes as f64
    }

    fn line(&self) -> String {
        format!(
            "captured {:>8}, dropped {:>7}, {:>8.1} ns CPU a packet, {:>6.1} ns a KiB",
            self.captured,
            self.dropped,
            self.cost(),
            self.cost_of_kib()
        )
    }
}

/// Runs it and prints the figures.
pub fn run() -> Result<()> {
    let stage = Stage::set()?;
    let mut ratios = Vec::new();
    for traffic in Traffic::ALL {
        println!("{}:", traffic.name());
        let [mut ours, mut theirs] = [Figures::default(); 2];
        for _ in 0..ROUNDS {
            for (engine, sum) in [(Engine::Ours, &mut ours), (Engine::Tcpdump, &mut theirs)] {
                let (sent, figures) = measure(&stage, engine, traffic)?;
                println!("  {engine:?}: sent {sent}, {}", figures.line());
                sum.add(figures);
            }
        }
        println!("  ours:   {}", ours.line());
        println!("  theirs: {} (tcpdump -w)", theirs.line());
        let (ratio, unit) = match traffic {
            Traffic::Datagrams { .. } => (ours.cost() / theirs.cost(), "packet"),
            Traffic::Stream => (ours.cost_of_kib() / theirs.cost_of_kib(), "KiB"),
        };
        ratios.push(format!("{ratio:.2}x a {unit} ({})", traffic.name()));
    }
    println!("ratio:  {} of tcpdump's CPU", ratios.join(", "));
    Ok(())
}

/// One run: what was sent, and what the engine made of it.
fn measure(stage: &Stage, engine: Engine, traffic: Traffic) -> Result<(String, Figures)> {
    let directory = folder_in_memory()?;
    let file = directory.path().join("pcap");
    let mut command = match engine {
        Engine::Ours => {
            let mut command = Command::new(env::current_exe()?);
            command
                .args([CAPTURE, stage::INTERFACE])
                .arg(&file)
                .stdin(Stdio::piped());
            command
        }
        Engine::Tcpdump => {
            let mut command = Command::new("tcpdump");
            command
                .args([
                    "-i",
                    stage::INTERFACE,
                    "-n",
                    "--time-stamp-precision=nano",
                    "-Z",
                    "root",
                ])
                .args(["-B", &(RING / 1024).to_string(), "-w"])
                .arg(&file)
                .stdin(Stdio::null());
            command
        }
    };
    // Where the sender hands packets over: what leaves passes the capture, and no queue before it can lose any.
    let child = stage.within_near(|| command.stderr(Stdio::piped()).spawn())??;
    let mut capturing = Capturing(child);
    let mut words = BufReader::new(capturing.0.stderr.take().context("no standard error")?);
    let mut line = String::new();
    while !line.contains("listening on") {
        line.clear();
        ensure!(words.read_line(&mut line)? > 0, "{engine:?} ended early");
    }
    // What starting costs is not a packet's.
    let at_start = capturing.cpu()?;
    let sent = traffic.send(stage)?;
    capturing.wait_until_at_rest()?;
    let cpu = capturing.end()?.saturating_sub(at_start);
    let mut summary = String::new();
    words.read_to_string(&mut summary)?;
    let figures = Figures {
        captured: count(&summary, "packets captured")?,
        dropped: count(&summary, "packets dropped by kernel")?,
        bytes: fs::metadata(&file)?.len(),
        cpu,
    };
    ensure!(
        figures.captured + figures.dropped >= sent.packets,
        "{} sent, but {figures:?}",
        sent.packets
    );
    Ok((sent.words, figures))
}

/// The number before some words in tcpdump's summary, whose form ours shares.
fn count(summary: &str, words: &str) -> Result<u64> {
    summary
        .lines()
        .find_map(|line| line.strip_suffix(words)?.trim().parse().ok())
        .with_context(|| format!("no {words:?} in {summary:?}"))
}

/// A process that captures; it ends with this.
struct Capturing(Child);

impl Capturing {
    /// CPU time that it used so far, user and system, from the scheduler's account in nanoseconds (Documentation/scheduler/sched-stats.rst).
    fn cpu(&self) -> Result<Duration> {
        let path = format!("/proc/{}/schedstat", self.0.id());
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
        let nanoseconds = text.split(' ').next().and_then(|first| first.parse().ok());
        Ok(Duration::from_nanos(nanoseconds.context("no CPU time")?))
    }

    fn wait_until_at_rest(&self) -> Result<()> {
        let deadline = Instant::now() + Duration::from_mins(1);
        let (mut used, mut since) = (self.cpu()?, Instant::now());
        while since.elapsed() < AT_REST {
            ensure!(Instant::now() < deadline, "still busy a minute after the flood");
            thread::sleep(Duration::from_millis(100));
            let now = self.cpu()?;
            // Looking whether there is anything costs some microseconds.
            if now > used + Duration::from_micros(500) {
                since = Instant::now();
            }
            used = now;
        }
        Ok(())
    }

    /// Has it write what it still holds and end, and returns the CPU time that it used in its life.
    fn end(&mut self) -> Result<Duration> {
        let pid = Pid::from_child(&self.0);
        match self.0.stdin.take() {
            Some(pipe) => drop(pipe),
            None => kill_process(pid, Signal::INT)?,
        }
        // Ended but not yet waited for, it still has an account.
        waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT)?;
        let cpu = self.cpu()?;
        let status = self.0.wait()?;
        ensure!(status.success(), "the capture ended with {status}");
        Ok(cpu)
    }
}

impl Drop for Capturing {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
