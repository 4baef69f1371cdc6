//! Which files a set of programs needs to run: links, interpreter and shared libraries, all the way down.

use std::collections::BTreeSet;

use crate::elf;
use crate::tree::{Node, Tree};
use crate::{Error, Result};

/// Every path that the `roots` need, the roots included. `library_folders` are searched in order, as the loader's default path is.
pub fn closure(tree: &Tree, roots: &[String], library_folders: &[String]) -> Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    let mut open: Vec<(String, &str)> = roots.iter().map(|root| (root.clone(), "the image")).collect();
    while let Some((path, needed_by)) = open.pop() {
        if found.contains(&path) {
            continue;
        }
        let missing = |path: &str, needed_by: &str| Error::Missing {
            path: path.to_owned(),
            needed_by: needed_by.to_owned(),
        };
        let (own_path, node) = tree.entry(&path).ok_or_else(|| missing(&path, needed_by))?;
        found.insert(path);
        match node {
            // A link to a folder brings nothing of what is in it.
            Node::Symlink(_) => {
                let target = tree.link_target(own_path).filter(|target| !tree.is_folder(target));
                open.extend(target.map(|target| (target, own_path)));
            }
            Node::File { bytes, .. } if elf::is_elf(bytes) => {
                let needs = elf::needs(bytes).map_err(|reason| Error::Elf {
                    path: own_path.to_owned(),
                    reason,
                })?;
                open.extend(needs.interpreter.map(|path| (Tree::normalise(&path), own_path)));
                for library in needs.libraries {
                    let candidates = library_folders.iter().map(|folder| format!("{folder}/{library}"));
                    let file = candidates.into_iter().find(|candidate| tree.get(candidate).is_some());
                    open.push((file.ok_or_else(|| missing(&library, own_path))?, own_path));
                }
            }
            Node::File { .. } => {}
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folders() -> Vec<String> {
        vec!["/usr/lib/x86_64-linux-gnu".to_owned()]
    }

    /// The test's own program is a real dynamic executable; what the host's `ldd` would name must be asked for.
    #[test]
    fn a_real_programs_libraries_are_asked_for() {
        let program = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let mut tree = Tree::default();
        tree.insert(
            "/prog",
            Node::File {
                bytes: program,
                mode: 0o755,
            },
            "p",
        );
        tree.insert("/link", Node::Symlink("prog".into()), "p");
        let error = closure(&tree, &["/link".into()], &folders()).unwrap_err();
        assert!(
            matches!(&error, Error::Missing { needed_by, .. } if needed_by == "/prog"),
            "{error}"
        );

        let file = |bytes: &[u8]| Node::File {
            bytes: bytes.to_vec(),
            mode: 0o755,
        };
        for name in ["libc.so.6", "libgcc_s.so.1", "libm.so.6", "ld-linux-x86-64.so.2"] {
            tree.insert(&format!("/usr/lib/x86_64-linux-gnu/{name}"), file(b"library"), "libc6");
        }
        tree.insert(
            "/lib64/ld-linux-x86-64.so.2",
            Node::Symlink("/lib/ld.so".into()),
            "libc6",
        );
        tree.insert("/lib/ld.so", file(b"loader"), "libc6");
        tree.insert("/usr/lib/x86_64-linux-gnu/libunused.so", file(b"library"), "other");
        let found = closure(&tree, &["/link".into()], &folders()).unwrap();
        for path in [
            "/link",
            "/prog",
            "/usr/lib/x86_64-linux-gnu/libc.so.6",
            "/usr/lib64/ld-linux-x86-64.so.2",
            "/usr/lib/ld.so",
        ] {
            assert!(found.contains(path), "{path} not in {found:?}");
        }
        assert!(!found.contains("/usr/lib/x86_64-linux-gnu/libunused.so"));
    }

    #[test]
    fn a_circle_of_links_ends() {
        let mut tree = Tree::default();
        tree.insert("/a", Node::Symlink("b".into()), "p");
        tree.insert("/b", Node::Symlink("a".into()), "p");
        assert_eq!(closure(&tree, &["/a".into()], &folders()).unwrap().len(), 2);
    }

    #[test]
    fn a_damaged_program_is_named() {
        let mut tree = Tree::default();
        tree.insert(
            "/prog",
            Node::File {
                bytes: b"\x7fELF-and-then-nothing".to_vec(),
                mode: 0o755,
            },
            "p",
        );
        assert!(
            matches!(closure(&tree, &["/prog".into()], &folders()), Err(Error::Elf { path, .. }) if path == "/prog")
        );
    }
}
