//! The API server, and who asks it.

use super::{
    book::{Book, finding},
    report::{State, Topic},
};

/// The oldest minor version of Kubernetes 1 that all that agents need is generally available in: ephemeral containers, Pod Security.
const OLDEST: u32 = 25;

/// What was asked of the server itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Its address.
    pub address: String,
    /// `gitVersion`, or why it is not told.
    pub version: Result<String, String>,
    /// Who asks, or why that is not told.
    pub me: Result<Me, String>,
    /// The kubeconfig's user.
    pub user: Option<String>,
}

/// Who asks, as the API server knows him.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Me {
    /// Name.
    pub name: String,
    /// Groups.
    pub groups: Vec<String>,
}

impl Me {
    /// Flags of `rbac` that bind roles to him.
    pub fn binding(&self) -> String {
        let account = self.name.strip_prefix("system:serviceaccount:");
        // A name with other letters would have to be quoted, and may be anything.
        let is_plain = |name: &str| name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.@:".contains(c));
        match account {
            _ if self.name.is_empty() || !is_plain(&self.name) => String::new(),
            Some(account) => format!(" --serviceaccount {account}"),
            None => format!(" --user {}", self.name),
        }
    }
}

/// Major and minor number of a version: `v1.34.4-eks-1` is 1, 34.
pub fn numbers(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.strip_prefix('v').unwrap_or(version).split('.');
    let minor = |text: &str| {
        let digits: String = text.chars().take_while(char::is_ascii_digit).collect();
        digits.parse().ok()
    };
    Some((parts.next()?.parse().ok()?, minor(parts.next()?)?))
}

/// Two lines.
pub fn judge(server: &Server, book: &mut Book) {
    match &server.version {
        Ok(version) => {
            let is_old = numbers(version).is_some_and(|numbers| numbers < (1, OLDEST));
            let state = if is_old { State::Warning } else { State::Ok };
            book.line(Topic::Api, "server", state, format!("{version} at {}", server.address));
            if is_old {
                let mut found = finding("doctor-server-old", server.address.clone(), version.clone());
                found.expected = format!("v1.{OLDEST} or newer");
                book.find(Topic::Api, found, "kubectl version");
            }
        }
        Err(why) => {
            let says = format!("{} answers; its version is not told: {why}", server.address);
            book.line(Topic::Api, "server", State::Ok, says);
        }
    }
    let kubeconfig = server.user.as_deref().unwrap_or("nobody in particular");
    match &server.me {
        Ok(me) => {
            let groups = match super::book::listed(&me.groups) {
                groups if groups.is_empty() => groups,
                groups => format!(" ({groups})"),
            };
            let says = format!("{}{groups}", me.name);
            book.line(Topic::Api, "identity", State::Ok, says);
        }
        // Nothing else depends on it.
        Err(why) => {
            let says = format!("{kubeconfig} in the kubeconfig; the server does not tell its name for it: {why}");
            book.line(Topic::Api, "identity", State::Ok, says);
        }
    }
}
