//! Questions that ethtool(8) asks, by its old ioctl(2): a number for a device and a command (net/ethtool/ioctl.c).

use std::{
    io,
    os::fd::{AsRawFd as _, BorrowedFd},
};

/// Whether a device has a carrier (`ETHTOOL_GLINK` of linux/ethtool.h).
pub(crate) const LINK: u32 = 0x0a;
/// What a device, or the kernel before it, does with whole packets instead of the stack, and the commands that ask whether it does
/// (`ETHTOOL_GRXCSUM`, `GTXCSUM`, `GSG`, `GGSO`, `GGRO`), by the words of `ethtool -k`.
pub(crate) const FEATURES: [(&str, u32); 5] = [
    ("rx-checksumming", 0x14),
    ("tx-checksumming", 0x16),
    ("scatter-gather", 0x18),
    ("generic-segmentation-offload", 0x23),
    ("generic-receive-offload", 0x2b),
];

/// `struct ethtool_value` of linux/ethtool.h.
#[repr(C)]
struct Value {
    command: u32,
    data: u32,
}

/// Asks, by a socket of the device's network namespace.
pub(crate) fn ask(socket: BorrowedFd<'_>, device: &str, command: u32) -> io::Result<u32> {
    let mut value = Value { command, data: 0 };
    let mut wanted = [0; libc::IFNAMSIZ];
    // The last byte stays zero: it ends the name.
    if device.len() >= wanted.len() {
        return Err(io::Error::from_raw_os_error(libc::ENODEV));
    }
    for (place, byte) in wanted.iter_mut().zip(device.bytes()) {
        *place = byte.cast_signed();
    }
    let mut request = libc::ifreq {
        ifr_name: wanted,
        ifr_ifru: libc::__c_anonymous_ifr_ifru {
            ifru_data: (&raw mut value).cast(),
        },
    };
    // SAFETY: the descriptor is open; the request and the value that it points to are of the kernel's layout and live until it returns.
    let outcome = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL, &raw mut request) };
    if outcome < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(value.data)
}
