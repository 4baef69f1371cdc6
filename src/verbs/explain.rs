//! `explain`: what a finding means.

use std::fmt::Write as _;

use clap::Args;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    exit::{Exit, Failure},
    findings::{self, Effect, Page, Severity},
    flags::OutputFlags,
    output::{Format, Printer, Table, document, lines, safe},
    suggest::closest,
    verbs::API_VERSION,
};

/// Arguments of `explain`.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  # All findings that netcheck can report
  kubectl netcheck explain

  # One of them, with the commands to look yourself
  kubectl netcheck explain matrix-reply-lost")]
pub struct ExplainArgs {
    /// Id of the finding; without it, all are listed
    #[arg(value_name = "ID", add = clap_complete::ArgValueCandidates::new(candidates))]
    id: Option<String>,
}

/// What `explain -o json` prints.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FindingList {
    /// `netcheck.dev/v1alpha1`.
    pub api_version: String,
    /// `FindingList`.
    pub kind: String,
    /// One entry per finding.
    pub items: Vec<FindingPage>,
}

/// One finding's page.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FindingPage {
    /// Its stable id.
    pub id: String,
    /// How bad it is.
    pub severity: Severity,
    /// What it says, in a few words.
    pub title: String,
    /// What was observed when it is reported, and so what is proven.
    pub proves: String,
    /// What a healthy network does instead.
    pub expected: String,
    /// Why it breaks traffic.
    pub breaks: String,
    /// What faults that are found by it did to traffic where they were tried; empty if none was.
    #[serde(default)]
    pub tried: Vec<Tried>,
    /// How to look yourself.
    pub look: Vec<Step>,
    /// What mends it, likeliest first.
    pub fix: Vec<String>,
}

/// An effect of faults that were tried.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Tried {
    /// In a word.
    pub effect: Effect,
    /// How many faults had it.
    pub faults: u32,
}

/// One step of looking yourself.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Step {
    /// What it shows.
    pub shows: String,
    /// The command; words in capitals are to be replaced.
    pub command: String,
}

fn candidates() -> Vec<clap_complete::CompletionCandidate> {
    findings::all()
        .map(|page| clap_complete::CompletionCandidate::new(page.id).help(Some(page.title.into())))
        .collect()
}

/// Prints one page or the list.
///
/// # Errors
/// If there is no such finding.
pub fn run(args: &ExplainArgs, output: &OutputFlags, printer: &Printer) -> Result<Exit, Failure> {
    let pages: Vec<&Page> = match args.id.as_deref() {
        Some(id) => vec![findings::page(id).ok_or_else(|| unknown(id))?],
        None => findings::all().collect(),
    };
    let list = FindingList {
        api_version: API_VERSION.into(),
        kind: "FindingList".into(),
        items: pages.iter().map(|page| FindingPage::from(*page)).collect(),
    };
    let text = match (document(output.format, &list)?, output.format) {
        (Some(text), _) => text,
        (None, Format::Name) => lines(pages.iter().map(|page| page.id)),
        (None, _) if args.id.is_some() => pages
            .iter()
            .map(|page| prose(page, printer.width()))
            .collect::<String>(),
        (None, _) => pages
            .iter()
            .fold(Table::new(["ID", "SEVERITY", "SAYS"]), |table, page| {
                table.row([page.id, page.severity.word(), page.title])
            })
            .render_on(printer),
    };
    printer.data(&text)?;
    Ok(Exit::Held)
}

fn unknown(id: &str) -> Failure {
    let failure = Failure::usage(format!("there is no finding {:?}", safe(id)));
    match closest(id, findings::all().map(|page| page.id)) {
        Some(near) => failure.hint(format!("did you mean {near}?")),
        None => failure.hint("kubectl netcheck explain lists all findings"),
    }
}

/// A page as text, wrapped to the terminal.
fn prose(page: &Page, width: usize) -> String {
    let width = width.clamp(40, 100);
    let mut text = format!("{}: {}\n", page.id, page.title);
    for (head, body) in [
        ("PROVEN", page.proves),
        ("EXPECTED", page.expected),
        ("WHY IT BREAKS TRAFFIC", page.breaks),
    ] {
        // Writing to a String cannot fail.
        let _ = write!(text, "\n{head}\n{}", wrapped(body, width));
    }
    let tried: Vec<(Effect, u32)> = findings::tried(page.id).collect();
    if !tried.is_empty() {
        text.push_str("\nWHERE IT WAS TRIED\n");
        for (effect, faults) in tried {
            let faults = match faults {
                1 => "1 fault".to_owned(),
                more => format!("{more} faults"),
            };
            text.push_str(&wrapped(&format!("- {faults}: {}", effect.words()), width));
        }
    }
    text.push_str("\nLOOK YOURSELF\n");
    for (shows, command) in page.look {
        let _ = writeln!(text, "{}      {command}", wrapped(&format!("{shows}:"), width));
    }
    text.push_str("\nFIX\n");
    for fix in page.fix {
        text.push_str(&wrapped(&format!("- {fix}"), width));
    }
    text
}

/// Words filled into lines, indented by two.
fn wrapped(text: &str, width: usize) -> String {
    let mut out = String::new();
    let mut line = String::from(" ");
    for word in text.split_whitespace() {
        if line.len() + 1 + word.len() > width && line.trim() != "" {
            out.push_str(&line);
            out.push('\n');
            line = String::from(" ");
        }
        line.push(' ');
        line.push_str(word);
    }
    out + &line + "\n"
}

impl From<&Page> for FindingPage {
    fn from(page: &Page) -> Self {
        Self {
            id: page.id.into(),
            severity: page.severity,
            title: page.title.into(),
            proves: page.proves.into(),
            expected: page.expected.into(),
            breaks: page.breaks.into(),
            tried: findings::tried(page.id)
                .map(|(effect, faults)| Tried { effect, faults })
                .collect(),
            look: page
                .look
                .iter()
                .map(|(shows, command)| Step {
                    shows: (*shows).into(),
                    command: (*command).into(),
                })
                .collect(),
            fix: page.fix.iter().map(|fix| (*fix).into()).collect(),
        }
    }
}
