//! The daemon dies between any two of its changes, and the first pass of the next one leaves nothing half done.

use crate::{
    golden::judge,
    held::Held,
    node::{Node, attachments, node_of},
    vector::{self, configure},
};
use libtest_mimic::Trial;
use netcheck_cni::store::Store;
use netcheck_cni_daemon::{
    actual::{self, Scope},
    apply::apply,
    cluster::View,
    keeper::Outcome,
    uninstall::uninstall,
};
use netcheck_cni_intent::{
    Config, Diff, Inputs, NodeObject,
    diff::{Mend, diff},
    intent,
    local::local,
    recorded,
};
use netcheck_node_state::{Change, snapshot, within};
use netcheck_trials::{Need, trial};
use serde_json::{Value, json};

pub fn trials(needs: &'static [Need]) -> Vec<Trial> {
    vec![
        trial("interrupted::first_build", needs, first_build),
        trial("interrupted::overlay_made_anew", needs, overlay_made_anew),
        trial("interrupted::switch_of_the_backend", needs, switch_of_the_backend),
    ]
}

/// What a daemon would change now, as it finds out.
fn difference(node: &Node, view: &View) -> Diff {
    let nodes: Vec<NodeObject> = view.nodes.as_ref().unwrap().values().cloned().collect();
    let config = Config::parse(view.config.as_ref().unwrap().as_ref().unwrap()).unwrap();
    let own = nodes.iter().find(|object| object.name == node.name).unwrap();
    let recorded = Store::at(&node.places().state).attachments().unwrap().into_values();
    let attachments: Vec<_> = recorded
        .map(|one| recorded::Attachment::reduced(one.unwrap()))
        .collect();
    let net = snapshot().unwrap();
    let inputs = Inputs {
        own: &node.name,
        nodes: &nodes,
        config: &config,
        refused_config: &[],
        local: &local(&net, &own.internal_ips),
        attachments: &attachments,
    };
    let desired = intent(&inputs).unwrap();
    let (actual, unread) = actual::read(&desired, net, Scope { all: true });
    assert!(unread.is_empty(), "{unread:?}");
    diff(&desired, &actual)
}

/// Makes the first changes only, and has another daemon pass once. What it said, and whether the first one had come to its end.
/// `unmarks`: a device that is the last change is not yet marked, which the kernel takes by itself only.
fn dies_after(count: usize, unmarks: bool, node: &mut Node, view: &View) -> (Outcome, bool) {
    let is_done = within(&node.sandbox.netns(), || {
        let mut difference = difference(node, view);
        let all = difference.deltas.len();
        assert!(all > 10, "{difference:?}");
        difference.deltas.truncate(count);
        let applied = apply(&difference, &node.places().state);
        assert!(applied.failed.is_empty(), "{applied:?}");
        let last = difference.deltas.last().map(|delta| &delta.mend);
        if unmarks && matches!(last, Some(Mend::Node(Change::CreateVxlan { .. }))) {
            node.sandbox.run("ip link set ncvx0 alias '' addrgenmode eui64");
        }
        count >= all
    });
    node.restart_daemon();
    node.settle(view);
    for device in ["all", "ncvx0"] {
        // There is none without a tunnel.
        let forwarding = node
            .sandbox
            .run(&format!("cat /proc/sys/net/ipv[46]/conf/{device}/forwarding || true"));
        assert!(!forwarding.contains('0'), "{device} after {count}: {forwarding}");
    }
    let idle = node.settle(view);
    assert_eq!(
        idle.applied.total(),
        0,
        "not in one pass after {count}: {:?}",
        idle.applied
    );
    (idle, is_done.unwrap())
}

/// What the first daemon found must be known to the last one: it goes back to that when we leave the node.
fn first_build() {
    let parameters = |node: &Node| {
        [
            "net.ipv4.ip_forward",
            "net.ipv6.conf.all.forwarding",
            "net.ipv6.conf.eth0.accept_ra",
        ]
        .map(|key| node.sysctl(key))
    };
    let vector = vector::read("02-dual-stack-vxlan");
    let view = vector::view(&vector);
    for count in 0.. {
        let mut node = Node::furnished(node_of(&vector, "n3"));
        let (baseline, before) = (node.held(), parameters(&node));
        let (outcome, is_done) = dies_after(count, false, &mut node, &view);
        judge(
            &format!("after {count}"),
            &node,
            &baseline,
            &vector["expected"]["n3"],
            &outcome,
        );
        assert_ne!(parameters(&node), before);
        within(&node.sandbox.netns(), || uninstall(&node.places(), false))
            .unwrap()
            .unwrap();
        assert_eq!(node.held().differences(&baseline, &json!({})), "", "left after {count}");
        assert_eq!(parameters(&node), before, "left after {count}");
        if is_done {
            break;
        }
    }
}

/// Node n1 with its pod and what is expected of it with vxlan.
struct Whole {
    node: Node,
    view: View,
    baseline: Held,
    expected: Value,
}

impl Whole {
    fn with(backend: &str) -> Self {
        let vector = vector::read("02-dual-stack-vxlan");
        let view = vector::view(&vector);
        let begun = backend_of(&view, backend);
        let mut node = Node::furnished(node_of(&vector, "n1"));
        let baseline = node.held();
        node.settle(&begun);
        for attachment in attachments(&vector, "n1") {
            assert_eq!(node.add(attachment).0, 0);
        }
        node.settle(&begun);
        Self {
            node,
            view,
            baseline,
            expected: vector["expected"]["n1"].clone(),
        }
    }

    fn judge(&self, place: &str, outcome: &Outcome) {
        judge(place, &self.node, &self.baseline, &self.expected, outcome);
    }
}

fn backend_of(view: &View, backend: &str) -> View {
    let mut view = view.clone();
    configure(&mut view, "backend", backend);
    view
}

fn overlay_made_anew() {
    let mut whole = Whole::with("vxlan");
    for count in 0.. {
        whole.node.sandbox.run("ip link del ncvx0");
        let (outcome, is_done) = dies_after(count, true, &mut whole.node, &whole.view);
        whole.judge(&format!("after {count}"), &outcome);
        if is_done {
            break;
        }
    }
}

/// There and back: a daemon takes the overlay away a period later only, so what else there is is compared.
fn switch_of_the_backend() {
    let mut whole = Whole::with("host-gw");
    let direct = backend_of(&whole.view, "host-gw");
    let before = whole.node.held();
    let same = json!({ "nft": before.nft });
    let pod = |node: &Node| {
        let pod = node.pods.values().next().unwrap();
        pod.run("ip route; ip -6 route show default")
    };
    let pod_before = pod(&whole.node);
    for count in 0.. {
        let (outcome, is_there) = dies_after(count, false, &mut whole.node, &whole.view);
        whole.judge(&format!("to vxlan after {count}"), &outcome);

        let (_, is_back) = dies_after(count, false, &mut whole.node, &direct);
        let mut held = whole.node.held();
        let has_overlay = held.lines["links"].iter().any(|line| line.contains("ncvx0"));
        assert!(!(has_overlay && is_back), "the overlay is left over");
        for lines in held.lines.values_mut() {
            lines.retain(|line| !line.contains("ncvx0"));
        }
        assert_eq!(held.differences(&before, &same), "", "to host-gw after {count}");
        assert_eq!(pod(&whole.node), pod_before, "to host-gw after {count}");
        if has_overlay {
            whole.node.sandbox.run("ip link del ncvx0");
        }
        if is_there && is_back {
            break;
        }
    }
}
