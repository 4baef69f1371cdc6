//! Making, changing and removing network devices.

use super::{ChangeError, Changer, Deed, Refusal};
use crate::{
    LinkKind, LinkSetting, Mac, Netns, Vxlan,
    numbers::{
        AF_INET6, GENERATES_EUI64, GENERATES_NONE, IFLA_ADDRESS, IFLA_AF_SPEC, IFLA_IFALIAS, IFLA_IFNAME,
        IFLA_INET6_ADDR_GEN_MODE, IFLA_INFO_DATA, IFLA_INFO_KIND, IFLA_LINKINFO, IFLA_MTU, IFLA_NET_NS_FD,
        IFLA_VXLAN_AGEING, IFLA_VXLAN_DF, IFLA_VXLAN_GROUP, IFLA_VXLAN_GROUP6, IFLA_VXLAN_ID, IFLA_VXLAN_LABEL,
        IFLA_VXLAN_LEARNING, IFLA_VXLAN_LINK, IFLA_VXLAN_LOCAL, IFLA_VXLAN_LOCAL6, IFLA_VXLAN_PORT, IFLA_VXLAN_TOS,
        IFLA_VXLAN_TTL, NLM_F_CREATE, NLM_F_EXCL, RTM_DELLINK, RTM_NEWLINK, RTM_SETLINK, VETH_INFO_PEER,
    },
    snapshot::LinkAnswer,
    wire::{LINK_HEADER, Message, attribute, ip_bytes},
};
use std::{net::IpAddr, os::fd::AsRawFd as _};

/// One end of a pair of interfaces that is to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VethEnd {
    /// Its name.
    pub name: String,
    /// Its hardware address.
    pub mac: Mac,
    /// In bytes.
    pub mtu: u32,
}

/// Why a pair of interfaces was not made.
#[derive(Debug, thiserror::Error)]
pub enum CreateVethError {
    /// A device with the name of the near end is in this namespace.
    #[error("the near end's name is taken: {0}")]
    NearNameTaken(ChangeError),
    /// A device with the name of the far end is in the other namespace.
    #[error("the far end's name is taken: {0}")]
    FarNameTaken(ChangeError),
    /// Anything else.
    #[error(transparent)]
    Other(#[from] ChangeError),
}

impl Changer {
    /// Makes a pair of interfaces, both down: one end here and the other inside another namespace, each with its final name from the start.
    /// The kernel makes both or neither.
    pub fn create_veth(&mut self, near: &VethEnd, far: &VethEnd, far_netns: &Netns) -> Result<(), CreateVethError> {
        let deed = || Deed::new("link add", format!("veth {} with peer {}", near.name, far.name));
        let result = far_netns.with_fd(|fd| {
            let peer = with_end(Message::new(RTM_NEWLINK, &[0; LINK_HEADER]), far)
                .with(IFLA_NET_NS_FD, &fd.as_raw_fd().to_ne_bytes());
            let request = with_end(Message::new(RTM_NEWLINK, &[0; LINK_HEADER]), near)
                .with_nested(IFLA_LINKINFO, &info("veth", &attribute(VETH_INFO_PEER, &peer.body)));
            self.send(&request, NLM_F_CREATE | NLM_F_EXCL)
        });
        let Err(refusal) = result.map_err(|error| (error, None)).flatten() else {
            self.indices.remove(&near.name);
            return Ok(());
        };
        let error = deed().failed(refusal);
        if !error.is_exists() {
            return Err(error.into());
        }
        // The kernel says the same of both names.
        match self.link(&near.name) {
            Ok(_) => Err(CreateVethError::NearNameTaken(error)),
            Err(_) => Err(CreateVethError::FarNameTaken(error)),
        }
    }

