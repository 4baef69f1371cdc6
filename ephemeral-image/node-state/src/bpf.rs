//! bpf(2), without a loader: what is loaded and pinned, read by system calls alone.
//!
//! Offsets are those of `union bpf_attr` and `struct bpf_*_info` in include/uapi/linux/bpf.h, which only grow.

use std::{
    ffi::CString,
    fs, io,
    os::{
        fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
};

const MAP_LOOKUP_ELEM: libc::c_int = 1;
const MAP_GET_NEXT_KEY: libc::c_int = 4;
const OBJ_GET: libc::c_int = 7;
const OBJ_GET_INFO_BY_FD: libc::c_int = 15;
const PROG_QUERY: libc::c_int = 16;
const MAP_LOOKUP_BATCH: libc::c_int = 24;

/// `BPF_F_RDONLY`.
const READ_ONLY: u32 = 8;
/// `ENOTSUPP` of include/linux/errno.h, which has no name outside the kernel.
const NOT_SUPPORTED: i32 = 524;
/// How often a list that grows is asked for again.
const ATTEMPTS: usize = 4;
/// Bytes of keys and values that are asked for at once.
const BATCH: usize = 256 << 10;
/// Bytes of keys and values that one bucket of a map may have.
const BUCKET: usize = 16 << 20;
/// `BPF_MAP_TYPE_*` with a value for each processor.
const PER_CPU: [u32; 4] = [5, 6, 10, 21];
/// `BPF_MAP_TYPE_*` whose entries can be read: hash, array, programs, per processor, least recently used, prefixes, maps, devices.
const WITH_ENTRIES: [u32; 12] = [1, 2, 3, 5, 6, 9, 10, 11, 12, 13, 14, 25];

/// The arguments of one call, zero where nothing is said.
#[derive(Debug, Clone, Copy)]
pub struct Arguments([u64; 8]);

impl Default for Arguments {
    fn default() -> Self {
        Self::new()
    }
}

impl Arguments {
    /// Nothing said.
    #[must_use]
    pub const fn new() -> Self {
        Self([0; 8])
    }

    /// Puts a number of four bytes at a byte offset, a multiple of four below 64.
    #[must_use]
    pub fn u32(mut self, offset: usize, value: u32) -> Self {
        let mut bytes = self.0[offset / 8].to_ne_bytes();
        bytes[offset % 8..][..4].copy_from_slice(&value.to_ne_bytes());
        self.0[offset / 8] = u64::from_ne_bytes(bytes);
        self
    }

    /// Puts a descriptor at a byte offset.
    #[must_use]
    pub fn fd(self, offset: usize, fd: BorrowedFd<'_>) -> Self {
        // A descriptor that is open is not negative.
        self.u32(offset, fd.as_raw_fd().cast_unsigned())
    }

    /// Puts a pointer at a byte offset, a multiple of eight below 64.
    #[must_use]
    pub fn pointer<T>(mut self, offset: usize, pointer: *const T) -> Self {
        self.0[offset / 8] = pointer as u64;
        self
    }

    /// The number of four bytes that the kernel left at a byte offset.
    fn answer(&self, offset: usize) -> u32 {
        let mut four = [0; 4];
        four.copy_from_slice(&self.0[offset / 8].to_ne_bytes()[offset % 8..][..4]);
        u32::from_ne_bytes(four)
    }

    /// Makes the call.
    ///
    /// # Safety
    /// Each pointer put in must be valid for what the command does with it, until this returns.
    pub unsafe fn call(&mut self, command: libc::c_int) -> io::Result<RawFd> {
        // SAFETY: the union is 64 bytes of our own, aligned to 8; its pointers are the caller's promise.
        let answer = unsafe { libc::syscall(libc::SYS_bpf, command, self.0.as_mut_ptr(), size_of_val(&self.0)) };
        if answer < 0 {
            return Err(io::Error::last_os_error());
        }
        RawFd::try_from(answer).map_err(io::Error::other)
    }

    /// Makes a call that gives a descriptor.
    ///
    /// # Safety
    /// As of `call`, and the command must be one that makes a descriptor.
    pub unsafe fn call_for_fd(&mut self, command: libc::c_int) -> io::Result<OwnedFd> {
        // SAFETY: the caller's promise.
        let fd = unsafe { self.call(command) }?;
        // SAFETY: the kernel made this descriptor for us alone.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    }
}

/// A path as the kernel takes it.
pub fn c_path(path: &Path) -> io::Result<CString> {
    Ok(CString::new(path.as_os_str().as_bytes())?)
}

/// Opens what is pinned at `path`.
pub fn get(path: &Path) -> io::Result<OwnedFd> {
    get_with(path, 0)
}

/// Opens what is pinned at `path`, a map only to be read.
pub(crate) fn get_to_read(path: &Path) -> io::Result<OwnedFd> {
    match get_with(path, READ_ONLY) {
        // Links take no flags.
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => get_with(path, 0),
        other => other,
    }
}

fn get_with(path: &Path, flags: u32) -> io::Result<OwnedFd> {
    let path = c_path(path)?;
    let mut arguments = Arguments::new().pointer(0, path.as_ptr()).u32(12, flags);
    // SAFETY: the path lives until the end of this function; the command makes a descriptor.
    unsafe { arguments.call_for_fd(OBJ_GET) }
}

/// What an object says of itself: the first 64 bytes of `struct bpf_map_info`, `bpf_prog_info` or `bpf_link_info`, zero where the kernel has
/// less to say.
pub fn info(object: BorrowedFd<'_>) -> io::Result<[u32; 16]> {
    let mut info = [0_u32; 16];
    let mut arguments = Arguments::new()
        .fd(0, object)
        .u32(4, size_of_val(&info) as u32)
        .pointer(8, info.as_mut_ptr());
    // SAFETY: info is as long as said, and lives until the end of this function; all zero, it holds no pointers.
    unsafe { arguments.call(OBJ_GET_INFO_BY_FD) }?;
    Ok(info)
}

/// What a descriptor of bpf(2) stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Object {
    Map,
    Program,
    Link,
}

/// What a descriptor stands for, by the name that the kernel gave its file; `None` if it is none of bpf(2).
pub(crate) fn object(fd: BorrowedFd<'_>) -> io::Result<Option<Object>> {
    let name = fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd()))?;
    let name = name.to_string_lossy();
    let names = [
        ("bpf-map", Object::Map),
        ("bpf-prog", Object::Program),
        ("bpf-link", Object::Link),
    ];
    let found = names.iter().find(|(part, _)| name.contains(part));
    Ok(found.map(|(_, object)| *object))
}

