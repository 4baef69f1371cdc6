//! Files that are whole or not there (SPEC.md section 7).

use crate::{Code, Failure};
use rustix::fs::{Mode, OFlags};
use std::{
    fs::{self, File, Permissions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    process,
    time::{Duration, SystemTime},
};

/// Permission bits of the files that only we read.
const OWN_MODE: u32 = 0o600;
/// How names of files begin that are not whole yet. The dot: runtimes and our own collection pass them over. The rest: in folders that
/// are not ours alone, which are ours.
const TEMPORARY: &str = ".netcheck-cni.";

/// A file or folder that could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("cannot {operation} {path}: {source}")]
pub struct DiskError {
    /// What was to be done.
    pub operation: &'static str,
    /// To what.
    pub path: PathBuf,
    /// The error of the system call.
    pub source: io::Error,
}

impl DiskError {
    /// Names what failed, for `map_err`.
    pub fn at(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self {
            operation,
            path: path.to_owned(),
            source,
        }
    }
}

impl From<DiskError> for Failure {
    fn from(error: DiskError) -> Self {
        Self::new(Code::IO, error)
    }
}

/// Makes a folder and those above it; that it is there already is fine.
pub fn make_folder(path: &Path) -> Result<(), DiskError> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(DiskError::at("make folder", path))
}

/// Puts a file into a folder, in the place of one of that name, so that whoever looks at whatever time sees all of the old or all of the
/// new content, even after a loss of power: temporary file, `fsync`, `rename`, `fsync` of the folder.
pub fn write_whole(folder: &Path, name: &str, content: &[u8]) -> Result<(), DiskError> {
    write(folder, name, content, OWN_MODE, true)
}

/// As [`write_whole`], but after a loss of power the file may be empty: for what can be done without, as each `fsync` takes
/// milliseconds where the folder is on a disk.
pub fn write_hint(folder: &Path, name: &str, content: &[u8]) -> Result<(), DiskError> {
    write(folder, name, content, OWN_MODE, false)
}

/// Makes a file hold this, with these permission bits, if it does not; says whether it had to be written. It is written as by
/// [`write_whole`]; the folder is made, for all to see, where it is missing.
pub fn put(path: &Path, content: &[u8], mode: u32) -> Result<bool, DiskError> {
    if holds(path, content, mode) {
        return Ok(false);
    }
    let folder = path.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(folder).map_err(DiskError::at("make folder", folder))?;
    write(folder, path.file_name().unwrap_or_default(), content, mode, true)?;
    Ok(true)
}

fn holds(path: &Path, content: &[u8], mode: u32) -> bool {
    let is_alike = |metadata: fs::Metadata| {
        metadata.is_file() && metadata.permissions().mode() & 0o7777 == mode && metadata.len() == content.len() as u64
    };
    fs::symlink_metadata(path).is_ok_and(is_alike) && fs::read(path).is_ok_and(|there| there == content)
}

fn write(folder: &Path, name: impl AsRef<Path>, content: &[u8], mode: u32, lasts: bool) -> Result<(), DiskError> {
    let temporary = folder.join(format!("{TEMPORARY}{}.{}", process::id(), thread_number()));
    let path = folder.join(name);
    let write = || {
        let mut file = File::options()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(mode)
            .open(&temporary)?;
        // The process's umask may have taken bits away.
        file.set_permissions(Permissions::from_mode(mode))?;
        file.write_all(content)?;
        if lasts { file.sync_all() } else { Ok(()) }
    };
    let written = write()
        .and_then(|()| fs::rename(&temporary, &path))
        .and_then(|()| if lasts { sync_folder(folder) } else { Ok(()) });
    written.map_err(|source| {
        // It may not even be there; what counts is the first error.
        let _ = fs::remove_file(&temporary);
        DiskError {
            operation: "write",
            path,
            source,
        }
    })
}

/// Makes what happened in a folder last.
fn sync_folder(folder: &Path) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = rustix::fs::open(folder, flags, Mode::empty())?;
    Ok(rustix::fs::fsync(folder)?)
}

/// The content of a file; `None` if there is none.
pub fn read(path: &Path) -> Result<Option<Vec<u8>>, DiskError> {
    // Something of this name in a place that others write to may be a FIFO: not to be waited for.
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let opened = File::options().read(true).custom_flags(flags).open(path);
    let content = opened.and_then(|mut file| {
        let mut content = Vec::new();
        io::Read::read_to_end(&mut file, &mut content).map(|_| content)
    });
    optional(content).map_err(DiskError::at("read", path))
}

