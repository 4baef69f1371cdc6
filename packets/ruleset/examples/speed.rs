//! How long it takes to read a node's rules for many Services, and to lead a packet to each of them: `cargo run --release --example speed -p
//! netcheck-ruleset [SERVICES [ENDPOINTS]]`.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "it prints, and stops at what it did not expect"
)]

mod kube_proxy;

use kube_proxy::{address, rules};
use netcheck_ruleset::{Family, Flavour, Hook, Packet, Protocol, Ruleset, Sets};
use std::{env, net::Ipv4Addr, time::Instant};

fn main() {
    let mut arguments = env::args().skip(1).map(|word| word.parse::<u32>().unwrap());
    let (services, endpoints) = (arguments.next().unwrap_or(5_000), arguments.next().unwrap_or(3));
    let text = rules(services, endpoints);
    let start = Instant::now();
    let ruleset = Ruleset::read(
        None,
        [(Family::Ip, Flavour::IptablesNft, text.as_str())],
        &Sets::default(),
    );
    let read = start.elapsed();
    let start = Instant::now();
    let hooks = [Hook::Prerouting, Hook::Forward];
    let outcomes: usize = (0..services)
        .map(|number| {
            let packet = Packet::new(Protocol::TCP, Ipv4Addr::new(10, 244, 0, 3).into(), address(number), 80);
            ruleset
                .walk(&hooks, &packet.by(Some("cni0"), Some("eth0")))
                .unwrap()
                .len()
        })
        .sum();
    let walked = start.elapsed();
    assert_eq!(outcomes, (services * endpoints) as usize);
    println!(
        "{services} Services with {endpoints} endpoints each, {} lines: read in {} ms, all walked in {} ms",
        text.lines().count(),
        read.as_millis(),
        walked.as_millis()
    );
}
