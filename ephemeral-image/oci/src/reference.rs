//! Image references, normalised as container engines do: `busybox` means `docker.io/library/busybox:latest`.
//!
//! Grammar: OCI distribution-spec v1.1, "Pulling manifests" (name and tag expressions); the default registry and the
//! `library/` prefix are Docker's convention, which kubelets and containerd follow.

use std::fmt;
use std::str::FromStr;

use crate::{Digest, Error};

/// A parsed image reference: registry, repository and a tag, a digest or both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// Registry host, with its port if it has one.
    pub registry: String,
    /// Repository path below the registry.
    pub repository: String,
    /// Tag; `latest` when neither a tag nor a digest was given.
    pub tag: Option<String>,
    /// Digest of the manifest.
    pub digest: Option<Digest>,
}

impl Reference {
    /// `registry/repository`, without tag and digest.
    pub fn name(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }

    /// The same image pinned to a manifest: `registry/repository@digest`, as container runtimes name it.
    pub fn pinned(&self, digest: &Digest) -> String {
        format!("{}@{digest}", self.name())
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

impl FromStr for Reference {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let bad = |reason| Error::Reference {
            reference: text.to_owned(),
            reason,
        };

        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (
                rest,
                Some(
                    digest
                        .parse()
                        .map_err(|_| bad("the part after @ is not a sha256 digest"))?,
                ),
            ),
            None => (text, None),
        };
        // A colon after the last slash starts a tag; one before it belongs to the registry's port.
        let path_start = rest.rfind('/').map_or(0, |slash| slash + 1);
        let (path, tag) = match rest[path_start..].split_once(':') {
            Some((last, tag)) => (&rest[..path_start + last.len()], Some(tag.to_owned())),
            None => (rest, None),
        };
        if tag.as_deref().is_some_and(|tag| !is_tag(tag)) {
            return Err(bad("a tag is 1 to 128 letters, digits, '_', '.' or '-'"));
        }

        let (registry, repository) = match path.split_once('/') {
            Some((first, repository)) if is_registry(first) => (first.to_owned(), repository.to_owned()),
            Some(_) => ("docker.io".to_owned(), path.to_owned()),
            None => ("docker.io".to_owned(), format!("library/{path}")),
        };
        if !registry
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b':' | b'[' | b']'))
        {
            return Err(bad("the registry is not a host name"));
        }
        if !repository.split('/').all(is_path_component) {
            return Err(bad(
                "a repository is lower-case letters and digits, parted by '/', '.', '_' or '-'",
            ));
        }
        let tag = if tag.is_none() && digest.is_none() {
            Some("latest".to_owned())
        } else {
            tag
        };
        Ok(Self {
            registry,
            repository,
            tag,
            digest,
        })
    }
}

/// The first component is a registry, not a repository's folder, if it looks like a host.
fn is_registry(component: &str) -> bool {
    component == "localhost" || component.contains(['.', ':'])
}

fn is_tag(tag: &str) -> bool {
    (1..=128).contains(&tag.len())
        && tag
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
        && !tag.starts_with(['.', '-'])
}

fn is_path_component(component: &str) -> bool {
    let alphanumeric = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    component
        .bytes()
        .all(|b| alphanumeric(b) || matches!(b, b'.' | b'_' | b'-'))
        && component.bytes().next().is_some_and(alphanumeric)
        && component.bytes().last().is_some_and(alphanumeric)
}

#[cfg(test)]
mod tests {
    use super::Reference;

    #[test]
    fn normalises_as_container_engines_do() {
        let digest = format!("sha256:{}", "0".repeat(64));
        for (given, expected) in [
            ("busybox", "docker.io/library/busybox:latest".to_owned()),
            ("team/app:1.0", "docker.io/team/app:1.0".to_owned()),
            ("localhost/app", "localhost/app:latest".to_owned()),
            ("127.0.0.1:5000/a/b:x", "127.0.0.1:5000/a/b:x".to_owned()),
            ("[::1]:5000/a", "[::1]:5000/a:latest".to_owned()),
            (&format!("ghcr.io/a/b:1@{digest}"), format!("ghcr.io/a/b:1@{digest}")),
            (&format!("ghcr.io/a/b@{digest}"), format!("ghcr.io/a/b@{digest}")),
        ] {
            assert_eq!(given.parse::<Reference>().unwrap().to_string(), expected);
        }
    }

    #[test]
    fn refuses_what_no_registry_understands() {
        for given in [
            "",
            "/",
            "UPPER/case",
            "a//b",
            "a/../b",
            "app:",
            "app:a b",
            "app@sha256:00",
            "-app",
            "ho\u{1b}st.x/a",
        ] {
            assert!(given.parse::<Reference>().is_err(), "{given:?}");
        }
    }
}
