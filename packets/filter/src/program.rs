//! Classic BPF as the kernel takes it (`struct sock_filter`, Linux `include/uapi/linux/filter.h` and `bpf_common.h`).

use serde::{Deserialize, Serialize};

/// The most instructions one program may have (`BPF_MAXINSNS`).
pub const MAX_INSTRUCTIONS: usize = 4096;

/// The words of scratch memory (`BPF_MEMWORDS`).
pub(crate) const SCRATCH_WORDS: u32 = 16;

/// One instruction, field for field a `struct sock_filter`; written as `[code,jt,jf,k]` by serde, because programs travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "(u16, u8, u8, u32)", into = "(u16, u8, u8, u32)")]
pub struct Instruction {
    /// What to do: class, size, mode, operation (`BPF_*` or-ed together).
    pub code: u16,
    /// How many instructions to skip when a comparison holds.
    pub jt: u8,
    /// How many instructions to skip when it does not.
    pub jf: u8,
    /// The constant, offset, slot or distance the instruction works with.
    pub k: u32,
}

impl Instruction {
    /// An instruction that compares nothing.
    pub(crate) fn plain(code: u16, k: u32) -> Self {
        Self { code, jt: 0, jf: 0, k }
    }
}

impl From<(u16, u8, u8, u32)> for Instruction {
    fn from((code, jt, jf, k): (u16, u8, u8, u32)) -> Self {
        Self { code, jt, jf, k }
    }
}

impl From<Instruction> for (u16, u8, u8, u32) {
    fn from(instruction: Instruction) -> Self {
        (instruction.code, instruction.jt, instruction.jf, instruction.k)
    }
}

/// The codes this crate writes and runs (`linux/bpf_common.h`).
pub(crate) mod code {
    pub const LD_W_ABS: u16 = 0x20;
    pub const LD_H_ABS: u16 = 0x28;
    pub const LD_B_ABS: u16 = 0x30;
    pub const LD_W_IND: u16 = 0x40;
    pub const LD_H_IND: u16 = 0x48;
    pub const LD_B_IND: u16 = 0x50;
    pub const LD_IMM: u16 = 0x00;
    pub const LD_MEM: u16 = 0x60;
    pub const LD_LEN: u16 = 0x80;
    pub const LDX_MEM: u16 = 0x61;
    /// X becomes four times the low half of a byte: the length of an IPv4 header.
    pub const LDX_MSH: u16 = 0xb1;
    pub const ST: u16 = 0x02;
    pub const ALU: u16 = 0x04;
    pub const NEG: u16 = 0x84;
    pub const JA: u16 = 0x05;
    pub const JEQ: u16 = 0x15;
    pub const JGT: u16 = 0x25;
    pub const JGE: u16 = 0x35;
    pub const RET_K: u16 = 0x06;
    pub const TAX: u16 = 0x07;
    /// Or-ed to an operation or a jump: the operand is X instead of `k`.
    pub const X: u16 = 0x08;
}

/// Where the kernel keeps what is known about a packet beside its bytes (`SKF_AD_*` in `linux/filter.h`).
pub(crate) mod metadata {
    const BASE: u32 = 0xffff_f000;
    /// `PACKET_HOST`, …, `PACKET_OUTGOING`.
    pub const PACKET_TYPE: u32 = BASE + 4;
    /// `ARPHRD_*` of the interface.
    pub const HARDWARE_TYPE: u32 = BASE + 28;
    /// The tag control information the kernel took out of the bytes.
    pub const VLAN_TAG: u32 = BASE + 44;
    /// One when the kernel took a tag out of the bytes.
    pub const VLAN_TAG_PRESENT: u32 = BASE + 48;
}
