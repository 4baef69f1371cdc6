//! Runs a program over a packet without a kernel.

use crate::program::{Instruction, SCRATCH_WORDS, code, metadata};

/// A packet and what is known beside its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet<'a> {
    /// What was captured.
    pub bytes: &'a [u8],
    /// Bytes it had on the wire: what `len`, `less` and `greater` look at.
    pub original_length: u32,
    /// What a socket knows; packets in files have none.
    pub metadata: Option<Metadata>,
}

/// What the kernel knows of a packet on a socket.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Metadata {
    /// `sll_pkttype` of `packet(7)`: 4 for what this host sends.
    pub packet_type: u32,
    /// `ARPHRD_*` of the interface: 1 for Ethernet, 772 for loopback.
    pub hardware_type: u32,
    /// The VLAN tag (TCI) the kernel took out of the bytes.
    pub vlan_tag: Option<u16>,
}

impl<'a> From<&'a [u8]> for Packet<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            original_length: u32::try_from(bytes.len()).unwrap_or(u32::MAX),
            metadata: None,
        }
    }
}

/// How many bytes of the packet the program wants to keep: zero rejects it, the program's snap length accepts it.
///
/// As in the kernel, a read beyond the packet and a division by zero reject. So does whatever no kernel would have taken as a
/// program, because programs come from elsewhere: unknown codes, jumps out of the program, a missing end.
pub fn run<'a>(program: &[Instruction], packet: impl Into<Packet<'a>>) -> u32 {
    Machine {
        packet: packet.into(),
        a: 0,
        x: 0,
        scratch: [0; SCRATCH_WORDS as usize],
    }
    .run(program)
    .unwrap_or(0)
}

struct Machine<'a> {
    packet: Packet<'a>,
    a: u32,
    x: u32,
    scratch: [u32; SCRATCH_WORDS as usize],
}

impl Machine<'_> {
    fn run(&mut self, program: &[Instruction]) -> Option<u32> {
        let mut at = 0_usize;
        // Jumps only go forward, so this ends.
        loop {
            let Instruction { code, jt, jf, k } = *program.get(at)?;
            at += 1;
            let operand = if code & code::X == 0 { k } else { self.x };
            match code {
                code::LD_W_ABS => self.a = self.load(k, 4)?,
                code::LD_H_ABS => self.a = self.load(k, 2)?,
                code::LD_B_ABS => self.a = self.load(k, 1)?,
                code::LD_W_IND => self.a = self.read(self.x.wrapping_add(k), 4)?,
                code::LD_H_IND => self.a = self.read(self.x.wrapping_add(k), 2)?,
                code::LD_B_IND => self.a = self.read(self.x.wrapping_add(k), 1)?,
                code::LD_IMM => self.a = k,
                code::LD_LEN => self.a = self.packet.original_length,
                code::LD_MEM => self.a = *self.scratch.get(k as usize)?,
                code::LDX_MEM => self.x = *self.scratch.get(k as usize)?,
                code::LDX_MSH => self.x = (self.read(k, 1)? & 0xf) * 4,
                code::ST => *self.scratch.get_mut(k as usize)? = self.a,
                code::TAX => self.x = self.a,
                code::NEG => self.a = self.a.wrapping_neg(),
                code::RET_K => return Some(k),
                code::JA => at = at.checked_add(k as usize)?,
                _ if code & 0x7 == 0x5 => {
                    let holds = match code & !code::X {
                        code::JEQ => self.a == operand,
                        code::JGT => self.a > operand,
                        code::JGE => self.a >= operand,
                        _ => return None,
                    };
                    at += usize::from(if holds { jt } else { jf });
                }
                _ if code & 0x7 == code::ALU => self.a = Operation::of(code)?.apply(self.a, operand)?,
                _ => return None,
            }
        }
    }

    fn load(&self, offset: u32, size: usize) -> Option<u32> {
        match (self.packet.metadata, offset) {
            (Some(known), metadata::PACKET_TYPE) => Some(known.packet_type),
            (Some(known), metadata::HARDWARE_TYPE) => Some(known.hardware_type),
            (Some(known), metadata::VLAN_TAG) => Some(known.vlan_tag.unwrap_or(0).into()),
            (Some(known), metadata::VLAN_TAG_PRESENT) => Some(known.vlan_tag.is_some().into()),
            _ => self.read(offset, size),
        }
    }

    fn read(&self, offset: u32, size: usize) -> Option<u32> {
        let start = offset as usize;
        let bytes = self.packet.bytes.get(start..start.checked_add(size)?)?;
        Some(bytes.iter().fold(0, |value, byte| (value << 8) | u32::from(*byte)))
    }
}

/// What two values can be combined with. The values are the kernel's (`linux/bpf_common.h`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    Add = 0x00,
    Subtract = 0x10,
    Multiply = 0x20,
    Divide = 0x30,
    Or = 0x40,
    And = 0x50,
    ShiftLeft = 0x60,
    ShiftRight = 0x70,
    Remainder = 0x90,
    Xor = 0xa0,
}

impl Operation {
    fn of(code: u16) -> Option<Self> {
        use Operation::{Add, And, Divide, Multiply, Or, Remainder, ShiftLeft, ShiftRight, Subtract, Xor};
        [
            Add, Subtract, Multiply, Divide, Or, And, ShiftLeft, ShiftRight, Remainder, Xor,
        ]
        .into_iter()
        .find(|operation| *operation as u16 == code & 0xf0)
    }

    /// 32-bit arithmetic without a sign; nothing comes of a division by zero. What is shifted by 32 or more is gone.
    pub fn apply(self, left: u32, right: u32) -> Option<u32> {
        Some(match self {
            Self::Add => left.wrapping_add(right),
            Self::Subtract => left.wrapping_sub(right),
            Self::Multiply => left.wrapping_mul(right),
            Self::Divide => left.checked_div(right)?,
            Self::Remainder => left.checked_rem(right)?,
            Self::Or => left | right,
            Self::And => left & right,
            Self::Xor => left ^ right,
            Self::ShiftLeft => left.checked_shl(right).unwrap_or(0),
            Self::ShiftRight => left.checked_shr(right).unwrap_or(0),
        })
    }
}
