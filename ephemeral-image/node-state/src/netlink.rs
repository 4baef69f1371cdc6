//! Netlink: a socket, requests that are acknowledged, and dumps.
//!
//! Who needs tables of the kernel that are no part of a node's state, such as those of traffic control, finds here what it takes: a
//! [`Message`] is sent by [`request`] or [`dump`], and what the answer says is read by [`attributes`].

pub use crate::wire::{Message, attribute, attributes, put, text, u32_at};

use crate::{
    numbers::{
        NLM_F_ACK, NLM_F_ACK_TLVS, NLM_F_CAPPED, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR,
        NLMSG_NOOP, NLMSG_OVERRUN, NLMSGERR_ATTR_MSG,
    },
    wire::{MESSAGE_HEADER, u16_at},
};
use netlink_sys::{Socket, SocketAddr};
use std::{
    io,
    os::fd::{AsFd, BorrowedFd},
};

/// How often a dump is begun anew because the kernel's tables changed under it.
const ATTEMPTS: usize = 5;
/// Room for a datagram, in bytes: the kernel fills no more than 32 KiB (`netlink_dump()`, net/netlink/af_netlink.c).
const DATAGRAM: usize = 64 << 10;

/// Why a table of the kernel could not be read.
#[derive(Debug, thiserror::Error)]
pub enum DumpError {
    /// The netlink socket failed.
    #[error("netlink: cannot read {what}: {source}")]
    Socket {
        /// What was to be read.
        what: &'static str,
        /// The error of the system call.
        source: io::Error,
    },
    /// The kernel refused the request.
    #[error("netlink: the kernel refuses to list {what}: {source}")]
    Refused {
        /// What was to be read.
        what: &'static str,
        /// The error number in the answer.
        source: io::Error,
    },
    /// The answer is not what this version knows.
    #[error("netlink: cannot decode {what}: {reason}")]
    Decode {
        /// What was to be read.
        what: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The table changed during each attempt.
    #[error("netlink: {what} changed while being read, {ATTEMPTS} times in a row")]
    Unsteady {
        /// What was to be read.
        what: &'static str,
    },
}

/// Why a request has no result: the error, and the kernel's own words for it (extended acknowledgement), where it has some.
pub type Refusal = (io::Error, Option<String>);

/// A socket that talks to the kernel of one network namespace: that of the thread which opened it.
#[derive(Debug)]
pub(crate) struct Channel {
    socket: Socket,
    buffer: Vec<u8>,
    /// Of the last request.
    sequence: u32,
}

impl Channel {
    /// Opens a socket of a protocol, `NETLINK_*`.
    pub fn open(protocol: isize) -> io::Result<Self> {
        let mut socket = Socket::new(protocol)?;
        socket.bind_auto()?;
        // Connected to the kernel, it hears nobody else.
        socket.connect(&SocketAddr::new(0, 0))?;
        // Errors are then shorter and say more, and a dump holds what was asked for alone. Nothing depends on it: old kernels have none of it.
        let _ = socket.set_cap_ack(true);
        let _ = socket.set_ext_ack(true);
        let _ = socket.set_netlink_get_strict_chk(true);
        let buffer = Vec::with_capacity(DATAGRAM);
        Ok(Self {
            socket,
            buffer,
            sequence: 0,
        })
    }

    /// The socket, for its options.
    pub fn socket(&mut self) -> &mut Socket {
        &mut self.socket
    }

    /// Sends a whole message.
    pub fn send(&self, bytes: &[u8]) -> io::Result<()> {
        retried(|| self.socket.send(bytes, 0)).map(|_| ())
    }

    /// Waits for the next datagram.
    pub fn receive(&mut self) -> io::Result<Datagram<'_>> {
        self.buffer.clear();
        retried(|| self.socket.recv(&mut self.buffer, 0))?;
        Ok(Datagram(&self.buffer))
    }

    /// Sends a request and reads up to its acknowledgement; gives back the last message before it, if there is one.
    pub fn exchange(&mut self, request: &Message, flags: u16) -> Result<Option<Message>, Refusal> {
        self.sequence = self.sequence.wrapping_add(1);
        let sequence = self.sequence;
        let bytes = request.to_bytes(NLM_F_REQUEST | NLM_F_ACK | flags, sequence);
        let failed = |error| (error, None);
        self.send(&bytes).map_err(failed)?;
        let mut answer = None;
        loop {
            for part in self.receive().map_err(failed)? {
                let part = part.map_err(failed)?;
                // What is left of an exchange that was given up.
                if part.sequence != sequence {
                    continue;
                }
                if part.kind == NLMSG_ERROR {
                    return acknowledged(part.body, part.flags).map(|()| answer);
                }
                answer = Some(part.to_message());
            }
        }
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Again for as long as a signal comes in between: nothing has then begun.
fn retried<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

/// Messages one behind the other, as the kernel sends them.
pub(crate) struct Datagram<'a>(&'a [u8]);

/// One message of a datagram.
pub(crate) struct Part<'a> {
    pub kind: u16,
    pub flags: u16,
    pub sequence: u32,
    pub body: &'a [u8],
}

impl Part<'_> {
    pub fn to_message(&self) -> Message {
        Message {
            kind: self.kind,
            body: self.body.to_vec(),
        }
    }
}