/// Removes a file or link; that it is gone already is fine.
pub fn remove(path: &Path) -> Result<(), DiskError> {
    optional(fs::remove_file(path))
        .map(|_| ())
        .map_err(DiskError::at("remove", path))
}

/// Names in a folder, those of temporary files left out; none if there is no folder.
pub fn names(folder: &Path) -> Result<Vec<String>, DiskError> {
    let list = || -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(folder)? {
            // What is no UTF-8 is not of ours.
            names.extend(entry?.file_name().into_string().ok());
        }
        names.retain(|name| !name.starts_with('.'));
        Ok(names)
    };
    let names = optional(list()).map_err(DiskError::at("list", folder))?;
    Ok(names.unwrap_or_default())
}

/// Removes files of writers that died before these were whole: those that are at least this old, and so nobody's who still writes. Says how
/// many.
pub fn remove_leftovers(folder: &Path, age: Duration) -> Result<u64, DiskError> {
    let list = || -> io::Result<Vec<PathBuf>> {
        let entries: Vec<fs::DirEntry> = fs::read_dir(folder)?.collect::<io::Result<_>>()?;
        let is_temporary =
            |entry: &fs::DirEntry| entry.file_name().as_encoded_bytes().starts_with(TEMPORARY.as_bytes());
        Ok(entries
            .iter()
            .filter(|entry| is_temporary(entry))
            .map(fs::DirEntry::path)
            .collect())
    };
    let mut removed = 0;
    for path in optional(list())
        .map_err(DiskError::at("list", folder))?
        .unwrap_or_default()
    {
        if is_older(&path, age) {
            remove(&path)?;
            removed += 1;
        }
    }
    Ok(removed)
}

/// Whether a file, or link, was last changed so long ago. One whose age cannot be told, because a clock was set back, counts as new.
pub fn is_older(path: &Path, age: Duration) -> bool {
    let made = fs::symlink_metadata(path).and_then(|status| status.modified());
    let since = made.ok().and_then(|made| SystemTime::now().duration_since(made).ok());
    since.is_some_and(|since| since >= age)
}

fn optional<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        // A part of the path that is a file: there is nothing below it.
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Tells apart the writers of one process.
fn thread_number() -> i32 {
    rustix::thread::gettid().as_raw_nonzero().get()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_file_is_replaced_and_nothing_else_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("a/b");
        make_folder(&inner).unwrap();
        make_folder(&inner).unwrap();
        for content in [&b"first, and longer"[..], b"second"] {
            write_whole(&inner, "file", content).unwrap();
            assert_eq!(read(&inner.join("file")).unwrap().unwrap(), content);
        }
        assert_eq!(names(&inner).unwrap(), ["file"]);
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&inner), mode(&inner.join("file"))), (0o700, 0o600));
    }

    #[test]
    fn what_is_not_there_is_no_error_but_what_cannot_be_written_is() {
        let folder = tempfile::tempdir().unwrap();
        let nowhere = folder.path().join("no/where");
        assert_eq!(read(&nowhere).unwrap(), None);
        assert_eq!(names(&nowhere).unwrap(), Vec::<String>::new());
        remove(&nowhere).unwrap();
        let error = write_whole(&nowhere, "file", b"").unwrap_err();
        assert!(error.to_string().starts_with("cannot write "), "{error}");
        // The temporary file goes when its place is a folder.
        make_folder(&folder.path().join("taken")).unwrap();
        assert!(write_whole(folder.path(), "taken", b"").is_err());
        assert!(put(&folder.path().join("taken"), b"", 0o600).is_err());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_is_written_when_it_differs_and_only_then() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("below/file");
        assert!(put(&path, b"one", 0o600).unwrap());
        assert!(!put(&path, b"one", 0o600).unwrap());
        assert!(put(&path, b"two", 0o600).unwrap());
        assert!(put(&path, b"two", 0o666).unwrap());
        // Whatever the umask is.
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o666);
        assert_eq!(fs::read(&path).unwrap(), b"two");
        // Nothing stays beside it.
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn a_link_in_its_place_is_replaced_and_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let (path, elsewhere) = (folder.path().join("file"), folder.path().join("elsewhere"));
        fs::write(&elsewhere, b"foreign").unwrap();
        symlink(&elsewhere, &path).unwrap();
        assert!(put(&path, b"foreign", 0o600).unwrap());
        assert_eq!(fs::read(&elsewhere).unwrap(), b"foreign");
        assert!(fs::symlink_metadata(&path).unwrap().is_file());
    }
}
