//! The benchmarks of `netcheck-bench` that need no rig.

pub mod capture_engine;
