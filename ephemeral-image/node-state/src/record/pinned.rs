//! BPF objects that are pinned in a folder, and what hangs on devices.

use super::{
    PinnedLink, PinnedMap, PinnedProgram, Pins, Reading, folders,
    limits::{self, Budget},
};
use crate::{
    bpf::{self, Object, Sizes, Stopped},
    interfaces::interface_names,
};
use rustix::{
    fs::{FileType, Mode, OFlags, ResolveFlags, fstat, fstatfs, openat2},
    io::Errno,
};
use std::{
    collections::BTreeMap,
    ffi::CStr,
    fmt::{Display, Write as _},
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    path::Path,
};

/// `BPF_FS_MAGIC` of include/uapi/linux/magic.h.
const BPF_FS_MAGIC: u64 = 0xcafe_4a11;
/// How deep folders in folders are looked into.
const DEPTH: usize = 16;
/// `BPF_TCX_INGRESS` and `BPF_TCX_EGRESS` of `enum bpf_attach_type`.
const SIDES: [(u32, &str); 2] = [(46, "ingress"), (47, "egress")];
/// `BPF_LINK_TYPE_*` that hang on a device, and whether they say on which side: XDP, TCX, netkit.
const OF_DEVICES: [(u32, bool); 3] = [(6, false), (11, true), (13, true)];
/// `BPF_MAP_TYPE_ARRAY` and `_PERCPU_ARRAY`, which have all of their keys from the start, with zeroes behind them.
const ARRAYS: [u32; 2] = [2, 6];

/// All that is pinned below the folder at `path` below `root`, and what hangs on the devices of the calling thread's network namespace.
///
/// Nothing is changed: maps are opened to be read. What cannot be opened is an error of its own, kept among the kind that the folder's name
/// says (`progs`, `links`), else among the maps.
pub fn pins(root: &Path, path: &str) -> Reading<Pins> {
    let folder = folders::open_below(root, path)?;
    let filesystem = fstatfs(&folder).map_err(|errno| format!("cannot tell the filesystem: {errno}"))?;
    // The type's width and sign differ among architectures.
    if u64::try_from(filesystem.f_type) != Ok(BPF_FS_MAGIC) {
        return Err("not in a BPF filesystem".to_owned());
    }
    let mut walk = Walk {
        pins: Pins {
            hooks: hooks()?,
            ..Pins::default()
        },
        cpus: bpf::possible_cpus().map_err(|error| error.to_string()),
        budget: Budget::new(),
        seen: 0,
    };
    walk.folder(folder.as_fd(), "", 0)?;
    Ok(walk.pins)
}

/// What hangs on each device, by device and side.
fn hooks() -> Reading<BTreeMap<String, Vec<u32>>> {
    let mut hooks = BTreeMap::new();
    for (index, name) in interface_names().map_err(|error| error.to_string())? {
        for (side, word) in SIDES {
            let programs = bpf::programs_at(index, side)
                .map_err(|error| format!("cannot tell what hangs on {name} ({word}): {error}"))?;
            if !programs.is_empty() {
                hooks.insert(format!("{name} {word}"), programs);
            }
        }
    }
    Ok(hooks)
}

/// A pin that was opened.
enum Pin {
    Folder(OwnedFd),
    Object(Object, OwnedFd),
    /// A link to elsewhere, a file of another kind, or gone meanwhile.
    Nothing,
}

struct Walk {
    pins: Pins,
    cpus: Reading<usize>,
    budget: Budget,
    seen: usize,
}

impl Walk {
    fn folder(&mut self, folder: BorrowedFd<'_>, below: &str, depth: usize) -> Reading<()> {
        if depth > DEPTH {
            return Err(format!("{below}: folders in folders, more than {DEPTH} deep"));
        }
        for name in folders::names(folder)? {
            self.seen += 1;
            if self.seen > limits::NAMES {
                return Err(format!("more than {} pins", limits::NAMES));
            }
            let path = format!("{below}{}", name.to_string_lossy());
            match open(folder, &name) {
                Ok(Pin::Folder(inner)) => self.folder(inner.as_fd(), &format!("{path}/"), depth + 1)?,
                Ok(Pin::Object(kind, fd)) => self.object(kind, path, fd.as_fd()),
                Ok(Pin::Nothing) => {}
                Err(error) => self.unopened(path, format!("cannot open it: {error}")),
            }
        }
        Ok(())
    }

