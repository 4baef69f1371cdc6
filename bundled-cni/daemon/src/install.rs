//! What a runtime needs on disk: the plugin's binary, `loopback` where nobody brought one, and last the configuration
//! (SPEC.md, section 7.1).

use crate::{
    arguments::Places,
    chained::Versions,
    conflist::{self, conflist, winners},
};
use netcheck_cni::disk::{self, DiskError};
use netcheck_cni_intent::{config::Chained, names::PLUGIN, publish::Degraded};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    time::Duration,
};

/// The plugin that containerd 1.6 cannot start a pod without; our binary acts as it under that type.
const LOOPBACK: &str = "loopback";

/// What installing did and found.
#[derive(Debug, Default)]
pub struct Installed {
    /// Files written.
    pub written: u64,
    /// What is wrong there, and what it means.
    pub degraded: BTreeMap<Degraded, BTreeSet<String>>,
}

/// Puts the binaries in place.
pub fn binaries(places: &Places, plugin: &[u8], found: &mut Installed) -> Result<(), DiskError> {
    found.written += u64::from(disk::put(&places.bin.join(PLUGIN), plugin, 0o755)?);
    let loopback = places.bin.join(LOOPBACK);
    if fs::symlink_metadata(&loopback).is_err() && symlink(PLUGIN, &loopback).is_ok() {
        found.written += 1;
    }
    Ok(())
}

/// Puts the configuration in place, with those chained plugins that are there.
pub fn configuration(
    places: &Places,
    chain: &[Chained],
    versions: &mut Versions,
    found: &mut Installed,
) -> Result<(), DiskError> {
    let (present, missing): (Vec<Chained>, Vec<Chained>) = chain
        .iter()
        .copied()
        .partition(|chained| places.bin.join(chained.to_string()).is_file());
    for chained in missing {
        let why = format!(
            "{}/{chained} is missing: it is left out of the chain; install the reference plugins",
            places.bin.display()
        );
        found
            .degraded
            .entry(Degraded::ChainPluginMissing)
            .or_default()
            .insert(why);
    }
    let binaries: Vec<PathBuf> = present
        .iter()
        .map(|chained| places.bin.join(chained.to_string()))
        .collect();
    let versions = versions.common(binaries.iter().map(PathBuf::as_path));
    let path = places.conf.join(conflist::FILE);
    found.written += u64::from(disk::put(&path, conflist(&present, &versions).as_bytes(), 0o644)?);
    for winner in winners(names(&places.conf)) {
        let why = format!(
            "the runtime reads {}/{winner} before {}; remove it where netcheck-cni is to be the network",
            places.conf.display(),
            conflist::FILE
        );
        found.degraded.entry(Degraded::ForeignCniFirst).or_default().insert(why);
    }
    Ok(())
}

/// Removes files that a daemon has not come to write whole, of at least this age.
pub fn remove_leftovers(places: &Places, age: Duration) -> Result<(), DiskError> {
    for folder in [&places.bin, &places.conf, &places.state] {
        disk::remove_leftovers(folder, age)?;
    }
    Ok(())
}

/// Takes away what [`configuration`] and [`binaries`] put there; whether anything was there.
pub fn remove(places: &Places) -> Vec<DiskError> {
    let mut errors: Vec<DiskError> = disk::remove(&places.conf.join(conflist::FILE))
        .err()
        .into_iter()
        .collect();
    let loopback = places.bin.join(LOOPBACK);
    if fs::read_link(&loopback).is_ok_and(|target| target == Path::new(PLUGIN)) {
        errors.extend(disk::remove(&loopback).err());
    }
    errors.extend(disk::remove(&places.bin.join(PLUGIN)).err());
    errors.extend(remove_leftovers(places, Duration::ZERO).err());
    errors
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(root: &Path) -> Places {
        Places {
            bin: root.join("bin"),
            conf: root.join("conf"),
            state: root.join("state"),
            bpf: root.join("bpf"),
        }
    }

    #[test]
    fn a_whole_life_leaves_what_was_there() {
        let root = tempfile::tempdir().unwrap();
        let places = places(root.path());
        for folder in [&places.bin, &places.conf] {
            fs::create_dir(folder).unwrap();
        }
        fs::write(places.bin.join("portmap"), b"theirs").unwrap();
        fs::write(places.conf.join("01-other.conf"), b"{}").unwrap();

        let mut found = Installed::default();
        binaries(&places, b"ours", &mut found).unwrap();
        configuration(
            &places,
            &[Chained::Portmap, Chained::Bandwidth],
            &mut Versions::default(),
            &mut found,
        )
        .unwrap();
        assert_eq!(found.written, 3);
        let reasons: Vec<_> = found.degraded.keys().copied().collect();
        assert_eq!(reasons, [Degraded::ChainPluginMissing, Degraded::ForeignCniFirst]);
        assert_eq!(fs::read(places.bin.join("loopback")).unwrap(), b"ours");
        let list = fs::read_to_string(places.conf.join(conflist::FILE)).unwrap();
        assert!(list.contains("portmap") && !list.contains("bandwidth"), "{list}");

        let mut again = Installed::default();
        binaries(&places, b"ours", &mut again).unwrap();
        configuration(&places, &[Chained::Portmap], &mut Versions::default(), &mut again).unwrap();
        assert_eq!(again.written, 0);

        // Of a daemon that was killed while it wrote. What is fresh may still be written.
        for folder in [&places.bin, &places.conf] {
            fs::write(folder.join(".netcheck-cni.7.7"), b"ha").unwrap();
        }
        remove_leftovers(&places, Duration::from_mins(1)).unwrap();
        assert_eq!(names(&places.bin).len(), 4);

        assert!(remove(&places).is_empty());
        assert_eq!(names(&places.bin), ["portmap"]);
        assert_eq!(names(&places.conf), ["01-other.conf"]);
        assert!(remove(&places).is_empty());
    }

    #[test]
    fn a_foreign_loopback_stays() {
        let root = tempfile::tempdir().unwrap();
        let places = places(root.path());
        fs::create_dir(&places.bin).unwrap();
        fs::write(places.bin.join("loopback"), b"theirs").unwrap();
        binaries(&places, b"ours", &mut Installed::default()).unwrap();
        remove(&places);
        assert_eq!(fs::read(places.bin.join("loopback")).unwrap(), b"theirs");
    }
}
