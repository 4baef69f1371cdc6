//! Files that are either the old one or the whole new one, whatever happens.

use std::{
    ffi::OsString,
    fs::{self, File},
    io::{self, BufWriter, Write as _},
    path::{Path, PathBuf},
};

/// Whether [`replace`] can be expected to work.
///
/// # Errors
/// Why not, in words.
pub fn check(path: &Path) -> Result<(), String> {
    if path.is_dir() {
        return Err("is a folder".to_owned());
    }
    let temporary = temporary(path).ok_or("not a file name")?;
    File::create(&temporary)
        .and_then(|_| fs::remove_file(&temporary))
        .map_err(|error| format!("cannot be written: {error}"))
}

/// Puts what `write` writes into the place of a file.
///
/// # Errors
/// If it cannot be written; what was there before is there still.
pub fn replace(path: &Path, write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>) -> io::Result<()> {
    let temporary = temporary(path).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "not a file name"))?;
    let written = File::create(&temporary).and_then(|file| {
        let mut file = BufWriter::new(file);
        write(&mut file)?;
        file.flush()?;
        file.get_ref().sync_all()?;
        fs::rename(&temporary, path)
    });
    if written.is_err() {
        // Best effort: the file may not even exist.
        drop(fs::remove_file(&temporary));
    }
    written
}

/// Removes what a [`replace`] has begun that will not come to its end.
pub fn discard(path: &Path) {
    if let Some(temporary) = temporary(path) {
        // Best effort: most likely it is not there.
        drop(fs::remove_file(temporary));
    }
}

/// A name beside the file's, in the same folder: only within one file system a file is replaced at once.
fn temporary(path: &Path) -> Option<PathBuf> {
    let mut hidden = OsString::from(".");
    hidden.push(path.file_name()?);
    hidden.push(format!(".{}", std::process::id()));
    Some(path.with_file_name(hidden))
}
