//! Names of pods and Services: which words can be one, and who turns them into addresses.

use std::fmt;
use std::net::IpAddr;

/// What kind of object a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// `pod NAME`
    Pod,
    /// `svc NAME`
    Service,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pod => "pod",
            Self::Service => "svc",
        })
    }
}

/// A pod or Service as the expression names it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Name {
    /// Pod or Service.
    pub kind: Kind,
    /// The namespace, where the expression gives one (`pod NAMESPACE/NAME`).
    pub namespace: Option<String>,
    /// The object's name.
    pub name: String,
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{} {namespace}/{}", self.kind, self.name),
            None => write!(f, "{} {}", self.kind, self.name),
        }
    }
}

/// Turns names into addresses.
pub trait Names {
    /// All addresses of the object, of both families.
    ///
    /// # Errors
    /// Why there are none, in words for the user: no such pod, not running yet, ….
    fn addresses(&self, name: &Name) -> Result<Vec<IpAddr>, String>;
}

/// For where no cluster is at hand: every name is refused.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoNames;

impl Names for NoNames {
    fn addresses(&self, _: &Name) -> Result<Vec<IpAddr>, String> {
        Err("no cluster is at hand here to look it up, use `host` and its address".to_owned())
    }
}

/// Whether this is one label of a DNS name as Kubernetes takes it (RFC 1123): a namespace's name.
pub(crate) fn is_label(word: &str) -> bool {
    let plain = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    word.len() <= 63
        && word.as_bytes().first().is_some_and(plain)
        && word.as_bytes().last().is_some_and(plain)
        && word.bytes().all(|byte| plain(&byte) || byte == b'-')
}

/// Whether this is a DNS subdomain as Kubernetes takes it (RFC 1123): a pod's name. Nothing that reads as a number or address is.
pub(crate) fn is_object_name(word: &str) -> bool {
    word.len() <= 253
        && word.split('.').all(is_label)
        && !word
            .bytes()
            .all(|byte| byte.is_ascii_digit() || byte == b'.' || byte == b'-')
}
