//! What an image has of Debian: the layer below its programs, the same in all images of one base.

use crate::tree::{Node, Tree};
use crate::{Result, toolbox};

/// A choice of Debian's packages, and of the files in them.
pub struct Base {
    /// What it is called where sizes are told.
    pub name: &'static str,
    /// Its lock file, below the folder of our images' sources.
    pub lock_file: &'static str,
    /// Names of packages, one a line; lines that start with `#` are comments.
    list: &'static str,
    /// Puts into the tree what is in no package: a maintainer script would have made it.
    pub(crate) arrange: fn(&mut Tree) -> Result<()>,
    /// The files to take, given Debian's folder of libraries; what they load is found by itself.
    pub(crate) roots: fn(&Tree, &str) -> Vec<String>,
}

/// What reads a node's rulesets, and nothing else: there is no shell.
pub const READERS: Base = Base {
    name: "readers",
    lock_file: "image/debian.lock",
    list: "base-files\nipset\niptables\nnftables\n",
    arrange: arrange_readers,
    roots: reader_roots,
};

/// Tools for people.
pub const TOOLBOX: Base = Base {
    name: "toolbox",
    lock_file: "toolbox/debian.lock",
    list: include_str!("../../toolbox/packages"),
    arrange: toolbox::arrange,
    roots: toolbox::roots,
};

/// All of them.
pub const ALL: [&Base; 2] = [&READERS, &TOOLBOX];

/// The package that holds the texts of the licences that the others' copyright files refer to.
pub(crate) const LICENCE_PACKAGE: &str = "base-files";

/// The programs that read rulesets.
const READER_PROGRAMS: [&str; 6] = [
    "/usr/sbin/ip6tables-legacy-save",
    "/usr/sbin/ip6tables-nft-save",
    "/usr/sbin/ipset",
    "/usr/sbin/iptables-legacy-save",
    "/usr/sbin/iptables-nft-save",
    "/usr/sbin/nft",
];

/// Licences of the readers and their libraries; the GPL asks for a copy beside every binary.
const READER_LICENCES: [&str; 4] = ["GPL-2", "GPL-3", "LGPL-2.1", "LGPL-3"];

const READER_PASSWD: &str = "root:x:0:0:root:/:/nonexistent\nnonroot:x:65532:65532:nonroot:/:/nonexistent\n";

/// Groups of every image.
const GROUP: &str = "root:x:0:\nnonroot:x:65532:\n";

impl Base {
    /// The packages that are asked for by name.
    pub fn packages(&self) -> Vec<&'static str> {
        let lines = self.list.lines().map(str::trim);
        lines
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
            .collect()
    }
}

#[expect(clippy::unnecessary_wraps, reason = "other bases' may fail")]
fn arrange_readers(tree: &mut Tree) -> Result<()> {
    accounts(tree, READER_PASSWD);
    Ok(())
}

/// The files that every program expects, whoever runs it.
pub(crate) fn accounts(tree: &mut Tree, passwd: &str) {
    tree.insert("/etc/passwd", Node::text(passwd), LICENCE_PACKAGE);
    tree.insert("/etc/group", Node::text(GROUP), LICENCE_PACKAGE);
}

fn reader_roots(tree: &Tree, libraries: &str) -> Vec<String> {
    let plugins = format!("{libraries}/xtables/");
    let licences = READER_LICENCES.map(|licence| format!("/usr/share/common-licenses/{licence}"));
    let named = READER_PROGRAMS.into_iter().chain(["/etc/passwd", "/etc/group"]);
    named
        .chain(tree.paths_below(&plugins))
        .map(str::to_owned)
        .chain(licences)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_name_no_packages() {
        assert_eq!(READERS.packages(), ["base-files", "ipset", "iptables", "nftables"]);
        let names = TOOLBOX.packages();
        assert!(names.contains(&"tcpdump"), "{names:?}");
        assert!(names.iter().all(|name| !name.contains([' ', '#'])), "{names:?}");
    }
}
