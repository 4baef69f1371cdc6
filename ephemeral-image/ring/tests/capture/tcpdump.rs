//! tcpdump beside the ring.

use crate::support::{Record, World, wait_for};
use std::{
    fs,
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
};
use tempfile::TempDir;

/// A running tcpdump that writes a file.
pub struct Tcpdump {
    process: Child,
    directory: TempDir,
}

impl Tcpdump {
    /// Captures on the far side's `eth0` from now on.
    pub fn start(world: &World, snap_length: u32) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let snap_length = snap_length.to_string();
        let mut process = Command::new("ip")
            .args(["netns", "exec", &world.ns("far"), "tcpdump", "-i", "eth0", "-n", "-U"])
            .args([
                "--time-stamp-precision=nano",
                "-B",
                "16384",
                "-s",
                &snap_length,
                "-Z",
                "root",
                "-w",
            ])
            .arg(directory.path().join("pcap"))
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut words = BufReader::new(process.stderr.take().unwrap()).lines();
        assert!(
            words.any(|line| line.unwrap().contains("listening on")),
            "tcpdump listens"
        );
        // It may go on talking.
        std::thread::spawn(move || words.count());
        Self { process, directory }
    }

    /// Waits until it wrote so many packets, and returns them.
    pub fn records(&self, count: usize) -> Vec<Record> {
        let mut records = Vec::new();
        wait_for("tcpdump's packets", || {
            records = read(&fs::read(self.directory.path().join("pcap")).unwrap());
            records.len() >= count
        });
        records
    }
}

impl Drop for Tcpdump {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The packets of a capture file with nanoseconds (draft-ietf-opsawg-pcap) as far as it is written.
fn read(file: &[u8]) -> Vec<Record> {
    let mut records = Vec::new();
    let Some((header, mut rest)) = file.split_first_chunk::<24>() else {
        return records;
    };
    assert_eq!(header[..4], 0xa1b2_3c4d_u32.to_ne_bytes(), "nanoseconds");
    while let Some((header, body)) = rest.split_first_chunk::<16>() {
        let word = |at: usize| u32::from_ne_bytes(header[at..at + 4].try_into().unwrap());
        let Some((bytes, next)) = body.split_at_checked(word(8) as usize) else {
            break;
        };
        records.push(Record {
            at_ns: u64::from(word(0)) * 1_000_000_000 + u64::from(word(4)),
            original_length: word(12),
            bytes: bytes.to_vec(),
        });
        rest = next;
    }
    records
}
