//! The ways into the cluster.

pub mod exec;
pub mod image;
pub mod ladder;
pub mod link;
pub mod manifest;
pub mod observe;
pub mod permissions;
pub mod run;
pub mod waiting;
