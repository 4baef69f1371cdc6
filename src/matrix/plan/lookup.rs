//! What a plan looks up.

use super::Planner;
use crate::{
    cluster::inventory::{Pod, Service, Subject},
    findings::{Absence, Obstacle},
    matrix::{family::Family, words::pod_name},
};
use netcheck_wire::probe::PlaceFacts;
use std::net::IpAddr;

impl<'a> Planner<'a> {
    /// Addresses of a destination in the families that are asked for and that the source has.
    pub(super) fn addresses(&self, from: &Subject, ips: &[IpAddr]) -> Vec<IpAddr> {
        let own: &[IpAddr] = match from {
            Subject::Pod(uid) => self.pod(uid).map_or(&[], |pod| &pod.ips),
            Subject::Node(name) => self
                .inventory
                .nodes
                .iter()
                .find(|node| &node.name == name)
                .map_or(&[], |node| &node.ips),
        };
        // A source without any address by the API did not start; its rows are kept, to say so.
        let speaks = |family: Family| own.is_empty() || own.iter().any(|ip| Family::of(*ip) == family);
        ips.iter()
            .copied()
            .filter(|ip| self.wish.families.contains(&Family::of(*ip)) && speaks(Family::of(*ip)))
            .collect()
    }

    pub(super) fn facts_of(&self, subject: &Subject) -> Option<Result<&'a PlaceFacts, Absence>> {
        let facts = self.facts?;
        Some(match facts.get(subject) {
            Some(found) => found.as_ref().map_err(Clone::clone),
            None => Err(Obstacle::NotStarted.because("no agent was started for it")),
        })
    }

    pub(super) fn pod(&self, uid: &str) -> Option<&'a Pod> {
        self.pods.get(uid).copied()
    }

    /// The node that a source is on.
    pub(super) fn home<'b>(&self, subject: &'b Subject) -> Option<&'b str>
    where
        'a: 'b,
    {
        match subject {
            Subject::Pod(uid) => self.pod(uid)?.node.as_deref(),
            Subject::Node(name) => Some(name),
        }
    }

    pub(super) fn service(&self, namespace: &str, name: &str) -> Option<&'a Service> {
        self.inventory
            .services
            .iter()
            .find(|service| service.namespace == namespace && service.name == name)
    }

    pub(super) fn source_name(&self, subject: &Subject) -> String {
        match subject {
            Subject::Pod(uid) => self.pod(uid).map_or_else(|| format!("pod {uid}"), pod_name),
            Subject::Node(name) => format!("node {name}"),
        }
    }
}
