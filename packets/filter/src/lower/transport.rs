//! What IP carries: protocol numbers, ports, fragments.

use super::{Lowering, host, link};
use crate::ast::{Comparison, Direction, Protocol, Size};
use crate::condition::{Base, Condition, Value};

/// The fixed header's length (RFC 8200 section 3).
pub(super) const IP6_HEADER: u32 = 40;
/// The next header number of the fragment header (RFC 8200 section 4.5).
const FRAGMENT: u32 = 44;
const ICMP6: u32 = 58;
/// What has ports.
const PORTED: [u32; 3] = [132, 6, 17];

impl Lowering<'_> {
    /// Whether a packet is of a protocol.
    pub(super) fn protocol(&self, protocol: Protocol) -> Condition {
        match protocol {
            Protocol::Link => Condition::Always,
            Protocol::Ip => self.frame_type(link::IP),
            Protocol::Ip6 => self.frame_type(link::IP6),
            Protocol::Arp => self.frame_type(link::ARP),
            Protocol::Rarp => self.frame_type(link::RARP),
            Protocol::Frame(number) => self.frame_type(number.into()),
            Protocol::Transport(number) => self.protocol_number(None, number.into()),
            Protocol::Transport4(number) => self.protocol_number(Some(Protocol::Ip), number.into()),
            Protocol::Icmp6 => self.protocol_number(Some(Protocol::Ip6), ICMP6),
        }
    }

    /// Whether a packet has bytes of a protocol where they are looked for: not in a later fragment.
    pub(super) fn presence(&self, protocol: Protocol) -> Condition {
        match protocol {
            Protocol::Transport(number) | Protocol::Transport4(number) => Condition::all([
                self.frame_type(link::IP),
                self.ip_protocol(number.into()),
                self.first_fragment(),
            ]),
            Protocol::Icmp6 => Condition::all([self.frame_type(link::IP6), self.next_header(ICMP6)]),
            protocol => self.protocol(protocol),
        }
    }

    /// Whether IPv4, IPv6 or either carries this number. In IPv6, also right behind a fragment header.
    pub(super) fn protocol_number(&self, within: Option<Protocol>, number: u32) -> Condition {
        let v4 = || Condition::all([self.frame_type(link::IP), self.ip_protocol(number)]);
        let v6 = || {
            let behind = Value::at(Size::Byte, self.payload + IP6_HEADER).is(number);
            let fragment = Condition::all([self.next_header(FRAGMENT), behind]);
            Condition::all([
                self.frame_type(link::IP6),
                Condition::any([self.next_header(number), fragment]),
            ])
        };
        match within {
            Some(Protocol::Ip) => v4(),
            Some(_) => v6(),
            None => Condition::any([v4(), v6()]),
        }
    }

    /// Packets with a port of a range.
    pub(super) fn port(&self, transport: Option<u8>, direction: Direction, range: (u16, u16)) -> Condition {
        let carriers = transport.map_or(PORTED.to_vec(), |number| vec![number.into()]);
        let ports = |base| host::directed(direction, port_at(base, 0, range), port_at(base, 2, range));
        let v6 = Condition::all([
            self.frame_type(link::IP6),
            Condition::any(carriers.iter().map(|number| self.next_header(*number))),
            ports(Base::Start(self.payload + IP6_HEADER)),
        ]);
        let v4 = Condition::all([
            self.frame_type(link::IP),
            Condition::any(carriers.iter().map(|number| self.ip_protocol(*number))),
            self.first_fragment(),
            ports(Base::Ipv4Payload(self.payload)),
        ]);
        Condition::any([v6, v4])
    }

    fn ip_protocol(&self, number: u32) -> Condition {
        Value::at(Size::Byte, self.payload + 9).is(number)
    }

    fn next_header(&self, number: u32) -> Condition {
        Value::at(Size::Byte, self.payload + 6).is(number)
    }

    /// The fragment offset of IPv4 is zero (RFC 791).
    fn first_fragment(&self) -> Condition {
        Value::at(Size::Half, self.payload + 6).masked(0x1fff).is(0)
    }
}

fn port_at(base: Base, offset: u32, (low, high): (u16, u16)) -> Condition {
    let port = Value::Bytes {
        size: Size::Half,
        base,
        index: Box::new(Value::Constant(offset)),
    };
    if low == high {
        return port.is(low.into());
    }
    Condition::all([
        Condition::compare(port.clone(), Comparison::GreaterOrEqual, Value::Constant(low.into())),
        Condition::compare(port, Comparison::LessOrEqual, Value::Constant(high.into())),
    ])
}
