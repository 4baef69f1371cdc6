//! What hangs where.

use crate::{
    lab::{Lab, LabNode, UPLINK},
    shell::{all, json, run, wait_until_equal},
    traffic::udp_flow,
};
use netcheck_cni_bpf::{AttachChange, Bpf, Hook, Hooking, Program, remove_all};
use serde_json::Value;
use std::collections::BTreeMap;

/// All links in the kernel that run a program pinned under this root: how many to each program's name.
fn links_of(node: &LabNode) -> BTreeMap<String, usize> {
    let root = node.root();
    let programs = json(&format!(
        "bpftool -j prog show pinned {0}/progs/nc_pod_from; ",
        root.display()
    ));
    assert_eq!(programs["name"], "nc_pod_from");
    let mut names = BTreeMap::new();
    for program in Program::ALL {
        let path = root.join("progs").join(program.name());
        let shown = json(&format!("bpftool -j prog show pinned {}", path.display()));
        names.insert(shown["id"].as_u64().unwrap(), program.name().to_owned());
    }
    let mut count = BTreeMap::new();
    for link in all("link") {
        if let Some(name) = names.get(&link["prog_id"].as_u64().unwrap()) {
            *count.entry(name.clone()).or_default() += 1;
        }
    }
    count
}

fn filters(node: &LabNode, device: &str, side: &str) -> Vec<Value> {
    let filters = json(&format!("tc -n {} -j filter show dev {device} {side}", node.host.0));
    let filters = filters.as_array().unwrap().iter();
    filters
        .filter(|filter| filter["options"].is_object())
        .cloned()
        .collect()
}

fn pings_counted(lab: &Lab, a: &Bpf) -> (u64, u64) {
    let before = a.read_counters().unwrap().peers[&lab.b.internal_ip()];
    lab.a.pod.run(&format!("ping -q -c 5 -i 0.01 {}", lab.b.pod_ip()));
    let after = a.read_counters().unwrap().peers[&lab.b.internal_ip()];
    (
        after.sent.packets - before.sent.packets,
        after.received.packets - before.received.packets,
    )
}

pub fn a_device_made_anew_gets_its_programs() {
    let lab = Lab::new();
    let mut a = lab.a.start(&lab.b, None);
    assert_eq!(pings_counted(&lab, &a), (5, 5));
    lab.a.host.run("ip link del ncvx0");
    lab.a.make_tunnel(&lab.b);
    assert_eq!(pings_counted(&lab, &a), (0, 0), "nothing hangs on the new device yet");
    let dead = lab.a.host.within(|| a.attached().unwrap());
    let dead: Vec<_> = dead
        .into_iter()
        .filter(|link| link.ifindex == 0)
        .map(|link| link.name)
        .collect();
    assert_eq!(dead, ["ncvx0_in", "ncvx0_out"]);

    let changes = lab.a.attach(&mut a, &lab.a.hooks());
    let tunnel = |program| AttachChange::Attached(lab.a.hook("ncvx0", program));
    assert_eq!(changes, [tunnel(Program::VxIn), tunnel(Program::VxOut)]);
    assert_eq!(pings_counted(&lab, &a), (5, 5));
    // A device that is gone for good leaves no pin.
    let hooks = lab.a.hooks();
    lab.a.host.run("ip link del ncvx0");
    let changes = lab.a.attach(&mut a, &hooks[..2]);
    let gone = |name: &str| AttachChange::Detached(name.to_owned());
    assert_eq!(changes, [gone("ncvx0_in"), gone("ncvx0_out")]);
}

pub fn each_hook_has_one_program() {
    let lab = Lab::new();
    let mut a = lab.a.start(&lab.b, None);
    let expected = |names: &[&str]| {
        names
            .iter()
            .map(|&name| (name.to_owned(), 1))
            .collect::<BTreeMap<_, _>>()
    };
    let four = ["nc_pod_from", "nc_pod_to", "nc_vx_in", "nc_vx_out"];
    assert_eq!(links_of(&lab.a), expected(&four));
    for _ in 0..3 {
        assert_eq!(lab.a.attach(&mut a, &lab.a.hooks()), []);
        // Another process finds them too.
        a = lab.a.open(None);
    }
    assert_eq!(links_of(&lab.a), expected(&four));
    assert_eq!(pings_counted(&lab, &a), (5, 5));

    // A dot cannot be in a pin's name.
    let mut hooks = lab.a.hooks();
    hooks.push(lab.a.hook(UPLINK, Program::UlIn));
    assert_eq!(lab.a.attach(&mut a, &hooks).len(), 1);
    assert!(lab.a.root().join("links/eth0_100_in").exists());
    lab.a.host.run("ip link add eth0_100 type veth peer name other");
    hooks.push(lab.a.hook("eth0_100", Program::UlIn));
    let errors = lab.a.host.within(|| a.ensure_attached(&hooks)).unwrap_err();
    let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(
        errors,
        ["eth0.100 and eth0_100 would share the pin eth0_100_in: rename one of the devices"]
    );
    // A device that is not there: said, and the others stay.
    let absent = Hook {
        device: "absent".to_owned(),
        ifindex: 9999,
        program: Program::PodTo,
    };
    hooks.pop();
    hooks.push(absent);
    let errors = lab.a.host.within(|| a.ensure_attached(&hooks)).unwrap_err();
    assert!(
        errors[0].to_string().starts_with("cannot hang nc_pod_to on absent: "),
        "{}",
        errors[0]
    );
    assert_eq!(pings_counted(&lab, &a), (5, 5));
}

