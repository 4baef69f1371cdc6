//! Pulls an image into an archive ("Pull"), layers straight from the registry into the file: memory does not grow with the image.

use std::io::{self, Read, Write};

use serde::Deserialize;
use ureq::http::{Method, StatusCode};

use super::session::{Access, Request, Session};
use super::{Options, RegistryError};
use crate::archive::{ArchiveWriter, BlobError};
use crate::document::{Descriptor, Manifest};
use crate::{Digest, Reference};

/// Docker's own name for what OCI standardised; registries may have either.
const ACCEPTED: &str =
    "application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json";

/// The distribution-spec asks registries to take manifests of 4 MiB; configurations are of the same kind.
const MAX_DOCUMENT_BYTES: u64 = 4 << 20;

/// What was pulled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pulled {
    /// The image's digest: what the reference asks for, or what its tag names now.
    pub digest: Digest,
    /// Bytes of its layers, compressed.
    pub size: u64,
}

/// Adds the image that `reference` names to an archive, by digest where it has one. Every byte is checked against a digest before the
/// archive counts as whole. `progress` is told how many bytes of layers have just come; its error ends the pull.
pub fn pull<W: Write>(
    reference: &Reference,
    options: &Options,
    archive: &mut ArchiveWriter<W>,
    mut progress: impl FnMut(usize) -> io::Result<()>,
) -> Result<Pulled, RegistryError> {
    let mut session = Session::new(reference, options, Access::Pull);
    let (digest, manifest) = fetch_manifest(&mut session, reference)?;
    let not_usable = |reason: String| RegistryError::NotUsable {
        reference: reference.to_string(),
        reason,
    };
    let listed: Manifest = serde_json::from_slice(&manifest).map_err(|error| {
        not_usable(match serde_json::from_slice(&manifest) {
            Ok(Several { manifests }) => format!(
                "it is a list of {} images for several platforms; name one of them by its digest",
                manifests.len()
            ),
            Err(_) => format!("its manifest is malformed: {error}"),
        })
    })?;

    let config = &listed.config;
    if config.size > MAX_DOCUMENT_BYTES {
        return Err(not_usable(format!("its configuration has {} bytes", config.size)));
    }
    let mut bytes = Vec::new();
    let (body, url) = open_blob(&mut session, config)?;
    body.take(MAX_DOCUMENT_BYTES)
        .read_to_end(&mut bytes)
        .map_err(|source| RegistryError::Cut {
            url: url.clone(),
            source,
        })?;
    put(archive, config, url, bytes.as_slice())?;

    for layer in &listed.layers {
        if !archive.has(&layer.digest) {
            let (body, url) = open_blob(&mut session, layer)?;
            let tell = &mut progress;
            put(archive, layer, url, Told { body, tell })?;
        }
    }
    let described: Described = serde_json::from_slice(&bytes).unwrap_or_default();
    archive
        .list(reference, described.architecture, &manifest, &listed)
        .map_err(RegistryError::Archive)?;
    Ok(Pulled {
        digest,
        size: listed.layers.iter().map(|layer| layer.size).sum(),
    })
}

/// What there is instead of a manifest where a reference names several images.
#[derive(Deserialize)]
struct Several {
    manifests: Vec<serde::de::IgnoredAny>,
}

/// What of an image's configuration an archive repeats.
#[derive(Default, Deserialize)]
struct Described {
    architecture: Option<String>,
}

fn fetch_manifest(session: &mut Session, reference: &Reference) -> Result<(Digest, Vec<u8>), RegistryError> {
    let wanted = reference.digest.as_ref().map(Digest::to_string);
    let version = wanted.or_else(|| reference.tag.clone()).unwrap_or_default();
    let request = Request::new(Method::GET, format!("manifests/{version}")).accept(ACCEPTED);
    let reply = session.send_for(&request, MAX_DOCUMENT_BYTES)?;
    if reply.status != StatusCode::OK {
        return Err(reply.unexpected(session, &request));
    }
    let digest = Digest::of(&reply.body);
    match &reference.digest {
        Some(expected) if *expected != digest => Err(RegistryError::Content {
            url: session.url(&request),
            reason: format!("the registry served {digest}"),
        }),
        _ => Ok((digest, reply.body)),
    }
}

/// The blob's bytes, unchecked, and where they come from.
fn open_blob(session: &mut Session, descriptor: &Descriptor) -> Result<(impl Read + use<>, String), RegistryError> {
    let request = Request::new(Method::GET, format!("blobs/{}", descriptor.digest));
    let response = session.open(&request)?;
    if response.status() != StatusCode::OK {
        return Err(session.refused(response, &request));
    }
    Ok((response.into_body().into_reader(), session.url(&request)))
}

fn put<W: Write>(
    archive: &mut ArchiveWriter<W>,
    descriptor: &Descriptor,
    url: String,
    body: impl Read,
) -> Result<(), RegistryError> {
    archive.blob(descriptor, body).map_err(|error| match error {
        BlobError::Source(source) => RegistryError::Cut { url, source },
        BlobError::Content(reason) => RegistryError::Content { url, reason },
        BlobError::Target(source) => RegistryError::Archive(source),
    })
}

/// A body whose bytes are told of as they are read.
struct Told<'a, R, F> {
    body: R,
    tell: &'a mut F,
}

impl<R: Read, F: FnMut(usize) -> io::Result<()>> Read for Told<'_, R, F> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.body.read(buffer)?;
        (self.tell)(count)?;
        Ok(count)
    }
}
