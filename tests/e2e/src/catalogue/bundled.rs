//! The bundled network. Deeds are done while no daemon runs, which would put them right at once.

use super::Injection;
use crate::effect::Effect;

/// Lines of sh that find out a node's objects while it is healthy; what they print is assigned before each deed. `POD4`, `POD6`, `VETH`,
/// `PEER_IP` and `OWN_IP` are known besides.
pub const VARIABLES: [(&str, &str); 20] = [
    ("R4", "ip route show proto 147 | grep -m 1 onlink | cut -d' ' -f1"),
    ("R6", "ip -6 route show proto 147 | grep -m 1 onlink | cut -d' ' -f1"),
    (
        "ROUTE4",
        "ip route show proto 147 | grep -m 1 onlink | sed 's/$/ proto 147/'",
    ),
    (
        "ROUTE6",
        "ip -6 route show proto 147 | grep -m 1 onlink | sed 's/$/ proto 147/'",
    ),
    (
        "G4",
        "ip route show proto 147 | grep -m 1 onlink | sed 's/.* via \\([^ ]*\\).*/\\1/'",
    ),
    ("O4", "ip route show proto 147 type unreachable | cut -d' ' -f2"),
    (
        "A4",
        "ip -4 -o address show dev ncvx0 | sed 's/.* inet \\([^ ]*\\).*/\\1/'",
    ),
    ("M1", "cat /sys/class/net/ncvx0/address"),
    (
        "M2",
        "ip neigh show dev ncvx0 nud permanent | sed -n '1s/.* lladdr \\([^ ]*\\).*/\\1/p'",
    ),
    (
        "PORT",
        "ip -d link show dev ncvx0 | sed -n 's/.* dstport \\([0-9]*\\).*/\\1/p'",
    ),
    (
        "K4",
        "printf '%02x 00 00 00 00 00 00 00 00 00 00 00 00 00 ff ff %02x %02x %02x %02x' $((96 + ${R4#*/})) $(echo ${R4%/*} | tr . ' ')",
    ),
    (
        "N4",
        "bpftool -j map lookup pinned /sys/fs/bpf/netcheck-cni/v1/maps/nc_node key hex $K4 | sed 's/.*\"value\":\\[\"0x\\([^]]*\\)\"].*/\\1/; s/\",\"0x/ /g'",
    ),
    ("MTU", "cat /sys/class/net/ncvx0/mtu"),
    ("VMTU", "cat /sys/class/net/$VETH/mtu"),
    (
        "PODMAC",
        "ip neigh show $POD4 dev $VETH | sed 's/.* lladdr \\([^ ]*\\).*/\\1/'",
    ),
    ("ATT", "grep -l '\"'$POD4'\"' /run/netcheck-cni/att/*"),
    ("NETNS", "sed 's/.*\"netns\":\"\\([^\"]*\\)\".*/\\1/' $ATT"),
    (
        "PODMTU",
        "nsenter --net=$NETNS ip route show default | sed 's/.* mtu \\([0-9]*\\).*/\\1/'",
    ),
    ("PODDEF", "nsenter --net=$NETNS ip route show default"),
    (
        "ROUTES",
        "F=/run/netcheck-faults; mkdir -p $F; ip route show proto 147 > $F/r4; ip -6 route show proto 147 > $F/r6; ip neigh show nud permanent proto 147 | sed 's/ PERMANENT.*//; s/ proto [^ ]*//' > $F/n; ip -o address show dev ncvx0 | sed 's/.* inet6\\? \\([^ ]*\\).*/\\1/' > $F/a; nft list table inet netcheck-cni > $F/nft; echo $F",
    ),
];

/// Puts back what goes with a device that was down.
const BACK: &str = "set +e; while read a; do ip address replace $a dev ncvx0 nodad; done < $ROUTES/a; \
    while read r; do ip route replace $r proto 147; done < $ROUTES/r4; \
    while read r; do ip -6 route replace $r proto 147; done < $ROUTES/r6; \
    while read n; do ip neigh replace $n nud permanent protocol 147; done < $ROUTES/n; true";

