//! Short names for content: the first digits of its SHA-256.

use sha2::{Digest, Sha256};
use std::fmt::Write;

/// Collects what a name shall stand for.
#[derive(Default)]
pub struct Fingerprint(Sha256);

impl Fingerprint {
    /// Adds a piece, kept apart from the next one.
    pub fn add(mut self, piece: &[u8]) -> Self {
        self.0.update(piece.len().to_le_bytes());
        self.0.update(piece);
        self
    }

    /// The name, of `bytes` × 2 hexadecimal digits.
    pub fn hex(self, bytes: usize) -> String {
        self.0
            .finalize()
            .iter()
            .take(bytes)
            .fold(String::new(), |mut text, byte| {
                // Writing to a String cannot fail.
                let _ = write!(text, "{byte:02x}");
                text
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_kept_apart() {
        let joined = Fingerprint::default().add(b"ab").add(b"c").hex(8);
        let split = Fingerprint::default().add(b"a").add(b"bc").hex(8);
        assert_ne!(joined, split);
        assert_eq!(joined.len(), 16);
    }
}
