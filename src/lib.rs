//! The plugin.

pub mod cli;
pub mod cluster;
pub mod exit;
pub mod matrix;
pub mod output;
pub mod suggest;
pub mod verbs;
