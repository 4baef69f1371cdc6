//! Random changes one after the other: each holds once it is made, each refusal has its reason, and a snapshot stays what `ip` and `bridge`
//! say. Needs root.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test stops at what it did not expect"
)]

mod oracle;
mod sandbox;
mod values;

use libtest_mimic::Arguments;
use netcheck_node_state::{
    Address, Change, Changer, LinkKind, LinkSetting, NetState, NextHop, Route, RouteKind, Vxlan, snapshot, within,
};
use oracle::assert_snapshot_is_theirs;
use proptest::{
    prelude::*,
    sample::select,
    test_runner::{Config, TestRunner},
};
use sandbox::trial;
use values::{address, fdb, mac, neighbour, node, route, unreachable, via};

fn main() {
    let arguments = Arguments::from_args();
    let trials = vec![trial("whatever_the_order", whatever_the_order)];
    libtest_mimic::run(&arguments, trials).exit();
}

const MACS: [&str; 3] = ["0a:00:00:00:00:01", "0a:00:00:00:00:02", "0a:00:00:00:00:03"];
const DEVICES: [&str; 4] = ["eth0", "br0", "ncvx0", "absent"];

fn device() -> impl Strategy<Value = &'static str> {
    select(&DEVICES[..])
}

fn some_address() -> impl Strategy<Value = Address> {
    let prefixes = [
        "10.244.1.0/32",
        "10.244.1.7/24",
        "10.244.1.8/24",
        "fd00:1::/128",
        "fd00:1::7/64",
        "fd00:1::7/128",
    ];
    (device(), select(prefixes.to_vec())).prop_map(|(device, prefix)| address(device, prefix))
}

fn some_route() -> impl Strategy<Value = Route> {
    let simple = prop_oneof![
        (select(vec!["10.1.0.0/16", "10.2.0.0/24", "fd00:9::/64"]), device())
            .prop_map(|(to, device)| route(to, device)),
        (
            select(vec![
                ("10.1.0.0/16", "10.1.0.0"),
                ("fd00:9::/64", "fd00:9::"),
                ("0.0.0.0/0", "169.254.1.1"),
                ("::/0", "fe80::1")
            ]),
            device()
        )
            .prop_map(|((to, gateway), device)| Route {
                is_onlink: true,
                ..via(to, gateway, device)
            }),
        select(vec!["10.2.0.0/24", "fd00:9::/64"]).prop_map(unreachable),
        select(vec!["10.2.0.0/24", "fd00:9::/64"]).prop_map(|to| Route {
            kind: RouteKind::Other(libc::RTN_BLACKHOLE),
            ..unreachable(to)
        }),
        select(vec![("10.1.0.0/16", "192.0.2.7"), ("fd00:9::/64", "fd00:8::7")])
            .prop_map(|(to, gateway)| several(to, gateway)),
    ];
    let table = select(vec![254, 100, 70_000]);
    let metric = select(vec![None, Some(7)]);
    (simple, table, metric, select(vec![None, Some(1400)])).prop_map(|(route, table, metric, mtu)| Route {
        table,
        metric: metric.unwrap_or(route.metric),
        mtu: if route.kind == RouteKind::Unicast { mtu } else { None },
        ..route
    })
}

/// A route over two next hops.
fn several(to: &str, gateway: &str) -> Route {
    let hop = |weight| NextHop {
        gateway: Some(gateway.parse().unwrap()),
        device: Some(if weight == 1 { "eth0" } else { "br0" }.to_owned()),
        is_onlink: true,
        weight,
    };
    Route {
        device: None,
        gateway: None,
        next_hops: vec![hop(1), hop(3)],
        ..via(to, gateway, "")
    }
}

fn overlay() -> impl Strategy<Value = Change> {
    (select(&MACS[..]), any::<bool>()).prop_map(|(own, learns)| Change::CreateVxlan {
        name: "ncvx0".to_owned(),
        mac: mac(own),
        mtu: 1400,
        alias: "netcheck-cni v1".to_owned(),
        vxlan: Vxlan {
            vni: 4242,
            port: 8472,
            local: Some("192.0.2.11".parse().unwrap()),
            device: Some("eth0".to_owned()),
            learns,
            unusual: std::collections::BTreeMap::new(),
        },
    })
}

