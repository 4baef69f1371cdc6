//! Choosing.