const PINS: &str = "/sys/fs/bpf/netcheck-cni/v1";
/// Where the plugin writes down which addresses it has given out. One without an attachment is, for a while, of a pod that is being added.
const GIVEN: &str = "/run/netcheck-cni/ipam/ip";
/// Entries of a map that counts what pods send, as of one pod on devices that are not there; `bpftool` reads what to do with each.
const COUNTERS: &str = "K=$(printf '%02x ' $(echo $POD4 | tr . ' ')); seq 0 949 | while read i; do \
    printf 'map @DO pinned @PINS/maps/nc_ep_count key hex 00 00 00 00 00 00 00 00 00 00 ff ff %s %02x %02x 00 40 @VALUE\\n' \"$K\" $((i % 256)) $((i / 256)); \
    done | bpftool batch file - > /dev/null";

fn one(what: &'static str, finding: &'static str, harm: &str, mend: &str) -> Injection {
    let filled = |line: &str| {
        line.replace("@BACK", BACK)
            .replace("@PINS", PINS)
            .replace("@GIVEN", GIVEN)
    };
    Injection::new(what, finding, &filled(harm), &filled(mend))
}

/// All of them, in lanes: those of different lanes do not touch each other and may be in force at once.
#[must_use]
pub fn lanes() -> [Vec<Injection>; 4] {
    [
        [devices(), routes(), neighbours()].concat(),
        pods(),
        [firewall(), bpf()].concat(),
        disk(),
    ]
}

/// What only the daemon mends: to be done last.
#[must_use]
pub fn last() -> Injection {
    one(
        "the overlay's program hangs nowhere",
        "verify-bpf-hook",
        "rm @PINS/links/ncvx0_in",
        "true",
    )
    .but(Effect::Lucky)
}

fn devices() -> Vec<Injection> {
    vec![
        one(
            "the overlay is down",
            "verify-overlay-down",
            "ip link set ncvx0 down",
            "ip link set ncvx0 up; @BACK",
        ),
        one(
            "the overlay has another MAC, as udev gives it",
            "verify-overlay-mac",
            "ip link set ncvx0 address 02:00:00:00:00:01",
            "ip link set ncvx0 address $M1; @BACK",
        ),
        one(
            "the overlay's MTU is too small",
            "verify-overlay-mtu",
            "ip link set ncvx0 mtu 1400",
            "ip link set ncvx0 mtu $MTU",
        )
        .but(Effect::Degraded),
        one(
            "the overlay's MTU is too small for IPv6",
            "verify-overlay-mtu",
            "ip link set ncvx0 mtu 1200",
            "ip link set ncvx0 mtu $MTU; ip link set ncvx0 addrgenmode none; ip -6 address flush dev ncvx0 scope link; sysctl -qw net.ipv6.conf.ncvx0.forwarding=1; @BACK",
        ),
        one(
            "the overlay lets hardly anything through",
            "verify-traffic-shaped",
            "tc qdisc add dev ncvx0 root tbf rate 8bit burst 1 limit 1",
            "tc qdisc del dev ncvx0 root",
        ),
        one(
            "the overlay learns",
            "verify-overlay-learning",
            "ip link set ncvx0 type vxlan learning",
            "ip link set ncvx0 type vxlan nolearning",
        )
        .but(Effect::Lucky),
        one(
            "the overlay's packets have another TTL",
            "verify-overlay-settings",
            "ip link set ncvx0 type vxlan ttl 5",
            "ip link set ncvx0 type vxlan ttl 0",
        )
        .but(Effect::Lucky),
        one(
            "the overlay sends from another address",
            "verify-overlay-source",
            "ip link set ncvx0 type vxlan local 192.0.2.77",
            "ip link set ncvx0 type vxlan local $OWN_IP",
        ),
        one(
            "the overlay has no address",
            "verify-device-address-missing",
            "ip address del $A4 dev ncvx0",
            "@BACK",
        ),
        one(
            "the overlay has another's address",
            "verify-device-address-stray",
            "ip address add 10.99.9.9/32 dev ncvx0",
            "ip address del 10.99.9.9/32 dev ncvx0",
        )
        .but(Effect::Lucky),
        one(
            "the overlay has lost its mark",
            "verify-name-taken",
            "ip link set ncvx0 alias other",
            "ip link set ncvx0 alias 'netcheck-cni v1'",
        )
        .but(Effect::Lucky),
    ]
}

