//! The plugins after ours: which of them are there, and which versions of CNI they speak.

use serde::Deserialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::mpsc::channel,
    thread,
    time::{Duration, SystemTime},
};

/// What our plugin speaks, oldest first.
pub const OURS: [&str; 4] = ["0.3.1", "0.4.0", "1.0.0", "1.1.0"];
/// What is taken for spoken where a plugin cannot be asked, as in a container that lacks its libraries: every release of the reference
/// plugins since 1.0 speaks these.
const ASSUMED: [&str; 3] = ["0.3.1", "0.4.0", "1.0.0"];
/// How long a plugin may take to say its versions.
const PATIENCE: Duration = Duration::from_secs(2);

/// What a binary has answered; asked again when the file is another one.
#[derive(Debug, Default)]
pub struct Versions {
    known: BTreeMap<PathBuf, (SystemTime, u64, BTreeSet<String>)>,
}

impl Versions {
    /// The versions that ours and all these plugins speak, oldest first.
    pub fn common<'a>(&mut self, plugins: impl IntoIterator<Item = &'a Path>) -> Vec<&'static str> {
        let mut common = OURS.to_vec();
        for plugin in plugins {
            let spoken = self.of(plugin);
            common.retain(|version| spoken.contains(*version));
        }
        common
    }

    fn of(&mut self, plugin: &Path) -> BTreeSet<String> {
        let stamp = fs::metadata(plugin)
            .ok()
            .and_then(|file| Some((file.modified().ok()?, file.len())));
        if let (Some((when, length)), Some((seen, long, versions))) = (stamp, self.known.get(plugin))
            && when == *seen
            && length == *long
        {
            return versions.clone();
        }
        let versions = ask(plugin).unwrap_or_else(|| ASSUMED.map(str::to_owned).into());
        if let Some((when, length)) = stamp {
            self.known.insert(plugin.to_owned(), (when, length, versions.clone()));
        }
        versions
    }
}

/// Calls a plugin with VERSION (CNI specification, section 2).
fn ask(plugin: &Path) -> Option<BTreeSet<String>> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Answer {
        supported_versions: BTreeSet<String>,
    }
    let mut child = Command::new(plugin)
        .env("CNI_COMMAND", "VERSION")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let mut stdin = child.stdin.take()?;
    let mut stdout = child.stdout.take()?;
    let (sender, receiver) = channel();
    thread::spawn(move || {
        // A plugin that reads nothing may be gone already.
        let _ = stdin.write_all(br#"{"cniVersion":"1.0.0"}"#);
        drop(stdin);
        let mut text = Vec::new();
        let read = std::io::Read::read_to_end(&mut stdout, &mut text);
        // Nobody waits any more if it took too long.
        let _ = sender.send(read.map(|_| text));
    });
    let text = receiver.recv_timeout(PATIENCE);
    // It has ended, or has to; either way it is to be collected.
    let _ = child.kill();
    let _ = child.wait();
    serde_json::from_slice::<Answer>(&text.ok()?.ok()?)
        .ok()
        .map(|answer| answer.supported_versions)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn script(folder: &Path, name: &str, text: &str) -> PathBuf {
        let path = folder.join(name);
        fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    #[test]
    fn only_what_all_speak_is_common() {
        let folder = tempfile::tempdir().unwrap();
        let old = script(
            folder.path(),
            "old",
            r#"test "$CNI_COMMAND" = VERSION && echo '{"cniVersion":"1.0.0","supportedVersions":["0.1.0","0.4.0","1.0.0"]}'"#,
        );
        let odd = script(folder.path(), "odd", "echo no JSON");
        let mut versions = Versions::default();
        assert_eq!(versions.common([]), OURS);
        assert_eq!(versions.common([old.as_path()]), ["0.4.0", "1.0.0"]);
        assert_eq!(versions.common([odd.as_path(), old.as_path()]), ["0.4.0", "1.0.0"]);
        assert_eq!(versions.common([Path::new("/nonexistent")]), ASSUMED);
    }

    #[test]
    fn a_plugin_that_hangs_is_given_up() {
        let folder = tempfile::tempdir().unwrap();
        let hung = script(folder.path(), "hung", "exec sleep 600");
        assert_eq!(Versions::default().common([hung.as_path()]), ASSUMED);
    }
}
