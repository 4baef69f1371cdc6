//! Where this node's InternalIPs are on it.

use crate::{Family, LocalAddress, PerFamily};
use ipnet::IpNet;
use netcheck_node_state::NetState;
use std::net::IpAddr;

/// For each family the first InternalIP, if a device of the node holds it.
pub fn local(net: &NetState, internal_ips: &[String]) -> PerFamily<LocalAddress> {
    let mut found = PerFamily::default();
    for family in Family::BOTH {
        let mut ips = internal_ips.iter().filter_map(|text| text.parse::<IpAddr>().ok());
        let Some(ip) = ips.find(|ip| Family::of(*ip) == family) else {
            continue;
        };
        let Some(address) = net.addresses.iter().find(|address| address.ip == ip) else {
            continue;
        };
        let (Some(link), Ok(net)) = (net.links.get(&address.interface), IpNet::new(ip, address.prefix)) else {
            continue;
        };
        let local = LocalAddress {
            device: address.interface.clone(),
            address: net,
            mtu: link.mtu,
        };
        match family {
            Family::V4 => found.ipv4 = Some(local),
            Family::V6 => found.ipv6 = Some(local),
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use netcheck_node_state::{Address, Link, LinkKind};

    #[test]
    fn the_first_of_each_family_is_looked_for() {
        let mut net = NetState::default();
        let link = Link {
            mac: None,
            mtu: 9000,
            is_up: true,
            alias: None,
            makes_link_local: None,
            kind: LinkKind::Other(String::new()),
        };
        net.links.insert("eth0".to_owned(), link);
        for (ip, prefix) in [("192.0.2.11", 24), ("192.0.2.99", 24), ("2001:db8::11", 64)] {
            net.addresses.insert(Address {
                interface: "eth0".to_owned(),
                ip: ip.parse().unwrap(),
                prefix,
            });
        }
        let ips = ["192.0.2.11", "192.0.2.99", "2001:db8::12", "2001:db8::11"].map(str::to_owned);
        let found = local(&net, &ips);
        let v4 = found.ipv4.unwrap();
        assert_eq!(
            (v4.address.to_string().as_str(), v4.device.as_str(), v4.mtu),
            ("192.0.2.11/24", "eth0", 9000)
        );
        assert_eq!(found.ipv6, None);
    }
}