fn routes() -> Vec<Injection> {
    vec![
        one(
            "the IPv4 route to a node is gone",
            "verify-route-missing",
            "ip route del $R4",
            "ip route replace $ROUTE4",
        ),
        one(
            "the IPv6 route to a node is gone",
            "verify-route-missing",
            "ip -6 route del $R6",
            "ip -6 route replace $ROUTE6",
        ),
        one(
            "the route to a node leads nowhere",
            "verify-route-wrong",
            "ip route replace blackhole $R4 proto 147",
            "ip route replace $ROUTE4",
        ),
        one(
            "the route to a node has no gateway",
            "verify-route-wrong",
            "ip route replace $R4 dev ncvx0 proto 147",
            "ip route replace $ROUTE4",
        ),
        one(
            "another program's route is in the place of ours",
            "verify-route-foreign",
            "ip route replace blackhole $R4",
            "ip route replace $ROUTE4",
        ),
        one(
            "a route leads to a node that is gone",
            "verify-route-stale",
            "ip route add 10.99.0.0/24 via $G4 dev ncvx0 onlink proto 147",
            "ip route del 10.99.0.0/24",
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
            "a VPN's route has a better metric",
            "verify-route-shadowed",
            "ip -6 route add blackhole $R6 metric 5",
            "ip -6 route del blackhole $R6 metric 5",
        ),
        one(
            "a rule sends what is for a node's pods elsewhere",
            "verify-route-diverted",
            "ip route add blackhole default table 4242; ip rule add from $O4 to $R4 lookup 4242 priority 99",
            "ip rule del priority 99; ip route flush table 4242",
        ),
        one(
            "the node's own range is open",
            "verify-range-route-missing",
            "ip route del unreachable $O4 metric 2147483647",
            "@BACK",
        )
        .but(Effect::Lucky),
        one(
            "the node does not forward IPv4",
            "verify-forwarding-off",
            "sysctl -qw net.ipv4.ip_forward=0",
            "sysctl -qw net.ipv4.ip_forward=1",
        ),
        one(
            "the node does not forward IPv6",
            "verify-forwarding-off",
            "sysctl -qw net.ipv6.conf.all.forwarding=0",
            "sysctl -qw net.ipv6.conf.all.forwarding=1",
        ),
        one(
            "the overlay does not forward",
            "verify-forwarding-off",
            "sysctl -qw net.ipv4.conf.ncvx0.forwarding=0",
            "sysctl -qw net.ipv4.conf.ncvx0.forwarding=1",
        ),
    ]
}

fn neighbours() -> Vec<Injection> {
    vec![
        one(
            "a peer's neighbour is gone",
            "verify-neighbour-missing",
            "ip neigh del $G4 dev ncvx0",
            "@BACK",
        ),
        one(
            "a peer's neighbour has another MAC",
            "verify-neighbour-wrong",
            "ip neigh replace $G4 lladdr 02:00:00:00:00:02 nud permanent dev ncvx0 protocol 147",
            "@BACK",
        ),
        one(
            "a neighbour is of a node that is gone",
            "verify-neighbour-stale",
            "ip neigh add 10.99.0.0 lladdr 02:00:00:00:00:03 nud permanent dev ncvx0",
            "ip neigh del 10.99.0.0 dev ncvx0",
        )
        .but(Effect::Lucky),
        one(
            "a peer's forwarding entry is gone",
            "verify-fdb-missing",
            "bridge fdb del $M2 dev ncvx0 dst $PEER_IP",
            "bridge fdb add $M2 dev ncvx0 dst $PEER_IP self permanent",
        ),
        one(
            "a peer's forwarding entry leads to another node",
            "verify-fdb-wrong",
            "bridge fdb replace $M2 dev ncvx0 dst 192.0.2.99 self permanent",
            "bridge fdb replace $M2 dev ncvx0 dst $PEER_IP self permanent",
        ),
        one(
            "a peer's forwarding entry has another port",
            "verify-fdb-wrong",
            "bridge fdb del $M2 dev ncvx0; bridge fdb add $M2 dev ncvx0 dst $PEER_IP port 4790 self permanent",
            "bridge fdb del $M2 dev ncvx0; bridge fdb add $M2 dev ncvx0 dst $PEER_IP self permanent",
        ),
        one(
            "a forwarding entry is of a node that is gone",
            "verify-fdb-stale",
            "bridge fdb add 02:00:00:00:00:09 dev ncvx0 dst $PEER_IP self permanent",
            "bridge fdb del 02:00:00:00:00:09 dev ncvx0",
        )
        .but(Effect::Lucky),
        one(
            "what is not known is flooded",
            "verify-fdb-stale",
            "bridge fdb append 00:00:00:00:00:00 dev ncvx0 dst $PEER_IP self permanent",
            "bridge fdb del 00:00:00:00:00:00 dev ncvx0",
        )
        .but(Effect::Lucky),
    ]
}

