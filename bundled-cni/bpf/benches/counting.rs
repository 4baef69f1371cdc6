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

use crate::{
    lab::{Lab, LabNode},
    shell::json,
};
use aya::{
    Ebpf,
    programs::{SchedClassifier, TcAttachType},
};
use netcheck_cni_bpf::Program;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use std::{
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    thread,
    time::Instant,
};

/// Many short turns: what else the machine does changes more slowly than they do.
const TURNS: usize = 60;
/// Connections of one turn, and how much goes over each.
const TRANSFERS: usize = 32;
const BYTES: usize = 20_000_000;
/// Connections of one turn, and how many questions are asked over each.
const CONVERSATIONS: usize = 40;
const ROUNDS: usize = 100;

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
    report("throughput of most, Gbit/s", &results, |turn| turn.most);
    report("throughput of the best quarter, Gbit/s", &results, |turn| turn.best);
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

/// What one turn came to, of many short connections. A machine has better and worse moments of some milliseconds (whether the receiver's
/// processor is still awake when more comes; how long one that runs on another polls before it gives an idle processor away, which adapts), and
/// in which of them a connection falls changes it by more than anything measured here: a quarter of them tells the moments apart.
struct Turn {
    /// What three in four connections reach, in Gbit/s.
    most: f64,
    /// What one in four reaches.
    best: f64,
    /// Of one byte and its answer, in microseconds; a quarter of the connections is quicker.
    round_trip: f64,
}

fn measure(lab: &Lab) -> Turn {
    let [most, best] = quartiles(TRANSFERS, || throughput(lab));
    let [round_trip, _] = quartiles(CONVERSATIONS, || round_trip(lab));
    Turn { most, best, round_trip }
}

/// The lower and the upper.
fn quartiles(count: usize, value: impl Fn() -> f64) -> [f64; 2] {
    let mut values: Vec<f64> = (0..count).map(|_| value()).collect();
    values.sort_by(f64::total_cmp);
    [values[count / 4], values[count * 3 / 4]]
}

fn throughput(lab: &Lab) -> f64 {
    let client = |mut stream: TcpStream| {
        let chunk = vec![0x55; 100_000];
        let start = Instant::now();
        for _ in 0..BYTES / chunk.len() {
            stream.write_all(&chunk).unwrap();
        }
        stream.shutdown(Shutdown::Write).unwrap();
        // The other end closes when it has read all.
        assert_eq!(stream.read(&mut [0]).unwrap(), 0);
        BYTES as f64 * 8.0 / start.elapsed().as_secs_f64() / 1e9
    };
    let server = |mut stream: TcpStream| {
        let mut chunk = vec![0; 100_000];
        while stream.read(&mut chunk).unwrap() > 0 {}
    };
    between(lab, client, server)
}

fn round_trip(lab: &Lab) -> f64 {
    let client = |mut stream: TcpStream| {
        let mut byte = [1];
        median((0..ROUNDS).map(|_| {
            let start = Instant::now();
            stream.write_all(&byte).unwrap();
            stream.read_exact(&mut byte).unwrap();
            start.elapsed().as_secs_f64() * 1e6
        }))
    };
    let server = |mut stream: TcpStream| {
        let mut byte = [0];
        while stream.read_exact(&mut byte).is_ok() {
            stream.write_all(&byte).unwrap();
        }
    };
    between(lab, client, server)
}

/// One connection from pod `a` to pod `b`. Each end stays on a processor of its own: whether the scheduler puts both on one changes what is
/// measured by more than what is looked for.
fn between<T>(lab: &Lab, client: impl FnOnce(TcpStream) -> T, server: impl FnOnce(TcpStream) + Send) -> T {
    let ip = lab.b.pod_ip();
    let listener = lab.b.pod.within(|| TcpListener::bind((ip, 0)).unwrap());
    let address = listener.local_addr().unwrap();
    let from = lab.a.pod.within(|| TcpStream::connect(address).unwrap());
    let (to, _) = listener.accept().unwrap();
    for end in [&from, &to] {
        end.set_nodelay(true).unwrap();
    }
    let everywhere = sched_getaffinity(None).unwrap();
    stay_on(0);
    let result = thread::scope(|scope| {
        scope.spawn(|| {
            stay_on(1);
            server(to);
        });
        client(from)
    });
    sched_setaffinity(None, &everywhere).unwrap();
    result
}

/// This thread, on a machine that has so many processors.
fn stay_on(processor: usize) {
    let mut one = CpuSet::new();
    one.set(processor);
    let _single = sched_setaffinity(None, &one);
}

/// By the kernel's own clock, while round trips go on; node `a` must have its programs on.
fn nanoseconds_per_run(lab: &Lab) -> String {
    let mut a = lab.a.open(None);
    lab.a.attach(&mut a, &lab.a.hooks());
    let statistics = aya::sys::enable_stats(aya::sys::Stats::RunTime).unwrap();
    for _ in 0..CONVERSATIONS {
        round_trip(lab);
    }
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
