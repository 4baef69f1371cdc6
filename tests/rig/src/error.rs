//! What can go wrong with a rig: each variant names what was done, and to what.
//!
//! The system's word is part of each message (and so not a `source`, which would print it twice).

use std::{io, path::PathBuf, time::Duration};

/// Shorthand for results of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Why the rig could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A system call or file operation failed.
    #[error("{what}: {cause}")]
    Io {
        /// Operation and object, as `mount proc on /proc`.
        what: String,
        /// What the system said.
        cause: io::Error,
    },
    /// A program ran and said no.
    #[error("`{command}` failed ({status}): {message}")]
    Command {
        /// The command line.
        command: String,
        /// How it ended.
        status: String,
        /// The end of what it wrote to stderr.
        message: String,
    },
    /// Something did not happen in time.
    #[error("waited {} s for {what}; last seen: {last}", after.as_secs())]
    Timeout {
        /// What was waited for.
        what: String,
        /// How long.
        after: Duration,
        /// The last observation.
        last: String,
    },
    /// A certificate or key could not be made.
    #[error("make certificate for {subject}: {cause}")]
    Certificate {
        /// Whose certificate.
        subject: String,
        /// What rcgen said.
        cause: rcgen::Error,
    },
    /// An image archive could not be written.
    #[error("write image archive {}: {cause}", path.display())]
    Image {
        /// The archive.
        path: PathBuf,
        /// What the writer said.
        cause: netcheck_oci::Error,
    },
    /// A document was not what it must be.
    #[error("read {what}: {cause}")]
    Json {
        /// Which document.
        what: String,
        /// What the parser said.
        cause: serde_json::Error,
    },
    /// A program the rig needs is not on this machine.
    #[error("`{program}` is not installed; run tests/rig/install-packages.sh")]
    MissingProgram {
        /// Its name.
        program: String,
    },
    /// The bundled CNI's image was not built.
    #[error("there is no {}; make cni-image builds it", path.display())]
    MissingImage {
        /// Where it should be.
        path: PathBuf,
    },
    /// The bundled CNI's configuration has no such key.
    #[error("the bundled CNI's configuration has no key {key:?}; bundled-cni/SPEC.md lists them in section 1.1")]
    UnknownSetting {
        /// The key.
        key: String,
    },
    /// The rig needs root for namespaces, mounts and cgroups.
    #[error("the rig needs root: it makes network namespaces, mounts and cgroups")]
    NotRoot,
    /// Nothing runs in this directory.
    #[error("no rig runs in {}; start one with `netcheck-rig up`", directory.display())]
    NotRunning {
        /// The rig's directory.
        directory: PathBuf,
    },
    /// A rig with other settings runs here.
    #[error("a rig with other settings runs in {}; take it down first with `netcheck-rig down`", directory.display())]
    OtherSettings {
        /// The rig's directory.
        directory: PathBuf,
    },
    /// No such node.
    #[error("the rig has no node {name:?}; it has {known}")]
    UnknownNode {
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
    /// A pod has no process on its node (yet, or any more).
    #[error("pod {namespace}/{pod} has no running process: {why}")]
    NoPodProcess {
        /// Its namespace.
        namespace: String,
        /// Its name.
        pod: String,
        /// What is known about it.
        why: String,
    },
    /// Asked for something that makes no sense.
    #[error("{0}")]
    Usage(String),
    /// Taking down left something; each line says what.
    #[error("the rig is not wholly gone: {}", .0.join("; "))]
    Leftovers(Vec<String>),
}

/// Puts a name on an I/O error.
pub(crate) trait Context<T> {
    /// `what` is the operation and its object.
    fn context(self, what: impl Into<String>) -> Result<T>;
}

impl<T, E: Into<io::Error>> Context<T> for std::result::Result<T, E> {
    fn context(self, what: impl Into<String>) -> Result<T> {
        self.map_err(|cause| Error::Io {
            what: what.into(),
            cause: cause.into(),
        })
    }
}
