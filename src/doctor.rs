//! `doctor`: may I, can I, and what is this cluster: what the API says and what a few nodes hold, in lines of one screen.
//!
//! ```text
//! Facts of the API ─┐
//!                   ├─► assess (lines and findings by topic) ─► report ─► text · JSON · JUnit
//! Facts of nodes  ──┘
//! ```
//! All of it is pure. What nodes hold is read and, where a check of it is there already, judged by `verify`.

pub mod admission;
pub mod api;
pub mod assess;
pub mod book;
pub mod choose;
pub mod dns;
pub mod junit;
pub mod machines;
pub mod network;
pub mod nodes;
pub mod packets;
pub mod proxy;
pub mod report;
pub mod rights;
#[cfg(test)]
mod tests;
pub mod text;
