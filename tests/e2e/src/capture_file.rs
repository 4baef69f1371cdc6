//! Reads capture files, ours and tcpdump's, as far as comparing them needs.

use anyhow::{Context, Result, bail, ensure};
use std::{
    fs::File,
    io::{BufReader, ErrorKind, Read},
    path::Path,
};

/// Longest packet or block that is believed.
const LONGEST: usize = 1 << 24;

/// Hands over the bytes of every packet in the order of the file: little-endian pcap (draft-ietf-opsawg-pcap) or pcapng
/// (draft-ietf-opsawg-pcapng, enhanced packet blocks). A file that ends inside a packet ends before it.
pub fn packets(path: &Path, mut take: impl FnMut(&[u8])) -> Result<()> {
    let mut reader = BufReader::with_capacity(1 << 20, File::open(path)?);
    let mut buffer = Vec::new();
    if !fill(&mut reader, &mut buffer, 4)? {
        return Ok(());
    }
    match word(&buffer, 0)? {
        0x0a0d_0d0a => {
            // The header's length and the rest of it, then block by block: type, length, body, length.
            let mut kind = 0x0a0d_0d0a;
            while fill(&mut reader, &mut buffer, 4)? {
                let length = word(&buffer, 0)? as usize;
                ensure!((12..LONGEST).contains(&length), "a block of {length} bytes");
                if !fill(&mut reader, &mut buffer, length - 8)? {
                    break;
                }
                if kind == 6 {
                    let captured = word(&buffer, 12)? as usize;
                    take(
                        buffer
                            .get(20..20 + captured)
                            .context("a packet longer than its block")?,
                    );
                }
                if !fill(&mut reader, &mut buffer, 4)? {
                    break;
                }
                kind = word(&buffer, 0)?;
            }
        }
        0xa1b2_c3d4 | 0xa1b2_3c4d => {
            fill(&mut reader, &mut buffer, 20)?;
            while fill(&mut reader, &mut buffer, 16)? {
                let captured = word(&buffer, 8)? as usize;
                ensure!(captured < LONGEST, "a packet of {captured} bytes");
                if !fill(&mut reader, &mut buffer, captured)? {
                    break;
                }
                take(&buffer);
            }
        }
        other => bail!("{} begins with {other:08x}: no capture file", path.display()),
    }
    Ok(())
}

/// Exactly so many bytes; whether there were as many.
fn fill(reader: &mut impl Read, buffer: &mut Vec<u8>, length: usize) -> Result<bool> {
    buffer.resize(length, 0);
    match reader.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn word(bytes: &[u8], at: usize) -> Result<u32> {
    let word = bytes.get(at..).and_then(<[u8]>::first_chunk).context("a cut header")?;
    Ok(u32::from_le_bytes(*word))
}
