//! Further networks that pods ask for (Kubernetes Network Plumbing Working Group, multi-network specification 1.3): what annotation `networks`
//! asks for, what `network-status` says was given, and what is in the pod's namespace.

use super::{
    evidence::Looked,
    found::Found,
    group::Group,
    network::{Differences, Unchecked},
    objects::{Objects, PodObject},
};
use netcheck_node_state::{Mac, record::Space};
use serde::Deserialize;
use std::{collections::BTreeMap, net::IpAddr};

/// A network that a pod asks for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
struct Wanted {
    name: String,
    #[serde(default)]
    namespace: Option<String>,
    #[serde(default)]
    interface: Option<String>,
}

/// An interface that a pod was given.
#[derive(Debug, Clone, Deserialize)]
struct Given {
    #[serde(default)]
    name: String,
    #[serde(default)]
    interface: Option<String>,
    #[serde(default)]
    ips: Vec<String>,
    #[serde(default)]
    mac: Option<String>,
    #[serde(default)]
    default: bool,
    #[serde(default, rename = "device-info")]
    device_info: Option<serde_json::Value>,
}

/// What differs in the further networks of a node's pods.
pub fn differences(objects: &Objects, node: &str, looked: &Looked) -> Differences {
    let mut differences = Differences::default();
    for pod in objects.wired_on(node) {
        if let Err(why) = of_pod(pod, looked, &mut differences.found) {
            differences.unchecked.push(Unchecked {
                group: Group::Pods,
                why: format!("further networks of pod {}: {why}", pod.full_name()),
            });
        }
    }
    differences
}

fn of_pod(pod: &PodObject, looked: &Looked, found: &mut Vec<Found>) -> Result<(), String> {
    let wanted = pod.networks.as_deref().map_or(Ok(Vec::new()), wanted)?;
    let given = pod.network_status.as_deref().map_or(Ok(Vec::new()), given)?;
    missing(pod, &wanted, &given, found);
    if given.iter().all(|one| one.default || one.interface.is_none()) {
        return Ok(());
    }
    let place = match looked.places.get(&pod.uid) {
        Some(Ok(place)) => *place,
        Some(Err(why)) => return Err(why.clone()),
        // It came after the agents: a next run sees it.
        None => return Ok(()),
    };
    let space = match looked.record.pods.get(&place) {
        Some(Ok(space)) => space,
        Some(Err(why)) => return Err(why.clone()),
        None => return Err("its namespace was not read".to_owned()),
    };
    for one in given.iter().filter(|one| !one.default) {
        found.extend(inside(pod, one, space));
    }
    Ok(())
}

/// `a`, `shop/a@net1`, several with commas between; or JSON (section 4.1.2.1 of the specification).
fn wanted(text: &str) -> Result<Vec<Wanted>, String> {
    let text = text.trim();
    if text.starts_with('[') {
        return serde_json::from_str(text).map_err(|error| format!("annotation networks cannot be read: {error}"));
    }
    let words = text.split(',').map(str::trim).filter(|word| !word.is_empty());
    let read = words.map(|word| {
        let (network, interface) = word
            .split_once('@')
            .map_or((word, None), |(network, name)| (network, Some(name)));
        let (namespace, name) = network
            .split_once('/')
            .map_or((None, network), |(space, name)| (Some(space), name));
        Wanted {
            name: name.to_owned(),
            namespace: namespace.map(str::to_owned),
            interface: interface.map(str::to_owned),
        }
    });
    Ok(read.collect())
}

fn given(text: &str) -> Result<Vec<Given>, String> {
    serde_json::from_str(text).map_err(|error| format!("annotation network-status cannot be read: {error}"))
}

/// Networks that were asked for more often than given.
fn missing(pod: &PodObject, wanted: &[Wanted], given: &[Given], found: &mut Vec<Found>) {
    let mut left: BTreeMap<&str, usize> = BTreeMap::new();
    for one in given {
        *left.entry(&one.name).or_default() += 1;
    }
    for one in wanted {
        let network = format!("{}/{}", one.namespace.as_deref().unwrap_or(&pod.namespace), one.name);
        match left.get_mut(network.as_str()) {
            Some(count) if *count > 0 => *count -= 1,
            _ => {
                let interface = one
                    .interface
                    .as_ref()
                    .map(|name| format!(" as {name}"))
                    .unwrap_or_default();
                found.push(
                    Found::new(
                        "verify-network-missing",
                        format!("pod {}", pod.full_name()),
                        format!("an interface of network {network}{interface}"),
                        "annotation network-status tells of none",
                    )
                    .look(format!("kubectl -n {} describe pod {}", pod.namespace, pod.name)),
                );
            }
        }
    }
}

/// What a namespace holds of an interface that the pod was given.
fn inside(pod: &PodObject, given: &Given, space: &Space) -> Option<Found> {
    let name = given.interface.as_deref()?;
    let object = format!("pod {} {name}", pod.full_name());
    let look = format!("in the pod's network namespace: ip address show dev {name}");
    let expected = format!("an interface of network {}", given.name);
    let Some(link) = space.net.links.get(name) else {
        // A function that a driver in user space has is no device of the kernel's.
        given.device_info.as_ref().is_none().then_some(())?;
        let found = Found::new("verify-network-interface-missing", object, expected, "no such device");
        return Some(found.look(look));
    };
    let of_device = space.net.addresses.iter().filter(|address| address.interface == name);
    let has: Vec<IpAddr> = of_device.map(|address| address.ip).collect();
    // Addresses with and without their prefix's length are written.
    let ip = |text: &String| text.split('/').next().and_then(|ip| ip.parse::<IpAddr>().ok());
    let lost: Vec<String> = given
        .ips
        .iter()
        .filter_map(ip)
        .filter(|ip| !has.contains(ip))
        .map(|ip| format!("no address {ip}"))
        .collect();
    let mac = given
        .mac
        .as_ref()
        .and_then(|text| text.to_ascii_lowercase().parse::<Mac>().ok());
    let other_mac = mac
        .filter(|mac| link.mac.is_some_and(|is| is != *mac))
        .and(link.mac)
        .map(|is| format!("MAC {is}"));
    let is_down = (!link.is_up).then(|| "down".to_owned());
    let wrong: Vec<String> = lost.into_iter().chain(other_mac).chain(is_down).collect();
    if wrong.is_empty() {
        return None;
    }
    let mac = mac.map(|mac| format!(", MAC {mac}")).unwrap_or_default();
    let expected = format!("{expected}, up, with {}{mac}", given.ips.join(" "));
    Some(Found::new("verify-network-changed", object, expected, wrong.join(", ")).look(look))
}

