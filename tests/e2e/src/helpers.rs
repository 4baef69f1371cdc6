//! Processes that a plugin starts to put right what it leaves, should it be killed.

use anyhow::{Context, Result, ensure};
use netcheck_rig::wait_until;
use rustix::process::{Pid, test_kill_process};
use std::time::Duration;

/// The helper processes of a running plugin; none is an error.
pub fn helpers_of(plugin: Pid) -> Result<Vec<Pid>> {
    let plugin = plugin.as_raw_nonzero();
    // Any thread may have started them.
    let tasks = std::fs::read_dir(format!("/proc/{plugin}/task")).context("read the plugin's threads")?;
    let children = tasks
        .flatten()
        .filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok())
        .collect::<String>();
    let children = children.split_whitespace().filter_map(|id| id.parse().ok());
    let found: Vec<Pid> = children.filter_map(Pid::from_raw).collect();
    ensure!(!found.is_empty(), "the plugin has no helper process");
    Ok(found)
}

/// Waits until none of them is there any more.
pub fn wait_until_ended(helpers: &[Pid], deadline: Duration) -> Result<()> {
    Ok(wait_until("the plugin's helpers have ended", deadline, || {
        let left: Vec<_> = helpers.iter().filter(|id| test_kill_process(**id).is_ok()).collect();
        if left.is_empty() {
            Ok(())
        } else {
            Err(format!("{left:?}"))
        }
    })?)
}
