//! Devices and their addresses; and what the rest of the comparison stands on.

use super::{Actual, Cause, Delta, Finding, Kind, Mend, Plan, sysctls};
use crate::{
    derive::vtep_mac,
    desired::Desired,
    family::Family,
    names::{OVERLAY, OVERLAY_ALIAS, VETH_ALIAS_START},
    simulate, words,
};
use netcheck_node_state::{Address, Change, Link, LinkKind, LinkSetting, NetState, Vxlan};
use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
};

/// The namespace as it is once the devices are mended.
pub(super) struct Ground<'a> {
    /// As it was read.
    pub before: &'a NetState,
    /// As it will be: without what goes when a device is changed.
    pub net: Cow<'a, NetState>,
    /// Devices of ours: permanent neighbours on them are ours, too.
    pub ours: BTreeSet<String>,
    /// Devices that nothing is put on and nothing is taken from.
    pub untouched: BTreeSet<String>,
    /// Whether the overlay device is made in this pass.
    pub is_overlay_new: bool,
}

impl Ground<'_> {
    /// Whether a device is to be left as it is.
    pub fn is_untouched(&self, device: Option<&str>) -> bool {
        device.is_some_and(|device| self.untouched.contains(device))
    }

    /// Plans a change of a device or address, and sees what goes with it.
    fn change(&mut self, plan: &mut Plan, what: Delta) {
        if let Mend::Node(change) = &what.mend {
            // What the kernel may refuse is for the pass that applies it to find out.
            let _ = simulate::apply_to(self.net.to_mut(), change);
        }
        plan.build.push(what);
    }
}

fn delta(kind: Kind, object: &str, expected: Option<String>, actual: Option<String>, change: Change) -> Delta {
    Delta {
        kind,
        object: object.to_owned(),
        expected,
        actual,
        cause: Cause::Differs,
        mend: Mend::Node(change),
    }
}

pub(super) fn diff<'a>(plan: &mut Plan, desired: &Desired, actual: &'a Actual) -> Ground<'a> {
    let mut ground = Ground {
        before: &actual.net,
        net: Cow::Borrowed(&actual.net),
        ours: BTreeSet::new(),
        untouched: BTreeSet::new(),
        is_overlay_new: false,
    };
    overlay(plan, desired, &mut ground);
    veths(plan, desired, &mut ground);
    let wanted: BTreeMap<&String, &Link> = desired
        .net
        .links
        .iter()
        .filter(|(name, _)| !ground.untouched.contains(*name))
        .collect();
    for (name, link) in &wanted {
        mend(plan, name, link, &mut ground);
    }
    if ground.is_overlay_new {
        sysctls::new_device(plan, desired, actual, OVERLAY);
    }
    addresses(plan, desired, &wanted, &mut ground);
    for name in wanted.keys() {
        if ground.net.links.get(*name).is_some_and(|link| !link.is_up) {
            let change = set(name, LinkSetting::Up);
            let (up, down) = (Some("up".to_owned()), Some("down".to_owned()));
            ground.change(plan, delta(Kind::Link, name, up, down, change));
        }
    }
    ground
}

fn set(name: &str, set: LinkSetting) -> Change {
    let name = name.to_owned();
    Change::SetLink { name, set }
}

