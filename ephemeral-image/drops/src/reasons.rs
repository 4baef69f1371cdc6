//! What the running kernel calls its reasons, from the description of its types (BTF, Documentation/bpf/btf.rst).

use std::collections::BTreeMap;

/// `BTF_MAGIC`.
const MAGIC: u16 = 0xeb9f;
/// `BTF_KIND_*` that are looked at.
const PTR: u32 = 2;
const ENUM: u32 = 6;
const TYPEDEF: u32 = 8;
const FUNC_PROTO: u32 = 13;
/// Of `struct btf_type`.
const TYPE: usize = 12;
/// `SKB_DROP_REASON_SUBSYS_SHIFT`: above are the numbers of subsystems with reasons of their own.
const SUBSYSTEM: u32 = 16;
/// What the tracepoint's functions take before the packet, and with the reason as the last of what is read: data, packet, location, reason.
const WITH_REASON: u32 = 4;

/// The kernel's types are not described as they should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it is no description of types that this version can read")]
pub struct OddBtf;

/// Reasons by number.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reasons {
    names: BTreeMap<u32, String>,
    /// What functions of `kfree_skb` are given.
    parameters: u32,
}

impl Reasons {
    /// Reads `/sys/kernel/btf/vmlinux`.
    pub fn read(bytes: &[u8]) -> Result<Self, OddBtf> {
        let btf = Types::new(bytes)?;
        let mut reasons = Self::default();
        // Where each type is: one that is named comes behind or before the one that names it.
        let mut places = vec![0];
        let mut next = 0;
        let mut tracepoint = None;
        while next < btf.types.len() {
            places.push(next);
            let kind = btf.kind(next)?;
            match kind.kind {
                ENUM if btf.is_called(next, b"skb_drop_reason")? => {
                    for index in 0..kind.members {
                        let at = next + TYPE + 8 * index as usize;
                        reasons.add(btf.name(at)?, btf.number(at + 4)?);
                    }
                }
                TYPEDEF if btf.is_called(next, b"btf_trace_kfree_skb")? => tracepoint = Some(next),
                _ => {}
            }
            next = next.checked_add(TYPE + kind.length()?).ok_or(OddBtf)?;
        }
        if let Some(function) = tracepoint {
            reasons.parameters = btf.parameters(function, &places)?;
        }
        Ok(reasons)
    }

    fn add(&mut self, name: &[u8], number: u32) {
        let name = String::from_utf8_lossy(name);
        let name = name
            .strip_prefix("SKB_DROP_REASON_")
            .or_else(|| name.strip_prefix("SKB_"));
        if let Some(name) = name.filter(|name| !matches!(*name, "MAX" | "SUBSYS_MASK")) {
            self.names.insert(number, name.to_owned());
        }
    }

    /// Whether the kernel gives reasons at all.
    pub fn are_given(&self) -> bool {
        self.parameters >= WITH_REASON && !self.names.is_empty()
    }

    /// What a reason is called: `NETFILTER_DROP`; of a subsystem with reasons of its own `subsys 3: 1`.
    pub fn name(&self, number: u32) -> String {
        match (self.names.get(&number), number >> SUBSYSTEM) {
            (Some(name), _) => name.clone(),
            (None, 0) => format!("reason {number}"),
            (None, subsystem) => format!("subsys {subsystem}: {}", number & ((1 << SUBSYSTEM) - 1)),
        }
    }
}

/// The parts of the description.
struct Types<'a> {
    types: &'a [u8],
    strings: &'a [u8],
}

/// What a type is.
struct Kind {
    kind: u32,
    members: u32,
}

impl Kind {
    /// Bytes behind the type's first twelve.
    fn length(&self) -> Result<usize, OddBtf> {
        let each = self.members as usize;
        Ok(match self.kind {
            // INT, VAR, DECL_TAG
            1 | 14 | 17 => 4,
            // PTR, FWD, TYPEDEF, VOLATILE, CONST, RESTRICT, FUNC, FLOAT, TYPE_TAG
            2 | 7..=12 | 16 | 18 => 0,
            // ARRAY
            3 => 12,
            // ENUM, FUNC_PROTO
            6 | 13 => 8 * each,
            // STRUCT, UNION, DATASEC, ENUM64
            4 | 5 | 15 | 19 => 12 * each,
            _ => return Err(OddBtf),
        })
    }
}

impl<'a> Types<'a> {
    fn new(bytes: &'a [u8]) -> Result<Self, OddBtf> {
        let magic = bytes.first_chunk().map(|magic| u16::from_ne_bytes(*magic));
        if magic != Some(MAGIC) {
            return Err(OddBtf);
        }
        let head = number(bytes, 4)? as usize;
        let part = |offset: usize| {
            let start = head.checked_add(number(bytes, offset)? as usize).ok_or(OddBtf)?;
            let end = start.checked_add(number(bytes, offset + 4)? as usize).ok_or(OddBtf)?;
            bytes.get(start..end).ok_or(OddBtf)
        };
        Ok(Self {
            types: part(8)?,
            strings: part(16)?,
        })
    }