    /// Changes several things about a device with as few requests as there can be. It is set up last, and whether the kernel makes
    /// link-local addresses is settled before: the kernel makes one as soon as the device is up.
    ///
    /// That no link-local addresses are to be made holds of a device without IPv6 as it is.
    pub fn set_link(&mut self, name: &str, settings: &[LinkSetting]) -> Result<(), ChangeError> {
        let mut request = Message::new(RTM_SETLINK, &link_header(false)).with_text(IFLA_IFNAME, name);
        let bare = request.body.len();
        let mut makes_link_local = None;
        let mut is_up = false;
        let mut vxlan = Vec::new();
        for setting in settings {
            request = match setting {
                LinkSetting::Mac(mac) => request.with(IFLA_ADDRESS, &mac.0),
                LinkSetting::Mtu(mtu) => request.with(IFLA_MTU, &mtu.to_ne_bytes()),
                LinkSetting::Alias(alias) => request.with(IFLA_IFALIAS, alias.as_bytes()),
                LinkSetting::Up => {
                    is_up = true;
                    request
                }
                LinkSetting::MakesLinkLocal(makes) => {
                    makes_link_local = Some(*makes);
                    request
                }
                LinkSetting::VxlanSource { .. } | LinkSetting::VxlanLearns(_) | LinkSetting::VxlanUsual { .. } => {
                    vxlan.push(setting);
                    request
                }
            };
        }
        let result = self.set_in_order(name, &request, bare, makes_link_local, is_up);
        Deed::new("link set", name).done(result, &[])?;
        vxlan.into_iter().try_for_each(|setting| self.set_vxlan(name, setting))
    }

    fn set_in_order(
        &mut self,
        name: &str,
        request: &Message,
        bare: usize,
        makes_link_local: Option<bool>,
        is_up: bool,
    ) -> Result<(), Refusal> {
        let is_empty = request.body.len() == bare;
        match makes_link_local {
            Some(makes) => match self.send(&with_address_generation(request.clone(), makes), 0) {
                Err((error, _)) if !makes && error.raw_os_error() == Some(libc::EAFNOSUPPORT) => {
                    self.send(request, 0)?;
                }
                other => other?,
            },
            None if is_empty && !is_up => return Ok(()),
            None if is_empty => {}
            None => self.send(request, 0)?,
        }
        if is_up {
            let request = Message::new(RTM_SETLINK, &link_header(true)).with_text(IFLA_IFNAME, name);
            self.send(&request, 0)?;
        }
        Ok(())
    }

    /// Removes a device; one end of a pair takes the other along.
    pub fn delete_link(&mut self, name: &str) -> Result<(), ChangeError> {
        self.indices.remove(name);
        let request = Message::new(RTM_DELLINK, &link_header(false)).with_text(IFLA_IFNAME, name);
        let result = self.send(&request, 0);
        Deed::new("link delete", name).done(result, &[libc::ENODEV])
    }

    pub(super) fn create_vxlan(
        &mut self,
        name: &str,
        mac: Mac,
        mtu: u32,
        alias: &str,
        vxlan: &Vxlan,
    ) -> Result<(), ChangeError> {
        let devices: Vec<&str> = vxlan.device.iter().map(String::as_str).collect();
        let result = self.send_on(&devices, NLM_F_CREATE | NLM_F_EXCL, |indices| {
            let mut data = attribute(IFLA_VXLAN_ID, &vxlan.vni.to_ne_bytes());
            data.extend(attribute(IFLA_VXLAN_PORT, &vxlan.port.to_be_bytes()));
            data.extend(vxlan_source(vxlan.local, indices.first().copied()));
            data.extend(attribute(IFLA_VXLAN_LEARNING, &[vxlan.learns.into()]));
            Message::new(RTM_NEWLINK, &link_header(false))
                .with_text(IFLA_IFNAME, name)
                .with(IFLA_ADDRESS, &mac.0)
                .with(IFLA_MTU, &mtu.to_ne_bytes())
                .with_nested(IFLA_LINKINFO, &info("vxlan", &data))
        });
        // The kernel takes neither of these two while it makes a device.
        let mut settings = vec![LinkSetting::Alias(alias.to_owned()), LinkSetting::MakesLinkLocal(false)];
        match result {
            Ok(()) => drop(self.indices.remove(name)),
            Err(refusal) => {
                let error = Deed::new("link add", format!("vxlan {name}")).failed(refusal);
                if !error.is_exists() || !self.is_ours(name, alias, vxlan) {
                    return Err(error);
                }
                if let (Some(local), Some(device)) = (vxlan.local, &vxlan.device) {
                    let device = device.clone();
                    settings.push(LinkSetting::VxlanSource { local, device });
                    settings.push(LinkSetting::VxlanUsual { local });
                }
                settings.push(LinkSetting::VxlanLearns(vxlan.learns));
                settings.extend([LinkSetting::Mac(mac), LinkSetting::Mtu(mtu)]);
            }
        }
        self.set_link(name, &settings)
    }

