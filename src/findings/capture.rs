//! Pages of what keeps a capture from being whole.

use super::{Page, Severity};

pub(super) const PAGES: &[Page] = &[
    Page {
        id: "capture-lost-in-ring",
        severity: Severity::Warning,
        title: "Packets were lost on the node: they came faster than carried away",
        proves: "The kernel counted packets that passed the filter and found the capture's ring full (PACKET_STATISTICS, tp_drops of packet(7)).",
        expected: "Every packet that passes the filter fits the ring until it is carried away.",
        breaks: "Nothing in the network; but the file lacks these packets, and what it seems to lack may have been there.",
        look: &[
            ("How many, and where", "kubectl netcheck capture … -w FILE -o json"),
            ("What the file itself says", "capinfos FILE"),
        ],
        fix: &[
            "Carry less: a narrower filter behind --, --headers-only, or a smaller --snaplen",
            "Capture fewer pods of one node at once: they share its ring memory",
        ],
    },
    Page {
        id: "capture-lost-in-stream",
        severity: Severity::Warning,
        title: "Packets were lost between the node and here",
        proves: "The agent says it sent more packets than arrived: its session ended before all were handed over.",
        expected: "A session hands everything over, over a new stream if one is cut.",
        breaks: "Nothing in the network; but the file ends earlier than the capture on that node.",
        look: &[
            (
                "Whether other streams are cut as well",
                "kubectl exec -n NAMESPACE POD -- sleep 120",
            ),
            ("Whether the agent was killed", "kubectl get events -n netcheck"),
        ],
        fix: &[
            "Run again; a cut of less than 30 s is survived without loss",
            "Raise the idle timeout of load balancers between you and the API server",
        ],
    },
    Page {
        id: "capture-lost-at-output",
        severity: Severity::Warning,
        title: "Packets were lost at the output, which took no more",
        proves: "Writing failed (a full disk, a file that was taken away); what was there before is whole and can be read.",
        expected: "The output takes every packet.",
        breaks: "Nothing in the network; but the file ends where the output failed.",
        look: &[("How much room there is", "df -h .")],
        fix: &["Write to where there is room, or less: --max-bytes, --headers-only, a narrower filter"],
    },
    Page {
        id: "capture-incomplete",
        severity: Severity::Inconclusive,
        title: "What became of a source's packets is not known to the end",
        proves: "The source's agent did not give its last count, or its numbers do not add up with what arrived.",
        expected: "Packets that passed the filter are in the output or in a counter, and the sum is checked.",
        breaks: "Nothing in the network; but the absence of a packet in the file proves nothing after the last count.",
        look: &[("What happened to the agent", "kubectl get events -n netcheck")],
        fix: &[
            "Run again, and keep an eye on the node: an agent that dies was killed for memory, evicted, or lost with its node",
        ],
    },
    Page {
        id: "capture-source-missing",
        severity: Severity::Inconclusive,
        title: "A source was not captured at all",
        proves: "No agent could open a capture in its network namespace; the reason is given with it.",
        expected: "Every pod and node that was named is captured.",
        breaks: "Nothing in the network; but nothing is known of that source.",
        look: &[
            ("Where it is, and in which state", "kubectl get pods -o wide"),
            ("What the verb needs, as a Role", "kubectl netcheck rbac capture"),
        ],
        fix: &[
            "Mend what the reason names; a pod that does not run has no network namespace yet",
            "Where Pod Security refuses NET_RAW in the pod's namespace, use node agents: --via node",
        ],
    },
];
