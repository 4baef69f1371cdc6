//! Progress of long work: a bar on a terminal, one line per phase elsewhere.

use std::{
    sync::{
        Arc,
        mpsc::{self, RecvTimeoutError},
    },
    thread,
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::{Printer, safe};

/// Work that ends sooner shows no bar, so that nothing flickers.
const BAR_AFTER: Duration = Duration::from_millis(200);
/// Without a terminal, a phase that lasts longer says that it is still at it, this often.
const SIGN_OF_LIFE_EVERY: Duration = Duration::from_secs(10);

/// One phase of a run. Dropped without [`Phase::finish`], it vanishes.
#[derive(Debug)]
pub struct Phase {
    name: String,
    bar: Arc<ProgressBar>,
    printer: Printer,
    began: Instant,
    /// Closed when the phase ends, which ends its thread.
    _ends: mpsc::Sender<()>,
}

impl Phase {
    pub(super) fn begin(printer: &Printer, name: &str) -> Self {
        let name = safe(name);
        let bar = Arc::new(printer.add_bar());
        bar.set_message(name.clone());
        let (ends, ended) = mpsc::channel();
        if printer.draws_bars() {
            spawn(show_bar_later(Arc::clone(&bar), ended));
        } else if printer.speaks() {
            spawn(show_signs_of_life(
                Arc::clone(&bar),
                printer.clone(),
                name.clone(),
                ended,
            ));
        }
        Self {
            name,
            bar,
            printer: printer.clone(),
            began: Instant::now(),
            _ends: ends,
        }
    }

    /// How much is done of how much; a total of 0 means unknown.
    pub fn set(&self, done: usize, total: usize) {
        if total > 0 && self.bar.length() != Some(total as u64) {
            self.bar.set_style(counted());
            self.bar.set_length(total as u64);
        }
        self.bar.set_position(done as u64);
    }

    /// What to show beside the phase's name while it lasts; where there is no bar, with each sign of life.
    pub fn say(&self, news: impl AsRef<str>) {
        self.bar.set_message(format!("{}: {}", self.name, safe(news.as_ref())));
    }

    /// Ends the phase with one line of result: `starting agents: 3 of 3 in 1.8 s`.
    pub fn finish(self, result: impl AsRef<str>) {
        self.bar.finish_and_clear();
        let seconds = self.began.elapsed().as_secs_f32();
        self.printer
            .note(format!("{}: {} ({seconds:.1} s)", self.name, safe(result.as_ref())));
    }
}

impl Drop for Phase {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// A phase works without its thread; only the display suffers.
fn spawn(work: impl FnOnce() + Send + 'static) {
    if let Err(error) = thread::Builder::new().name("progress".into()).spawn(work) {
        tracing::debug!(%error, "no thread for progress");
    }
}

fn show_bar_later(bar: Arc<ProgressBar>, ended: mpsc::Receiver<()>) -> impl FnOnce() {
    move || {
        if ended.recv_timeout(BAR_AFTER) == Err(RecvTimeoutError::Timeout) && !bar.is_finished() {
            bar.set_draw_target(ProgressDrawTarget::stderr());
            bar.enable_steady_tick(Duration::from_millis(100));
        }
    }
}

fn show_signs_of_life(
    bar: Arc<ProgressBar>,
    printer: Printer,
    name: String,
    ended: mpsc::Receiver<()>,
) -> impl FnOnce() {
    move || {
        while ended.recv_timeout(SIGN_OF_LIFE_EVERY) == Err(RecvTimeoutError::Timeout) {
            match bar.length() {
                Some(total) if total > 0 => printer.note(format!("{name}: {} of {total} …", bar.position())),
                _ => printer.note(format!("{name} …")),
            }
        }
    }
}

pub(super) fn spinner() -> ProgressStyle {
    ProgressStyle::with_template("{spinner} {msg} {elapsed}").unwrap_or_else(|_| ProgressStyle::default_spinner())
}

fn counted() -> ProgressStyle {
    ProgressStyle::with_template("{spinner} {msg} {bar:30} {pos}/{len} {elapsed}")
        .unwrap_or_else(|_| ProgressStyle::default_bar())
}
