//! The agent that netcheck runs on nodes and in pods.
fn main() {}
