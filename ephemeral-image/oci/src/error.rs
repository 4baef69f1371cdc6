//! What can go wrong, named by operation and object.

use std::io;
use std::path::PathBuf;

use crate::Digest;

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An image reference that no registry would understand.
    #[error("image reference '{reference}' is not valid: {reason}")]
    Reference {
        /// The reference as given.
        reference: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A digest that is not `sha256:` and 64 lower-case hexadecimal digits.
    #[error("'{0}' is not a sha256 digest")]
    Digest(String),
    /// A layer whose entries contradict each other or leave the root.
    #[error("image path '{path}' cannot be put into a layer: {reason}")]
    LayerPath {
        /// The path as given.
        path: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Building a layer's tar or an image's JSON failed.
    #[error("cannot assemble image {image}")]
    Assemble {
        /// The image's name.
        image: String,
        /// What failed.
        source: io::Error,
    },
    /// An archive could not be written.
    #[error("cannot write image archive {}", path.display())]
    WriteArchive {
        /// The archive.
        path: PathBuf,
        /// What failed.
        source: io::Error,
    },
    /// An archive could not be read.
    #[error("cannot read image archive {}", path.display())]
    ReadArchive {
        /// The archive.
        path: PathBuf,
        /// What failed.
        source: io::Error,
    },
    /// An archive whose content is not an image that we can use.
    #[error("{} is not a usable image archive: {reason}", path.display())]
    BadArchive {
        /// The archive.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A blob whose content is not what its digest says.
    #[error("blob {expected} has other content: {actual}")]
    DigestMismatch {
        /// The digest under which the blob is known.
        expected: Digest,
        /// The digest of its bytes.
        actual: Digest,
    },
}
