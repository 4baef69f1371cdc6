//! One short description for each image of ours; everything else about them is the same.

/// What is particular to an image.
#[derive(Debug, Clone, Copy)]
pub struct Recipe {
    /// Its name, the last part of its reference.
    pub name: &'static str,
    /// One line for those who come across it.
    pub description: &'static str,
    /// Where its programs are; the first is what a container starts.
    pub programs: &'static [&'static str],
    /// Folders that a program expects, with their mode.
    pub folders: &'static [(&'static str, u32)],
    /// What each program may weigh, in bytes.
    pub program_at_most: u64,
    /// What the image may weigh, compressed, in bytes.
    pub image_at_most: u64,
}

/// The agent, which comes to nodes and pods for a run.
pub const AGENT: Recipe = Recipe {
    name: "netcheck-agent",
    description: "Diagnoses pod networking for kubectl netcheck; not meant to be started by hand",
    programs: &["/netcheck-agent"],
    // Where its socket is. Anybody may create files there, as in /tmp: an ephemeral container may have to run as any user.
    folders: &[("/run/netcheck", 0o1777)],
    // The product's budgets.
    program_at_most: 3_000_000,
    image_at_most: 8_000_000,
};

/// The bundled CNI: the node's daemon, and the plugin that it puts onto the node.
pub const CNI: Recipe = Recipe {
    name: "netcheck-cni",
    description: "The pod network bundled with kubectl netcheck; kubectl netcheck cni install brings it into a cluster",
    programs: &["/netcheck-cni-daemon", "/netcheck-cni"],
    folders: &[],
    program_at_most: 14_000_000,
    image_at_most: 12_000_000,
};

impl Recipe {
    /// The reference that the plugin of this version asks for.
    pub fn reference(&self) -> String {
        format!("ghcr.io/kubectl-netcheck/{}:{}", self.name, env!("CARGO_PKG_VERSION"))
    }
}
