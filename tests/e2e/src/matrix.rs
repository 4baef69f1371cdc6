//! A matrix report as a script would read it: from its JSON, without the plugin's own types.

use crate::lab::said;
use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    process::Output,
};

/// What a run of `matrix -o json` gave.
#[derive(Debug)]
pub struct Matrix {
    /// Exit code.
    pub exit: i32,
    /// Its rows.
    pub rows: Vec<Row>,
    /// The whole report.
    pub report: serde_json::Value,
    /// What it said on stderr.
    pub stderr: String,
}

/// One row of `status.rows`.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Row {
    /// Unique in the run.
    pub id: String,
    /// The same from run to run; rows of one workload's pods share it.
    pub case: String,
    /// From where.
    pub source: Party,
    /// To where.
    pub destination: Party,
    /// `ipv4` or `ipv6`.
    pub family: String,
    /// `tcp`, `dns` or `icmp`.
    pub protocol: String,
    /// Port, where the protocol has one.
    pub port: Option<u16>,
    /// What became of it.
    pub class: String,
    /// What was found, in a line.
    pub reason: String,
    /// What the API says that explains it.
    #[serde(default)]
    pub cause: Option<String>,
    /// Who said no, or who answered instead.
    #[serde(default)]
    pub by: Option<String>,
    /// Id of its finding, if it did not hold.
    #[serde(default)]
    pub finding: Option<String>,
    /// What is wrong on the nodes of its path.
    #[serde(default, rename = "onPath")]
    pub on_path: Vec<String>,
}

impl Row {
    /// Whether its explanation names this.
    pub fn says(&self, word: &str) -> bool {
        [Some(&self.reason), self.cause.as_ref(), self.by.as_ref()]
            .into_iter()
            .flatten()
            .any(|text| text.contains(word))
    }
}

/// One end of a row.
#[derive(Debug, Clone, Deserialize)]
pub struct Party {
    /// `Pod`, `Node`, `Service`, `DNS`.
    pub kind: String,
    /// Its namespace, if it has one.
    #[serde(default)]
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
}

impl Matrix {
    /// Reads a finished run.
    pub fn of(output: &Output) -> Result<Self> {
        let exit = output
            .status
            .code()
            .with_context(|| format!("killed: {}", said(output)))?;
        let report: serde_json::Value =
            serde_json::from_slice(&output.stdout).with_context(|| format!("no report on stdout: {}", said(output)))?;
        let rows = Vec::deserialize(&report["status"]["rows"]).with_context(|| format!("rows of {report:#}"))?;
        Ok(Self {
            exit,
            rows,
            report,
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    /// Rows between two names.
    pub fn between<'a>(&'a self, source: &str, destination: &str) -> Vec<&'a Row> {
        self.rows
            .iter()
            .filter(|row| row.source.name == source && row.destination.name == destination)
            .collect()
    }

    /// Class → how many rows have it.
    pub fn classes(&self) -> BTreeMap<&str, usize> {
        let mut classes = BTreeMap::new();
        for row in &self.rows {
            *classes.entry(row.class.as_str()).or_default() += 1;
        }
        classes
    }

    /// The run's rows without what differs between any two runs, to compare two ways or two runs.
    pub fn verdicts(&self) -> BTreeMap<&str, &str> {
        self.rows
            .iter()
            .map(|row| (row.id.as_str(), row.class.as_str()))
            .collect()
    }

    /// What was asked, with its class, by the names that stay from run to run.
    pub fn cases(&self) -> BTreeSet<(&str, &str)> {
        self.rows
            .iter()
            .map(|row| (row.case.as_str(), row.class.as_str()))
            .collect()
    }

    /// Fails unless every row between two names, in both families, is of this class; gives them.
    pub fn expect<'a>(&'a self, source: &str, destination: &str, class: &str) -> Result<Vec<&'a Row>> {
        let rows = self.between(source, destination);
        ensure!(
            !rows.is_empty(),
            "no row from {source} to {destination} in {:#}",
            self.report
        );
        for row in &rows {
            ensure!(
                row.class == class,
                "{source} → {destination} should be {class}: {row:#?}"
            );
        }
        Ok(rows)
    }

    /// Fails unless every row but those that `excepted` picks was reached.
    pub fn others_reached(&self, excepted: impl Fn(&Row) -> bool) -> Result<()> {
        let wrong: Vec<_> = self
            .rows
            .iter()
            .filter(|row| !excepted(row) && row.class != "reached")
            .collect();
        ensure!(
            wrong.is_empty(),
            "{} rows that have nothing to do with the fault: {wrong:#?}",
            wrong.len()
        );
        Ok(())
    }

    /// Fails unless the exit code is this one.
    pub fn expect_exit(&self, code: i32) -> Result<()> {
        ensure!(
            self.exit == code,
            "exit code {} instead of {code}; classes {:?}; stderr: {}",
            self.exit,
            self.classes(),
            self.stderr
        );
        Ok(())
    }
}
