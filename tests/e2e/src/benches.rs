//! The benchmarks of `netcheck-bench` on captures.

pub mod capture_engine;
pub mod capture_path;