/// Numbers of the maps that a program uses.
pub(crate) fn maps_of(program: BorrowedFd<'_>) -> io::Result<Vec<u32>> {
    /// Where `nr_map_ids` and `map_ids` are in `struct bpf_prog_info`.
    const COUNT: usize = 13;
    const POINTER: usize = 14;
    let count = info(program)?[COUNT];
    let mut ids = vec![0_u32; count as usize];
    let mut info = [0_u32; 16];
    info[COUNT] = count;
    let pointer = (ids.as_mut_ptr() as u64).to_ne_bytes();
    let [low @ .., _, _, _, _] = pointer;
    let [_, _, _, _, high @ ..] = pointer;
    info[POINTER] = u32::from_ne_bytes(low);
    info[POINTER + 1] = u32::from_ne_bytes(high);
    let mut arguments = Arguments::new()
        .fd(0, program)
        .u32(4, size_of_val(&info) as u32)
        .pointer(8, info.as_mut_ptr());
    // SAFETY: info is as long as said; the one pointer in it is to as many numbers as it says. Both live until the end of this function.
    unsafe { arguments.call(OBJ_GET_INFO_BY_FD) }?;
    ids.truncate(info[COUNT] as usize);
    Ok(ids)
}

/// Identifiers of the programs that hang on a device of the calling thread's network namespace, in the order in which they run. `side` is
/// `BPF_TCX_INGRESS` or `BPF_TCX_EGRESS`; none on a kernel that does not know it.
pub(crate) fn programs_at(ifindex: u32, side: u32) -> io::Result<Vec<u32>> {
    const COUNT: usize = 24;
    let mut ids = vec![0_u32; 16];
    for _ in 0..ATTEMPTS {
        let mut arguments = Arguments::new()
            .u32(0, ifindex)
            .u32(4, side)
            .pointer(16, ids.as_mut_ptr())
            .u32(COUNT, ids.len() as u32);
        // SAFETY: there is room for as many numbers as said, which lives until the end of this function.
        match unsafe { arguments.call(PROG_QUERY) } {
            Ok(_) => {
                ids.truncate(arguments.answer(COUNT) as usize);
                return Ok(ids);
            }
            Err(error) => match error.raw_os_error() {
                // Nothing hangs there, the device is gone, or the kernel knows of no such side.
                Some(libc::ENOENT | libc::ENODEV | libc::EINVAL) => return Ok(Vec::new()),
                Some(libc::ENOSPC) => ids = vec![0; (arguments.answer(COUNT) as usize).max(ids.len()) * 2],
                _ => return Err(error),
            },
        }
    }
    Err(io::Error::from_raw_os_error(libc::ENOSPC))
}

