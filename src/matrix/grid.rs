//! The grid: sources down, destinations across, in each cell the worst of what was found between the two.
//!
//! It fits the terminal: words in the cells if they fit, else letters under numbered columns with a key, in as many blocks as needed, else
//! no grid but a list of pairs that did not hold.

use super::{
    class::Class,
    naming::exact,
    report::{Party, Row},
    style::{Style, cell},
};
use crate::output::{Cell, Table};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

/// More sources or blocks of columns than this are not read as a grid by anybody.
const MOST_ROWS: usize = 60;
/// See [`MOST_ROWS`].
const MOST_BLOCKS: usize = 4;
/// Pairs named at most where no grid fits.
const MOST_LISTED: usize = 30;

/// What was found between one source and one destination.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Between {
    worst: Option<Class>,
    rows: usize,
    worst_rows: usize,
}

impl Between {
    fn add(&mut self, class: Class) {
        self.rows += 1;
        if self.worst.is_none_or(|worst| class > worst) {
            self.worst = Some(class);
            self.worst_rows = 0;
        }
        self.worst_rows += usize::from(self.worst == Some(class));
    }
}

/// The grid's content.
struct Grid {
    sources: Vec<String>,
    destinations: Vec<String>,
    cells: BTreeMap<(String, String), Between>,
}

/// The grid of a report's rows. `exactly` shows pods instead of their workloads.
pub fn render(rows: &[Row], exactly: bool, style: Style<'_>) -> String {
    let grid = Grid::new(rows, exactly);
    grid.in_words(style)
        .or_else(|| grid.in_letters(style))
        .unwrap_or_else(|| grid.as_list(style))
}

impl Grid {
    fn new(rows: &[Row], exactly: bool) -> Self {
        let parties = || rows.iter().flat_map(|row| [&row.source, &row.destination]);
        let namespaces: BTreeSet<&str> = parties()
            .filter(|party| party.kind != "DNS")
            .filter_map(|party| party.namespace.as_deref())
            .collect();
        let only = if namespaces.len() == 1 {
            namespaces.first().copied()
        } else {
            None
        };
        let mut cells: BTreeMap<(String, String), Between> = BTreeMap::new();
        let mut sources = BTreeSet::new();
        let mut destinations = BTreeSet::new();
        for row in rows {
            let key = (
                label(&row.source, exactly, only),
                label(&row.destination, exactly, only),
            );
            sources.insert((row.source.rank(), key.0.clone()));
            destinations.insert((row.destination.rank(), key.1.clone()));
            cells.entry(key).or_default().add(row.class);
        }
        let names = |ranked: BTreeSet<(u8, String)>| ranked.into_iter().map(|(_, name)| name).collect();
        Self {
            sources: names(sources),
            destinations: names(destinations),
            cells,
        }
    }

    fn between(&self, source: &str, destination: &str) -> Between {
        self.cells
            .get(&(source.to_owned(), destination.to_owned()))
            .copied()
            .unwrap_or_default()
    }

    fn in_words(&self, style: Style<'_>) -> Option<String> {
        let mut table = Table::new(std::iter::once("FROM \\ TO").chain(self.destinations.iter().map(String::as_str)));
        for source in &self.sources {
            let cells = self.destinations.iter().map(|destination| {
                let between = self.between(source, destination);
                match between.worst {
                    None => Cell::from("-"),
                    Some(class) if between.worst_rows == between.rows => cell(class, class.word()),
                    Some(class) => cell(
                        class,
                        format!("{} {}/{}", class.word(), between.worst_rows, between.rows),
                    ),
                }
            });
            table.push(std::iter::once(Cell::from(source)).chain(cells));
        }
        (self.sources.len() <= MOST_ROWS && style.fits(&table)).then(|| style.table(&table))
    }