fn overlay(plan: &mut Plan, desired: &Desired, ground: &mut Ground<'_>) {
    let wanted = desired.net.links.get(OVERLAY);
    let present = ground.before.links.get(OVERLAY);
    if let Some(present) = present {
        let is_marked = match &present.alias {
            Some(alias) => alias == OVERLAY_ALIAS,
            // Made by us, and we were killed before it was marked: nobody else derives this hardware address.
            None => present.mac == Some(vtep_mac(&desired.node)),
        };
        if !is_marked || !matches!(present.kind, LinkKind::Vxlan(_)) {
            ground.untouched.insert(OVERLAY.to_owned());
            if wanted.is_some() {
                plan.findings.push(Finding::NameTaken {
                    device: OVERLAY.to_owned(),
                    actual: words::link(present),
                });
            }
            return;
        }
        ground.ours.insert(OVERLAY.to_owned());
    }
    let Some((link, vxlan)) = wanted.and_then(|link| Some((link, vxlan_of(link)?))) else {
        if let Some(present) = present {
            let change = Change::DeleteLink(OVERLAY.to_owned());
            let actual = Some(words::link(present));
            plan.remove.push(delta(Kind::Link, OVERLAY, None, actual, change));
        }
        return;
    };
    let is_same =
        |other: &Link| vxlan_of(other).is_some_and(|other| (other.vni, other.port) == (vxlan.vni, vxlan.port));
    let others = ground.before.links.iter().filter(|(name, _)| *name != OVERLAY);
    let taken: Vec<Finding> = others
        .filter(|(_, other)| is_same(other))
        .map(|(name, _)| Finding::VniTaken {
            device: name.clone(),
            vni: vxlan.vni,
            port: vxlan.port,
        })
        .collect();
    let is_taken = !taken.is_empty();
    plan.findings.extend(taken);
    if present.is_some_and(|present| vxlan_of(present).is_some_and(|is| !must_be_made_anew(vxlan, is))) {
        return;
    }
    if is_taken {
        // The kernel would refuse it, and what is there may still carry something.
        ground.untouched.insert(OVERLAY.to_owned());
        return;
    }
    let expected = Some(words::link(link));
    if let Some(present) = present {
        let change = Change::DeleteLink(OVERLAY.to_owned());
        let actual = Some(words::link(present));
        ground.change(plan, delta(Kind::Link, OVERLAY, expected.clone(), actual, change));
    }
    let change = Change::CreateVxlan {
        name: OVERLAY.to_owned(),
        mac: vtep_mac(&desired.node),
        mtu: link.mtu,
        alias: OVERLAY_ALIAS.to_owned(),
        vxlan: vxlan.clone(),
    };
    ground.change(plan, delta(Kind::Link, OVERLAY, expected, None, change));
    ground.ours.insert(OVERLAY.to_owned());
    ground.is_overlay_new = true;
}

fn vxlan_of(link: &Link) -> Option<&Vxlan> {
    match &link.kind {
        LinkKind::Vxlan(vxlan) => Some(vxlan),
        _ => None,
    }
}

/// The kernel changes neither identifier nor port nor the family of the source address of a vxlan that exists, nor most of its flags.
fn must_be_made_anew(wanted: &Vxlan, is: &Vxlan) -> bool {
    // A vxlan without source address is one of IPv4 (`vxlan_config_validate`).
    let family = |vxlan: &Vxlan| vxlan.local.map_or(Family::V4, Family::of);
    (wanted.vni, wanted.port, family(wanted)) != (is.vni, is.port, family(is))
        || is
            .unusual
            .keys()
            .any(|word| !Vxlan::CHANGEABLE.contains(&word.as_str()))
}

fn veths(plan: &mut Plan, desired: &Desired, ground: &mut Ground<'_>) {
    for (name, wanted) in desired.net.links.iter().filter(|(_, link)| link.kind == LinkKind::Veth) {
        match ground.before.links.get(name) {
            // One without alias has the name that only we derive: ADD was killed before it marked it.
            Some(link) if link.kind == LinkKind::Veth && link.alias.as_deref().is_none_or(is_marked) => {
                ground.ours.insert(name.clone());
                continue;
            }
            Some(link) => plan.findings.push(Finding::NameTaken {
                device: name.clone(),
                actual: words::link(link),
            }),
            None => plan.findings.push(Finding::HostVethMissing {
                device: name.clone(),
                expected: words::link(wanted),
            }),
        }
        ground.untouched.insert(name.clone());
    }
    // A pod that is being added looks so: what hangs on its veth is not ours to remove. Collection decides about the veth.
    for (name, link) in &ground.before.links {
        if let (LinkKind::Veth, Some(alias)) = (&link.kind, &link.alias)
            && is_marked(alias)
            && !desired.net.links.contains_key(name)
        {
            ground.untouched.insert(name.clone());
            plan.findings.push(Finding::VethUnclaimed {
                device: name.clone(),
                alias: alias.clone(),
            });
        }
    }
}

