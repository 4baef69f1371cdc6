//! Where programs must hang, and on which maps they must work (SPEC.md, section 6.3).

use crate::verify::found::Found;
use netcheck_cni_intent::{
    Desired,
    bpf::BpfMaps,
    names::{BPF_PINS, OVERLAY, PROTOCOL},
};
use netcheck_node_state::record::{Device, PinnedProgram, Pins};
use std::collections::{BTreeMap, BTreeSet};

/// Programs on both sides of a device: of packets that come in there, and of those that go out.
type Sides = [&'static str; 2];

const POD: Sides = ["nc_pod_from", "nc_pod_to"];
const TUNNEL: Sides = ["nc_vx_in", "nc_vx_out"];
const UPLINK: Sides = ["nc_ul_in", "nc_ul_out"];

/// What differs of hooks and programs.
pub fn differences(desired: &Desired, maps: &BpfMaps, devices: &BTreeMap<String, Device>, pins: &Pins) -> Vec<Found> {
    let mut found = Vec::new();
    let programs: BTreeMap<&str, &PinnedProgram> = pins
        .programs
        .iter()
        .filter_map(|(path, program)| Some((path.strip_prefix("progs/")?, program.as_ref().ok()?)))
        .collect();
    let pinned_maps: BTreeMap<u32, &String> = pins
        .maps
        .iter()
        .filter_map(|(path, map)| Some((map.as_ref().ok()?.id, path)))
        .collect();
    for (name, program) in &programs {
        let orphaned: Vec<String> = program
            .maps
            .iter()
            .filter(|id| !pinned_maps.contains_key(id))
            .map(ToString::to_string)
            .collect();
        if !orphaned.is_empty() {
            found.push(
                Found::new(
                    "verify-bpf-program-maps",
                    *name,
                    "it works on the pinned maps",
                    format!("it works on maps that are not pinned: {}", orphaned.join(", ")),
                )
                .look(format!("bpftool prog show pinned {BPF_PINS}progs/{name}")),
            );
        }
    }
    for (device, sides) in wanted(desired, maps)
        .into_iter()
        .filter(|(device, _)| devices.contains_key(device))
    {
        for (side, name) in ["ingress", "egress"].into_iter().zip(sides) {
            let hook = format!("{device} {side}");
            let hanging = pins.hooks.get(&hook).map(Vec::as_slice).unwrap_or_default();
            let Some(program) = programs.get(name) else {
                continue;
            };
            let times = hanging.iter().filter(|id| **id == program.id).count();
            if times != 1 {
                let mut one = Found::new(
                    "verify-bpf-hook",
                    hook,
                    format!("{name} (program {}), once", program.id),
                    if hanging.is_empty() {
                        "nothing hangs there".to_owned()
                    } else {
                        format!("it hangs there {times} times; programs there: {hanging:?}")
                    },
                )
                .look(format!("bpftool net show dev {device}"));
                one.device = Some(device.clone());
                found.push(one);
            }
        }
    }
    found
}

fn wanted(desired: &Desired, maps: &BpfMaps) -> BTreeMap<String, Sides> {
    let veths = maps.endpoints.values().map(|endpoint| (endpoint.device.clone(), POD));
    let overlay = maps
        .config
        .iter()
        .filter_map(|config| Some((config.overlay.clone()?, TUNNEL)));
    let direct: BTreeSet<&String> = desired
        .net
        .routes
        .iter()
        .filter(|route| route.protocol == PROTOCOL && route.gateway.is_some())
        .filter_map(|route| route.device.as_ref())
        .filter(|device| *device != OVERLAY)
        .collect();
    let uplinks = direct.into_iter().map(|device| (device.clone(), UPLINK));
    veths.chain(overlay).chain(uplinks).collect()
}
