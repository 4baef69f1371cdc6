//! A layer: a file tree that always becomes the same bytes.
//!
//! Everything that could differ between two builds is fixed: entries are sorted, times are 0, owner and group are 0, and
//! the gzip header names neither a time, a file nor an operating system. Format: OCI image-spec v1.1, `layer.md`.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::{self, Write as _};

use flate2::{Compression, GzBuilder};
use tar::{EntryType, Header};

use crate::parallel::in_parallel;
use crate::{Digest, Error, Result};

/// "Unknown" in the operating-system field of a gzip header (RFC 1952, section 2.3.1).
const GZIP_OS_UNKNOWN: u8 = 255;

/// Layers above so many bytes are compressed in blocks of that many.
const BLOCK: usize = 16 << 20;

/// Mode of folders that were not added by name.
const PARENT_MODE: u32 = 0o755;

/// A file tree. Paths are absolute in the image; missing parent folders are created with mode 0755.
#[derive(Clone, Debug, Default)]
pub struct Layer {
    entries: Vec<(String, Entry)>,
}

#[derive(Clone, Debug)]
enum Entry {
    Directory { mode: u32 },
    File { bytes: Vec<u8>, mode: u32 },
    Symlink { target: String },
}

/// A layer as it goes into an image.
#[derive(Clone, Debug)]
pub(crate) struct PackedLayer {
    /// The gzipped tar.
    pub gzip: Vec<u8>,
    /// Digest of the tar before compression, which the image's configuration lists.
    pub diff_id: Digest,
    /// Size of the tar before compression, in bytes.
    pub tar_size: u64,
}

impl Layer {
    /// An empty layer.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a folder with these permission bits (setuid, setgid and sticky included).
    #[must_use]
    pub fn dir(self, path: impl Into<String>, mode: u32) -> Self {
        self.with(path.into(), Entry::Directory { mode })
    }

    /// Adds a regular file with these permission bits.
    #[must_use]
    pub fn file(self, path: impl Into<String>, bytes: impl Into<Vec<u8>>, mode: u32) -> Self {
        self.with(
            path.into(),
            Entry::File {
                bytes: bytes.into(),
                mode,
            },
        )
    }

    /// Adds a symbolic link; the target is stored as given.
    #[must_use]
    pub fn symlink(self, path: impl Into<String>, target: impl Into<String>) -> Self {
        self.with(path.into(), Entry::Symlink { target: target.into() })
    }

    /// Bytes of all files in the layer.
    pub fn content_size(&self) -> u64 {
        let size = |entry: &Entry| {
            if let Entry::File { bytes, .. } = entry {
                bytes.len() as u64
            } else {
                0
            }
        };
        self.entries.iter().map(|(_, entry)| size(entry)).sum()
    }

    /// The layer as an uncompressed tar: what a container's root folder is unpacked from.
    pub fn to_tar(&self) -> Result<Vec<u8>> {
        let tree = self.tree()?;
        write_tar(&tree).map_err(|source| Error::Assemble {
            image: "layer".to_owned(),
            source,
        })
    }

    /// Packs the layer; `image` names it in errors.
    pub(crate) fn pack(&self, image: &str) -> Result<PackedLayer> {
        let failed = |source| Error::Assemble {
            image: image.to_owned(),
            source,
        };
        let tar = write_tar(&self.tree()?).map_err(failed)?;
        let gzip = compress(&tar).map_err(failed)?;
        Ok(PackedLayer {
            gzip,
            diff_id: Digest::of(&tar),
            tar_size: tar.len() as u64,
        })
    }

    fn with(mut self, path: String, entry: Entry) -> Self {
        self.entries.push((path, entry));
        self
    }

    /// The entries by path below the root, parents included. `BTreeMap` puts a folder before what is in it.
    fn tree(&self) -> Result<BTreeMap<String, Cow<'_, Entry>>> {
        let mut tree = BTreeMap::new();
        for (path, entry) in &self.entries {
            let relative = relative(path)?;
            if tree.insert(relative, Cow::Borrowed(entry)).is_some() {
                return Err(Error::LayerPath {
                    path: path.clone(),
                    reason: "it was added twice",
                });
            }
        }
        for (path, _) in &self.entries {
            let mut below = path.trim_matches('/');
            while let Some((parent, _)) = below.rsplit_once('/') {
                let entry = tree
                    .entry(parent.to_owned())
                    .or_insert(Cow::Owned(Entry::Directory { mode: PARENT_MODE }));
                if !matches!(**entry, Entry::Directory { .. }) {
                    return Err(Error::LayerPath {
                        path: path.clone(),
                        reason: "its parent is not a folder",
                    });
                }
                below = parent;
            }
        }
        Ok(tree)
    }
}

/// The path below the root, without slashes at its ends.
fn relative(path: &str) -> Result<String> {
    let bad = |reason| Error::LayerPath {
        path: path.to_owned(),
        reason,
    };
    let Some(rest) = path.strip_prefix('/') else {
        return Err(bad("it is not absolute"));
    };
    let rest = rest.trim_end_matches('/');
    if rest.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err(bad("it has an empty, '.' or '..' component"));
    }
    if rest.contains('\0') {
        return Err(bad("it contains a NUL"));
    }
    Ok(rest.to_owned())
}

