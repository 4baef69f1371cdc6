//! What a node's packet filter does with a packet: accepts, drops, rejects, sends it elsewhere under another address.
//!
//! ```text
//! nft -j list ruleset ─┐
//! iptables-save texts ─┼► Ruleset (tables, chains, rules) ─► walk(hooks, packet) ─► outcomes, each with its trail
//! ipset save          ─┘
//! ```
//! Nothing here reads a kernel. What a rule says and this crate does not know is never guessed: where it decides, the answer is
//! [`Undecidable`]. Where chance decides (`-m statistic`, `numgen`), all that can happen is told. Hostile input costs a bounded time: chains,
//! branches and steps have limits.

mod ipset;
mod iptables;
mod model;
mod nft;
mod packet;
mod value;
mod walk;

pub use ipset::Sets;
pub use model::{Family, Flavour, Hook, Ruleset};
pub use packet::{Packet, Protocol, State};
pub use walk::{Dnat, Outcome, Place, Undecidable, Verdict};

#[cfg(test)]
mod tests;
