//! The program `nft`: it alone speaks all of nftables' kernel interface.

use super::{BaseChain, NftRule, NftTable, objects, removal, transaction};
use serde_json::Value;
use std::{
    io::{self, Write as _},
    path::PathBuf,
    process::{Command, Stdio},
};

/// Why nftables could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum NftError {
    /// There is no such program.
    #[error("nft: no program {} is here: install nftables", .0.display())]
    Missing(PathBuf),
    /// It could not be run.
    #[error("nft {arguments}: cannot run it: {source}")]
    Run {
        /// What it was told.
        arguments: String,
        /// The error of the system call.
        source: io::Error,
    },
    /// It says no.
    #[error("nft {arguments}: {said}")]
    Refused {
        /// What it was told.
        arguments: String,
        /// What it says.
        said: String,
    },
    /// Its answer is not JSON.
    #[error("nft {arguments}: cannot read the answer: {source}")]
    Decode {
        /// What it was told.
        arguments: String,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// A table holds what this library can read, but not write.
    #[error("nft: table {family} {name} cannot be written: {what} is not known here")]
    Unwritable {
        /// `inet`, `ip` …
        family: String,
        /// Name of the table.
        name: String,
        /// What it holds.
        what: String,
    },
}

/// nftables of the calling thread's network namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nft {
    program: PathBuf,
}

impl Default for Nft {
    fn default() -> Self {
        Self::at("nft")
    }
}

impl Nft {
    /// By a program of this name or path; with JSON, hence 0.9.3 or later.
    pub fn at(program: impl Into<PathBuf>) -> Self {
        let program = program.into();
        Self { program }
    }

    /// Reads a table; `None` if there is none of this name.
    pub fn table(&self, family: &str, name: &str) -> Result<Option<NftTable>, NftError> {
        match self.list(&["table", family, name]) {
            Ok(listing) => Ok(Some(NftTable::read(&listing, family, name))),
            Err(NftError::Refused { said, .. }) if said.contains("No such file or directory") => Ok(None),
            Err(NftError::Decode { .. }) if self.flags(family, name)?.is_some() => {
                Ok(Some(NftTable::flagged(family, name)))
            }
            Err(error) => Err(error),
        }
    }

    /// Whether there is a table of this name.
    pub fn has_table(&self, family: &str, name: &str) -> Result<bool, NftError> {
        let listing = self.list(&["tables"])?;
        let is_it = |object: &Value| object["family"] == family && object["name"] == name;
        Ok(objects(&listing).any(|(kind, object)| kind == "table" && is_it(object)))
    }

    /// A table's flags, by the listing for people: nft 1.0 writes into its JSON whatever lies in memory there, if anything.
    fn flags(&self, family: &str, name: &str) -> Result<Option<String>, NftError> {
        let listing = self.run(&["list", "table", family, name], "")?;
        let listing = String::from_utf8_lossy(&listing);
        let second = listing.lines().nth(1).and_then(|line| line.strip_prefix("\tflags "));
        Ok(second.map(str::to_owned))
    }

    /// Reads the base chains of all tables at a hook, with their rules; other chains' rules are not read, which may be many.
    pub fn base_chains(&self, hook: &str) -> Result<Vec<BaseChain>, NftError> {
        let mut chains = BaseChain::read(&self.list(&["chains"])?, hook);
        let mut whole = Vec::with_capacity(chains.len());
        for chain in chains.drain(..) {
            let listing = match self.list(&["chain", &chain.family, &chain.table, &chain.name]) {
                // It went meanwhile.
                Err(NftError::Refused { said, .. }) if said.contains("No such file or directory") => continue,
                other => other?,
            };
            whole.extend(BaseChain::read(&listing, hook));
        }
        Ok(whole)
    }

    /// Reads the rules of a chain; `None` if there is none of this name.
    pub fn rules(&self, family: &str, table: &str, chain: &str) -> Result<Option<Vec<NftRule>>, NftError> {
        match self.list(&["chain", family, table, chain]) {
            Ok(listing) => {
                let mut table = NftTable::read(&listing, family, table);
                Ok(table.chains.remove(chain).map(|chain| chain.rules))
            }
            Err(NftError::Refused { said, .. }) if said.contains("No such file or directory") => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether a table is switched off: nothing in it decides anything.
    pub fn is_dormant(&self, family: &str, name: &str) -> Result<bool, NftError> {
        Ok(self.flags(family, name)?.is_some_and(|flags| flags.contains("dormant")))
    }

    /// Puts a table into the place of any other of its name, in one transaction: no packet meets half of it. Counters begin at 0.
    pub fn replace_table(&self, table: &NftTable) -> Result<(), NftError> {
        let others = table.sets.values().flat_map(|set| &set.others);
        if let Some(what) = table.others.iter().chain(others).next() {
            return Err(NftError::Unwritable {
                family: table.family.clone(),
                name: table.name.clone(),
                what: what.clone(),
            });
        }
        self.run(&["-j", "-f", "-"], &table.to_commands().to_string()).map(drop)
    }

    /// Removes a table, if it is there.
    pub fn delete_table(&self, family: &str, name: &str) -> Result<(), NftError> {
        let commands = transaction(removal(family, name));
        self.run(&["-j", "-f", "-"], &commands.to_string()).map(drop)
    }

    fn list(&self, what: &[&str]) -> Result<Value, NftError> {
        let arguments = [&["-j", "list"], what].concat();
        let answer = self.run(&arguments, "")?;
        serde_json::from_slice(&answer).map_err(|source| NftError::Decode {
            arguments: arguments.join(" "),
            source,
        })
    }

    fn run(&self, arguments: &[&str], input: &str) -> Result<Vec<u8>, NftError> {
        let failed = |source: io::Error| match source.kind() {
            io::ErrorKind::NotFound => NftError::Missing(self.program.clone()),
            _ => NftError::Run {
                arguments: arguments.join(" "),
                source,
            },
        };
        let mut child = Command::new(&self.program)
            .args(arguments)
            // Its messages are looked at.
            .env("LC_ALL", "C")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        // It reads all before it writes; one that ends early says why by itself.
        if let Some(mut stdin) = child.stdin.take() {
            let _ = stdin.write_all(input.as_bytes());
        }
        let output = child.wait_with_output().map_err(failed)?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            // The lines after the first show where in its input, which nobody wrote.
            let first = said.lines().find(|line| !line.trim().is_empty());
            return Err(NftError::Refused {
                arguments: arguments.join(" "),
                said: first.unwrap_or("it gave no reason").trim().to_owned(),
            });
        }
        Ok(output.stdout)
    }
}
