//! What a difference of the comparison is called as a finding, and what follows from what.

use crate::verify::found::Found;
use netcheck_cni_intent::{
    Delta, Finding,
    diff::{Cause, Kind, Mend},
    names::{BPF_PINS, OVERLAY, VETH_NAME_START},
    words,
};
use netcheck_node_state::{Change, LinkSetting, Neighbour, Route, RouteKind};

/// What the daemon does by itself, unless it is dead.
const BY_ITSELF: &str = "the node's daemon puts it right within its period; if it does not: kubectl -n netcheck-cni rollout restart daemonset netcheck-cni";

/// `missing`, `wrong`, `stale`: by what is expected and what is there.
fn three(delta: &Delta, ids: [&'static str; 3]) -> &'static str {
    let [missing, wrong, stale] = ids;
    match (&delta.expected, &delta.actual) {
        (None, _) => stale,
        (Some(_), None) => missing,
        (Some(_), Some(_)) => wrong,
    }
}

/// The finding for a difference that the daemon would mend.
pub fn of_delta(delta: &Delta) -> Found {
    let nothing = || "nothing".to_owned();
    let mut found = Found::new(
        id(delta),
        format!("{} {}", delta.kind, delta.object),
        delta.expected.clone().unwrap_or_else(nothing),
        delta.actual.clone().unwrap_or_else(nothing),
    );
    let command = match &delta.mend {
        Mend::Node(change) => by_hand(change),
        Mend::Pod { netns, change, .. } => {
            by_hand(change).map(|command| format!("{} {command}", inside(netns.as_deref())))
        }
        Mend::WriteNft(_) | Mend::DeleteNft(_) | Mend::Bpf(_) => None,
    };
    if let Mend::Node(change) = &delta.mend {
        found.device = device(change).map(str::to_owned);
    }
    found.goes_with_device = matches!(delta.cause, Cause::Follows(_));
    found.look = Some(look(delta));
    found.fix = Some(match command {
        Some(command) => format!("{BY_ITSELF}; by hand: {command}"),
        None => BY_ITSELF.to_owned(),
    });
    found
}

fn id(delta: &Delta) -> &'static str {
    match &delta.mend {
        Mend::Node(change) => of_change(delta, change),
        Mend::Pod { .. } => "verify-pod-mtu",
        Mend::WriteNft(_) => three(delta, ["verify-nft-missing", "verify-nft-wrong", "verify-nft-wrong"]),
        Mend::DeleteNft(_) => "verify-nft-stale",
        Mend::Bpf(_) => of_map(delta),
    }
}

fn of_change(delta: &Delta, change: &Change) -> &'static str {
    match change {
        Change::CreateVxlan { .. } => "verify-overlay-missing",
        Change::DeleteLink(_) if delta.expected.is_none() => "verify-overlay-stale",
        Change::DeleteLink(_) => "verify-overlay-settings",
        Change::SetLink { name, set } => of_setting(name == OVERLAY, set),
        Change::AddAddress(_) => "verify-device-address-missing",
        Change::DeleteAddress(_) => "verify-device-address-stray",
        Change::ReplaceNeighbour(Neighbour { device, .. }) | Change::DeleteNeighbour(Neighbour { device, .. }) => {
            if device == OVERLAY {
                three(
                    delta,
                    [
                        "verify-neighbour-missing",
                        "verify-neighbour-wrong",
                        "verify-neighbour-stale",
                    ],
                )
            } else {
                three(
                    delta,
                    [
                        "verify-pod-neighbour-missing",
                        "verify-pod-neighbour-wrong",
                        "verify-pod-neighbour-stale",
                    ],
                )
            }
        }
        Change::ReplaceFdb(_) | Change::DeleteFdb(_) => {
            three(delta, ["verify-fdb-missing", "verify-fdb-wrong", "verify-fdb-stale"])
        }
        Change::ReplaceRoute(route) | Change::DeleteRoute(route) => of_route(delta, route),
        Change::WriteSysctl { key, .. } if key.ends_with("forward") || key.ends_with("forwarding") => {
            "verify-forwarding-off"
        }
        Change::WriteSysctl { .. } => "verify-sysctl",
    }
}

