//! Which images nodes and pods run.

use crate::exit::Failure;

/// An image of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Published {
    /// What it is called where only our own images are meant: `agent`.
    pub name: &'static str,
    /// Where it is published.
    repository: &'static str,
    /// Digest of the image that was published with this plugin, where the build knew it.
    digest: Option<&'static str>,
}

/// The agent's.
pub const AGENT: Published = Published {
    name: "agent",
    repository: "ghcr.io/kubectl-netcheck/netcheck-agent",
    digest: option_env!("NETCHECK_AGENT_DIGEST"),
};

/// The bundled CNI's: its daemon, and the plugin that the daemon puts onto nodes.
pub const CNI: Published = Published {
    name: "cni",
    repository: "ghcr.io/kubectl-netcheck/netcheck-cni",
    digest: option_env!("NETCHECK_CNI_DIGEST"),
};

/// The toolbox's: tools for people, who get a shell in it.
pub const TOOLBOX: Published = Published {
    name: "toolbox",
    repository: "ghcr.io/kubectl-netcheck/netcheck-toolbox",
    digest: option_env!("NETCHECK_TOOLBOX_DIGEST"),
};

impl Published {
    /// The image that belongs to this plugin, by digest where it is known.
    pub fn reference(&self) -> String {
        self.tagged(self.repository)
    }

    fn tagged(&self, repository: &str) -> String {
        let tag = format!("{repository}:{}", env!("CARGO_PKG_VERSION"));
        match self.digest {
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
    pub fn reference(&self, ours: &Published) -> Result<String, Failure> {
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

#[cfg(test)]
mod tests {
    use super::*;

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
