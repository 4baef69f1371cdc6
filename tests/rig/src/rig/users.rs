//! Users who may do nothing until a test's RBAC says so.

use super::Rig;
use crate::{
    Result,
    control_plane::{TOKEN, TOKEN_USER},
    kubeconfig::{self, Credentials},
    pki::Authority,
};
use std::path::{Path, PathBuf};

impl Rig {
    /// A kubeconfig for a plain user with a client certificate, in at most one group. It may do what RBAC gives it: nothing.
    ///
    /// # Errors
    /// When it cannot be made or written.
    pub fn kubeconfig_for_user(&self, user: &str, group: Option<&str>) -> Result<PathBuf> {
        let file = file_name(user);
        let authority = Authority::open(&self.layout.pki())?;
        let pair = authority.client(&format!("user-{file}"), user, group)?;
        let path = self.layout.kubeconfigs().join(format!("user-{file}"));
        self.write_kubeconfig(&path, user, &Credentials::Certificate(&pair))?;
        Ok(path)
    }

    /// A kubeconfig with any bearer token, for example one of `kubectl create token`.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn kubeconfig_with_token(&self, name: &str, token: &str) -> Result<PathBuf> {
        let path = self.layout.kubeconfigs().join(format!("token-{}", file_name(name)));
        self.write_kubeconfig(&path, name, &Credentials::Token(token))?;
        Ok(path)
    }

    /// The static token the API server knows and whose it is: `(user, token)`. The user may do nothing until RBAC says so.
    pub fn static_token(&self) -> (&'static str, &'static str) {
        (TOKEN_USER, TOKEN)
    }

    fn write_kubeconfig(&self, path: &Path, name: &str, credentials: &Credentials<'_>) -> Result<()> {
        kubeconfig::write(
            path,
            name,
            &self.server_url(),
            &self.certificate_authority(),
            credentials,
        )
    }
}

/// A user's name as a file's: users may be called anything.
fn file_name(user: &str) -> String {
    user.chars()
        .map(|letter| {
            if letter.is_ascii_alphanumeric() || letter == '-' {
                letter
            } else {
                '_'
            }
        })
        .collect()
}
