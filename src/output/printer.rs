//! The one place that writes to stdout and stderr.

use std::{
    env,
    io::{self, IsTerminal as _, Write as _},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use indicatif::{ProgressBar, ProgressDrawTarget};
use rustix::termios::tcgetwinsize;

use super::{
    ColourChoice, Phase, Tone,
    colour::{ColourEnvironment, is_coloured},
    progress, raw,
};
use crate::exit::Failure;

/// Columns where stdout has none of its own.
const WIDTH_ELSEWHERE: usize = 100;

/// Writes data to stdout and everything else to stderr. Cheap to clone; clones share their state.
#[derive(Debug, Clone)]
pub struct Printer {
    shared: Arc<State>,
}

#[derive(Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent answers to independent questions"
)]
struct State {
    quiet: bool,
    colours_out: bool,
    colours_err: bool,
    draws_bars: bool,
    /// The reader of stdout has left (`| head`): from then on data goes nowhere, and that is no error.
    reader_left: AtomicBool,
    /// The bar that is on the screen, to be suspended while a line is written.
    bar: std::sync::Mutex<Option<ProgressBar>>,
}

impl Printer {
    /// A printer as the user's flags and environment ask for. `logs` go to stderr too and would tear bars apart.
    pub fn new(colour: ColourChoice, quiet: bool, logs: bool) -> Self {
        let environment = ColourEnvironment::read();
        let err_is_terminal = io::stderr().is_terminal();
        let is_dumb = env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self {
            shared: Arc::new(State {
                quiet,
                colours_out: is_coloured(colour, &environment, io::stdout().is_terminal()),
                colours_err: is_coloured(colour, &environment, err_is_terminal),
                draws_bars: err_is_terminal && !quiet && !logs && !is_dumb && env::var_os("CI").is_none(),
                reader_left: AtomicBool::new(false),
                bar: std::sync::Mutex::default(),
            }),
        }
    }

    /// A printer without colour, bars and notes, for tests and background work.
    pub fn silent() -> Self {
        Self {
            shared: Arc::new(State {
                quiet: true,
                colours_out: false,
                colours_err: false,
                draws_bars: false,
                reader_left: AtomicBool::new(false),
                bar: std::sync::Mutex::default(),
            }),
        }
    }

    /// Data, exactly as given, to stdout. A reader that has left is no error.
    ///
    /// # Errors
    /// If stdout cannot be written for another reason, e.g. a full disk.
    pub fn data(&self, text: &str) -> Result<(), Failure> {
        if self.shared.reader_left.load(Ordering::Relaxed) {
            return Ok(());
        }
        let written = self.without_bar(|| {
            let mut stdout = io::stdout().lock();
            stdout.write_all(text.as_bytes())?;
            stdout.flush()
        });
        match written {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.shared.reader_left.store(true, Ordering::Relaxed);
                Ok(())
            }
            other => other.map_err(|error| Failure::unknown(format!("cannot write to stdout: {error}"))),
        }
    }

    /// Whether the reader of stdout has left (`| head`): nobody wants more data.
    pub fn reader_has_left(&self) -> bool {
        self.shared.reader_left.load(Ordering::Relaxed)
    }

    /// A line for the user on stderr, unless `--quiet`.
    pub fn note(&self, line: impl AsRef<str>) {
        if !self.shared.quiet {
            self.line(line.as_ref());
        }
    }

    /// A line the user should act upon, also with `--quiet`.
    pub fn warn(&self, line: impl AsRef<str>) {
        self.line(&format!(
            "{} {}",
            self.paint_err(Tone::Doubtful, "warning:"),
            line.as_ref()
        ));
    }

    /// Why the run ended, and what to do about it.
    pub fn failure(&self, failure: &Failure) {
        self.line(&format!("{} {}", self.paint_err(Tone::Bad, "error:"), failure.message));
        if let Some(hint) = &failure.hint {
            self.hint(hint);
        }
    }

    /// What to do about what was just said.
    pub fn hint(&self, hint: &str) {
        self.line(&format!("{} {hint}", self.paint_err(Tone::Quiet, "hint:")));
    }

    /// Begins a phase of long work.
    pub fn phase(&self, name: &str) -> Phase {
        Phase::begin(self, name)
    }

    /// Columns of stdout: `COLUMNS` if set, else the terminal's, else 100.
    pub fn width(&self) -> usize {
        let asked = env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
        let of_terminal = || tcgetwinsize(io::stdout()).ok().map(|size| usize::from(size.ws_col));
        asked
            .or_else(of_terminal)
            .filter(|columns| *columns > 0)
            .unwrap_or(WIDTH_ELSEWHERE)
    }

    /// A word for stdout, coloured if stdout is.
    pub fn paint(&self, tone: Tone, word: &str) -> String {
        if self.shared.colours_out {
            tone.paint(word)
        } else {
            word.to_owned()
        }
    }

    /// Whether the user looks on: stderr is a terminal that shows progress as it comes.
    pub fn draws_bars(&self) -> bool {
        self.shared.draws_bars
    }

    pub(super) fn speaks(&self) -> bool {
        !self.shared.quiet
    }

    pub(super) fn add_bar(&self) -> ProgressBar {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden()).with_style(progress::spinner());
        if let Ok(mut current) = self.shared.bar.lock() {
            *current = Some(bar.clone());
        }
        bar
    }

    fn paint_err(&self, tone: Tone, word: &str) -> String {
        if self.shared.colours_err {
            tone.paint(word)
        } else {
            word.to_owned()
        }
    }

    fn line(&self, line: &str) {
        self.without_bar(|| {
            // A closed stderr leaves nobody to tell.
            let _ = write!(io::stderr().lock(), "{line}{}", raw::line_end());
        });
    }

    fn without_bar<T>(&self, write: impl FnOnce() -> T) -> T {
        let bar = self.shared.bar.lock().ok().and_then(|bar| bar.clone());
        match bar {
            Some(bar) if !bar.is_finished() && !bar.is_hidden() => bar.suspend(write),
            _ => write(),
        }
    }
}
