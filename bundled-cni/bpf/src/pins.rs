//! Where things are pinned under the root.

use crate::error::{BpfError, Off};
use rustix::{fs::statfs, io::Errno};
use std::{
    fs::{self, DirBuilder},
    io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

/// `BPF_FS_MAGIC` of include/uapi/linux/magic.h.
const BPF_FS_MAGIC: u64 = 0xcafe_4a11;
/// The folders below the root.
pub(crate) const FOLDERS: [&str; 3] = ["links", "progs", "maps"];

pub(crate) fn map(root: &Path, name: &str) -> PathBuf {
    root.join("maps").join(name)
}

pub(crate) fn program(root: &Path, name: &str) -> PathBuf {
    root.join("progs").join(name)
}

pub(crate) fn links(root: &Path) -> PathBuf {
    root.join("links")
}

/// The name of a link's pin: a BPF filesystem takes no dots.
pub(crate) fn link_name(device: &str, is_ingress: bool) -> String {
    let side = if is_ingress { "in" } else { "out" };
    format!("{}_{side}", device.replace('.', "_"))
}

/// Whether the root lies, or would lie, in a BPF filesystem.
pub(crate) fn check_filesystem(root: &Path) -> Result<(), Off> {
    let no_bpffs = || Off::NoBpffs { path: root.to_owned() };
    for folder in root.ancestors() {
        match statfs(folder) {
            // The type's width and sign differ among architectures.
            Ok(found) if u64::try_from(found.f_type) == Ok(BPF_FS_MAGIC) => return Ok(()),
            Err(Errno::NOENT) => {}
            Ok(_) | Err(_) => return Err(no_bpffs()),
        }
    }
    Err(no_bpffs())
}

/// Makes the root and its folders, for root's eyes only.
pub(crate) fn make_folders(root: &Path) -> Result<(), BpfError> {
    let mut builder = DirBuilder::new();
    builder.recursive(true).mode(0o700);
    FOLDERS.iter().try_for_each(|folder| {
        let path = root.join(folder);
        builder
            .create(&path)
            .map_err(|source| failed("make folder", &path, source))
    })
}

/// The files in a folder, in order of their names; none if there is no folder.
pub(crate) fn files(folder: &Path) -> Result<Vec<PathBuf>, BpfError> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(|source| failed("list", folder, source))?,
    };
    let mut files = Vec::new();
    for entry in entries {
        files.push(entry.map_err(|source| failed("list", folder, source))?.path());
    }
    files.sort_unstable();
    Ok(files)
}

/// Removes a pin, or does nothing if there is none: what hung on it alone ends.
pub(crate) fn remove(path: &Path) -> Result<(), BpfError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", path, error)),
        _ => Ok(()),
    }
}

pub(crate) fn failed(operation: &'static str, path: &Path, source: io::Error) -> BpfError {
    BpfError::Pin {
        operation,
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::{check_filesystem, link_name};
    use std::path::Path;

    #[test]
    fn a_pin_has_no_dots() {
        assert_eq!(link_name("eth0.100", true), "eth0_100_in");
        assert_eq!(link_name("ncvx0", false), "ncvx0_out");
    }

    #[test]
    fn a_common_folder_is_no_bpf_filesystem() {
        let text = check_filesystem(Path::new("/proc/sys/none")).unwrap_err().to_string();
        assert!(
            text.contains("/proc/sys/none") && text.contains("mount -t bpf"),
            "{text}"
        );
    }
}
