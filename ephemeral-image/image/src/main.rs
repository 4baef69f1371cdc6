//! Assembles netcheck's images.
fn main() {}
