//! How much of one thing is read, so that a node that holds too much of it costs neither its memory nor the rest of the record.

/// Bytes of text that a file may have.
pub const FILE: u64 = 1 << 20;
/// Entries that a folder may have, and pins that there may be.
pub const NAMES: usize = 10_000;
/// Entries that a BPF map may have.
pub const MAP_ENTRIES: usize = 100_000;
/// Bytes that a folder's texts, and all pinned maps' entries, may take up together.
pub const TOTAL: usize = 16 << 20;
/// What a thing costs besides its bytes.
const EACH: usize = 64;

/// What is left of [`TOTAL`].
#[derive(Debug, Clone, Copy)]
pub(super) struct Budget(usize);

impl Budget {
    /// All of it.
    pub fn new() -> Self {
        Self(TOTAL)
    }

    /// Takes what a thing of so many bytes costs, or says that there is too much.
    pub fn take(&mut self, bytes: usize) -> Result<(), String> {
        let too_much = || format!("not read: what is read here would have more than {} MiB", TOTAL >> 20);
        self.0 = self.0.checked_sub(bytes.saturating_add(EACH)).ok_or_else(too_much)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_used_up() {
        let mut budget = Budget::new();
        budget.take(TOTAL - EACH).unwrap();
        assert_eq!(
            budget.take(0),
            Err("not read: what is read here would have more than 16 MiB".to_owned())
        );
        assert!(budget.take(usize::MAX).is_err());
    }
}