    fn number(&self, at: usize) -> Result<u32, OddBtf> {
        number(self.types, at)
    }

    fn kind(&self, at: usize) -> Result<Kind, OddBtf> {
        let info = self.number(at + 4)?;
        Ok(Kind {
            kind: info >> 24 & 0x1f,
            members: info & 0xffff,
        })
    }

    /// The string that is named at a place.
    fn name(&self, at: usize) -> Result<&'a [u8], OddBtf> {
        let rest = self.strings.get(self.number(at)? as usize..).ok_or(OddBtf)?;
        let end = rest.iter().position(|&byte| byte == 0).ok_or(OddBtf)?;
        Ok(&rest[..end])
    }

    fn is_called(&self, at: usize, name: &[u8]) -> Result<bool, OddBtf> {
        let rest = self.strings.get(self.number(at)? as usize..).ok_or(OddBtf)?;
        Ok(rest.strip_prefix(name).is_some_and(|rest| rest.first() == Some(&0)))
    }

    /// How many parameters a function has that is behind a name and a pointer.
    fn parameters(&self, typedef: usize, places: &[usize]) -> Result<u32, OddBtf> {
        let follow = |at: usize| places.get(self.number(at + 8)? as usize).copied().ok_or(OddBtf);
        let pointer = follow(typedef)?;
        if self.kind(pointer)?.kind != PTR {
            return Err(OddBtf);
        }
        let function = self.kind(follow(pointer)?)?;
        (function.kind == FUNC_PROTO).then_some(function.members).ok_or(OddBtf)
    }
}

fn number(bytes: &[u8], at: usize) -> Result<u32, OddBtf> {
    let four = bytes.get(at..).and_then(|rest| rest.first_chunk()).ok_or(OddBtf)?;
    Ok(u32::from_ne_bytes(*four))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A description with two reasons and a tracepoint whose functions take so many parameters.
    fn described(parameters: u32) -> Vec<u8> {
        let strings =
            b"\0skb_drop_reason\0SKB_CONSUMED\0SKB_DROP_REASON_NO_SOCKET\0SKB_DROP_REASON_MAX\0btf_trace_kfree_skb\0";
        let at = |name: &str| {
            let found = strings.windows(name.len()).position(|window| window == name.as_bytes());
            u32::try_from(found.unwrap()).unwrap()
        };
        let mut types: Vec<u32> = vec![at("skb_drop_reason"), ENUM << 24 | 3, 4];
        types.extend([
            at("SKB_CONSUMED"),
            1,
            at("SKB_DROP_REASON_NO_SOCKET"),
            3,
            at("SKB_DROP_REASON_MAX"),
            9,
        ]);
        types.extend([at("btf_trace_kfree_skb"), TYPEDEF << 24, 3]);
        types.extend([0, PTR << 24, 4]);
        types.extend([0, FUNC_PROTO << 24 | parameters, 0]);
        types.extend((0..2 * parameters).map(|_| 0));
        let types: Vec<u8> = types.into_iter().flat_map(u32::to_ne_bytes).collect();
        let lengths = [24, 0, types.len(), types.len(), strings.len()].map(|length| (length as u32).to_ne_bytes());
        let magic = [&MAGIC.to_ne_bytes()[..], &[1, 0]].concat();
        [&magic, lengths.as_flattened(), &types, strings].concat()
    }

    #[test]
    fn reasons_have_the_kernels_names() {
        let reasons = Reasons::read(&described(5)).unwrap();
        assert!(reasons.are_given());
        let names = [1, 3, 4, 9, 3 << 16 | 2].map(|number| reasons.name(number));
        assert_eq!(names, ["CONSUMED", "NO_SOCKET", "reason 4", "reason 9", "subsys 3: 2"]);
    }

    #[test]
    fn a_tracepoint_without_a_reason_is_recognised() {
        assert!(!Reasons::read(&described(3)).unwrap().are_given());
        assert!(Reasons::read(&described(4)).unwrap().are_given());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(at in any::<prop::sample::Index>(), instead in prop::collection::vec(any::<u8>(), 0..5), cut in any::<bool>()) {
            let mut bytes = described(4);
            let at = at.index(bytes.len());
            let end = if cut { bytes.len() } else { (at + instead.len()).min(bytes.len()) };
            bytes.splice(at..end, instead);
            let _ = Reasons::read(&bytes);
        }
    }
}
