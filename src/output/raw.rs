//! The user's terminal in raw mode, and back, whatever way the program ends. Against a kill -9 nothing helps from inside: that is
//! [`put_back`]'s.

use std::{
    io,
    sync::{
        Mutex, Once, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};

use super::put_back;
use crate::survivor::Survivor;

/// While the terminal is in raw mode: the settings to go back to, and who does it should the process not live to. One for the process, as
/// its terminal is.
static BEFORE: Mutex<Option<(Termios, Option<Survivor>)>> = Mutex::new(None);
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
        // Without it all is well but for a kill -9.
        let survivor = put_back::guard(&settings, &raw)
            .inspect_err(|error| tracing::debug!(%error, "nobody restores the terminal should this process be killed"))
            .ok();
        *BEFORE.lock().unwrap_or_else(PoisonError::into_inner) = Some((settings, survivor));
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
    if let Some((settings, survivor)) = before {
        // A terminal that is gone needs no settings. Not after the output has drained: it never does on one that is stopped.
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &settings);
        if let Some(survivor) = survivor {
            survivor.dismiss();
        }
    }
}

/// How a line ends now: a raw terminal does not return the carriage by itself.
pub(super) fn line_end() -> &'static str {
    if IS_RAW.load(Ordering::Relaxed) { "\r\n" } else { "\n" }
}

#[cfg(test)]
mod tests {
    use super::{
        super::put_back::tests::{settings, terminal},
        *,
    };
    use rustix::termios::LocalModes;
    use std::process::Command;

    /// Set in the process that panics.
    const PANICS: &str = "NETCHECK_TEST_PANICS_IN_RAW_MODE";

    #[test]
    fn a_panic_gives_the_terminal_back() {
        if std::env::var_os(PANICS).is_some() {
            // Nothing but the hook is to help: not every end unwinds.
            std::mem::forget(RawMode::enter().unwrap());
            let modes = tcgetattr(io::stdin()).unwrap().local_modes;
            panic!("raw: {}", !modes.contains(LocalModes::ICANON));
        }
        let (_user, terminal) = terminal();
        let before = settings(&terminal);
        let output = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "output::raw::tests::a_panic_gives_the_terminal_back",
                "--nocapture",
            ])
            .env(PANICS, "1")
            .stdin(terminal.try_clone().unwrap())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains("raw: true") && !output.status.success(), "{output:?}");
        assert_eq!(settings(&terminal), before);
    }
}
