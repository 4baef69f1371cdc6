//! What counting costs: pods of two nodes talk through the tunnel without programs, with ones that do nothing, and with those that count, in
//! turns. What those that do nothing cost is the kernel's price for programs at these hooks, whatever they do. `cargo bench -p netcheck-cni-bpf`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    dead_code,
    reason = "a benchmark prints, stops at what it did not expect, and shares the tests' namespaces"
)]

#[path = "../tests/kernel/lab.rs"]
mod lab;
#[path = "../tests/kernel/shell.rs"]
mod shell;
#[path = "../tests/kernel/traffic.rs"]
mod traffic;

use crate::{
    lab::{Lab, LabNode, Namespace},
    shell::json,
    traffic::tcp_flow,
};
use aya::{
    Ebpf,
    programs::{SchedClassifier, TcAttachType},
};
use netcheck_cni_bpf::Program;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use std::{
    io::{Read, Write},
    net::{IpAddr, TcpListener, TcpStream},
    thread,
    time::Instant,
};

/// Many short turns: what else the machine does changes more slowly than they do, and where the scheduler puts a turn's threads evens out.
const TURNS: usize = 100;
const BYTES: usize = 20_000_000;
const ROUNDS: u32 = 1_000;

/// A program that does nothing.
const IDLE: &str = r#"
__attribute__((section("classifier"), used)) int idle(void *skb) { return -1; }
char LICENSE[] __attribute__((section("license"), used)) = "Apache-2.0";
"#;

/// What hangs at the hooks in a turn.
#[derive(Clone, Copy, PartialEq)]
enum Arm {
    Nothing,
    Idle,
    Counting,
}

/// In the order of their results.
const ARMS: [Arm; 3] = [Arm::Nothing, Arm::Idle, Arm::Counting];

fn main() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: needs root");
        return;
    }
    shell::leave_mounts();
    let lab = Lab::new();
    let object = idle_object();
    let mut counting = [lab.a.start(&lab.b, None), lab.b.start(&lab.a, None)];
    let mut results: [Vec<Turn>; 3] = Default::default();
    measure(&lab);
    for turn in 0..TURNS {
        // Each comes first, second and third equally often, so that a drift of the machine favours none.
        for place in (0..ARMS.len()).map(|next| (turn + next) % ARMS.len()) {
            let arm = ARMS[place];
            for (bpf, node) in counting.iter_mut().zip([&lab.a, &lab.b]) {
                let hooks = if arm == Arm::Counting { node.hooks() } else { Vec::new() };
                node.attach(bpf, &hooks);
            }
            let idle = (arm == Arm::Idle).then(|| [&lab.a, &lab.b].map(|node| attach_idle(node, &object)));
            results[place].push(measure(&lab));
            drop(idle);
        }
    }
    println!("per run of a program: {}", nanoseconds_per_run(&lab));
    report("throughput, Gbit/s", &results, |turn| turn.throughput);
    report("round trip, µs", &results, |turn| turn.round_trip);
}

/// Medians of all turns, and the median of the ratios within each turn.
fn report(what: &str, [nothing, idle, counting]: &[Vec<Turn>; 3], of: fn(&Turn) -> f64) {
    let ratio = |with: &[Turn], without: &[Turn]| {
        let pairs = with.iter().zip(without);
        median(pairs.map(|(with, without)| of(with) / of(without)))
    };
    println!(
        "{what}: {:.2} without programs, {:.2} with counting; ratio, median of {TURNS} turns: counting {:.3}, programs that do nothing {:.3}",
        median(nothing.iter().map(of)),
        median(counting.iter().map(of)),
        ratio(counting, nothing),
        ratio(idle, nothing),
    );
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    f64::midpoint(values[(values.len() - 1) / 2], values[values.len() / 2])
}

fn idle_object() -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let (source, object) = (folder.path().join("idle.c"), folder.path().join("idle.o"));
    std::fs::write(&source, IDLE).unwrap();
    let (source, to) = (source.display(), object.display());
    shell::run(&format!("clang -target bpf -O2 -g -c {source} -o {to}"));
    std::fs::read(object).unwrap()
}

