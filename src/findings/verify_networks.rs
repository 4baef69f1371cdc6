//! Pages of what `verify` finds whatever the network, and of networks other than the bundled one.

use super::{Page, Severity};

pub(super) const PAGES: &[Page] = &[
    Page {
        id: "verify-pod-ip-absent",
        severity: Severity::Error,
        title: "A pod's address is on none of its interfaces",
        proves: "The API tells an address for a running pod that no interface in the pod's network namespace has.",
        expected: "Each address of a pod is on an interface in its namespace.",
        breaks: "The pod is not reached by that address, and Services lead to it.",
        look: &[(
            "In the pod's namespace",
            "kubectl -n NAMESPACE debug POD --profile=netadmin -it --image=busybox -- ip address show",
        )],
        fix: &["Delete the pod: a controller makes it anew"],
    },
    Page {
        id: "verify-pod-interface-down",
        severity: Severity::Error,
        title: "A pod's interface is down",
        proves: "The interface that has the pod's address has no IFF_UP; its routes went with it.",
        expected: "It is up.",
        breaks: "The pod is cut off from everything.",
        look: &[(
            "In the pod's namespace",
            "kubectl -n NAMESPACE debug POD --profile=netadmin -it --image=busybox -- ip address show",
        )],
        fix: &["Delete the pod, or ip link set INTERFACE up in its namespace"],
    },
    Page {
        id: "verify-pod-loopback-down",
        severity: Severity::Error,
        title: "A pod's loopback is down",
        proves: "lo in the pod's namespace has no IFF_UP: the plugin loopback did not run, or somebody set it down.",
        expected: "Each pod has its 127.0.0.1.",
        breaks: "Containers of the pod do not reach each other by localhost; probes and sidecars fail.",
        look: &[(
            "In the pod's namespace",
            "kubectl -n NAMESPACE debug POD --profile=netadmin -it --image=busybox -- ip link show lo",
        )],
        fix: &[
            "Delete the pod",
            "If new pods look the same: ls -l /opt/cni/bin/loopback on the node",
        ],
    },
    Page {
        id: "verify-pod-default-missing",
        severity: Severity::Error,
        title: "A pod has no default route",
        proves: "Its plugin gave it one, or other pods of the node have one, and its routing tables hold none.",
        expected: "Each pod has a default route of each family that it has addresses of.",
        breaks: "The pod answers nobody outside its own subnet.",
        look: &[(
            "In the pod's namespace",
            "kubectl -n NAMESPACE debug POD --profile=netadmin -it --image=busybox -- ip route show",
        )],
        fix: &["Delete the pod: a controller makes it anew"],
    },
    Page {
        id: "verify-bridge-route-missing",
        severity: Severity::Error,
        title: "The node has no route to the pods behind its bridge",
        proves: "Pods' devices are ports of the bridge, their configuration makes it their gateway, and no route leads to their addresses by it: with a bridge's address its route goes too.",
        expected: "The bridge has the gateway's address, and the kernel's route to the range.",
        breaks: "The node and all other nodes reach no pod behind the bridge; pods there reach each other only.",
        look: &[("On the node", "ip address show type bridge; ip route show")],
        fix: &[
            "Delete a pod of the node: with the next one the plugin gives the bridge its address again",
            "ip address add GATEWAY/LENGTH dev BRIDGE; ip link set BRIDGE up",
        ],
    },
    Page {
        id: "verify-bridge-netfilter",
        severity: Severity::Warning,
        title: "A bridge hides pods' packets from the firewall",
        proves: "Pods are ports of a bridge, and what the bridge forwards is not shown to iptables and nftables.",
        expected: "net.bridge.bridge-nf-call-iptables (and -ip6tables, for IPv6) is 1.",
        breaks: "A Service's answer from a pod on the same node comes from the wrong address and is dropped; network policies do not hold between such pods.",
        look: &[("On the node", "sysctl net.bridge")],
        fix: &["sysctl -w net.bridge.bridge-nf-call-iptables=1, and write it into /etc/sysctl.d/"],
    },
    Page {
        id: "verify-neighbours-full",
        severity: Severity::Warning,
        title: "The table of neighbours is nearly full",
        proves: "The node's namespaces together have as many neighbours as gc_thresh2 allows for long.",
        expected: "There is room: the kernel forgets entries that are in use beyond it, and refuses new ones beyond gc_thresh3.",
        breaks: "Now and then a connection fails at its first packet (neighbour: arp_cache: neighbor table overflow! in the kernel's log).",
        look: &[(
            "On the node",
            "sysctl net.ipv4.neigh.default net.ipv6.neigh.default; dmesg | grep 'table overflow'",
        )],
        fix: &["Raise gc_thresh1, gc_thresh2 and gc_thresh3 in /etc/sysctl.d/"],
    },
    Page {
        id: "verify-conntrack-full",
        severity: Severity::Warning,
        title: "The table of connections is nearly full",
        proves: "More than 80 % of the connections that nf_conntrack_max allows are there.",
        expected: "There is room for bursts.",
        breaks: "Once it is full, packets of new connections are dropped (nf_conntrack: table full, dropping packet in the kernel's log).",
        look: &[(
            "On the node",
            "sysctl net.netfilter.nf_conntrack_count net.netfilter.nf_conntrack_max; conntrack -L | awk '{print $4,$5}' | sort | uniq -c | sort -rn | head",
        )],
        fix: &[
            "Raise nf_conntrack_max: conntrack.maxPerCore of kube-proxy's configuration",
            "Look for whoever opens so many",
        ],
    },
    Page {
        id: "verify-leftover",
        severity: Severity::Warning,
        title: "A device of another network is left over",
        proves: "The node has a device that belongs to a network which is not the cluster's: no agent of it runs here, and no configuration in force names its plugin.",
        expected: "A network that is removed takes its devices with it; a restart of the node does it for sure.",
        breaks: "Its routes may lead pods' packets astray, a tunnel of its keeps the port from another, and its addresses may be pods' elsewhere.",
        look: &[("On the node", "ip -d link show; ip route show")],
        fix: &[
            "ip link del DEVICE, and look for its files: ls /etc/cni/net.d /var/lib/cni/networks",
            "Restart the node once the network is uninstalled",
        ],
    },
    Page {
        id: "verify-cache-leaked",
        severity: Severity::Warning,
        title: "A pod is gone and the runtime remembers its attachment",
        proves: "The cache of the runtime's CNI library has an attachment of a pod that the API does not know, whose network namespace is gone for more than ten minutes.",
        expected: "What is written down about a pod goes with it.",
        breaks: "Its addresses may not be free: DEL did not run to its end for that pod.",
        look: &[(
            "On the node",
            "ls -l /var/lib/cni/results /var/lib/cni/cache/results; crictl pods",
        )],
        fix: &[
            "crictl rmp ID, if the runtime still has the sandbox",
            "Remove the file, and the address that the plugin has given out",
        ],
    },
];
