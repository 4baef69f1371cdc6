//! The plugins that the node's CNI configuration names, asked for their version.

use super::program::{self, Limits};
use crate::tasks::Reporter;
use netcheck_node_state::record::{self, Reading};
use netcheck_wire::message::Plugins;
use rustix::pipe::{PipeFlags, pipe_with};
use serde_json::Value;
use std::{
    collections::BTreeSet,
    fs::File,
    io::{self, Write as _},
    os::{
        fd::{AsRawFd as _, OwnedFd},
        unix::process::CommandExt as _,
    },
    path::Path,
    process::Command,
    time::Duration,
};

/// Plugins that are asked at most.
const MOST: usize = 16;
/// What one may print and how long it may take. Its memory is bounded by the container alone: Go's runtime asks for more than it uses.
const LIMITS: Limits = Limits {
    printed: 64 << 10,
    memory: None,
    patience: Duration::from_secs(5),
};
/// What is sent along with `VERSION` (CNI specification, section 4); it says nothing of a network, and so nothing is done.
const QUESTION: &[u8] = b"{\"cniVersion\":\"1.0.0\"}";

/// What each says, by its name.
pub fn versions(root: &Path, order: &Plugins, reporter: &Reporter) -> impl Iterator<Item = (String, Reading<String>)> {
    let names = names(root, &order.configuration);
    names.into_iter().take(MOST).map(move |name| {
        let answer = version(root, &order.programs, &name, reporter);
        (name, answer)
    })
}

fn version(root: &Path, folder: &str, name: &str, reporter: &Reporter) -> Reading<String> {
    let program = record::file(root, folder, name)?;
    // By its descriptor: the way to it, which may have links, was found below the node's root.
    let mut command = Command::new(format!("/proc/self/fd/{}", program.as_raw_fd()));
    // Some are one program under many names.
    command.arg0(name).env_clear().env("CNI_COMMAND", "VERSION");
    command.stdin(question().map_err(|error| format!("cannot ask it: {error}"))?);
    program::run(command, name, LIMITS, reporter)
}

/// A pipe with the question in it, which is shorter than what a pipe holds, and nothing behind it.
fn question() -> io::Result<OwnedFd> {
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC)?;
    File::from(writer).write_all(QUESTION)?;
    Ok(reader)
}

/// Names of plugins in all configurations of a folder; what is none is left out.
fn names(root: &Path, folder: &str) -> BTreeSet<String> {
    let entries = record::folder(root, folder, true).unwrap_or_default();
    let mut names = BTreeSet::new();
    for entry in entries.values().filter(|entry| !entry.is_link) {
        let Some(Ok(text)) = &entry.text else { continue };
        let Ok(configuration) = serde_json::from_str::<Value>(text) else {
            continue;
        };
        let alone = std::slice::from_ref(&configuration);
        let plugins = configuration["plugins"].as_array().map_or(alone, Vec::as_slice);
        for plugin in plugins {
            let types = [&plugin["type"], &plugin["ipam"]["type"], &plugin["delegate"]["type"]];
            names.extend(types.into_iter().filter_map(Value::as_str).map(str::to_owned));
        }
    }
    names
}
