//! Real flannel. Deeds are done while its daemon does not run on the node.

use super::Injection;
use crate::effect::Effect;

/// Lines of sh that find out a node's objects while it is healthy; what they print is assigned before each deed. `OWN_IP` and `PEER_IP` are
/// known besides.
pub const VXLAN: [(&str, &str); 8] = [
    ("R4", "ip route show dev flannel.1 | grep -m 1 onlink | cut -d' ' -f1"),
    (
        "ROUTE4",
        "ip route show dev flannel.1 | grep -m 1 onlink | sed 's/$/ dev flannel.1/'",
    ),
    (
        "G4",
        "ip route show dev flannel.1 | grep -m 1 onlink | sed 's/.* via \\([^ ]*\\).*/\\1/'",
    ),
    (
        "A4",
        "ip -4 -o address show dev flannel.1 | sed 's/.* inet \\([^ ]*\\).*/\\1/'",
    ),
    ("M1", "cat /sys/class/net/flannel.1/address"),
    (
        "M2",
        "ip neigh show dev flannel.1 nud permanent | sed -n '1s/.* lladdr \\([^ ]*\\).*/\\1/p'",
    ),
    ("MTU", "cat /sys/class/net/flannel.1/mtu"),
    ("UPLINK", "ip route show default | sed 's/.* dev \\([^ ]*\\).*/\\1/'"),
];

/// The same for a network without tunnel.
pub const HOST_GW: [(&str, &str); 3] = [
    ("R4", "ip route show via $PEER_IP | cut -d' ' -f1"),
    ("DEFAULT", "ip route show default | sed 's/.* via \\([^ ]*\\).*/\\1/'"),
    ("UPLINK", "ip route show default | sed 's/.* dev \\([^ ]*\\).*/\\1/'"),
];

/// The same for flannel's proxy.
pub const UDP: [(&str, &str); 3] = [
    ("R4", "ip route show dev flannel0 | cut -d' ' -f1"),
    (
        "A4",
        "ip -4 -o address show dev flannel0 | sed 's/.* inet \\([^ ]*\\).*/\\1/'",
    ),
    ("MTU", "cat /sys/class/net/flannel0/mtu"),
];

const BACK: &str = "ip address replace $A4 dev flannel.1; ip route replace $ROUTE4; \
    ip neigh replace $G4 lladdr $M2 nud permanent dev flannel.1; \
    bridge fdb replace $M2 dev flannel.1 dst $PEER_IP self permanent";
const MADE: &str = "ip link add flannel.1 mtu $MTU address $M1 type vxlan id 1 local $OWN_IP dev $UPLINK dstport 8472 nolearning; \
    ip link set flannel.1 up; @BACK";

fn one(what: &'static str, finding: &'static str, harm: &str, mend: &str) -> Injection {
    let filled = |line: &str| line.replace("@MADE", MADE).replace("@BACK", BACK);
    Injection::new(what, finding, &filled(harm), &filled(mend))
}

