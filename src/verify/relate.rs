//! Tells root causes from what follows from them.

use super::found::Found;
use std::collections::BTreeMap;

/// What follows from a finding about a device.
enum Follow {
    /// Whatever else is wrong with what is on it.
    All,
    /// These, since the kernel takes them away with it.
    These(&'static [&'static str]),
}

/// Findings about devices, the one that explains most first.
const ROOTS: [(&str, Follow); 12] = [
    ("verify-name-taken", Follow::All),
    ("verify-pod-veth-missing", Follow::All),
    ("verify-device-missing", Follow::All),
    ("verify-device-down", Follow::All),
    // It is made anew, and what was on it goes.
    ("verify-overlay-settings", Follow::These(&["verify-overlay-missing"])),
    ("verify-overlay-missing", Follow::All),
    ("verify-overlay-down", Follow::All),
    ("verify-pod-veth-down", Follow::All),
    // Below 1280 bytes a device has no IPv6 (RFC 8200, section 5).
    (
        "verify-overlay-mtu",
        Follow::These(&[
            "verify-device-address-missing",
            "verify-device-address-stray",
            "verify-device-link-local",
            "verify-route-missing",
            "verify-neighbour-missing",
            "verify-forwarding-off",
        ]),
    ),
    // The kernel forgets permanent neighbours of a device whose address changes (neigh_changeaddr(), net/core/neighbour.c).
    ("verify-overlay-mac", Follow::These(&["verify-neighbour-missing"])),
    ("verify-pod-veth-mac", Follow::These(&["verify-pod-neighbour-missing"])),
    // With its last IPv4 address a device loses its IPv4 routes and neighbours (inetdev_destroy(), net/ipv4/devinet.c).
    (
        "verify-device-address-missing",
        Follow::These(&["verify-route-missing", "verify-neighbour-missing"]),
    ),
];

/// Tells roots from what follows from them: what is missing on a device that is missing or down is no fault of its own.
pub fn relate(found: &mut [Found]) {
    let mut firsts: BTreeMap<(&str, String), usize> = BTreeMap::new();
    for (index, one) in found.iter().enumerate() {
        if let Some(device) = &one.device {
            firsts.entry((one.id, device.clone())).or_insert(index);
        }
    }
    for one in found.iter_mut() {
        let Some(device) = &one.device else { continue };
        let root = ROOTS
            .iter()
            .take_while(|(id, _)| *id != one.id)
            .find_map(|(id, follow)| {
                let root = *firsts.get(&(*id, device.clone()))?;
                let follows = match follow {
                    Follow::All => true,
                    Follow::These(ids) => one.goes_with_device || ids.contains(&one.id),
                };
                follows.then_some(root)
            });
        one.follows = root;
    }
    // What router advertisements told is to be kept before IPv6 forwarding is put right: no fault of its own.
    let forwarding = found.iter().position(|one| one.id == "verify-forwarding-off");
    for one in found.iter_mut().filter(|one| one.id == "verify-sysctl") {
        one.follows = one.follows.or(forwarding);
    }
    // Each names the first cause.
    for index in 0..found.len() {
        while let Some(further) = found[index].follows.and_then(|root| found[root].follows) {
            found[index].follows = Some(further);
        }
    }
}
