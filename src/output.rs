//! Everything the user sees goes through here: data to stdout, all else to stderr.

mod colour;
mod document;
mod format;
mod interrupt;
mod objects;
mod printer;
mod progress;
mod table;

pub use colour::{ColourChoice, Tone};
pub use document::{document, lines, yaml};
pub use format::Format;
pub use interrupt::Interrupt;
pub use netcheck_decode::safe;
pub use objects::{Explained, objects};
pub use printer::Printer;
pub use progress::Phase;
pub use table::{Cell, Table};