    fn object(&mut self, kind: Object, path: String, fd: BorrowedFd<'_>) {
        match kind {
            Object::Map => {
                let map = self.map(fd);
                self.pins.maps.insert(path, map);
            }
            Object::Program => drop(self.pins.programs.insert(path, program(fd).map_err(unasked))),
            Object::Link => drop(self.pins.links.insert(path, link(fd).map_err(unasked))),
        }
    }

    fn unopened(&mut self, path: String, why: String) {
        let is_in = |name| path.split('/').rev().skip(1).any(|folder| folder == name);
        if is_in("progs") {
            self.pins.programs.insert(path, Err(why));
        } else if is_in("links") {
            self.pins.links.insert(path, Err(why));
        } else {
            self.pins.maps.insert(path, Err(why));
        }
    }

    fn map(&mut self, fd: BorrowedFd<'_>) -> Reading<PinnedMap> {
        let [kind, id, key, value, max_entries, flags, ..] = bpf::info(fd).map_err(unasked)?;
        let mut map = PinnedMap {
            id,
            kind,
            key,
            value,
            max_entries,
            flags,
            entries: BTreeMap::new(),
        };
        if let Some(sizes) = Sizes::of(kind, key, value, self.cpus.clone()?) {
            map.entries = self.entries(fd, sizes, ARRAYS.contains(&kind))?;
        }
        Ok(map)
    }

    /// `is_array`: what is zero was never written, or might as well not have been; a long array of it would be most of a record.
    fn entries(&mut self, fd: BorrowedFd<'_>, sizes: Sizes, is_array: bool) -> Reading<BTreeMap<String, String>> {
        let before = self.budget;
        let mut entries = BTreeMap::new();
        let outcome = bpf::entries(fd, sizes, |key, value| {
            if is_array && value.iter().all(|byte| *byte == 0) {
                return Ok(());
            }
            if entries.len() == limits::MAP_ENTRIES {
                return Err(format!("more than {} entries", limits::MAP_ENTRIES));
            }
            self.budget.take(2 * (key.len() + value.len()))?;
            entries.insert(hexadecimal(key), hexadecimal(value));
            Ok(())
        });
        outcome.map(|()| entries).map_err(|stopped| {
            // What is not told is not kept either.
            self.budget = before;
            match stopped {
                Stopped::Failed(error) => format!("cannot read its entries: {error}"),
                Stopped::Refused(why) => why,
            }
        })
    }
}

/// Opens what has a name in a folder, whatever it is, without being led elsewhere.
fn open(folder: BorrowedFd<'_>, name: &CStr) -> io::Result<Pin> {
    let ways = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
    let opened = |flags| openat2(folder, name, flags | OFlags::CLOEXEC, Mode::empty(), ways);
    let file = match opened(OFlags::PATH | OFlags::NOFOLLOW) {
        Err(Errno::NOENT | Errno::XDEV) => return Ok(Pin::Nothing),
        other => other?,
    };
    match FileType::from_raw_mode(fstat(&file)?.st_mode) {
        FileType::Directory => Ok(Pin::Folder(opened(OFlags::RDONLY | OFlags::DIRECTORY)?)),
        FileType::RegularFile => {
            // The very file that was looked at, by its descriptor.
            let fd = bpf::get_to_read(Path::new(&format!("/proc/self/fd/{}", file.as_raw_fd())))?;
            Ok(match bpf::object(fd.as_fd())? {
                Some(kind) => Pin::Object(kind, fd),
                None => Pin::Nothing,
            })
        }
        _ => Ok(Pin::Nothing),
    }
}

fn program(fd: BorrowedFd<'_>) -> io::Result<PinnedProgram> {
    let info = bpf::info(fd)?;
    let tag = [info[2].to_ne_bytes(), info[3].to_ne_bytes()].concat();
    Ok(PinnedProgram {
        id: info[1],
        tag: hexadecimal(&tag),
        maps: bpf::maps_of(fd)?,
    })
}

fn link(fd: BorrowedFd<'_>) -> io::Result<PinnedLink> {
    let [kind, id, program, _, first, second, ..] = bpf::info(fd)?;
    let of_device = OF_DEVICES.iter().find(|(known, _)| *known == kind);
    Ok(PinnedLink {
        id,
        kind,
        program,
        ifindex: of_device.map_or(0, |_| first),
        attach_type: of_device.map_or(0, |(_, has_side)| if *has_side { second } else { 0 }),
    })
}

fn unasked(error: impl Display) -> String {
    format!("cannot ask what it is: {error}")
}

fn hexadecimal(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}
