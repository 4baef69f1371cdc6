//! Judgement of made-up clusters.

use super::{
    admission::{self, Labels, Target},
    api::{Me, Server, numbers},
    assess::{ApiFacts, NodeFacts, assess},
    choose::choose,
    dns::Asked,
    machines::{self, InForce, Machine},
    nodes::Node,
    proxy::{Guess, mode_of},
    report::{DoctorReport, Spec, State, Status, Topic},
    rights::{Answers, Scope, Standing},
    text,
};
use crate::{
    agents::{
        gate::Verdict,
        ladder::Rung,
        permissions::{Place, Verb, Way, grants},
    },
    cluster::inventory::{Endpoint, Service},
    findings::{Obstacle, page},
    networks::Trace,
    report::{Conclusion, Metadata},
    verify::{samples::Sample, services::Proxy},
};
use clap::ValueEnum as _;
use netcheck_wire::probe::Outcome;
use std::collections::{BTreeMap, BTreeSet};

const BRIDGE: &str = include_str!("../verify/generic/bridge.json");
const PTP: &str = include_str!("../verify/generic/ptp.json");

fn node(name: &str, range: &str) -> Node {
    Node {
        name: name.to_owned(),
        ranges: vec![range.parse().unwrap()],
        ips: vec![format!("192.0.2.{}", name.len()).parse().unwrap()],
        kubelet: "v1.34.4".to_owned(),
        kernel: "6.18.1".to_owned(),
        runtime: "containerd://1.6.20".to_owned(),
        ..Node::default()
    }
}

fn trace(name: &str, is_active: bool) -> Trace {
    Trace {
        name: name.to_owned(),
        evidence: format!("evidence of {name}"),
        is_active,
    }
}

fn service() -> Service {
    Service {
        namespace: "kube-system".to_owned(),
        name: "kube-dns".to_owned(),
        cluster_ips: vec!["10.96.0.10".parse().unwrap()],
        endpoints: vec![Endpoint {
            ip: "10.244.0.2".parse().unwrap(),
            ports: Vec::new(),
            pod_uid: None,
            pod_name: None,
            node: None,
            ready: true,
        }],
        is_dns: true,
        ..Service::default()
    }
}

fn scope() -> Scope {
    Scope {
        namespace: Some("shop".to_owned()),
        agent_namespace: "netcheck".to_owned(),
        network_namespace: "netcheck-cni".to_owned(),
    }
}

/// Everything is allowed but what `forbids`.
fn answers(forbids: impl Fn(&str, &str) -> bool) -> Answers {
    let questions = scope().questions(Verb::value_variants());
    let answer = |question: &crate::agents::gate::Question| !forbids(question.verb, question.resource);
    questions
        .into_iter()
        .map(|question| {
            let answer = answer(&question);
            (question, Ok(answer))
        })
        .collect()
}

/// A healthy cluster of the bundled network, asked by its administrator.
fn healthy() -> ApiFacts {
    ApiFacts {
        server: Server {
            address: "https://lab:6443".to_owned(),
            version: Ok("v1.34.4".to_owned()),
            me: Ok(Me {
                name: "ada".to_owned(),
                groups: vec!["system:masters".to_owned()],
            }),
            user: Some("ada".to_owned()),
        },
        scope: scope(),
        asked: Vec::new(),
        verbs: Verb::value_variants().to_vec(),
        answers: answers(|_, _| false),
        agents: admission::Agents {
            name: "netcheck".to_owned(),
            labels: Labels::Missing,
            verdict: Err("there is no such namespace".to_owned()),
            may_create: true,
        },
        target: Some(Target {
            name: "shop".to_owned(),
            labels: Labels::There(BTreeMap::new()),
            rung: Ok((Some(Rung::Raw), "web-1".to_owned())),
        }),
        nodes: Ok(vec![node("n1", "10.244.0.0/24"), node("n22", "10.244.1.0/24")]),
        traces: Ok(vec![trace("netcheck-cni", true)]),
        proxy: Guess::default(),
        dns: Ok(service()),
    }
}

