//! Pages of what `verify` finds by leading test packets through a node's rules.

use super::{Page, Severity};

/// What shows a node's rules.
const RULES: (&str, &str) = (
    "On the node",
    "nft list ruleset; iptables-legacy-save; iptables-nft-save",
);
/// What shows where a Service leads.
const ENDPOINTS: (&str, &str) = (
    "What is behind the Service",
    "kubectl get endpointslices -n NAMESPACE -l kubernetes.io/service-name=SERVICE -o wide",
);
/// What shows a Service's rules.
const SERVICE: (&str, &str) = (
    "On the node",
    "iptables-save | grep NAMESPACE/SERVICE; nft list ruleset | grep NAMESPACE/SERVICE",
);
const RESTART: &str = "Look at kube-proxy's log on that node, and start it anew: kubectl -n kube-system delete pod -l k8s-app=kube-proxy --field-selector spec.nodeName=NODE";

pub(super) const PAGES: &[Page] = &[
    Page {
        id: "verify-overlay-blocked",
        severity: Severity::Error,
        title: "A firewall on the node drops the tunnel's packets",
        proves: "A test packet to the port of a VXLAN device, from another node's InternalIP, was led through the rules that were read: it is dropped or rejected before it comes in.",
        expected: "Packets of the tunnel come in from every node.",
        breaks: "Nothing that pods of other nodes send to pods of this one arrives, neither requests nor answers.",
        look: &[RULES],
        fix: &["Let the port in from all nodes; the finding has the command"],
    },
    Page {
        id: "verify-masquerade-missing",
        severity: Severity::Error,
        title: "What pods send out of the cluster keeps their addresses",
        proves: "A test packet from a pod to an address outside of the cluster was led through the rules that were read: it leaves by the default route with the pod's address, though the network is told to masquerade.",
        expected: "It leaves with the node's address.",
        breaks: "No answer finds back: pods reach nothing outside of the cluster.",
        look: &[RULES],
        fix: &["Start the network's agent on that node anew: it writes its rules again"],
    },
    Page {
        id: "verify-masquerade-pods",
        severity: Severity::Warning,
        title: "Packets between pods get another source",
        proves: "A test packet between pods was led through the rules that were read: one of them masquerades it or translates its source.",
        expected: "Pods see each other's own addresses.",
        breaks: "NetworkPolicies and applications that look at the source see a node in place of the pod; answers may take another way than requests.",
        look: &[RULES],
        fix: &["Exempt the pod ranges from that rule: put a return or accept for them before it"],
    },
    Page {
        id: "verify-iptables-both",
        severity: Severity::Warning,
        title: "Both flavours of iptables decide on the node",
        proves: "There are rules that drop, accept or translate both in iptables-legacy and in iptables on nf_tables.",
        expected: "All programs on a node use the same flavour.",
        breaks: "Packets meet both: an accept in one does not overrule a drop in the other, and each program sees one half only.",
        look: &[(
            "On the node",
            "iptables-legacy-save; iptables-nft-save; iptables --version",
        )],
        fix: &[
            "Have all programs use one flavour (update-alternatives --config iptables), and remove the other one's rules: iptables-legacy -F; iptables-legacy -t nat -F",
        ],
    },
    Page {
        id: "verify-service-missing",
        severity: Severity::Error,
        title: "A node does not know a Service",
        proves: "A test packet to the Service's address and port was led through the rules that were read: it, or a part of such packets, is not translated, though there are endpoints.",
        expected: "It is translated to one of the endpoints.",
        breaks: "Pods of the node do not reach the Service.",
        look: &[SERVICE, ENDPOINTS],
        fix: &[RESTART],
    },
    Page {
        id: "verify-service-endpoint-missing",
        severity: Severity::Warning,
        title: "A node sends nothing to one of a Service's endpoints",
        proves: "All ways of a test packet to the Service were followed through the rules that were read: none leads to an endpoint that is ready.",
        expected: "Each endpoint that is ready gets a share.",
        breaks: "The others have more to do; where it is the last one, the Service is not reached.",
        look: &[SERVICE, ENDPOINTS],
        fix: &[RESTART],
    },
    Page {
        id: "verify-service-endpoint-stale",
        severity: Severity::Error,
        title: "A node sends a Service's packets where there is no endpoint",
        proves: "Of the ways of a test packet to the Service one leads to an address that is none of its endpoints, or of none that is ready.",
        expected: "Packets go to endpoints only.",
        breaks: "That share of the connections from this node fails, or reaches somebody else's pod.",
        look: &[SERVICE, ENDPOINTS],
        fix: &[RESTART],
    },
    Page {
        id: "verify-service-wrong-port",
        severity: Severity::Error,
        title: "A node sends a Service's packets to a wrong port",
        proves: "A test packet to the Service is translated to an endpoint's address, and to another port than the EndpointSlice has.",
        expected: "The port is the one of the EndpointSlice.",
        breaks: "That share of the connections from this node is refused, or reaches another program.",
        look: &[SERVICE, ENDPOINTS],
        fix: &[RESTART],
    },
    Page {
        id: "verify-service-unrejected",
        severity: Severity::Warning,
        title: "Packets to a Service without endpoints leave the node",
        proves: "A test packet to a Service that has no endpoints was led through the rules that were read: nothing rejects or drops it.",
        expected: "It is rejected, or dropped where traffic is to stay on the node.",
        breaks: "Clients wait until they give up instead of hearing at once that nobody is there, and packets leave the cluster.",
        look: &[SERVICE, ENDPOINTS],
        fix: &[RESTART],
    },
    Page {
        id: "verify-service-proxy-missing",
        severity: Severity::Error,
        title: "kube-proxy runs, and none of its rules is there",
        proves: "A pod of kube-proxy runs on the node, and there is neither its chain in iptables nor its table in nftables.",
        expected: "Its rules are there for each family that Services have.",
        breaks: "No Service is reached from this node, cluster DNS included.",
        look: &[
            (
                "On the node",
                "iptables-save -t nat | grep KUBE-SERVICES; nft list tables",
            ),
            (
                "kube-proxy",
                "kubectl -n kube-system get pods -l k8s-app=kube-proxy -o wide",
            ),
        ],
        fix: &[RESTART],
    },
];
