//! Pages of what keeps netcheck from looking: agents that do not start, streams that are cut.

use super::{Page, Severity};

pub(super) const PAGES: &[Page] = &[
    Page {
        id: "agent-image-pull",
        severity: Severity::Inconclusive,
        title: "The agent's image could not be pulled",
        proves: "The kubelet reported ErrImagePull, ImagePullBackOff or ErrImageNeverPull for netcheck's own container.",
        expected: "Every node can pull the agent's image, or has it already.",
        breaks: "Nothing by itself; but nothing can be said about this node or pod.",
        look: &[
            (
                "The reference that nodes must be able to pull",
                "kubectl netcheck images",
            ),
            (
                "What the kubelet says",
                "kubectl get events -n netcheck --field-selector reason=Failed",
            ),
        ],
        fix: &[
            "Mirror the image to a registry the nodes can reach, and name it: --image-prefix REGISTRY/PATH",
            "Name a Secret for a private registry: --image-pull-secret NAME",
        ],
    },
    Page {
        id: "agent-forbidden",
        severity: Severity::Inconclusive,
        title: "The agent may not be created",
        proves: "The API server refused the agent: by RBAC, by Pod Security, by an admission policy or by a webhook. Its words are in the row.",
        expected: "The user may create what the verb needs, and admission lets it pass.",
        breaks: "Nothing by itself; but nothing can be said about this node or pod.",
        look: &[
            ("What a verb needs, as a Role", "kubectl netcheck rbac VERB"),
            ("What you may do", "kubectl auth can-i --list -n NAMESPACE"),
            (
                "The Pod Security level of a namespace",
                "kubectl get namespace NAMESPACE --show-labels",
            ),
        ],
        fix: &[
            "RBAC: let an admin apply what 'kubectl netcheck rbac VERB' prints",
            "Pod Security: use a namespace for agents that an admin labelled privileged: --agent-namespace NAME",
            "Without any privileges on nodes, look from inside the pods: --via ephemeral",
        ],
    },
    Page {
        id: "agent-not-started",
        severity: Severity::Inconclusive,
        title: "The agent did not start",
        proves: "The agent's container was created and was not running within its time; the row has the kubelet's reason.",
        expected: "The agent runs within seconds.",
        breaks: "Nothing by itself; but nothing can be said about this node or pod.",
        look: &[
            ("What the kubelet says", "kubectl describe pods -n netcheck"),
            ("Whether the node has room and is healthy", "kubectl describe node NODE"),
        ],
        fix: &[
            "Mend what the kubelet names: a runtime that fails, a node under pressure, a missing runtime class",
            "Give it more time: --deadline, where nodes are slow to pull",
        ],
    },
    Page {
        id: "agent-unsupported",
        severity: Severity::Inconclusive,
        title: "No agent can run there",
        proves: "The node runs another operating system than Linux, or is virtual (virtual-kubelet, Fargate), so there is no kernel to look into.",
        expected: "Linux nodes.",
        breaks: "Nothing by itself; such nodes are out of scope and counted so in the coverage line.",
        look: &[("The node's operating system", "kubectl get nodes -L kubernetes.io/os")],
        fix: &["Nothing to mend; test such pods from their peers on Linux nodes"],
    },
    Page {
        id: "agent-version-mismatch",
        severity: Severity::Inconclusive,
        title: "Plugin and agent are of different versions",
        proves: "The agent speaks another version of the protocol than this plugin.",
        expected: "The agent's image is the one that belongs to the plugin.",
        breaks: "Nothing by itself; but no task can be given to the agent.",
        look: &[
            (
                "What the plugin speaks, and which image belongs to it",
                "kubectl netcheck version --client",
            ),
            (
                "Which image a mirror holds",
                "kubectl get pods -n netcheck -o jsonpath='{..imageID}'",
            ),
        ],
        fix: &[
            "Mirror the image of this version of the plugin: 'kubectl netcheck images' names it",
            "Leave out --image",
        ],
    },
    Page {
        id: "stream-incomplete",
        severity: Severity::Inconclusive,
        title: "The stream from the agent was cut, and what it carried is incomplete",
        proves: "The stream ended without the agent's closing totals, or with totals that do not match what arrived, and could not be resumed in time.",
        expected: "Each stream ends with totals that match.",
        breaks: "Nothing by itself; but results of this agent are missing, and are shown as not tested.",
        look: &[
            (
                "Whether other streams are cut as well",
                "kubectl exec -n NAMESPACE POD -- sleep 120",
            ),
            (
                "Whether the agent was killed, by memory for instance",
                "kubectl get events -n netcheck",
            ),
        ],
        fix: &[
            "Run again; a hiccup of less than 30 s is survived without loss",
            "Raise the idle timeout of load balancers between you and the API server",
        ],
    },
    Page {
        id: "node-not-ready",
        severity: Severity::Inconclusive,
        title: "The node is not ready",
        proves: "The API server's Ready condition of the node is not True; the row has its reason.",
        expected: "Nodes that pods run on are Ready.",
        breaks: "Pods on the node may still work, but nothing new can be started there, the agent included.",
        look: &[
            ("Why", "kubectl describe node NODE"),
            (
                "The kubelet's own log, on the node",
                "journalctl -u kubelet --since -10min",
            ),
        ],
        fix: &[
            "Mend the node: most often its kubelet, its container runtime, or its CNI's agent",
            "Drain and replace it",
        ],
    },
    Page {
        id: "node-capability-missing",
        severity: Severity::Inconclusive,
        title: "The agent may not observe everything there",
        proves: "The agent's container lacks a capability (NET_RAW in an unprivileged ephemeral container, most often), so it can open connections but not watch packets.",
        expected: "The agent watches both ends.",
        breaks: "Nothing by itself; failures at this end are reported as unanswered rather than with their place.",
        look: &[(
            "The Pod Security level of the namespace",
            "kubectl get namespace NAMESPACE --show-labels",
        )],
        fix: &[
            "Use node agents: --via node",
            "Run where Pod Security admits NET_RAW (baseline without restrictions on capabilities, or privileged)",
        ],
    },
];
