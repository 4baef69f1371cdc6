//! What counting costs: pods of two nodes talk through the tunnel, with programs and without, in turns. `cargo bench -p netcheck-cni-bpf`.

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
    lab::{Lab, Namespace},
    shell::json,
    traffic::tcp_flow,
};
use netcheck_cni_bpf::{Hook, Program};
use std::{
    io::{Read, Write},
    net::{IpAddr, TcpListener, TcpStream},
    thread,
    time::Instant,
};

/// Many short turns: what else the machine does changes more slowly than they do.
const PAIRS: usize = 60;
const BYTES: usize = 100_000_000;
const ROUNDS: u32 = 4_000;

fn main() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: needs root");
        return;
    }
    shell::leave_mounts();
    let lab = Lab::new();
    let (mut a, mut b) = (lab.a.start(&lab.b, None), lab.b.start(&lab.a, None));
    let hooks = [lab.a.hooks(), lab.b.hooks()];
    let none: [Vec<Hook>; 2] = [Vec::new(), Vec::new()];
    let mut results: [Vec<(f64, f64)>; 2] = [Vec::new(), Vec::new()];
    measure(&lab);
    for pair in 0..PAIRS {
        // The order changes with each pair, so that a drift of the machine favours neither.
        for place in [pair % 2, (pair + 1) % 2] {
            let hooks = if place == 0 { &none } else { &hooks };
            lab.a.attach(&mut a, &hooks[0]);
            lab.b.attach(&mut b, &hooks[1]);
            results[place].push(measure(&lab));
        }
    }
    println!("per run of a program: {}", nanoseconds_per_run(&lab));
    let (throughput, latency) = (|turn: &(f64, f64)| turn.0, |turn: &(f64, f64)| turn.1);
    let [without, with] = &results;
    report("throughput, Gbit/s", without, with, throughput);
    report("round trip, µs", without, with, latency);
}

/// Medians of all turns, and the median of the ratios within each pair.
fn report(what: &str, without: &[(f64, f64)], with: &[(f64, f64)], of: fn(&(f64, f64)) -> f64) {
    let ratios = without.iter().zip(with).map(|(without, with)| of(with) / of(without));
    println!(
        "{what}: {:.2} without, {:.2} with; ratio within pairs, median of {PAIRS}: {:.3}",
        median(without.iter().map(of)),
        median(with.iter().map(of)),
        median(ratios)
    );
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    f64::midpoint(values[(values.len() - 1) / 2], values[values.len() / 2])
}

/// Gbit/s of one connection, and microseconds of a round trip of one byte: the median, which others' turns on the processor do not move.
fn measure(lab: &Lab) -> (f64, f64) {
    let (from, to, ip) = (&lab.a.pod, &lab.b.pod, lab.b.pod_ip());
    let start = Instant::now();
    tcp_flow(from, to, ip, BYTES);
    let throughput = BYTES as f64 * 8.0 / start.elapsed().as_secs_f64() / 1e9;
    (throughput, round_trip(from, to, ip, ROUNDS))
}

fn round_trip(from: &Namespace, to: &Namespace, ip: IpAddr, rounds: u32) -> f64 {
    let listener = to.within(|| TcpListener::bind((ip, 0)).unwrap());
    let address = listener.local_addr().unwrap();
    let mut client = from.within(|| TcpStream::connect(address).unwrap());
    let (mut server, _) = listener.accept().unwrap();
    client.set_nodelay(true).unwrap();
    server.set_nodelay(true).unwrap();
    thread::scope(|scope| {
        scope.spawn(move || {
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