/// At the hooks of those that count; they go when what is returned does.
fn attach_idle(node: &LabNode, object: &[u8]) -> Ebpf {
    let mut loaded = Ebpf::load(object).unwrap();
    let program: &mut SchedClassifier = loaded.program_mut("idle").unwrap().try_into().unwrap();
    program.load().unwrap();
    for hook in node.hooks() {
        let side = if hook.program.is_ingress() {
            TcAttachType::Ingress
        } else {
            TcAttachType::Egress
        };
        node.host.within(|| program.attach(&hook.device, side)).unwrap();
    }
    loaded
}

/// What one turn came to.
struct Turn {
    /// Of one connection, in Gbit/s.
    throughput: f64,
    /// Of one byte, in microseconds: the median, which others' turns on the processor do not move.
    round_trip: f64,
}

fn measure(lab: &Lab) -> Turn {
    let (from, to, ip) = (&lab.a.pod, &lab.b.pod, lab.b.pod_ip());
    let start = Instant::now();
    tcp_flow(from, to, ip, BYTES);
    Turn {
        throughput: BYTES as f64 * 8.0 / start.elapsed().as_secs_f64() / 1e9,
        round_trip: round_trip(from, to, ip, ROUNDS),
    }
}

/// This thread, on a machine that has so many processors.
fn stay_on(processor: usize) {
    let mut one = CpuSet::new();
    one.set(processor);
    let _single = sched_setaffinity(None, &one);
}

fn round_trip(from: &Namespace, to: &Namespace, ip: IpAddr, rounds: u32) -> f64 {
    let listener = to.within(|| TcpListener::bind((ip, 0)).unwrap());
    let address = listener.local_addr().unwrap();
    let mut client = from.within(|| TcpStream::connect(address).unwrap());
    let (mut server, _) = listener.accept().unwrap();
    client.set_nodelay(true).unwrap();
    server.set_nodelay(true).unwrap();
    // Whether the scheduler puts the ends on one processor or on two changes a round trip by more than anything measured here.
    let everywhere = sched_getaffinity(None).unwrap();
    thread::scope(|scope| {
        stay_on(0);
        scope.spawn(move || {
            stay_on(1);
            let mut byte = [0];
            while server.read_exact(&mut byte).is_ok() {
                server.write_all(&byte).unwrap();
            }
        });
        let mut byte = [1];
        let rounds = (0..rounds).map(|_| {
            let start = Instant::now();
            client.write_all(&byte).unwrap();
            client.read_exact(&mut byte).unwrap();
            start.elapsed().as_secs_f64() * 1e6
        });
        // Collected before the connection ends: the other side waits for that.
        let rounds: Vec<f64> = rounds.collect();
        drop(client);
        sched_setaffinity(None, &everywhere).unwrap();
        median(rounds.into_iter())
    })
}

/// By the kernel's own clock, while round trips go on; node `a` must have its programs on.
fn nanoseconds_per_run(lab: &Lab) -> String {
    let mut a = lab.a.open(None);
    lab.a.attach(&mut a, &lab.a.hooks());
    let statistics = aya::sys::enable_stats(aya::sys::Stats::RunTime).unwrap();
    round_trip(&lab.a.pod, &lab.b.pod, lab.b.pod_ip(), ROUNDS);
    let each = Program::ALL.map(|program| {
        let path = lab.a.root().join("progs").join(program.name());
        let shown = json(&format!("bpftool -j prog show pinned {}", path.display()));
        let runs = shown["run_cnt"].as_u64().filter(|&runs| runs > 0);
        runs.map(|runs| {
            let time = shown["run_time_ns"].as_u64().unwrap() as f64;
            format!("{} {:.0} ns", program.name(), time / runs as f64)
        })
    });
    drop(statistics);
    each.into_iter().flatten().collect::<Vec<_>>().join(", ")
}
