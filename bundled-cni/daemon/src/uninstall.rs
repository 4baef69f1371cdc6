//! Leaving a node as it was before us (SPEC.md, section 9.3). Errors are collected: what can be removed is.

use crate::{arguments::Places, attachments, counting, install, nft, sysctl_before};
use anyhow::{Result, bail};
use netcheck_cni::store::Store;
use netcheck_cni_intent::names::{NFT_TABLE, OVERLAY, OVERLAY_ALIAS, PROTOCOL, TABLE_MAIN, VETH_ALIAS_START};
use netcheck_node_state::{Change, Changer, NetState, snapshot, sysctl};
use std::{fs, io, path::Path};

/// Removes all that is ours.
///
/// # Errors
/// Pods are still wired and `evict` does not say that they are to lose their network; or, line by line, what could not be removed.
pub fn uninstall(places: &Places, evict: bool) -> Result<()> {
    let store = Store::at(&places.state);
    let known = attachments::known(&store)?;
    let finished = known.finished.iter().map(|one| one.key.to_string());
    let pods: Vec<String> = finished
        .chain(known.unreadable.keys().map(ToString::to_string))
        .collect();
    if !pods.is_empty() && !evict {
        bail!(
            "{} pods of this node are still wired; delete them first, or cut them off with --evict: {}",
            pods.len(),
            pods.join(", ")
        );
    }
    // First what makes a runtime bring new ones.
    let mut failed: Vec<String> = install::remove(places).iter().map(ToString::to_string).collect();
    failed.extend(kernel().err().map(|error| format!("{error:#}")));
    failed.extend(nft::delete(NFT_TABLE).err().map(|error| error.to_string()));
    failed.extend(counting::uninstall(&counting::root(places)));
    failed.extend(parameters(places));
    failed.extend(remove_state(&places.state));
    if !failed.is_empty() {
        bail!("{}", failed.join("\n"));
    }
    Ok(())
}

/// The folder is a mount of its own where we run as the node's Job, below a root that is read-only: emptied from here, it goes by its
/// name on the node.
fn remove_state(folder: &Path) -> Option<String> {
    let error = fs::remove_dir_all(folder)
        .err()
        .filter(|error| error.kind() != io::ErrorKind::NotFound)?;
    let is_empty = fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_none());
    let is_mount = matches!(
        error.kind(),
        io::ErrorKind::ResourceBusy | io::ErrorKind::ReadOnlyFilesystem
    );
    if !is_empty || !is_mount {
        return Some(format!("cannot remove {}: {error}", folder.display()));
    }
    let on_node = Path::new("/proc/1/root").join(folder.strip_prefix("/").unwrap_or(folder));
    if let Err(error) = fs::remove_dir(&on_node) {
        // It is empty, and after the next boot it is gone.
        tracing::info!(folder = %folder.display(), %error, "an empty folder stays");
    }
    None
}

/// Everything of ours in the node's network namespace, in the reverse of the order in which it is built.
fn kernel() -> Result<()> {
    let net = snapshot()?;
    let mut changer = Changer::open()?;
    let mut failed = Vec::new();
    for change in removals(&net) {
        if let Err(error) = changer.apply(&change) {
            failed.push(error.to_string());
        }
    }
    if !failed.is_empty() {
        bail!("{}", failed.join("\n"));
    }
    Ok(())
}

/// What goes with a device needs no change of its own.
fn removals(net: &NetState) -> Vec<Change> {
    let is_ours = |name: &str, alias: Option<&str>| match alias {
        Some(alias) => name == OVERLAY && alias == OVERLAY_ALIAS || alias.starts_with(VETH_ALIAS_START),
        None => false,
    };
    let routes = net
        .routes
        .iter()
        .filter(|route| route.protocol == PROTOCOL && route.table == TABLE_MAIN);
    let neighbours = net.neighbours.iter().filter(|neighbour| neighbour.protocol == PROTOCOL);
    let links = net
        .links
        .iter()
        .filter(|(name, link)| is_ours(name, link.alias.as_deref()));
    let routes = routes.cloned().map(Change::DeleteRoute);
    let neighbours = neighbours.cloned().map(Change::DeleteNeighbour);
    let links = links.map(|(name, _)| Change::DeleteLink(name.clone()));
    routes.chain(neighbours).chain(links).collect()
}

/// Puts kernel parameters back that still read what we wrote.
fn parameters(places: &Places) -> Vec<String> {
    let before = sysctl_before::all(&places.state);
    let ours = |key: &str| if key.ends_with(".accept_ra") { "2" } else { "1" };
    let changed = before
        .iter()
        .filter(|(key, _)| sysctl::read(key).is_ok_and(|now| now == ours(key)));
    changed
        .filter_map(|(key, value)| {
            let error = sysctl::write(key, value).err()?;
            // A device's parameters go with it.
            (error.kind() != io::ErrorKind::NotFound).then(|| format!("cannot set {key} back to {value}: {error}"))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use netcheck_node_state::{Link, LinkKind, Route, RouteKind};

    fn link(alias: Option<&str>) -> Link {
        Link {
            mac: None,
            mtu: 1500,
            is_up: true,
            alias: alias.map(str::to_owned),
            makes_link_local: None,
            kind: LinkKind::Veth,
        }
    }

    fn route(destination: &str, protocol: u8, table: u32) -> Route {
        Route {
            table,
            destination: destination.parse().unwrap(),
            metric: 0,
            kind: RouteKind::Unicast,
            gateway: None,
            device: None,
            scope: 0,
            protocol,
            mtu: None,
            is_onlink: false,
            next_hops: Vec::new(),
            source: None,
        }
    }

    #[test]
    fn only_what_bears_our_mark_goes() {
        let mut net = NetState::default();
        for (name, alias) in [
            ("ncvx0", Some("netcheck-cni v1")),
            ("nc53ffe5c7906", Some("netcheck-cni netcheck@a@eth0 d/p")),
            ("nc00000000000", None),
            ("eth0", Some("uplink")),
        ] {
            net.links.insert(name.to_owned(), link(alias));
        }
        for (protocol, table) in [(PROTOCOL, 254), (PROTOCOL, 100), (4, 254)] {
            net.routes.insert(route("10.244.1.0/24", protocol, table));
        }
        assert_eq!(
            removals(&net),
            [
                Change::DeleteRoute(route("10.244.1.0/24", PROTOCOL, 254)),
                Change::DeleteLink("nc53ffe5c7906".to_owned()),
                Change::DeleteLink("ncvx0".to_owned()),
            ]
        );
        net.links.insert("ncvx0".to_owned(), link(Some("somebody's")));
        assert_eq!(removals(&net).len(), 2);
    }
}
