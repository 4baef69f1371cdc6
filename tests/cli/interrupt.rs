//! Ctrl-C while the API server says nothing.

use std::{
    process::Stdio,
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::{
    fake_api::{Answer, FakeApi},
    plugin::Plugin,
    shop,
};

/// Starts the plugin, waits until it has asked what is never answered, and interrupts it: its exit code and its stderr.
fn interrupted(plugin: &Plugin, api: &FakeApi, arguments: &[&str], unanswered: &str) -> (Option<i32>, String) {
    let child = plugin
        .command(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while !api.seen().iter().any(|request| request.path().contains(unanswered)) {
        assert!(
            Instant::now() < deadline,
            "{unanswered} was not asked: {:?}",
            api.seen()
        );
        thread::sleep(Duration::from_millis(10));
    }
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let output = child.wait_with_output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn cleanup_stops() {
    let api = FakeApi::start(|_| Answer::Silence);
    let (code, stderr) = interrupted(&shop::plugin(&api), &api, &["cleanup"], "/jobs");
    assert_eq!(code, Some(130), "{stderr}");
    assert!(stderr.contains("interrupted: something may be left"), "{stderr}");
}

#[test]
fn a_run_that_asks_what_is_allowed_stops() {
    let api = FakeApi::start(|request| {
        if request.path().contains("selfsubjectrulesreviews") {
            Answer::Silence
        } else {
            shop::answer(request)
        }
    });
    let arguments = ["matrix", "--image", "agent:test"];
    let (code, stderr) = interrupted(&shop::plugin(&api), &api, &arguments, "selfsubjectrulesreviews");
    assert_eq!(code, Some(130), "{stderr}");
    assert!(stderr.contains("interrupted while agents were started"), "{stderr}");
}
