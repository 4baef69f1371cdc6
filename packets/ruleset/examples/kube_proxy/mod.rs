//! Rules for Services as kube-proxy's mode iptables writes them, of any number.

use std::{
    fmt::Write as _,
    net::{IpAddr, Ipv4Addr},
};

/// The ClusterIP of a Service.
pub fn address(number: u32) -> IpAddr {
    Ipv4Addr::from(0x0a60_0000 + number).into()
}

/// The address of an endpoint, by its number among all.
pub fn endpoint_address(number: u32) -> Ipv4Addr {
    Ipv4Addr::from(0x0af4_0000 + number % 0xffff)
}

/// As kube-proxy writes them.
pub fn rules(services: u32, endpoints: u32) -> String {
    let mut text = "*nat\n:PREROUTING ACCEPT [0:0]\n:KUBE-MARK-MASQ - [0:0]\n-A PREROUTING -m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES\n\
                    -A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000\n"
        .to_owned();
    for service in 0..services {
        let ip = address(service);
        let _ = writeln!(
            text,
            "-A KUBE-SERVICES -d {ip}/32 -p tcp -m comment --comment \"ns/svc-{service} cluster IP\" -m tcp --dport 80 -j KUBE-SVC-{service}\n\
             -A KUBE-SVC-{service} ! -s 10.244.0.0/16 -d {ip}/32 -p tcp -m comment --comment \"ns/svc-{service} cluster IP\" -m tcp --dport 80 -j KUBE-MARK-MASQ"
        );
        for endpoint in 0..endpoints {
            let chance = if endpoint + 1 == endpoints {
                ""
            } else {
                "-m statistic --mode random --probability 0.50000000000 "
            };
            let to = endpoint_address(service * endpoints + endpoint);
            let _ = writeln!(
                text,
                "-A KUBE-SVC-{service} -m comment --comment \"ns/svc-{service} -> {to}:8080\" {chance}-j KUBE-SEP-{service}-{endpoint}\n\
                 -A KUBE-SEP-{service}-{endpoint} -s {to}/32 -m comment --comment \"ns/svc-{service}\" -j KUBE-MARK-MASQ\n\
                 -A KUBE-SEP-{service}-{endpoint} -p tcp -m comment --comment \"ns/svc-{service}\" -m tcp -j DNAT --to-destination {to}:8080"
            );
        }
    }
    text + "COMMIT\n"
}
