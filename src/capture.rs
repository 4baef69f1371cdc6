//! `capture`: from packets in many rings to one file.
//!
//! ```text
//! sources (pods, nodes) ── agents ──┐ one flow each: batches, counters
//!                                   ▼
//!            intake (per agent) ── lanes ── merge (pure: time order) ── limits ── sink: file · pipe · lines
//!                                                                        │
//!                                                          account (pure: where every packet went)
//! ```

pub mod account;
pub mod clock;
pub mod command;
pub mod found;
pub mod limits;
pub mod merge;
pub mod names;
pub mod sink;
pub mod source;
pub mod writer;
