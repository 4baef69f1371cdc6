//! What can go wrong with a registry, named by the request that failed.

use crate::Digest;

/// An error of talking to a registry.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// The target pins a digest that the image does not have.
    #[error("cannot push to {reference}: the image's digest is {actual}, not {wanted}")]
    OtherDigest {
        /// The target.
        reference: String,
        /// The digest that it pins.
        wanted: Digest,
        /// The image's digest.
        actual: Digest,
    },
    /// Somebody is named, but no password came.
    #[error("no password for {username} on stdin")]
    NoPassword {
        /// The account.
        username: String,
    },
    /// The registry was not reached, or the connection broke.
    #[error("{method} {url}")]
    Transport {
        /// HTTP method.
        method: String,
        /// What was asked for.
        url: String,
        /// What failed.
        #[source]
        source: Box<ureq::Error>,
    },
    /// The registry answered something that the specification does not foresee here.
    #[error("{method} {url}: the registry answered {status}{}{detail}", if detail.is_empty() { "" } else { ": " })]
    Status {
        /// HTTP method.
        method: String,
        /// What was asked for.
        url: String,
        /// HTTP status code.
        status: u16,
        /// The registry's own words, made safe to print.
        detail: String,
    },
    /// The registry wants credentials, or other ones.
    #[error("{url}: the registry refuses {} (status {status}); log in with an account that may {access} there", if *anonymous { "anonymous access" } else { "these credentials" })]
    Unauthorized {
        /// What was asked for.
        url: String,
        /// HTTP status code.
        status: u16,
        /// True if no credentials were given.
        anonymous: bool,
        /// `pull` or `push`.
        access: &'static str,
    },
    /// The registry asks for authentication in a way that we do not speak.
    #[error(
        "{url}: the registry asks for authentication that is neither Basic nor Bearer, or whose realm is unusable: {challenge}"
    )]
    Challenge {
        /// What was asked for.
        url: String,
        /// The `WWW-Authenticate` header, made safe to print.
        challenge: String,
    },
    /// The token service's answer holds no token.
    #[error("{url}: the token service's answer holds no token")]
    NoToken {
        /// The token service.
        url: String,
    },
    /// An upload was accepted but the registry did not say where to.
    #[error("{url}: the registry accepted an upload but gave no usable Location for it")]
    NoUploadLocation {
        /// What was asked for.
        url: String,
    },
    /// The registry stored something else than what was sent.
    #[error("{url}: the registry stored {stored} instead of {expected}")]
    StoredOther {
        /// What was sent.
        url: String,
        /// The digest of what was sent.
        expected: Digest,
        /// What the registry says it stored.
        stored: String,
    },
    /// What a reference names cannot be pulled.
    #[error("cannot pull {reference}: {reason}")]
    NotUsable {
        /// The reference.
        reference: String,
        /// Why not.
        reason: String,
    },
    /// The connection broke while content came.
    #[error("{url}: the download was cut")]
    Cut {
        /// What was asked for.
        url: String,
        /// What failed.
        source: std::io::Error,
    },
    /// The registry, or something between, served something else than what was asked for.
    #[error("{url} is not what was asked for: {reason}")]
    Content {
        /// What was asked for.
        url: String,
        /// What there was instead.
        reason: String,
    },
    /// What was pulled could not be written.
    #[error("cannot write the archive")]
    Archive(#[source] std::io::Error),
}

/// Makes a registry's words safe to print: one line, no control characters, bounded.
pub(super) fn safe(text: &str) -> String {
    const MAX_CHARS: usize = 300;
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(MAX_CHARS)
        .collect::<String>()
        .trim()
        .to_owned()
}
