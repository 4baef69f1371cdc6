//! Whatever comes in, what goes out is CNI's: nothing, a result, or an error that a runtime can read.

#![allow(missing_docs, reason = "a test's parts are for the test")]

use netcheck_cni::run;
use proptest::prelude::*;
use serde_json::Value;
use std::ffi::OsString;

/// A call that cannot touch this machine: its namespace is none, and nobody has its attachment.
fn answer(verb: &str, if_name: &str, args: &str, input: &[u8]) -> (bool, Vec<u8>) {
    let variable = |name: &str| {
        let value = match name {
            "CNI_COMMAND" => verb,
            "CNI_CONTAINERID" => "a1b2",
            "CNI_NETNS" => "/nowhere/at/all",
            "CNI_IFNAME" => if_name,
            "CNI_ARGS" => args,
            "CNI_PATH" => "/nowhere",
            _ => return None,
        };
        Some(OsString::from(value))
    };
    let (mut output, mut messages) = (Vec::new(), Vec::new());
    let is_success = run(variable, input, &mut output, &mut messages);
    (is_success, output)
}

fn is_readable(is_success: bool, output: &[u8]) -> Result<(), TestCaseError> {
    if output.is_empty() {
        prop_assert!(is_success);
        return Ok(());
    }
    let json: Value = serde_json::from_slice(output).map_err(|error| TestCaseError::fail(error.to_string()))?;
    prop_assert!(json["cniVersion"].is_string(), "{}", json);
    if !is_success {
        prop_assert!(
            json["code"].as_u64().is_some_and(|code| code > 0 && code != 999),
            "{}",
            json
        );
        prop_assert!(json["msg"].as_str().is_some_and(|text| !text.is_empty()), "{}", json);
    }
    Ok(())
}

const VERBS: [&str; 8] = ["ADD", "DEL", "CHECK", "GC", "STATUS", "VERSION", "", "UPDATE"];
const VERSIONS: [&str; 6] = ["0.3.1", "0.4.0", "1.0.0", "1.1.0", "0.1.0", "x"];
const KEYS: [&str; 10] = [
    "name",
    "type",
    "ipam",
    "mtu",
    "dns",
    "dataDir",
    "runtimeConfig",
    "args",
    "prevResult",
    "cni.dev/valid-attachments",
];
const VALUES: [&str; 11] = [
    "null",
    "1",
    "-1",
    "\"x\"",
    "[]",
    "{}",
    "[{}]",
    "{\"type\": 1}",
    "{\"type\": \"x\"}",
    "{\"ips\": [1]}",
    "{\"mac\": \"x\"}",
];

proptest! {
    #[test]
    fn any_bytes_are_answered(verb in prop::sample::select(&VERBS[..]), input in prop::collection::vec(any::<u8>(), 0..300)) {
        let (is_success, output) = answer(verb, "eth0", "", &input);
        is_readable(is_success, &output)?;
    }

    #[test]
    fn any_words_around_it_are_answered(
        verb in prop::sample::select(&VERBS[..]),
        if_name in "\\PC{0,17}",
        args in prop_oneof![Just(String::new()), "\\PC{0,20}"],
    ) {
        let (is_success, output) = answer(verb, &if_name, &args, input("1.1.0", "mtu", "1400").as_bytes());
        is_readable(is_success, &output)?;
    }
}

#[test]
fn each_key_of_any_kind_is_answered() {
    for verb in VERBS {
        for version in VERSIONS {
            for (key, value) in KEYS.iter().flat_map(|key| VALUES.map(|value| (key, value))) {
                // The default is this machine's own.
                if (*key, value) == ("dataDir", "null") {
                    continue;
                }
                let input = input(version, key, value);
                let (is_success, output) = answer(verb, "eth0", "", input.as_bytes());
                let readable = is_readable(is_success, &output);
                assert!(readable.is_ok(), "{verb} {input}: {readable:?}");
            }
        }
    }
}

/// A configuration whose other keys are right.
fn input(version: &str, key: &str, value: &str) -> String {
    format!("{{\"cniVersion\": \"{version}\", \"name\": \"n\", \"dataDir\": \"/nowhere\", \"{key}\": {value}}}")
}
