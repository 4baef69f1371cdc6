//! The folders in which runtimes name network namespaces, watched (inotify(7)).

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use std::{
    collections::BTreeMap,
    ffi::OsStr,
    mem::MaybeUninit,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::{Path, PathBuf},
};

/// Where containerd and CRI-O (through the CNI's library) and Docker put them, below a root.
const NAMES: [&str; 2] = ["run/netns", "run/docker/netns"];

/// The folders.
pub struct Folders {
    /// Without it nothing is watched, and pods are found by their processes.
    inotify: Option<OwnedFd>,
    /// Where they may be.
    candidates: Vec<PathBuf>,
    /// Those that are watched, by the kernel's number. One folder may be reached by several ways: it has one number.
    watched: BTreeMap<i32, PathBuf>,
}

impl Folders {
    /// None is watched yet. The runtime that has started us may live in another mount namespace than the node's first process: what either
    /// sees counts.
    pub fn new() -> Self {
        let parent = rustix::process::getppid().map(|pid| format!("/proc/{}/root", pid.as_raw_pid()));
        let roots = parent.into_iter().chain(["/proc/1/root".to_owned(), "/".to_owned()]);
        Self {
            inotify: inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).ok(),
            candidates: roots
                .flat_map(|root| NAMES.map(|name| Path::new(&root).join(name)))
                .collect(),
            watched: BTreeMap::new(),
        }
    }

    /// Watches the folders that are there and are not watched yet; gives the files in them.
    pub fn watch(&mut self) -> Vec<PathBuf> {
        let Some(inotify) = &self.inotify else {
            return Vec::new();
        };
        let mut files = Vec::new();
        for folder in &self.candidates {
            let flags = WatchFlags::CREATE | WatchFlags::MOVED_TO | WatchFlags::ONLYDIR;
            let Ok(number) = inotify::add_watch(inotify, folder, flags) else {
                continue;
            };
            if self.watched.insert(number, folder.clone()).is_none() {
                let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
                files.extend(entries.map(|entry| entry.path()));
            }
        }
        files
    }

    /// Files that came since this was last asked. If there were too many for the kernel to remember, some are missing: their pods are found
    /// by their processes then.
    pub fn news(&self) -> Vec<PathBuf> {
        let Some(inotify) = &self.inotify else {
            return Vec::new();
        };
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = Reader::new(inotify, &mut buffer);
        let mut files = Vec::new();
        while let Ok(event) = reader.next() {
            if event.events().intersects(ReadFlags::CREATE | ReadFlags::MOVED_TO)
                && let (Some(folder), Some(name)) = (self.watched.get(&event.wd()), event.file_name())
            {
                files.push(folder.join(OsStr::from_bytes(name.to_bytes())));
            }
        }
        files
    }

    /// Readable when there are new files.
    pub fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.inotify.as_ref().map(AsFd::as_fd)
    }

    /// Those that are watched.
    pub fn names(&self) -> Vec<String> {
        self.watched.values().map(|path| path.display().to_string()).collect()
    }
}
