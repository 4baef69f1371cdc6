//! The lock file: which Debian packages the image takes files from.
//!
//! One line for each package: name, version, architecture, sha256 of the `.deb`. Lines that start with `#` are comments.

use std::fmt::Write as _;

use crate::{Error, Result};

/// One locked package.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Package {
    /// Debian's name of the package.
    pub name: String,
    /// Debian version.
    pub version: String,
    /// Debian architecture for which it was locked.
    pub architecture: String,
    /// sha256 of the `.deb`, 64 lower-case hexadecimal digits.
    pub sha256: String,
}

/// Parses a lock file.
pub fn parse(text: &str) -> Result<Vec<Package>> {
    let mut packages = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let bad = |reason| Error::Lock {
            line: index + 1,
            reason,
        };
        let fields: Vec<_> = line.split_whitespace().collect();
        let [name, version, architecture, sha256] = fields[..] else {
            return Err(bad("expected: name version architecture sha256"));
        };
        // These become arguments of apt and names of files.
        if ![name, version, architecture].into_iter().all(is_word) {
            return Err(bad(
                "a name, version or architecture has characters that Debian does not allow",
            ));
        }
        if sha256.len() != 64 || !sha256.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(bad("a sha256 has 64 lower-case hexadecimal digits"));
        }
        packages.push(Package {
            name: name.to_owned(),
            version: version.to_owned(),
            architecture: architecture.to_owned(),
            sha256: sha256.to_owned(),
        });
    }
    Ok(packages)
}

/// Writes a lock file, sorted.
pub fn format(packages: &[Package]) -> String {
    let mut packages = packages.to_vec();
    packages.sort();
    let mut text = "# Debian packages that images take files from: name, version, architecture, sha256.\n\
                    # Written by: netcheck-image lock\n"
        .to_owned();
    for Package {
        name,
        version,
        architecture,
        sha256,
    } in packages
    {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{name} {version} {architecture} {sha256}");
    }
    text
}

/// Debian policy, sections 5.6.1 and 5.6.12: the characters of names and versions; never an option.
fn is_word(word: &str) -> bool {
    word.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.~:".contains(&b))
        && word.as_bytes()[0].is_ascii_alphanumeric()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str) -> Package {
        Package {
            name: name.into(),
            version: "1:2.3+x~1-4".into(),
            architecture: "amd64".into(),
            sha256: "0123456789abcdef".repeat(4),
        }
    }

    #[test]
    fn what_is_written_is_read_again_sorted() {
        let text = format(&[package("nftables"), package("ipset")]);
        assert_eq!(parse(&text).unwrap(), [package("ipset"), package("nftables")]);
    }

    #[test]
    fn malformed_lines_are_named() {
        let good = format(&[package("nftables")]);
        for (broken, line) in [
            (good.replace("amd64 ", ""), 3),
            (good.replace("nftables", "-o"), 3),
            (good.replace("nftables", "../x"), 3),
            (good.replace("0123", "012"), 3),
            (good.replace("abcd", "ABCD"), 3),
        ] {
            assert!(
                matches!(parse(&broken), Err(Error::Lock { line: l, .. }) if l == line),
                "{broken}"
            );
        }
    }
}
