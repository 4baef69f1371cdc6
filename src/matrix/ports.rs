//! Which sockets of a namespace take a connection to an address and port.

use netcheck_wire::probe::Listener;
use std::net::IpAddr;

/// Whether something listens where a connection would arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Serving {
    /// A socket takes connections to that address.
    Yes,
    /// Sockets with that port exist, bound to loopback addresses only.
    LoopbackOnly,
    /// Sockets with that port exist, bound to other addresses or to the other IP family only.
    OtherAddressOnly,
    /// No socket has that port.
    No,
}

/// What the listeners of a namespace do with a connection to `ip` and `port`.
pub fn serving(listeners: &[Listener], ip: IpAddr, port: u16) -> Serving {
    let same_port: Vec<&Listener> = listeners.iter().filter(|listener| listener.port == port).collect();
    if same_port.is_empty() {
        Serving::No
    } else if same_port.iter().any(|listener| takes(listener, ip)) {
        Serving::Yes
    } else if same_port
        .iter()
        .all(|listener| listener.ip.to_canonical().is_loopback())
    {
        Serving::LoopbackOnly
    } else {
        Serving::OtherAddressOnly
    }
}

/// Ports that take connections from outside in the family of `ip`, sorted.
pub fn open_ports(listeners: &[Listener], ip: IpAddr) -> Vec<u16> {
    let mut ports: Vec<u16> = listeners
        .iter()
        .filter(|listener| takes(listener, ip))
        .map(|listener| listener.port)
        .collect();
    ports.sort_unstable();
    ports.dedup();
    ports
}

fn takes(listener: &Listener, ip: IpAddr) -> bool {
    let (bound, wanted) = (listener.ip.to_canonical(), ip.to_canonical());
    match (bound, wanted) {
        (IpAddr::V4(bound), IpAddr::V4(_)) if bound.is_unspecified() => true,
        (IpAddr::V6(bound), IpAddr::V6(_)) if bound.is_unspecified() => true,
        // A dual-stack socket: `::` takes IPv4 unless IPV6_V6ONLY is set (RFC 3493 section 5.3).
        (IpAddr::V6(bound), IpAddr::V4(_)) => bound.is_unspecified() && !listener.v6_only,
        (bound, wanted) => bound == wanted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listener(ip: &str, port: u16, v6_only: bool) -> Listener {
        Listener {
            ip: ip.parse().unwrap(),
            port,
            v6_only,
        }
    }

    #[test]
    fn a_connection_is_taken_by_the_socket_the_kernel_would_choose() {
        let table = [
            ("0.0.0.0", false, "10.0.0.1", Serving::Yes),
            ("0.0.0.0", false, "fd00::1", Serving::OtherAddressOnly),
            ("::", false, "10.0.0.1", Serving::Yes),
            ("::", true, "10.0.0.1", Serving::OtherAddressOnly),
            ("::", true, "fd00::1", Serving::Yes),
            ("127.0.0.1", false, "10.0.0.1", Serving::LoopbackOnly),
            ("::1", false, "fd00::1", Serving::LoopbackOnly),
            ("::ffff:127.0.0.1", false, "10.0.0.1", Serving::LoopbackOnly),
            ("::ffff:10.0.0.1", false, "10.0.0.1", Serving::Yes),
            ("10.0.0.1", false, "10.0.0.1", Serving::Yes),
            ("10.0.0.2", false, "10.0.0.1", Serving::OtherAddressOnly),
        ];
        for (bound, v6_only, wanted, expected) in table {
            let found = serving(&[listener(bound, 80, v6_only)], wanted.parse().unwrap(), 80);
            assert_eq!(
                found, expected,
                "bound to {bound} (v6_only {v6_only}), connected to {wanted}"
            );
        }
        assert_eq!(
            serving(&[listener("0.0.0.0", 81, false)], "10.0.0.1".parse().unwrap(), 80),
            Serving::No
        );
    }

    #[test]
    fn open_ports_leave_out_loopback_and_repeat_nothing() {
        let listeners = [
            listener("::", 8080, false),
            listener("0.0.0.0", 8080, false),
            listener("127.0.0.1", 9000, false),
            listener("0.0.0.0", 22, false),
        ];
        assert_eq!(open_ports(&listeners, "10.0.0.1".parse().unwrap()), [22, 8080]);
        assert_eq!(open_ports(&listeners, "fd00::1".parse().unwrap()), [8080]);
    }
}
