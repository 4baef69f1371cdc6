//! The kernel steps of ADD, and what takes them back (SPEC.md 7.3).

use crate::{
    Code, Failure,
    attachment::{Attachment, host_end, pod_end},
    steps::Step,
};
use netcheck_cni_intent::{
    AttachmentKey,
    objects::{host_neighbours, host_routes, pod_addresses, pod_neighbours, pod_routes},
};
use netcheck_node_state::{
    Change, ChangeError, Changer, CreateVethError, LinkKind, LinkSetting, Netns, NetnsError, sysctl, within,
};
use std::{
    io,
    net::IpAddr,
    path::Path,
    thread,
    time::{Duration, Instant},
};

/// How long to wait for the kernel's worker threads, which mostly take less than a millisecond.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long between two looks.
const LOOK_AGAIN: Duration = Duration::from_micros(200);

/// Why a pod was not wired.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// The pod has an interface of that name.
    #[error("{0} exists in the pod's network namespace already")]
    InterfaceExists(String),
    /// The node has a device of that name that is not ours.
    #[error("{name} on this node is not a veth of {key}; remove or rename it")]
    NameTaken {
        /// The device.
        name: String,
        /// Whom it should belong to.
        key: String,
    },
    /// The node has a route to that address: a pod has it, though no file says so.
    #[error("this node has a route to {0} already, though no file says whose it is")]
    AddressInUse(IpAddr),
    /// The pod does not get to use its address.
    #[error("the kernel has not put {0} into use in the pod within {limit} s", limit = PATIENCE.as_secs())]
    Unsettled(IpAddr),
    /// The kernel refused.
    #[error("{0}")]
    Kernel(#[from] ChangeError),
    /// The namespace cannot be worked in.
    #[error("{0}")]
    Namespace(#[from] NetnsError),
    /// A kernel parameter could not be read or written.
    #[error("kernel parameter {key}: {source}")]
    Sysctl {
        /// Which.
        key: String,
        /// The error of the system call.
        source: io::Error,
    },
}

impl From<WireError> for Failure {
    fn from(error: WireError) -> Self {
        let code = match &error {
            WireError::InterfaceExists(_) => Code::INTERFACE_EXISTS,
            WireError::NameTaken { .. } => Code::NAME_TAKEN,
            WireError::AddressInUse(_) => Code::AGAIN,
            _ => Code::KERNEL,
        };
        Self::new(code, error)
    }
}

/// A pod's network namespace, open, with a socket inside.
#[derive(Debug)]
pub struct Sandbox {
    netns: Netns,
    changer: Changer,
}

impl Sandbox {
    /// Opens it.
    ///
    /// # Errors
    /// [`Code::ENVIRONMENT`] if the file is no network namespace, [`Code::OWN_NETNS`] if it is the plugin's own and may not be.
    pub fn open(path: &Path, may_be_own: bool) -> Result<Self, Failure> {
        let no_netns = |error: &dyn std::fmt::Display| {
            let what = format!("CNI_NETNS {} is no network namespace: {error}", path.display());
            Failure::new(Code::ENVIRONMENT, what)
        };
        if crate::attachment::netns_identity(path).is_none() {
            return Err(no_netns(&"it is missing, or a file of another kind"));
        }
        let netns = Netns::open(path).map_err(|error| no_netns(&error))?;
        let own = Netns::own().map_err(WireError::from)?;
        if netns.inode() == own.inode() && !may_be_own {
            let what = format!(
                "CNI_NETNS {} is the plugin's own namespace, not a pod's",
                path.display()
            );
            return Err(Failure::new(Code::OWN_NETNS, what));
        }
        match within(&netns, Changer::open) {
            Ok(changer) => {
                let changer = changer.map_err(WireError::from)?;
                Ok(Self { netns, changer })
            }
            // A namespace of another kind: setns(2) says EINVAL.
            Err(NetnsError::Enter(error)) if error.kind() == io::ErrorKind::InvalidInput => Err(no_netns(&error)),
            Err(error) => Err(WireError::from(error).into()),
        }
    }

    /// The namespace.
    pub fn netns(&self) -> &Netns {
        &self.netns
    }

    /// Refuses a pod that has an interface of this name.
    pub fn must_not_have(&mut self, if_name: &str) -> Result<(), WireError> {
        match self.changer.find_link(if_name)? {
            Some(_) => Err(WireError::InterfaceExists(if_name.to_owned())),
            None => Ok(()),
        }
    }

    /// Sets an interface up or down.
    pub fn set_up(&mut self, if_name: &str) -> Result<(), WireError> {
        Ok(self.changer.set_link(if_name, &[LinkSetting::Up])?)
    }

    /// Steps 4 to 6: gives the pod all that an attachment consists of. What was made before an error is left for [`unwire`].
    pub fn wire(&mut self, attachment: &Attachment) -> Result<(), WireError> {
        let mut host = Changer::open()?;
        self.make_pair(&mut host, attachment)?;
        Step::AddVeth.done();
        let veth = attachment.host_veth.as_str();
        let alias = LinkSetting::Alias(attachment.key().alias(&attachment.pod));
        host.set_link(veth, &[alias, LinkSetting::MakesLinkLocal(false)])?;
        Step::AddAlias.done();
        self.fill_pod(attachment)?;
        Step::AddPodSide.done();
        let_forward(attachment)?;
        host.set_link(veth, &[LinkSetting::Up])?;
        Step::AddHostUp.done();
        for neighbour in host_neighbours(veth, &attachment.ips, attachment.mac) {
            host.apply(&Change::ReplaceNeighbour(neighbour))?;
        }
        for route in host_routes(veth, &attachment.ips) {
            host.add_route_exclusively(&route).map_err(|error| {
                if error.is_exists() {
                    WireError::AddressInUse(route.destination.addr())
                } else {
                    error.into()
                }
            })?;
        }
        self.settle(attachment)?;
        Step::AddHostSide.done();
        Ok(())
    }

    /// Waits for what the kernel does by and by. Else the pod's first packets are lost, and with them, say, five seconds until it asks
    /// again for a name.
    fn settle(&mut self, attachment: &Attachment) -> Result<(), WireError> {
        self.changer.settle_link(&attachment.if_name)?;
        let deadline = Instant::now() + PATIENCE;
        for ip in &attachment.ips {
            while !self.changer.takes_in(*ip)? {
                if Instant::now() >= deadline {
                    return Err(WireError::Unsettled(*ip));
                }
                thread::sleep(LOOK_AGAIN);
            }
        }
        Ok(())
    }

    fn make_pair(&self, host: &mut Changer, attachment: &Attachment) -> Result<(), WireError> {
        let (near, far) = (host_end(attachment), pod_end(attachment));
        let make = |host: &mut Changer| match host.create_veth(&near, &far, &self.netns) {
            Err(CreateVethError::FarNameTaken(_)) => Err(WireError::InterfaceExists(far.name.clone())),
            Err(CreateVethError::Other(error)) => Err(error.into()),
            Err(CreateVethError::NearNameTaken(_)) => Ok(false),
            Ok(()) => Ok(true),
        };
        if make(host)? {
            return Ok(());
        }
        // One of this attachment whose file was lost: its ADD died, or the folder did.
        let key = attachment.key();
        if unwire_with(host, &key)? && make(host)? {
            return Ok(());
        }
        Err(WireError::NameTaken {
            name: near.name.clone(),
            key: key.to_string(),
        })
    }

    fn fill_pod(&mut self, attachment: &Attachment) -> Result<(), WireError> {
        let (if_name, ips) = (attachment.if_name.as_str(), &attachment.ips);
        if ips.iter().any(IpAddr::is_ipv6) {
            let key = parameter("ipv6", if_name, "disable_ipv6");
            within(&self.netns, || set_where(&key, "1", "0"))??;
        }
        self.changer.set_link(if_name, &[LinkSetting::Up])?;
        for address in pod_addresses(if_name, ips) {
            self.changer.apply(&Change::AddAddress(address))?;
        }
        for neighbour in pod_neighbours(if_name, ips) {
            self.changer.apply(&Change::ReplaceNeighbour(neighbour))?;
        }
        for route in pod_routes(if_name, ips, attachment.route_mtu) {
            self.changer.apply(&Change::ReplaceRoute(route))?;
        }
        Ok(())
    }
}

/// Removes the host veth of an attachment, and with it its other end and all routes and neighbours. It is known by its name, and is removed
/// only if it is a veth whose alias names this attachment, or that has none yet.
///
/// Says whether nothing of that name is left.
pub fn unwire(key: &AttachmentKey) -> Result<bool, WireError> {
    unwire_with(&mut Changer::open()?, key)
}

fn unwire_with(host: &mut Changer, key: &AttachmentKey) -> Result<bool, WireError> {
    let name = key.host_veth();
    let Some(link) = host.find_link(&name)? else {
        return Ok(true);
    };
    let is_ours = link.kind == LinkKind::Veth && link.alias.is_none_or(|alias| key.is_in_alias(&alias));
    if is_ours {
        host.delete_link(&name)?;
    }
    Ok(is_ours)
}

/// A node that is hardened by `default.forwarding=0` would forward nothing from a new device.
fn let_forward(attachment: &Attachment) -> Result<(), WireError> {
    for (family, is_used) in [
        ("ipv4", attachment.ips.iter().any(IpAddr::is_ipv4)),
        ("ipv6", attachment.ips.iter().any(IpAddr::is_ipv6)),
    ] {
        if is_used {
            set_where(&parameter(family, &attachment.host_veth, "forwarding"), "0", "1")?;
        }
    }
    Ok(())
}

/// A device's parameter; a dot in its name is a slash, as for sysctl(8).
fn parameter(family: &str, device: &str, name: &str) -> String {
    format!("net.{family}.conf.{}.{name}", device.replace('.', "/"))
}

/// Changes a kernel parameter that has a value which is in the way; one that this kernel does not have is not.
fn set_where(key: &str, in_the_way: &str, value: &str) -> Result<(), WireError> {
    let failed = |source| WireError::Sysctl {
        key: key.to_owned(),
        source,
    };
    match sysctl::read(key) {
        Ok(now) if now == in_the_way => sysctl::write(key, value).map_err(failed),
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(error)),
        _ => Ok(()),
    }
}
