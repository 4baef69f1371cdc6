//! What can go wrong, named by operation and object.

use std::io;
use std::path::PathBuf;

/// What locks today's versions: this crate's program is on nobody's PATH.
const LOCK: &str = "cargo run -p netcheck-image -- lock";

/// An error while assembling an image.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file could not be read or written.
    #[error("cannot {operation} {}", path.display())]
    File {
        /// `read`, `write` …
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// What failed.
        source: io::Error,
    },
    /// A line of the lock file is malformed.
    #[error("debian.lock line {line}: {reason}")]
    Lock {
        /// Line number, from 1.
        line: usize,
        /// What is wrong.
        reason: &'static str,
    },
    /// The lock file holds nothing for this architecture.
    #[error("debian.lock has no packages for {0}; on a Debian machine of that architecture run: {LOCK}")]
    NotLocked(String),
    /// A program of Debian's package tools could not be run or failed.
    #[error("{program} failed: {detail}")]
    Tool {
        /// The program and its first argument.
        program: String,
        /// What it said.
        detail: String,
    },
    /// Debian's archive no longer offers a locked version, or this machine does not know it.
    #[error(
        "Debian's archive does not offer {0} to this machine: run apt-get update and build again; if Debian has replaced that \
         version since it was locked, lock today's for all images: {LOCK}"
    )]
    Vanished(String),
    /// A package whose content is not what the lock file says.
    #[error("{package} has sha256 {actual}, but debian.lock says {expected}")]
    Checksum {
        /// The package and its version.
        package: String,
        /// What the lock file says.
        expected: String,
        /// What was downloaded.
        actual: String,
    },
    /// A package whose content cannot be unpacked.
    #[error("cannot unpack {package}")]
    Unpack {
        /// The package.
        package: String,
        /// What failed.
        source: io::Error,
    },
    /// A file that the image needs is in none of the packages.
    #[error("{path}, needed by {needed_by}, is in none of the locked packages; run: {LOCK}")]
    Missing {
        /// The file or library.
        path: String,
        /// What needs it.
        needed_by: String,
    },
    /// An ELF file that cannot be read.
    #[error("{path} is not a usable ELF file: {reason}")]
    Elf {
        /// The file.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A program that cannot run in an image without its libraries.
    #[error("{} is linked dynamically; build it with RUSTFLAGS=\"-C target-feature=+crt-static\"", .0.display())]
    Dynamic(PathBuf),
}
