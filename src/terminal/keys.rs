//! The keys that leave a session without ending it: Ctrl-P, Ctrl-Q, as in docker. Pure.

const CTRL_P: u8 = 0x10;
const CTRL_Q: u8 = 0x11;

/// Looks for the keys in what is typed.
#[derive(Debug, Default)]
pub struct DetachKeys {
    /// A Ctrl-P is held back: the next key tells what it was meant for.
    holds_first: bool,
}

/// What is to be done with what was typed.
#[derive(Debug, PartialEq, Eq)]
pub struct Typed {
    /// To be sent on.
    pub bytes: Vec<u8>,
    /// The user leaves.
    pub detaches: bool,
}

impl DetachKeys {
    /// Takes what was typed. What comes behind the keys is nobody's.
    pub fn scan(&mut self, typed: &[u8]) -> Typed {
        let mut bytes = Vec::with_capacity(typed.len() + 1);
        for &byte in typed {
            if std::mem::take(&mut self.holds_first) {
                if byte == CTRL_Q {
                    return Typed { bytes, detaches: true };
                }
                bytes.push(CTRL_P);
            }
            if byte == CTRL_P {
                self.holds_first = true;
            } else {
                bytes.push(byte);
            }
        }
        Typed { bytes, detaches: false }
    }

    /// Whether a key is held back.
    pub fn holds(&self) -> bool {
        self.holds_first
    }

    /// Lets go of the key held back, when no other has come for a while: shells have a use for Ctrl-P.
    pub fn let_go(&mut self) -> Vec<u8> {
        if std::mem::take(&mut self.holds_first) {
            vec![CTRL_P]
        } else {
            Vec::new()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(pieces: &[&[u8]]) -> (Vec<u8>, bool) {
        let mut keys = DetachKeys::default();
        let mut all = Vec::new();
        for piece in pieces {
            let Typed { bytes, detaches } = keys.scan(piece);
            all.extend(bytes);
            if detaches {
                return (all, true);
            }
        }
        all.extend(keys.let_go());
        (all, false)
    }

    #[test]
    fn only_both_keys_in_a_row_leave_and_nothing_typed_is_lost() {
        for (pieces, expected) in [
            (&[b"ls\r".as_slice()] as &[&[u8]], ("ls\r", false)),
            (&[b"a\x10\x11b"], ("a", true)),
            (&[b"a\x10", b"\x11"], ("a", true)),
            (&[b"\x10x\x11"], ("\x10x\x11", false)),
            (&[b"\x10\x10\x11"], ("\x10", true)),
            (&[b"\x10"], ("\x10", false)),
            (&[b"\x11\x10"], ("\x11\x10", false)),
        ] {
            let (bytes, detaches) = typed(pieces);
            assert_eq!(
                (bytes.as_slice(), detaches),
                (expected.0.as_bytes(), expected.1),
                "{pieces:?}"
            );
        }
    }
}
