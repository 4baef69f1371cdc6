//! The committed shop, and what a healthy matrix of it holds.

use crate::lab::Lab;
use anyhow::{Result, ensure};
use std::collections::BTreeSet;

/// Opens the shop and fails unless its matrix is good and whole: all reached, over exactly the cluster's families, by each of the
/// protocols, to every kind of destination. `arguments` go to `matrix`.
pub fn expect_healthy(lab: &Lab, arguments: &[&str], protocols: &[&str]) -> Result<()> {
    lab.rig.open_shop()?;
    let matrix = lab.matrix(["-n", "shop"].iter().chain(arguments))?;
    matrix.others_reached(|_| false)?;
    matrix.expect_exit(0)?;
    let families = lab.rig.spec().families;
    let families = [("ipv4", families.has_v4()), ("ipv6", families.has_v6())];
    let families = families.into_iter().filter_map(|(name, there)| there.then_some(name));
    let wanted: BTreeSet<_> = families
        .flat_map(|family| protocols.iter().map(move |&protocol| (family, protocol)))
        .collect();
    let found: BTreeSet<_> = matrix
        .rows
        .iter()
        .map(|row| (row.family.as_str(), row.protocol.as_str()))
        .collect();
    ensure!(found == wanted, "rows by {found:?} instead of {wanted:?}");
    for kind in ["Pod", "Node", "Service", "DNS"] {
        ensure!(
            matrix.rows.iter().any(|row| row.destination.kind == kind),
            "nothing was asked of a {kind}"
        );
    }
    lab.wait_until_clean(std::time::Duration::from_secs(30))
}
