//! A packet socket (packet(7)) and the options that no library here wraps.

#![allow(
    unsafe_code,
    reason = "sockaddr_ll and options of packet sockets have no safe wrapper here"
)]

use crate::{Instruction, Size, filter};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::{
    io,
    mem::{size_of, size_of_val, zeroed},
    os::fd::{AsFd, AsRawFd as _, BorrowedFd},
    ptr,
    time::Duration,
};

/// The socket.
#[derive(Debug)]
pub(crate) struct PacketSocket(Socket);

/// What the kernel counted since it was last asked: `struct tpacket_stats_v3`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Counted {
    pub packets: u32,
    pub drops: u32,
    pub freezes: u32,
}

impl PacketSocket {
    /// A socket in the calling thread's network namespace that receives nothing yet: its protocol is 0.
    pub fn new() -> io::Result<Self> {
        let socket = Socket::new(
            Domain::PACKET,
            Type::RAW.nonblocking().cloexec(),
            Some(Protocol::from(0)),
        )?;
        set_option(
            &socket,
            libc::PACKET_VERSION,
            &(libc::tpacket_versions::TPACKET_V3 as libc::c_int),
        )?;
        Ok(Self(socket))
    }

    /// Lets through only what the program accepts, from its return on for packets that then arrive.
    pub fn filter(&self, program: &[Instruction]) -> io::Result<()> {
        self.0.attach_filter(&filter::for_kernel(program))
    }

    /// Has the kernel set up a ring whose blocks are handed over when full, or this long after their first packet.
    pub fn set_ring(&self, size: Size, block_timeout: Duration) -> io::Result<()> {
        let block_timeout = u32::try_from(block_timeout.as_millis()).unwrap_or(u32::MAX).max(1);
        let request = libc::tpacket_req3 {
            tp_block_size: size.block as libc::c_uint,
            tp_block_nr: size.count as libc::c_uint,
            // Packets of a V3 ring take the room they need; the kernel only wants this to fit the block.
            tp_frame_size: size.block as libc::c_uint,
            tp_frame_nr: size.count as libc::c_uint,
            tp_retire_blk_tov: block_timeout,
            tp_sizeof_priv: 0,
            tp_feature_req_word: 0,
        };
        set_option(&self.0, libc::PACKET_RX_RING, &request)
    }

    /// Receives from an interface, or with 0 from every one; of all protocols, or of one EtherType.
    pub fn bind(&self, interface: u32, protocol: u16) -> io::Result<()> {
        // SAFETY: the closure fills a zeroed storage, which is large enough for any address, as a `sockaddr_ll` and gives its size.
        let ((), address) = unsafe {
            SockAddr::try_init(|storage, length| {
                let address: *mut libc::sockaddr_ll = storage.cast();
                (*address).sll_family = libc::AF_PACKET as u16;
                (*address).sll_protocol = protocol.to_be();
                (*address).sll_ifindex = interface.cast_signed();
                *length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
                Ok(())
            })
        }?;
        self.0.bind(&address)
    }

    /// The interface that the socket is bound to: 0 is every one; `None` is one that does not exist any more (`packet_notifier`).
    pub fn interface(&self) -> io::Result<Option<u32>> {
        let address = self.0.local_addr()?;
        // SAFETY: the address of a packet socket is a `sockaddr_ll`, in a storage that is larger and aligned for any address.
        let address: libc::sockaddr_ll = unsafe { ptr::read(address.as_ptr().cast()) };
        Ok(u32::try_from(address.sll_ifindex).ok())
    }

    /// Receives what the interface hears, not only what is sent to it, while the socket lives.
    pub fn make_promiscuous(&self, interface: u32) -> io::Result<()> {
        let request = libc::packet_mreq {
            mr_ifindex: interface.cast_signed(),
            mr_type: libc::PACKET_MR_PROMISC as libc::c_ushort,
            mr_alen: 0,
            mr_address: [0; 8],
        };
        set_option(&self.0, libc::PACKET_ADD_MEMBERSHIP, &request)
    }

    /// The error that the socket holds, and holds no more.
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        self.0.take_error()
    }

    /// What was counted since this was last asked.
    pub fn count(&self) -> io::Result<Counted> {
        // SAFETY: all-zero is a valid `tpacket_stats_v3`, which is plain integers.
        let mut counted: libc::tpacket_stats_v3 = unsafe { zeroed() };
        let mut length = size_of_val(&counted) as libc::socklen_t;
        // SAFETY: the kernel writes at most `length` bytes to a live value, for which any bytes will do.
        let result = unsafe {
            libc::getsockopt(
                self.0.as_raw_fd(),
                libc::SOL_PACKET,
                libc::PACKET_STATISTICS,
                ptr::from_mut(&mut counted).cast(),
                &raw mut length,
            )
        };
        if result < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Counted {
            packets: counted.tp_packets,
            drops: counted.tp_drops,
            freezes: counted.tp_freeze_q_cnt,
        })
    }
}

impl AsFd for PacketSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Sets an option of packet sockets whose value is a plain structure of integers.
fn set_option<T: Copy>(socket: &Socket, option: libc::c_int, value: &T) -> io::Result<()> {
    // SAFETY: the pointer is to a live value whose size is given.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_PACKET,
            option,
            ptr::from_ref(value).cast(),
            size_of::<T>() as libc::socklen_t,
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