fn write_tar(tree: &BTreeMap<String, Cow<'_, Entry>>) -> io::Result<Vec<u8>> {
    let mut tar = tar::Builder::new(Vec::new());
    for (path, entry) in tree {
        let mut header = Header::new_gnu();
        header.set_mtime(0);
        header.set_uid(0);
        header.set_gid(0);
        header.set_size(0);
        match &**entry {
            Entry::Directory { mode } => {
                header.set_entry_type(EntryType::Directory);
                header.set_mode(*mode);
                tar.append_data(&mut header, format!("{path}/"), io::empty())?;
            }
            Entry::File { bytes, mode } => {
                header.set_entry_type(EntryType::Regular);
                header.set_mode(*mode);
                header.set_size(bytes.len() as u64);
                tar.append_data(&mut header, path, bytes.as_slice())?;
            }
            Entry::Symlink { target } => {
                header.set_entry_type(EntryType::Symlink);
                header.set_mode(0o777);
                tar.append_link(&mut header, path, target)?;
            }
        }
    }
    tar.into_inner()
}

/// Small layers as well as possible, for each node pulls them. Of large ones the last hundredth would cost more of a build's time than all the
/// rest, and one processor is not enough: they are blocks, each a gzip member of its own, which a gzip file may have any number of
/// (RFC 1952, section 2.2).
fn compress(tar: &[u8]) -> io::Result<Vec<u8>> {
    if tar.len() <= BLOCK {
        return gzip(tar, Compression::best());
    }
    let blocks: Vec<&[u8]> = tar.chunks(BLOCK).collect();
    let members = in_parallel(&blocks, |block| gzip(block, Compression::default()));
    Ok(members.into_iter().collect::<io::Result<Vec<_>>>()?.concat())
}

fn gzip(bytes: &[u8], level: Compression) -> io::Result<Vec<u8>> {
    let mut gzip = GzBuilder::new()
        .mtime(0)
        .operating_system(GZIP_OS_UNKNOWN)
        .write(Vec::new(), level);
    gzip.write_all(bytes)?;
    gzip.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listing(layer: &Layer) -> Vec<(String, u32, EntryType)> {
        let tar = layer.to_tar().unwrap();
        let mut archive = tar::Archive::new(tar.as_slice());
        let describe = |entry: io::Result<tar::Entry<'_, &[u8]>>| {
            let entry = entry.unwrap();
            let header = entry.header();
            assert_eq!(
                (header.mtime().unwrap(), header.uid().unwrap(), header.gid().unwrap()),
                (0, 0, 0)
            );
            (
                entry.path().unwrap().to_str().unwrap().to_owned(),
                header.mode().unwrap(),
                header.entry_type(),
            )
        };
        archive.entries().unwrap().map(describe).collect()
    }

    #[test]
    fn parents_are_created_and_order_of_calls_does_not_matter() {
        let one = Layer::new()
            .file("/a/b/c", b"c".as_slice(), 0o644)
            .dir("/a", 0o1777)
            .symlink("/a/z", "b/c");
        let other = Layer::new()
            .symlink("/a/z", "b/c")
            .dir("/a/", 0o1777)
            .file("/a/b/c", b"c".as_slice(), 0o644);
        assert_eq!(
            listing(&one),
            [
                ("a/".to_owned(), 0o1777, EntryType::Directory),
                ("a/b/".to_owned(), 0o755, EntryType::Directory),
                ("a/b/c".to_owned(), 0o644, EntryType::Regular),
                ("a/z".to_owned(), 0o777, EntryType::Symlink),
            ]
        );
        assert_eq!(one.pack("x").unwrap().gzip, other.pack("x").unwrap().gzip);
    }

    #[test]
    fn a_path_longer_than_a_tar_header_survives() {
        let path = format!("/{}", ["component-of-a-long-path"; 12].join("/"));
        let layer = Layer::new().file(path.clone(), b"x".as_slice(), 0o600);
        assert_eq!(format!("/{}", listing(&layer).last().unwrap().0), path);
    }

    #[test]
    fn refuses_paths_that_leave_the_root_or_contradict() {
        let file = |path: &str| Layer::new().file(path, b"".as_slice(), 0o644);
        for layer in [
            file("relative"),
            file("/"),
            file("/a/../b"),
            file("/a//b"),
            file("/a").file("/a", b"".as_slice(), 0o644),
            file("/a").file("/a/b", b"".as_slice(), 0o644),
            Layer::new()
                .symlink("/lib", "usr/lib")
                .file("/lib/x", b"".as_slice(), 0o644),
        ] {
            assert!(matches!(layer.to_tar(), Err(Error::LayerPath { .. })), "{layer:?}");
        }
    }

    #[test]
    fn a_large_layer_is_the_same_file_tree_and_the_same_bytes_each_time() {
        let layer = Layer::new().file("/large", vec![7; BLOCK + 1], 0o644);
        let packed = layer.pack("x").unwrap();
        assert!(packed.tar_size > BLOCK as u64, "{}", packed.tar_size);
        let mut tar = Vec::new();
        io::Read::read_to_end(&mut flate2::read::MultiGzDecoder::new(packed.gzip.as_slice()), &mut tar).unwrap();
        assert!(tar == layer.to_tar().unwrap());
        assert!(packed.gzip == layer.pack("x").unwrap().gzip);
    }

    #[test]
    fn gzip_header_says_nothing_about_the_builder() {
        // RFC 1952, section 2.3: magic, deflate, no flags, time 0, slowest compression, unknown system.
        let gzip = Layer::new().pack("x").unwrap().gzip;
        assert_eq!(gzip[..10], [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 2, 255]);
    }
}
