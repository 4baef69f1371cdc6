//! Running other people's tools, waiting, and a mount namespace of our own, so that nothing is left behind however the tests end.

use netcheck_trials::PATIENCE;
use rustix::thread::{UnshareFlags, unshare_unsafe};
use serde_json::Value;
use std::{
    fmt::Debug,
    process::Command,
    thread,
    time::{Duration, Instant},
};

/// What is mounted from here on, and namespaces named by `ip netns`, end with this process. To be called before any thread is started.
pub fn leave_mounts() {
    // SAFETY: only the mount namespace is left, and there is one thread: nobody's view changes unexpectedly.
    unsafe { unshare_unsafe(UnshareFlags::NEWNS) }.unwrap();
    run("mount --make-rprivate / && mkdir -p /run/netns && mount -t tmpfs tmpfs /run/netns");
}

pub fn run(command: &str) -> String {
    let output = Command::new("timeout")
        .args(["60", "sh", "-ec", command])
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{command}: {} {}{}",
        output.status,
        String::from_utf8_lossy(&output.stderr),
        String::from_utf8_lossy(&output.stdout)
    );
    String::from_utf8(output.stdout).unwrap()
}

pub fn json(command: &str) -> Value {
    serde_json::from_str(&run(command)).unwrap()
}

/// All objects of a kind (`link`, `prog`) that the kernel has, as bpftool lists them. The listing is of the whole machine and breaks off where
/// another test's object goes just then: it is begun again.
pub fn all(kind: &str) -> Vec<Value> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let output = Command::new("bpftool").args(["-j", kind, "show"]).output().unwrap();
        let listed = serde_json::from_slice(&output.stdout);
        if let (true, Ok(Value::Array(objects))) = (output.status.success(), listed) {
            return objects;
        }
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(Instant::now() < deadline, "bpftool -j {kind} show: {said}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// Waits until both are equal.
pub fn wait_until_equal<T: PartialEq + Debug>(what: &str, mut pair: impl FnMut() -> (T, T)) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let (ours, theirs) = pair();
        if ours == theirs {
            return;
        }
        assert!(Instant::now() < deadline, "{what}: ours {ours:?}, theirs {theirs:?}");
        thread::sleep(Duration::from_millis(10));
    }
}