/// Of backend `vxlan`.
#[must_use]
pub fn vxlan() -> Vec<Injection> {
    vec![
        one(
            "flannel.1 is gone",
            "verify-overlay-missing",
            "ip link del flannel.1",
            "@MADE",
        ),
        one(
            "flannel.1 is down",
            "verify-overlay-down",
            "ip link set flannel.1 down",
            "ip link set flannel.1 up; @BACK",
        ),
        one(
            "flannel.1 has another MAC, as udev gives it",
            "verify-overlay-mac",
            "ip link set flannel.1 address 02:00:00:00:00:01",
            "ip link set flannel.1 address $M1; @BACK",
        ),
        one(
            "flannel.1 has another port",
            "verify-overlay-settings",
            "ip link del flannel.1; ip link add flannel.1 mtu $MTU address $M1 type vxlan id 1 local $OWN_IP dev $UPLINK dstport 4789 nolearning; ip link set flannel.1 up; @BACK",
            "ip link del flannel.1; @MADE",
        ),
        one(
            "flannel.1 has another VNI",
            "verify-overlay-settings",
            "ip link del flannel.1; ip link add flannel.1 mtu $MTU address $M1 type vxlan id 2 local $OWN_IP dev $UPLINK dstport 8472 nolearning; ip link set flannel.1 up; @BACK",
            "ip link del flannel.1; @MADE",
        ),
        one(
            "flannel.1 sends from another address",
            "verify-overlay-source",
            "ip link set flannel.1 type vxlan local 192.0.2.77",
            "ip link set flannel.1 type vxlan local $OWN_IP",
        ),
        one(
            "flannel.1 learns",
            "verify-overlay-learning",
            "ip link set flannel.1 type vxlan learning",
            "ip link set flannel.1 type vxlan nolearning",
        )
        .but(Effect::Lucky),
        one(
            "flannel.1 has a smaller MTU",
            "verify-overlay-mtu",
            "ip link set flannel.1 mtu 1400",
            "ip link set flannel.1 mtu $MTU",
        )
        .but(Effect::Degraded),
        one(
            "flannel.1 has no address",
            "verify-device-address-missing",
            "ip address del $A4 dev flannel.1",
            "@BACK",
        ),
        one(
            "flannel.1 has another's address",
            "verify-device-address-stray",
            "ip address add 10.99.9.9/32 dev flannel.1",
            "ip address del 10.99.9.9/32 dev flannel.1",
        )
        .but(Effect::Lucky),
        one(
            "the route to a node is gone",
            "verify-route-missing",
            "ip route del $R4",
            "ip route replace $ROUTE4",
        ),
        one(
            "the route to a node goes by the underlay",
            "verify-route-wrong",
            "ip route replace $R4 via $PEER_IP dev $UPLINK",
            "ip route replace $ROUTE4",
        )
        .but(Effect::Lucky),
        one(
            "a VPN's route is for one of a node's pods",
            "verify-route-shadowed",
            "ip route add blackhole ${R4%.*}.250",
            "ip route del blackhole ${R4%.*}.250",
        )
        .but(Effect::Lucky),
        one(
            "a rule sends what is for a node's pods elsewhere",
            "verify-route-diverted",
            "ip route add blackhole default table 4242; ip rule add to $R4 lookup 4242 priority 99",
            "ip rule del priority 99; ip route flush table 4242",
        ),
        one(
            "a route leads to a node that is gone",
            "verify-route-stale",
            "ip route add ${R4%.*.*}.250.0/24 via ${R4%.*.*}.250.0 dev flannel.1 onlink",
            "ip route del ${R4%.*.*}.250.0/24",
        )
        .but(Effect::Lucky),
        one(
            "a node's neighbour is gone",
            "verify-neighbour-missing",
            "ip neigh del $G4 dev flannel.1",
            "@BACK",
        ),
        one(
            "a node's neighbour has another MAC",
            "verify-neighbour-wrong",
            "ip neigh replace $G4 lladdr 02:00:00:00:00:05 nud permanent dev flannel.1",
            "@BACK",
        ),
        one(
            "a neighbour is of a node that is gone",
            "verify-neighbour-stale",
            "ip neigh add 10.99.9.0 lladdr 02:00:00:00:00:05 nud permanent dev flannel.1",
            "ip neigh del 10.99.9.0 dev flannel.1",
        )
        .but(Effect::Lucky),
        one(
            "a node's forwarding entry is gone",
            "verify-fdb-missing",
            "bridge fdb del $M2 dev flannel.1 dst $PEER_IP self",
            "@BACK",
        ),
        one(
            "a node's forwarding entry leads elsewhere",
            "verify-fdb-wrong",
            "bridge fdb replace $M2 dev flannel.1 dst 192.0.2.77 self permanent",
            "@BACK",
        ),
        one(
            "a forwarding entry is of a node that is gone",
            "verify-fdb-stale",
            "bridge fdb append 02:00:00:00:00:05 dev flannel.1 dst 192.0.2.77 self permanent",
            "bridge fdb del 02:00:00:00:00:05 dev flannel.1 dst 192.0.2.77 self",
        )
        .but(Effect::Lucky),
    ]
}

/// Of backend `host-gw`.
#[must_use]
pub fn host_gw() -> Vec<Injection> {
    let back = "ip route replace $R4 via $PEER_IP dev $UPLINK";
    vec![
        one(
            "the route to a node is gone",
            "verify-route-missing",
            "ip route del $R4",
            back,
        ),
        one(
            "the route to a node leads to a router",
            "verify-route-wrong",
            "ip route replace $R4 via $DEFAULT dev $UPLINK",
            back,
        ),
        one(
            "a route leads to a node that is gone",
            "verify-route-stale",
            "ip route add ${R4%.*.*}.250.0/24 via $PEER_IP dev $UPLINK",
            "ip route del ${R4%.*.*}.250.0/24",
        )
        .but(Effect::Lucky),
    ]
}

/// Of backend `udp`.
#[must_use]
pub fn udp() -> Vec<Injection> {
    let back = "ip route replace $R4 dev flannel0";
    vec![
        one(
            "the route to all nodes is gone",
            "verify-route-missing",
            "ip route del $R4",
            back,
        ),
        one(
            "a route of the backend before is left",
            "verify-route-shadowed",
            "ip route add $PEER_RANGE via $PEER_IP",
            "ip route del $PEER_RANGE via $PEER_IP",
        ),
        one(
            "flannel0 has no address",
            "verify-device-address-missing",
            "ip address del $A4 dev flannel0",
            "ip address add $A4 dev flannel0; ip route replace $R4 dev flannel0",
        ),
        one(
            "flannel0 has a smaller MTU",
            "verify-overlay-mtu",
            "ip link set flannel0 mtu 1400",
            "ip link set flannel0 mtu $MTU",
        ),
    ]
}
