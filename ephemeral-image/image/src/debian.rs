//! Debian packages: fetched by apt, checked against the lock file, unpacked into memory.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use netcheck_oci::in_parallel;
use sha2::{Digest as _, Sha256};

use crate::lock::Package;
use crate::tree::Tree;
use crate::{Error, Result};

/// The architecture of this machine, by Debian's name.
pub fn native_architecture() -> Result<String> {
    Ok(run(Command::new("dpkg").arg("--print-architecture"))?.trim().to_owned())
}

/// Names of these packages and of all that they depend on, as apt would install them on a machine where nothing is installed.
pub fn dependencies(names: &[&str]) -> Result<Vec<String>> {
    let mut apt = Command::new("apt-get");
    apt.args(["install", "--simulate", "--quiet", "--no-install-recommends"])
        .args(["--option", "Dir::State::status=/dev/null"])
        // What apt remembers of the installed packages is not written over with that.
        .args(["--option", "Dir::Cache::pkgcache="])
        .args(names);
    let plan = run(&mut apt)?;
    // "Inst bash (5.2.15-2+b8 Debian:12.11/stable [amd64])"
    let installed = plan.lines().filter_map(|line| line.strip_prefix("Inst "));
    Ok(installed
        .filter_map(|line| line.split_whitespace().next())
        .map(str::to_owned)
        .collect())
}

/// Where downloaded packages are kept unless somebody says otherwise (XDG Base Directory Specification).
pub fn default_cache_folder() -> Option<PathBuf> {
    let set = |name| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    let caches = set("XDG_CACHE_HOME").or_else(|| Some(set("HOME")?.join(".cache")))?;
    Some(caches.join("kubectl-netcheck/debian-packages"))
}

/// Packages that were downloaded, by checksum, kept for the next build.
pub struct Cache {
    folder: PathBuf,
}

impl Cache {
    /// A cache in this folder, which is created when the first package comes.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }

    /// The `.deb` of each locked package, in order; what is not there yet is downloaded and checked.
    pub fn fetch(&self, packages: &[Package]) -> Result<Vec<PathBuf>> {
        let here = in_parallel(packages, |package| self.has(package));
        let absent = packages.iter().zip(here).filter(|(_, here)| !here);
        let missing: Vec<_> = absent.map(|(package, _)| package).collect();
        if !missing.is_empty() {
            let wanted = missing
                .iter()
                .map(|p| format!("{}:{}={}", p.name, p.architecture, p.version));
            let download = Download::run(&self.folder, wanted)?;
            for package in missing {
                download.move_to(package, &self.file(package))?;
            }
        }
        Ok(packages.iter().map(|package| self.file(package)).collect())
    }

    /// Downloads what apt offers today of these packages, and says what it was.
    pub fn fetch_current(&self, names: &[String], architecture: &str) -> Result<Vec<Package>> {
        let download = Download::run(&self.folder, names.iter().map(|name| format!("{name}:{architecture}")))?;
        let mut packages = Vec::new();
        for (sha256, file) in &download.files {
            let [name, version] = ["Package", "Version"].map(|field| control(file, &[field]));
            let package = Package {
                name: name?.trim().to_owned(),
                version: version?.trim().to_owned(),
                architecture: architecture.to_owned(),
                sha256: sha256.clone(),
            };
            download.move_to(&package, &self.file(&package))?;
            packages.push(package);
        }
        packages.sort();
        Ok(packages)
    }

    fn file(&self, package: &Package) -> PathBuf {
        self.folder.join(format!("{}_{}.deb", package.name, package.sha256))
    }

    /// Checked again at each build: a cache may be shared, restored or damaged.
    fn has(&self, package: &Package) -> bool {
        checksum(&self.file(package)).is_ok_and(|sha256| sha256 == package.sha256)
    }
}

/// Files that apt has just downloaded, in a folder that goes away with this value.
struct Download {
    _folder: tempfile::TempDir,
    /// By checksum.
    files: BTreeMap<String, PathBuf>,
}

impl Download {
    fn run(cache: &Path, wanted: impl Iterator<Item = String>) -> Result<Self> {
        fs::create_dir_all(cache).map_err(|source| Error::File {
            operation: "create",
            path: cache.to_owned(),
            source,
        })?;
        let failed = |source| Error::File {
            operation: "create a folder in",
            path: cache.to_owned(),
            source,
        };
        let folder = tempfile::tempdir_in(cache).map_err(failed)?;
        let mut apt = Command::new("apt-get");
        // Without the option apt drops root's rights and then cannot write into our folder.
        apt.args(["--quiet", "--option", "APT::Sandbox::User=root", "download"])
            .args(wanted)
            .current_dir(folder.path());
        run(&mut apt).map_err(vanished)?;

        let list = |source| Error::File {
            operation: "list",
            path: folder.path().to_owned(),
            source,
        };
        let mut files = BTreeMap::new();
        for entry in fs::read_dir(folder.path()).map_err(list)? {
            let path = entry.map_err(list)?.path();
            if path.extension().is_some_and(|extension| extension == "deb") {
                files.insert(checksum(&path)?, path);
            }
        }
        Ok(Self { _folder: folder, files })
    }

