//! Any bytes, and packets with a few bytes wrong.

#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

mod corpus;

use corpus::samples;
use netcheck_decode::{Link, describe, headers_length, line, redact, safe};
use proptest::{collection::vec, prelude::*, sample::Index};

/// Everything there is, on these bytes.
fn withstands(link: Link, bytes: &[u8], original_length: u32) -> Result<(), TestCaseError> {
    let length = headers_length(link, bytes);
    prop_assert!(length <= bytes.len());

    let mut redacted = bytes.to_vec();
    prop_assert_eq!(redact(link, &mut redacted), length);
    prop_assert_eq!(&redacted[..length], &bytes[..length]);
    prop_assert!(redacted[length..].iter().all(|byte| *byte == 0));
    // What is cut off was not needed to find the end.
    prop_assert_eq!(headers_length(link, &bytes[..length]), length);

    let summary = describe(link, bytes, original_length);
    serde_json::to_string(&summary).unwrap();
    let shown = line(&summary, &());
    prop_assert_eq!(safe(&shown), shown.as_str());
    prop_assert!(shown.chars().count() < 1_100);
    Ok(())
}

fn any_link() -> impl Strategy<Value = Link> {
    prop_oneof![Just(Link::Ethernet), Just(Link::RawIp)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_do(link in any_link(), bytes in vec(any::<u8>(), 0..200), original_length in any::<u32>()) {
        withstands(link, &bytes, original_length)?;
    }

    /// Behind a header that leads there, what is deeper gets its share of random bytes.
    #[test]
    fn any_bytes_do_behind_good_headers(
        which in any::<Index>(), keep in any::<Index>(), bytes in vec(any::<u8>(), 0..100), original_length in any::<u32>(),
    ) {
        let samples = samples();
        let sample = which.get(&samples);
        let kept = keep.index(sample.bytes.len().min(150));
        withstands(sample.link, &[&sample.bytes[..kept], &bytes].concat(), original_length)?;
    }

    #[test]
    fn packets_with_wrong_bytes_do(
        which in any::<Index>(), wrong in vec((any::<Index>(), any::<u8>()), 0..6), cut in any::<Index>(), original_length in any::<u32>(),
    ) {
        let mut samples = samples();
        let sample = which.index(samples.len());
        let mut sample = samples.swap_remove(sample);
        sample.bytes.truncate(200);
        for (place, byte) in wrong {
            let place = place.index(sample.bytes.len());
            sample.bytes[place] = byte;
        }
        sample.bytes.truncate(cut.index(sample.bytes.len() + 1));
        withstands(sample.link, &sample.bytes, original_length)?;
    }
}

#[test]
fn every_cut_of_every_packet_does() {
    for sample in samples() {
        for length in 0..=sample.bytes.len().min(200) {
            withstands(sample.link, &sample.bytes[..length], 0)
                .unwrap_or_else(|error| panic!("{}: {error}", sample.name));
        }
    }
}
