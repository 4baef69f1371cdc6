//! The host's files: each is written beside its place, synced and renamed into it, so that nobody ever reads half of one
//! (SPEC.md, section 7).

use std::{
    fs::{self, File, Permissions},
    io::{self, Write as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

/// What went wrong with a file.
#[derive(Debug, thiserror::Error)]
#[error("cannot {doing} {path}: {source}", path = path.display())]
pub struct FileError {
    doing: &'static str,
    path: PathBuf,
    source: io::Error,
}

fn failed(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FileError {
    let path = path.to_owned();
    move |source| FileError { doing, path, source }
}

/// Makes a file hold this, with these permission bits, if it does not; whether it had to be written.
pub fn put(path: &Path, content: &[u8], mode: u32) -> Result<bool, FileError> {
    if holds(path, content, mode) {
        return Ok(false);
    }
    let folder = path.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(folder).map_err(failed("create the folder", folder))?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    // A leading dot: runtimes and our own collection pass it over.
    let beside = folder.join(format!(".{name}.{}", std::process::id()));
    let written = write_synced(&beside, content, mode)
        .and_then(|()| fs::rename(&beside, path))
        .and_then(|()| File::open(folder)?.sync_all());
    if written.is_err() {
        // The write's own error is the one to tell.
        let _ = fs::remove_file(&beside);
    }
    written.map_err(failed("write", path))?;
    Ok(true)
}

fn holds(path: &Path, content: &[u8], mode: u32) -> bool {
    let is_alike = |metadata: fs::Metadata| {
        metadata.is_file() && metadata.permissions().mode() & 0o7777 == mode && metadata.len() == content.len() as u64
    };
    fs::symlink_metadata(path).is_ok_and(is_alike) && fs::read(path).is_ok_and(|there| there == content)
}

fn write_synced(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let mut file = File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(path)?;
    // The process's umask may have taken bits away.
    file.set_permissions(Permissions::from_mode(mode))?;
    file.write_all(content)?;
    file.sync_all()
}

/// Removes a file; whether it was there.
pub fn remove(path: &Path) -> Result<bool, FileError> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(failed("remove", path)(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_written_when_it_differs_and_only_then() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("below/file");
        assert!(put(&path, b"one", 0o600).unwrap());
        assert!(!put(&path, b"one", 0o600).unwrap());
        assert!(put(&path, b"two", 0o600).unwrap());
        assert!(put(&path, b"two", 0o644).unwrap());
        assert_eq!(fs::read(&path).unwrap(), b"two");
        // Nothing stays beside it.
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn a_link_in_its_place_is_replaced_and_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let (path, elsewhere) = (folder.path().join("file"), folder.path().join("elsewhere"));
        fs::write(&elsewhere, b"foreign").unwrap();
        std::os::unix::fs::symlink(&elsewhere, &path).unwrap();
        assert!(put(&path, b"foreign", 0o600).unwrap());
        assert_eq!(fs::read(&elsewhere).unwrap(), b"foreign");
        assert!(fs::symlink_metadata(&path).unwrap().is_file());
    }

    #[test]
    fn what_cannot_be_written_names_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::create_dir(&path).unwrap();
        let error = put(&path, b"x", 0o600).unwrap_err().to_string();
        assert!(
            error.starts_with(&format!("cannot write {}", path.display())),
            "{error}"
        );
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
