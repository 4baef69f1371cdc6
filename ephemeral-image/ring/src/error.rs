//! What can go wrong.

use std::io;

/// Why packets cannot be captured. The interface is named by its index; "every interface" is index 0.
#[derive(Debug, thiserror::Error)]
pub enum RingError {
    /// No packet socket: without `CAP_NET_RAW` the kernel refuses it.
    #[error("cannot open a packet socket (needs the capability NET_RAW): {0}")]
    Open(io::Error),
    /// More instructions than the kernel takes (`BPF_MAXINSNS`).
    #[error("the filter has {0} instructions, more than {max}", max = crate::filter::MOST_INSTRUCTIONS)]
    LongFilter(usize),
    /// The kernel does not take the filter.
    #[error(
        "cannot attach a filter of {instructions} instructions for interface {interface}: {source} (the kernel takes none larger than net.core.optmem_max)"
    )]
    Filter {
        /// Its length.
        instructions: usize,
        /// The interface's index.
        interface: u32,
        /// What the kernel said.
        source: io::Error,
    },
    /// No ring of any size, or none that can be mapped.
    #[error("cannot set up a ring of {bytes} bytes for interface {interface}: {source}")]
    Memory {
        /// The size last tried.
        bytes: usize,
        /// The interface's index.
        interface: u32,
        /// What the kernel said.
        source: io::Error,
    },
    /// The interface does not exist, or the kernel refuses it.
    #[error("cannot capture on interface {interface}: {source}")]
    Bind {
        /// The interface's index.
        interface: u32,
        /// What the kernel said.
        source: io::Error,
    },
    /// A call on the open socket failed.
    #[error("cannot {operation} the capture on interface {interface}: {source}")]
    Socket {
        /// What was tried, as a verb.
        operation: &'static str,
        /// The interface's index.
        interface: u32,
        /// What the kernel said.
        source: io::Error,
    },
    /// The kernel counted packets that it does not hand out.
    #[error(
        "after the capture on interface {interface} stopped, {missing} packets that the kernel counted did not come"
    )]
    Undrained {
        /// The interface's index.
        interface: u32,
        /// Packets counted and not delivered.
        missing: u64,
    },
}
