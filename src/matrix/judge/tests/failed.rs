//! The kernel, or a router, says more than no.

use super::*;

#[test]
fn what_the_kernel_or_a_router_says() {
    let unmarked = |name| Scene::new(errno(name), Vec::new(), vec![end(Vec::new())]).unmarked();
    let icmp = |ip, kind, code| {
        Scene::new(
            errno("EHOSTUNREACH"),
            vec![out(Packet::Syn), icmp_from(ip, kind, code)],
            vec![end(Vec::new())],
        )
    };
    hold(vec![
        (
            "no route",
            unmarked("ENETUNREACH"),
            Class::Rejected,
            "no route to 10.0.2.3 inside pod shop/web",
        ),
        (
            "an unreachable route",
            unmarked("EHOSTUNREACH"),
            Class::Rejected,
            "no route",
        ),
        (
            "a silent next hop",
            unmarked("EHOSTUNREACH").after(3060),
            Class::NeverArrived,
            "next hop does not answer",
        ),
        (
            "nft drop on output",
            unmarked("EPERM"),
            Class::Rejected,
            "firewall rule",
        ),
        (
            "a blackhole route",
            unmarked("EINVAL"),
            Class::Rejected,
            "a blackhole route inside pod shop/web",
        ),
        (
            "a prohibit route",
            unmarked("EACCES"),
            Class::Rejected,
            "inside pod shop/web forbids",
        ),
        (
            "an unreachable error at a source that cannot be watched",
            unmarked("ENETUNREACH").source_blind(),
            Class::Rejected,
            "ENETUNREACH at the source; by whom is not known: pod shop/web could not be watched: no NET_RAW",
        ),
        (
            "a late one, which might be a router's as well as a silent next hop's",
            unmarked("EHOSTUNREACH").after(3060).source_blind(),
            Class::Rejected,
            "by whom is not known",
        ),
        (
            "an unreachable error at a source whose watch has gaps",
            unmarked("EHOSTUNREACH").with(|scene| scene.source.missed = 2),
            Class::Rejected,
            "by whom is not known: the watch of pod shop/web may have missed 2 packets",
        ),
        (
            "the same, though the mark is known",
            Scene::new(errno("EHOSTUNREACH"), Vec::new(), vec![end(Vec::new())]).with(|scene| scene.source.missed = 2),
            Class::Rejected,
            "by whom is not known",
        ),
        (
            "forbidden, by a router's ICMPv6 error for all we know",
            unmarked("EACCES").source_blind(),
            Class::Rejected,
            "by whom is not known",
        ),
        (
            "what only the source's own kernel says",
            unmarked("EPERM").source_blind(),
            Class::Rejected,
            "inside pod shop/web forbids",
        ),
        ("anything else", unmarked("EIO"), Class::Rejected, "EIO"),
        ("no descriptors left", unmarked("EMFILE"), Class::NotTested, "EMFILE"),
        (
            "no IPv6 address of its own",
            unmarked("EADDRNOTAVAIL"),
            Class::NotTested,
            "EADDRNOTAVAIL",
        ),
        (
            "a node knows no way",
            icmp("192.0.2.1", 3, 1),
            Class::Rejected,
            "node n1 (192.0.2.1) cannot pass it on: ICMP host unreachable",
        ),
        (
            "a node knows no way to a Service's backend, and the error's sender is translated back",
            icmp("10.96.0.10", 3, 0).service(1).with(|scene| {
                scene.transit = vec![end(vec![icmp_from("192.0.2.1", 3, 0), icmp_from("10.96.0.10", 3, 0)])];
            }),
            Class::Rejected,
            "node n1 (192.0.2.1) cannot pass it on: ICMP network unreachable",
        ),
        (
            "a rule on a node",
            icmp("192.0.2.1", 3, 13),
            Class::Rejected,
            "administratively prohibited",
        ),
        (
            "a stranger",
            icmp("203.0.113.9", 11, 0),
            Class::Rejected,
            "not a known pod",
        ),
        (
            "the source itself",
            icmp(SOURCE, 3, 3),
            Class::Rejected,
            "inside pod shop/web",
        ),
        (
            "an error without a packet that explains it",
            Scene::new(errno("EHOSTUNREACH"), vec![out(Packet::Syn)], vec![end(Vec::new())]),
            Class::NeverArrived,
            "never saw it",
        ),
        (
            "the same, not watched",
            Scene::new(errno("EHOSTUNREACH"), vec![out(Packet::Syn)], blind()),
            Class::Rejected,
            "by whom is not known",
        ),
        (
            "an error although it arrived",
            Scene::new(
                errno("EHOSTUNREACH"),
                vec![out(Packet::Syn)],
                vec![end(vec![into(Packet::Syn)])],
            ),
            Class::NoAnswer,
            "sent no answer",
        ),
    ]);
}
