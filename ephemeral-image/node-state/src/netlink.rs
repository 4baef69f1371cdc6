//! One synchronous netlink dump: a request, and all the messages that answer it.

use netlink_packet_core::{
    NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkDeserializable, NetlinkHeader, NetlinkMessage, NetlinkPayload,
    NetlinkSerializable,
};
use netlink_sys::{Socket, SocketAddr};
use std::io;

/// How often a dump is begun anew because the kernel's tables changed under it.
const ATTEMPTS: usize = 5;

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

/// What one attempt at a dump gave.
enum Dumped<M> {
    Whole(Vec<M>),
    Interrupted,
}

/// Sends `request` as a dump in the calling thread's network namespace and collects the answer.
pub fn dump<M>(protocol: isize, what: &'static str, request: &M) -> Result<Vec<M>, DumpError>
where
    M: NetlinkSerializable + NetlinkDeserializable + Clone,
{
    for _ in 0..ATTEMPTS {
        if let Dumped::Whole(messages) = attempt(protocol, what, request)? {
            return Ok(messages);
        }
    }
    Err(DumpError::Unsteady { what })
}

fn attempt<M>(protocol: isize, what: &'static str, request: &M) -> Result<Dumped<M>, DumpError>
where
    M: NetlinkSerializable + NetlinkDeserializable + Clone,
{
    let failed = |source| DumpError::Socket { what, source };
    let garbled = |reason: String| DumpError::Decode { what, reason };
    let mut socket = Socket::new(protocol).map_err(failed)?;
    socket.bind_auto().map_err(failed)?;
    socket.connect(&SocketAddr::new(0, 0)).map_err(failed)?;

    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | NLM_F_DUMP;
    let mut message = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(request.clone()));
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    socket.send(&bytes, 0).map_err(failed)?;

    let mut messages = Vec::new();
    let mut interrupted = false;
    loop {
        let (datagram, _) = socket.recv_from_full().map_err(failed)?;
        let mut rest = datagram.as_slice();
        while !rest.is_empty() {
            let message = NetlinkMessage::<M>::deserialize(rest).map_err(|error| garbled(error.to_string()))?;
            let length = message.header.length as usize;
            interrupted |= message.header.flags & NLM_F_DUMP_INTR != 0;
            match message.payload {
                NetlinkPayload::InnerMessage(inner) => messages.push(inner),
                NetlinkPayload::Done(done) if done.code < 0 => {
                    let source = io::Error::from_raw_os_error(-done.code);
                    return Err(DumpError::Refused { what, source });
                }
                NetlinkPayload::Done(_) if interrupted => return Ok(Dumped::Interrupted),
                NetlinkPayload::Done(_) => return Ok(Dumped::Whole(messages)),
                NetlinkPayload::Error(error) => {
                    let source = error.to_io();
                    return Err(DumpError::Refused { what, source });
                }
                NetlinkPayload::Overrun(_) => return Err(garbled("the kernel reports an overrun".to_owned())),
                _ => {}
            }
            // Messages are aligned to four bytes (RFC 3549 section 2.2).
            let aligned = length.next_multiple_of(4);
            if aligned == 0 {
                return Err(garbled("a message of no length".to_owned()));
            }
            rest = rest.get(aligned..).unwrap_or_default();
        }
    }
}