/// A node of the bundled network.
fn machine() -> Machine {
    Machine {
        kernel: "6.18.1".to_owned(),
        configuration: Ok(in_force("05-netcheck-cni.conflist", "netcheck-cni", &["netcheck-cni"])),
        by_devices: BTreeSet::from(["netcheck-cni"]),
        other_configurations: Vec::new(),
        proxies: Ok(BTreeSet::from([Proxy::Iptables])),
        connections: Some((10, 1000)),
        forwards: Some(true),
        underlay: Some(("eth0".to_owned(), 1500)),
        tunnels: BTreeMap::from([("ncvx0".to_owned(), (1450, 50))]),
        pods: BTreeMap::from([("shop/web-1".to_owned(), 1450)]),
    }
}

fn in_force(file: &str, name: &str, plugins: &[&str]) -> InForce {
    InForce {
        file: file.to_owned(),
        plugins: plugins.iter().map(|plugin| (*plugin).to_owned()).collect(),
        networks: crate::networks::of_configuration(name, plugins.iter().copied())
            .map(|known| known.name)
            .collect(),
        ..InForce::default()
    }
}

fn looked(change: impl FnOnce(&mut Machine)) -> NodeFacts {
    let mut one = machine();
    change(&mut one);
    NodeFacts {
        chosen: vec!["n1".to_owned()],
        candidates: 2,
        machines: BTreeMap::from([("n1".to_owned(), one)]),
        asked: vec![asked("node/n1", Ok(answer("10.96.0.10")))],
        ..NodeFacts::default()
    }
}

fn answer(ip: &str) -> Outcome {
    Outcome::Resolved {
        rcode: 0,
        addresses: vec![ip.parse().unwrap()],
        from: "10.96.0.10:53".parse().unwrap(),
    }
}

fn asked(from: &str, outcome: Result<Outcome, String>) -> Asked {
    Asked {
        from: from.to_owned(),
        is_pod: from.starts_with("pod"),
        server: "10.96.0.10:53".parse().unwrap(),
        name: "kube-dns.kube-system.svc.cluster.local".to_owned(),
        outcome,
    }
}

fn report(status: Status) -> DoctorReport {
    DoctorReport::new(Metadata::default(), Spec::default(), status)
}

fn ids(status: &Status) -> Vec<&str> {
    status.findings.iter().map(|one| one.finding.id.as_str()).collect()
}

/// A line by its topic and check.
fn line(status: &Status, topic: Topic, check: &str) -> (State, String) {
    let section = status.sections.iter().find(|section| section.topic == topic).unwrap();
    let line = section.lines.iter().find(|line| line.check == check);
    let line = line.unwrap_or_else(|| panic!("{check} is not in {section:#?}"));
    (line.state, line.says.clone())
}

/// What of a healthy cluster is found after a change of what the API says.
fn by_api(change: impl FnOnce(&mut ApiFacts)) -> Status {
    let mut facts = healthy();
    change(&mut facts);
    assess(&facts, None)
}

#[test]
fn nothing_is_wrong_with_a_healthy_cluster() {
    let by_api = by_api(|_| {});
    assert_eq!(ids(&by_api), [] as [&str; 0]);
    let status = assess(&healthy(), Some(&looked(|_| {})));
    assert_eq!(ids(&status), [] as [&str; 0]);
    assert_eq!(status.network.as_deref(), Some("netcheck-cni"));
    assert_eq!(status.service_proxy.as_deref(), Some("kube-proxy (iptables)"));
    assert_eq!(
        line(&status, Topic::Agents, "started"),
        (State::Ok, "on n1, 1 of 2 nodes".to_owned())
    );
    assert_eq!(
        line(&status, Topic::Network, "packet sizes").1,
        "underlay 1500, tunnels 1450, pods 1450 bytes"
    );
    let report = report(status);
    assert_eq!(
        report.status.conclusion,
        Conclusion::Held,
        "{:#?}",
        report.status.sections
    );
    assert!(text::table(&report, None).lines().count() < 40, "one screen");
}