pub fn clsact_serves_as_well() {
    let lab = Lab::new();
    let mut a = lab.a.start(&lab.b, Some(Hooking::Clsact));
    let b = lab.b.start(&lab.a, Some(Hooking::Clsact));
    assert_eq!(links_of(&lab.a), BTreeMap::new());
    let judge = || {
        for (device, side, name) in [
            ("vethp", "ingress", "nc_pod_from"),
            ("vethp", "egress", "nc_pod_to"),
            ("ncvx0", "egress", "nc_vx_out"),
            ("ncvx0", "ingress", "nc_vx_in"),
        ] {
            let filters = filters(&lab.a, device, side);
            assert_eq!(filters.len(), 1, "{filters:?}");
            let filter = &filters[0];
            assert_eq!(
                (&filter["kind"], &filter["pref"]),
                (&"bpf".into(), &47.into()),
                "{filter}"
            );
            assert_eq!(filter["options"]["bpf_name"], name);
            assert_eq!(filter["options"]["direct-action"], true);
        }
    };
    judge();
    for _ in 0..2 {
        assert_eq!(lab.a.attach(&mut a, &lab.a.hooks()), []);
        a = lab.a.open(Some(Hooking::Clsact));
    }
    judge();
    assert_eq!(pings_counted(&lab, &a), (5, 5));
    udp_flow(&lab.a.pod, &lab.b.pod, lab.b.pod_ip6(), 50, 4000);
    wait_until_equal("both ends", || {
        let sent = a.read_counters().unwrap().peers[&lab.b.internal_ip()].sent;
        (sent, b.read_counters().unwrap().peers[&lab.a.internal_ip()].received)
    });

    // Another build's program in our place is replaced.
    let (root, host) = (lab.a.root(), &lab.a.host.0);
    run(&format!("mv {0}/nc_ul_out {0}/nc_vx_out", root.join("progs").display()));
    a = lab.a.open(Some(Hooking::Clsact));
    let replaced = [AttachChange::Replaced(lab.a.hook("ncvx0", Program::VxOut))];
    assert_eq!(lab.a.attach(&mut a, &lab.a.hooks()), replaced);
    judge();
    // Another owner's filter in our place is told and left alone; beside it ours stay.
    let pinned = root.join("progs/nc_ul_in");
    let foreign = "dev ncvx0 egress pref 47";
    run(&format!(
        "tc -n {host} filter replace {foreign} handle 1 protocol all bpf da pinned {}",
        pinned.display()
    ));
    let errors = lab.a.host.within(|| a.ensure_attached(&lab.a.hooks())).unwrap_err();
    let text = errors[0].to_string();
    assert!(
        text.starts_with("ncvx0 has a filter at pref 47 that is not ours (nc_ul_in:["),
        "{text}"
    );
    assert_eq!((errors.len(), filters(&lab.a, "vethp", "ingress").len()), (1, 1));
    run(&format!("tc -n {host} filter del {foreign}"));
    let attached = [AttachChange::Attached(lab.a.hook("ncvx0", Program::VxOut))];
    assert_eq!(lab.a.attach(&mut a, &lab.a.hooks()), attached);
    judge();
    run(&format!(
        "tc -n {host} filter add dev vethp egress pref 50 protocol all bpf da pinned {}",
        pinned.display()
    ));

    // Changed to TCX, our filters go, and the qdisc where nobody else needs it.
    a = lab.a.open(Some(Hooking::Tcx));
    lab.a.attach(&mut a, &lab.a.hooks());
    assert_eq!(filters(&lab.a, "vethp", "egress").len(), 1);
    assert_eq!(filters(&lab.a, "vethp", "ingress").len(), 0);
    let qdiscs = run(&format!("tc -n {host} qdisc show"));
    assert!(
        qdiscs.contains("clsact ffff: dev vethp") && !qdiscs.contains("dev ncvx0 parent ffff"),
        "{qdiscs}"
    );
    assert_eq!(pings_counted(&lab, &a), (5, 5));
    // And back.
    a = lab.a.open(Some(Hooking::Clsact));
    lab.a.attach(&mut a, &lab.a.hooks());
    assert_eq!(links_of(&lab.a), BTreeMap::new());
    assert_eq!(pings_counted(&lab, &a), (5, 5));
    run(&format!("tc -n {host} filter del dev vethp egress pref 50"));
    drop(a);
    lab.a.host.within(|| remove_all(&root)).unwrap();
    let qdiscs = run(&format!("tc -n {host} qdisc show"));
    assert!(!qdiscs.contains("clsact"), "{qdiscs}");
}