    fn in_letters(&self, style: Style<'_>) -> Option<String> {
        let name_width = self
            .sources
            .iter()
            .map(|name| name.chars().count())
            .max()
            .unwrap_or(0)
            .max("FROM \\ TO".len());
        let digits = self.destinations.len().to_string().len();
        let in_block = style.width.saturating_sub(name_width) / (3 + digits);
        if in_block == 0 || self.sources.len() > MOST_ROWS || self.destinations.len().div_ceil(in_block) > MOST_BLOCKS {
            return None;
        }
        let mut out = String::new();
        let numbered: Vec<(usize, &String)> = self
            .destinations
            .iter()
            .enumerate()
            .map(|(index, name)| (index + 1, name))
            .collect();
        for block in numbered.chunks(in_block) {
            let numbers = block.iter().map(|(number, _)| number.to_string());
            let mut table = Table::new(std::iter::once("FROM \\ TO".to_owned()).chain(numbers));
            for source in &self.sources {
                let letters = block
                    .iter()
                    .map(|(_, destination)| match self.between(source, destination).worst {
                        None => Cell::from("-"),
                        Some(class) => cell(class, class.letter().to_string()),
                    });
                table.push(std::iter::once(Cell::from(source)).chain(letters));
            }
            out.push_str(&style.table(&table));
            out.push('\n');
        }
        out.push_str(&key(&numbered, style.width));
        let shown: BTreeSet<Class> = self.cells.values().filter_map(|between| between.worst).collect();
        for class in shown {
            let letter = style.word(class, &class.letter().to_string());
            // Writing to a String cannot fail.
            let _ = writeln!(out, "{letter}  {}", class.title());
        }
        Some(out)
    }

    fn as_list(&self, style: Style<'_>) -> String {
        let mut bad: Vec<_> = self
            .cells
            .iter()
            .filter_map(|(key, between)| Some((between.worst?, key, between)))
            .collect();
        bad.retain(|(class, ..)| *class != Class::Reached);
        bad.sort_by_key(|(class, key, _)| (std::cmp::Reverse(*class), *key));
        let held = self.cells.len() - bad.len();
        if bad.is_empty() {
            return format!(
                "all {held} pairs: {}\n",
                style.word(Class::Reached, Class::Reached.word())
            );
        }
        let mut table = Table::new(["FROM", "TO", "RESULT"]);
        for (class, (source, destination), between) in bad.iter().take(MOST_LISTED) {
            let result = if between.worst_rows == between.rows {
                class.word().to_owned()
            } else {
                format!("{} {}/{}", class.word(), between.worst_rows, between.rows)
            };
            table.push([Cell::from(source), Cell::from(destination), cell(*class, result)]);
        }
        let mut out = style.table(&table);
        let more = bad.len().saturating_sub(MOST_LISTED);
        if more > 0 {
            let _ = writeln!(out, "and {more} more pairs that did not hold (-o wide lists all)");
        }
        let _ = writeln!(
            out,
            "{held} other pairs: {}",
            style.word(Class::Reached, Class::Reached.word())
        );
        out
    }
}

fn label(party: &Party, exactly: bool, only_namespace: Option<&str>) -> String {
    let full = match (&party.namespace, &party.workload) {
        (Some(namespace), Some(workload)) if !exactly => {
            let name = workload.split_once('/').map_or(workload.as_str(), |(_, name)| name);
            format!("{namespace}/{name}")
        }
        _ => exact(party),
    };
    match only_namespace {
        _ if party.kind == "DNS" => "dns".into(),
        Some(namespace) => full
            .strip_prefix(namespace)
            .and_then(|rest| rest.strip_prefix('/'))
            .unwrap_or(&full)
            .to_owned(),
        None => full,
    }
}

/// Numbers and names of columns, as many on a line as fit.
fn key(numbered: &[(usize, &String)], width: usize) -> String {
    let mut out = String::new();
    let mut line = String::new();
    for (number, name) in numbered {
        let entry = format!("{number} {name}");
        if !line.is_empty() && line.chars().count() + 3 + entry.chars().count() > width {
            out.push_str(&line);
            out.push('\n');
            line.clear();
        }
        if !line.is_empty() {
            line.push_str("   ");
        }
        line.push_str(&entry);
    }
    if !line.is_empty() {
        out.push_str(&line);
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests;