#[test]
fn what_only_nodes_can_tell_is_unknown_and_no_failure() {
    // No DaemonSet of kube-proxy: kubeadm is not the only way to run it.
    let report = report(by_api(|facts| facts.traces = Ok(Vec::new())));
    assert_eq!(line(&report.status, Topic::Network, "pod network").0, State::Unknown);
    assert_eq!(report.status.conclusion, Conclusion::Inconclusive);
}

#[test]
fn missing_rights_are_named_exactly_with_the_command_that_prints_the_role() {
    let forbidding = |asked: Vec<Verb>| {
        by_api(|facts| {
            facts.answers = answers(|verb, resource| (verb, resource) == ("create", "jobs"));
            facts.asked = asked;
        })
    };
    let status = forbidding(Vec::new());
    // The matrix has another way in, verify has none.
    assert_eq!(
        line(&status, Topic::Rights, "matrix"),
        (State::Ok, "by ephemeral containers only".to_owned())
    );
    assert_eq!(
        line(&status, Topic::Rights, "verify"),
        (
            State::Warning,
            "you may not create jobs.batch in namespace netcheck (node agents)".to_owned()
        )
    );
    let found = status
        .findings
        .iter()
        .find(|one| one.finding.subject == "verify")
        .unwrap();
    assert_eq!(found.finding.id, "doctor-rights-missing");
    assert_eq!(found.next, "kubectl netcheck rbac verify -n shop --user ada");
    assert_ne!(report(status).status.conclusion, Conclusion::Failed);
    assert_eq!(
        report(forbidding(vec![Verb::Verify])).status.conclusion,
        Conclusion::Failed,
        "a verb that was asked for"
    );
}

#[test]
fn what_is_optional_is_told_and_nothing_fails() {
    let status = by_api(|facts| facts.answers = answers(|_, resource| resource == "endpointslices"));
    let (state, says) = line(&status, Topic::Rights, "matrix");
    assert_eq!(state, State::Ok);
    assert!(
        says.contains("less without list endpointslices.discovery.k8s.io in namespace shop"),
        "{says}"
    );
    let verb = Standing::of(Verb::Cleanup, &scope(), &answers(|_, _| true));
    assert!(!verb.is_possible());
}

#[test]
fn an_authorizer_that_does_not_answer_is_no_refusal() {
    let status = by_api(|facts| {
        for answer in facts.answers.values_mut() {
            *answer = Err("webhook: no route".to_owned());
        }
    });
    let (state, says) = line(&status, Topic::Rights, "matrix");
    assert_eq!(
        (state, says.as_str()),
        (State::Unknown, "could not tell: webhook: no route")
    );
}

#[test]
fn each_permission_of_each_verb_is_asked_where_it_is_needed() {
    let questions = scope().questions(Verb::value_variants());
    for verb in Verb::value_variants() {
        for grant in grants(*verb, &[Way::Node, Way::Ephemeral]) {
            for one in grant.verbs {
                let question = scope().question(&grant, one);
                assert!(questions.contains(&question));
                let expected = match grant.place {
                    Place::Targets => Some("shop"),
                    Place::Agents | Place::AgentNamespaceItself => Some("netcheck"),
                    Place::Dns | Place::System => Some("kube-system"),
                    Place::Cni => Some("netcheck-cni"),
                    Place::Cluster | Place::CniItself => None,
                };
                assert_eq!(question.namespace.as_deref(), expected, "{grant:?}");
            }
        }
    }
}

#[test]
fn roles_are_bound_to_whoever_asks() {
    for (name, expected) in [
        ("ada", " --user ada"),
        ("system:serviceaccount:ci:gate", " --serviceaccount ci:gate"),
        ("x; rm -rf /", ""),
        ("", ""),
    ] {
        let me = Me {
            name: name.to_owned(),
            groups: Vec::new(),
        };
        assert_eq!(me.binding(), expected, "{name}");
    }
}

