//! What a network costs traffic: the bundled CNI against `plain`, against a vxlan made by hand and against flannel, each on two nodes of its own
//! on one kernel, measured in turns.

#![allow(clippy::print_stdout, reason = "figures are this program's output")]

mod networks;
mod site;
mod traffic;

use super::figures::{median, percentile};
use anyhow::{Context, Result};
use networks::{Network, Running};
use traffic::{Figures, MEASURES, MORE_IS_BETTER, PATHS, measure};

const ROUNDS: usize = 5;
const VXLAN: Network = ours("vxlan", true);
const VXLAN_WITHOUT: Network = ours("vxlan", false);
const HOST_GW: Network = ours("host-gw", true);
const HOST_GW_WITHOUT: Network = ours("host-gw", false);
const ALL: [Network; 7] = [
    Network::Plain,
    Network::Handmade,
    Network::Flannel,
    VXLAN,
    VXLAN_WITHOUT,
    HOST_GW,
    HOST_GW_WITHOUT,
];
/// What is held against what: the same way between the nodes, or the same network without counting.
const PAIRS: [(Network, Network); 7] = [
    (VXLAN, Network::Handmade),
    (VXLAN, Network::Flannel),
    (VXLAN_WITHOUT, Network::Handmade),
    (VXLAN, VXLAN_WITHOUT),
    (HOST_GW, Network::Plain),
    (HOST_GW_WITHOUT, Network::Plain),
    (HOST_GW, HOST_GW_WITHOUT),
];

const fn ours(backend: &'static str, counts: bool) -> Network {
    Network::Ours { backend, counts }
}

/// Runs it and prints the figures; the one option is the number of rounds.
pub fn run(options: &[&str]) -> Result<()> {
    let rounds: usize = match options {
        [] => ROUNDS,
        [rounds, ..] => rounds
            .parse()
            .with_context(|| format!("{rounds} is no number of rounds"))?,
    };
    let running = ALL
        .iter()
        .map(|network| network.start())
        .collect::<Result<Vec<Running>>>()?;
    let mut figures: Vec<Vec<Figures>> = vec![Vec::new(); ALL.len()];
    for round in 0..rounds {
        for turn in 0..ALL.len() {
            // Another one is first each time.
            let place = (round + turn) % ALL.len();
            let name = ALL[place].name();
            let measured = measure(&running[place]).with_context(|| name.clone())?;
            println!("round {} of {rounds}, {name:<22} {measured:.1?}", round + 1);
            figures[place].push(measured);
        }
    }
    for (path, path_name) in PATHS.iter().enumerate() {
        for (measure, measure_name) in MEASURES.iter().enumerate() {
            println!("{path_name}, {measure_name}, median of {rounds} rounds (least, most):");
            let values = |network: Network| -> Vec<f64> {
                let place = ALL.iter().position(|one| *one == network).unwrap_or_default();
                figures[place].iter().map(|figures| figures[path][measure]).collect()
            };
            for network in ALL {
                println!("  {:<22} {}", network.name(), spread(&values(network)));
            }
            for (ours, theirs) in PAIRS {
                let ratios = values(ours)
                    .iter()
                    .zip(values(theirs))
                    .map(|(ours, theirs)| ours / theirs)
                    .collect::<Vec<_>>();
                let better = if measure == MORE_IS_BETTER { "more" } else { "less" };
                println!(
                    "  ratio: {}x {} to {}; {better} is better",
                    spread(&ratios),
                    ours.name(),
                    theirs.name()
                );
            }
        }
    }
    Ok(())
}

fn spread(values: &[f64]) -> String {
    format!(
        "{:.2} ({:.2}, {:.2})",
        median(values),
        percentile(values, 0),
        percentile(values, 100)
    )
}