fn pods() -> Vec<Injection> {
    vec![
        one(
            "a pod's veth is down",
            "verify-pod-veth-down",
            "ip link set $VETH down",
            "ip link set $VETH up; @BACK",
        ),
        one(
            "a pod's veth has another MAC",
            "verify-pod-veth-mac",
            "ip link set $VETH address 02:00:00:00:00:04",
            "ip link set $VETH address 0e:6e:63:00:00:01; @BACK",
        ),
        one(
            "a pod's veth has another MTU",
            "verify-pod-veth-mtu",
            "ip link set $VETH mtu 1300",
            "ip link set $VETH mtu $VMTU",
        )
        .but(Effect::Degraded),
        one(
            "a pod's veth has lost its mark",
            "verify-name-taken",
            "F=$(cat /sys/class/net/$VETH/ifalias); echo \"$F\" > $ROUTES/alias; ip link set $VETH alias other",
            "ip link set $VETH alias \"$(cat $ROUTES/alias)\"",
        )
        .but(Effect::Lucky),
        one(
            "the IPv4 route to a pod is gone",
            "verify-pod-route-missing",
            "ip route del $POD4",
            "@BACK",
        ),
        one(
            "the IPv6 route to a pod is gone",
            "verify-pod-route-missing",
            "ip -6 route del $POD6",
            "@BACK",
        ),
        one(
            "the route to a pod leads elsewhere",
            "verify-pod-route-wrong",
            "ip route replace $POD4 dev ncvx0 proto 147",
            "@BACK",
        ),
        one(
            "a route leads to a pod that is gone",
            "verify-pod-route-stale",
            "ip route add ${O4%.*}.253 dev $VETH proto 147",
            "ip route del ${O4%.*}.253",
        )
        .but(Effect::Lucky),
        one(
            "a pod's neighbour is gone",
            "verify-pod-neighbour-missing",
            "ip neigh del $POD4 dev $VETH",
            "@BACK",
        )
        .but(Effect::Lucky),
        one(
            "a pod's neighbour has another MAC",
            "verify-pod-neighbour-wrong",
            "ip neigh replace $POD4 lladdr 02:00:00:00:00:05 nud permanent dev $VETH protocol 147",
            "@BACK",
        ),
        one(
            "a neighbour is of a pod that is gone",
            "verify-pod-neighbour-stale",
            "ip neigh add ${O4%.*}.253 lladdr 02:00:00:00:00:05 nud permanent dev $VETH",
            "ip neigh del ${O4%.*}.253 dev $VETH",
        )
        .but(Effect::Lucky),
        one(
            "a pod's default route has another MTU",
            "verify-pod-mtu",
            "nsenter --net=$NETNS ip route change ${PODDEF% mtu*} mtu 1300",
            "nsenter --net=$NETNS ip route change ${PODDEF% mtu*} mtu $PODMTU",
        )
        .but(Effect::Degraded),
        one(
            "a pod has no neighbour for its gateway",
            "verify-pod-changed",
            "nsenter --net=$NETNS ip neigh del 169.254.1.1 dev eth0",
            "nsenter --net=$NETNS ip neigh replace 169.254.1.1 lladdr 0e:6e:63:00:00:01 nud permanent dev eth0",
        ),
        one(
            "a veth is of no pod",
            "verify-veth-unclaimed",
            "ip link add ncdeadbeef000 type veth peer name ncdeadbeef001; ip link set ncdeadbeef000 alias 'netcheck-cni nobody'",
            "ip link del ncdeadbeef000",
        )
        .but(Effect::Lucky),
    ]
}

