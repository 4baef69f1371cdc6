//! Kernel parameters.

use super::{Actual, Cause, Delta, Kind, Mend, Plan};
use crate::{
    desired::{Desired, accept_ra, forwarding, forwarding_of_all},
    family::Family,
};
use netcheck_node_state::Change;

fn write(key: String, expected: &str, actual: Option<&String>) -> Delta {
    Delta {
        kind: Kind::Sysctl,
        object: key.clone(),
        expected: Some(expected.to_owned()),
        actual: actual.cloned(),
        cause: Cause::Differs,
        mend: Mend::Node(Change::WriteSysctl {
            key,
            value: expected.to_owned(),
        }),
    }
}

/// Those of the namespace, and those of devices that exist.
pub(super) fn global(plan: &mut Plan, desired: &Desired, actual: &Actual) {
    let reads = |key: &str| actual.sysctls.get(key);
    for (key, value) in &desired.sysctls.global {
        let is = reads(key);
        if is == Some(value) {
            continue;
        }
        if key == forwarding_of_all(Family::V6) && is.is_some_and(|is| is == "0") {
            // A host that forwards does not hear router advertisements: it would lose its own default route.
            for key in desired.sysctls.uplinks.iter().map(|device| accept_ra(device)) {
                if let Some(is) = reads(&key).filter(|is| *is == "1") {
                    plan.build.push(write(key, "2", Some(is)));
                }
            }
        }
        plan.build.push(write(key.clone(), value, is));
    }
    for (device, family) in &desired.sysctls.forwarding {
        let key = forwarding(device, *family);
        if let Some(is) = reads(&key).filter(|is| *is == "0") {
            plan.build.push(write(key, "1", Some(is)));
        }
    }
}

/// Those of a device that is made in this pass: it takes over the default, which [`global`] may have changed by then.
pub(super) fn new_device(plan: &mut Plan, desired: &Desired, actual: &Actual, device: &str) {
    for (_, family) in desired.sysctls.forwarding.iter().filter(|(name, _)| name == device) {
        let default = actual.sysctls.get(&forwarding("default", *family));
        let key = forwarding_of_all(*family);
        let changes_all = actual.sysctls.get(key) != desired.sysctls.global.get(key);
        if default.is_some_and(|is| is == "0") && !changes_all {
            plan.build.push(write(forwarding(device, *family), "1", default));
        }
    }
}
