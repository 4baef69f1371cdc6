//! One packet socket (packet(7)) that sees the probes of the namespace it was opened in, both directions, all interfaces.

#![allow(
    unsafe_code,
    reason = "recvmsg with a timestamp and sockaddr_ll have no safe wrapper here"
)]

use super::filter;
use crate::sys;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::{
    io,
    mem::{size_of, zeroed},
    os::fd::{AsFd, AsRawFd as _, BorrowedFd},
    ptr,
};

/// Receive buffer in bytes that is asked for. Packets are cut to headers, but the kernel counts their whole buffers: this holds some
/// thousand probes between two looks.
const BUFFER: libc::c_int = 4 << 20;

/// The socket.
#[derive(Debug)]
pub struct PacketSocket(Socket);

/// One packet's circumstances; its bytes are in the caller's buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Received {
    /// Bytes in the buffer.
    pub length: usize,
    /// When the kernel saw it, in nanoseconds of the real-time clock; 0 if it did not say.
    pub at_ns: u64,
    /// Index of its interface.
    pub interface: u32,
    /// `PACKET_HOST`, `PACKET_OUTGOING` … of linux/if_packet.h.
    pub packet_type: u8,
}

impl PacketSocket {
    /// Opens it in the calling thread's network namespace. It sees every packet from its return on.
    pub fn open() -> io::Result<Self> {
        // Protocol 0 receives nothing, so no packet comes before the filter is in place.
        let socket = Socket::new(
            Domain::PACKET,
            Type::DGRAM.nonblocking().cloexec(),
            Some(Protocol::from(0)),
        )?;
        socket.attach_filter(&filter::program())?;
        sys::set_option(&socket, libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, 1)?;
        // Beyond the system's limit takes NET_ADMIN; without it the limit is what there is.
        if sys::set_option(&socket, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, BUFFER).is_err() {
            socket.set_recv_buffer_size(BUFFER.unsigned_abs() as usize)?;
        }
        socket.bind(&every_interface()?)?;
        Ok(Self(socket))
    }

    /// The next packet, cut to the buffer; `None` if there is none now.
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<Option<Received>> {
        /// Room for one `timespec` control message, aligned as the kernel writes it.
        #[repr(C, align(8))]
        struct Control([u8; 64]);

        let mut control = Control([0; 64]);
        let mut part = libc::iovec {
            iov_base: buffer.as_mut_ptr().cast(),
            iov_len: buffer.len(),
        };
        // SAFETY: all-zero is a valid `sockaddr_ll` and a valid `msghdr`, which are plain integers and pointers.
        let (mut from, mut message): (libc::sockaddr_ll, libc::msghdr) = unsafe { (zeroed(), zeroed()) };
        message.msg_name = ptr::from_mut(&mut from).cast();
        message.msg_namelen = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        message.msg_control = control.0.as_mut_ptr().cast();
        message.msg_controllen = control.0.len() as _;
        // SAFETY: every pointer in the message is to a live buffer of the length beside it.
        let length = unsafe { libc::recvmsg(self.0.as_raw_fd(), &raw mut message, 0) };
        let Ok(length) = usize::try_from(length) else {
            let error = io::Error::last_os_error();
            // An interface that went down is told as an error once; the next call goes on.
            return match error.raw_os_error() {
                Some(libc::EAGAIN) => Ok(None),
                _ => Err(error),
            };
        };
        Ok(Some(Received {
            length: length.min(buffer.len()),
            at_ns: timestamp(&message).unwrap_or(0),
            interface: from.sll_ifindex.cast_unsigned(),
            packet_type: from.sll_pkttype,
        }))
    }

    /// Packets that the kernel dropped for want of room since this was last asked.
    pub fn drops(&self) -> io::Result<u64> {
        sys::packet_statistics(self).map(|[_packets, drops]| drops.into())
    }
}

impl AsFd for PacketSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// The address that means all protocols on all interfaces.
fn every_interface() -> io::Result<SockAddr> {
    // SAFETY: the closure fills a zeroed storage, which is large enough for any address, as a `sockaddr_ll` and gives its size.
    let ((), address) = unsafe {
        SockAddr::try_init(|storage, length| {
            let address: *mut libc::sockaddr_ll = storage.cast();
            (*address).sll_family = libc::AF_PACKET as u16;
            (*address).sll_protocol = (libc::ETH_P_ALL as u16).to_be();
            *length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
            Ok(())
        })
    }?;
    Ok(address)
}

/// The kernel's time stamp in a message's control data.
fn timestamp(message: &libc::msghdr) -> Option<u64> {
    // SAFETY: recvmsg has set the control length to what it wrote; CMSG_FIRSTHDR and CMSG_NXTHDR stay within it.
    unsafe {
        let mut header = libc::CMSG_FIRSTHDR(message);
        while let Some(control) = header.as_ref() {
            if control.cmsg_level == libc::SOL_SOCKET && control.cmsg_type == libc::SO_TIMESTAMPNS {
                let time: libc::timespec = ptr::read_unaligned(libc::CMSG_DATA(header).cast());
                let seconds = u64::try_from(time.tv_sec).ok()?;
                return seconds
                    .checked_mul(1_000_000_000)?
                    .checked_add(u64::try_from(time.tv_nsec).ok()?);
            }
            header = libc::CMSG_NXTHDR(message, header);
        }
    }
    None
}
