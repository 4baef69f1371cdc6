//! Who can reach whom: chooses pairs, plans probes, has them sent and watched for, judges, reports.
//!
//! The way of the data: [`select`] (which pairs, from the inventory) → [`plan`] (which probes, from what the namespaces hold) → measure
//! (agents send and watch) → [`judge`] (one verdict a probe) → [`report`] → grid, list, JSON or JUnit. All but measuring is pure.

pub mod advice;
pub mod assemble;
pub mod book;
pub mod class;
pub mod evidence;
pub mod family;
pub mod found;
pub mod grid;
pub mod icmp;
pub mod judge;
pub mod junit;
pub mod measure;
pub mod naming;
pub mod on_path;
pub mod plan;
pub mod ports;
pub mod report;
pub mod select;
pub mod style;
pub mod text;
pub mod untold;
pub mod words;

#[cfg(test)]
pub(crate) mod sample;
