//! Pages of what `matrix` finds.

use super::{Page, Severity};

pub(super) const PAGES: &[Page] = &[
    Page {
        id: "matrix-refused",
        severity: Severity::Error,
        title: "The destination refused: nothing listens on the port",
        proves: "The probe's SYN was seen entering the destination's own network namespace, the destination itself sent a reset back, and the kernel there has no socket listening on that address and port. The network between the two works.",
        expected: "A process in the destination listens on the port, on its pod address or on all addresses, and completes the handshake.",
        breaks: "Every connection to this port fails at once with 'connection refused'. If a Service sends traffic there, that share of its requests fails.",
        look: &[
            (
                "What the destination listens on; 127.0.0.1 and [::1] are reachable from inside only",
                "kubectl exec -n NAMESPACE POD -- ss -ltn",
            ),
            (
                "Which ports its containers declare",
                "kubectl get pod -n NAMESPACE POD -o jsonpath='{.spec.containers[*].ports}'",
            ),
            ("Whether the process is up", "kubectl logs -n NAMESPACE POD --tail=50"),
        ],
        fix: &[
            "Make the process listen on 0.0.0.0 or [::] rather than on loopback, if the detail says loopback only",
            "Correct the port: containerPort, the Service's targetPort, or the process's own configuration",
            "Mend the process, if it has not come up or has stopped listening",
        ],
    },
    Page {
        id: "matrix-no-answer",
        severity: Severity::Error,
        title: "The packet arrived at the destination, which sent no answer",
        proves: "The probe was seen entering the destination's own network namespace, and during the probe's whole time nothing left that namespace in answer: no SYN-ACK, no reset, no DNS response, no echo reply. The way there works.",
        expected: "The destination's kernel answers a SYN within microseconds, with a SYN-ACK or a reset.",
        breaks: "Clients wait until their own timeout, which feels like a hang rather than an error.",
        look: &[
            (
                "A firewall inside the pod's own namespace that drops (sidecars install them)",
                "nsenter -t PID -n nft list ruleset",
            ),
            (
                "A full accept queue: Recv-Q at the size of Send-Q",
                "kubectl exec -n NAMESPACE POD -- ss -ltn",
            ),
            (
                "Strict reverse-path filtering, which drops packets whose answer would leave by another interface",
                "nsenter -t PID -n sysctl net.ipv4.conf.all.rp_filter net.ipv4.conf.eth0.rp_filter",
            ),
        ],
        fix: &[
            "Remove or correct the rule that drops in the pod's namespace",
            "Give the process more backlog or more replicas, if its accept queue is full",
            "Set rp_filter to 2 (loose) where the pod has several interfaces",
        ],
    },
    Page {
        id: "matrix-reply-lost",
        severity: Severity::Error,
        title: "The destination answered, and the answer never came back",
        proves: "The probe was seen entering the destination's namespace, its answer was seen leaving it, and that answer was not seen in the source's namespace. The way there works; the way back does not.",
        expected: "The answer takes a path that leads back to the source's pod.",
        breaks: "Connections hang although the server sees them arrive: its log shows clients that 'never complete the handshake'.",
        look: &[
            (
                "The destination node's route back to the source's pod range",
                "ip route get SOURCE_POD_IP",
            ),
            ("Reverse-path filtering on the nodes", "sysctl -a | grep rp_filter"),
            (
                "Packets that connection tracking calls invalid: asymmetric paths look like that",
                "nft list ruleset | grep -n 'ct state invalid'",
            ),
            (
                "A tunnel or cloud firewall that allows one direction only",
                "tcpdump -ni any host SOURCE_POD_IP",
            ),
        ],
        fix: &[
            "Restore the destination node's route to the source node's pod range (restart the CNI's agent there, or correct the cloud route table)",
            "Allow the tunnel's port in both directions between the nodes",
            "Make the path symmetric, or rp_filter loose, where nodes have several interfaces",
        ],
    },
    Page {
        id: "matrix-rejected",
        severity: Severity::Error,
        title: "Something on the way said no",
        proves: "The source got an error that the destination's socket did not send: an ICMP error from another address, a reset that never left the destination's namespace, or 'no route' from its own kernel. Who said it is named in the row.",
        expected: "Nodes forward the packet, and only the destination's own socket accepts or refuses.",
        breaks: "Connections fail at once with 'no route to host', 'network unreachable', 'connection refused' or 'operation not permitted', although the destination is healthy.",
        look: &[
            (
                "Reject rules on the node that is named in the row",
                "nft list ruleset | grep -n reject; iptables-save | grep REJECT",
            ),
            (
                "For a Service: whether it has ready endpoints; without any, kube-proxy rejects",
                "kubectl get endpointslices -n NAMESPACE -l kubernetes.io/service-name=SERVICE",
            ),
            (
                "The route from the source",
                "nsenter -t PID -n ip route get DESTINATION_IP",
            ),
            (
                "NetworkPolicies that select either side",
                "kubectl get networkpolicy -A",
            ),
        ],
        fix: &[
            "Service without ready endpoints: correct its selector, or mend the pods behind it",
            "Remove or correct the reject rule, or the NetworkPolicy it stands for",
            "Restore the missing route (restart the CNI's agent on the node that is named)",
        ],
    },
    Page {
        id: "matrix-never-arrived",
        severity: Severity::Error,
        title: "The packet never arrived at the destination",
        proves: "The probe was seen leaving the source's namespace (or the row says that it did not even do that), and the destination's namespace, which was watched without loss, never saw it. Nobody reported an error: it was dropped silently between the two.",
        expected: "What leaves the source's pod enters the destination's pod.",
        breaks: "Connections hang until the client's timeout.",
        look: &[
            (
                "The source node's route to the destination's pod range, if the pods are on different nodes",
                "ip route get DESTINATION_POD_IP",
            ),
            (
                "Whether it leaves the source node, and in which tunnel",
                "tcpdump -ni any host DESTINATION_POD_IP",
            ),
            (
                "Drop rules and policies on both nodes",
                "nft list ruleset | grep -nE 'drop|policy drop'; kubectl get networkpolicy -A",
            ),
            (
                "Forwarding, which must be 1 on every node",
                "sysctl net.ipv4.ip_forward net.ipv6.conf.all.forwarding",
            ),
            (
                "The tunnel's neighbour and forwarding entries, for VXLAN",
                "bridge fdb show dev flannel.1; ip neigh show dev flannel.1",
            ),
        ],
        fix: &[
            "Restore the route or tunnel entry on the source node (restart the CNI's agent there)",
            "Open the tunnel's port between the nodes in the cloud's firewall: UDP 8472 or 4789 for VXLAN, IP protocol 4 for IP-in-IP, UDP 6081 for Geneve",
            "If a NetworkPolicy is meant to drop this, the finding confirms that it does",
        ],
    },
    Page {
        id: "matrix-answered-by-other",
        severity: Severity::Error,
        title: "Something else answered in the destination's place",
        proves: "The source's connection completed, while the destination's namespace, which was watched without loss, never saw the probe. Whatever completed it was not the destination.",
        expected: "The handshake is completed by the destination's own kernel.",
        breaks: "Traffic ends up in the wrong place: a transparent proxy, a stale NAT entry, a second holder of the same address, or a redirect in the source's own pod. Requests may succeed and yet be answered by the wrong server.",
        look: &[
            (
                "Redirects in the source's namespace (service meshes install them on purpose)",
                "nsenter -t PID -n nft list ruleset | grep -nE 'redirect|dnat'",
            ),
            (
                "Connection tracking entries that still point to an old backend",
                "conntrack -L -d DESTINATION_IP",
            ),
            (
                "A second holder of the address",
                "kubectl get pods -A -o wide | grep DESTINATION_IP",
            ),
        ],
        fix: &[
            "Service mesh: this is expected of its sidecars; leave those ports out, or accept the finding",
            "Delete stale entries: conntrack -D -d DESTINATION_IP",
            "Mend the CNI's address management if two pods hold one address",
        ],
    },
    Page {
        id: "matrix-name-not-resolved",
        severity: Severity::Error,
        title: "The name was not resolved",
        proves: "A DNS query, sent by the source to its own resolver as resolv.conf names it, did not come back with an address. The row keeps what became of the query itself: answered with an error code, rejected, lost on the way, or lost on the way back.",
        expected: "The cluster's DNS answers NOERROR with the Service's address.",
        breaks: "Programs that connect by name fail, mostly with 'could not resolve host' or after long timeouts, although connections by address work.",
        look: &[
            (
                "Whether the DNS pods run and are ready",
                "kubectl get pods -n kube-system -l k8s-app=kube-dns -o wide",
            ),
            (
                "Whether its Service has endpoints",
                "kubectl get endpointslices -n kube-system -l kubernetes.io/service-name=kube-dns",
            ),
            (
                "What the source asks",
                "kubectl exec -n NAMESPACE POD -- cat /etc/resolv.conf",
            ),
            (
                "What the DNS server says",
                "kubectl logs -n kube-system -l k8s-app=kube-dns --tail=50",
            ),
        ],
        fix: &[
            "Bring the DNS pods up: kubectl rollout restart -n kube-system deployment/coredns",
            "Answered NXDOMAIN: the name does not exist; check Service and namespace",
            "Query lost or rejected: see the finding of its transport, and NetworkPolicies that forbid UDP 53",
        ],
    },
    Page {
        id: "matrix-unanswered",
        severity: Severity::Inconclusive,
        title: "No answer came, and where it was lost could not be watched",
        proves: "The source sent the probe and got nothing. The destination could not be watched (no agent there, or its watch may have missed packets), so whether the probe arrived is unknown.",
        expected: "An answer, or a destination that can be watched.",
        breaks: "Traffic to this destination probably fails; it cannot be said where.",
        look: &[
            ("Why the destination has no agent", "kubectl netcheck matrix -o wide"),
            (
                "Whether it is reachable at all, from another pod",
                "kubectl exec -n NAMESPACE OTHER_POD -- nc -zv DESTINATION_IP PORT",
            ),
        ],
        fix: &[
            "Let an agent run at the destination: --via node, or a namespace whose Pod Security level admits NET_RAW",
            "Run again with fewer probes at a time, if the row says that the watch missed packets",
        ],
    },
    Page {
        id: "matrix-not-tested",
        severity: Severity::Inconclusive,
        title: "The pair was not tested",
        proves: "Nothing is known of it. The row, or the coverage, says why: the pod is not running, its ports are not known, cluster DNS was not found, or the run was interrupted. Where an agent stood in the way, the row names the page of that trouble instead.",
        expected: "Every chosen pair is tested.",
        breaks: "Nothing is known about this pair, which is not the same as 'it works'.",
        look: &[
            ("The state of the pods", "kubectl get pods -n NAMESPACE -o wide"),
            ("The state of the nodes", "kubectl get nodes"),
            (
                "What keeps agents from starting",
                "kubectl netcheck explain agent-not-started (or agent-image-pull, agent-forbidden)",
            ),
        ],
        fix: &[
            "Mend what the row names, and run again",
            "--allow-inconclusive=REASON, where it is known and accepted",
        ],
    },
];
