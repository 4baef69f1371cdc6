//! Folders of a node's disk, read without being led out of them.

use super::{
    Entry, Reading,
    limits::{self, Budget},
};
use rustix::{
    fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, fstat, open, openat, openat2, readlinkat, statat},
    io::Errno,
};
use std::{
    collections::BTreeMap,
    ffi::{CStr, CString},
    fs::File,
    io::Read as _,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

/// What is said of a folder that is not there.
pub const NO_SUCH_FOLDER: &str = "no such folder";

/// The files of the folder at `path` below `root`, `/` or `/proc/PID/root`, by name; what they say only `with_text`. Folders in it, sockets and
/// the like are left out.
///
/// On the way to the folder, links are followed inside `root`; from there on none is: what a link says is where it leads.
pub fn folder(root: &Path, path: &str, with_text: bool) -> Reading<BTreeMap<String, Entry>> {
    let folder = open_below(root, path)?;
    let now = SystemTime::now();
    let now = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let mut budget = Budget::new();
    let mut entries = BTreeMap::new();
    for name in names(folder.as_fd())? {
        let Ok(found) = statat(&folder, &name, AtFlags::SYMLINK_NOFOLLOW) else {
            // It went meanwhile.
            continue;
        };
        let kind = FileType::from_raw_mode(found.st_mode);
        let text = match kind {
            FileType::Symlink => match readlinkat(&folder, &name, Vec::new()) {
                Ok(target) => Some(as_text(target.into_bytes())),
                Err(errno) => Some(Err(format!("cannot read the link: {errno}"))),
            },
            FileType::RegularFile if with_text => Some(text(folder.as_fd(), &name)),
            FileType::RegularFile => None,
            _ => continue,
        };
        let text = text.map(|text| text.and_then(|text| budget.take(text.len()).map(|()| text)));
        let changed = u64::try_from(found.st_mtime).unwrap_or(0);
        let entry = Entry {
            length: u64::try_from(found.st_size).unwrap_or(0),
            mode: found.st_mode & 0o7777,
            age_seconds: now.saturating_sub(changed),
            is_link: kind == FileType::Symlink,
            text,
        };
        entries.insert(name.to_string_lossy().into_owned(), entry);
    }
    Ok(entries)
}

/// The folders in the folder at `path` below `root`, by name; links to such are none.
pub fn folders(root: &Path, path: &str) -> Reading<Vec<String>> {
    let folder = open_below(root, path)?;
    let is_folder = |name: &CString| {
        let found = statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW);
        found.is_ok_and(|found| FileType::from_raw_mode(found.st_mode) == FileType::Directory)
    };
    let names = names(folder.as_fd())?.into_iter().filter(is_folder);
    // One that is no UTF-8 cannot be asked for.
    Ok(names.filter_map(|name| name.into_string().ok()).collect())
}

/// The file `name` in the folder at `path` below `root`, as a place (`O_PATH`); links are followed as if `root` were the root.
pub fn file(root: &Path, path: &str, name: &str) -> Reading<OwnedFd> {
    if name.is_empty() || name.starts_with('.') || name.contains(['/', '\0']) {
        return Err("not a file's name".to_owned());
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = open(root, flags, Mode::empty()).map_err(|errno| format!("cannot open the node's root: {errno}"))?;
    let ways = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let found = openat2(root, format!("{path}/{name}"), flags, Mode::empty(), ways);
    found.map_err(|errno| match errno {
        Errno::NOENT => "not there".to_owned(),
        errno => format!("cannot open it: {errno}"),
    })
}

/// Opens a folder below `root`; links on the way are followed as if `root` were the root.
pub(super) fn open_below(root: &Path, path: &str) -> Reading<OwnedFd> {
    let cannot = |errno: Errno| match errno {
        Errno::NOENT => NO_SUCH_FOLDER.to_owned(),
        Errno::NOTDIR => "not a folder".to_owned(),
        errno => format!("cannot open the folder: {errno}"),
    };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = open(root, flags, Mode::empty()).map_err(|errno| format!("cannot open the node's root: {errno}"))?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let ways = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    openat2(root, path, flags, Mode::empty(), ways).map_err(cannot)
}

/// Names in a folder but for itself and the one above, in order.
pub(super) fn names(folder: BorrowedFd<'_>) -> Reading<Vec<CString>> {
    let cannot = |errno| format!("cannot list the folder: {errno}");
    let mut names = Vec::new();
    for entry in Dir::read_from(folder).map_err(cannot)? {
        let entry = entry.map_err(cannot)?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        if names.len() == limits::NAMES {
            return Err(format!("more than {} entries", limits::NAMES));
        }
        names.push(name.to_owned());
    }
    names.sort_unstable();
    Ok(names)
}

/// What a file says. It may have become something else meanwhile: that is neither followed nor waited for.
fn text(folder: BorrowedFd<'_>, name: &CStr) -> Reading<String> {
    let cannot = |why: &dyn std::fmt::Display| format!("cannot read it: {why}");
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = openat(folder, name, flags, Mode::empty()).map_err(|errno| cannot(&errno))?;
    let found = fstat(&file).map_err(|errno| cannot(&errno))?;
    if FileType::from_raw_mode(found.st_mode) != FileType::RegularFile {
        return Err("not a file any more".to_owned());
    }
    let mut bytes = Vec::new();
    let mut file = File::from(file).take(limits::FILE + 1);
    file.read_to_end(&mut bytes).map_err(|error| cannot(&error))?;
    if bytes.len() as u64 > limits::FILE {
        return Err(format!("larger than {} MiB", limits::FILE >> 20));
    }
    as_text(bytes)
}

fn as_text(bytes: Vec<u8>) -> Reading<String> {
    String::from_utf8(bytes).map_err(|_| "not UTF-8".to_owned())
}
