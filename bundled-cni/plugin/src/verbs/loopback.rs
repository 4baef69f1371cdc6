//! The plugin `loopback`, which containerd calls for each pod: `lo` is up (SPEC.md 7.1).

use super::Call;
use crate::{Code, Failure, request::Verb, version::Version, wiring::Sandbox};
use ipnet::IpNet;
use netcheck_node_state::{Mac, addresses, snapshot, within};
use serde_json::{Value, json};
use std::fmt::Display;

const LO: &str = "lo";

pub(super) fn run(call: &Call<'_>) -> Result<Option<Value>, Failure> {
    match call.request.verb {
        Verb::Add => add(call).map(Some),
        Verb::Check => check(call).map(|()| None),
        // It goes with its namespace.
        Verb::Del | Verb::Gc | Verb::Status | Verb::Version => Ok(None),
    }
}

fn add(call: &Call<'_>) -> Result<Value, Failure> {
    let previous = call.config.previous()?;
    let mut sandbox = open(call)?;
    sandbox.set_up(LO)?;
    let version = call.config.version;
    if let Some(previous) = previous {
        return Ok(previous.unchanged(version));
    }
    let found = within(sandbox.netns(), addresses).map_err(|error| kernel(&error))?;
    let found = found.map_err(|error| kernel(&error))?;
    let ip = |ip: IpNet| {
        let mut entry = json!({"address": ip.to_string(), "interface": 0});
        if version < Version::V1_0_0 {
            entry["version"] = if ip.addr().is_ipv4() { "4" } else { "6" }.into();
        }
        entry
    };
    let ips = found.iter().filter(|address| address.interface == LO);
    let ips: Vec<Value> = ips
        .filter_map(|address| IpNet::new(address.ip, address.prefix).ok())
        .map(ip)
        .collect();
    let netns = call.request.netns.as_ref().map(|path| path.display().to_string());
    Ok(json!({
        "cniVersion": version.text(),
        "interfaces": [{"name": LO, "mac": Mac::default().to_string(), "sandbox": netns}],
        "ips": ips,
        "dns": {}
    }))
}

fn check(call: &Call<'_>) -> Result<(), Failure> {
    let sandbox = open(call)?;
    let state = within(sandbox.netns(), snapshot).map_err(|error| kernel(&error))?;
    let state = state.map_err(|error| kernel(&error))?;
    match state.links.get(LO) {
        Some(link) if link.is_up => Ok(()),
        _ => Err(Failure::new(Code::POD_LINK, "lo in the pod is down")),
    }
}

fn open(call: &Call<'_>) -> Result<Sandbox, Failure> {
    let netns = call.request.netns.clone().unwrap_or_default();
    Sandbox::open(&netns, call.request.may_be_own_netns)
}

fn kernel(error: &dyn Display) -> Failure {
    Failure::new(Code::KERNEL, error)
}
