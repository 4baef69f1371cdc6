//! Images as one file: an OCI image layout in a tar (OCI image-spec v1.1, `image-layout.md`).

mod writer;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, Permissions};
use std::io::{self, Read as _, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use tar::EntryType;

use crate::document::{ANNOTATION_CONTAINERD_NAME, Descriptor, Index, Manifest};
use crate::image::Blob;
use crate::{Digest, Error, Image, Reference, Result};

pub use writer::ArchiveWriter;
#[cfg(feature = "registry")]
pub(crate) use writer::BlobError;

/// The largest archive that is read into memory; ours are below a fifth of it.
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

fn blob_path(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
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
