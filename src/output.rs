//! Everything the user sees goes through here: data to stdout, all else to stderr.

mod colour;
mod document;
pub mod file;
mod format;
mod interrupt;
pub mod junit;
mod objects;
mod printer;
mod progress;
pub mod put_back;
mod raw;
mod table;

pub use colour::{ColourChoice, Tone};
pub use document::{document, lines, yaml};
pub use format::Format;
pub use interrupt::Interrupt;
pub use netcheck_decode::safe;
pub use objects::{Explained, objects};
pub use printer::Printer;
pub use progress::Phase;
pub use raw::RawMode;
pub use table::{Cell, Table, shortened};
