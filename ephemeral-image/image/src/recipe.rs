//! One short description for each image of ours; everything else about them is the same.

use crate::base::{Base, READERS, TOOLBOX as TOOLS};

/// What is particular to an image.
#[derive(Clone, Copy)]
pub struct Recipe {
    /// Its name, the last part of its reference.
    pub name: &'static str,
    /// One line for those who come across it.
    pub description: &'static str,
    /// What it has of Debian.
    pub base: &'static Base,
    /// Where its programs are.
    pub programs: &'static [&'static str],
    /// What a container starts.
    pub starts: Start,
    /// Its environment, beside `PATH`.
    pub environment: &'static [(&'static str, &'static str)],
    /// Links beside them: where they are, and to what.
    pub links: &'static [(&'static str, &'static str)],
    /// Folders that a program expects, with their mode.
    pub folders: &'static [(&'static str, u32)],
    /// What each program may weigh, in bytes.
    pub program_at_most: u64,
    /// What the image may weigh, compressed, in bytes.
    pub image_at_most: u64,
    /// What its files may weigh on a node, in bytes.
    pub files_at_most: u64,
}

/// What a container starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// The first of the image's programs, whose arguments are what is asked for.
    FirstProgram,
    /// This, unless something else is asked for.
    Unless(&'static str),
}

/// The agent, which comes to nodes and pods for a run.
pub const AGENT: Recipe = Recipe {
    name: "netcheck-agent",
    description: "Diagnoses pod networking for kubectl netcheck; not meant to be started by hand",
    base: &READERS,
    programs: &["/netcheck-agent"],
    starts: Start::FirstProgram,
    environment: &[],
    links: &[],
    // Where its socket is. Anybody may create files there, as in /tmp: an ephemeral container may have to run as any user.
    folders: &[("/run/netcheck", 0o1777)],
    // The product's budgets.
    program_at_most: 3_000_000,
    image_at_most: 8_000_000,
    files_at_most: 16_000_000,
};

/// The bundled CNI: the node's daemon, and the plugin that it puts onto the node.
pub const CNI: Recipe = Recipe {
    name: "netcheck-cni",
    description: "The pod network bundled with kubectl netcheck; kubectl netcheck cni install brings it into a cluster",
    base: &READERS,
    programs: &["/netcheck-cni-daemon", "/netcheck-cni"],
    starts: Start::FirstProgram,
    environment: &[],
    links: &[],
    folders: &[],
    program_at_most: 14_000_000,
    image_at_most: 12_000_000,
    files_at_most: 32_000_000,
};

/// Tools for people, in an image that any user may run, and the agent.
pub const TOOLBOX: Recipe = Recipe {
    name: "netcheck-toolbox",
    description: "Tools to look at a pod's or a node's network with; kubectl netcheck debug opens a shell in it",
    base: &TOOLS,
    programs: AGENT.programs,
    starts: Start::Unless("/usr/bin/bash"),
    environment: &[
        ("LANG", "C.UTF-8"),
        // No file of a home that may not be there.
        ("LESSHISTFILE", "-"),
        // iptables-legacy wants a lock; /run is read-only where the root is.
        ("XTABLES_LOCKFILE", "/dev/shm/xtables.lock"),
    ],
    links: &[("/usr/bin/netcheck-agent", "/netcheck-agent")],
    folders: &[
        AGENT.folders[0],
        ("/root", 0o755),
        ("/tmp", 0o1777),
        ("/var/tmp", 0o1777),
    ],
    program_at_most: AGENT.program_at_most,
    // A node pulls it while somebody waits for a shell: seven seconds at 100 Mbit/s. Two fifths of it are Wireshark's decoders.
    image_at_most: 90_000_000,
    files_at_most: 300_000_000,
};

impl Recipe {
    /// The reference that the plugin of this version asks for.
    pub fn reference(&self) -> String {
        format!("ghcr.io/kubectl-netcheck/{}:{}", self.name, env!("CARGO_PKG_VERSION"))
    }
}