    /// Whether a device is the wanted one, made before and perhaps not finished: what cannot be changed about it is as it should be.
    fn is_ours(&mut self, name: &str, alias: &str, wanted: &Vxlan) -> bool {
        let Some(found) = self.link(name).ok().as_ref().and_then(LinkAnswer::read) else {
            return false;
        };
        let is_same = matches!(&found.link.kind, LinkKind::Vxlan(there)
            if there.vni == wanted.vni && there.port == wanted.port
                && there.local.map(|ip| ip.is_ipv4()) == wanted.local.map(|ip| ip.is_ipv4()));
        is_same && found.link.alias.is_none_or(|there| there == alias)
    }

    fn set_vxlan(&mut self, name: &str, setting: &LinkSetting) -> Result<(), ChangeError> {
        let devices: Vec<&str> = match setting {
            LinkSetting::VxlanSource { device, .. } => vec![device],
            _ => vec![],
        };
        // Only RTM_NEWLINK reaches the driver's own settings.
        let result = self.send_on(&devices, 0, |indices| {
            let data = match setting {
                LinkSetting::VxlanSource { local, .. } => vxlan_source(Some(*local), indices.first().copied()),
                LinkSetting::VxlanLearns(learns) => attribute(IFLA_VXLAN_LEARNING, &[(*learns).into()]),
                LinkSetting::VxlanUsual { local } => usual_vxlan(*local),
                _ => vec![],
            };
            Message::new(RTM_NEWLINK, &link_header(false))
                .with_text(IFLA_IFNAME, name)
                .with_nested(IFLA_LINKINFO, &info("vxlan", &data))
        });
        Deed::new("link set", format!("vxlan {name}")).done(result, &[])
    }
}

/// `struct ifinfomsg`, for a device that is named by attribute.
fn link_header(sets_up: bool) -> [u8; LINK_HEADER] {
    let mut header = [0; LINK_HEADER];
    if sets_up {
        let up = (libc::IFF_UP.cast_unsigned()).to_ne_bytes();
        header[8..12].copy_from_slice(&up);
        header[12..16].copy_from_slice(&up);
    }
    header
}

fn with_end(message: Message, end: &VethEnd) -> Message {
    message
        .with_text(IFLA_IFNAME, &end.name)
        .with(IFLA_ADDRESS, &end.mac.0)
        .with(IFLA_MTU, &end.mtu.to_ne_bytes())
}

fn with_address_generation(message: Message, makes_link_local: bool) -> Message {
    let mode = if makes_link_local {
        GENERATES_EUI64
    } else {
        GENERATES_NONE
    };
    let family = attribute(u16::from(AF_INET6), &attribute(IFLA_INET6_ADDR_GEN_MODE, &[mode]));
    message.with_nested(IFLA_AF_SPEC, &family)
}

/// The inside of `IFLA_LINKINFO`.
fn info(kind: &str, data: &[u8]) -> Vec<u8> {
    let mut info = attribute(IFLA_INFO_KIND, kind.as_bytes());
    info.extend(attribute(IFLA_INFO_DATA, data));
    info
}

/// What a new device has of what can be changed.
fn usual_vxlan(local: IpAddr) -> Vec<u8> {
    let (group, nowhere): (u16, &[u8]) = match local {
        IpAddr::V4(_) => (IFLA_VXLAN_GROUP, &[0; 4]),
        IpAddr::V6(_) => (IFLA_VXLAN_GROUP6, &[0; 16]),
    };
    let mut data = attribute(group, nowhere);
    for number in [IFLA_VXLAN_TTL, IFLA_VXLAN_TOS, IFLA_VXLAN_DF] {
        data.extend(attribute(number, &[0]));
    }
    data.extend(attribute(IFLA_VXLAN_LABEL, &[0; 4]));
    data.extend(attribute(IFLA_VXLAN_AGEING, &300_u32.to_ne_bytes()));
    data
}

fn vxlan_source(local: Option<IpAddr>, device: Option<u32>) -> Vec<u8> {
    let mut data = Vec::new();
    if let Some(local) = local {
        let number = match local {
            IpAddr::V4(_) => IFLA_VXLAN_LOCAL,
            IpAddr::V6(_) => IFLA_VXLAN_LOCAL6,
        };
        data.extend(attribute(number, &ip_bytes(local)));
    }
    if let Some(device) = device {
        data.extend(attribute(IFLA_VXLAN_LINK, &device.to_ne_bytes()));
    }
    data
}