#[cfg(test)]
mod tests {
    use super::*;
    use netcheck_node_state::{Address, Link, LinkKind, NetState, record::NodeRecord};
    use std::collections::BTreeSet;

    const STATUS: &str = r#"[{"name": "netcheck", "interface": "eth0", "ips": ["10.0.0.2"], "default": true},
        {"name": "shop/lan", "interface": "net1", "ips": ["192.0.2.7"], "mac": "0A:00:00:00:00:07", "dns": {}}]"#;

    fn space() -> Space {
        let link = Link {
            mac: "0a:00:00:00:00:07".parse().ok(),
            mtu: 1500,
            is_up: true,
            alias: None,
            makes_link_local: None,
            kind: LinkKind::Other("macvlan".to_owned()),
        };
        let address = Address {
            interface: "net1".to_owned(),
            ip: "192.0.2.7".parse().unwrap(),
            prefix: 24,
        };
        Space {
            net: NetState {
                links: BTreeMap::from([("net1".to_owned(), link)]),
                addresses: BTreeSet::from([address]),
                ..NetState::default()
            },
            ..Space::default()
        }
    }

    fn found(
        networks: Option<&str>,
        status: Option<&str>,
        change: impl FnOnce(&mut Space),
    ) -> Result<Vec<&'static str>, String> {
        let pod = PodObject {
            namespace: "shop".to_owned(),
            name: "web".to_owned(),
            uid: "u".to_owned(),
            node: "n1".to_owned(),
            running: true,
            networks: networks.map(str::to_owned),
            network_status: status.map(str::to_owned),
            ..PodObject::default()
        };
        let mut inside = space();
        change(&mut inside);
        let record = NodeRecord {
            pods: BTreeMap::from([(1, Ok(inside))]),
            ..NodeRecord::of(space())
        };
        let looked = Looked {
            record,
            places: BTreeMap::from([("u".to_owned(), Ok(1))]),
        };
        let objects = Objects {
            pods: vec![pod],
            ..Objects::default()
        };
        let differences = differences(&objects, "n1", &looked);
        match differences.unchecked.first() {
            Some(unchecked) => Err(unchecked.why.clone()),
            None => Ok(differences.found.iter().map(|one| one.id).collect()),
        }
    }

    #[test]
    fn what_was_asked_for_given_and_there_is_well() {
        for networks in [
            "lan",
            "shop/lan@net1",
            r#"[{"name": "lan", "interface": "net1"}]"#,
            " lan , ",
        ] {
            assert_eq!(found(Some(networks), Some(STATUS), |_| {}), Ok(vec![]), "{networks}");
        }
        assert_eq!(found(None, None, |_| {}), Ok(vec![]));
        // A pod may have more than it asks for: by the cluster's own defaults.
        assert_eq!(found(None, Some(STATUS), |_| {}), Ok(vec![]));
    }

    #[test]
    fn what_was_asked_for_and_not_given_is_found() {
        assert_eq!(
            found(Some("lan,lan"), Some(STATUS), |_| {}),
            Ok(vec!["verify-network-missing"])
        );
        assert_eq!(
            found(Some("other/lan"), Some(STATUS), |_| {}),
            Ok(vec!["verify-network-missing"])
        );
        assert_eq!(found(Some("lan"), None, |_| {}), Ok(vec!["verify-network-missing"]));
    }

    #[test]
    fn what_was_given_and_is_not_there_is_found() {
        let all = |change: fn(&mut Space)| found(Some("lan"), Some(STATUS), change);
        assert_eq!(
            all(|space| space.net.links.clear()),
            Ok(vec!["verify-network-interface-missing"])
        );
        assert_eq!(
            all(|space| space.net.addresses.clear()),
            Ok(vec!["verify-network-changed"])
        );
        let down = all(|space| space.net.links.get_mut("net1").unwrap().is_up = false);
        assert_eq!(down, Ok(vec!["verify-network-changed"]));
        let other = all(|space| space.net.links.get_mut("net1").unwrap().mac = "0a:00:00:00:00:08".parse().ok());
        assert_eq!(other, Ok(vec!["verify-network-changed"]));
    }

    #[test]
    fn a_device_that_a_driver_in_user_space_has_is_not_missed() {
        let status = STATUS.replace("\"dns\": {}", "\"device-info\": {\"type\": \"pci\"}");
        assert_eq!(
            found(Some("lan"), Some(&status), |space| space.net.links.clear()),
            Ok(vec![])
        );
    }

    #[test]
    fn annotations_that_cannot_be_read_are_told_of() {
        assert!(
            found(Some("[{"), None, |_| {})
                .unwrap_err()
                .contains("networks cannot be read")
        );
        assert!(
            found(None, Some("{}"), |_| {})
                .unwrap_err()
                .contains("network-status cannot be read")
        );
    }
}
