//! The cluster's side: a client made from kubectl's flags, names resolved as kubectl does, and an inventory of what is there.

pub mod client;
pub mod dns;
pub mod errors;
#[cfg(test)]
pub(crate) mod fake;
pub mod identity;
pub mod inventory;
mod kubeconfig;
pub mod list;
mod proxy;
pub mod request;
pub mod resolve;

pub use client::Cluster;
pub use kubeconfig::contexts;
