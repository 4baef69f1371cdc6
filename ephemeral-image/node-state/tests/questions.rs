//! A veth that was settled sends, and an address that is said to be taken in is so, as `ip` says. Needs root.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test stops at what it did not expect"
)]

mod sandbox;

use libtest_mimic::Arguments;
use netcheck_node_state::{Address, Change, Changer, LinkSetting, Mac, VethEnd, within};
use sandbox::{Sandbox, trial, wait_for};
use std::net::IpAddr;

fn main() {
    let arguments = Arguments::from_args();
    let trials = vec![
        trial("a_settled_link_has_its_queue", a_settled_link_has_its_queue),
        trial("an_address_is_taken_in_or_not", an_address_is_taken_in_or_not),
    ];
    libtest_mimic::run(&arguments, trials).exit();
}

fn end(name: &str) -> VethEnd {
    VethEnd {
        name: name.to_owned(),
        mac: Mac([2, 0, 0, 0, 0, u8::try_from(name.len()).unwrap()]),
        mtu: 1500,
    }
}

/// Each round makes a pair anew, sets the far end up before the near one, and asks `ip` at once.
fn a_settled_link_has_its_queue() {
    let (near, far) = (Sandbox::new(), Sandbox::new());
    let mut here = within(&near.netns(), Changer::open).unwrap().unwrap();
    let mut there = within(&far.netns(), Changer::open).unwrap().unwrap();
    for _ in 0..20 {
        here.create_veth(&end("near"), &end("there"), &far.netns()).unwrap();
        there.set_link("there", &[LinkSetting::Up]).unwrap();
        assert!(
            !there.settle_link("there").unwrap(),
            "no carrier while the other end is down"
        );
        here.set_link("near", &[LinkSetting::Up]).unwrap();
        assert!(there.settle_link("there").unwrap());
        let shown: serde_json::Value = serde_json::from_str(&far.run("ip -j link show there")).unwrap();
        assert_eq!(
            (&shown[0]["operstate"], &shown[0]["qdisc"]),
            (&"UP".into(), &"noqueue".into())
        );
        here.apply(&Change::DeleteLink("near".to_owned())).unwrap();
    }
    let error = there.settle_link("there").unwrap_err();
    assert_eq!(error.errno(), Some(libc::ENODEV));
    assert!(there.settle_link("a-name-that-is-too-long").is_err());
}

fn an_address_is_taken_in_or_not() {
    let sandbox = Sandbox::new();
    let mut changer = within(&sandbox.netns(), Changer::open).unwrap().unwrap();
    sandbox.run("ip link set lo up");
    for (text, prefix) in [("192.0.2.1", 32), ("2001:db8::1", 128)] {
        let ip: IpAddr = text.parse().unwrap();
        assert!(!changer.takes_in(ip).unwrap(), "{text} before it is there");
        let interface = "lo".to_owned();
        let address = Address { interface, ip, prefix };
        changer.apply(&Change::AddAddress(address)).unwrap();
        wait_for("the local route", || changer.takes_in(ip).unwrap());
        assert!(sandbox.run(&format!("ip route get {text}")).starts_with("local "));
    }
}
