//! The user's terminal in raw mode, and back, whatever way the program ends (but for a kill -9, against which nothing helps from inside).

use std::{
    io,
    sync::{
        Mutex, Once, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};

/// The settings to go back to, while the terminal is in raw mode. One for the process, as its terminal is.
static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);
static IS_RAW: AtomicBool = AtomicBool::new(false);
static HOOK: Once = Once::new();

/// Raw mode of the terminal on stdin, for as long as this lives: what is typed goes through untouched, Ctrl-C too.
#[derive(Debug)]
pub struct RawMode(());

impl RawMode {
    /// Keeps the settings and changes them.
    ///
    /// # Errors
    /// If stdin is no terminal (any more).
    pub fn enter() -> io::Result<Self> {
        HOOK.call_once(|| {
            let previous = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |panic| {
                restore();
                previous(panic);
            }));
        });
        let settings = tcgetattr(io::stdin())?;
        let mut raw = settings.clone();
        raw.make_raw();
        *BEFORE.lock().unwrap_or_else(PoisonError::into_inner) = Some(settings);
        IS_RAW.store(true, Ordering::Relaxed);
        let mode = Self(());
        tcsetattr(io::stdin(), OptionalActions::Now, &raw)?;
        Ok(mode)
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        restore();
    }
}

/// Goes back to the settings before raw mode, if it is on.
pub(super) fn restore() {
    let before = BEFORE.lock().unwrap_or_else(PoisonError::into_inner).take();
    IS_RAW.store(false, Ordering::Relaxed);
    if let Some(settings) = before {
        // A terminal that is gone needs no settings. Not after the output has drained: it never does on one that is stopped.
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &settings);
    }
}

/// How a line ends now: a raw terminal does not return the carriage by itself.
pub(super) fn line_end() -> &'static str {
    if IS_RAW.load(Ordering::Relaxed) { "\r\n" } else { "\n" }
}
