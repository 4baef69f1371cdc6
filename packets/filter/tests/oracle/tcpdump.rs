//! The oracle: which packets of a file tcpdump passes.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Write;
use std::process::{Command, Stdio};

use tempfile::NamedTempFile;

use crate::corpus::Packet;

/// `LINKTYPE_ETHERNET` and `LINKTYPE_RAW`.
pub const ETHERNET: u32 = 1;
pub const RAW: u32 = 101;

/// A corpus as a file for tcpdump. Each packet's second is its index.
pub struct Corpus {
    pub packets: Vec<Packet>,
    file: NamedTempFile,
}

/// What tcpdump makes of an expression.
pub enum Verdict {
    Refused(String),
    /// The indices of what it passes.
    Passed(BTreeSet<usize>),
}

impl Corpus {
    pub fn new(packets: Vec<Packet>, link_type: u32) -> Self {
        let mut pcap = Vec::new();
        for word in [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 262_144, link_type] {
            pcap.extend(word.to_le_bytes());
        }
        for (index, packet) in packets.iter().enumerate() {
            let kept = u32::try_from(packet.bytes.len()).expect("short");
            for word in [u32::try_from(index).expect("few"), 0, kept, packet.original_length] {
                pcap.extend(word.to_le_bytes());
            }
            pcap.extend(&packet.bytes);
        }
        let mut file = NamedTempFile::new().expect("a temporary file");
        file.write_all(&pcap).expect("written");
        Self { packets, file }
    }

    /// Asks tcpdump, with its optimiser or without.
    pub fn ask(&self, expression: &str, optimise: bool) -> Verdict {
        let mut command = Command::new("tcpdump");
        command
            .args(["-n", "-r", "-", "-w", "-"])
            .args((!optimise).then_some("-O"))
            .args(["--", expression]);
        let input = File::open(self.file.path()).expect("the corpus");
        let output = command.stdin(Stdio::from(input)).output().expect("tcpdump runs");
        if output.status.success() {
            return Verdict::Passed(indices(&output.stdout));
        }
        let said = String::from_utf8_lossy(&output.stderr);
        Verdict::Refused(said.lines().last().unwrap_or_default().to_owned())
    }
}

/// The seconds of all packets of a file, in its writer's byte order: this machine's.
fn indices(pcap: &[u8]) -> BTreeSet<usize> {
    let mut found = BTreeSet::new();
    let mut rest = pcap.get(24..).unwrap_or_default();
    while let Some((header, after)) = rest.split_first_chunk::<16>() {
        let word = |at: usize| u32::from_ne_bytes(header[at..at + 4].try_into().expect("four bytes")) as usize;
        found.insert(word(0));
        rest = after.get(word(8)..).unwrap_or_default();
    }
    found
}
