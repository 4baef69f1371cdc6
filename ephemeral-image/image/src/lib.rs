//! Assembles our images: our programs, and what they need of Debian.
//!
//! Our programs are static binaries. Rulesets are read by the tools that know them best: Debian's `nft`, `iptables-save` in both
//! kinds and `ipset`, with the shared libraries that they need and nothing else; there is no shell. The toolbox, which is for people, has
//! a shell and some fifty packages whole. The packages are named in a `debian.lock` with version and checksum, so that the same
//! sources give the same image.

pub mod base;
pub mod closure;
pub mod content;
pub mod debian;
pub mod elf;
mod error;
pub mod lock;
pub mod recipe;
mod toolbox;
pub mod tree;

pub use error::Error;

/// What this crate's functions return.
pub type Result<T> = std::result::Result<T, Error>;
