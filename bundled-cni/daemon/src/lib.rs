//! The daemon of the bundled CNI, one on each node. It watches Nodes, the ConfigMap and the node's own pods, compares what the node
//! holds with what follows from them, and mends what differs: on every event, and once in a period. It may die at any time: all of its
//! state is in the API, the kernel and the plugin's files, and traffic needs no process of ours.

#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        reason = "a test stops at what it did not expect"
    )
)]

pub mod actual;
pub mod apply;
pub mod arguments;
pub mod asked;
mod attachments;
mod chained;
pub mod cluster;
mod collect;
mod conflist;
mod connection;
mod contest;
mod counted;
mod counting;
pub mod daemon;
pub mod events;
mod install;
pub mod keeper;
pub mod metrics;
pub mod monitor;
mod nft;
pub mod operations;
mod publish;
mod serve;
mod state_json;
mod sysctl_before;
pub mod uninstall;
