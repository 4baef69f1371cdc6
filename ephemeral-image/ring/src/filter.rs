//! Classic BPF as the kernel takes it (linux/filter.h, Documentation/networking/filter.rst).

use crate::RingError;
use socket2::SockFilter;

/// Most instructions of a program: `BPF_MAXINSNS` of linux/bpf_common.h.
pub(crate) const MOST_INSTRUCTIONS: usize = 4096;

/// `BPF_RET | BPF_K`: ends the program; of the packet `k` bytes are kept, 0 rejects it.
const RETURN: u16 = 0x06;

/// One instruction, `struct sock_filter`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instruction {
    /// The opcode.
    pub code: u16,
    /// Instructions to skip if a condition holds.
    pub jt: u8,
    /// Instructions to skip if it does not hold.
    pub jf: u8,
    /// The operand.
    pub k: u32,
}

impl Instruction {
    const fn keep(bytes: u32) -> Self {
        Self {
            code: RETURN,
            jt: 0,
            jf: 0,
            k: bytes,
        }
    }
}

/// The program that accepts what `program` accepts and keeps at most `snap_length` bytes of it, so that the kernel does not copy more.
/// An empty program accepts everything.
pub(crate) fn cut(program: &[Instruction], snap_length: u32) -> Result<Vec<Instruction>, RingError> {
    match program.len() {
        0 => Ok(vec![Instruction::keep(snap_length)]),
        length if length > MOST_INSTRUCTIONS => Err(RingError::LongFilter(length)),
        _ => Ok(program
            .iter()
            .map(|instruction| match *instruction {
                Instruction { code: RETURN, k, .. } => Instruction::keep(k.min(snap_length)),
                other => other,
            })
            .collect()),
    }
}

/// The program that rejects everything.
pub(crate) const NOTHING: [Instruction; 1] = [Instruction::keep(0)];

/// For `SO_ATTACH_FILTER`.
pub(crate) fn for_kernel(program: &[Instruction]) -> Vec<SockFilter> {
    program
        .iter()
        .map(|&Instruction { code, jt, jf, k }| SockFilter::new(code, jt, jf, k))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_cut_and_what_is_rejected_stays_rejected() {
        let load = Instruction {
            code: 0x28,
            jt: 0,
            jf: 0,
            k: 262_144,
        };
        let program = [
            load,
            Instruction::keep(262_144),
            Instruction::keep(40),
            Instruction::keep(0),
        ];
        assert_eq!(
            cut(&program, 96).unwrap_or_default(),
            [load, Instruction::keep(96), Instruction::keep(40), Instruction::keep(0)]
        );
    }

    #[test]
    fn no_program_is_one_that_accepts() {
        assert_eq!(cut(&[], 96).unwrap_or_default(), [Instruction::keep(96)]);
    }

    #[test]
    fn a_program_too_long_for_the_kernel_is_refused() {
        assert!(cut(&vec![Instruction::keep(1); MOST_INSTRUCTIONS], 96).is_ok());
        assert!(matches!(
            cut(&vec![Instruction::keep(1); MOST_INSTRUCTIONS + 1], 96),
            Err(RingError::LongFilter(4097))
        ));
    }
}
