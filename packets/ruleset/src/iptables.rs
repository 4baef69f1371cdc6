//! What `iptables-save` and its like print, of either flavour.

mod matches;
mod targets;

use crate::ipset::Sets;
use crate::model::{Base, Family, Flavour, Hook, Rule, Step, Table, Text};

/// Reads all tables. Lines that are not understood are comments of the program, or become rules that are not understood.
pub(crate) fn tables(family: Family, flavour: Flavour, text: &str, sets: &Sets) -> Vec<Table> {
    let mut tables: Vec<Table> = Vec::new();
    for line in text.lines() {
        let line = line.trim();
        if let Some(name) = line.strip_prefix('*') {
            tables.push(Table::new(family, name.trim(), flavour));
            continue;
        }
        let Some(table) = tables.last_mut() else { continue };
        if let Some(chain) = line.strip_prefix(':') {
            declare(table, chain);
        } else if !line.starts_with('#') && line.contains("-A ") {
            append(table, line, sets);
        }
    }
    tables
}

/// `NAME POLICY [packets:bytes]`
fn declare(table: &mut Table, text: &str) {
    let mut words = text.split(' ');
    let (Some(name), policy) = (words.next(), words.next()) else {
        return;
    };
    // A chain of a user has no policy.
    let base = match policy {
        Some("-") | None => None,
        Some(policy) => base(&table.name, name, policy == "DROP"),
    };
    table.chain(name).base = base;
}

/// Priorities of the tables (linux/netfilter_ipv4.h).
fn base(table: &str, chain: &str, drops: bool) -> Option<Base> {
    let hook = Hook::named(chain)?;
    let is_source = matches!(hook, Hook::Postrouting | Hook::Input);
    let priority = match table {
        "raw" => -300,
        "mangle" => -150,
        "nat" if is_source => 100,
        "nat" => -100,
        "filter" => 0,
        "security" => 50,
        _ => return None,
    };
    Some(Base {
        hook,
        priority,
        is_nat: table == "nat",
        drops,
    })
}

fn append(table: &mut Table, line: &str, sets: &Sets) {
    // `[packets:bytes] -A …` with counters.
    let start = line.find("-A ").unwrap_or_default();
    let line = &line[start..];
    let words = words(line);
    let Some(chain) = words.get(1) else { return };
    let mut reader = Reader {
        words: &words,
        at: 2,
        is_v6: table.family == Family::Ip6,
        sets,
    };
    let mut steps = Vec::new();
    while reader.at < words.len() {
        match reader.word() {
            "-j" | "--jump" => {
                reader.at += 1;
                targets::read(&mut reader, false, &mut steps);
                break;
            }
            "-g" | "--goto" => {
                reader.at += 1;
                targets::read(&mut reader, true, &mut steps);
                break;
            }
            _ => steps.push(Step::If(matches::read(&mut reader))),
        }
    }
    let rule = Rule {
        text: Text::Line(line.into()),
        steps,
    };
    table.chain(chain).rules.push(rule);
}

/// Words of a rule on their way.
struct Reader<'a> {
    words: &'a [String],
    at: usize,
    is_v6: bool,
    sets: &'a Sets,
}

impl<'a> Reader<'a> {
    fn word(&self) -> &'a str {
        self.words.get(self.at).map_or("", String::as_str)
    }

    fn take(&mut self) -> &'a str {
        let word = self.word();
        self.at += 1;
        word
    }

    /// Whether a match or a target begins here, or the rule ends.
    fn is_at_end(&self) -> bool {
        self.at >= self.words.len() || ["-m", "-j", "-g"].contains(&self.word())
    }

    /// All words up to the next match or target.
    fn rest(&mut self) -> String {
        let from = self.at;
        while !self.is_at_end() {
            self.at += 1;
        }
        self.words[from.min(self.words.len())..self.at.min(self.words.len())].join(" ")
    }
}

/// Splits as iptables-restore does: words in quotes are one, `\` takes the next character as it is.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let (mut is_quoted, mut is_begun) = (false, false);
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => word.extend(characters.next()),
            '"' => {
                is_quoted = !is_quoted;
                is_begun = true;
            }
            ' ' | '\t' if !is_quoted => {
                if is_begun || !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
                is_begun = false;
            }
            other => word.push(other),
        }
    }
    if is_begun || !word.is_empty() {
        words.push(word);
    }
    words
}
