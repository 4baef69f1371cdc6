//! Kubeconfig files: for the components, for the rig's user, and for users that tests invent.

use crate::{Result, error::Context, pki::Pair};
use serde_json::{Value, json};
use std::{fs, os::unix::fs::PermissionsExt, path::Path};

/// How a kubeconfig's user proves who it is.
pub enum Credentials<'a> {
    /// A client certificate, referred to by its files.
    Certificate(&'a Pair),
    /// A bearer token.
    Token(&'a str),
}

/// Writes a kubeconfig with one cluster, one user and one context of the given name.
pub fn write(path: &Path, name: &str, server: &str, authority: &Path, credentials: &Credentials<'_>) -> Result<()> {
    let user: Value = match credentials {
        Credentials::Certificate(pair) => {
            json!({ "client-certificate": pair.certificate, "client-key": pair.key })
        }
        Credentials::Token(token) => json!({ "token": token }),
    };
    let document = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{ "name": name, "cluster": { "server": server, "certificate-authority": authority } }],
        "users": [{ "name": name, "user": user }],
        "contexts": [{ "name": name, "context": { "cluster": name, "user": name } }],
        "current-context": name,
    });
    // JSON is YAML, and every reader of kubeconfigs reads YAML.
    fs::write(path, format!("{document:#}\n")).context(format!("write {}", path.display()))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).context(format!("protect {}", path.display()))
}