#[test]
fn pod_security_rules_out_what_it_forbids() {
    let labelled = |level: &str| {
        Labels::There(BTreeMap::from([(
            "pod-security.kubernetes.io/enforce".to_owned(),
            level.to_owned(),
        )]))
    };
    for (level, rung) in [
        ("privileged", "add NET_RAW"),
        ("baseline", "default capabilities"),
        ("restricted", "no watching, no ping"),
    ] {
        let status = by_api(|facts| {
            facts.agents.labels = labelled(level);
            facts.agents.verdict = Err("you may not create pods".to_owned());
            facts.target = Some(Target {
                name: "shop".to_owned(),
                labels: labelled(level),
                rung: Err("no pod runs in namespace shop".to_owned()),
            });
        });
        let is_refused = ids(&status).contains(&"doctor-agents-refused");
        assert_eq!(is_refused, level != "privileged", "{level}");
        let (state, says) = line(&status, Topic::Admission, "pods in shop");
        assert!(state == State::Ok && says.contains(rung), "{level}: {says}");
    }
}

#[test]
fn what_a_dry_run_says_counts_more_than_labels() {
    let status = by_api(|facts| {
        facts.agents.labels = Labels::There(BTreeMap::new());
        facts.agents.verdict = Ok(Verdict::Refused("policy 'p' denied request: no hostPID".to_owned()));
        let target = facts.target.as_mut().unwrap();
        target.rung = Ok((None, "web-1".to_owned()));
    });
    assert_eq!(ids(&status), ["doctor-agents-refused"]);
    let last = status.next.last().map(String::as_str);
    assert_eq!(last, Some("kubectl netcheck matrix -n shop --via ephemeral"));
    let (state, says) = line(&status, Topic::Admission, "agents in netcheck");
    assert!(state == State::Warning && says.contains("no hostPID"), "{says}");
    assert_eq!(line(&status, Topic::Admission, "pods in shop").0, State::Warning);
    let gone = by_api(|facts| facts.agents.may_create = false);
    assert_eq!(line(&gone, Topic::Admission, "agents in netcheck").0, State::Warning);
}

fn with_nodes(nodes: Vec<Node>) -> Status {
    by_api(|facts| facts.nodes = Ok(nodes))
}

#[test]
fn nodes_that_are_not_well_are_named() {
    let mut sick = node("n1", "10.244.0.0/24");
    sick.not_ready = Some("KubeletNotReady: cni plugin not initialized".to_owned());
    sick.no_network = Some("NoRouteCreated".to_owned());
    let status = with_nodes(vec![sick, node("n22", "10.244.1.0/24")]);
    assert_eq!(ids(&status), ["doctor-node-not-ready", "doctor-network-unavailable"]);
    assert_eq!(
        line(&status, Topic::Nodes, "ready"),
        (State::Failed, "1 of 2; not n1".to_owned())
    );
    let mut windows = node("win", "10.244.2.0/24");
    windows.out_of_scope = Some("Windows");
    windows.not_ready = Some("whatever".to_owned());
    let status = with_nodes(vec![node("n1", "10.244.0.0/24"), windows]);
    assert_eq!(ids(&status), [] as [&str; 0], "out of scope");
    assert_eq!(status.out_of_scope, ["win: Windows"]);
}

#[test]
fn pod_ranges_are_there_and_apart() {
    let without = || Node {
        ranges: Vec::new(),
        ..node("n22", "10.244.1.0/24")
    };
    let one = || node("n1", "10.244.0.0/24");
    assert_eq!(ids(&with_nodes(vec![one(), without()])), ["doctor-pod-range-missing"]);
    let calico = by_api(|facts| {
        facts.traces = Ok(vec![trace("Calico", true)]);
        facts.nodes = Ok(vec![one(), without()]);
    });
    assert_eq!(ids(&calico), [] as [&str; 0], "it has books of its own");
    let unknown = by_api(|facts| {
        facts.traces = Ok(Vec::new());
        facts.nodes = Ok(vec![without()]);
    });
    assert_eq!(ids(&unknown), [] as [&str; 0], "no node has one");
    for (range, many) in [
        ("10.244.0.0/24", 1),
        ("10.244.0.128/25", 1),
        ("10.244.0.0/16", 1),
        ("10.244.1.0/24", 0),
        // It holds both nodes' addresses.
        ("192.0.2.0/24", 2),
    ] {
        let status = with_nodes(vec![one(), node("n22", range)]);
        assert_eq!(ids(&status), vec!["doctor-pod-ranges-overlap"; many], "{range}");
    }
}