    fn move_to(&self, package: &Package, target: &Path) -> Result<()> {
        let name = format!("{} {}", package.name, package.version);
        let Some(file) = self.files.get(&package.sha256) else {
            let prefix = format!("{}_", package.name);
            let of_this_name = |file: &&PathBuf| {
                file.file_name()
                    .is_some_and(|name| name.to_string_lossy().starts_with(&prefix))
            };
            let other = self
                .files
                .iter()
                .find(|(_, file)| of_this_name(file))
                .map(|(sha256, _)| sha256.clone());
            return Err(match other {
                Some(actual) => Error::Checksum {
                    package: name,
                    expected: package.sha256.clone(),
                    actual,
                },
                None => Error::Vanished(name),
            });
        };
        fs::rename(file, target).map_err(|source| Error::File {
            operation: "write",
            path: target.to_owned(),
            source,
        })
    }
}

/// What apt says of a version that it does not know becomes an error that says what to do.
fn vanished(error: Error) -> Error {
    let Error::Tool { detail, .. } = &error else {
        return error;
    };
    let is_about_versions = |line: &&str| {
        ["was not found", "Can't find a source", "Unable to locate", "404"]
            .iter()
            .any(|words| line.contains(words))
    };
    match detail.lines().find(is_about_versions) {
        Some(line) => Error::Vanished(format!("a locked package ({})", line.trim_start_matches("E: ").trim())),
        None => error,
    }
}

/// Fields of a package's control file; all of them if none is named.
pub fn control(deb: &Path, fields: &[&str]) -> Result<String> {
    run(Command::new("dpkg-deb").arg("--field").arg(deb).args(fields))
}

/// Of each package, in order: its control file, and its files as an uncompressed tar. Decompressing is much of the work of building an image,
/// so every processor does some of it.
pub fn contents(debs: &[PathBuf]) -> Vec<Result<(String, Vec<u8>)>> {
    in_parallel(debs, |deb| Ok((control(deb, &[])?, files(deb)?)))
}

/// Adds a package's files to the tree.
pub fn unpack(tar: &[u8], package: &str, tree: &mut Tree) -> Result<()> {
    tree.add_tar(package, tar).map_err(|source| Error::Unpack {
        package: package.to_owned(),
        source,
    })
}

/// A package's files, as an uncompressed tar.
fn files(deb: &Path) -> Result<Vec<u8>> {
    output(Command::new("dpkg-deb").arg("--fsys-tarfile").arg(deb))
}

fn checksum(path: &Path) -> Result<String> {
    let bytes = fs::read(path).map_err(|source| Error::File {
        operation: "read",
        path: path.to_owned(),
        source,
    })?;
    Ok(format!("{:x}", Sha256::digest(bytes)))
}

/// Runs a program of Debian's and returns what it printed, untranslated.
fn run(command: &mut Command) -> Result<String> {
    Ok(String::from_utf8_lossy(&output(command)?).into_owned())
}

fn output(command: &mut Command) -> Result<Vec<u8>> {
    let program = command.get_program().to_string_lossy().into_owned();
    let failed = |detail| Error::Tool {
        program: program.clone(),
        detail,
    };
    let output = command.env("LC_ALL", "C").stdin(Stdio::null()).output();
    let output = output.map_err(|error| failed(format!("{error} (this needs a Debian system)")))?;
    if !output.status.success() {
        return Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
    }
    Ok(output.stdout)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, version: &str, sha256: &str) -> Package {
        let architecture = native_architecture().unwrap();
        Package {
            name: name.into(),
            version: version.into(),
            architecture,
            sha256: sha256.into(),
        }
    }

    #[test]
    fn a_version_that_is_gone_says_how_to_go_on() {
        let folder = tempfile::tempdir().unwrap();
        let gone = package("nftables", "0.0.1-1", &"0".repeat(64));
        let error = Cache::new(folder.path()).fetch(&[gone]).unwrap_err();
        assert!(matches!(error, Error::Vanished(_)), "{error}");
        assert!(
            error.to_string().contains("netcheck-image -- lock") && error.to_string().contains("nftables"),
            "{error}"
        );
        assert_eq!(
            fs::read_dir(folder.path()).unwrap().count(),
            0,
            "nothing is left in the cache"
        );
    }

    #[test]
    fn a_damaged_cache_is_not_trusted() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::new(folder.path());
        let sha256 = format!("{:x}", Sha256::digest(b"content"));
        let package = package("x", "1", &sha256);
        fs::write(cache.file(&package), b"content").unwrap();
        assert!(cache.has(&package));
        fs::write(cache.file(&package), b"damaged").unwrap();
        assert!(!cache.has(&package));
    }
}