/// How many processors there may ever be: a value of a map with one for each has as many parts.
pub(crate) fn possible_cpus() -> io::Result<usize> {
    const FILE: &str = "/sys/devices/system/cpu/possible";
    let text = fs::read_to_string(FILE)?;
    let odd = || io::Error::new(io::ErrorKind::InvalidData, format!("{FILE} is no list of processors"));
    count_cpus(text.trim()).ok_or_else(odd)
}

/// `0-3,8` are five.
fn count_cpus(text: &str) -> Option<usize> {
    let ranges = text.split(',').map(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
        Some(last.checked_sub(first)?.saturating_add(1))
    });
    ranges.sum::<Option<usize>>()
}

/// What of a map its entries' sizes follow from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sizes {
    key: usize,
    /// Of the value as it is read.
    value: usize,
    /// Of one processor's part of it, where that is to be filled up.
    part: usize,
}

impl Sizes {
    /// Of a map of this kind; `None` if it has no entries that can be read.
    pub fn of(kind: u32, key: u32, value: u32, cpus: usize) -> Option<Self> {
        let (key, part) = (key as usize, value as usize);
        let value = if PER_CPU.contains(&kind) {
            part.checked_next_multiple_of(8)?.checked_mul(cpus)?
        } else {
            part
        };
        let has_entries = WITH_ENTRIES.contains(&kind) && key > 0 && value > 0;
        has_entries.then_some(Self { key, value, part })
    }

    /// Puts zeroes where a value's parts are filled up: what is there is chance, left by who wrote them.
    fn clear_filling(self, value: &mut [u8]) {
        for part in value.chunks_mut(self.part.next_multiple_of(8)) {
            part.iter_mut().skip(self.part).for_each(|byte| *byte = 0);
        }
    }
}

/// Why not all entries were given.
#[derive(Debug)]
pub(crate) enum Stopped<E> {
    /// A system call failed.
    Failed(io::Error),
    /// Whom they were given to says no.
    Refused(E),
}

impl<E> From<io::Error> for Stopped<E> {
    fn from(error: io::Error) -> Self {
        Self::Failed(error)
    }
}

/// Gives each entry of a map to `take`, many at a time where the kernel can. What values for single processors are filled up with is zero.
pub(crate) fn entries<E>(
    map: BorrowedFd<'_>,
    sizes: Sizes,
    mut take: impl FnMut(&[u8], &[u8]) -> Result<(), E>,
) -> Result<(), Stopped<E>> {
    let mut given = 0_usize;
    let counting = |key: &[u8], value: &[u8]| {
        given += 1;
        take(key, value)
    };
    match in_batches(map, sizes, counting) {
        Err(Stopped::Failed(error)) if given == 0 && is_unknown(&error) => one_by_one(map, sizes, take),
        other => other,
    }
}

/// Whether an error says that the kernel cannot do this, with this kind of map at least.
fn is_unknown(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EINVAL | libc::ENOTSUP | NOT_SUPPORTED))
}

