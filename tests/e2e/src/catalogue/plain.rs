//! A network of reference plugins (`ptp`, `host-local`) and static routes: what is checked on every network. `POD4` and `VETH` are known of the
//! node's pod; nothing on the node would put any of it right.

use super::{Injection, host_port};
use crate::effect::Effect;

/// Lines of sh that find out a node's objects while it is healthy.
pub const VARIABLES: [(&str, &str); 7] = [
    ("ROUTE4", "ip route show via $PEER_IP | grep -m 1 $PEER_RANGE"),
    ("PODROUTE", "ip route show $POD4"),
    (
        "NETNS",
        "ip link show dev $VETH | sed -n 's/.* link-netns \\([^ ]*\\).*/\\1/p'",
    ),
    ("PODDEF", "ip netns exec $NETNS ip route show default"),
    ("MTU", "cat /sys/class/net/$VETH/mtu"),
    ("GIVEN", "dirname $(ls /var/lib/cni/networks/*/$POD4)"),
    ("CONF", "ls /etc/cni/net.d/*.conflist | head -1"),
];

/// All of them.
#[must_use]
pub fn faults() -> Vec<Injection> {
    vec![
        Injection::new(
            "the route to a node's pods is gone",
            "verify-route-missing",
            "ip route del $PEER_RANGE",
            "ip route replace $PEER_RANGE via $PEER_IP dev eth0",
        ),
        Injection::new(
            "the route to a pod is gone",
            "verify-pod-route-missing",
            "ip route del $POD4",
            "ip route replace $PODROUTE",
        ),
        Injection::new(
            "a pod has no default route",
            "verify-pod-default-missing",
            "ip netns exec $NETNS ip route del default",
            "ip netns exec $NETNS ip route replace $PODDEF",
        ),
        Injection::new(
            "a pod's loopback is down",
            "verify-pod-loopback-down",
            "ip netns exec $NETNS ip link set lo down",
            "ip netns exec $NETNS ip link set lo up",
        )
        .but(Effect::Lucky),
        Injection::new(
            "a pod's veth has another MTU",
            "verify-pod-veth-mtu",
            "ip link set $VETH mtu 1300",
            "ip link set $VETH mtu $MTU",
        )
        .but(Effect::Degraded),
        Injection::new(
            "the node does not forward IPv4",
            "verify-forwarding-off",
            "sysctl -qw net.ipv4.ip_forward=0",
            "sysctl -qw net.ipv4.ip_forward=1",
        ),
        Injection::new(
            "a firewall's policy drops what is forwarded",
            "verify-forward-dropped",
            "nft add table inet fault; nft add chain inet fault f '{ type filter hook forward priority 0 ; policy drop ; }'",
            "nft delete table inet fault",
        ),
        Injection::new(
            "a device of another network is left",
            "verify-leftover",
            "ip link add flannel.1 type vxlan id 1 dstport 8472 dev eth0 nolearning",
            "ip link del flannel.1",
        )
        .but(Effect::Lucky),
        Injection::new(
            "the CNI configuration is cut off",
            "verify-conf-broken",
            "cp $CONF /run/conflist; head -c 20 /run/conflist > $CONF",
            "cp /run/conflist $CONF",
        )
        .but(Effect::Lucky),
        Injection::new(
            "the CNI configuration is of a version that no plugin speaks",
            "verify-plugin-version",
            "cp $CONF /run/conflist; sed -i 's/\"cniVersion\": *\"[^\"]*\"/\"cniVersion\": \"9.0.0\"/' $CONF",
            "cp /run/conflist $CONF",
        )
        // The runtime goes on with the one it had, until it starts anew.
        .but(Effect::Lucky),
        host_port("${POD4%.*}.254"),
        Injection::new(
            "nearly all addresses of the node are given out",
            "verify-addresses-scarce",
            "for i in $(seq 2 250); do F=$GIVEN/${POD4%.*}.$i; [ -e $F ] || echo fault > $F; done",
            "grep -lx fault $GIVEN/* | xargs rm",
        )
        .but(Effect::Lucky),
        Injection::new(
            "a filter sends what a pod sends elsewhere",
            "verify-filter-takes",
            "tc qdisc add dev $VETH clsact; tc filter add dev $VETH ingress pref 7 protocol all u32 match u32 0 0 action mirred egress redirect dev lo",
            "tc qdisc del dev $VETH clsact",
        ),
    ]
}
