//! Writes archives: blobs as they come, and last what says which images they are.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufWriter, Read, Write};

use serde::Serialize;
use tar::{EntryType, Header};

use super::blob_path;
use crate::digest::Hasher;
use crate::document::{
    ANNOTATION_CONTAINERD_NAME, ANNOTATION_REF_NAME, Descriptor, DockerManifest, Index, LayoutVersion,
    MEDIA_TYPE_INDEX, MEDIA_TYPE_MANIFEST, Manifest, Platform,
};
use crate::image::Blob;
use crate::{Digest, Image, Reference};

/// Writes an archive of one image or several. What says which images there are comes last: an archive that was cut is read by nobody.
pub struct ArchiveWriter<W: Write> {
    tar: tar::Builder<BufWriter<W>>,
    /// Several images may have the same layer, and an image the same twice; one blob serves all.
    blobs: BTreeSet<Digest>,
    index: Vec<Descriptor>,
    docker: Vec<DockerManifest>,
}

/// Why a blob could not be put into an archive.
#[derive(Debug)]
pub(crate) enum BlobError {
    /// It could not be read.
    Source(io::Error),
    /// It is not what its descriptor says; in words.
    Content(String),
    /// It could not be written.
    Target(io::Error),
}

impl From<BlobError> for io::Error {
    fn from(error: BlobError) -> Self {
        match error {
            BlobError::Source(error) | BlobError::Target(error) => error,
            BlobError::Content(reason) => Self::new(io::ErrorKind::InvalidData, reason),
        }
    }
}

impl<W: Write> ArchiveWriter<W> {
    /// Begins an archive.
    pub fn new(output: W) -> io::Result<Self> {
        let mut tar = tar::Builder::new(BufWriter::new(output));
        append_folder(&mut tar, "blobs/")?;
        append_folder(&mut tar, "blobs/sha256/")?;
        Ok(Self {
            tar,
            blobs: BTreeSet::new(),
            index: Vec::new(),
            docker: Vec::new(),
        })
    }

    /// Adds an image that is in memory.
    pub fn add(&mut self, image: &Image) -> io::Result<()> {
        let manifest = Descriptor::of(MEDIA_TYPE_MANIFEST, image.manifest());
        let mut blobs = BTreeMap::from([(manifest.digest.clone(), (&manifest, image.manifest()))]);
        for Blob { descriptor, bytes } in image.layers.iter().chain([&image.config]) {
            blobs.insert(descriptor.digest.clone(), (descriptor, bytes));
        }
        for (descriptor, bytes) in blobs.into_values() {
            self.blob(descriptor, bytes)?;
        }
        let manifest = serde_json::from_slice(image.manifest())?;
        self.list(
            &image.reference,
            image.architecture.clone(),
            image.manifest(),
            &manifest,
        )
    }

    /// Is this blob in the archive? Whoever pulls need not fetch it then.
    #[cfg(feature = "registry")]
    pub(crate) fn has(&self, digest: &Digest) -> bool {
        self.blobs.contains(digest)
    }

    /// Adds a blob, unless it is there already. After an error the archive is of no use.
    pub(crate) fn blob(&mut self, descriptor: &Descriptor, body: impl Read) -> Result<(), BlobError> {
        if !self.blobs.insert(descriptor.digest.clone()) {
            return Ok(());
        }
        let mut header = fixed_header(EntryType::Regular, 0o644);
        header.set_size(descriptor.size);
        let mut checked = Checked::new(body, descriptor);
        let appended = self
            .tar
            .append_data(&mut header, blob_path(&descriptor.digest), &mut checked);
        match (checked.failure, appended) {
            (Some(failure), _) => Err(failure),
            (None, Err(error)) => Err(BlobError::Target(error)),
            (None, Ok(())) => Ok(()),
        }
    }

    /// Says that an image is there, all of whose blobs are, and adds its manifest.
    pub(crate) fn list(
        &mut self,
        reference: &Reference,
        architecture: Option<String>,
        bytes: &[u8],
        manifest: &Manifest,
    ) -> io::Result<()> {
        let descriptor = Descriptor::of(MEDIA_TYPE_MANIFEST, bytes);
        self.blob(&descriptor, bytes)?;
        self.index.extend(index_entries(reference, architecture, &descriptor));
        self.docker.push(docker_manifest(reference, manifest));
        Ok(())
    }

