//! How long it takes to read a node's rules for many Services, and to lead a packet to each of them: `cargo run --release --example speed -p
//! netcheck-ruleset [SERVICES [ENDPOINTS]]`.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "it prints, and stops at what it did not expect"
)]

use netcheck_ruleset::{Family, Flavour, Hook, Packet, Protocol, Ruleset, Sets};
use std::{
    env,
    fmt::Write as _,
    net::{IpAddr, Ipv4Addr},
    time::Instant,
};

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

fn address(number: u32) -> IpAddr {
    Ipv4Addr::from(0x0a60_0000 + number).into()
}

/// As kube-proxy writes them.
fn rules(services: u32, endpoints: u32) -> String {
    let mut text = "*nat\n:PREROUTING ACCEPT [0:0]\n:KUBE-MARK-MASQ - [0:0]\n-A PREROUTING -m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES\n\
                    -A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000\n"
        .to_owned();
    for service in 0..services {
        let ip = address(service);
        let _ = writeln!(
            text,
            "-A KUBE-SERVICES -d {ip}/32 -p tcp -m comment --comment \"ns/svc-{service} cluster IP\" -m tcp --dport 80 -j KUBE-SVC-{service}\n\
             -A KUBE-SVC-{service} ! -s 10.244.0.0/16 -d {ip}/32 -p tcp -m comment --comment \"ns/svc-{service} cluster IP\" -m tcp --dport 80 -j KUBE-MARK-MASQ"
        );
        for endpoint in 0..endpoints {
            let chance = if endpoint + 1 == endpoints {
                ""
            } else {
                "-m statistic --mode random --probability 0.50000000000 "
            };
            let to = Ipv4Addr::from(0x0af4_0000 + (service * endpoints + endpoint) % 0xffff);
            let _ = writeln!(
                text,
                "-A KUBE-SVC-{service} -m comment --comment \"ns/svc-{service} -> {to}:8080\" {chance}-j KUBE-SEP-{service}-{endpoint}\n\
                 -A KUBE-SEP-{service}-{endpoint} -s {to}/32 -m comment --comment \"ns/svc-{service}\" -j KUBE-MARK-MASQ\n\
                 -A KUBE-SEP-{service}-{endpoint} -p tcp -m comment --comment \"ns/svc-{service}\" -m tcp -j DNAT --to-destination {to}:8080"
            );
        }
    }
    text + "COMMIT\n"
}
