//! kubectl's way to name things.
