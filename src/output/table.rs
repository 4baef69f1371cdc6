//! Tables as kubectl prints them: no borders, upper-case heads, three spaces between columns.

use unicode_width::UnicodeWidthStr as _;

use super::{Printer, Tone, safe};

/// Spaces between columns, as in kubectl's tabwriter.
const PADDING: usize = 3;

/// One cell: text, made [`safe`], and how it is painted where colour is allowed.
#[derive(Debug, Clone)]
pub struct Cell {
    text: String,
    tone: Option<Tone>,
}

impl Cell {
    /// A painted cell.
    pub fn toned(tone: Tone, text: impl AsRef<str>) -> Self {
        Self {
            text: safe(text.as_ref()),
            tone: Some(tone),
        }
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self {
            text: safe(text),
            tone: None,
        }
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self::from(text.as_str())
    }
}

impl From<&String> for Cell {
    fn from(text: &String) -> Self {
        Self::from(text.as_str())
    }
}

/// A table under construction.
#[derive(Debug, Clone, Default)]
pub struct Table {
    rows: Vec<Vec<Cell>>,
}

impl Table {
    /// A table with these heads.
    pub fn new<I>(heads: I) -> Self
    where
        I: IntoIterator,
        I::Item: Into<Cell>,
    {
        Self::default().row(heads)
    }

    /// Adds a row. Empty cells appear as `<none>`, as in kubectl.
    #[must_use]
    pub fn row<I>(mut self, cells: I) -> Self
    where
        I: IntoIterator,
        I::Item: Into<Cell>,
    {
        self.push(cells);
        self
    }

    /// Adds a row in place.
    pub fn push<I>(&mut self, cells: I)
    where
        I: IntoIterator,
        I::Item: Into<Cell>,
    {
        let cells = cells
            .into_iter()
            .map(Into::into)
            .map(|cell: Cell| match cell.text.as_str() {
                "" => Cell {
                    text: "<none>".into(),
                    ..cell
                },
                _ => cell,
            });
        self.rows.push(cells.collect());
    }

    /// The table without colour, each line ended by a line break.
    pub fn render(&self) -> String {
        self.render_with(|_, text| text.to_owned())
    }

    /// The table with the colours that the printer's stdout allows.
    pub fn render_on(&self, printer: &Printer) -> String {
        self.render_with(|tone, text| printer.paint(tone, text))
    }

    /// The same where there may be no printer.
    pub fn render_for(&self, printer: Option<&Printer>) -> String {
        printer.map_or_else(|| self.render(), |printer| self.render_on(printer))
    }

    fn render_with(&self, paint: impl Fn(Tone, &str) -> String) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let widths: Vec<usize> = (0..columns)
            .map(|column| {
                self.rows
                    .iter()
                    .filter_map(|row| row.get(column))
                    .map(|cell| cell.text.width())
                    .max()
                    .unwrap_or(0)
            })
            .collect();
        let mut out = String::new();
        for row in &self.rows {
            for (column, cell) in row.iter().enumerate() {
                match cell.tone {
                    Some(tone) => out.push_str(&paint(tone, &cell.text)),
                    None => out.push_str(&cell.text),
                }
                if column + 1 < row.len() {
                    out.extend(std::iter::repeat_n(' ', widths[column] - cell.text.width() + PADDING));
                }
            }
            out.push('\n');
        }
        out
    }
}

/// What of a text fits a table that is to fit a screen, of so many characters; `-o wide` has all.
pub fn shortened(text: &str, characters: usize) -> String {
    let text = safe(text);
    match text.char_indices().nth(characters) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_told_to_be_cut() {
        assert_eq!(shortened("äöü", 3), "äöü");
        assert_eq!(shortened("äöüß", 3), "äöü…");
        assert_eq!(shortened("\u{1b}[2J", 20), safe("\u{1b}[2J"));
    }

    #[test]
    fn it_looks_like_kubectl() {
        let table = Table::new(["NAME", "READY", "AGE"])
            .row(["web-7d9c", "1/1", "5d"])
            .row(["db", "", "12m"]);
        assert_eq!(
            table.render(),
            "NAME       READY    AGE\nweb-7d9c   1/1      5d\ndb         <none>   12m\n"
        );
    }

    #[test]
    fn colour_and_wide_characters_do_not_shift_columns() {
        let table = Table::new(["名前", "OK"]).row([Cell::toned(Tone::Bad, "x"), Cell::from("y")]);
        let painted = table.render_with(|_, text| format!("\x1b[31m{text}\x1b[0m"));
        assert_eq!(painted, "名前   OK\n\x1b[31mx\x1b[0m      y\n");
    }

    #[test]
    fn a_hostile_cell_stays_in_its_line() {
        assert_eq!(Table::new(["A"]).row(["x\n\x1b[2J"]).render().lines().count(), 2);
    }
}