fn is_marked(alias: &str) -> bool {
    alias.starts_with(VETH_ALIAS_START)
}

/// What can be changed about a device that stays.
fn mend(plan: &mut Plan, name: &str, wanted: &Link, ground: &mut Ground<'_>) {
    let Some(is) = ground.net.links.get(name).cloned() else {
        return;
    };
    let mut settings = Vec::new();
    if let (LinkKind::Vxlan(want), LinkKind::Vxlan(have)) = (&wanted.kind, &is.kind) {
        if let (Some(local), Some(device)) = (want.local, &want.device)
            && (want.local, &want.device) != (have.local, &have.device)
        {
            let device = device.clone();
            settings.push(("source", LinkSetting::VxlanSource { local, device }));
        }
        if want.learns != have.learns {
            settings.push(("learning", LinkSetting::VxlanLearns(want.learns)));
        }
        if let Some(local) = want.local.filter(|_| want.unusual != have.unusual) {
            settings.push(("settings", LinkSetting::VxlanUsual { local }));
        }
    }
    if let Some(mac) = wanted.mac.filter(|_| wanted.mac != is.mac) {
        settings.push(("MAC", LinkSetting::Mac(mac)));
    }
    if wanted.mtu != is.mtu {
        settings.push(("MTU", LinkSetting::Mtu(wanted.mtu)));
    }
    if let Some(alias) = wanted.alias.clone().filter(|_| wanted.alias != is.alias) {
        settings.push(("alias", LinkSetting::Alias(alias)));
    }
    let mut change = |ground: &mut Ground<'_>, what: &str, setting: LinkSetting| {
        let object = format!("{name} {what}");
        let (expected, actual) = (Some(words::link(wanted)), Some(words::link(&is)));
        ground.change(plan, delta(Kind::Link, &object, expected, actual, set(name, setting)));
    };
    for (what, setting) in settings {
        change(ground, what, setting);
    }
    // Where a device has no IPv6 there is nothing to say; it may have got it back with its MTU just now.
    let have = ground.net.links.get(name).and_then(|link| link.makes_link_local);
    if let (Some(want), Some(have)) = (wanted.makes_link_local, have)
        && want != have
    {
        change(ground, "addrgenmode", LinkSetting::MakesLinkLocal(want));
    }
}

/// Adds before it removes: with its last IPv4 address a device loses its IPv4 routes. Only an IPv6 address that has another prefix length
/// must go first: the kernel takes none twice.
fn addresses(plan: &mut Plan, desired: &Desired, wanted: &BTreeMap<&String, &Link>, ground: &mut Ground<'_>) {
    let change = |expected: bool, address: &Address| {
        let text = words::address(address);
        if expected {
            let change = Change::AddAddress(address.clone());
            delta(Kind::Address, &address.ip.to_string(), Some(text), None, change)
        } else {
            let change = Change::DeleteAddress(address.clone());
            delta(Kind::Address, &address.ip.to_string(), None, Some(text), change)
        }
    };
    let extra = |ground: &Ground<'_>, goes: &dyn Fn(&Address) -> bool| -> Vec<Address> {
        let there = ground.net.addresses.iter();
        there
            .filter(|address| wanted.contains_key(&address.interface) && !desired.net.addresses.contains(*address))
            .filter(|address| goes(address))
            .cloned()
            .collect()
    };
    let stands_in_the_way = |address: &Address| {
        let is_same = |wanted: &Address| (&wanted.interface, wanted.ip) == (&address.interface, address.ip);
        address.ip.is_ipv6() && desired.net.addresses.iter().any(is_same)
    };
    for address in extra(ground, &stands_in_the_way) {
        ground.change(plan, change(false, &address));
    }
    for address in &desired.net.addresses {
        if wanted.contains_key(&address.interface) && !ground.net.addresses.contains(address) {
            let mut add = change(true, address);
            let was_there = ground.before.addresses.contains(address);
            add.cause = Cause::new(was_there, Some(&address.interface));
            ground.change(plan, add);
        }
    }
    for address in extra(ground, &|_| true) {
        ground.change(plan, change(false, &address));
    }
}
