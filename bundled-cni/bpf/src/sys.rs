//! bpf(2), for what the loader does not do: links by device number, what a link says of itself, pins.
//!
//! Offsets are those of `union bpf_attr`, `struct bpf_link_info` in include/uapi/linux/bpf.h, which only grow.

use std::{
    ffi::CString,
    io,
    os::{
        fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
};

const MAP_CREATE: libc::c_int = 0;
const OBJ_PIN: libc::c_int = 6;
const OBJ_GET: libc::c_int = 7;
const OBJ_GET_INFO_BY_FD: libc::c_int = 15;
const PROG_QUERY: libc::c_int = 16;
const LINK_CREATE: libc::c_int = 28;
const LINK_UPDATE: libc::c_int = 29;

/// `BPF_MAP_TYPE_RINGBUF`.
const RING: u32 = 27;
/// `BPF_LINK_TYPE_TCX`.
const LINK_TCX: u32 = 11;
/// `BPF_F_BEFORE`; with no program named: before all.
const BEFORE: u32 = 8;
/// The loopback device's number, in every namespace.
const LOOPBACK: u32 = 1;

/// A side of a device, by `enum bpf_attach_type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TcxSide {
    Ingress = 46,
    Egress = 47,
}

/// What a TCX link says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TcxLink {
    pub(crate) program_id: u32,
    /// 0 once the device is gone.
    pub(crate) ifindex: u32,
    /// `enum bpf_attach_type`.
    pub(crate) side: u32,
}

/// The arguments of one call, zero where nothing is said.
struct Arguments([u64; 8]);

impl Arguments {
    const fn new() -> Self {
        Self([0; 8])
    }

    /// Puts a number of four bytes at a byte offset.
    fn u32(mut self, offset: usize, value: u32) -> Self {
        let mut bytes = self.0[offset / 8].to_ne_bytes();
        bytes[offset % 8..][..4].copy_from_slice(&value.to_ne_bytes());
        self.0[offset / 8] = u64::from_ne_bytes(bytes);
        self
    }

    fn fd(self, offset: usize, fd: BorrowedFd<'_>) -> Self {
        // A descriptor that is open is not negative.
        self.u32(offset, fd.as_raw_fd().cast_unsigned())
    }

    fn pointer<T>(mut self, offset: usize, pointer: *const T) -> Self {
        self.0[offset / 8] = pointer as u64;
        self
    }

    /// # Safety
    /// Each pointer put in must be valid for what the command does with it, until this returns.
    unsafe fn call(&mut self, command: libc::c_int) -> io::Result<RawFd> {
        // SAFETY: the union is 64 bytes of our own, aligned to 8; its pointers are the caller's promise.
        let answer = unsafe { libc::syscall(libc::SYS_bpf, command, self.0.as_mut_ptr(), size_of_val(&self.0)) };
        if answer < 0 {
            return Err(io::Error::last_os_error());
        }
        RawFd::try_from(answer).map_err(io::Error::other)
    }

    /// # Safety
    /// As of `call`, and the command must be one that makes a descriptor.
    unsafe fn call_for_fd(&mut self, command: libc::c_int) -> io::Result<OwnedFd> {
        // SAFETY: the caller's promise.
        let fd = unsafe { self.call(command) }?;
        // SAFETY: the kernel made this descriptor for us alone.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    }
}

fn c_path(path: &Path) -> io::Result<CString> {
    Ok(CString::new(path.as_os_str().as_bytes())?)
}

/// Opens what is pinned at `path`.
pub(crate) fn get(path: &Path) -> io::Result<OwnedFd> {
    let path = c_path(path)?;
    // SAFETY: the path lives until the end of this function; the command makes a descriptor.
    unsafe { Arguments::new().pointer(0, path.as_ptr()).call_for_fd(OBJ_GET) }
}

/// Pins an object at `path`, where nothing may be.
pub(crate) fn pin(fd: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let path = c_path(path)?;
    // SAFETY: the path lives until the end of this function.
    unsafe { Arguments::new().pointer(0, path.as_ptr()).fd(8, fd).call(OBJ_PIN) }?;
    Ok(())
}

/// What a link says of itself; `None` if it is of another kind.
pub(crate) fn tcx_link(link: BorrowedFd<'_>) -> io::Result<Option<TcxLink>> {
    // struct bpf_link_info: type, id, prog_id, padding; tcx.ifindex @16, tcx.attach_type @20.
    let mut info = [0_u32; 16];
    let length = size_of_val(&info) as u32;
    let mut arguments = Arguments::new()
        .fd(0, link)
        .u32(4, length)
        .pointer(8, info.as_mut_ptr());
    // SAFETY: info is as long as said, and lives until the end of this function.
    unsafe { arguments.call(OBJ_GET_INFO_BY_FD) }?;
    Ok((info[0] == LINK_TCX).then_some(TcxLink {
        program_id: info[2],
        ifindex: info[4],
        side: info[5],
    }))
}

/// Hangs a program on a device, before all others there. The link ends when nothing holds it: pin it.
pub(crate) fn attach_tcx(program: BorrowedFd<'_>, ifindex: u32, side: TcxSide) -> io::Result<OwnedFd> {
    let mut arguments = Arguments::new()
        .fd(0, program)
        .u32(4, ifindex)
        .u32(8, side as u32)
        .u32(12, BEFORE);
    // SAFETY: there is no pointer in it; the command makes a descriptor.
    unsafe { arguments.call_for_fd(LINK_CREATE) }
}

/// Puts another program behind a link, without a gap.
pub(crate) fn replace_program(link: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: there is no pointer in it.
    unsafe { Arguments::new().fd(0, link).fd(4, program).call(LINK_UPDATE) }?;
    Ok(())
}

/// Whether this kernel has TCX (6.6, or where it was carried back to).
pub(crate) fn has_tcx() -> bool {
    let mut arguments = Arguments::new().u32(0, LOOPBACK).u32(4, TcxSide::Ingress as u32);
    // SAFETY: there is no pointer in it: only the number of programs is asked for.
    match unsafe { arguments.call(PROG_QUERY) } {
        Ok(_) => true,
        // Nothing hangs there; a kernel that does not know the side says EINVAL.
        Err(error) => error.raw_os_error() == Some(libc::ENOENT),
    }
}

/// Makes a ring of the smallest size, and forgets it: to see whether it can be.
pub(crate) fn try_ring(bytes: u32) -> io::Result<()> {
    let mut arguments = Arguments::new().u32(0, RING).u32(12, bytes);
    // SAFETY: there is no pointer in it; the command makes a descriptor.
    drop(unsafe { arguments.call_for_fd(MAP_CREATE) }?);
    Ok(())
}