fn setting() -> impl Strategy<Value = Change> {
    let set = prop_oneof![
        3 => Just(LinkSetting::Up),
        1 => select(&MACS[..]).prop_map(|own| LinkSetting::Mac(mac(own))),
        1 => (1280_u32..1400).prop_map(LinkSetting::Mtu),
        1 => "[ -~]{0,60}".prop_map(LinkSetting::Alias),
        1 => any::<bool>().prop_map(LinkSetting::MakesLinkLocal),
        1 => select(vec!["192.0.2.11", "192.0.2.12", "2001:db8:99::11"]).prop_map(|local| LinkSetting::VxlanSource { local: local.parse().unwrap(), device: "eth0".to_owned() }),
        1 => any::<bool>().prop_map(LinkSetting::VxlanLearns),
        1 => select(vec!["192.0.2.11", "2001:db8:99::11"]).prop_map(|local| LinkSetting::VxlanUsual { local: local.parse().unwrap() }),
    ];
    // The tunnel's MTU cannot be above what the device below it leaves.
    let is_possible = |(name, set): &(&str, LinkSetting)| *name != "eth0" || !matches!(set, LinkSetting::Mtu(_));
    let possible = (device(), set).prop_filter("the uplink's MTU stays", is_possible);
    possible.prop_map(|(name, set)| Change::SetLink {
        name: name.to_owned(),
        set,
    })
}

fn change() -> impl Strategy<Value = Change> {
    let neighbour = (
        device(),
        select(vec!["10.244.2.0", "fd00:2::"]),
        select(&MACS[..]),
        any::<bool>(),
    )
        .prop_map(|(device, ip, mac, is_permanent)| netcheck_node_state::Neighbour {
            is_permanent,
            ..neighbour(device, ip, mac)
        });
    let entry = (
        select(vec!["ncvx0", "absent"]),
        select(&MACS[..]),
        select(vec!["192.0.2.12", "192.0.2.13"]),
    )
        .prop_map(|(device, mac, to)| fdb(device, mac, to));
    let entry = entry.boxed();
    let neighbour = neighbour.boxed();
    prop_oneof![
        2 => overlay(),
        3 => setting(),
        1 => select(vec!["ncvx0", "br0", "absent"]).prop_map(|name| Change::DeleteLink(name.to_owned())),
        2 => some_address().prop_map(Change::AddAddress),
        1 => some_address().prop_map(Change::DeleteAddress),
        4 => some_route().prop_map(Change::ReplaceRoute),
        2 => some_route().prop_map(Change::DeleteRoute),
        2 => neighbour.clone().prop_map(Change::ReplaceNeighbour),
        1 => neighbour.prop_map(Change::DeleteNeighbour),
        2 => entry.clone().prop_map(Change::ReplaceFdb),
        1 => entry.prop_map(Change::DeleteFdb),
    ]
}

