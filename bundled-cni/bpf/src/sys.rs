//! bpf(2), for what neither the loader nor the node's reader does: links by device number, pins, what this kernel can.
//!
//! Offsets are those of `union bpf_attr`, `struct bpf_link_info` in include/uapi/linux/bpf.h, which only grow.

pub(crate) use netcheck_node_state::bpf::get;

use netcheck_node_state::bpf::{Arguments, c_path, info};
use std::{
    io,
    os::fd::{BorrowedFd, OwnedFd},
    path::Path,
};

const MAP_CREATE: libc::c_int = 0;
const OBJ_PIN: libc::c_int = 6;
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
    let info = info(link)?;
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
