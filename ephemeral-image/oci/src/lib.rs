//! Writes OCI images, bit for bit reproducibly, without a container engine; pushes and pulls them.
//!
//! ```no_run
//! use netcheck_oci::{ImageSpec, Layer};
//!
//! let layer = Layer::new().dir("/run/app", 0o1777).file("/app", b"\x7fELF...".as_slice(), 0o755);
//! let mut spec = ImageSpec::new("registry.example/team/app:1.0", "amd64");
//! spec.entrypoint = vec!["/app".into()];
//! spec.layers = vec![layer];
//! let written = spec.write_archive(std::path::Path::new("app.tar"))?;
//! println!("{}", written.manifest_digest);
//! # Ok::<(), netcheck_oci::Error>(())
//! ```
//!
//! The archive is an OCI image layout (OCI image-spec v1.1, `image-layout.md`) in a tar, with a `manifest.json` beside it for
//! `docker load`. `ctr images import` names what it loads by the annotation `io.containerd.image.name`; the archive carries
//! it twice, once as `repository:tag` and once as `repository@digest`, so that a pod which pins the digest starts from a
//! preloaded image without asking a registry.

mod archive;
mod digest;
mod document;
mod error;
mod image;
mod layer;
mod parallel;
mod reference;
#[cfg(feature = "registry")]
pub mod registry;

pub use archive::ArchiveWriter;
pub use digest::Digest;
pub use error::Error;
pub use image::{Image, ImageSpec, Written, WrittenLayer};
pub use layer::Layer;
pub use parallel::in_parallel;
pub use reference::Reference;

/// What this crate's functions return.
pub type Result<T> = std::result::Result<T, Error>;
