//! Capture files read by others: tcpdump (libpcap), and Wireshark's `capinfos` and `tshark`.

use anyhow::{Context, Result, ensure};
use std::{collections::BTreeMap, path::Path, process::Command};

/// A packet as it stands in a file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Frame {
    /// Nanoseconds since 1970.
    pub at_ns: u64,
    /// Its length on the wire.
    pub original_length: u32,
    /// What is there of it.
    pub bytes: Vec<u8>,
}

/// Every packet of a file, which must all begin with Ethernet.
pub fn frames(path: &Path) -> Result<Vec<Frame>> {
    let classic = tempfile::NamedTempFile::new().context("make a file for tcpdump")?;
    let mut tcpdump = Command::new("tcpdump");
    // Classic pcap: a form so plain that reading it here is no second reader of what is tested.
    tcpdump.args(["-Z", "root", "--time-stamp-precision=nano", "-w"]);
    output(tcpdump.arg(classic.path()).arg("-r").arg(path))?;
    parse(&std::fs::read(classic.path()).context("read what tcpdump wrote")?)
        .with_context(|| format!("what tcpdump made of {}", path.display()))
}

/// Classic pcap with nanoseconds, little endian, Ethernet (the file format's description in pcap-savefile(5)).
fn parse(file: &[u8]) -> Result<Vec<Frame>> {
    let (header, mut rest) = file.split_at_checked(24).context("no file header")?;
    ensure!(
        header[..4] == [0x4d, 0x3c, 0xb2, 0xa1],
        "not of nanoseconds: {header:x?}"
    );
    ensure!(header[20..24] == [1, 0, 0, 0], "not Ethernet: {header:x?}");
    let mut frames = Vec::new();
    while !rest.is_empty() {
        let (words, after) = rest.split_at_checked(16).context("half a record")?;
        let word = |index: usize| -> u32 {
            let bytes = &words[4 * index..4 * index + 4];
            u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
        };
        let (bytes, after) = after.split_at_checked(word(2) as usize).context("half a packet")?;
        frames.push(Frame {
            at_ns: u64::from(word(0)) * 1_000_000_000 + u64::from(word(1)),
            original_length: word(3),
            bytes: bytes.to_vec(),
        });
        rest = after;
    }
    Ok(frames)
}

/// What tshark shows of each packet in these fields; several values of one field are joined by `,`. Complaints of tshark are an error.
pub fn fields(path: &Path, names: &[&str], more: &[&str]) -> Result<Vec<Vec<String>>> {
    let mut command = tshark(path, more);
    command.args(["-T", "fields", "-E", "separator=/t", "-E", "occurrence=a"]);
    for name in names {
        command.args(["-e", name]);
    }
    let text = output(&mut command)?;
    Ok(text
        .lines()
        .map(|line| line.split('\t').map(str::to_owned).collect())
        .collect())
}

/// Everything that tshark shows of a file, with these further arguments.
pub fn show(path: &Path, more: &[&str]) -> Result<String> {
    output(&mut tshark(path, more))
}

fn tshark(path: &Path, more: &[&str]) -> Command {
    let mut command = Command::new("tshark");
    // Names only from the file itself: the machine's resolver is nobody's witness.
    command.arg("-r").arg(path).args(more);
    command
}

/// Everything that `capinfos` says, comments and interfaces too.
pub fn described(path: &Path) -> Result<String> {
    output(Command::new("capinfos").arg("-M").arg(path))
}

/// The same by its own words: `Number of packets` → `12`. What it says again of each interface is left out.
pub fn capinfos(path: &Path) -> Result<BTreeMap<String, String>> {
    let text = described(path)?;
    let pairs = text
        .lines()
        .filter_map(|line| line.split_once(" = ").or_else(|| line.split_once(": ")));
    let mut infos = BTreeMap::new();
    for (key, value) in pairs {
        infos
            .entry(key.trim().to_owned())
            .or_insert_with(|| value.trim().to_owned());
    }
    Ok(infos)
}

/// How many packets `capinfos` counts.
pub fn count(path: &Path) -> Result<u64> {
    let infos = capinfos(path)?;
    let packets = infos.get("Number of packets").context("capinfos counts no packets")?;
    packets.parse().with_context(|| format!("parse {packets:?}"))
}

/// What a pcapng file says at its end.
#[derive(Debug, Default)]
pub struct Blocks {
    /// Packets that each interface dropped, by its statistics.
    pub interface_drops: Vec<u64>,
    /// Every comment of the file.
    pub comments: Vec<String>,
}

/// The blocks of a pcapng file themselves, which tshark dissects like a protocol.
pub fn blocks(path: &Path) -> Result<Blocks> {
    let mut command = Command::new("tshark");
    command.args(["-X", "read_format:MIME Files Format", "-r"]).arg(path);
    command.args(["-T", "fields", "-E", "separator=/t", "-E", "aggregator=|"]);
    command.args([
        "-e",
        "pcapng.options.option.data.interface.dropped",
        "-e",
        "pcapng.options.option.data.comment",
    ]);
    let text = output(&mut command)?;
    let (drops, comments) = text
        .trim_end_matches('\n')
        .split_once('\t')
        .context("tshark shows no blocks")?;
    let drops = drops.split('|').filter(|number| !number.is_empty());
    Ok(Blocks {
        interface_drops: drops
            .map(str::parse)
            .collect::<Result<_, _>>()
            .context("parse counts of dropped packets")?,
        comments: comments.split('|').map(str::to_owned).collect(),
    })
}

/// Runs a reader; one that fails or complains is an error.
fn output(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("run {command:?}"))?;
    let complaints = String::from_utf8_lossy(&output.stderr);
    let complaints: Vec<_> = complaints
        .lines()
        // What it says to everybody who is root.
        .filter(|line| {
            !line.contains("Running as user") && !line.starts_with("reading from file") && !line.trim().is_empty()
        })
        .collect();
    ensure!(
        output.status.success() && complaints.is_empty(),
        "{command:?}: {} {complaints:?}",
        output.status
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