fn of_setting(is_overlay: bool, setting: &LinkSetting) -> &'static str {
    match (setting, is_overlay) {
        (LinkSetting::Up, true) => "verify-overlay-down",
        (LinkSetting::Up, false) => "verify-pod-veth-down",
        (LinkSetting::Mac(_), true) => "verify-overlay-mac",
        (LinkSetting::Mac(_), false) => "verify-pod-veth-mac",
        (LinkSetting::Mtu(_), true) => "verify-overlay-mtu",
        (LinkSetting::Mtu(_), false) => "verify-pod-veth-mtu",
        (LinkSetting::VxlanSource { .. }, _) => "verify-overlay-source",
        (LinkSetting::VxlanLearns(_), _) => "verify-overlay-learning",
        (LinkSetting::VxlanUsual { .. }, _) => "verify-overlay-settings",
        (LinkSetting::Alias(_), _) => "verify-device-alias",
        (LinkSetting::MakesLinkLocal(_), _) => "verify-device-link-local",
    }
}

fn of_route(delta: &Delta, route: &Route) -> &'static str {
    let is_pods = route
        .device
        .as_ref()
        .is_some_and(|device| device != OVERLAY && device.starts_with(VETH_NAME_START));
    if delta.cause == Cause::Foreign {
        "verify-route-foreign"
    } else if route.kind == RouteKind::Unreachable {
        three(
            delta,
            [
                "verify-range-route-missing",
                "verify-range-route-wrong",
                "verify-range-route-stale",
            ],
        )
    } else if is_pods {
        three(
            delta,
            [
                "verify-pod-route-missing",
                "verify-pod-route-wrong",
                "verify-pod-route-stale",
            ],
        )
    } else {
        three(
            delta,
            ["verify-route-missing", "verify-route-wrong", "verify-route-stale"],
        )
    }
}

fn of_map(delta: &Delta) -> &'static str {
    match delta.object.split(' ').next() {
        Some("nc_cfg") => "verify-bpf-config",
        Some("nc_ep") => three(
            delta,
            [
                "verify-bpf-endpoint-missing",
                "verify-bpf-endpoint-wrong",
                "verify-bpf-endpoint-stale",
            ],
        ),
        Some("nc_node") => three(
            delta,
            [
                "verify-bpf-node-missing",
                "verify-bpf-node-wrong",
                "verify-bpf-node-stale",
            ],
        ),
        _ => three(
            delta,
            [
                "verify-bpf-counter-missing",
                "verify-bpf-counter-missing",
                "verify-bpf-counter-stale",
            ],
        ),
    }
}

/// The device that a change is about or whose entries it touches.
fn device(change: &Change) -> Option<&str> {
    match change {
        Change::CreateVxlan { name, .. } | Change::SetLink { name, .. } | Change::DeleteLink(name) => Some(name),
        Change::AddAddress(address) | Change::DeleteAddress(address) => Some(&address.interface),
        Change::ReplaceRoute(route) | Change::DeleteRoute(route) => route.device.as_deref(),
        Change::ReplaceNeighbour(neighbour) | Change::DeleteNeighbour(neighbour) => Some(&neighbour.device),
        Change::ReplaceFdb(entry) | Change::DeleteFdb(entry) => Some(&entry.device),
        // `net.ipv4.conf.DEVICE.forwarding`
        Change::WriteSysctl { key, .. } => key.split('.').nth(3),
    }
}

/// The change as a command of iproute2.
fn by_hand(change: &Change) -> Option<String> {
    Some(match change {
        Change::ReplaceRoute(route) => format!("ip route replace {}", words::route(route)),
        Change::DeleteRoute(route) => format!("ip route del {}", words::route(route)),
        Change::ReplaceNeighbour(neighbour) => format!(
            "ip neighbour replace {} lladdr {} nud permanent dev {} protocol {}",
            neighbour.ip, neighbour.mac?, neighbour.device, neighbour.protocol
        ),
        Change::DeleteNeighbour(neighbour) => format!("ip neighbour del {} dev {}", neighbour.ip, neighbour.device),
        Change::ReplaceFdb(entry) => format!("bridge fdb replace {}", words::fdb(entry)),
        Change::DeleteFdb(entry) => format!("bridge fdb del {}", words::fdb(entry)),
        Change::AddAddress(address) => format!("ip address add {}", words::address(address)),
        Change::DeleteAddress(address) => format!("ip address del {}", words::address(address)),
        Change::WriteSysctl { key, value } => format!("sysctl -w {key}={value}"),
        Change::SetLink {
            name,
            set: LinkSetting::Up,
        } => format!("ip link set {name} up"),
        Change::SetLink {
            name,
            set: LinkSetting::Mac(mac),
        } => format!("ip link set {name} address {mac}"),
        Change::SetLink {
            name,
            set: LinkSetting::Mtu(mtu),
        } => format!("ip link set {name} mtu {mtu}"),
        Change::SetLink { .. } | Change::DeleteLink(_) | Change::CreateVxlan { .. } => return None,
    })
}

