//! What bounds a capture: time, packets and bytes, whichever comes first. Pure.

use crate::flags::duration;
use std::time::Duration;

/// Time of a capture without `--duration`.
pub const DURATION: Duration = Duration::from_mins(5);
/// Packets of a capture without `--count`.
pub const COUNT: u64 = 1_000_000;
/// Bytes of packets of a capture without `--max-bytes`.
pub const BYTES: u64 = 100_000_000;

/// The bounds; 0 is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Time from the moment on which all sources are captured.
    pub duration: Duration,
    /// Packets that are written.
    pub count: u64,
    /// Bytes of packets, as captured, that are written.
    pub bytes: u64,
}

/// Which of them ended a capture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reached {
    /// `--duration`
    Duration,
    /// `--count`
    Count,
    /// `--max-bytes`
    Bytes,
}

impl Limits {
    /// Whether a packet more would be too much, after so many packets and bytes.
    pub fn reached(&self, packets: u64, bytes: u64) -> Option<Reached> {
        if self.count > 0 && packets >= self.count {
            return Some(Reached::Count);
        }
        (self.bytes > 0 && bytes >= self.bytes).then_some(Reached::Bytes)
    }

    /// In words, for the start of a capture.
    pub fn describe(&self) -> String {
        let bounds = [
            (self.duration > Duration::ZERO).then(|| duration::words(self.duration)),
            (self.count > 0).then(|| format!("{} packets", self.count)),
            (self.bytes > 0).then(|| size_words(self.bytes)),
        ];
        let bounds: Vec<_> = bounds.into_iter().flatten().collect();
        if bounds.is_empty() {
            "until you stop it".to_owned()
        } else {
            format!("at most {}", bounds.join(" or "))
        }
    }
}

impl Reached {
    /// In words, for its end.
    pub fn words(self) -> &'static str {
        match self {
            Self::Duration => "--duration is over",
            Self::Count => "--count is reached",
            Self::Bytes => "--max-bytes is reached",
        }
    }
}

/// A number of bytes as a person reads it.
pub fn size_words(bytes: u64) -> String {
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.2} GB", bytes as f64 / 1e9),
    }
}

/// A size as Kubernetes writes quantities: `500k`, `100M`, `64Mi`, `2G`, or bytes.
///
/// # Errors
/// Says what is accepted.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text:?} is no size; write 500k, 100M, 64Mi or 2G");
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let factor: u64 = match unit.trim_end_matches(['B', 'b']) {
        "" => 1,
        "k" | "K" => 1_000,
        "M" => 1_000_000,
        "G" => 1_000_000_000,
        "Ki" => 1 << 10,
        "Mi" => 1 << 20,
        "Gi" => 1 << 30,
        _ => return Err(wrong()),
    };
    number.checked_mul(factor).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_quantities() {
        for (text, bytes) in [
            ("0", 0),
            ("500k", 500_000),
            ("100M", 100_000_000),
            ("100MB", 100_000_000),
            ("64Mi", 64 << 20),
            ("2G", 2_000_000_000),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for text in [
            "",
            "M",
            "-1",
            "1.5M",
            "5x",
            "99999999999999999999",
            "18446744073709551615G",
        ] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn whichever_comes_first() {
        let limits = Limits {
            duration: Duration::from_secs(90),
            count: 10,
            bytes: 1000,
        };
        assert_eq!(limits.reached(9, 999), None);
        assert_eq!(limits.reached(10, 1), Some(Reached::Count));
        assert_eq!(limits.reached(1, 1000), Some(Reached::Bytes));
        assert_eq!(limits.describe(), "at most 1m30s or 10 packets or 1.0 kB");
        let none = Limits {
            duration: Duration::ZERO,
            count: 0,
            bytes: 0,
        };
        assert_eq!(none.reached(u64::MAX, u64::MAX), None);
        assert_eq!(none.describe(), "until you stop it");
    }
}
