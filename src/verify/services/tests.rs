//! Recorded rules of kube-proxy, and the Services that they were made of; then one thing of either is falsified.

use super::*;
use crate::verify::{
    evidence::Evidence,
    firewall::tests::{RULES, evidence, found, record, without},
    judge::judge,
};
use netcheck_node_state::{Address, Link, LinkKind};

/// kube-proxy's rules in nftables mode.
const NFT: &str = include_str!("../../../packets/ruleset/tests/recorded/kube-proxy.json");

fn port(name: &str, protocol: &str, port: u16, node_port: Option<u16>) -> ServicePort {
    ServicePort {
        name: name.to_owned(),
        protocol: protocol.to_owned(),
        port,
        node_port,
    }
}

fn service(namespace: &str, name: &str, ip: &str, ports: Vec<ServicePort>) -> ServiceObject {
    ServiceObject {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        cluster_ips: vec![ip.parse().unwrap()],
        ports,
        ..ServiceObject::default()
    }
}

fn endpoint(ip: &str, node: &str) -> Endpoint {
    Endpoint {
        ip: ip.parse().ok(),
        readiness: Readiness::Ready,
        node: Some(node.to_owned()),
        ..Endpoint::default()
    }
}

fn slice(namespace: &str, service: &str, ports: Vec<ServicePort>, endpoints: Vec<Endpoint>) -> SliceObject {
    SliceObject {
        namespace: namespace.to_owned(),
        service: service.to_owned(),
        ports,
        endpoints,
    }
}

/// What the rules were made of, by their addresses.
fn services(box_ip: &str, boxes: [&str; 3], dns: [&str; 2]) -> Services {
    let dns_ports = |dns, metrics| {
        vec![
            port("dns", "UDP", dns, None),
            port("dns-tcp", "TCP", dns, None),
            port("metrics", "TCP", metrics, None),
        ]
    };
    let boxes = boxes.iter().zip(["n1", "n2", "n3"]);
    let dns = dns.iter().map(|ip| endpoint(ip, "n1"));
    Services {
        services: vec![
            service(
                "default",
                "kubernetes",
                "10.96.0.1",
                vec![port("https", "TCP", 443, None)],
            ),
            service("default", "box", box_ip, vec![port("", "TCP", 80, Some(30080))]),
            service("kube-system", "kube-dns", "10.96.0.10", dns_ports(53, 9153)),
        ],
        slices: vec![
            slice(
                "default",
                "kubernetes",
                vec![port("https", "TCP", 6443, None)],
                vec![endpoint("10.90.0.10", "")],
            ),
            slice(
                "default",
                "box",
                vec![port("", "TCP", 8080, None)],
                boxes.map(|(ip, node)| endpoint(ip, node)).collect(),
            ),
            slice("kube-system", "kube-dns", dns_ports(53, 9153), dns.collect()),
        ],
    }
}

fn iptables(rules: &str) -> Evidence {
    let mut evidence = evidence(rules);
    let boxes = ["10.244.0.3", "10.244.1.3", "10.244.2.5"];
    let services = services("10.96.21.143", boxes, ["10.244.0.4", "10.244.1.4"]);
    evidence.objects.services = Some(Ok(services));
    evidence
}

fn nftables() -> Evidence {
    let mut evidence = evidence("");
    let boxes = ["10.244.0.2", "10.244.1.2", "10.244.2.2"];
    let services = services("10.96.9.1", boxes, ["10.244.0.3", "10.244.0.4"]);
    evidence.objects.services = Some(Ok(services));
    record(&mut evidence).nft = Ok(serde_json::from_str(NFT).unwrap());
    evidence
}

fn of(evidence: &mut Evidence) -> &mut Services {
    evidence.objects.services.as_mut().unwrap().as_mut().unwrap()
}

/// Objects of what is found, by id.
fn objects(evidence: &Evidence) -> Vec<(&'static str, String)> {
    let judgement = judge(evidence);
    let found = judgement.nodes["n1"].found.iter();
    found.map(|one| (one.id, one.object.clone())).collect()
}

