//! Traffic as fast as this machine makes it, bounded in number and time.

use super::stage::{FAR, NOBODY, Stage};
use anyhow::{Context, Result};
use rustix::net::{MMsgHdr, SendAncillaryBuffer, SendFlags, sendmmsg};
use std::{
    io::{IoSlice, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    thread,
    time::{Duration, Instant},
};

/// Longest flood.
const LONGEST: Duration = Duration::from_secs(3);
/// Datagrams in one system call.
const BATCH: usize = 64;
/// Bytes over TCP.
const STREAM: usize = 1 << 30;
/// Bytes before the payload of a datagram: Ethernet, IPv4, UDP.
const HEADERS: usize = 14 + 20 + 8;

/// What was sent.
#[derive(Debug)]
pub struct Sent {
    /// Packets that certainly left.
    pub packets: u64,
    /// How much, and how fast.
    pub words: String,
}

/// A kind of traffic.
#[derive(Debug, Clone, Copy)]
pub enum Traffic {
    /// Datagrams in frames of so many bytes, and most of them.
    Datagrams { frame: usize, most: usize },
    /// One connection, in segments of 64 KiB that nothing cuts.
    Stream,
}

impl Traffic {
    pub const ALL: [Self; 3] = [
        Self::Datagrams {
            frame: 64,
            most: 1_000_000,
        },
        Self::Datagrams {
            frame: 1400,
            most: 400_000,
        },
        Self::Stream,
    ];

    pub fn name(self) -> String {
        match self {
            Self::Datagrams { frame, .. } => format!("UDP, {frame} B frames"),
            Self::Stream => "TCP, 64 KiB segments".to_owned(),
        }
    }

    /// Sends it, and says how much that was.
    pub fn send(self, stage: &Stage) -> Result<Sent> {
        match self {
            Self::Datagrams { frame, most } => datagrams(stage, frame - HEADERS, most),
            Self::Stream => stream(stage),
        }
    }
}

fn datagrams(stage: &Stage, payload: usize, most: usize) -> Result<Sent> {
    let socket = stage.within_near(|| UdpSocket::bind("0.0.0.0:0"))??;
    // The far side drops what is nobody's without an answer.
    socket.connect(SocketAddr::from((NOBODY, 9)))?;
    let payload = vec![0xa5; payload];
    let parts = [IoSlice::new(&payload)];
    let mut controls: Vec<_> = (0..BATCH).map(|_| SendAncillaryBuffer::default()).collect();
    let mut batch: Vec<_> = controls
        .iter_mut()
        .map(|control| MMsgHdr::new(&parts, control))
        .collect();
    let (start, mut sent) = (Instant::now(), 0);
    while sent < most && start.elapsed() < LONGEST {
        sent += sendmmsg(&socket, &mut batch, SendFlags::empty())?;
    }
    Ok(Sent {
        packets: sent as u64,
        words: rate(&format!("{sent} packets"), sent, start.elapsed()),
    })
}

fn stream(stage: &Stage) -> Result<Sent> {
    let listener = stage.within_far(|| TcpListener::bind(SocketAddr::from((FAR, 0))))??;
    let address = listener.local_addr()?;
    let mut near = stage.within_near(|| TcpStream::connect(address))??;
    let (mut far, _) = listener.accept()?;
    let reading = thread::spawn(move || -> std::io::Result<()> {
        let mut buffer = vec![0; 1 << 20];
        while far.read(&mut buffer)? > 0 {}
        Ok(())
    });
    let chunk = vec![0xa5; 1 << 20];
    let (start, mut sent) = (Instant::now(), 0);
    while sent < STREAM && start.elapsed() < LONGEST {
        near.write_all(&chunk)?;
        sent += chunk.len();
    }
    drop(near);
    reading.join().ok().context("the reader panicked")??;
    Ok(Sent {
        packets: (sent >> 16) as u64,
        words: rate(&format!("{} MiB", sent >> 20), sent >> 20, start.elapsed()),
    })
}

fn rate(amount: &str, number: usize, time: Duration) -> String {
    format!("{amount} ({:.0}/s)", number as f64 / time.as_secs_f64())
}
