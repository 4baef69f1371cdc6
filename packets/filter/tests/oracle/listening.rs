//! The live oracle: tcpdump on an interface.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;

use libtest_mimic::Failed;

use crate::live::{PATIENCE, counted, is_last};

/// A tcpdump at work.
pub struct Tcpdump {
    process: Child,
    filter: String,
    output: mpsc::Receiver<Vec<Vec<u8>>>,
}

impl Tcpdump {
    /// Starts one and waits until it listens. It passes the last frame, too, and so can tell that it is through.
    pub fn start(expression: &str, optimise: bool) -> Result<Self, Failed> {
        // In front, the test for the last frame would meet a mistake of libpcap's optimiser: `ether proto 1 or (vlan and tcp)`
        // looks for TCP in the wrong place.
        let filter = if expression.is_empty() {
            String::new()
        } else {
            format!("({expression}) or ether proto 0x88b5")
        };
        let options = "-i far -n -U --immediate-mode -Z root -s 2048 -B 12288 -w -";
        let mut process = Command::new("tcpdump")
            .args(options.split(' '))
            .args((!optimise).then_some("-O"))
            .args(["--", &filter])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let said = process.stderr.take().ok_or("no messages")?;
        let packets = process.stdout.take().ok_or("no output")?;
        let (sender, output) = mpsc::channel();
        let tcpdump = Self {
            process,
            filter,
            output,
        };
        let mut said = BufReader::new(said);
        let mut line = String::new();
        while !line.contains("listening on") {
            line.clear();
            if said.read_line(&mut line)? == 0 {
                return Err(format!("tcpdump refuses `{}`", tcpdump.filter).into());
            }
        }
        thread::spawn(move || sender.send(until_last(packets)));
        // Its later messages have nowhere to go, but must not end it.
        thread::spawn(move || io::copy(&mut said, &mut io::sink()));
        Ok(tcpdump)
    }

    /// How often it passed each numbered frame.
    pub fn numbers(self) -> Result<BTreeMap<u32, usize>, Failed> {
        Ok(counted(&self.output.recv_timeout(PATIENCE).map_err(|_| {
            format!("tcpdump never saw the last frame with `{}`", self.filter)
        })?))
    }
}

impl Drop for Tcpdump {
    fn drop(&mut self) {
        // It may have ended by itself; either way it is gone and reaped afterwards.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Packets of a pcap stream up to the last frame.
fn until_last(mut pcap: impl Read) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    let mut header = [0; 24];
    if pcap.read_exact(&mut header).is_err() {
        return frames;
    }
    let mut record = [0_u8; 16];
    while pcap.read_exact(&mut record).is_ok() {
        let length = u32::from_ne_bytes([record[8], record[9], record[10], record[11]]);
        let mut frame = vec![0; length as usize];
        if pcap.read_exact(&mut frame).is_err() || is_last(&frame) {
            break;
        }
        frames.push(frame);
    }
    frames
}
