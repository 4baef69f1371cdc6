//! What the kernel lets this process do.

use std::{fs, io, sync::LazyLock};

/// Number of `CAP_NET_ADMIN` in capabilities(7).
pub const NET_ADMIN: u32 = 12;

/// The effective capabilities as a bit set: `CapEff` of `/proc/self/status` (proc(5)).
pub fn effective() -> io::Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    parse(&status).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no CapEff in /proc/self/status"))
}

/// Whether a capability is in effect. Read once: the agent never changes its own.
pub fn has(number: u32) -> bool {
    static SET: LazyLock<u64> = LazyLock::new(|| effective().unwrap_or(0));
    *SET >> number & 1 == 1
}

fn parse(status: &str) -> Option<u64> {
    let digits = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(digits.trim(), 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_line_is_read() {
        assert_eq!(
            parse("CapPrm:\t0\nCapEff:\t0000000000003000\nCapBnd:\t1\n"),
            Some(0x3000)
        );
        assert_eq!(parse("CapPrm:\t0\n"), None);
    }
}
