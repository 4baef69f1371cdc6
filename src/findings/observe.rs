//! Pages of what `verify --observe` sees of packets that die.

use super::{Page, Severity};

/// What every page has to say of what it rests on.
const REASONS: (&str, &str) = (
    "Every packet that the kernel drops, with the reason",
    "perf record -a -g -e skb:kfree_skb sleep 5; perf script",
);

pub(super) const PAGES: &[Page] = &[
    Page {
        id: "observe-tunnel-otherhost",
        severity: Severity::Warning,
        title: "A tunnel gets packets for another hardware address",
        proves: "Packets came out of the tunnel whose inner destination is not this device's address (rx_otherhost_dropped, OTHERHOST): another node's forwarding entry points to the wrong node, or this device's address is not the one that others know.",
        expected: "Each tunnelled packet carries the hardware address of the node that it reaches.",
        breaks: "The packets are dropped without a word; whoever waits for them times out.",
        look: &[
            ("The device's address and counters", "ip -s -s -d link show type vxlan"),
            ("Where other nodes send", "bridge fdb show"),
            REASONS,
        ],
        fix: &[
            "Put the forwarding entry or the address right that kubectl netcheck verify names on this or another node",
        ],
    },
    Page {
        id: "observe-tunnel-undeliverable",
        severity: Severity::Warning,
        title: "A tunnel drops what it is to send",
        proves: "The tunnel knew no neighbour or no node to send packets to, or no way there (tx_dropped, tx_carrier_errors, NO_TX_TARGET).",
        expected: "Every peer's hardware address and node are known before a packet is sent.",
        breaks: "Packets to pods of the nodes concerned never leave this node.",
        look: &[
            ("Neighbours and forwarding entries", "ip neigh show; bridge fdb show"),
            ("The tunnel's counters", "ip -s -s link show type vxlan"),
            REASONS,
        ],
        fix: &[
            "Have the network's agent put its neighbours and forwarding entries back: kubectl netcheck verify names those that lack",
        ],
    },
    Page {
        id: "observe-tunnel-unknown",
        severity: Severity::Warning,
        title: "Tunnelled packets of another network number arrive",
        proves: "Packets came in on the tunnel's port that no tunnel of this node takes (VXLAN_VNI_NOT_FOUND, VXLAN_INVALID_HDR).",
        expected: "All nodes use one VNI and one kind of tunnel on the port.",
        breaks: "What the sender's pods send is dropped on arrival.",
        look: &[("VNI and port", "ip -d link show type vxlan"), REASONS],
        fix: &[
            "Give all nodes the same VNI and port",
            "Find who else sends to this port: tcpdump -ni any udp port 8472",
        ],
    },
    Page {
        id: "observe-no-socket",
        severity: Severity::Warning,
        title: "UDP packets reach a port where nobody listens",
        proves: "The node got UDP packets for ports without a socket (UdpNoPorts) while probes from or to it were lost: with tunnels, that is how another node's tunnel with another port looks.",
        expected: "Where traffic arrives, something listens.",
        breaks: "The packets are answered by ICMP errors, and nothing else comes of them.",
        look: &[
            ("Tunnels' ports", "ip -d link show type vxlan"),
            (
                "Who sends to which port",
                "tcpdump -ni any 'icmp[icmptype] == icmp-unreach'",
            ),
            REASONS,
        ],
        fix: &["Give all nodes' tunnels the same UDP port", "Start what should listen"],
    },
    Page {
        id: "observe-not-forwarded",
        severity: Severity::Warning,
        title: "A node drops packets that it should pass on",
        proves: "Packets with addresses of others arrived and were not forwarded (IpInAddrErrors, IP_INADDRERRORS).",
        expected: "A node forwards between its pods and other nodes.",
        breaks: "Pods of this node neither send to nor get from elsewhere.",
        look: &[
            ("Forwarding", "sysctl net.ipv4.ip_forward; sysctl -a -r 'forwarding$'"),
            REASONS,
        ],
        fix: &["sysctl -w net.ipv4.ip_forward=1, and look for what turned it off in /etc/sysctl.d"],
    },
    Page {
        id: "observe-misdelivered",
        severity: Severity::Warning,
        title: "A pod gets packets that are not for it",
        proves: "In the pod's namespace packets arrived whose address is not the pod's (IpInAddrErrors, OTHERHOST).",
        expected: "A pod's device carries the pod's packets only.",
        breaks: "The pod that they were for does not get them.",
        look: &[
            ("Routes to pods", "ip route show; ip neigh show"),
            ("The pod's counters", "nsenter -t PID -n nstat -az IpInAddrErrors"),
            REASONS,
        ],
        fix: &["Put the route, neighbour or BPF entry of the address right that leads to this pod"],
    },
    Page {
        id: "observe-reverse-path",
        severity: Severity::Warning,
        title: "The reverse path filter drops packets",
        proves: "Packets came in on a device by which their sender would not be answered (IPReversePathFilter, IP_RPFILTER).",
        expected: "Packets come in by the way that answers take, or the filter is loose (rp_filter=2) or off.",
        breaks: "What comes by another way is dropped without a word.",
        look: &[
            (
                "The filter, where all and the device together count",
                "sysctl -a -r '\\.rp_filter$'",
            ),
            REASONS,
        ],
        fix: &[
            "Set rp_filter to 2 or 0 for the device and for all",
            "Put the route back that leads to the sender",
        ],
    },
    Page {
        id: "observe-no-route",
        severity: Severity::Warning,
        title: "Packets arrive for which there is no route",
        proves: "Packets to be forwarded had no route (IpExtInNoRoutes, IP_INNOROUTES). Now and then one is usual: somebody still sends to a pod that is gone.",
        expected: "Whatever arrives to be forwarded has a route.",
        breaks: "The sender is told that the network cannot be reached, or nothing.",
        look: &[("Routes", "ip route show table all"), REASONS],
        fix: &[
            "Put the route back that kubectl netcheck verify names",
            "Find who sends to an address that is gone",
        ],
    },
    Page {
        id: "observe-too-big",
        severity: Severity::Warning,
        title: "Packets are too big for the way",
        proves: "Packets were larger than the next device takes and must not be fragmented, or fragments never became whole (FragFails, ReasmFails, PKT_TOO_BIG).",
        expected: "Pods' MTU leaves room for the tunnel on every node's underlay.",
        breaks: "Small packets pass and large ones do not: connections open and then hang.",
        look: &[
            ("MTUs", "ip -o link show"),
            ("Fragmentation", "nstat -az | grep -E 'Frag|Reasm|TooBig'"),
            REASONS,
        ],
        fix: &["Set the pods' and the tunnel's MTU to the smallest underlay MTU less the tunnel's overhead"],
    },
    Page {
        id: "observe-checksum",
        severity: Severity::Warning,
        title: "Packets arrive with wrong checksums",
        proves: "Packets failed their checksum (InCsumErrors, UDP_CSUM, TCP_CSUM).",
        expected: "Checksums are right wherever they are looked at.",
        breaks: "The packets are dropped; behind tunnels a device that computes checksums wrongly breaks nearly everything.",
        look: &[
            ("Offloads", "ethtool -k DEVICE | grep -E 'checksum|segmentation'"),
            REASONS,
        ],
        fix: &[
            "Turn the offload off on the tunnel: ethtool -K DEVICE tx-checksum-ip-generic off",
            "Update the network card's driver or firmware",
        ],
    },
    Page {
        id: "observe-backlog",
        severity: Severity::Warning,
        title: "Processors drop packets that they have no time for",
        proves: "The queue of packets that wait for a processor was full (softnet dropped, CPU_BACKLOG).",
        expected: "Processors keep up with what arrives.",
        breaks: "Packets of all pods on the node are lost, the more the busier it is.",
        look: &[
            ("For each processor, second column", "cat /proc/net/softnet_stat"),
            REASONS,
        ],
        fix: &[
            "Spread the load: irqbalance, RPS (/sys/class/net/DEVICE/queues/rx-0/rps_cpus)",
            "sysctl -w net.core.netdev_max_backlog=10000",
        ],
    },
    Page {
        id: "observe-tracking",
        severity: Severity::Warning,
        title: "Connection tracking drops packets",
        proves: "Connections could not be entered (insert_failed), packets were dropped for that (drop), or entries were thrown out early to make room (early_drop).",
        expected: "Each connection has its entry.",
        breaks: "New connections lose their first packets, DNS questions above all; old ones lose their translation.",
        look: &[
            ("Counters", "conntrack -S"),
            (
                "How full it is",
                "sysctl net.netfilter.nf_conntrack_count net.netfilter.nf_conntrack_max",
            ),
        ],
        fix: &[
            "Where it is full: sysctl -w net.netfilter.nf_conntrack_max=NUMBER (kube-proxy: conntrack.maxPerCore)",
            "insert_failed of DNS: let resolvers ask one after the other (options single-request), or run a node-local DNS cache",
        ],
    },
    Page {
        id: "observe-firewall",
        severity: Severity::Warning,
        title: "A firewall drops packets",
        proves: "A rule of nf_tables or iptables dropped packets (NETFILTER_DROP) while probes from or to the node were lost; no counter of the protocols shows that.",
        expected: "Nothing drops traffic between pods but policies that are meant to.",
        breaks: "The packets vanish without a word.",
        look: &[
            (
                "Rules that drop, with their counters",
                "nft list ruleset | grep -B 3 -A 1 drop; iptables-save -c | grep DROP",
            ),
            REASONS,
        ],
        fix: &[
            "Let the rule pass traffic of pod ranges and of the tunnel's port",
            "If it is a NetworkPolicy, let it pass what is wanted",
        ],
    },
    Page {
        id: "observe-device",
        severity: Severity::Warning,
        title: "A device drops what it is to send",
        proves: "The device's queue was full, or the device or its other end is down (tx_dropped, QDISC_DROP).",
        expected: "What is sent on a device leaves it.",
        breaks: "Packets of the pod behind it, or of all pods if it is the underlay's, are lost.",
        look: &[
            (
                "Counters and state",
                "ip -s -s link show dev DEVICE; tc -s qdisc show dev DEVICE",
            ),
            REASONS,
        ],
        fix: &[
            "ip link set DEVICE up",
            "Where its queue is full: less traffic, or a larger queue (ip link set DEVICE txqueuelen NUMBER)",
        ],
    },
    Page {
        id: "observe-probes-lost",
        severity: Severity::Warning,
        title: "Echo requests between pods of two nodes are not answered",
        proves: "Pings from a pod of this node to a pod of the other were lost while both nodes were observed. Pods of namespaces with a NetworkPolicy are not asked; a policy of another kind that forbids them looks the same.",
        expected: "Pods of different nodes answer each other.",
        breaks: "What these pods have to say to each other is likely to get lost as well.",
        look: &[("Who reaches whom, and why not", "kubectl netcheck matrix --full")],
        fix: &[
            "Mend what is found on either node; without anything: kubectl netcheck matrix tells on which way packets vanish",
        ],
    },
];
