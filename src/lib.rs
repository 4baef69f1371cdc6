//! The plugin.

pub mod agents;
pub mod capture;
pub mod cli;
pub mod cluster;
pub mod debug;
pub mod exit;
pub mod findings;
pub mod flags;
pub mod matrix;
pub mod output;
pub mod report;
pub mod start;
pub mod suggest;
pub mod terminal;
pub mod verbs;
pub mod verify;
