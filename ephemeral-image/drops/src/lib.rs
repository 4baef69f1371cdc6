//! Counts the packets that the running kernel drops, by network namespace, device and reason (`tracepoint:skb:kfree_skb`).
//!
//! One program (`drops.c`) is hung on the tracepoint while a [`Counting`] lives. Nothing is pinned: the kernel removes program and counts with the
//! descriptors, however their holder ends. What reasons are called is the running kernel's own word ([`Reasons`]).

mod reasons;

pub use reasons::{OddBtf, Reasons};

use aya::{
    Btf, Ebpf, EbpfError, EbpfLoader, Endianness,
    maps::{Array, HashMap, MapError},
    programs::{BtfTracePoint, ProgramError},
};
use netcheck_node_state::observation::{Dropped, Drops};
use std::{error::Error, fs, io};

/// The compiled `drops.c`.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/programs.o"));
/// The kernel's description of its types.
const BTF: &str = "/sys/kernel/btf/vmlinux";
/// Of the program, in the object.
const PROGRAM: &str = "count";
/// What the program is hung on.
const TRACEPOINT: &str = "kfree_skb";

/// Why drops cannot be counted.
#[derive(Debug, thiserror::Error)]
pub enum DropsError {
    /// The kernel does not describe its types.
    #[error("the kernel does not describe its types: cannot read {BTF}: {0}")]
    NoBtf(io::Error),
    /// It does in a way that cannot be read.
    #[error("cannot read {BTF}: {0}")]
    OddBtf(#[from] OddBtf),
    /// It gives no reasons.
    #[error("the kernel does not say why it drops packets: that came with Linux 5.17")]
    NoReasons,
    /// The program cannot be had.
    #[error("cannot {what}: {why}")]
    Refused {
        /// What was tried.
        what: &'static str,
        /// Why not, in one line.
        why: String,
    },
}

/// A count under way, of the whole node from [`Counting::start`] on.
pub struct Counting {
    /// Holds maps, program and link.
    object: Ebpf,
    reasons: Reasons,
}

impl Counting {
    /// Starts to count. It takes `CAP_BPF` and `CAP_PERFMON`, or `CAP_SYS_ADMIN`.
    pub fn start() -> Result<Self, DropsError> {
        let bytes = fs::read(BTF).map_err(DropsError::NoBtf)?;
        let reasons = Reasons::read(&bytes)?;
        if !reasons.are_given() {
            return Err(DropsError::NoReasons);
        }
        let types =
            Btf::parse(&bytes, Endianness::default()).map_err(|error| refused("read the kernel's types", &error))?;
        drop(bytes);
        let mut object = EbpfLoader::new()
            .btf(Some(&types))
            .load(OBJECT)
            .map_err(|error: EbpfError| refused("load the counting program", &error))?;
        let failed = |error: ProgramError| refused("load the counting program", &error);
        if let Some(program) = object.program_mut(PROGRAM) {
            let program: &mut BtfTracePoint = program.try_into().map_err(failed)?;
            program.load(TRACEPOINT, &types).map_err(failed)?;
            program
                .attach()
                .map_err(|error| refused("hang the counting program on kfree_skb", &error))?;
        }
        Ok(Self { object, reasons })
    }

    /// What was counted until now.
    pub fn read(&self) -> Result<Drops, DropsError> {
        let failed = |error: MapError| refused("read the counts", &error);
        let (Some(counts), Some(uncounted)) = (self.object.map("counts"), self.object.map("uncounted")) else {
            return Ok(Drops::default());
        };
        let counts: HashMap<_, [u32; 3], u64> = counts.try_into().map_err(failed)?;
        let uncounted: Array<_, u64> = uncounted.try_into().map_err(failed)?;
        let mut drops = Drops {
            uncounted: uncounted.get(&0, 0).map_err(failed)?,
            ..Drops::default()
        };
        for entry in &counts {
            let ([netns, device, reason], packets) = entry.map_err(failed)?;
            drops.counts.push(Dropped {
                inode: netns.into(),
                device,
                reason: self.reasons.name(reason),
                packets,
            });
        }
        drops.counts.sort_unstable();
        Ok(drops)
    }
}

/// All that an error says, in one line: what the kernel's verifier has to say is many, the last of which tells why.
fn refused(what: &'static str, error: &(dyn Error + 'static)) -> DropsError {
    const MOST: usize = 300;
    let mut said = String::new();
    let mut next = Some(error);
    while let Some(error) = next {
        // What an error is made of says the rest.
        if let Some(ProgramError::LoadError { io_error, verifier_log }) = error.downcast_ref() {
            let log = verifier_log.to_string();
            // Behind it are the verifier's own figures.
            let is_figure = |line: &&str| {
                ["processed ", "stack depth ", "verification time "]
                    .iter()
                    .any(|start| line.starts_with(start))
            };
            let told = log.lines().rev().find(|line| !line.is_empty() && !is_figure(line));
            said = [said, io_error.to_string(), told.unwrap_or_default().to_owned()].join(" ");
            break;
        }
        said = format!("{said} {error}");
        next = error.source();
    }
    let why = said.split_whitespace().collect::<Vec<_>>().join(" ");
    DropsError::Refused {
        what,
        why: why.chars().take(MOST).collect(),
    }
}