fn whatever_the_order() {
    let config = Config {
        cases: 25,
        failure_persistence: None,
        ..Config::default()
    };
    let mut runner = TestRunner::new(config);
    let sequences = prop::collection::vec(change(), 1..40);
    let outcome = runner.run(&sequences, |changes| {
        let node = node();
        node.run("ip link add br0 up type bridge; ip link add ncvx0 type vxlan id 4242 dstport 8472 local 192.0.2.11 dev eth0 ttl 9 tos 0x4 df set ageing 7 remote 192.0.2.77; ip link set ncvx0 up");
        within(&node.netns(), || {
            let mut changer = Changer::open().unwrap();
            for change in &changes {
                let before = snapshot().unwrap();
                match changer.apply(change) {
                    Ok(()) => assert!(holds(change, &snapshot().unwrap()), "{change:?} was made but does not hold"),
                    Err(error) => assert!(is_explained(change, error.errno(), &before), "{change:?}: {error}"),
                }
            }
        })
        .unwrap();
        assert_snapshot_is_theirs(&node);
        Ok(())
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
}

/// Whether a change that was made is to be seen.
fn holds(change: &Change, state: &NetState) -> bool {
    match change {
        Change::CreateVxlan {
            name,
            mac,
            mtu,
            alias,
            vxlan,
        } => state.links.get(name).is_some_and(|link| {
            link.mac == Some(*mac)
                && link.mtu == *mtu
                && link.alias.as_ref() == Some(alias)
                && link.makes_link_local == Some(false)
                && link.kind == LinkKind::Vxlan(vxlan.clone())
        }),
        Change::SetLink { name, set } => {
            let link = &state.links[name];
            match (set, &link.kind) {
                (LinkSetting::Up, _) => link.is_up,
                (LinkSetting::Mac(mac), _) => link.mac == Some(*mac),
                (LinkSetting::Mtu(mtu), _) => link.mtu == *mtu,
                (LinkSetting::Alias(alias), _) => link.alias.clone().unwrap_or_default() == *alias,
                (LinkSetting::MakesLinkLocal(makes), _) => link.makes_link_local == Some(*makes),
                (LinkSetting::VxlanSource { local, device }, LinkKind::Vxlan(vxlan)) => {
                    vxlan.local == Some(*local) && vxlan.device.as_ref() == Some(device)
                }
                (LinkSetting::VxlanLearns(learns), LinkKind::Vxlan(vxlan)) => vxlan.learns == *learns,
                (LinkSetting::VxlanUsual { .. }, LinkKind::Vxlan(vxlan)) => vxlan.unusual.is_empty(),
                _ => false,
            }
        }
        Change::DeleteLink(name) => !state.links.contains_key(name),
        Change::AddAddress(address) => state.addresses.contains(address),
        Change::DeleteAddress(address) => !state.addresses.contains(address),
        Change::ReplaceRoute(route) => {
            let mut same = state.routes.iter().filter(|found| key(found) == key(route));
            same.next() == Some(&as_read(route)) && same.next().is_none()
        }
        Change::DeleteRoute(route) => !state.routes.contains(&as_read(route)),
        Change::ReplaceNeighbour(neighbour) => state.neighbours.contains(neighbour),
        Change::DeleteNeighbour(neighbour) => {
            let mut left = state.neighbours.iter();
            !left.any(|found| (&found.device, found.ip) == (&neighbour.device, neighbour.ip))
        }
        Change::ReplaceFdb(entry) => {
            let mut same = state
                .fdb
                .iter()
                .filter(|found| (&found.device, found.mac) == (&entry.device, entry.mac));
            same.next() == Some(entry) && same.next().is_none()
        }
        Change::DeleteFdb(entry) => !state.fdb.contains(entry),
        Change::WriteSysctl { .. } => false,
    }
}

fn key(route: &Route) -> (u32, ipnet::IpNet, u32) {
    (route.table, route.destination, route.metric)
}

/// The kernel puts IPv6 routes that lead nowhere onto the loopback device.
fn as_read(route: &Route) -> Route {
    let leads_nowhere = route.kind != RouteKind::Unicast && route.destination.addr().is_ipv6();
    Route {
        device: if leads_nowhere {
            Some("lo".to_owned())
        } else {
            route.device.clone()
        },
        ..route.clone()
    }
}

/// Whether the state before is reason enough for a refusal.
fn is_explained(change: &Change, errno: Option<i32>, before: &NetState) -> bool {
    let is_there = |device: &str| before.links.contains_key(device);
    let is_up = |device: &str| before.links.get(device).is_some_and(|link| link.is_up);
    let errno = errno.unwrap_or_default();
    match change {
        // With another alias it is somebody else's.
        Change::CreateVxlan { name, alias, .. } => {
            errno == libc::EEXIST && before.links[name].alias.as_ref().is_some_and(|there| there != alias)
        }
        Change::SetLink { name, .. } if !is_there(name) => errno == libc::ENODEV,
        Change::SetLink { name, set } => match (set, &before.links[name].kind) {
            (LinkSetting::VxlanSource { local, .. } | LinkSetting::VxlanUsual { local }, LinkKind::Vxlan(vxlan)) => {
                errno == libc::EOPNOTSUPP && vxlan.local.map(|ip| ip.is_ipv4()) != Some(local.is_ipv4())
            }
            (LinkSetting::VxlanSource { .. } | LinkSetting::VxlanLearns(_) | LinkSetting::VxlanUsual { .. }, kind) => {
                !matches!(kind, LinkKind::Vxlan(_)) && matches!(errno, libc::EOPNOTSUPP | libc::EINVAL)
            }
            _ => false,
        },
        Change::AddAddress(address) if !is_there(&address.interface) => errno == libc::ENODEV,
        Change::AddAddress(address) => {
            let mut there = before.addresses.iter();
            let other_prefix = there.any(|found| {
                (&found.interface, found.ip) == (&address.interface, address.ip) && found.prefix != address.prefix
            });
            errno == libc::EEXIST && address.ip.is_ipv6() && other_prefix
        }
        Change::ReplaceRoute(route) => {
            let hops = route.next_hops.iter().filter_map(|hop| hop.device.as_deref());
            let devices: Vec<&str> = hops.chain(route.device.as_deref()).collect();
            match errno {
                libc::ENODEV => !devices.iter().all(|device| is_there(device)),
                libc::ENETDOWN => !devices.iter().all(|device| is_up(device)),
                _ => false,
            }
        }
        Change::ReplaceNeighbour(neighbour) => errno == libc::ENODEV && !is_there(&neighbour.device),
        Change::ReplaceFdb(entry) => errno == libc::ENODEV && !is_there(&entry.device),
        // Removing never fails.
        Change::DeleteLink(_)
        | Change::DeleteAddress(_)
        | Change::DeleteRoute(_)
        | Change::DeleteNeighbour(_)
        | Change::DeleteFdb(_)
        | Change::WriteSysctl { .. } => false,
    }
}