impl<'a> Iterator for Datagram<'a> {
    type Item = io::Result<Part<'a>>;

    fn next(&mut self) -> Option<io::Result<Part<'a>>> {
        if self.0.is_empty() {
            return None;
        }
        let part = self.part();
        if part.is_none() {
            self.0 = &[];
        }
        Some(part.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "a message is cut off")))
    }
}

impl<'a> Datagram<'a> {
    fn part(&mut self) -> Option<Part<'a>> {
        let bytes = self.0;
        let length = u32_at(bytes, 0)? as usize;
        let part = Part {
            kind: u16_at(bytes, 4)?,
            flags: u16_at(bytes, 6)?,
            sequence: u32_at(bytes, 8)?,
            body: bytes.get(MESSAGE_HEADER..length)?,
        };
        // Messages are aligned to four bytes (RFC 3549 section 2.2).
        self.0 = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(part)
    }
}

/// What `struct nlmsgerr` and the attributes behind it say.
fn acknowledged(body: &[u8], flags: u16) -> Result<(), Refusal> {
    let code = u32_at(body, 0).unwrap_or_default().cast_signed();
    if code == 0 {
        return Ok(());
    }
    // The request's header follows the code, and unless it is capped its whole length.
    let echoed = match u32_at(body, 4) {
        Some(length) if flags & NLM_F_CAPPED == 0 => length as usize,
        _ => MESSAGE_HEADER,
    };
    let said = (flags & NLM_F_ACK_TLVS != 0)
        .then(|| attributes(body.get(4 + echoed.next_multiple_of(4)..).unwrap_or_default()))
        .into_iter()
        .flatten()
        .find(|(number, _)| *number == NLMSGERR_ATTR_MSG)
        .map(|(_, value)| text(value));
    Err((io::Error::from_raw_os_error(code.wrapping_neg()), said))
}

/// Makes one request, `NLM_F_*` in `flags` besides those that it always has, in the calling thread's network namespace; gives back the last
/// message before the acknowledgement, if there is one. `protocol` is `NETLINK_*`.
pub fn request(protocol: isize, request: &Message, flags: u16) -> Result<Option<Message>, Refusal> {
    let mut channel = Channel::open(protocol).map_err(|error| (error, None))?;
    channel.exchange(request, flags)
}

/// What one attempt at a dump gave.
enum Dumped {
    Whole(Vec<Message>),
    Interrupted,
}

/// Sends `request` as a dump in the calling thread's network namespace and collects the answer. `protocol` is `NETLINK_*`;
/// `what` names the table in errors.
///
/// # Errors
/// Whatever keeps the table from being read whole.
pub fn dump(protocol: isize, what: &'static str, request: &Message) -> Result<Vec<Message>, DumpError> {
    for _ in 0..ATTEMPTS {
        if let Dumped::Whole(messages) = attempt(protocol, what, request)? {
            return Ok(messages);
        }
    }
    Err(DumpError::Unsteady { what })
}

fn attempt(protocol: isize, what: &'static str, request: &Message) -> Result<Dumped, DumpError> {
    let failed = |source| DumpError::Socket { what, source };
    let garbled = |reason: String| DumpError::Decode { what, reason };
    let refused = |code: i32| {
        let source = io::Error::from_raw_os_error(code.wrapping_neg());
        Err(DumpError::Refused { what, source })
    };
    let mut channel = Channel::open(protocol).map_err(failed)?;
    let bytes = request.to_bytes(NLM_F_REQUEST | NLM_F_DUMP, 0);
    channel.send(&bytes).map_err(failed)?;
    let mut messages = Vec::new();
    let mut interrupted = false;
    loop {
        for part in channel.receive().map_err(failed)? {
            let part = part.map_err(|error| garbled(error.to_string()))?;
            interrupted |= part.flags & NLM_F_DUMP_INTR != 0;
            // The code of an error, or of the end of a dump that failed on the way.
            let code = u32_at(part.body, 0).unwrap_or_default().cast_signed();
            match part.kind {
                NLMSG_NOOP => {}
                NLMSG_DONE | NLMSG_ERROR if code < 0 => return refused(code),
                NLMSG_DONE if interrupted => return Ok(Dumped::Interrupted),
                NLMSG_DONE => return Ok(Dumped::Whole(messages)),
                NLMSG_ERROR => return Err(garbled("an acknowledgement in place of a list".to_owned())),
                NLMSG_OVERRUN => return Err(garbled("the kernel reports an overrun".to_owned())),
                _ => messages.push(part.to_message()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn messages_are_told_apart() {
        let first = Message::new(16, &[1; 5]).to_bytes(2, 7);
        let mut both = first.clone();
        both.resize(first.len().next_multiple_of(4), 0);
        both.extend(Message::new(17, &[]).to_bytes(0, 8));
        let kinds: Vec<_> = Datagram(&both)
            .map(|part| {
                part.map(|part| (part.kind, part.flags, part.sequence, part.body.len()))
                    .unwrap()
            })
            .collect();
        assert_eq!(kinds, [(16, 2, 7, 5), (17, 0, 8, 0)]);
        assert!(Datagram(&both[..both.len() - 1]).any(|part| part.is_err()));
    }

    proptest! {
        #[test]
        fn any_bytes_end(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(Datagram(&bytes).count() <= 1 + bytes.len() / MESSAGE_HEADER);
        }
    }
}
