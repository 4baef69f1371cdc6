//! What the API server's audit log says was asked of it.

use anyhow::{Context, Result};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    fs::File,
    io::{BufRead, BufReader, Seek, SeekFrom},
    path::{Path, PathBuf},
};

/// A place in the audit log; what comes after it is what a test caused.
#[derive(Debug)]
pub struct Audit {
    path: PathBuf,
    start: u64,
}

impl Audit {
    /// From now on.
    pub fn from_now(path: &Path) -> Result<Self> {
        let start = std::fs::metadata(path)
            .with_context(|| format!("look at {}", path.display()))?
            .len();
        Ok(Self {
            path: path.to_owned(),
            start,
        })
    }

    /// Requests since, once each, by the stage in which their answer began.
    pub fn events(&self) -> Result<Vec<Value>> {
        let mut file = File::open(&self.path).with_context(|| format!("open {}", self.path.display()))?;
        file.seek(SeekFrom::Start(self.start))
            .context("seek in the audit log")?;
        let lines = BufReader::new(file).lines().map_while(Result::ok);
        Ok(lines
            .filter_map(|line| serde_json::from_str(&line).ok())
            .filter(is_answered)
            .collect())
    }

    /// Streams into pods since: pod → how many execs and attaches.
    pub fn streams(&self) -> Result<BTreeMap<String, usize>> {
        let mut streams = BTreeMap::new();
        for event in self.events()? {
            let reference = &event["objectRef"];
            if matches!(reference["subresource"].as_str(), Some("exec" | "attach")) {
                *streams.entry(reference["name"].to_string()).or_default() += 1;
            }
        }
        Ok(streams)
    }
}

/// A stream's answer begins with ResponseStarted and ends much later; everything else is complete at once.
fn is_answered(event: &Value) -> bool {
    let long = matches!(event["objectRef"]["subresource"].as_str(), Some("exec" | "attach"));
    event["stage"] == if long { "ResponseStarted" } else { "ResponseComplete" }
}