fn ids(words: &[&'static str]) -> (BTreeSet<&'static str>, Vec<String>) {
    (words.iter().copied().collect(), Vec::new())
}

#[test]
fn healthy_nodes_have_no_findings_in_either_mode() {
    assert_eq!(found(&iptables(RULES)), ids(&[]));
    assert_eq!(found(&nftables()), ids(&[]));
}

#[test]
fn what_is_gone_from_the_rules_is_found() {
    let rules = without(RULES, "--to-destination 10.244.1.3:8080");
    assert_eq!(
        objects(&iptables(&rules)),
        [
            (
                "verify-service-endpoint-missing",
                "default/box 10.96.21.143:80/TCP 10.244.1.3:8080".to_owned()
            ),
            (
                "verify-service-endpoint-missing",
                "default/box NodePort 10.90.0.21:30080/TCP 10.244.1.3:8080".to_owned()
            ),
        ]
    );
    let rules = without(RULES, "kube-system/kube-dns:dns cluster IP");
    assert_eq!(
        objects(&iptables(&rules)),
        [(
            "verify-service-missing",
            "kube-system/kube-dns 10.96.0.10:53/UDP".to_owned()
        )]
    );
    // The last one of a chain takes what is left: without it, a part goes nowhere.
    let rules = without(RULES, "-j KUBE-SEP-AYLFJTZQ3EBVAVEB");
    assert_eq!(found(&iptables(&rules)), ids(&["verify-service-missing"]));
    let mut nft = nftables();
    let text = NFT.replace("[\"10.96.9.1\", \"tcp\", 80]", "[\"10.96.9.1\", \"tcp\", 81]");
    record(&mut nft).nft = Ok(serde_json::from_str(&text).unwrap());
    assert_eq!(found(&nft), ids(&["verify-service-missing"]));
}

#[test]
fn an_address_that_somebody_on_the_node_answers_at_is_nothing_of_kube_proxys() {
    let mut evidence = iptables(&without(RULES, "kube-system/kube-dns:dns cluster IP"));
    assert!(!found(&evidence).0.is_empty());
    // NodeLocal DNSCache has the Service's address on a device of its own.
    record(&mut evidence).node.net.addresses.insert(Address {
        interface: "nodelocaldns".to_owned(),
        ip: "10.96.0.10".parse().unwrap(),
        prefix: 32,
    });
    assert_eq!(found(&evidence), ids(&[]));
}

#[test]
fn what_leads_astray_is_found() {
    let rules = RULES.replace("10.244.1.3:8080", "10.244.1.3:8081");
    assert_eq!(found(&iptables(&rules)), ids(&["verify-service-wrong-port"]));
    let rules = RULES.replace("--to-destination 10.244.1.3:8080", "--to-destination 10.244.1.99:8080");
    assert_eq!(
        found(&iptables(&rules)),
        ids(&["verify-service-endpoint-missing", "verify-service-endpoint-stale"])
    );
    for mut evidence in [iptables(RULES), nftables()] {
        of(&mut evidence).slices[1].endpoints.remove(1);
        assert_eq!(found(&evidence), ids(&["verify-service-endpoint-stale"]));
    }
}

#[test]
fn endpoints_count_as_kube_proxy_counts_them() {
    let mut unready = iptables(RULES);
    of(&mut unready).slices[1].endpoints[1].readiness = Readiness::Unready;
    assert_eq!(found(&unready), ids(&["verify-service-endpoint-stale"]));
    // Where none is ready, those that leave and still serve.
    let mut leaving = iptables(RULES);
    for endpoint in &mut of(&mut leaving).slices[1].endpoints {
        endpoint.readiness = Readiness::Leaving;
    }
    assert_eq!(found(&leaving), ids(&[]));
    let mut local = iptables(RULES);
    of(&mut local).services[1].internal = Policy::Local;
    assert_eq!(found(&local), ids(&["verify-service-endpoint-stale"]));
    let mut hinted = iptables(RULES);
    for ip in ["10.244.0.77", "10.244.1.77"] {
        let mut more = endpoint(ip, "n1");
        more.hinted = true;
        of(&mut hinted).slices[1].endpoints.push(more);
    }
    assert_eq!(found(&hinted), ids(&[]));
}

#[test]
fn a_service_without_endpoints_is_to_be_rejected() {
    let rules = without(RULES, "kube-system/kube-dns:dns cluster IP");
    let empty = |rules: &str| {
        let mut evidence = iptables(rules);
        for slice in &mut of(&mut evidence).slices {
            if slice.service == "kube-dns" {
                slice.ports.retain(|port| port.name != "dns");
            }
        }
        found(&evidence)
    };
    assert_eq!(empty(&rules), ids(&["verify-service-unrejected"]));
    let reject = "-A KUBE-SERVICES -d 10.96.0.10/32 -p udp -m comment --comment \"kube-system/kube-dns:dns has no endpoints\" -m udp --dport 53 -j REJECT --reject-with icmp-port-unreachable\n\
                  -A KUBE-FORWARD -m conntrack --ctstate INVALID";
    assert_eq!(
        empty(&rules.replace("-A KUBE-FORWARD -m conntrack --ctstate INVALID", reject)),
        ids(&[])
    );
}

#[test]
fn what_others_program_is_not_checked() {
    let unchecked = |evidence: &Evidence| {
        let (found, why) = found(evidence);
        assert!(found.is_empty(), "{found:?}");
        why.join("; ")
    };
    let mut ipvs = iptables(RULES);
    let link = Link {
        mac: None,
        mtu: 1500,
        is_up: false,
        alias: None,
        makes_link_local: None,
        kind: LinkKind::Other("dummy".to_owned()),
    };
    record(&mut ipvs).node.net.links.insert(IPVS.to_owned(), link);
    assert!(unchecked(&ipvs).contains("IPVS"));
    let mut other = iptables("");
    assert!(unchecked(&other).contains("no rules of kube-proxy"));
    other.objects.pods[0].namespace = "kube-system".to_owned();
    other.objects.pods[0].name = "kube-proxy-abcde".to_owned();
    assert_eq!(found(&other), ids(&["verify-service-proxy-missing"]));
    let mut forbidden = iptables(RULES);
    forbidden.objects.services = Some(Err("services may not be listed".to_owned()));
    assert_eq!(unchecked(&forbidden), "services may not be listed");
    // An archive of an earlier version.
    let mut json = serde_json::to_value(iptables(RULES)).unwrap();
    json["objects"].as_object_mut().unwrap().remove("services");
    let old: Evidence = serde_json::from_value(json).unwrap();
    assert!(unchecked(&old).contains("were not read"));
}