#[test]
fn versions_are_compared_as_kubernetes_does() {
    assert_eq!(numbers("v1.30.9-eks-1234"), Some((1, 30)));
    assert_eq!(numbers("v1.28+"), Some((1, 28)));
    assert_eq!(numbers("next"), None);
    for (kubelet, is_off) in [
        ("v1.34.9", false),
        ("v1.31.0", false),
        ("v1.30.0", true),
        ("v1.35.0", true),
        ("", false),
    ] {
        let mut one = node("n1", "10.244.0.0/24");
        one.kubelet = kubelet.to_owned();
        let status = with_nodes(vec![one]);
        assert_eq!(ids(&status).contains(&"doctor-kubelet-skew"), is_off, "{kubelet}");
    }
    let old = by_api(|facts| facts.server.version = Ok("v1.24.17".to_owned()));
    assert!(ids(&old).contains(&"doctor-server-old"));
}

fn by_network(names: &[(&str, bool)], change: impl FnOnce(&mut Machine)) -> Status {
    let mut facts = healthy();
    facts.traces = Ok(names.iter().map(|(name, is_active)| trace(name, *is_active)).collect());
    assess(&facts, Some(&looked(change)))
}

#[test]
fn guess_and_fact_must_agree() {
    for (name, file, plugins, expected) in [
        ("flannel", "10-flannel.conflist", &["flannel", "portmap"][..], None),
        (
            "flannel",
            "00-weave.conflist",
            &["weave-net"],
            Some("doctor-cni-disagrees"),
        ),
        ("canal", "10-canal.conflist", &["calico", "portmap"], None),
        ("Cilium", "10-aws.conflist", &["aws-cni", "cilium-cni"], None),
        ("Antrea", "10-x.conflist", &["mine"], Some("doctor-cni-disagrees")),
        // Of these no plugin of their own is known.
        ("GKE's network", "10-gke.conflist", &["ptp", "host-local"], None),
    ] {
        let status = by_network(&[(name, true)], |machine| {
            machine.configuration = Ok(in_force(file, "x", plugins));
        });
        assert_eq!(ids(&status).first().copied(), expected, "{name} {file}");
    }
}

#[test]
fn without_a_guess_the_fact_alone_is_told() {
    let told = |change: &dyn Fn(&mut InForce)| {
        let status = by_network(&[], |machine| {
            let mut configuration = in_force("10-plain.conflist", "plain", &["ptp", "host-local"]);
            change(&mut configuration);
            machine.configuration = Ok(configuration);
        });
        assert_eq!(ids(&status), [] as [&str; 0]);
        (line(&status, Topic::Network, "pod network").0, status.network)
    };
    let styled = told(&|configuration| configuration.style = Some("reference plugins (ptp)"));
    assert_eq!(styled, (State::Ok, Some("reference plugins (ptp)".to_owned())));
    assert_eq!(told(&|_| {}), (State::Unknown, None));
    // kube-router has the bridge plugin make its own bridge.
    let status = by_network(&[("kube-router", true)], |machine| {
        let mut configuration = in_force("10-kuberouter.conf", "mynet", &["bridge", "host-local"]);
        configuration.style = Some("reference plugins (bridge)");
        machine.configuration = Ok(configuration);
        machine.by_devices = BTreeSet::from(["kube-router"]);
    });
    assert_eq!((ids(&status), status.network.as_deref()), (vec![], Some("kube-router")));
}

