//! Credential plugins as cloud providers ship them: programs that a kubeconfig names and that print a token.

use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};
use tempfile::TempDir;

/// A plugin in a folder of its own, gone when dropped.
#[derive(Debug)]
pub struct CredentialPlugin {
    folder: TempDir,
}

impl CredentialPlugin {
    /// Hands out this token, each time for `seconds` only, and counts how often it is asked.
    pub fn of_short_lived_token(token: &str, seconds: u32) -> Result<Self> {
        Self::of_script(&format!(
            r#"expires=$(date -u -d "+{seconds} seconds" +%Y-%m-%dT%H:%M:%SZ) || exit 1
printf '{{"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": {{"token": "%s", "expirationTimestamp": "%s"}}}}' \
    '{token}' "$expires""#
        ))
    }

    /// Fails, and says why on stderr.
    pub fn that_fails(saying: &str) -> Result<Self> {
        Self::of_script(&format!("echo '{saying}' >&2; exit 1"))
    }

    fn of_script(script: &str) -> Result<Self> {
        let plugin = Self {
            folder: tempfile::tempdir().context("make a folder for a credential plugin")?,
        };
        let calls = plugin.calls_file();
        let text = format!("#!/bin/sh\necho asked >>'{}'\n{script}\n", calls.display());
        let path = plugin.path();
        fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).context("make a credential plugin executable")?;
        Ok(plugin)
    }

    /// The program.
    pub fn path(&self) -> PathBuf {
        self.folder.path().join("lab-login")
    }

    /// A kubeconfig's user whose credentials come from it.
    pub fn user(&self) -> Value {
        json!({
            "exec": {
                "apiVersion": "client.authentication.k8s.io/v1",
                "command": self.path(),
                "interactiveMode": "Never"
            }
        })
    }

    /// How often it was asked.
    pub fn calls(&self) -> usize {
        count_lines(&self.calls_file())
    }

    fn calls_file(&self) -> PathBuf {
        self.folder.path().join("calls")
    }
}

/// A file that does not exist yet has no lines.
fn count_lines(path: &Path) -> usize {
    fs::read_to_string(path).map_or(0, |text| text.lines().count())
}
