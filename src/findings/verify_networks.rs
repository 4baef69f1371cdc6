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
        id: "verify-traffic-shaped",
        severity: Severity::Error,
        title: "A queueing discipline holds packets back or loses them",
        proves: "On the device hangs netem, which is for trials, or on a tunnel one that lets no more than a rate through. What networks set up \
            themselves (a bandwidth of a pod's, by annotation) is not meant.",
        expected: "Devices of the network send packets as they come.",
        breaks: "Packets are late, or lost beyond the rate: slow connections, timeouts that come and go.",
        look: &[("On the node", "tc -s qdisc show")],
        fix: &[
            "tc qdisc del dev DEVICE root",
            "Look for what set it up: a chaos experiment that did not end, a script",
        ],
    },
    Page {
        id: "verify-filter-takes",
        severity: Severity::Error,
        title: "A filter of traffic control takes packets away",
        proves: "At a device's door (clsact, ingress) a filter drops packets, or sends them to another device instead of on their way. It does so \
            before any route or firewall sees them; which packets it fits is not judged.",
        expected: "The network's devices have no such filters.",
        breaks: "The packets that it fits do not arrive, and neither a firewall's counters nor a route shows why.",
        look: &[(
            "On the node",
            "tc -s filter show dev DEVICE ingress; tc -s filter show dev DEVICE egress",
        )],
        fix: &[
            "tc filter del dev DEVICE ingress pref NUMBER",
            "Look for what set it up: a mirror, a chaos experiment, a load balancer",
        ],
    },
    Page {
        id: "verify-plugin-version",
        severity: Severity::Error,
        title: "A CNI plugin does not speak the configuration's version",
        proves: "The plugin's answer to VERSION does not list the cniVersion of the configuration in force.",
        expected: "Each plugin of the configuration speaks its cniVersion.",
        breaks: "New pods do not start: the runtime says 'incompatible CNI versions'.",
        look: &[(
            "On the node",
            "echo '{}' | CNI_COMMAND=VERSION /opt/cni/bin/PLUGIN; cat /etc/cni/net.d/*",
        )],
        fix: &[
            "Install a plugin that speaks it",
            "Or have the configuration name a version that all its plugins speak",
        ],
    },
    Page {
        id: "verify-range-overlap",
        severity: Severity::Error,
        title: "A node's range of addresses for pods is not its pods' alone",
        proves: "Another Node's podCIDR, a Node's InternalIP or a Service's ClusterIP shares addresses with the node's podCIDR, by the API.",
        expected: "The ranges of nodes, Services and pods have nothing in common.",
        breaks: "One of the two is not reached: routes to pods win against the node's network, the narrower route against the wider, and kube-proxy's \
            rules against routes.",
        look: &[(
            "In the cluster",
            "kubectl get nodes -o custom-columns=NAME:.metadata.name,IP:.status.addresses[0].address,PODS:.spec.podCIDRs; kubectl get services -A",
        )],
        fix: &[
            "Plan the cluster's ranges anew (--cluster-cidr, --service-cluster-ip-range), and give the nodes concerned new ranges",
        ],
    },
    Page {
        id: "verify-addresses-scarce",
        severity: Severity::Warning,
        title: "Nearly all addresses of a node's range are given out",
        proves: "Fewer than 5 of 100 addresses of the node's podCIDR are free, by what its IPAM (the bundled network's, or host-local) has written down.",
        expected: "There are more addresses than pods.",
        breaks: "Once all are given out, no new pod starts on the node.",
        look: &[(
            "On the node",
            "ls /run/netcheck-cni/ipam/ip /var/lib/cni/networks/* | wc -l",
        )],
        fix: &[
            "Larger ranges for nodes: --node-cidr-mask-size of kube-controller-manager",
            "Fewer pods on the node: maxPods of its kubelet",
        ],
    },
    Page {
        id: "verify-host-port-stale",
        severity: Severity::Error,
        title: "A host port leads to a pod that is gone",
        proves: "A rule of the plugin portmap (a chain CNI-DN-…) sends what comes to a port of the node to an address that no pod has.",
        expected: "Rules of host ports go with their pods.",
        breaks: "Whoever has that port now, another pod or the node itself, gets nothing.",
        look: &[("On the node", "iptables -t nat -S | grep -A2 CNI-DN")],
        fix: &[
            "iptables -t nat -F CHAIN",
            "Look why the plugin was not called when the pod went: the runtime's log",
        ],
    },
    Page {
        id: "verify-bpf-map-full",
        severity: Severity::Warning,
        title: "A BPF map is nearly full",
        proves: "90 of 100 entries or more that the map may have are taken.",
        expected: "There is room for new pods and nodes.",
        breaks: "Once it is full, new pods or nodes are not counted; traffic goes on.",
        look: &[(
            "On the node",
            "bpftool map dump pinned /sys/fs/bpf/netcheck-cni/v1/maps/MAP | tail -1",
        )],
        fix: &[
            "Where entries are of pods and nodes that are gone, its daemon takes them away: kubectl netcheck verify --fix",
            "Else fewer pods on the node (maxPods of its kubelet): a map holds 1024 addresses of pods, and 16384 ranges",
        ],
    },
    Page {
        id: "verify-plugin-other",
        severity: Severity::Warning,
        title: "A node has another build of the plugin",
        proves: "The bundled network's plugin has another length than on more than half of the nodes of that architecture.",
        expected: "All nodes' plugins are of the same build.",
        breaks: "New pods of the node may be wired otherwise than others, or not at all; those that run go on.",
        look: &[
            ("On the node", "ls -l /opt/cni/bin/netcheck-cni"),
            ("In the cluster", "kubectl -n netcheck-cni get pods -o wide"),
        ],
        fix: &[
            "Let the upgrade end: kubectl -n netcheck-cni rollout status daemonset/netcheck-cni",
            "Else delete the daemon's pod on that node: it installs its plugin when it starts",
        ],
    },
    Page {
        id: "verify-bpf-program-other",
        severity: Severity::Warning,
        title: "A node runs another build of a program",
        proves: "A pinned program has another tag than on more than half of the nodes: the kernel makes that of its instructions.",
        expected: "All nodes' programs are of the same build.",
        breaks: "Nothing at once: but the node may count otherwise than the others, and its daemon is likely to be of another version.",
        look: &[
            (
                "On the node",
                "bpftool prog show pinned /sys/fs/bpf/netcheck-cni/v1/progs/PROGRAM",
            ),
            (
                "In the cluster",
                "kubectl -n netcheck-cni get pods -o wide -o jsonpath='{.items[*].spec.containers[*].image}'",
            ),
        ],
        fix: &["Let the upgrade end: kubectl -n netcheck-cni rollout status daemonset/netcheck-cni"],
    },
    Page {
        id: "verify-overlay-checksum",
        severity: Severity::Warning,
        title: "A tunnel leaves checksums to a kernel that gets them wrong",
        proves: "Nodes were seen to get packets with wrong UDP checksums (--observe), a VXLAN device has tx-checksumming on, and the node's kernel is \
            older than 5.7: unless its distribution has mended it, it computes the outer checksum wrong when a packet was masqueraded \
            (kubernetes/kubernetes#88986).",
        expected: "No wrong checksums; else a newer kernel, or tx-checksumming off.",
        breaks: "Connections to Services hang for seconds to minutes, while pings pass.",
        look: &[(
            "On the node",
            "uname -r; ethtool -k DEVICE | grep tx-checksum; nstat -az UdpInCsumErrors",
        )],
        fix: &[
            "A newer kernel",
            "ethtool -K DEVICE tx-checksum-ip-generic off (which halves throughput)",
        ],
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
    Page {
        id: "verify-device-missing",
        severity: Severity::Error,
        title: "A device of the network is missing",
        proves: "The node's namespace does not hold a device that the network's agent makes on every node.",
        expected: "It is there as long as the agent's configuration is in force.",
        breaks: "Routes by it are gone with it: what the node itself sends to pods, and mostly what it forwards, goes astray.",
        look: &[("On the node", "ip -d address show; ip route show")],
        fix: &["Delete the pod of the network's agent on that node: it makes its devices when it starts"],
    },
    Page {
        id: "verify-device-down",
        severity: Severity::Error,
        title: "A device of the network is down",
        proves: "It has no IFF_UP; its routes went with that.",
        expected: "It is up.",
        breaks: "As if it was not there.",
        look: &[("On the node", "ip -d address show; ip route show")],
        fix: &[
            "ip link set DEVICE up, and delete the pod of the network's agent on that node: it makes the routes anew",
        ],
    },
    Page {
        id: "verify-rp-filter",
        severity: Severity::Warning,
        title: "Strict reverse path filtering is on where it breaks the network",
        proves: "rp_filter is 1 for a device that packets come in by which the routes would not send back by it; the higher of the device's and all's value counts.",
        expected: "Cilium's devices have 0: its programs answer from others than the routes say.",
        breaks: "Answers are dropped (IPReversePathFilter in nstat), often only some of them.",
        look: &[(
            "On the node",
            "sysctl -a | grep '\\.rp_filter'; nstat -az | grep IPReversePathFilter",
        )],
        fix: &[
            "A file in /etc/sysctl.d/ behind systemd's 50-default.conf that sets net.ipv4.conf.lxc*.rp_filter = 0 and net.ipv4.conf.all.rp_filter = 0",
        ],
    },
];