fn firewall() -> Vec<Injection> {
    vec![
        one(
            "the masquerading table is gone",
            "verify-nft-missing",
            "nft delete table inet netcheck-cni",
            "nft -f $ROUTES/nft",
        )
        .but(Effect::Degraded),
        one(
            "the pods' ranges are out of their set",
            "verify-nft-wrong",
            "nft flush set inet netcheck-cni pods4",
            "nft delete table inet netcheck-cni; nft -f $ROUTES/nft",
        )
        .but(Effect::Degraded),
        one(
            "a table is kept for later and is there",
            "verify-nft-stale",
            "nft add table inet netcheck-policy",
            "nft delete table inet netcheck-policy",
        )
        .but(Effect::Lucky),
        one(
            "a firewall's policy drops what is forwarded",
            "verify-forward-dropped",
            "nft add table inet fault; nft add chain inet fault f '{ type filter hook forward priority 0 ; policy drop ; }'",
            "nft delete table inet fault",
        ),
        one(
            "a firewall's rule drops pods' packets",
            "verify-forward-dropped",
            "nft add table ip fault; nft add chain ip fault f '{ type filter hook forward priority 0 ; }'; nft add rule ip fault f ip saddr $O4 drop",
            "nft delete table ip fault",
        ),
        one(
            "a firewall shuts the tunnel's port",
            "verify-overlay-blocked",
            "nft add table inet fault; nft add chain inet fault i '{ type filter hook input priority 0 ; }'; nft add rule inet fault i udp dport $PORT drop",
            "nft delete table inet fault",
        ),
        one(
            "pods' packets to each other are masqueraded",
            "verify-masquerade-pods",
            "nft add table ip fault; nft add chain ip fault p '{ type nat hook postrouting priority 50 ; }'; nft add rule ip fault p ip saddr $O4 ip daddr $R4 masquerade",
            "nft delete table ip fault",
        )
        .but(Effect::Lucky),
        super::host_port("${O4%.*}.254"),
    ]
}

fn bpf() -> Vec<Injection> {
    let counters = |command: &str, value: &str| COUNTERS.replace("@DO", command).replace("@VALUE", value);
    let zeros = format!("value hex{}", " 00".repeat(32));
    vec![
        one(
            "a range is in the map that no node has",
            "verify-bpf-node-stale",
            "bpftool map update pinned @PINS/maps/nc_node key hex 78 00 00 00 00 00 00 00 00 00 00 00 00 00 ff ff 0a 63 00 00 value hex 00 00 00 00 00 00 00 00 00 00 ff ff c0 00 02 63 02 00 00 00 00 09 00 00 ff 1f 00 00",
            "bpftool map delete pinned @PINS/maps/nc_node key hex 78 00 00 00 00 00 00 00 00 00 00 00 00 00 ff ff 0a 63 00 00",
        )
        .but(Effect::Lucky),
        one(
            "a peer's ranges are counted in two places",
            "verify-bpf-node-wrong",
            "bpftool map update pinned @PINS/maps/nc_node key hex $K4 value hex ${N4% * * * *} 34 12 00 00",
            "bpftool map update pinned @PINS/maps/nc_node key hex $K4 value hex $N4",
        )
        .but(Effect::Lucky),
        one(
            "an address is in the map that no pod has",
            "verify-bpf-endpoint-stale",
            "bpftool map update pinned @PINS/maps/nc_ep key hex 00 00 00 00 00 00 00 00 00 00 ff ff 0a 63 00 07 value hex 01 00 00 00 02 00 00 00 00 09 02 00 00 00 00 09 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00",
            "bpftool map delete pinned @PINS/maps/nc_ep key hex 00 00 00 00 00 00 00 00 00 00 ff ff 0a 63 00 07",
        )
        .but(Effect::Lucky),
        one(
            "the map of pods' counters is nearly full",
            "verify-bpf-map-full",
            &counters("update", &zeros),
            &counters("delete", ""),
        )
        .but(Effect::Lucky),
    ]
}

