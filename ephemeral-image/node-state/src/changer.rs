//! Changing a network namespace: one netlink socket, one request after the other, each acknowledged by the kernel.

mod entries;
mod links;
mod questions;

pub use links::{CreateVethError, VethEnd};

use crate::{
    Change, Link,
    netlink::{Channel, Refusal},
    netns::current_inode,
    numbers::{IFLA_EXT_MASK, IFLA_IFNAME, RTEXT_FILTER_SKIP_STATS, RTM_GETLINK},
    snapshot::{LinkAnswer, Names},
    sysctl,
    wire::{LINK_HEADER, Message, u32_at},
};
use netlink_sys::protocols::NETLINK_ROUTE;
use std::{collections::HashMap, fmt, io};

/// A change that the kernel, or what stands before it, did not make.
#[derive(Debug)]
pub struct ChangeError {
    /// What was to be done: `route replace`.
    pub operation: &'static str,
    /// To what: `10.244.3.0/24 table 254 metric 0`.
    pub object: String,
    /// Why not.
    pub source: io::Error,
    /// The kernel's own words (extended acknowledgement), where it has some.
    pub said: Option<String>,
}

impl ChangeError {
    /// The error number of the kernel's answer, as in errno(3).
    pub fn errno(&self) -> Option<i32> {
        self.source.raw_os_error()
    }

    /// Whether the thing is there already (`EEXIST`).
    pub fn is_exists(&self) -> bool {
        self.errno() == Some(libc::EEXIST)
    }
}

impl fmt::Display for ChangeError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}: {}", self.operation, self.object, self.source)?;
        match &self.said {
            Some(said) => write!(formatter, ": {}", said.trim_end_matches('.')),
            None => Ok(()),
        }
    }
}

impl std::error::Error for ChangeError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

/// What is done to what, for errors.
#[derive(Debug)]
struct Deed {
    operation: &'static str,
    object: String,
}

impl Deed {
    fn new(operation: &'static str, object: impl Into<String>) -> Self {
        let object = object.into();
        Self { operation, object }
    }

    fn failed(self, (source, said): Refusal) -> ChangeError {
        ChangeError {
            operation: self.operation,
            object: self.object,
            source,
            said,
        }
    }

    /// The result of a request, where the errors `fine` mean that things are already as wanted.
    fn done(self, result: Result<(), Refusal>, fine: &[i32]) -> Result<(), ChangeError> {
        match result {
            Err((source, _)) if source.raw_os_error().is_some_and(|errno| fine.contains(&errno)) => Ok(()),
            other => other.map_err(|refusal| self.failed(refusal)),
        }
    }
}

/// Changes the network namespace in which it was opened.
///
/// It remembers the devices' numbers that it has looked up, and asks anew where the kernel no longer knows one. So it is for one pass: a
/// device that is renamed while another takes its name would be mistaken.
#[derive(Debug)]
pub struct Changer {
    channel: Channel,
    indices: HashMap<String, u32>,
    /// Inode of the namespace: what is not done through the socket must be done in the same.
    netns: u64,
}

impl Changer {
    /// Opens a socket in the calling thread's network namespace; it stays there wherever it is used, except that kernel parameters can only
    /// be written by a thread inside ([`Change::WriteSysctl`]). Changing needs `CAP_NET_ADMIN` there.
    pub fn open() -> Result<Self, ChangeError> {
        let open = || -> io::Result<Self> {
            Ok(Self {
                channel: Channel::open(NETLINK_ROUTE)?,
                indices: HashMap::new(),
                netns: current_inode()?,
            })
        };
        open().map_err(|source| Deed::new("netlink open", "route socket").failed((source, None)))
    }

    /// Makes one change. Adding what is there already and removing what is gone succeed.
    pub fn apply(&mut self, change: &Change) -> Result<(), ChangeError> {
        match change {
            Change::CreateVxlan {
                name,
                mac,
                mtu,
                alias,
                vxlan,
            } => self.create_vxlan(name, *mac, *mtu, alias, vxlan),
            Change::SetLink { name, set } => self.set_link(name, std::slice::from_ref(set)),
            Change::DeleteLink(name) => self.delete_link(name),
            Change::AddAddress(address) => self.add_address(address),
            Change::DeleteAddress(address) => self.delete_address(address),
            Change::ReplaceRoute(route) => self.replace_route(route),
            Change::DeleteRoute(route) => self.delete_route(route),
            Change::ReplaceNeighbour(neighbour) => self.replace_neighbour(neighbour),
            Change::DeleteNeighbour(neighbour) => self.delete_neighbour(neighbour),
            Change::ReplaceFdb(entry) => self.replace_fdb(entry),
            Change::DeleteFdb(entry) => self.delete_fdb(entry),
            Change::WriteSysctl { key, value } => self.write_sysctl(key, value),
        }
    }

