//! Network devices, from what the kernel says about them.

use super::Names;
use crate::{
    Link, LinkKind, Mac, Vxlan,
    numbers::{
        AF_INET6, GENERATES_NONE, IFLA_ADDRESS, IFLA_AF_SPEC, IFLA_IFALIAS, IFLA_IFNAME, IFLA_INET6_ADDR_GEN_MODE,
        IFLA_INFO_DATA, IFLA_INFO_KIND, IFLA_LINK_NETNSID, IFLA_LINKINFO, IFLA_MTU, IFLA_VXLAN_AGEING,
        IFLA_VXLAN_COLLECT_METADATA, IFLA_VXLAN_DF, IFLA_VXLAN_GBP, IFLA_VXLAN_GPE, IFLA_VXLAN_GROUP,
        IFLA_VXLAN_GROUP6, IFLA_VXLAN_ID, IFLA_VXLAN_L2MISS, IFLA_VXLAN_L3MISS, IFLA_VXLAN_LABEL, IFLA_VXLAN_LEARNING,
        IFLA_VXLAN_LIMIT, IFLA_VXLAN_LINK, IFLA_VXLAN_LOCAL, IFLA_VXLAN_LOCAL6, IFLA_VXLAN_LOCALBYPASS,
        IFLA_VXLAN_PORT, IFLA_VXLAN_PORT_RANGE, IFLA_VXLAN_PROXY, IFLA_VXLAN_REMCSUM_NOPARTIAL, IFLA_VXLAN_REMCSUM_RX,
        IFLA_VXLAN_REMCSUM_TX, IFLA_VXLAN_RSC, IFLA_VXLAN_TOS, IFLA_VXLAN_TTL, IFLA_VXLAN_TTL_INHERIT,
        IFLA_VXLAN_UDP_CSUM, IFLA_VXLAN_UDP_ZERO_CSUM6_RX, IFLA_VXLAN_UDP_ZERO_CSUM6_TX,
    },
    wire::{LINK_HEADER, Message, attributes, ip, text, u32_at},
};
use std::collections::BTreeMap;

/// A device as the kernel describes it.
pub(crate) struct LinkAnswer {
    /// Its number.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// What it is. The device below a vxlan is not named yet.
    pub link: Link,
    /// The number of the device below a vxlan.
    pub below: Option<u32>,
    /// That number counts in another namespace.
    pub is_below_elsewhere: bool,
}

impl LinkAnswer {
    /// Reads a message of `RTM_NEWLINK`; `None` if it is too short.
    pub fn read(message: &Message) -> Option<Self> {
        let mut answer = Self {
            index: u32_at(&message.body, 4)?,
            name: String::new(),
            link: Link {
                mac: None,
                mtu: 0,
                is_up: u32_at(&message.body, 8)? & libc::IFF_UP.cast_unsigned() != 0,
                alias: None,
                makes_link_local: None,
                kind: LinkKind::Other(String::new()),
            },
            below: None,
            is_below_elsewhere: false,
        };
        for (number, value) in message.attributes(LINK_HEADER) {
            match number {
                IFLA_IFNAME => answer.name = text(value),
                IFLA_ADDRESS => answer.link.mac = <[u8; 6]>::try_from(value).ok().map(Mac),
                IFLA_MTU => answer.link.mtu = u32_at(value, 0).unwrap_or_default(),
                IFLA_IFALIAS => answer.link.alias = Some(text(value)),
                IFLA_AF_SPEC => answer.link.makes_link_local = makes_link_local(value),
                IFLA_LINK_NETNSID => answer.is_below_elsewhere = true,
                IFLA_LINKINFO => answer.read_info(value),
                _ => {}
            }
        }
        Some(answer)
    }

    /// The device under its name, the one below it named.
    pub fn named(mut self, names: &Names) -> (String, Link) {
        if let (LinkKind::Vxlan(vxlan), Some(below)) = (&mut self.link.kind, self.below) {
            let name = names.get(&below).filter(|_| !self.is_below_elsewhere);
            vxlan.device = Some(name.cloned().unwrap_or_else(|| format!("#{below}")));
        }
        (self.name, self.link)
    }

    fn read_info(&mut self, info: &[u8]) {
        let mut kind = String::new();
        let mut data = [].as_slice();
        for (number, value) in attributes(info) {
            match number {
                IFLA_INFO_KIND => kind = text(value),
                IFLA_INFO_DATA => data = value,
                _ => {}
            }
        }
        self.link.kind = match kind.as_str() {
            "veth" => LinkKind::Veth,
            "vxlan" => LinkKind::Vxlan(self.read_vxlan(data)),
            _ => LinkKind::Other(kind),
        };
    }

