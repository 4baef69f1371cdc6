//! tshark and capinfos, who judge. Shared with the tests of netcheck-decode.

use libtest_mimic::Trial;
use netcheck_trials::Need;
use std::{path::Path, process::Command};

/// What tshark and tcpdump say on stderr of every file.
const USUAL: [&str; 2] = ["Running as user", "reading from file"];

/// A test that needs these programs.
pub fn trial(name: &str, programs: &[&'static str], test: fn()) -> Trial {
    let needs: Vec<Need> = programs.iter().copied().map(Need::Program).collect();
    netcheck_trials::trial(name, &needs, test)
}

/// What a program says of a file, which it must read without complaint.
pub fn run(program: &str, arguments: &[&str], file: &Path) -> String {
    let output = Command::new(program)
        .args(arguments)
        .arg(file)
        .env("LC_ALL", "C.UTF-8")
        .output()
        .unwrap();
    let complaints = String::from_utf8_lossy(&output.stderr);
    let complaints: Vec<_> = complaints
        .lines()
        .filter(|line| !USUAL.iter().any(|usual| line.starts_with(usual)))
        .collect();
    assert!(output.status.success(), "{program} {arguments:?}: {complaints:?}");
    assert!(complaints.is_empty(), "{program} {arguments:?}: {complaints:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// One line per packet, one column per field; several values of a field are joined by commas.
pub fn fields(file: &Path, names: &[&str], more: &[&str]) -> Vec<Vec<String>> {
    let mut arguments = more.to_vec();
    arguments.extend(["-T", "fields"]);
    arguments.extend(names.iter().flat_map(|name| ["-e", name]));
    arguments.push("-r");
    let output = run("tshark", &arguments, file);
    let split = |line: &str| line.split('\t').map(str::to_owned).collect();
    output.lines().map(split).collect()
}