    /// Reads one device without reading all; `None` if there is none of this name.
    pub fn find_link(&mut self, name: &str) -> Result<Option<Link>, ChangeError> {
        let mut find = || -> Result<Option<Link>, Refusal> {
            let Some(found) = none_if_absent(self.link(name))?.as_ref().and_then(LinkAnswer::read) else {
                return Ok(None);
            };
            let mut names = Names::new();
            if let Some(below) = found.below {
                let mut fixed = [0; LINK_HEADER];
                fixed[4..8].copy_from_slice(&below.to_ne_bytes());
                let answer = none_if_absent(self.ask_for_link(Message::new(RTM_GETLINK, &fixed)))?;
                names.extend(
                    answer
                        .as_ref()
                        .and_then(LinkAnswer::read)
                        .map(|below| (below.index, below.name)),
                );
            }
            Ok(Some(found.named(&names).1))
        };
        find().map_err(|refusal| Deed::new("link read", name).failed(refusal))
    }

    fn write_sysctl(&self, key: &str, value: &str) -> Result<(), ChangeError> {
        let write = || {
            // /proc/sys/net shows the namespace of whoever looks, not that of the socket.
            if current_inode()? != self.netns {
                let said = "the calling thread is in another network namespace";
                return Err(io::Error::other(said));
            }
            sysctl::write(key, value)
        };
        write().map_err(|source| Deed::new("sysctl write", key).failed((source, None)))
    }

    /// Sends a request that names devices by number, and waits for the acknowledgement. A number that was remembered and is no longer valid
    /// is looked up once more.
    fn send_on(&mut self, devices: &[&str], flags: u16, build: impl Fn(&[u32]) -> Message) -> Result<(), Refusal> {
        let remembered = devices.iter().any(|device| self.indices.contains_key(*device));
        let first = self.try_on(devices, flags, &build);
        match first {
            Err((error, _)) if remembered && error.raw_os_error() == Some(libc::ENODEV) => {
                for device in devices {
                    self.indices.remove(*device);
                }
                self.try_on(devices, flags, &build)
            }
            other => other,
        }
    }

    fn try_on(&mut self, devices: &[&str], flags: u16, build: &impl Fn(&[u32]) -> Message) -> Result<(), Refusal> {
        let mut indices = Vec::with_capacity(devices.len());
        for device in devices {
            indices.push(self.index(device)?);
        }
        self.send(&build(&indices), flags)
    }

    /// The number of a device.
    fn index(&mut self, name: &str) -> Result<u32, Refusal> {
        if let Some(index) = self.indices.get(name) {
            return Ok(*index);
        }
        let answer = self.link(name).map_err(|(error, said)| {
            let said = match error.raw_os_error() {
                Some(libc::ENODEV) => Some(format!("no device {name} is here")),
                _ => said,
            };
            (error, said)
        })?;
        let index = u32_at(&answer.body, 4).unwrap_or_default();
        self.indices.insert(name.to_owned(), index);
        Ok(index)
    }

    /// What the kernel says about one device, without its counters.
    fn link(&mut self, name: &str) -> Result<Message, Refusal> {
        self.ask_for_link(Message::new(RTM_GETLINK, &[0; LINK_HEADER]).with_text(IFLA_IFNAME, name))
    }

    fn ask_for_link(&mut self, request: Message) -> Result<Message, Refusal> {
        let request = request.with(IFLA_EXT_MASK, &RTEXT_FILTER_SKIP_STATS.to_ne_bytes());
        let answer = self.exchange(&request, 0)?;
        answer.ok_or_else(|| (io::Error::from_raw_os_error(libc::ENODEV), None))
    }

    fn send(&mut self, request: &Message, flags: u16) -> Result<(), Refusal> {
        self.exchange(request, flags).map(|_| ())
    }

    fn exchange(&mut self, request: &Message, flags: u16) -> Result<Option<Message>, Refusal> {
        self.channel.exchange(request, flags)
    }
}

fn none_if_absent(found: Result<Message, Refusal>) -> Result<Option<Message>, Refusal> {
    match found {
        Err((error, _)) if error.raw_os_error() == Some(libc::ENODEV) => Ok(None),
        other => other.map(Some),
    }
}
