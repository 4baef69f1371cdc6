//! The way from a node to a peer (SPEC.md, section 4): one decision for a pair, from data that both sides have.

use crate::{
    census::{Member, Reason},
    config::Backend,
    family::Family,
};

/// How packets get to a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// In the tunnel.
    Vxlan,
    /// With the peer as gateway.
    Direct,
}

/// The way between two accepted nodes, or why there is none. Symmetric.
pub fn way(a: &Member<'_>, b: &Member<'_>, backend: Backend) -> Result<Way, Reason> {
    if a.underlay != b.underlay {
        return Err(Reason::NoCommonUnderlay);
    }
    match backend {
        Backend::Auto | Backend::HostGw if share_links(a, b) => Ok(Way::Direct),
        Backend::Vxlan | Backend::Auto => Ok(Way::Vxlan),
        Backend::HostGw if a.published.is_none() || b.published.is_none() => Err(Reason::AwaitingUnderlay),
        Backend::HostGw => Err(Reason::NotOnLink),
    }
}

/// The rule: for each family of either's ranges, each one's published address is its InternalIP and lies in the other's prefix.
fn share_links(a: &Member<'_>, b: &Member<'_>) -> bool {
    let shares = |family: Family| {
        let published = |member: &Member<'_>| {
            let net = *member.published.as_ref()?.get(family)?;
            (member.internal.get(family) == Some(&net.addr())).then_some(net)
        };
        match (published(a), published(b)) {
            (Some(a), Some(b)) => a.contains(&b.addr()) && b.contains(&a.addr()),
            _ => false,
        }
    };
    a.range_families()
        .union(&b.range_families())
        .all(|&family| shares(family))
}
