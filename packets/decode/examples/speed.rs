//! Packets a second whose headers are found: `cargo run --release -p netcheck-decode --example speed`.

#![allow(clippy::print_stdout, reason = "its figures are its output")]
#![allow(clippy::unwrap_used, reason = "the corpus is part of the tests")]

#[path = "../tests/corpus/mod.rs"]
mod corpus;

use netcheck_decode::{describe, headers_length, line};
use std::{hint::black_box, time::Instant};

const ROUNDS: u32 = 200_000;

fn main() {
    for sample in corpus::samples() {
        if !["tcp data", "vxlan", "udp", "dns answer"].contains(&sample.name) {
            continue;
        }
        let headers = rate(|| headers_length(sample.link, black_box(&sample.bytes)));
        let lines = rate(|| line(&describe(sample.link, black_box(&sample.bytes), 0), &()));
        println!(
            "{}: headers {headers:.1}, lines {lines:.2} million packets/s",
            sample.name
        );
    }
}

/// Million runs a second.
fn rate<T>(run: impl Fn() -> T) -> f64 {
    let started = Instant::now();
    for _ in 0..ROUNDS {
        black_box(run());
    }
    f64::from(ROUNDS) / started.elapsed().as_secs_f64() / 1e6
}