#[test]
fn a_network_that_has_reference_plugins_called_is_known_by_what_it_does() {
    let by = |behind: Vec<(String, &'static str)>| {
        let mut facts = healthy();
        facts.traces = Ok(vec![trace("flannel", true)]);
        let mut looked = looked(|machine| {
            let mut configuration = in_force("00-x.conflist", "x", &["bridge", "host-local"]);
            configuration.style = Some("reference plugins (bridge)");
            machine.configuration = Ok(configuration);
            machine.other_configurations = behind;
        });
        looked.judged = Some("flannel".to_owned());
        let status = assess(&facts, Some(&looked));
        (ids(&status).first().map(|id| (*id).to_owned()), status.network)
    };
    assert_eq!(by(Vec::new()), (None, Some("flannel".to_owned())));
    // Its own configuration comes behind: somebody else's is in force.
    let (found, network) = by(vec![("10-flannel.conflist".to_owned(), "flannel")]);
    assert_eq!(found.as_deref(), Some("doctor-cni-disagrees"));
    assert_eq!(network.as_deref(), Some("reference plugins (bridge)"));
}

#[test]
fn multus_stands_before_a_network() {
    let status = by_network(&[("flannel", true)], |machine| {
        let mut configuration = in_force("00-multus.conf", "multus-cni-network", &["multus-shim"]);
        configuration.has_multus = true;
        machine.configuration = Ok(configuration);
        machine.other_configurations = vec![("10-flannel.conflist".to_owned(), "flannel")];
    });
    assert_eq!((ids(&status), status.network.as_deref()), (vec![], Some("flannel")));
    let (_, says) = line(&status, Topic::Network, "pod network");
    assert!(says.starts_with("Multus, and behind it flannel"), "{says}");
}

#[test]
fn what_other_networks_left_is_found() {
    let status = by_network(&[("netcheck-cni", true), ("Weave Net", false)], |machine| {
        machine.other_configurations = vec![("10-weave.conflist".to_owned(), "Weave Net")];
    });
    assert_eq!(ids(&status), ["doctor-network-remains", "doctor-conf-leftover"]);
    assert_eq!(line(&status, Topic::Network, "leftovers").0, State::Warning);
    // A mark alone may be of a network that hides from the API.
    assert_eq!(
        ids(&by_network(&[("flannel", false)], |machine| machine.configuration =
            Ok(in_force("10-flannel.conflist", "cbr0", &["flannel"])))),
        [] as [&str; 0]
    );
}

fn by_proxy(guess: Option<Proxy>, fact: &[Proxy]) -> Status {
    let mut facts = healthy();
    facts.proxy.proxy = guess;
    assess(
        &facts,
        Some(&looked(|machine| machine.proxies = Ok(fact.iter().copied().collect()))),
    )
}

#[test]
fn the_service_proxy_is_what_is_configured_and_alone() {
    use Proxy::{Cilium, Iptables, Nftables};
    for (guess, fact, expected) in [
        (Some(Iptables), &[Iptables][..], None),
        (None, &[Nftables], None),
        (None, &[], None),
        (Some(Nftables), &[Iptables], Some("doctor-proxy-disagrees")),
        (Some(Cilium), &[], Some("doctor-proxy-disagrees")),
        (Some(Nftables), &[Iptables, Nftables], Some("doctor-proxy-leftover")),
    ] {
        let status = by_proxy(guess, fact);
        assert_eq!(ids(&status).first().copied(), expected, "{guess:?} {fact:?}");
    }
    assert_eq!(mode_of("apiVersion: x\nmode: \"ipvs\"\nipvs:\n  mode: x\n"), "ipvs");
    assert_eq!(mode_of("kind: KubeProxyConfiguration\n"), "");
}

#[test]
fn packets_fit_what_carries_them() {
    let found = |change: &dyn Fn(&mut Machine)| {
        let status = assess(&healthy(), Some(&looked(change)));
        (ids(&status).len(), line(&status, Topic::Network, "packet sizes").0)
    };
    assert_eq!(found(&|_| {}), (0, State::Ok));
    let tunnel = |machine: &mut Machine| {
        machine.tunnels.insert("flannel.1".to_owned(), (1500, 50));
    };
    assert_eq!(found(&tunnel), (1, State::Failed));
    let pods = |machine: &mut Machine| {
        machine.pods.insert("shop/a".to_owned(), 9000);
        machine.pods.insert("shop/b".to_owned(), 9000);
    };
    assert_eq!(found(&pods), (1, State::Failed), "once for a node");
}

