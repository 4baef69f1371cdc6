//! `verify`: what nodes' kernels and disks hold, against what the API says they must.
//!
//! ```text
//! Evidence (API objects + a record of each node) ─► Network (what must be) ─► judge ─► report ─► text · JSON · JUnit
//! ```
//! All of it is pure ([`observed`] adds what nodes counted in an interval): the same evidence, from a live cluster or from an archive, leads to the same report.

pub mod archive;
mod builds;
pub mod bundled;
pub mod calico;
pub mod cilium;
pub mod evidence;
pub mod expected;
pub mod firewall;
pub mod flannel;
pub mod found;
pub mod generic;
pub mod group;
pub mod judge;
pub mod junit;
pub mod kindnet;
pub mod multus;
pub mod network;
pub mod objects;
pub mod observed;
pub mod pods;
pub mod ranges;
pub mod relate;
pub mod report;
mod rules;
#[cfg(test)]
pub(crate) mod samples;
pub mod services;
pub mod text;
