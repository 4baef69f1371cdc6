//! The files of unpacked packages, in memory.

use std::collections::BTreeMap;
use std::io::{self, Read};

use tar::{Archive, EntryType};

/// No file of ours comes near but Wireshark's decoders; a larger one is not what we think it is.
const MAX_FILE_BYTES: u64 = 160 << 20;

/// Folders that are links into `/usr` on a merged system, which all of Debian 12's are, and which its packages still name.
pub const MERGED: [&str; 4] = ["bin", "lib", "lib64", "sbin"];

/// What a path is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    /// A regular file.
    File {
        /// Its content.
        bytes: Vec<u8>,
        /// Its permission bits.
        mode: u32,
    },
    /// A symbolic link with its target as stored.
    Symlink(String),
}

/// Files by absolute path, and the package each came from.
#[derive(Clone, Debug, Default)]
pub struct Tree {
    nodes: BTreeMap<String, (Node, String)>,
}

impl Node {
    /// A file that everybody may read.
    pub fn text(content: impl Into<Vec<u8>>) -> Self {
        Self::File {
            bytes: content.into(),
            mode: 0o644,
        }
    }

    /// A file that everybody may run.
    pub fn program(content: impl Into<Vec<u8>>) -> Self {
        Self::File {
            bytes: content.into(),
            mode: 0o755,
        }
    }
}

impl Tree {
    /// What is at this path.
    pub fn get(&self, path: &str) -> Option<&Node> {
        self.nodes.get(path).map(|(node, _)| node)
    }

    /// What is at this path, with the tree's own copy of the path.
    pub(crate) fn entry(&self, path: &str) -> Option<(&str, &Node)> {
        self.nodes
            .get_key_value(path)
            .map(|(path, (node, _))| (path.as_str(), node))
    }

    /// The path as this tree knows it: absolute, without `.` and `..`, under `/usr` where systems are merged.
    pub(crate) fn normalise(path: &str) -> String {
        normalise(path)
    }

    /// The package that brought this path.
    pub fn package_of(&self, path: &str) -> Option<&str> {
        self.nodes.get(path).map(|(_, package)| package.as_str())
    }

    /// Paths that start so, in order.
    pub fn paths_below<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = &'a str> {
        self.nodes
            .range(prefix.to_owned()..)
            .map(|(path, _)| path.as_str())
            .take_while(move |path| path.starts_with(prefix))
    }

    /// Whether there is anything below this path.
    pub fn is_folder(&self, path: &str) -> bool {
        let below = format!("{}/", path.trim_end_matches('/'));
        self.paths_below(&below).next().is_some()
    }

    /// Adds one file.
    pub fn insert(&mut self, path: &str, node: Node, package: &str) {
        self.nodes.insert(normalise(path), (node, package.to_owned()));
    }

    /// Moves what is at a path, which may be replaced by something else then; `None` if nothing is there.
    pub fn rename(&mut self, from: &str, to: &str) -> Option<()> {
        let node = self.nodes.remove(from)?;
        self.nodes.insert(normalise(to), node);
        Some(())
    }

    /// Takes out what is at this path.
    pub fn take(&mut self, path: &str) -> Option<Node> {
        self.nodes.remove(path).map(|(node, _)| node)
    }

    /// Adds a package's files from its uncompressed tar. Folders are left out; owner and times are dropped.
    pub fn add_tar(&mut self, package: &str, tar: impl Read) -> io::Result<()> {
        for entry in Archive::new(tar).entries()? {
            let mut entry = entry?;
            let path = normalise(&entry.path()?.to_string_lossy());
            let link = || -> io::Result<String> {
                let target = entry
                    .link_name()?
                    .ok_or_else(|| io::Error::other(format!("{path}: a link without target")))?;
                Ok(target.to_string_lossy().into_owned())
            };
            let node = match entry.header().entry_type() {
                EntryType::Symlink => Node::Symlink(link()?),
                EntryType::Link => {
                    let target = normalise(&link()?);
                    let node = self.get(&target).cloned();
                    node.ok_or_else(|| {
                        io::Error::other(format!("{path}: a hard link to {target}, which did not come before"))
                    })?
                }
                EntryType::Regular => {
                    if entry.size() > MAX_FILE_BYTES {
                        return Err(io::Error::other(format!(
                            "{path}: larger than {} MiB",
                            MAX_FILE_BYTES >> 20
                        )));
                    }
                    let mode = entry.header().mode()?;
                    let mut bytes = Vec::new();
                    entry.read_to_end(&mut bytes)?;
                    Node::File { bytes, mode }
                }
                _ => continue,
            };
            self.nodes.insert(path, (node, package.to_owned()));
        }
        Ok(())
    }

    /// Follows a link at `path`: the path that it names. `None` if nothing or a file is there.
    pub fn link_target(&self, path: &str) -> Option<String> {
        let Some(Node::Symlink(target)) = self.get(path) else {
            return None;
        };
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        Some(if target.starts_with('/') {
            normalise(target)
        } else {
            normalise(&format!("{folder}/{target}"))
        })
    }
}

/// An absolute path without `.` and `..`, under `/usr` where systems are merged.
fn normalise(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    if parts.first().is_some_and(|first| MERGED.contains(first)) {
        parts.insert(0, "usr");
    }
    format!("/{}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_those_of_a_merged_system() {
        for (given, expected) in [
            (
                "./lib/x86_64-linux-gnu/libc.so.6",
                "/usr/lib/x86_64-linux-gnu/libc.so.6",
            ),
            ("/usr/sbin/../sbin/nft", "/usr/sbin/nft"),
            ("sbin/ipset", "/usr/sbin/ipset"),
            ("../../etc/passwd", "/etc/passwd"),
            ("./etc/lib/x", "/etc/lib/x"),
        ] {
            assert_eq!(normalise(given), expected);
        }
    }

    #[test]
    fn reads_files_and_both_kinds_of_links() {
        let mut builder = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o755);
        header.set_size(3);
        builder
            .append_data(&mut header.clone(), "./sbin/multi", b"elf".as_slice())
            .unwrap();
        header.set_size(0);
        header.set_entry_type(EntryType::Symlink);
        builder.append_link(&mut header, "./usr/sbin/save", "multi").unwrap();
        header.set_entry_type(EntryType::Link);
        builder
            .append_link(&mut header, "./usr/sbin/hard", "./sbin/multi")
            .unwrap();
        let tar = builder.into_inner().unwrap();

        let mut tree = Tree::default();
        tree.add_tar("p", tar.as_slice()).unwrap();
        let file = Node::File {
            bytes: b"elf".to_vec(),
            mode: 0o755,
        };
        assert_eq!(tree.get("/usr/sbin/multi"), Some(&file));
        assert_eq!(tree.get("/usr/sbin/hard"), Some(&file));
        assert_eq!(tree.link_target("/usr/sbin/save").as_deref(), Some("/usr/sbin/multi"));
        assert_eq!(tree.package_of("/usr/sbin/save"), Some("p"));
        assert_eq!(tree.paths_below("/usr/sbin/").count(), 3);
    }
}