/// What takes a command into a pod's network namespace.
fn inside(netns: Option<&str>) -> String {
    format!("nsenter --net={}", netns.unwrap_or("NETNS"))
}

/// The command that shows it.
fn look(delta: &Delta) -> String {
    let change = match &delta.mend {
        Mend::Node(change) => change,
        Mend::Pod { netns, change, .. } => {
            return format!("{} ip route show {}", inside(netns.as_deref()), destination(change));
        }
        Mend::WriteNft(_) | Mend::DeleteNft(_) => return format!("nft list table {}", delta.object),
        Mend::Bpf(_) => {
            let map = delta.object.split(' ').next().unwrap_or_default();
            return format!("bpftool map dump pinned {BPF_PINS}maps/{map}");
        }
    };
    match (delta.kind, change) {
        (Kind::Route, change) => format!("ip route show {}", destination(change)),
        (Kind::Neighbour, Change::ReplaceNeighbour(neighbour) | Change::DeleteNeighbour(neighbour)) => {
            format!("ip neighbour show {} dev {}", neighbour.ip, neighbour.device)
        }
        (Kind::Sysctl, Change::WriteSysctl { key, .. }) => format!("sysctl {key}"),
        (Kind::Fdb, change) => format!("bridge fdb show dev {}", device(change).unwrap_or(OVERLAY)),
        (_, change) => format!("ip -d address show dev {}", device(change).unwrap_or(OVERLAY)),
    }
}

fn destination(change: &Change) -> String {
    match change {
        Change::ReplaceRoute(route) | Change::DeleteRoute(route) => words::destination(route),
        _ => String::new(),
    }
}

/// The finding for what the daemon tells and does not touch.
pub fn of_finding(finding: &Finding) -> Found {
    let actual = finding.to_string();
    match finding {
        Finding::NameTaken { device, .. } => Found::new("verify-name-taken", device, "a device of ours", actual)
            .look(format!("ip -d link show {device}"))
            .on(device),
        Finding::VniTaken { device, vni, port } => Found::new(
            "verify-vni-taken",
            device,
            format!("{OVERLAY} alone has VNI {vni} and port {port}"),
            actual,
        )
        .look(format!("ip -d link show {device}"))
        .fix(format!("ip link del {device}")),
        Finding::RouteShadowed { ours, foreign } => Found::new(
            "verify-route-shadowed",
            foreign,
            format!("{ours} decides"),
            format!("{foreign} decides"),
        )
        .look("ip route show; ip -6 route show")
        .fix(format!("ip route del {foreign}"))
        .on_device_of(foreign),
        Finding::RouteContested { ours, foreign } => {
            Found::new("verify-route-foreign", foreign, format!("{ours} stays"), actual).look("ip monitor route")
        }
        Finding::ForwardDropped { chain, how, range, fix } => Found::new(
            "verify-forward-dropped",
            format!("{chain} {range}"),
            "every chain at hook forward lets pods' packets through",
            format!("it drops by {how} what pods of {range} send through this node"),
        )
        .look(format!("nft list chain {chain}"))
        .fix(fix),
        Finding::HostVethMissing { device, expected } => {
            Found::new("verify-pod-veth-missing", device, expected, "no such device")
                .look(format!("ip link show {device}"))
                .on(device)
        }
        Finding::VethUnclaimed { device, alias } => Found::new(
            "verify-veth-unclaimed",
            device,
            "every veth of ours has an attachment",
            format!("{alias}: no finished attachment has it"),
        )
        .look(format!("ip -d link show {device}; ls /run/netcheck-cni/att"))
        .on(device),
        Finding::PodChanged { key, object } => Found::new(
            "verify-pod-changed",
            format!("{key} {object}"),
            object,
            "it is missing or changed",
        ),
    }
}
