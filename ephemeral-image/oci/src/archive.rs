//! An image as one file: an OCI image layout in a tar (OCI image-spec v1.1, `image-layout.md`).

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, Permissions};
use std::io::{self, BufWriter, Read as _, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use serde::Serialize;
use tar::{EntryType, Header};

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
    let mut tar = tar::Builder::new(BufWriter::new(file));

    // Two layers may be equal; one blob serves both.
    let mut blobs = BTreeMap::from([(image.manifest_digest(), image.manifest())]);
    for blob in image.layers.iter().chain([&image.config]) {
        blobs.insert(blob.descriptor.digest.clone(), &blob.bytes);
    }
    append_folder(&mut tar, "blobs/")?;
    append_folder(&mut tar, "blobs/sha256/")?;
    for (digest, bytes) in blobs {
        append_file(&mut tar, &blob_path(&digest), bytes)?;
    }
    append_json(&mut tar, "index.json", &index(image))?;
    append_json(&mut tar, "manifest.json", &[docker_manifest(image)])?;
    append_json(
        &mut tar,
        "oci-layout",
        &LayoutVersion {
            image_layout_version: "1.0.0",
        },
    )?;
    tar.into_inner()?.flush()
}

/// Lists the manifest under its tag and under its digest: containerd makes one image record of each, and a kubelet that
/// is asked for a pinned image looks for the second.
fn index(image: &Image) -> Index {
    let manifest = Descriptor {
        platform: image.architecture.clone().map(|architecture| Platform {
            architecture,
            os: "linux".to_owned(),
        }),
        ..Descriptor::of(MEDIA_TYPE_MANIFEST, image.manifest())
    };
    let named = |name: String, reference: Option<&String>| {
        let mut manifest = manifest.clone();
        manifest.annotations.insert(ANNOTATION_CONTAINERD_NAME.to_owned(), name);
        if let Some(reference) = reference {
            manifest
                .annotations
                .insert(ANNOTATION_REF_NAME.to_owned(), reference.clone());
        }
        manifest
    };
    let reference = &image.reference;
    let by_tag = reference
        .tag
        .as_ref()
        .map(|tag| named(format!("{}:{tag}", reference.name()), Some(tag)));
    let by_digest = named(reference.pinned(&manifest.digest), None);
    Index {
        schema_version: 2,
        media_type: Some(MEDIA_TYPE_INDEX.to_owned()),
        manifests: by_tag.into_iter().chain([by_digest]).collect(),
    }
}

fn docker_manifest(image: &Image) -> DockerManifest {
    let reference = &image.reference;
    DockerManifest {
        config: blob_path(&image.config.descriptor.digest),
        repo_tags: reference
            .tag
            .iter()
            .map(|tag| format!("{}:{tag}", reference.name()))
            .collect(),
        layers: image
            .layers
            .iter()
            .map(|layer| blob_path(&layer.descriptor.digest))
            .collect(),
    }
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
