//! Which images nodes and pods run.

use crate::{exit::Failure, output::safe};

/// An image of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Published {
    /// What it is called where only our own images are meant: `agent`.
    pub name: &'static str,
    /// What it is for, in a few words.
    pub purpose: &'static str,
    /// Where it is published.
    repository: &'static str,
    /// Digest of the image that was published with this plugin, where the build knew it.
    digest: Option<&'static str>,
    /// Bytes that a node pulls of it, in decimal digits, where the build knew them.
    size: Option<&'static str>,
}

/// The agent's.
pub const AGENT: Published = Published {
    name: "agent",
    purpose: "looking from inside the cluster: matrix, capture, verify",
    repository: "ghcr.io/kubectl-netcheck/netcheck-agent",
    digest: option_env!("NETCHECK_AGENT_DIGEST"),
    size: option_env!("NETCHECK_AGENT_SIZE"),
};

/// The bundled CNI's: its daemon, and the plugin that the daemon puts onto nodes.
pub const CNI: Published = Published {
    name: "cni",
    purpose: "cni install: the bundled pod network",
    repository: "ghcr.io/kubectl-netcheck/netcheck-cni",
    digest: option_env!("NETCHECK_CNI_DIGEST"),
    size: option_env!("NETCHECK_CNI_SIZE"),
};

/// The toolbox's: tools for people, who get a shell in it.
pub const TOOLBOX: Published = Published {
    name: "toolbox",
    purpose: "debug, run: tools for people",
    repository: "ghcr.io/kubectl-netcheck/netcheck-toolbox",
    digest: option_env!("NETCHECK_TOOLBOX_DIGEST"),
    size: option_env!("NETCHECK_TOOLBOX_SIZE"),
};

impl Published {
    /// The image that belongs to this plugin, by digest where it is known.
    pub fn reference(&self) -> String {
        self.tagged(self.repository)
    }

    /// Digest of the image that was published with this plugin, where the build knew it.
    pub fn digest(&self) -> Option<&'static str> {
        // make exports what it does not know as nothing.
        self.digest.filter(|digest| !digest.is_empty())
    }

    /// Bytes that a node pulls of it, where the build knew them.
    pub fn size(&self) -> Option<u64> {
        self.size.and_then(|size| size.parse().ok())
    }

    fn tagged(&self, repository: &str) -> String {
        let tag = format!("{repository}:{}", env!("CARGO_PKG_VERSION"));
        match self.digest() {
            Some(digest) => format!("{tag}@{digest}"),
            None => tag,
        }
    }
}

/// The user's choice of image.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImageChoice {
    /// `--image`: this reference and no other.
    pub image: Option<String>,
    /// `--image-prefix`: a registry, and optionally a path in it, that mirrors our image under its own last name.
    pub prefix: Option<String>,
    /// `--image-pull-secret`: Secrets in the namespace of its pods.
    pub pull_secrets: Vec<String>,
}

impl ImageChoice {
    /// The reference to use for this image of ours.
    ///
    /// # Errors
    /// If there are two choices, or one that no registry can serve.
    pub fn reference(&self, ours: &Published) -> Result<String, Failure> {
        // The kubelet would say so, too, once there is a pod, which in a pod of the user's stays listed.
        for (flag, value) in [("--image", &self.image), ("--image-prefix", &self.prefix)] {
            if let Some(value) = value.as_deref().filter(|value| !is_printable(value)) {
                return Err(Failure::usage(format!("{flag} {:?} names no image", safe(value)))
                    .hint("an image is named like registry.example:5000/tools/box:1.2"));
            }
        }
        match (&self.image, &self.prefix) {
            (Some(_), Some(_)) => {
                Err(Failure::usage("--image and --image-prefix exclude each other").hint("give one of them"))
            }
            (Some(image), None) => Ok(image.clone()),
            (None, Some(prefix)) => {
                let name = ours
                    .repository
                    .rsplit_once('/')
                    .map_or(ours.repository, |(_, name)| name);
                Ok(ours.tagged(&format!("{}/{name}", prefix.trim_end_matches('/'))))
            }
            (None, None) => Ok(ours.reference()),
        }
    }
}

/// Whether it has letters, and no others than those that can be part of a reference (distribution/reference: all of them are printable ASCII).
fn is_printable(reference: &str) -> bool {
    !reference.is_empty() && reference.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_registry_can_serve_is_refused() {
        for wrong in ["", "a b", " ", "a\n", "bild:größe"] {
            let image = ImageChoice {
                image: Some(wrong.to_owned()),
                ..ImageChoice::default()
            };
            let prefix = ImageChoice {
                prefix: Some(wrong.to_owned()),
                ..ImageChoice::default()
            };
            assert!(image.reference(&AGENT).is_err(), "{wrong:?}");
            assert!(prefix.reference(&AGENT).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_prefix_replaces_the_registry_and_keeps_name_and_version() {
        let choice = ImageChoice {
            prefix: Some("registry.local:5000/mirror/".to_owned()),
            ..ImageChoice::default()
        };
        let reference = choice.reference(&AGENT).unwrap();
        let expected = format!(
            "registry.local:5000/mirror/netcheck-agent:{}",
            env!("CARGO_PKG_VERSION")
        );
        assert!(reference.starts_with(&expected), "{reference}");
    }

    #[test]
    fn an_image_is_taken_as_it_is_and_not_together_with_a_prefix() {
        let mut choice = ImageChoice {
            image: Some("agent:dev".to_owned()),
            ..ImageChoice::default()
        };
        assert_eq!(choice.reference(&AGENT).unwrap(), "agent:dev");
        choice.prefix = Some("registry.local".to_owned());
        assert!(choice.reference(&AGENT).is_err());
    }
}
