//! Pushes images to a registry (OCI distribution-spec v1.1, "Push").
//!
//! Every blob is asked for first and uploaded only if it is missing, so pushing again costs one request per blob.

use ureq::http::{Method, StatusCode};

use super::session::{Access, Reply, Request, Session};
use super::{Options, RegistryError};
use crate::document::MEDIA_TYPE_MANIFEST;
use crate::image::Blob;
use crate::{Digest, Image, Reference};

/// What a push did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pushed {
    /// The pinned reference of what is now in the registry: `registry/repository@digest`.
    pub pinned_name: String,
    /// Blobs that were uploaded.
    pub uploaded: usize,
    /// Blobs that the registry had already.
    pub reused: usize,
}

/// Pushes `image` to `target`: under its tag, or, if it has none, under the image's digest.
pub fn push(image: &Image, target: &Reference, options: &Options) -> Result<Pushed, RegistryError> {
    let digest = image.manifest_digest();
    if let Some(wanted) = target.digest.as_ref().filter(|wanted| **wanted != digest) {
        return Err(RegistryError::OtherDigest {
            reference: target.to_string(),
            wanted: wanted.clone(),
            actual: digest,
        });
    }
    let mut session = Session::new(target, options, Access::Push);
    let (mut uploaded, mut reused) = (0, 0);
    for blob in image.layers.iter().chain([&image.config]) {
        if has_blob(&mut session, &blob.descriptor.digest)? {
            reused += 1;
        } else {
            upload_blob(&mut session, blob)?;
            uploaded += 1;
        }
    }
    put_manifest(&mut session, image, target, &digest)?;
    Ok(Pushed {
        pinned_name: target.pinned(&digest),
        uploaded,
        reused,
    })
}

fn has_blob(session: &mut Session, digest: &Digest) -> Result<bool, RegistryError> {
    let request = Request::new(Method::HEAD, format!("blobs/{digest}"));
    match session.send(&request)? {
        Reply {
            status: StatusCode::OK, ..
        } => Ok(true),
        Reply {
            status: StatusCode::NOT_FOUND,
            ..
        } => Ok(false),
        reply => Err(reply.unexpected(session, &request)),
    }
}

/// "Pushing a blob monolithically", POST then PUT.
fn upload_blob(session: &mut Session, blob: &Blob) -> Result<(), RegistryError> {
    let start = Request::new(Method::POST, "blobs/uploads/".to_owned()).body("application/octet-stream", &[]);
    let reply = session.send(&start)?;
    if reply.status != StatusCode::ACCEPTED {
        return Err(reply.unexpected(session, &start));
    }
    let Some(location) = reply.location.clone() else {
        return Err(RegistryError::NoUploadLocation {
            url: session.url(&start),
        });
    };
    // The location may carry the upload's state in its query; the digest joins it.
    let separator = if location.contains('?') { '&' } else { '?' };
    let target = format!("{location}{separator}digest={}", blob.descriptor.digest);
    let put = Request::at(Method::PUT, target).body("application/octet-stream", &blob.bytes);
    let reply = session.send(&put)?;
    if reply.status != StatusCode::CREATED {
        return Err(reply.unexpected(session, &put));
    }
    Ok(())
}

fn put_manifest(
    session: &mut Session,
    image: &Image,
    target: &Reference,
    digest: &Digest,
) -> Result<(), RegistryError> {
    let name = target.tag.clone().unwrap_or_else(|| digest.to_string());
    let put = Request::new(Method::PUT, format!("manifests/{name}")).body(MEDIA_TYPE_MANIFEST, image.manifest());
    let reply = session.send(&put)?;
    if reply.status != StatusCode::CREATED {
        return Err(reply.unexpected(session, &put));
    }
    match reply.content_digest {
        Some(stored) if stored != digest.to_string() => Err(RegistryError::StoredOther {
            url: session.url(&put),
            expected: digest.clone(),
            stored,
        }),
        _ => Ok(()),
    }
}