    fn read_vxlan(&mut self, data: &[u8]) -> Vxlan {
        let mut vxlan = Vxlan {
            vni: 0,
            port: 0,
            local: None,
            device: None,
            learns: false,
            unusual: BTreeMap::new(),
        };
        for (number, value) in attributes(data) {
            match number {
                IFLA_VXLAN_ID => vxlan.vni = u32_at(value, 0).unwrap_or_default(),
                IFLA_VXLAN_PORT => vxlan.port = value.try_into().map_or(0, u16::from_be_bytes),
                IFLA_VXLAN_LOCAL | IFLA_VXLAN_LOCAL6 => vxlan.local = ip(value).filter(|ip| !ip.is_unspecified()),
                IFLA_VXLAN_LINK => self.below = u32_at(value, 0).filter(|&index| index != 0),
                IFLA_VXLAN_LEARNING => vxlan.learns = value.first().is_some_and(|&learns| learns != 0),
                IFLA_VXLAN_GROUP | IFLA_VXLAN_GROUP6 => {
                    let remote = ip(value).filter(|ip| !ip.is_unspecified());
                    vxlan
                        .unusual
                        .extend(remote.map(|ip| ("remote".to_owned(), ip.to_string())));
                }
                number => vxlan.unusual.extend(unusual(number, value)),
            }
        }
        vxlan
    }
}

/// The settings of a vxlan that are numbers: the kernel's, the word of `ip -j -d link`, and what it is if nobody says anything.
const SETTINGS: [(u16, &str, u32); 22] = [
    (IFLA_VXLAN_AGEING, "ageing", 300),
    (IFLA_VXLAN_COLLECT_METADATA, "external", 0),
    (IFLA_VXLAN_DF, "df", 0),
    (IFLA_VXLAN_GBP, "gbp", 0),
    (IFLA_VXLAN_GPE, "gpe", 0),
    (IFLA_VXLAN_L2MISS, "l2miss", 0),
    (IFLA_VXLAN_L3MISS, "l3miss", 0),
    (IFLA_VXLAN_LABEL, "label", 0),
    (IFLA_VXLAN_LIMIT, "limit", 0),
    (IFLA_VXLAN_LOCALBYPASS, "localbypass", 1),
    (IFLA_VXLAN_PORT_RANGE, "port_range", 0),
    (IFLA_VXLAN_PROXY, "proxy", 0),
    (IFLA_VXLAN_REMCSUM_NOPARTIAL, "remcsum_nopartial", 0),
    (IFLA_VXLAN_REMCSUM_RX, "remcsum_rx", 0),
    (IFLA_VXLAN_REMCSUM_TX, "remcsum_tx", 0),
    (IFLA_VXLAN_RSC, "rsc", 0),
    (IFLA_VXLAN_TOS, "tos", 0),
    (IFLA_VXLAN_TTL, "ttl", 0),
    (IFLA_VXLAN_TTL_INHERIT, "ttl_inherit", 0),
    (IFLA_VXLAN_UDP_CSUM, "udp_csum", 1),
    (IFLA_VXLAN_UDP_ZERO_CSUM6_RX, "udp_zero_csum6_rx", 0),
    (IFLA_VXLAN_UDP_ZERO_CSUM6_TX, "udp_zero_csum6_tx", 0),
];

/// A setting that is not as usual; what is not known here is.
fn unusual(number: u16, value: &[u8]) -> Option<(String, String)> {
    let (_, word, usual) = SETTINGS.iter().find(|(known, ..)| *known == number)?;
    let number = match (number, value) {
        // A flag: it is there or it is not.
        (_, []) => 1,
        (_, [one]) => u32::from(*one),
        // In network order: two ports in one, and a flow label.
        (IFLA_VXLAN_PORT_RANGE | IFLA_VXLAN_LABEL, _) => u32_at(value, 0)?.to_be(),
        _ => u32_at(value, 0)?,
    };
    (number != *usual).then(|| ((*word).to_owned(), number.to_string()))
}

fn makes_link_local(families: &[u8]) -> Option<bool> {
    let (_, v6) = attributes(families).find(|(family, _)| *family == u16::from(AF_INET6))?;
    let (_, mode) = attributes(v6).find(|(number, _)| *number == IFLA_INET6_ADDR_GEN_MODE)?;
    Some(*mode.first()? != GENERATES_NONE)
}