fn in_batches<E>(
    map: BorrowedFd<'_>,
    sizes: Sizes,
    mut take: impl FnMut(&[u8], &[u8]) -> Result<(), E>,
) -> Result<(), Stopped<E>> {
    const COUNT: usize = 32;
    let mut room = (BATCH / (sizes.key + sizes.value)).clamp(1, 4096);
    let (mut keys, mut values) = (vec![0_u8; room * sizes.key], vec![0_u8; room * sizes.value]);
    // Where the kernel goes on, in its own words: a number, or a key.
    let mut from = vec![0_u8; sizes.key.max(8)];
    let mut next = from.clone();
    let mut is_first = true;
    loop {
        let start = if is_first { std::ptr::null() } else { from.as_ptr() };
        let mut arguments = Arguments::new()
            .pointer(0, start)
            .pointer(8, next.as_mut_ptr())
            .pointer(16, keys.as_mut_ptr())
            .pointer(24, values.as_mut_ptr())
            .u32(COUNT, room as u32)
            .fd(36, map);
        // SAFETY: there is room for as many keys and values as said and for a key where to go on; all live until the end of this function.
        let outcome = unsafe { arguments.call(MAP_LOOKUP_BATCH) };
        let is_last = match outcome {
            Ok(_) => false,
            Err(error) => match error.raw_os_error() {
                Some(libc::ENOENT) => true,
                // One bucket has more: it comes whole or not at all.
                Some(libc::ENOSPC) if room * (sizes.key + sizes.value) < BUCKET => {
                    room *= 2;
                    keys.resize(room * sizes.key, 0);
                    values.resize(room * sizes.value, 0);
                    continue;
                }
                _ => return Err(error.into()),
            },
        };
        let count = (arguments.answer(COUNT) as usize).min(room);
        let pairs = keys.chunks_exact(sizes.key).zip(values.chunks_exact_mut(sizes.value));
        for (key, value) in pairs.take(count) {
            sizes.clear_filling(value);
            take(key, value).map_err(Stopped::Refused)?;
        }
        if is_last {
            return Ok(());
        }
        std::mem::swap(&mut from, &mut next);
        is_first = false;
    }
}

fn one_by_one<E>(
    map: BorrowedFd<'_>,
    sizes: Sizes,
    mut take: impl FnMut(&[u8], &[u8]) -> Result<(), E>,
) -> Result<(), Stopped<E>> {
    let (mut key, mut next, mut value) = (vec![0; sizes.key], vec![0_u8; sizes.key], vec![0_u8; sizes.value]);
    let mut is_first = true;
    loop {
        let after = if is_first { std::ptr::null() } else { key.as_ptr() };
        let mut arguments = Arguments::new()
            .fd(0, map)
            .pointer(8, after)
            .pointer(16, next.as_mut_ptr());
        // SAFETY: both are as long as a key, and live until the end of this function.
        match unsafe { arguments.call(MAP_GET_NEXT_KEY) } {
            Ok(_) => {}
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        std::mem::swap(&mut key, &mut next);
        is_first = false;
        let mut arguments = Arguments::new()
            .fd(0, map)
            .pointer(8, key.as_ptr())
            .pointer(16, value.as_mut_ptr());
        // SAFETY: key and value are as long as those of the map, and live until the end of this function.
        match unsafe { arguments.call(MAP_LOOKUP_ELEM) } {
            Ok(_) => {
                sizes.clear_filling(&mut value);
                take(&key, &value).map_err(Stopped::Refused)?;
            }
            // An empty place, or gone meanwhile.
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_where_the_kernel_looks() {
        let arguments = Arguments::new()
            .u32(4, 7)
            .u32(0, 9)
            .pointer(8, std::ptr::dangling::<u64>());
        assert_eq!((arguments.answer(0), arguments.answer(4)), (9, 7));
        assert_eq!(arguments.0[1], 8);
    }

    #[test]
    fn processors_are_counted() {
        for (text, count) in [
            ("0", Some(1)),
            ("0-3", Some(4)),
            ("0-3,8,10-11", Some(7)),
            ("", None),
            ("3-0", None),
        ] {
            assert_eq!(count_cpus(text), count, "{text}");
        }
    }

    #[test]
    fn a_value_for_each_processor_is_filled_up() {
        let sizes = |kind, value| Sizes::of(kind, 4, value, 3).map(|sizes| sizes.value);
        assert_eq!((sizes(1, 12), sizes(5, 12), sizes(27, 0)), (Some(12), Some(48), None));
    }
}