fn disk() -> Vec<Injection> {
    const CONF: &str = "/etc/cni/net.d/05-netcheck.conflist";
    let conf = |line: &str| line.replace("@CONF", CONF);
    vec![
        // First: a pod that was started to try an earlier fault gives its address back some time later, and then one would be free.
        one(
            "all addresses of the node are given out",
            "verify-addresses-scarce",
            "for i in $(seq 1 254); do ln -s netcheck@full@eth0 @GIVEN/${O4%.*}.$i 2> /dev/null || true; done",
            "find @GIVEN -lname netcheck@full@eth0 -delete",
        )
        .but(Effect::NewPods),
        one(
            "another CNI configuration comes first",
            "verify-conf-foreign",
            &conf("cp @CONF /etc/cni/net.d/00-other.conflist"),
            "rm /etc/cni/net.d/00-other.conflist",
        )
        .but(Effect::Lucky),
        one(
            "the CNI configuration is gone",
            "verify-conf-missing",
            &conf("mv @CONF $ROUTES/conflist"),
            &conf("mv $ROUTES/conflist @CONF"),
        )
        .but(Effect::NewPods),
        one(
            "the CNI configuration is cut off",
            "verify-conf-broken",
            &conf("cp @CONF $ROUTES/conflist; head -c 20 $ROUTES/conflist > @CONF"),
            &conf("cp $ROUTES/conflist @CONF"),
        )
        .but(Effect::NewPods),
        one(
            "the plugin is gone, as after an upgrade of packages",
            "verify-plugin-missing",
            "mv /opt/cni/bin/netcheck-cni /opt/cni/bin/.netcheck-cni",
            "mv /opt/cni/bin/.netcheck-cni /opt/cni/bin/netcheck-cni",
        )
        .but(Effect::NewPods),
        one(
            "the plugin cannot be executed",
            "verify-plugin-missing",
            "chmod a-x /opt/cni/bin/netcheck-cni",
            "chmod a+x /opt/cni/bin/netcheck-cni",
        )
        .but(Effect::NewPods),
        one(
            "a pod's address counts as free",
            "verify-address-lost",
            "mv /run/netcheck-cni/ipam/ip/$POD4 $ROUTES/address",
            "mv $ROUTES/address /run/netcheck-cni/ipam/ip/$POD4",
        )
        .but(Effect::Lucky),
        one(
            "an address is given out to nobody",
            "verify-address-leaked",
            "ln -s netcheck@gone@eth0 /run/netcheck-cni/ipam/ip/${O4%.*}.252; touch -h -d '10 minutes ago' /run/netcheck-cni/ipam/ip/${O4%.*}.252",
            "rm /run/netcheck-cni/ipam/ip/${O4%.*}.252",
        )
        .but(Effect::Lucky),
        one(
            "nearly all addresses of the node are given out",
            "verify-addresses-scarce",
            "for i in $(seq 2 250); do ln -s netcheck@full@eth0 @GIVEN/${O4%.*}.$i 2> /dev/null || true; done",
            "find @GIVEN -lname netcheck@full@eth0 -delete",
        )
        .but(Effect::Lucky),
        one(
            "a pod is gone and its attachment is not",
            "verify-attachment-stale",
            "sed 's/\"containerID\":\"[^\"]*\"/\"containerID\":\"gone\"/; s/\"netns\":\"[^\"]*\"/\"netns\":\"\\/run\\/netns\\/gone\"/' $ATT > /run/netcheck-cni/att/netcheck@gone@eth0",
            "rm /run/netcheck-cni/att/netcheck@gone@eth0",
        )
        .but(Effect::Lucky),
        one(
            "the plugin's file about a pod is cut off",
            "verify-attachment-broken",
            "printf '{\"schema\":1,' > /run/netcheck-cni/att/netcheck@cut@eth0",
            "rm /run/netcheck-cni/att/netcheck@cut@eth0",
        )
        .but(Effect::Lucky),
    ]
}