    /// Ends the archive.
    pub fn finish(mut self) -> io::Result<()> {
        if self.docker.len() > 1 {
            // By custom a tag alone, which of several images may all have.
            for Descriptor { annotations, .. } in &mut self.index {
                if let Some(name) = annotations.get(ANNOTATION_CONTAINERD_NAME).cloned() {
                    annotations
                        .entry(ANNOTATION_REF_NAME.to_owned())
                        .and_modify(|tag| *tag = name);
                }
            }
        }
        let index = Index {
            schema_version: 2,
            media_type: Some(MEDIA_TYPE_INDEX.to_owned()),
            manifests: self.index,
        };
        append_json(&mut self.tar, "index.json", &index)?;
        append_json(&mut self.tar, "manifest.json", &self.docker)?;
        append_json(
            &mut self.tar,
            "oci-layout",
            &LayoutVersion {
                image_layout_version: "1.0.0",
            },
        )?;
        self.tar.into_inner()?.flush()
    }
}

/// Reads what a descriptor describes, and fails at the end of anything else.
struct Checked<'a, R> {
    body: R,
    descriptor: &'a Descriptor,
    hash: Hasher,
    size: u64,
    failure: Option<BlobError>,
}

impl<'a, R: Read> Checked<'a, R> {
    fn new(body: R, descriptor: &'a Descriptor) -> Self {
        Self {
            body,
            descriptor,
            hash: Hasher::default(),
            size: 0,
            failure: None,
        }
    }

    /// What is wrong after the last byte, or after one byte too many.
    fn fault(&self, ended: bool) -> Option<String> {
        let expected = self.descriptor.size;
        if self.size > expected || (ended && self.size < expected) {
            let more = if ended { "" } else { " or more" };
            return Some(format!("it has {}{more} bytes instead of {expected}", self.size));
        }
        let actual = ended.then(|| self.hash.clone().digest())?;
        (actual != self.descriptor.digest).then(|| format!("its content has the digest {actual}"))
    }
}

impl<R: Read> Read for Checked<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = match self.body.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Err(error),
            Err(error) => Err(BlobError::Source(error)),
            Ok(count) => {
                self.hash.update(&buffer[..count]);
                self.size += count as u64;
                let ended = count == 0 && !buffer.is_empty();
                self.fault(ended)
                    .map_or(Ok(count), |reason| Err(BlobError::Content(reason)))
            }
        };
        read.map_err(|failure| {
            self.failure = Some(failure);
            io::Error::other("the source failed")
        })
    }
}

/// Lists a manifest under its tag and under its digest: containerd makes one image record of each, and a kubelet that is asked for a
/// pinned image looks for the second.
fn index_entries(
    reference: &Reference,
    architecture: Option<String>,
    manifest: &Descriptor,
) -> impl Iterator<Item = Descriptor> + use<> {
    let manifest = Descriptor {
        platform: architecture.map(|architecture| Platform {
            architecture,
            os: "linux".to_owned(),
        }),
        ..manifest.clone()
    };
    let named = |name: String, tag: Option<&String>| {
        let mut manifest = manifest.clone();
        let annotations = &mut manifest.annotations;
        annotations.insert(ANNOTATION_CONTAINERD_NAME.to_owned(), name);
        annotations.extend(tag.map(|tag| (ANNOTATION_REF_NAME.to_owned(), tag.clone())));
        manifest
    };
    let by_tag = tagged_name(reference).map(|name| named(name, reference.tag.as_ref()));
    let by_digest = named(reference.pinned(&manifest.digest), None);
    by_tag.into_iter().chain([by_digest])
}

fn docker_manifest(reference: &Reference, manifest: &Manifest) -> DockerManifest {
    DockerManifest {
        config: blob_path(&manifest.config.digest),
        repo_tags: tagged_name(reference).into_iter().collect(),
        layers: manifest.layers.iter().map(|layer| blob_path(&layer.digest)).collect(),
    }
}

fn tagged_name(reference: &Reference) -> Option<String> {
    let tag = reference.tag.as_ref()?;
    Some(format!("{}:{tag}", reference.name()))
}

fn append_json(tar: &mut tar::Builder<impl Write>, path: &str, document: &(impl Serialize + ?Sized)) -> io::Result<()> {
    append_file(tar, path, &serde_json::to_vec(document)?)
}

fn append_file(tar: &mut tar::Builder<impl Write>, path: &str, bytes: &[u8]) -> io::Result<()> {
    let mut header = fixed_header(EntryType::Regular, 0o644);
    header.set_size(bytes.len() as u64);
    tar.append_data(&mut header, path, bytes)
}

fn append_folder(tar: &mut tar::Builder<impl Write>, path: &str) -> io::Result<()> {
    tar.append_data(&mut fixed_header(EntryType::Directory, 0o755), path, io::empty())
}

fn fixed_header(kind: EntryType, mode: u32) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(0);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header
}
