//! Leads a packet through hooks, base chain by base chain, and tells all that can become of it.

mod evaluate;
mod outcome;
mod run;

pub use outcome::{Dnat, Outcome, Place, Undecidable, Verdict};

use crate::{
    model::{Hook, Ruleset},
    packet::Packet,
};
use outcome::settle;
use run::Run;

/// Chains within chains: the kernel has 16 (`NFT_JUMP_STACK_SIZE`), and iptables as many as there are chains.
const DEPTH: usize = 64;
/// Ways that a packet may take.
const BRANCHES: usize = 8_192;
/// Conditions that are not known, on all of them.
const QUESTIONS: usize = 512;
/// Rules that are looked at, on all ways together.
const STEPS: usize = 2_000_000;

impl Ruleset {
    /// What becomes of a packet that meets these hooks one after the other: each outcome once.
    ///
    /// # Errors
    /// If that depends on something that is not known, or on more than can be followed.
    pub fn walk(&self, hooks: &[Hook], packet: &Packet) -> Result<Vec<Outcome>, Undecidable> {
        settle(Run::new(self, hooks, packet).all()?)
    }
}
