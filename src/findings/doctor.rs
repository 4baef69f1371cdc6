//! Pages of what `doctor` finds by itself; what nodes hold it has from the checks of `verify`.

use super::{Page, Severity};

const RANGES: (&str, &str) = (
    "Pod ranges and addresses of all nodes",
    "kubectl get nodes -o custom-columns='NAME:.metadata.name,CIDRS:.spec.podCIDRs,IP:.status.addresses[?(@.type==\"InternalIP\")].address'",
);
const CONFIGURATIONS: (&str, &str) = ("On the node", "ls -l /etc/cni/net.d; head -c 400 /etc/cni/net.d/*");
const DAEMON_SETS: (&str, &str) = (
    "Agents of networks and of the service proxy",
    "kubectl get daemonsets -A",
);

pub(super) const PAGES: &[Page] = &[
    Page {
        id: "doctor-server-old",
        severity: Severity::Warning,
        title: "The API server is older than what netcheck is made for",
        proves: "The server tells a version of Kubernetes in which something that agents need is not generally available: ephemeral containers, Pod Security.",
        expected: "A version of Kubernetes that is not older than 1.25.",
        breaks: "Nothing by itself; but agents may not start, and the second way in may not be there.",
        look: &[("The server's version", "kubectl version")],
        fix: &["Upgrade the cluster; versions that old get no security fixes either"],
    },
    Page {
        id: "doctor-kubelet-skew",
        severity: Severity::Warning,
        title: "A kubelet does not fit the API server's version",
        proves: "The node's kubelet is newer than the API server, or more than three minor versions older.",
        expected: "Kubelets are as old as the API server, or up to three minor versions older (Kubernetes' version skew policy).",
        breaks: "Nothing for sure; but nobody tests these versions together.",
        look: &[("Versions of kubelets", "kubectl get nodes")],
        fix: &["Upgrade the node's kubelet, or the control plane first where the kubelet is newer"],
    },
    Page {
        id: "doctor-rights-missing",
        severity: Severity::Warning,
        title: "A verb may not do what it needs",
        proves: "The API server was asked about each permission that the verb needs, and said no to those that are listed.",
        expected: "Whoever runs the verb has the Role that 'kubectl netcheck rbac' prints for it.",
        breaks: "Nothing by itself; but the verb ends with exit code 3 where it lacks what is required.",
        look: &[
            (
                "What the verb needs, as a Role",
                "kubectl netcheck rbac VERB -n NAMESPACE",
            ),
            ("What you may do", "kubectl auth can-i --list -n NAMESPACE"),
        ],
        fix: &["Let an administrator apply what 'kubectl netcheck rbac VERB' prints"],
    },
    Page {
        id: "doctor-agents-refused",
        severity: Severity::Warning,
        title: "The agents' namespace does not admit node agents",
        proves: "The API server was asked by a dry run and refused an agent in that namespace, or the namespace's label enforces a Pod Security level that forbids it.",
        expected: "The agents' namespace enforces no level but privileged, and no other policy refuses them.",
        breaks: "Nothing by itself; but verbs have to look from inside of pods (--via ephemeral), and 'verify' cannot look at all.",
        look: &[("The namespace's labels", "kubectl get namespace netcheck --show-labels")],
        fix: &[
            "Use a namespace of its own for agents, which a run creates with the right label: leave out --agent-namespace",
            "kubectl label --overwrite namespace NAMESPACE pod-security.kubernetes.io/enforce=privileged",
            "Where a policy or webhook refuses: have an exception made for that namespace",
        ],
    },
    Page {
        id: "doctor-node-not-ready",
        severity: Severity::Error,
        title: "A node is not ready",
        proves: "The API server's Ready condition of the node is not True; the finding has its reason.",
        expected: "Every node is Ready.",
        breaks: "Nothing new starts there; its endpoints are taken out of Services, and its pods are evicted in a while.",
        look: &[
            ("Why", "kubectl describe node NODE"),
            ("On the node", "journalctl -u kubelet --since -10min"),
        ],
        fix: &[
            "'cni plugin not initialized': have the pod network's agent run there: kubectl get pods -A -o wide --field-selector spec.nodeName=NODE",
            "Mend what the condition names: most often the kubelet, the container runtime, or the pod network's agent",
        ],
    },
    Page {
        id: "doctor-network-unavailable",
        severity: Severity::Error,
        title: "A node says that its network is not available",
        proves: "The condition NetworkUnavailable of the node is True: its pod network, or the cloud's route controller, has not finished.",
        expected: "NetworkUnavailable is False, or not there.",
        breaks: "No pods are scheduled there (taint node.kubernetes.io/network-unavailable), and those that are may not reach other nodes.",
        look: &[("The condition, with its reason", "kubectl describe node NODE")],
        fix: &[
            "Look at the log of the pod network's agent on that node",
            "In a cloud whose routes carry pods: look at the cloud controller manager's log, and for a full route table",
        ],
    },
    Page {
        id: "doctor-pod-range-missing",
        severity: Severity::Error,
        title: "A node has no pod range",
        proves: "The node's spec.podCIDRs are empty, and other nodes have some, or the pod network takes pods' addresses from there.",
        expected: "Each node has a range of addresses for its pods.",
        breaks: "Pods on the node get no address and stay in ContainerCreating.",
        look: &[RANGES],
        fix: &[
            "Run kube-controller-manager with --allocate-node-cidrs=true and --cluster-cidr=RANGE",
            "Where that is so: see that the range is not used up (events CIDRNotAvailable: kubectl get events -A)",
        ],
    },
    Page {
        id: "doctor-pod-ranges-overlap",
        severity: Severity::Error,
        title: "A pod range is broken or overlaps",
        proves: "The node's spec.podCIDRs share addresses with another node's, hold a node's own address, or are no range.",
        expected: "Pod ranges are apart from each other and from nodes' addresses.",
        breaks: "Two pods may have one address, or packets for a node go to pods.",
        look: &[RANGES],
        fix: &[
            "spec.podCIDRs cannot be changed: delete the Node object of the younger node and let its kubelet register again",
        ],
    },
    Page {
        id: "doctor-network-remains",
        severity: Severity::Warning,
        title: "Nodes carry marks of a network that is not at work",
        proves: "A node has an annotation or a condition of a pod network of which no DaemonSet has pods, while another network is at work.",
        expected: "Marks of one network, of the one that is at work.",
        breaks: "Nothing by itself; but a condition that nobody updates any more may keep saying that the network is available, and devices and files of the earlier network may be left on nodes.",
        look: &[("Annotations and conditions", "kubectl get nodes -o yaml"), DAEMON_SETS],
        fix: &[
            "Remove the annotations: kubectl annotate node NODE KEY-",
            "Look for what is left on nodes: kubectl netcheck verify",
        ],
    },
    Page {
        id: "doctor-cni-disagrees",
        severity: Severity::Error,
        title: "The CNI configuration in force is not of the network that is at work",
        proves: "The first configuration in /etc/cni/net.d, which is the one that a runtime takes, has none of the plugins of the network whose agents run.",
        expected: "The configuration that comes first by name is the network's own.",
        breaks: "New pods get interfaces and addresses that the network at work knows nothing of: they are not reached from other nodes.",
        look: &[CONFIGURATIONS, DAEMON_SETS],
        fix: &[
            "Remove the other network's file from /etc/cni/net.d, then delete the pods that were started meanwhile",
            "Where the other network is the right one: remove the agents of this one",
        ],
    },
    Page {
        id: "doctor-conf-leftover",
        severity: Severity::Warning,
        title: "A CNI configuration of another network is left over",
        proves: "Behind the configuration in force there is one of a network that is not at work.",
        expected: "/etc/cni/net.d holds the configuration of the network at work, and of no other.",
        breaks: "Nothing yet; but whenever the first file is missing for a moment (an upgrade, a restart), new pods get the other network.",
        look: &[CONFIGURATIONS],
        fix: &["rm the file on the node"],
    },
    Page {
        id: "doctor-proxy-disagrees",
        severity: Severity::Warning,
        title: "Nodes have another service proxy than the API shows",
        proves: "kube-proxy's configuration (or Cilium's) says how Services are programmed, and the node has nothing programmed that way.",
        expected: "What is configured is what nodes hold.",
        breaks: "Services may not work on that node, or kube-proxy's pods were not restarted after a change of its configuration.",
        look: &[
            (
                "The configured mode",
                "kubectl -n kube-system get configmap kube-proxy -o yaml",
            ),
            (
                "On the node",
                "nft list tables; iptables-save -t nat | grep -c KUBE-; ip link show kube-ipvs0",
            ),
        ],
        fix: &[
            "kubectl -n kube-system rollout restart daemonset kube-proxy, and look at the log of its pod on that node",
        ],
    },
    Page {
        id: "doctor-proxy-leftover",
        severity: Severity::Warning,
        title: "Services are programmed on a node in two ways at once",
        proves: "The node holds what two kinds of service proxy make: rules of iptables, tables of nftables, IPVS, or Cilium's programs.",
        expected: "One of them programs Services; a change of the mode removes what the other has made.",
        breaks: "What is left over is not updated any more: connections may be led to endpoints that are gone.",
        look: &[(
            "On the node",
            "nft list tables; iptables-save -t nat | grep -c KUBE-; ip link show kube-ipvs0",
        )],
        fix: &[
            "Have kube-proxy remove what its other modes have made, on the node: kube-proxy --cleanup",
            "Restart the node",
        ],
    },
    Page {
        id: "doctor-mtu-too-large",
        severity: Severity::Error,
        title: "Packets of pods do not fit what carries them",
        proves: "A tunnel's MTU and what it puts around a packet are more than the node's device takes, or pods send more than that device takes.",
        expected: "Pods send no more than tunnels take, and tunnels no more than the underlay takes.",
        breaks: "Small packets pass and large ones are lost or fragmented: connections that open and then hang.",
        look: &[
            ("On the node", "ip -d link show"),
            ("From a pod", "ping -c 1 -M do -s 1422 ADDRESS"),
        ],
        fix: &[
            "Let the network find the MTU by itself, or set it to what the underlay takes less the tunnel's overhead (VXLAN 50, over IPv6 70; IP-in-IP 20; WireGuard 60)",
            "Then make the pods anew: an interface keeps its MTU",
        ],
    },
    Page {
        id: "doctor-dns-no-endpoints",
        severity: Severity::Error,
        title: "Nothing answers for the cluster's DNS",
        proves: "The cluster's DNS Service has no endpoint that is ready.",
        expected: "At least one ready endpoint, better two on different nodes.",
        breaks: "No name is resolved in any pod.",
        look: &[
            (
                "Its pods",
                "kubectl -n kube-system get pods -l k8s-app=kube-dns -o wide",
            ),
            ("Their log", "kubectl -n kube-system logs -l k8s-app=kube-dns --tail 50"),
        ],
        fix: &[
            "Mend what keeps the DNS pods from being ready: no node to run on, no network, a loop in the node's resolv.conf",
        ],
    },
    Page {
        id: "doctor-dns-unanswered",
        severity: Severity::Error,
        title: "A question to the cluster's DNS is not answered",
        proves: "The DNS Service was asked for its own name from there, and no right answer came in four seconds.",
        expected: "Its own address is answered within milliseconds.",
        breaks: "Names are not resolved there, or late.",
        look: &[
            (
                "Who reaches DNS and who does not, at both ends",
                "kubectl netcheck matrix -n kube-system --protocol dns",
            ),
            ("What the node makes of the Service", "kubectl netcheck verify NODE"),
        ],
        fix: &[
            "Where nodes are answered and pods are not: look for a NetworkPolicy, and at the pod network of that node",
            "Where neither is: look at the service proxy of that node, and at the way to the DNS pods",
        ],
    },
];
