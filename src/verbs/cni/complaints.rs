//! What is wrong with a node, by its own conditions, and which page explains it. Pure.

use super::{
    names::{DEGRADED, NETWORK_UNAVAILABLE, REFUSALS},
    report::READY,
};
use crate::{
    findings::{self, Finding},
    output::safe,
};
use k8s_openapi::api::core::v1::{Node, NodeCondition};

/// Something that is wrong with a node: a reason of SPEC.md 9.4, and details.
pub struct Complaint {
    /// The reason, one word.
    pub reason: String,
    /// The rest, one line.
    pub details: String,
}

impl Complaint {
    /// As a finding about this node.
    pub fn finding(&self, node: &str) -> Option<Finding> {
        let page = findings::page(page_of(&self.reason))?;
        let mut finding = Finding::new(page, format!("node/{node}"), self.words());
        finding.evidence.push(format!("reason {}", safe(&self.reason)));
        finding.fix = page
            .fix
            .iter()
            .find(|fix| self.is_mended_by(fix))
            .map(|fix| (*fix).to_owned());
        Some(finding)
    }

    /// Whether one of a page's fixes is for this: those that begin with words and a colon are for these words only.
    fn is_mended_by(&self, fix: &str) -> bool {
        let Some((words, _)) = fix
            .split_once(": ")
            .filter(|(words, _)| words.split(", ").all(|word| !word.contains(' ')))
        else {
            return self.reason != PENDING;
        };
        words
            .split(", ")
            .any(|word| word == self.reason || self.details.contains(word))
    }

    fn words(&self) -> String {
        if self.details.is_empty() {
            return safe(&self.reason);
        }
        format!("{}: {}", safe(&self.reason), safe(&self.details))
    }
}

/// Reason of the row of a node that is not there yet.
const PENDING: &str = "Pending";

/// The page that explains a reason.
fn page_of(reason: &str) -> &'static str {
    match reason {
        PENDING => "cni-node-pending",
        reason if REFUSALS.contains(&reason) => "cni-node-refused",
        "PeerRefused" => "cni-peer-refused",
        "ConfigInvalid" => "cni-config-invalid",
        "ForwardDropped" => "cni-forward-dropped",
        "NameTaken" | "VniTaken" | "RouteShadowed" | "ForeignCniFirst" => "cni-foreign-state",
        "MtuTooSmall" => "cni-mtu-too-small",
        "BpfOff" => "cni-bpf-off",
        "ApplyFailed" | "InternalIPNotOnNode" => "cni-apply-failed",
        "RangeAlmostFull" => "cni-range-almost-full",
        _ => "cni-degraded",
    }
}

fn condition<'a>(node: &'a Node, kind: &str) -> Option<&'a NodeCondition> {
    let conditions = node.status.as_ref()?.conditions.as_ref()?;
    conditions
        .iter()
        .find(|condition| condition.type_ == kind && condition.status == "True")
}

/// From both conditions, each reason once.
pub fn complaints(node: &Node) -> Vec<Complaint> {
    let mut found: Vec<Complaint> = Vec::new();
    if let Some(degraded) = condition(node, DEGRADED) {
        let message = degraded.message.as_deref().unwrap_or_default();
        for reason in degraded
            .reason
            .iter()
            .flat_map(|reasons| reasons.split(','))
            .map(str::trim)
        {
            let start = format!("{reason}: ");
            let details = message
                .lines()
                .find_map(|line| line.strip_prefix(&start))
                .unwrap_or_default();
            found.push(Complaint {
                reason: reason.to_owned(),
                details: details.to_owned(),
            });
        }
    }
    if let Some(refused) = condition(node, NETWORK_UNAVAILABLE)
        && let Some(reason) = refused.reason.as_deref().filter(|reason| REFUSALS.contains(reason))
        && !found.iter().any(|complaint| complaint.reason == reason)
    {
        let details = refused.message.clone().unwrap_or_default();
        found.insert(
            0,
            Complaint {
                reason: reason.to_owned(),
                details,
            },
        );
    }
    found
}

/// What keeps a node from being done.
pub fn pending(ready: bool, daemon: &str, is_applied: bool, applied: Option<&str>) -> Option<Complaint> {
    let details = if daemon != READY {
        format!("the daemon is not ready ({daemon})")
    } else if !is_applied {
        match applied {
            Some(older) => format!("has applied another configuration ({older})"),
            None => "has applied no configuration yet".to_owned(),
        }
    } else if !ready {
        "the node is not ready".to_owned()
    } else {
        return None;
    };
    Some(Complaint {
        reason: PENDING.to_owned(),
        details,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_carries_the_fix_that_is_for_its_reason() {
        let fix = |reason: &str, details: &str| {
            let (reason, details) = (reason.to_owned(), details.to_owned());
            Complaint { reason, details }
                .finding("n1")
                .unwrap()
                .fix
                .unwrap_or_default()
        };
        assert!(fix("DuplicatePodCIDR", "").starts_with("DuplicatePodCIDR, InvalidPodCIDR"));
        assert!(fix("PeerRefused", "n3: NoCommonUnderlay").starts_with("NoCommonUnderlay"));
        assert!(fix(PENDING, "the daemon is not ready (ImagePullBackOff)").contains("--image-prefix"));
        assert_eq!(fix(PENDING, "the node is not ready"), "");
        assert!(fix("BpfOff", "no bpffs").starts_with("Mount the BPF filesystem"));
    }

    #[test]
    fn every_reason_has_a_page() {
        let reasons = [
            "PeerRefused",
            "ConfigInvalid",
            "InternalIPNotOnNode",
            "ForwardDropped",
            "NameTaken",
            "VniTaken",
            "RouteShadowed",
            "MtuTooSmall",
            "NodesNotMasqueraded",
            "PodCIDROutsideClusterCIDRs",
            "PodsOutsidePodCIDR",
            "VtepMacMismatch",
            "BpfOff",
            "ChainPluginMissing",
            "ForeignCniFirst",
            "RangeAlmostFull",
            "AttachmentUnreadable",
            "ApplyFailed",
            PENDING,
            "OfALaterVersion",
        ];
        for reason in reasons.iter().chain(&REFUSALS) {
            assert!(findings::page(page_of(reason)).is_some(), "{reason}");
        }
    }
}
