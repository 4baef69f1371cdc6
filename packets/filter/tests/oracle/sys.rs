//! The system calls of these tests that have no safe form.

#![allow(unsafe_code, reason = "this file is the wrapper")]

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;

use rustix::thread::{UnshareFlags, unshare_unsafe};
use socket2::SockAddr;

/// Puts this thread, and the processes it starts, into a new network namespace.
pub fn enter_new_network() -> io::Result<()> {
    // SAFETY: the call is unsafe for CLONE_FILES alone, which is not passed.
    Ok(unsafe { unshare_unsafe(UnshareFlags::NEWNET) }?)
}

/// The address of an interface for a packet socket that takes every protocol; index 0 is all interfaces.
pub fn interface(index: u32) -> io::Result<SockAddr> {
    // SAFETY: the closure fills a zeroed storage, which is large enough for any address, as a `sockaddr_ll` and gives its size.
    let ((), address) = unsafe {
        SockAddr::try_init(|storage, length| {
            let address: *mut libc::sockaddr_ll = storage.cast();
            (*address).sll_family = u16::try_from(libc::AF_PACKET).unwrap_or_default();
            (*address).sll_protocol = u16::try_from(libc::ETH_P_ALL).unwrap_or_default().to_be();
            (*address).sll_ifindex = i32::try_from(index).unwrap_or_default();
            *length = u32::try_from(size_of::<libc::sockaddr_ll>()).unwrap_or_default();
            Ok(())
        })
    }?;
    Ok(address)
}

/// A new tunnel in this thread's network namespace: what is written to it arrives there as an IP packet. It goes with the file.
pub fn tunnel(name: &str) -> io::Result<File> {
    let device = OpenOptions::new().read(true).write(true).open("/dev/net/tun")?;
    // SAFETY: all-zero is a valid `ifreq`, which is plain bytes and integers.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_flags = i16::try_from(libc::IFF_TUN | libc::IFF_NO_PI).unwrap_or_default();
    // SAFETY: TUNSETIFF reads and writes one `ifreq`, which lives through the call.
    match unsafe { libc::ioctl(device.as_raw_fd(), libc::TUNSETIFF, &raw mut request) } {
        0 => Ok(device),
        _ => Err(io::Error::last_os_error()),
    }
}
