//! The few system calls that no library here wraps.

#![allow(unsafe_code, reason = "this file is the wrapper")]

use std::{
    io,
    mem::{MaybeUninit, size_of},
    os::fd::{AsFd, AsRawFd as _, FromRawFd as _, OwnedFd},
    ptr,
};

fn checked(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

/// Blocks signals in this thread, and in threads it starts from now on, and returns a descriptor that becomes readable when one is
/// pending. Process 1 of a container has no default actions: what it does not take this way has no effect on it.
pub fn signals(numbers: &[libc::c_int]) -> io::Result<OwnedFd> {
    let mut set = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: sigemptyset initialises the set that the other calls read; all pointers are to it and live through the calls.
    unsafe {
        checked(libc::sigemptyset(set.as_mut_ptr()))?;
        for &number in numbers {
            checked(libc::sigaddset(set.as_mut_ptr(), number))?;
        }
        match libc::pthread_sigmask(libc::SIG_BLOCK, set.as_ptr(), ptr::null_mut()) {
            0 => {}
            error => return Err(io::Error::from_raw_os_error(error)),
        }
        let fd = checked(libc::signalfd(-1, set.as_ptr(), libc::SFD_NONBLOCK | libc::SFD_CLOEXEC))?;
        Ok(OwnedFd::from_raw_fd(fd))
    }
}

/// The number of the next pending signal, if there is one.
pub fn next_signal(signals: &OwnedFd) -> io::Result<Option<u32>> {
    let mut bytes = [0; size_of::<libc::signalfd_siginfo>()];
    match rustix::io::read(signals, &mut bytes) {
        // `ssi_signo` is the structure's first field (signalfd(2)).
        Ok(read) if read >= 4 => Ok(Some(u32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))),
        Ok(_) | Err(rustix::io::Errno::AGAIN) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

/// Sets an option whose value is a C `int`.
pub fn set_option(socket: impl AsFd, level: libc::c_int, option: libc::c_int, value: libc::c_int) -> io::Result<()> {
    let length = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the pointer is to a live `int` whose size is given.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            level,
            option,
            ptr::from_ref(&value).cast(),
            length,
        )
    };
    checked(result).map(drop)
}

/// Reads an option whose value is a plain structure of integers.
///
/// # Safety
/// Every bit pattern must be a valid `T`.
unsafe fn get_option<T: Default>(socket: impl AsFd, level: libc::c_int, option: libc::c_int) -> io::Result<T> {
    let mut value = T::default();
    let mut length = size_of::<T>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes to a live value, of whose type the caller vouches that any bytes will do.
    let result = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            level,
            option,
            ptr::from_mut(&mut value).cast(),
            &raw mut length,
        )
    };
    checked(result)?;
    Ok(value)
}

/// Reads an option whose value is 32 bits wide.
pub fn option_u32(socket: impl AsFd, level: libc::c_int, option: libc::c_int) -> io::Result<u32> {
    // SAFETY: any bits are a `u32`.
    unsafe { get_option(socket, level, option) }
}

/// `tp_packets` and `tp_drops` of packet(7)'s `PACKET_STATISTICS`, since they were last read.
pub fn packet_statistics(socket: impl AsFd) -> io::Result<[u32; 2]> {
    // SAFETY: any bits are two `u32`.
    unsafe { get_option(socket, libc::SOL_PACKET, libc::PACKET_STATISTICS) }
}

/// The user of the process at the other end of a unix socket (`SO_PEERCRED`, unix(7)).
pub fn peer_uid(socket: impl AsFd) -> io::Result<u32> {
    // `struct ucred` is pid, uid, gid.
    // SAFETY: any bits are three `u32`.
    let [_pid, uid, _gid]: [u32; 3] = unsafe { get_option(socket, libc::SOL_SOCKET, libc::SO_PEERCRED) }?;
    Ok(uid)
}

/// A child that has ended and was not waited for yet; it stays that way (waitid(2)).
pub fn ended_child() -> Option<u32> {
    let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
    let flags = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: the pointer is to a live structure of this type, for which zeroes will do; where a child has ended, the field is set, else zero.
    let pid = unsafe {
        checked(libc::waitid(libc::P_ALL, 0, info.as_mut_ptr(), flags)).ok()?;
        info.assume_init().si_pid()
    };
    u32::try_from(pid).ok().filter(|&pid| pid != 0)
}