#[test]
fn dns_must_answer_with_its_own_address() {
    let told = |outcomes: Vec<Asked>| {
        let looked = NodeFacts {
            asked: outcomes,
            ..looked(|_| {})
        };
        let status = assess(&healthy(), Some(&looked));
        let state = line(&status, Topic::Dns, "answers").0;
        (ids(&status).len(), state)
    };
    let well = || asked("node/n1", Ok(answer("10.96.0.10")));
    assert_eq!(told(vec![well()]), (0, State::Ok));
    for (outcome, expected) in [
        (Ok(Outcome::TimedOut), (1, State::Failed)),
        (Ok(answer("198.51.100.1")), (1, State::Failed)),
        (
            Ok(Outcome::Failed {
                errno: "EPERM".to_owned(),
            }),
            (1, State::Failed),
        ),
        (Err("no agent".to_owned()), (0, State::Ok)),
    ] {
        assert_eq!(told(vec![well(), asked("pod shop/web on n1", outcome)]), expected);
    }
    assert_eq!(
        told(vec![asked("node/n1", Err("no agent".to_owned()))]),
        (0, State::Unknown)
    );
    let empty = by_api(|facts| facts.dns.as_mut().unwrap().endpoints.clear());
    assert_eq!(ids(&empty), ["doctor-dns-no-endpoints"]);
    let hidden = by_api(|facts| facts.dns = Err("you may not list services".to_owned()));
    assert_eq!(line(&hidden, Topic::Dns, "service").0, State::Unknown);
}

#[test]
fn agents_that_do_not_come_leave_things_unknown() {
    let none = NodeFacts {
        none: Some(Obstacle::Forbidden.because("you may not create jobs.batch")),
        ..NodeFacts::default()
    };
    let status = assess(&healthy(), Some(&none));
    assert_eq!(ids(&status), ["agent-forbidden"]);
    assert_eq!(report(status).status.conclusion, Conclusion::Inconclusive);
    let mut one = looked(|_| {});
    one.chosen.push("n22".to_owned());
    let why = Obstacle::ImagePull.because("its agent did not start: ErrImagePull: no such host");
    one.absent.insert("n22".to_owned(), why);
    let status = assess(&healthy(), Some(&one));
    assert_eq!(ids(&status), ["agent-image-pull"]);
    let (state, says) = line(&status, Topic::Agents, "started");
    assert!(state == State::Unknown && says.contains("ErrImagePull"), "{says}");
}

#[test]
fn with_hardly_any_rights_each_line_says_why_it_cannot_tell() {
    let mut facts = healthy();
    facts.answers = answers(|_, _| true);
    facts.nodes = Err("you may not list nodes".to_owned());
    facts.traces = Err("you may list neither DaemonSets nor pods in kube-system".to_owned());
    facts.proxy.unread = Some("you may not get configmaps".to_owned());
    facts.dns = Err("you may not list services".to_owned());
    facts.agents.labels = Labels::Unread("you may not get namespaces".to_owned());
    facts.agents.verdict = Err("you may not create pods".to_owned());
    let target = facts.target.as_mut().unwrap();
    target.labels = Labels::Unread("you may not get namespaces".to_owned());
    target.rung = Err("you may not list pods".to_owned());
    let status = assess(&facts, None);
    for (topic, check) in [
        (Topic::Nodes, "ready"),
        (Topic::Network, "pod network"),
        (Topic::Network, "service proxy"),
        (Topic::Dns, "service"),
        (Topic::Admission, "agents in netcheck"),
        (Topic::Admission, "pods in shop"),
    ] {
        let (state, says) = line(&status, topic, check);
        assert!(
            state == State::Unknown && says.starts_with("could not tell: you may"),
            "{check}: {says}"
        );
    }
    assert_eq!(report(status).status.conclusion, Conclusion::Inconclusive);
}

