//! Traffic by others' tools: `iperf3` for throughput, `sockperf` for how long a question and its answer take.

use super::{
    networks::Running,
    site::{IPERF, SOCKPERF_TCP, SOCKPERF_UDP},
};
use anyhow::{Context, Result};
use serde_json::Value;

/// Where the other pod is.
pub const PATHS: [&str; 2] = ["same node", "other node"];
/// What is measured; of the first more is better, of the rest less.
pub const MEASURES: [&str; 5] = [
    "TCP, Gbit/s",
    "TCP round trip p50, µs",
    "TCP round trip p99, µs",
    "UDP round trip p50, µs",
    "UDP round trip p99, µs",
];
/// Whether more of it is better.
pub const MORE_IS_BETTER: usize = 0;
/// Seconds of each transfer: long enough for a mean, and short enough that what the kernel puts off while it is busy is done between.
const TRANSFER: u32 = 3;
const QUESTIONS: u32 = 1;

/// All measures of both paths, by place in [`PATHS`] and [`MEASURES`].
pub type Figures = [[f64; MEASURES.len()]; PATHS.len()];

pub fn measure(network: &Running) -> Result<Figures> {
    let mut figures = Figures::default();
    for (figures, address) in figures.iter_mut().zip(&network.addresses[1..]) {
        let run = |script: &str| network.site.pods[0].run(script);
        let text = run(&format!("timeout 30 iperf3 -c {address} -p {IPERF} -t {TRANSFER} -J"))?;
        let report: Value = serde_json::from_str(&text)?;
        let rate = report["end"]["sum_received"]["bits_per_second"].as_f64();
        figures[0] = rate.context("iperf3 told no rate")? / 1e9;
        let questions = |port: u16, option: &str| -> Result<[f64; 2]> {
            let text = run(&format!(
                "timeout 30 sockperf pp {option} -i {address} -p {port} -t {QUESTIONS} --full-rtt"
            ))?;
            Ok([percentile(&text, "50.000")?, percentile(&text, "99.000")?])
        };
        [figures[1], figures[2]] = questions(SOCKPERF_TCP, "--tcp")?;
        [figures[3], figures[4]] = questions(SOCKPERF_UDP, "")?;
    }
    Ok(figures)
}

/// Of a line such as `sockperf: ---> percentile 99.000 =   45.123`.
fn percentile(text: &str, share: &str) -> Result<f64> {
    let after = text.split(&format!("percentile {share} =")).nth(1);
    let number = after.and_then(|after| after.split_whitespace().next());
    number
        .with_context(|| format!("no percentile {share} in {text:?}"))?
        .parse()
        .context("a number")
}

#[cfg(test)]
mod tests {
    #[test]
    fn percentiles_are_read() {
        let text = "sockperf: ---> percentile 99.000 =   45.123\nsockperf: ---> percentile 50.000 =   20.500\n";
        assert!((super::percentile(text, "50.000").unwrap() - 20.5).abs() < 1e-9);
        assert!(super::percentile(text, "75.000").is_err());
    }
}
