//! Which image the agents run from.

use crate::exit::Failure;

/// Repository of the agent's image.
const REPOSITORY: &str = "ghcr.io/kubectl-netcheck/netcheck-agent";
/// Digest of the image that was published with this plugin, where the build knew it.
const DIGEST: Option<&str> = option_env!("NETCHECK_AGENT_DIGEST");

/// The user's choice of image.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImageChoice {
    /// `--image`: this reference and no other.
    pub image: Option<String>,
    /// `--image-prefix`: a registry, and optionally a path in it, that mirrors our image under its own last name.
    pub prefix: Option<String>,
    /// `--image-pull-secret`: Secrets in the agents' namespace.
    pub pull_secrets: Vec<String>,
}

impl ImageChoice {
    /// The reference to use.
    pub fn reference(&self) -> Result<String, Failure> {
        match (&self.image, &self.prefix) {
            (Some(_), Some(_)) => {
                Err(Failure::usage("--image and --image-prefix exclude each other").hint("give one of them"))
            }
            (Some(image), None) => Ok(image.clone()),
            (None, Some(prefix)) => {
                let name = REPOSITORY.rsplit_once('/').map_or(REPOSITORY, |(_, name)| name);
                Ok(tagged(&format!("{}/{name}", prefix.trim_end_matches('/'))))
            }
            (None, None) => Ok(default_reference()),
        }
    }
}

/// The image that belongs to this plugin, by digest where it is known.
pub fn default_reference() -> String {
    tagged(REPOSITORY)
}

fn tagged(repository: &str) -> String {
    let tag = format!("{repository}:{}", env!("CARGO_PKG_VERSION"));
    match DIGEST {
        Some(digest) => format!("{tag}@{digest}"),
        None => tag,
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
        let reference = choice.reference().unwrap();
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
        assert_eq!(choice.reference().unwrap(), "agent:dev");
        choice.prefix = Some("registry.local".to_owned());
        assert!(choice.reference().is_err());
    }
}
