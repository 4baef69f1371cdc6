//! Pages of what the bundled CNI reports of its nodes. Reasons are those of `bundled-cni/SPEC.md`, sections 3 and 9.4.

use super::{Page, Severity};

const CONDITIONS: (&str, &str) = (
    "What the node says of itself",
    "kubectl get node NODE -o jsonpath='{range .status.conditions[*]}{.type}{\" \"}{.status}{\" \"}{.reason}{\" \"}{.message}{\"\\n\"}{end}'",
);
const LOG: (&str, &str) = (
    "What the daemon says",
    "kubectl -n netcheck-cni logs -l app.kubernetes.io/component=daemon --prefix",
);
const CONFIG: (&str, &str) = (
    "The configuration",
    "kubectl -n netcheck-cni get configmap netcheck-cni -o yaml",
);

pub(super) const PAGES: &[Page] = &[
    Page {
        id: "cni-node-refused",
        severity: Severity::Error,
        title: "A node is not part of the pod network",
        proves: "All nodes come to the same answer from the Node objects; this node cannot have a place in it: its pod range or InternalIP is missing, malformed, or another node's, which was there first.",
        expected: "Every node has a pod range and an InternalIP of its own, and no pod range holds a node's address.",
        breaks: "No node has routes to it and it has none to others; new pods on it do not start.",
        look: &[
            CONDITIONS,
            (
                "Pod ranges and addresses of all nodes",
                "kubectl get nodes -o custom-columns='NAME:.metadata.name,CIDRS:.spec.podCIDRs,IP:.status.addresses[?(@.type==\"InternalIP\")].address'",
            ),
        ],
        fix: &[
            "NoPodCIDR: run kube-controller-manager with --allocate-node-cidrs=true and --cluster-cidr=RANGE, and see that the range is not used up",
            "DuplicatePodCIDR, InvalidPodCIDR, PodCIDRHoldsNodeAddress: spec.podCIDRs cannot be changed; delete the Node object and let the kubelet register again",
            "DuplicateInternalIP, NoInternalIP: give the kubelet its own address: --node-ip",
        ],
    },
    Page {
        id: "cni-peer-refused",
        severity: Severity::Error,
        title: "Two nodes cannot reach each other's pods",
        proves: "The node named here found no way to the nodes in the row: with host-gw they are not on one link (NotOnLink), or they share no address family (NoCommonUnderlay).",
        expected: "There is a way between every two nodes.",
        breaks: "Pods of these two nodes cannot reach each other; everything else works.",
        look: &[
            CONDITIONS,
            (
                "What both nodes publish of their underlay",
                "kubectl get nodes -o custom-columns='NAME:.metadata.name,UNDERLAY:.metadata.annotations.cni\\.netcheck\\.dev/underlay'",
            ),
        ],
        fix: &[
            "NotOnLink: use a tunnel where there is no link: kubectl -n netcheck-cni patch configmap netcheck-cni --type merge -p '{\"data\":{\"backend\":\"auto\"}}'",
            "NoCommonUnderlay: give both nodes an InternalIP of one family",
        ],
    },
    Page {
        id: "cni-config-invalid",
        severity: Severity::Error,
        title: "The configuration is refused",
        proves: "The ConfigMap has an unknown key or a value that cannot be; the row names them. The last good version stays in force.",
        expected: "Every key is known and every value good.",
        breaks: "Nothing that works; but the change that was meant does not happen, and a daemon that starts anew has no configuration.",
        look: &[CONFIG, CONDITIONS],
        fix: &["Correct the key or value that the row names: kubectl -n netcheck-cni edit configmap netcheck-cni"],
    },
    Page {
        id: "cni-forward-dropped",
        severity: Severity::Error,
        title: "A firewall on the node drops forwarded packets",
        proves: "A base chain at hook forward, of nftables or of iptables-nft, drops what the node's pods send to each other, by its policy or by a rule. The row names table and chain, and the command that mends it.",
        expected: "Forwarded packets of pods are accepted by every chain at that hook: an accept in one chain cannot overrule a drop in another.",
        breaks: "Pods of the node reach nothing outside it, and nothing reaches them.",
        look: &[
            (
                "Chains at hook forward, on the node",
                "nft list ruleset | grep -B1 -A3 'hook forward'",
            ),
            ("The same for iptables", "iptables -S FORWARD"),
        ],
        fix: &[
            "Accept the pod ranges in that chain, as the row's command does; make it part of the firewall's own configuration, or it is lost at the next boot",
            "Docker sets this policy when it starts: \"iptables\": false or \"ip-forward-no-drop\": true in its daemon.json",
        ],
    },
    Page {
        id: "cni-foreign-state",
        severity: Severity::Error,
        title: "Something that is not ours stands in the way on a node",
        proves: "The node has a device named ncvx0 or a tunnel with our identifier that is not ours (NameTaken, VniTaken), a route that wins over ours or keeps coming back into its place (RouteShadowed), or a CNI configuration that sorts before ours (ForeignCniFirst).",
        expected: "Names, identifiers and routes of the pod network are its own.",
        breaks: "Traffic goes another way, or new pods get another network. netcheck-cni touches nothing that is not its own.",
        look: &[
            CONDITIONS,
            ("Tunnels, on the node", "ip -d link show type vxlan"),
            ("CNI configurations, on the node", "ls /etc/cni/net.d"),
        ],
        fix: &[
            "Remove what another network left: its device, its routes, its file in /etc/cni/net.d",
            "VniTaken: choose another identifier or port in the ConfigMap: vni, port",
        ],
    },
    Page {
        id: "cni-mtu-too-small",
        severity: Severity::Error,
        title: "The MTU is too small for IPv6",
        proves: "What the underlay leaves inside the tunnel is less than 1280 bytes, and the kernel takes IPv6 from such a device.",
        expected: "At least 1280 bytes inside the tunnel (RFC 8200, section 5): 1330 on an IPv4 underlay, 1350 on IPv6.",
        breaks: "IPv6 between pods of different nodes does not work.",
        look: &[
            (
                "MTU of the underlay of each node",
                "kubectl get nodes -o custom-columns='NAME:.metadata.name,MTU:.metadata.annotations.cni\\.netcheck\\.dev/mtu'",
            ),
            CONFIG,
        ],
        fix: &[
            "Raise the MTU of the node's own network",
            "Raise or unset mtu in the ConfigMap",
        ],
    },
    Page {
        id: "cni-bpf-off",
        severity: Severity::Warning,
        title: "Packets are not counted by BPF on a node",
        proves: "BPF programs could not be loaded or attached there; the row says why.",
        expected: "Programs that count hang on the pods' interfaces and the tunnel.",
        breaks: "Nothing: traffic never needs them. Counters and loss between nodes are not known there.",
        look: &[
            ("Programs, on the node", "bpftool net show"),
            ("Whether the BPF filesystem is there", "mount -t bpf"),
            LOG,
        ],
        fix: &[
            "Mount the BPF filesystem at boot: mount -t bpf bpf /sys/fs/bpf",
            "Kernels before 5.11 limit locked memory; a newer kernel does not",
            "Say that it is meant so: set ebpf to off in the ConfigMap",
        ],
    },
    Page {
        id: "cni-apply-failed",
        severity: Severity::Error,
        title: "A node could not be brought into its state",
        proves: "The kernel refused an operation (ApplyFailed), or no interface of the node holds its InternalIP (InternalIPNotOnNode). The row names operation, object and error; it is tried again all the time.",
        expected: "Every operation succeeds.",
        breaks: "What could not be set is missing: a route to a node, a pod's neighbour, the masquerade.",
        look: &[
            LOG,
            CONDITIONS,
            (
                "Whether a device holds the node's address, on the node",
                "ip -br address",
            ),
        ],
        fix: &[
            "EOPNOTSUPP or ENOENT: the kernel lacks a module: vxlan, veth, nf_tables, nft_masq",
            "EPERM: something keeps the daemon from its capabilities: an admission webhook, AppArmor, SELinux",
            "InternalIPNotOnNode: give the kubelet the address that the node has: --node-ip",
        ],
    },
    Page {
        id: "cni-range-almost-full",
        severity: Severity::Warning,
        title: "A node's pod range is almost used up",
        proves: "At least 95 of 100 addresses of the node's pod range are given out.",
        expected: "There is room for as many pods as the kubelet takes.",
        breaks: "Soon, new pods on this node will not start.",
        look: &[(
            "How many pods run there",
            "kubectl get pods -A --field-selector spec.nodeName=NODE",
        )],
        fix: &[
            "Lower the kubelet's maxPods below the range's size",
            "Hand out larger ranges: kube-controller-manager's --node-cidr-mask-size, for nodes to come",
        ],
    },
    Page {
        id: "cni-degraded",
        severity: Severity::Warning,
        title: "Something of the pod network on a node is not as it should be",
        proves: "The daemon of that node reports the reason in the row; bundled-cni/SPEC.md says when each is reported.",
        expected: "The condition cni.netcheck.dev/Degraded is False.",
        breaks: "Depends on the reason: ChainPluginMissing takes hostPorts, PodsOutsidePodCIDR cuts those pods off from other nodes, NodesNotMasqueraded the way from pods to other nodes.",
        look: &[CONDITIONS, LOG],
        fix: &[
            "ChainPluginMissing: put the plugin into /opt/cni/bin, or take it out of chain in the ConfigMap",
            "PodsOutsidePodCIDR: make those pods anew",
            "PodCIDROutsideClusterCIDRs: add the range to clusterCIDRs in the ConfigMap",
            "NodesNotMasqueraded: take the nodes' range out of noMasqueradeCIDRs",
        ],
    },
    Page {
        id: "cni-node-pending",
        severity: Severity::Inconclusive,
        title: "A node has not applied the current configuration yet",
        proves: "The daemon's pod is not ready there, or the node has not published that it applied the configuration, or the node is not ready.",
        expected: "Seconds after an installation or a change, every node has applied it.",
        breaks: "New pods may not start there, or the node still works by the configuration before.",
        look: &[
            ("The daemon's pods", "kubectl -n netcheck-cni get pods -o wide"),
            LOG,
            CONDITIONS,
        ],
        fix: &[
            "ImagePullBackOff: mirror the image: kubectl netcheck images, then cni install --image-prefix REGISTRY/PATH",
            "Where the daemon cannot reach the API server: kubectl netcheck cni install --api-server HOST:PORT",
            "CrashLoopBackOff: its log says why",
        ],
    },
    Page {
        id: "cni-node-not-cleaned",
        severity: Severity::Inconclusive,
        title: "A node could not be cleaned",
        proves: "The uninstall's pod did not run, or did not succeed, on this node; the row says why.",
        expected: "Every node is as it was before the installation.",
        breaks: "Until a new network comes: nothing. A conflist left behind sorts before most others' and would win.",
        look: &[(
            "What is left, on the node",
            "ls /etc/cni/net.d /run/netcheck-cni; ip -d link show ncvx0; ip route show proto 147; nft list table inet netcheck-cni",
        )],
        fix: &[
            "Bring the node back and run kubectl netcheck cni uninstall again",
            "By hand, on the node: rm -f /etc/cni/net.d/05-netcheck.conflist /opt/cni/bin/netcheck-cni; ip link delete ncvx0; ip route flush proto 147; ip -6 route flush proto 147; nft delete table inet netcheck-cni; rm -rf /run/netcheck-cni /sys/fs/bpf/netcheck-cni",
            "A reboot empties all but the conflist and the binary",
        ],
    },
];
