//! Images as one file: an OCI image layout in a tar (OCI image-spec v1.1, `image-layout.md`).

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, Permissions};
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use serde::Serialize;
use tar::{EntryType, Header};

use crate::digest::Hasher;
use crate::document::{
    ANNOTATION_CONTAINERD_NAME, ANNOTATION_REF_NAME, Descriptor, DockerManifest, Index, LayoutVersion,
    MEDIA_TYPE_INDEX, MEDIA_TYPE_MANIFEST, Manifest, Platform,
};
use crate::image::Blob;
use crate::{Digest, Error, Image, Reference, Result};

/// The largest archive that is read into memory; ours are below a tenth of it.
const MAX_ARCHIVE_BYTES: u64 = 512 << 20;

/// Writes the archive beside its place, then moves it there, so that no reader ever sees half of one.
pub(crate) fn write(image: &Image, path: &Path) -> Result<u64> {
    let failed = |source| Error::WriteArchive {
        path: path.to_owned(),
        source,
    };
    let folder = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new()
        .prefix(".image-")
        .permissions(Permissions::from_mode(0o644))
        .tempfile_in(folder)
        .map_err(failed)?;
    write_layout(image, &mut file).map_err(failed)?;
    let file = file.persist(path).map_err(|error| failed(error.error))?;
    file.metadata().map(|metadata| metadata.len()).map_err(failed)
}

fn write_layout(image: &Image, file: &mut impl Write) -> io::Result<()> {
    let mut writer = ArchiveWriter::new(file)?;
    writer.add(image)?;
    writer.finish()
}

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
    pub(crate) fn blob(&mut self, descriptor: &Descriptor, body: impl Read) -> std::result::Result<(), BlobError> {
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

fn blob_path(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
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

/// Reads the archive's first image.
pub(crate) fn read(path: &Path) -> Result<Image> {
    let mut files = read_files(path).map_err(|source| Error::ReadArchive {
        path: path.to_owned(),
        source,
    })?;
    let bad = |reason: String| Error::BadArchive {
        path: path.to_owned(),
        reason,
    };

    let index = files
        .remove("index.json")
        .ok_or_else(|| bad("it has no index.json".to_owned()))?;
    let index: Index = serde_json::from_slice(&index).map_err(|error| bad(format!("index.json: {error}")))?;
    let first = index
        .manifests
        .first()
        .ok_or_else(|| bad("index.json lists no image".to_owned()))?;
    let name = first.annotations.get(ANNOTATION_CONTAINERD_NAME).ok_or_else(|| {
        bad(format!(
            "its first image has no annotation {ANNOTATION_CONTAINERD_NAME}"
        ))
    })?;
    let reference: Reference = name.parse()?;

    // Several descriptors may name the same blob, so blobs are copied out rather than moved.
    let mut taken = BTreeSet::new();
    let mut blob = |descriptor: &Descriptor| -> Result<Blob> {
        let name = blob_path(&descriptor.digest);
        let bytes = files.get(&name).ok_or_else(|| bad(format!("{name} is missing")))?;
        if taken.insert(descriptor.digest.clone()) {
            let actual = Digest::of(bytes);
            if actual != descriptor.digest {
                return Err(Error::DigestMismatch {
                    expected: descriptor.digest.clone(),
                    actual,
                });
            }
        }
        Ok(Blob {
            descriptor: descriptor.clone(),
            bytes: bytes.clone(),
        })
    };
    let manifest = blob(first)?.bytes;
    let listed: Manifest = serde_json::from_slice(&manifest).map_err(|error| bad(format!("manifest: {error}")))?;
    let config = blob(&listed.config)?;
    let layers = listed.layers.iter().map(blob).collect::<Result<_>>()?;
    let architecture = first.platform.as_ref().map(|platform| platform.architecture.clone());
    Ok(Image {
        reference,
        architecture,
        manifest,
        config,
        layers,
    })
}

fn read_files(path: &Path) -> io::Result<BTreeMap<String, Vec<u8>>> {
    let file = File::open(path)?;
    if file.metadata()?.len() > MAX_ARCHIVE_BYTES {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("larger than {} MiB", MAX_ARCHIVE_BYTES >> 20),
        ));
    }
    let mut files = BTreeMap::new();
    for entry in tar::Archive::new(file.take(MAX_ARCHIVE_BYTES)).entries()? {
        let mut entry = entry?;
        if entry.header().entry_type() != EntryType::Regular {
            continue;
        }
        let name = entry.path()?.to_string_lossy().into_owned();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes)?;
        files.insert(name, bytes);
    }
    Ok(files)
}
