//! What can go wrong, and why there is no eBPF on a node.

use std::{io, path::PathBuf};

/// Why eBPF is not available. Traffic goes on without it.
#[derive(Debug, thiserror::Error)]
pub enum Off {
    /// The pins' folder is in no BPF filesystem.
    #[error("no BPF filesystem at {path}: mount one, `mount -t bpf bpf /sys/fs/bpf`")]
    NoBpffs {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// The kernel was built without it.
    #[error("this kernel has no bpf(2)")]
    NoSyscall,
    /// The process may not.
    #[error("not allowed to make BPF maps: CAP_BPF and CAP_NET_ADMIN, or CAP_SYS_ADMIN, are missing")]
    NotAllowed,
    /// Kernels before 5.8.
    #[error("this kernel has no BPF ring buffer: Linux 5.8 or newer is needed")]
    NoRing,
    /// Something else.
    #[error("the kernel refuses a BPF map: {0}")]
    Refused(io::Error),
}

/// Why an operation on programs, maps, links or filters failed.
#[derive(Debug, thiserror::Error)]
pub enum BpfError {
    /// There is no eBPF here.
    #[error(transparent)]
    Off(#[from] Off),
    /// A file or folder of the pins.
    #[error("cannot {operation} {path}: {source}")]
    Pin {
        /// What was tried.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// The error of the system call.
        source: io::Error,
    },
    /// A pinned map is not what this version works with.
    #[error("pinned map {path} is {found}, but must be {wanted}: remove the file if it is nobody else's")]
    ForeignMap {
        /// The pin.
        path: PathBuf,
        /// What it is.
        found: String,
        /// What it must be.
        wanted: String,
    },
    /// The object file does not go into the kernel.
    #[error("cannot load {what}: {reason}")]
    Load {
        /// The object, or one of its programs.
        what: &'static str,
        /// The loader's words.
        reason: String,
    },
    /// A map's entry.
    #[error("cannot {operation} {map}: {reason}")]
    Map {
        /// What was tried, with the key.
        operation: String,
        /// The map.
        map: &'static str,
        /// The loader's words.
        reason: String,
    },
    /// A program could not be hung on a device.
    #[error("cannot hang {program} on {device}: {source}")]
    Attach {
        /// The program.
        program: &'static str,
        /// The device.
        device: String,
        /// The error of the system call.
        source: io::Error,
    },
    /// Someone else's filter stands where ours should.
    #[error("{device} has a filter at pref {pref} that is not ours ({name}): remove it with `tc filter del`")]
    FilterTaken {
        /// The device.
        device: String,
        /// The preference that we use.
        pref: u16,
        /// The name of the program there.
        name: String,
    },
    /// Two devices whose names differ only by a dot.
    #[error("{first} and {second} would share the pin {pin}: rename one of the devices")]
    PinNameTaken {
        /// One device.
        first: String,
        /// The other.
        second: String,
        /// The pin's name.
        pin: String,
    },
    /// Traffic control, by netlink.
    #[error("cannot {operation}: {source}{words}", words = words(said.as_deref()))]
    Netlink {
        /// What was tried.
        operation: String,
        /// The error number in the answer, or of the system call.
        source: io::Error,
        /// The kernel's own words, where it has some.
        said: Option<String>,
    },
    /// Reading traffic control or devices.
    #[error(transparent)]
    Dump(#[from] netcheck_node_state::DumpError),
}

fn words(said: Option<&str>) -> String {
    said.map_or_else(String::new, |said| format!(": {}", said.trim_end_matches('.')))
}

/// An error with all that lies below it in one line: the loader keeps the kernel's answer in its sources.
pub(crate) fn in_full(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut below = error.source();
    while let Some(source) = below {
        let words = source.to_string();
        if !text.contains(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        below = source.source();
    }
    text
}
