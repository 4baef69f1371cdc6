//! How a report is laid out for people: how wide, and with which colours.

use super::class::{Class, Meaning};
use crate::output::{Cell, Printer, Table, Tone};

/// Width and colours of a text report.
#[derive(Clone, Copy)]
pub struct Style<'a> {
    /// Columns of the terminal.
    pub width: usize,
    /// The printer that knows whether colour is allowed; plain text without one.
    pub printer: Option<&'a Printer>,
}

impl Style<'_> {
    /// A table's text.
    pub fn table(&self, table: &Table) -> String {
        self.printer
            .map_or_else(|| table.render(), |printer| table.render_on(printer))
    }

    /// A word in the colour of its class.
    pub fn word(&self, class: Class, word: &str) -> String {
        self.printer
            .map_or_else(|| word.to_owned(), |printer| printer.paint(tone(class), word))
    }

    /// Whether a table's lines fit.
    pub fn fits(&self, table: &Table) -> bool {
        table.render().lines().all(|line| line.chars().count() <= self.width)
    }
}

/// A cell in the colour of its class.
pub fn cell(class: Class, text: impl AsRef<str>) -> Cell {
    Cell::toned(tone(class), text)
}

fn tone(class: Class) -> Tone {
    match class.meaning() {
        Meaning::Held => Tone::Good,
        Meaning::Inconclusive => Tone::Doubtful,
        Meaning::Failed => Tone::Bad,
    }
}