#[test]
fn few_nodes_of_many_kinds_are_chosen_the_same_each_time() {
    let of_kind = |name: &str, kernel: &str| Node {
        kernel: kernel.to_owned(),
        ..node(name, "10.244.0.0/24")
    };
    let nodes = [
        of_kind("a", "6.1"),
        of_kind("b", "6.1"),
        of_kind("c", "6.1"),
        of_kind("z", "5.15"),
        Node {
            not_ready: Some("gone".to_owned()),
            ..of_kind("k", "4.18")
        },
    ];
    let all: Vec<&Node> = nodes.iter().collect();
    let reversed: Vec<&Node> = nodes.iter().rev().collect();
    assert_eq!(choose(&all, 3), ["a", "b", "z"]);
    assert_eq!(choose(&reversed, 3), ["a", "b", "z"]);
    assert_eq!(choose(&all, 9), ["a", "b", "c", "k", "z"]);
    assert!(choose(&all, 0).is_empty());
}

#[test]
fn records_of_nodes_are_read() {
    let of = |text: &str| machines::of(&Sample::of(text).0).remove("n1").unwrap();
    let flannel = of(BRIDGE);
    let configuration = flannel.configuration.unwrap();
    assert_eq!(configuration.networks, BTreeSet::from(["flannel"]));
    assert_eq!(configuration.plugins.first().map(String::as_str), Some("flannel"));
    assert_eq!(
        flannel.tunnels.get("flannel.1").map(|(_, overhead)| *overhead),
        Some(50)
    );
    assert!(!flannel.pods.is_empty() && flannel.underlay.is_some());
    let ptp = of(PTP);
    assert_eq!(ptp.configuration.unwrap().style, Some("reference plugins (ptp)"));
    let mut with_more = Sample::of(PTP);
    with_more.put("/etc/cni/net.d", "10-weave.conflist.bak", "{", 9);
    with_more.put(
        "/etc/cni/net.d",
        "99-weave.conflist",
        r#"{"name":"weave","plugins":[{"type":"weave-net"}]}"#,
        9,
    );
    let others = machines::of(&with_more.0)["n1"].other_configurations.clone();
    assert_eq!(others, [("99-weave.conflist".to_owned(), "Weave Net")]);
    with_more
        .record()
        .folders
        .insert("/etc/cni/net.d".to_owned(), Err("no such folder".to_owned()));
    assert!(machines::of(&with_more.0)["n1"].configuration.is_err());
}

#[test]
fn what_is_printed_never_drives_the_terminal() {
    let hostile = "n\u{1b}[2J\r\nx";
    let mut facts = healthy();
    facts.server.me = Ok(Me {
        name: hostile.to_owned(),
        groups: vec![hostile.to_owned()],
    });
    let mut one = node("n1", "10.244.0.0/24");
    one.not_ready = Some(hostile.to_owned());
    facts.nodes = Ok(vec![Node {
        name: hostile.to_owned(),
        ..one
    }]);
    facts.traces = Ok(vec![trace(hostile, true)]);
    let report = report(assess(&facts, None));
    for text in [
        text::table(&report, None),
        text::wide(&report, None),
        text::names(&report),
    ] {
        assert!(!text.contains('\u{1b}') && !text.contains('\r'), "{text:?}");
    }
}

#[test]
fn each_finding_has_a_next_command_and_a_page() {
    let status = by_network(&[("flannel", true), ("Weave Net", false)], |machine| {
        machine.proxies = Ok(BTreeSet::from([Proxy::Iptables, Proxy::Ipvs]));
        machine.pods.insert("shop/a".to_owned(), 9000);
    });
    assert!(status.findings.len() >= 4, "{:?}", ids(&status));
    for one in &status.findings {
        assert!(page(&one.finding.id).is_some(), "{}", one.finding.id);
        assert!(one.next.starts_with("kubectl "), "{one:?}");
        assert!(!one.finding.expected.is_empty() && one.finding.fix.is_some(), "{one:?}");
    }
}
