//! The terminal after a kill -9 in raw mode: a child that outlives the plugin puts the settings back.
//!
//! Shells like bash do that themselves when a child of theirs was killed, and then take the terminal for their own line editor. So
//! only a terminal that is still as the plugin made it is changed.

use crate::survivor::{Survivor, outlive};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    termios::{
        ControlModes, InputModes, LocalModes, OptionalActions, OutputModes, SpecialCodeIndex, Termios, tcgetattr,
        tcsetattr,
    },
};
use serde::{Deserialize, Serialize};
use std::{io, os::fd::AsFd, process::Stdio};

/// The hidden verb.
pub const VERB: &str = "__terminal";

/// What the child must know.
#[derive(Serialize, Deserialize)]
struct Orders {
    before: Modes,
    raw: Modes,
}

/// All of a terminal's settings that raw mode changes (termios(3), `cfmakeraw`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Modes {
    input: u64,
    output: u64,
    control: u64,
    local: u64,
    minimum: u8,
    time: u8,
}

impl Modes {
    fn of(settings: &Termios) -> Self {
        Self {
            input: settings.input_modes.bits().into(),
            output: settings.output_modes.bits().into(),
            control: settings.control_modes.bits().into(),
            local: settings.local_modes.bits().into(),
            minimum: settings.special_codes[SpecialCodeIndex::VMIN],
            time: settings.special_codes[SpecialCodeIndex::VTIME],
        }
    }

    /// Whether a terminal has them, so far as a driver cannot have changed them unasked: of its line it may.
    fn are_in(&self, settings: &Termios) -> bool {
        let there = Self::of(settings);
        *self
            == Self {
                control: self.control,
                ..there
            }
    }

    fn put_into(self, settings: &mut Termios) -> Option<()> {
        settings.input_modes = InputModes::from_bits_retain(self.input.try_into().ok()?);
        settings.output_modes = OutputModes::from_bits_retain(self.output.try_into().ok()?);
        settings.control_modes = ControlModes::from_bits_retain(self.control.try_into().ok()?);
        settings.local_modes = LocalModes::from_bits_retain(self.local.try_into().ok()?);
        settings.special_codes[SpecialCodeIndex::VMIN] = self.minimum;
        settings.special_codes[SpecialCodeIndex::VTIME] = self.time;
        Some(())
    }
}

/// Starts the child for the terminal on stdin, before that becomes `raw`.
pub(super) fn guard(before: &Termios, raw: &Termios) -> io::Result<Survivor> {
    let orders = Orders {
        before: Modes::of(before),
        raw: Modes::of(raw),
    };
    let terminal = io::stdin().as_fd().try_clone_to_owned()?;
    Survivor::start(VERB, &orders, Stdio::from(terminal))
}

/// The child's whole life; the terminal is its stdout.
pub fn watch() {
    if let Some(orders) = outlive() {
        // A terminal that is gone needs no settings, and nobody is there to be told of any other trouble.
        let _ = put_back(&orders, io::stdout());
    }
}

fn put_back(Orders { before, raw }: &Orders, terminal: impl AsFd) -> io::Result<()> {
    let mut settings = tcgetattr(&terminal)?;
    if !raw.are_in(&settings) || before.put_into(&mut settings).is_none() {
        return Ok(());
    }
    tcsetattr(&terminal, OptionalActions::Now, &settings)?;
    // Whatever stood on the last line of the screen. One that is stopped (Ctrl-S) would take it only when it goes on.
    let mut writable = [PollFd::new(&terminal, PollFlags::OUT)];
    if poll(&mut writable, Some(&Timespec::default()))? > 0 {
        rustix::io::write(&terminal, b"\n")?;
    }
    Ok(())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use rustix::{
        pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt},
        termios::{Action, tcflow},
    };
    use std::os::fd::OwnedFd;

    /// A terminal: the user's side, and the programs'.
    pub(in super::super) fn terminal() -> (OwnedFd, OwnedFd) {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let user = openpt(flags).unwrap();
        unlockpt(&user).unwrap();
        let programs = ioctl_tiocgptpeer(&user, flags).unwrap();
        (user, programs)
    }

    /// All of a terminal's settings.
    pub(in super::super) fn settings(terminal: &OwnedFd) -> String {
        format!("{:?}", tcgetattr(terminal).unwrap())
    }

    /// A terminal that a killed plugin has left.
    struct Left {
        user: OwnedFd,
        terminal: OwnedFd,
        before: String,
        /// Of the plugin's child.
        orders: Orders,
    }

    fn left() -> Left {
        let (user, terminal) = terminal();
        let before = settings(&terminal);
        let cooked = tcgetattr(&terminal).unwrap();
        let mut raw = cooked.clone();
        raw.make_raw();
        tcsetattr(&terminal, OptionalActions::Now, &raw).unwrap();
        assert_ne!(settings(&terminal), before);
        let orders = Orders {
            before: Modes::of(&cooked),
            raw: Modes::of(&raw),
        };
        Left {
            user,
            terminal,
            before,
            orders: serde_json::from_str(&serde_json::to_string(&orders).unwrap()).unwrap(),
        }
    }

    /// The first that the user gets to see within this many seconds.
    fn shown(user: &OwnedFd, seconds: i64) -> Vec<u8> {
        let limit = Timespec {
            tv_sec: seconds,
            ..Timespec::default()
        };
        let mut bytes = vec![0; 64];
        let read = match poll(&mut [PollFd::new(user, PollFlags::IN)], Some(&limit)).unwrap() {
            0 => 0,
            _ => rustix::io::read(user, &mut bytes).unwrap(),
        };
        bytes.truncate(read);
        bytes
    }

    #[test]
    fn all_of_the_settings_are_put_back_on_a_new_line() {
        let left = left();
        put_back(&left.orders, &left.terminal).unwrap();
        assert_eq!(settings(&left.terminal), left.before);
        assert_eq!(shown(&left.user, 10), b"\r\n");
    }

    #[test]
    fn a_terminal_that_a_shell_has_taken_since_is_left_alone() {
        let Left {
            user, terminal, orders, ..
        } = left();
        let mut of_the_shell = tcgetattr(&terminal).unwrap();
        of_the_shell.output_modes.insert(OutputModes::OPOST);
        tcsetattr(&terminal, OptionalActions::Now, &of_the_shell).unwrap();
        let taken = settings(&terminal);
        put_back(&orders, &terminal).unwrap();
        assert_eq!(settings(&terminal), taken);
        assert_eq!(shown(&user, 0), b"");
    }

    #[test]
    fn a_terminal_that_is_stopped_holds_nobody_up() {
        let left = left();
        tcflow(&left.terminal, Action::OOff).unwrap();
        put_back(&left.orders, &left.terminal).unwrap();
        assert_eq!(settings(&left.terminal), left.before);
    }
}
