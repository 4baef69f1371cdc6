//! From a description of an image to its blobs.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;

use crate::document::{
    Config, Descriptor, Execution, MEDIA_TYPE_CONFIG, MEDIA_TYPE_LAYER, MEDIA_TYPE_MANIFEST, Manifest, RootFs,
};
use crate::{Digest, Error, Layer, Reference, Result, archive};

/// Images carry no time of their build, or no two builds would be equal.
const CREATED: &str = "1970-01-01T00:00:00Z";

/// What an image is made of. The operating system is always Linux.
#[derive(Clone, Debug, Default)]
pub struct ImageSpec {
    /// The reference under which the image is loaded, e.g. `ghcr.io/team/app:1.0`.
    pub name: String,
    /// Processor architecture by Go's names: `amd64`, `arm64` …
    pub architecture: String,
    /// The program and its fixed arguments.
    pub entrypoint: Vec<String>,
    /// Arguments that whoever runs the image may replace.
    pub cmd: Vec<String>,
    /// Environment variables.
    pub env: BTreeMap<String, String>,
    /// `user`, `uid`, `user:group` or `uid:gid`; root if empty.
    pub user: String,
    /// Working directory; the root if empty.
    pub working_dir: String,
    /// Labels, see OCI image-spec `annotations.md` for well-known ones.
    pub labels: BTreeMap<String, String>,
    /// File trees, the lowest first.
    pub layers: Vec<Layer>,
}

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// The reference under which the image is loaded, normalised.
    pub name: String,
    /// Digest of the manifest: the one to pin an image by.
    pub manifest_digest: Digest,
    /// Digest of the configuration, which engines call the image's id.
    pub config_digest: Digest,
    /// The layers, the lowest first.
    pub layers: Vec<WrittenLayer>,
    /// Size of the archive in bytes.
    pub archive_size: u64,
}

impl Written {
    /// The reference that pins this very image: `registry/repository@digest`.
    pub fn pinned_name(&self) -> Result<String> {
        Ok(self.name.parse::<Reference>()?.pinned(&self.manifest_digest))
    }
}

/// A layer that was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrittenLayer {
    /// Digest of the compressed layer.
    pub digest: Digest,
    /// Digest of the tar in it.
    pub diff_id: Digest,
    /// Compressed size in bytes: what a node downloads.
    pub size: u64,
    /// Size of the tar in it, in bytes.
    pub tar_size: u64,
}

/// An assembled image: its manifest and every blob that the manifest names.
#[derive(Clone, Debug)]
pub struct Image {
    /// The reference under which the image is loaded.
    pub reference: Reference,
    pub(crate) architecture: Option<String>,
    pub(crate) manifest: Vec<u8>,
    pub(crate) config: Blob,
    pub(crate) layers: Vec<Blob>,
}

/// Bytes and what the manifest says of them.
#[derive(Clone, Debug)]
pub(crate) struct Blob {
    pub descriptor: Descriptor,
    pub bytes: Vec<u8>,
}

impl ImageSpec {
    /// An empty image of this name and architecture.
    pub fn new(name: impl Into<String>, architecture: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            architecture: architecture.into(),
            ..Self::default()
        }
    }

    /// Assembles the image and writes it as an archive; an archive that is there already is replaced in one step.
    pub fn write_archive(&self, path: &Path) -> Result<Written> {
        let (image, layers) = self.assemble_with_layers()?;
        let archive_size = image.write_archive(path)?;
        Ok(Written {
            name: image.reference.to_string(),
            manifest_digest: image.manifest_digest(),
            config_digest: image.config.descriptor.digest,
            layers,
            archive_size,
        })
    }

    /// Assembles the image in memory.
    pub fn assemble(&self) -> Result<Image> {
        Ok(self.assemble_with_layers()?.0)
    }

    fn assemble_with_layers(&self) -> Result<(Image, Vec<WrittenLayer>)> {
        let reference: Reference = self.name.parse()?;
        if reference.digest.is_some() {
            return Err(Error::Reference {
                reference: self.name.clone(),
                reason: "an image to be built has no digest yet",
            });
        }

        let mut layers = Vec::new();
        let mut written = Vec::new();
        for layer in &self.layers {
            let packed = layer.pack(&self.name)?;
            let descriptor = Descriptor::of(MEDIA_TYPE_LAYER, &packed.gzip);
            written.push(WrittenLayer {
                digest: descriptor.digest.clone(),
                diff_id: packed.diff_id,
                size: descriptor.size,
                tar_size: packed.tar_size,
            });
            layers.push(Blob {
                descriptor,
                bytes: packed.gzip,
            });
        }

        let config = self.json(&self.config(&written))?;
        let config = Blob {
            descriptor: Descriptor::of(MEDIA_TYPE_CONFIG, &config),
            bytes: config,
        };
        let manifest = self.json(&Manifest {
            schema_version: 2,
            media_type: MEDIA_TYPE_MANIFEST.to_owned(),
            config: config.descriptor.clone(),
            layers: layers.iter().map(|layer| layer.descriptor.clone()).collect(),
        })?;
        let image = Image {
            reference,
            architecture: Some(self.architecture.clone()),
            manifest,
            config,
            layers,
        };
        Ok((image, written))
    }

    fn config(&self, layers: &[WrittenLayer]) -> Config {
        Config {
            created: CREATED,
            architecture: self.architecture.clone(),
            os: "linux",
            execution: Execution {
                user: self.user.clone(),
                env: self.env.iter().map(|(name, value)| format!("{name}={value}")).collect(),
                entrypoint: self.entrypoint.clone(),
                cmd: self.cmd.clone(),
                working_dir: self.working_dir.clone(),
                labels: self.labels.clone(),
            },
            rootfs: RootFs {
                kind: "layers",
                diff_ids: layers.iter().map(|layer| layer.diff_id.clone()).collect(),
            },
        }
    }

    fn json(&self, document: &impl Serialize) -> Result<Vec<u8>> {
        serde_json::to_vec(document).map_err(|error| Error::Assemble {
            image: self.name.clone(),
            source: error.into(),
        })
    }
}

impl Image {
    /// Digest of the manifest: the one to pin an image by.
    pub fn manifest_digest(&self) -> Digest {
        Digest::of(&self.manifest)
    }

    /// Bytes of the layers, compressed: what a node downloads.
    pub fn layers_size(&self) -> u64 {
        self.layers.iter().map(|layer| layer.descriptor.size).sum()
    }

    /// The manifest's bytes, as a registry serves them.
    pub fn manifest(&self) -> &[u8] {
        &self.manifest
    }

    /// Writes the image as an archive and returns the archive's size in bytes.
    pub fn write_archive(&self, path: &Path) -> Result<u64> {
        archive::write(self, path)
    }

    /// Reads the first image of an archive; every blob is checked against its digest.
    pub fn read_archive(path: &Path) -> Result<Self> {
        archive::read(path)
    }
}
