//! What the calling thread's network namespace holds, as a record has it.

use super::Space;
use crate::{
    netlink::DumpError,
    netns::current_inode,
    snapshot::{rules, snapshot_with_devices, traffic_control},
    sysctl,
};
use std::{collections::BTreeMap, io};

/// Why a namespace was not read.
#[derive(Debug, thiserror::Error)]
pub enum SpaceError {
    /// One of its tables was not.
    #[error(transparent)]
    Table(#[from] DumpError),
    /// It has no number.
    #[error("cannot tell the network namespace's number: {0}")]
    Inode(io::Error),
}

/// Reads the calling thread's network namespace, with the kernel parameters that these patterns name: as sysctl(8) writes them, where a part
/// that is `*` stands for each device and for `all` and `default`. What is not there or cannot be read is left out.
pub fn space<T: AsRef<str>>(sysctls: &[T]) -> Result<Space, SpaceError> {
    let inode = current_inode().map_err(SpaceError::Inode)?;
    let (net, devices) = snapshot_with_devices()?;
    let names: Vec<&str> = devices.keys().map(String::as_str).collect();
    let mut read = BTreeMap::new();
    for key in sysctls.iter().flat_map(|pattern| keys(pattern.as_ref(), &names)) {
        if let Ok(value) = sysctl::read(&key) {
            read.insert(key, value);
        }
    }
    let numbered = devices.iter().map(|(name, device)| (device.index, name.clone()));
    let (qdiscs, filters) = traffic_control(&numbered.collect())?;
    Ok(Space {
        inode,
        net,
        rules: rules()?,
        devices,
        qdiscs,
        filters,
        sysctls: read,
    })
}

/// The parameters that a pattern stands for.
fn keys(pattern: &str, devices: &[&str]) -> Vec<String> {
    if !pattern.split('.').any(|part| part == "*") {
        return vec![pattern.to_owned()];
    }
    let names = devices.iter().map(|name| name.replace('.', "/"));
    let all = ["all", "default"].map(str::to_owned);
    let put = |name: String| {
        let parts = pattern.split('.').map(|part| if part == "*" { &name } else { part });
        parts.collect::<Vec<_>>().join(".")
    };
    all.into_iter().chain(names).map(put).collect()
}

#[cfg(test)]
mod tests {
    use super::keys;

    #[test]
    fn a_star_is_each_device() {
        assert_eq!(keys("net.ipv4.ip_forward", &["eth0"]), ["net.ipv4.ip_forward"]);
        assert_eq!(
            keys("net.ipv4.conf.*.rp_filter", &["eth0.1", "lo"]),
            [
                "net.ipv4.conf.all.rp_filter",
                "net.ipv4.conf.default.rp_filter",
                "net.ipv4.conf.eth0/1.rp_filter",
                "net.ipv4.conf.lo.rp_filter"
            ]
        );
        assert_eq!(keys("net.ipv4.conf.eth*.rp_filter", &["eth0"]).len(), 1);
    }
}
