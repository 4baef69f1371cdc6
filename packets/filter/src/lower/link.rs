//! The link layer: Ethernet types, IEEE 802.2, VLAN tags, group addresses.

use super::{Framing, Lowering};
use crate::ast::{Comparison, Protocol, Size};
use crate::condition::{Condition, Value};
use crate::program::metadata;

pub(super) const IP: u32 = 0x0800;
pub(super) const IP6: u32 = 0x86dd;
pub(super) const ARP: u32 = 0x0806;
pub(super) const RARP: u32 = 0x8035;

/// The largest length in the place of an Ethernet type (IEEE 802.3).
const LONGEST_LENGTH: u32 = 1500;

/// A VLAN tag's bytes, and its number's bits.
const TAG_LENGTH: u32 = 4;
const TAG_NUMBER: u32 = 0x0fff;

impl Lowering<'_> {
    /// Whether a frame carries this Ethernet type or service access point.
    pub(super) fn frame_type(&self, number: u32) -> Condition {
        if self.framing == Framing::Raw {
            let version = |version| Value::at(Size::Byte, self.payload).masked(0xf0).is(version);
            return match number {
                IP => version(0x40),
                IP6 => version(0x60),
                _ => Condition::Never,
            };
        }
        let kind = Value::at(Size::Half, self.type_at);
        let ieee = Condition::compare(kind.clone(), Comparison::LessOrEqual, Value::Constant(LONGEST_LENGTH));
        match number {
            // IPX: Ethernet II, SNAP, IEEE 802.2, or the bare 802.3 of old Novell.
            0xe0 => {
                let inside = Condition::any([
                    self.snap([0, 0, 0], 0x8137),
                    self.access_point(0xe0),
                    Value::at(Size::Half, self.payload).is(0xffff),
                ]);
                Condition::any([kind.is(0x8137), Condition::all([ieee, inside])])
            }
            // ISO, IP and NetBEUI over 802.2 use the same point at both ends.
            0xfe | 0x06 | 0xf0 => {
                Condition::all([ieee, Value::at(Size::Half, self.payload).is((number << 8) | number)])
            }
            0..=LONGEST_LENGTH => Condition::all([ieee, self.access_point(number)]),
            0x809b => Condition::any([kind.is(number), Condition::all([ieee, self.snap([8, 0, 7], number)])]),
            0x80f3 => Condition::any([kind.is(number), Condition::all([ieee, self.snap([0, 0, 0], number)])]),
            _ => kind.is(number),
        }
    }

    fn access_point(&self, number: u32) -> Condition {
        Value::at(Size::Byte, self.payload).is(number)
    }

    /// A SNAP header (IEEE 802): `aa aa 03`, an organisation, a type.
    fn snap(&self, organisation: [u8; 3], kind: u32) -> Condition {
        let [first, second, third] = organisation.map(u32::from);
        Condition::all([
            Value::at(Size::Word, self.payload + 4).is((second << 24) | (third << 16) | kind),
            Value::at(Size::Word, self.payload).is(0xaaaa_0300 | first),
        ])
    }

    /// Whether a tag is there; what comes after `vlan` is looked for behind it, as in libpcap.
    pub(super) fn vlan(&mut self, number: Option<u16>) -> Condition {
        if self.tag_aside {
            self.tag_aside = false;
            return number.map_or(Condition::Always, |number| {
                Value::Metadata(metadata::VLAN_TAG).masked(TAG_NUMBER).is(number.into())
            });
        }
        let kind = || Value::at(Size::Half, self.type_at);
        let tagged = Condition::any([kind().is(0x8100), kind().is(0x88a8), kind().is(0x9100)]);
        let right = number.map_or(Condition::Always, |number| {
            Value::at(Size::Half, self.payload).masked(TAG_NUMBER).is(number.into())
        });
        self.type_at += TAG_LENGTH;
        self.payload += TAG_LENGTH;
        Condition::all([tagged, right])
    }

    /// Group addresses, of the frame or of the packet in it. For IPv4, libpcap 1.10 counts all from 224.0.0.0 on.
    pub(super) fn multicast(&self, protocol: Protocol) -> Condition {
        let destination = |offset| Value::at(Size::Byte, self.payload + offset);
        match protocol {
            Protocol::Ip => Condition::all([
                self.frame_type(IP),
                Condition::compare(destination(16), Comparison::GreaterOrEqual, Value::Constant(0xe0)),
            ]),
            Protocol::Ip6 => Condition::all([self.frame_type(IP6), destination(24).is(0xff)]),
            _ => Value::at(Size::Byte, 0).masked(1).is(1),
        }
    }
}
