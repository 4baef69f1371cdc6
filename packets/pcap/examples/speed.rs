//! Packets a second into memory: `cargo run --release -p netcheck-pcap --example speed`.

#![allow(clippy::print_stdout, reason = "its figures are its output")]

use netcheck_pcap::{CaptureWriter, Direction, Error, Interface, Packet, Section};
use std::{
    io::{Cursor, Write},
    time::Instant,
};

const PACKETS: u32 = 200_000;
/// The best of so many rounds counts: the first ones also pay for fresh memory.
const ROUNDS: u32 = 5;

fn main() -> Result<(), Error> {
    for length in [64, 1_500] {
        let mut memory = vec![0; PACKETS as usize * (length + 80)];
        let data = vec![0; length];
        let pcapng = rate(|| {
            write(
                CaptureWriter::pcapng(Cursor::new(&mut memory), &Section::default())?,
                &data,
            )
        })?;
        let classic = rate(|| write(CaptureWriter::pcap(Cursor::new(&mut memory)), &data))?;
        println!("{length} bytes: pcapng {pcapng:.2}, pcap {classic:.2} million packets/s");
    }
    Ok(())
}

fn write<W: Write>(mut capture: CaptureWriter<W>, data: &[u8]) -> Result<(), Error> {
    let interface = capture.add_interface(&Interface::default())?;
    for nanoseconds in 0..u64::from(PACKETS) {
        let direction = Direction::Inbound;
        capture.packet(&Packet {
            interface,
            nanoseconds,
            data,
            direction,
            ..Packet::default()
        })?;
    }
    capture.finish()
}

/// Million packets a second.
fn rate(mut run: impl FnMut() -> Result<(), Error>) -> Result<f64, Error> {
    let mut best = 0.0f64;
    for _ in 0..ROUNDS {
        let started = Instant::now();
        run()?;
        best = best.max(f64::from(PACKETS) / started.elapsed().as_secs_f64() / 1e6);
    }
    Ok(best)
}
