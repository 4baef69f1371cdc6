//! Durations as kubectl takes them.

use std::{ops::RangeInclusive, time::Duration};

/// What a `time.Duration` of Go's holds, and so the longest that kubectl takes: an `i64` of nanoseconds, 292 years. Within it no sum of a
/// few durations overflows.
const LONGEST: Duration = Duration::from_nanos(i64::MAX as u64);
/// How long a probe may wait. Below, the kernel's only repetition of a SYN, and with it ICMP errors, come too late to be seen; above, the
/// agent would not obey. (`ephemeral-image/WIRE.md`: Messages, Limits)
const OF_A_PROBE: RangeInclusive<Duration> = Duration::from_secs(2)..=Duration::from_mins(2);

/// How long nodes may be observed: below, hardly a packet comes; above, the agent would not obey.
const OF_AN_OBSERVATION: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_mins(10);

/// Parses how long a probe may wait for its answer.
///
/// # Errors
/// Says what is accepted.
pub fn of_a_probe(text: &str) -> Result<Duration, String> {
    within(text, &OF_A_PROBE, "a probe waits")
}

/// Parses how long nodes are observed.
///
/// # Errors
/// Says what is accepted.
pub fn of_an_observation(text: &str) -> Result<Duration, String> {
    within(text, &OF_AN_OBSERVATION, "nodes are observed")
}

fn within(text: &str, range: &RangeInclusive<Duration>, what: &str) -> Result<Duration, String> {
    let duration = parse(text)?;
    if range.contains(&duration) {
        return Ok(duration);
    }
    let (least, most) = (words(*range.start()), words(*range.end()));
    Err(format!("{what} between {least} and {most}"))
}

/// Go's `time.ParseDuration` without fractions of a unit's sign, plus a bare number, which kubectl takes as seconds.
///
/// # Errors
/// Says what is accepted.
pub fn parse(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no duration; write 500ms, 5s, 2m30s or 1h");
    let within = |duration: Duration| if duration > LONGEST { Err(wrong()) } else { Ok(duration) };
    if let Ok(seconds) = text.parse::<u64>() {
        return within(Duration::from_secs(seconds));
    }
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(wrong)?;
        let (number, tail) = rest.split_at(digits);
        let letters = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(letters);
        let seconds = match unit {
            "ns" => 1e-9,
            "us" | "µs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return Err(wrong()),
        };
        let number: f64 = number.parse().map_err(|_| wrong())?;
        let part = Duration::try_from_secs_f64(number * seconds).map_err(|_| wrong())?;
        total = total.checked_add(part).ok_or_else(wrong)?;
        rest = tail;
    }
    if text.is_empty() { Err(wrong()) } else { within(total) }
}

/// A duration as it is written: `1m30s`.
pub fn words(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let parts = [(seconds / 3600, "h"), (seconds / 60 % 60, "m"), (seconds % 60, "s")];
    let words: Vec<String> = parts
        .iter()
        .filter(|(number, _)| *number > 0)
        .map(|(number, unit)| format!("{number}{unit}"))
        .collect();
    if words.is_empty() {
        format!("{}ms", duration.as_millis())
    } else {
        words.concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_back() {
        for text in ["500ms", "5s", "2m30s", "1h", "25h1s"] {
            assert_eq!(words(parse(text).unwrap()), text);
        }
    }

    #[test]
    fn kubectl_spellings() {
        for (text, millis) in [
            ("0", 0),
            ("7", 7000),
            ("500ms", 500),
            ("5s", 5000),
            ("2m30s", 150_000),
            ("1.5h", 5_400_000),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "s", "5x", "-1s", "1e99h", "5s3", "99999999999999999999h", "."] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_go_cannot_hold_is_refused() {
        assert!(parse("9223372036").is_ok() && parse("292y").is_err());
        for text in ["9223372037", "18446744073709551615", "2562048h"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_probe_waits_long_enough_to_be_told_and_no_longer_than_agents_obey() {
        for (text, accepted) in [
            ("0", false),
            ("50ms", false),
            ("1.9s", false),
            ("2s", true),
            ("3", true),
            ("2m", true),
            ("2m1s", false),
            ("18446744073709551615", false),
        ] {
            assert_eq!(of_a_probe(text).is_ok(), accepted, "{text}");
        }
    }
}
