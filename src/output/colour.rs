//! When words are coloured, and how. Colour only repeats what the words say.

use std::{env, ffi::OsString};

use anstyle::{AnsiColor, Style};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// `--color`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ColourChoice {
    /// Where the output is a terminal and the environment does not object.
    #[default]
    Auto,
    /// Also into pipes and files.
    Always,
    /// Never.
    Never,
}

/// What a word tells, and so how it is painted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// It holds.
    Good,
    /// It fails.
    Bad,
    /// It could not be told, or deserves a look.
    Doubtful,
    /// Of lesser interest.
    Quiet,
}

impl Tone {
    fn style(self) -> Style {
        match self {
            Self::Good => AnsiColor::Green.on_default(),
            Self::Bad => AnsiColor::Red.on_default().bold(),
            Self::Doubtful => AnsiColor::Yellow.on_default(),
            Self::Quiet => Style::new().dimmed(),
        }
    }

    /// The text between the escape sequences of this tone.
    pub(super) fn paint(self, text: &str) -> String {
        let style = self.style();
        format!("{style}{text}{style:#}")
    }
}

/// The part of the environment that decides about colour.
#[derive(Debug, Clone, Default)]
pub(super) struct ColourEnvironment {
    no_color: Option<OsString>,
    clicolor: Option<OsString>,
    clicolor_force: Option<OsString>,
    term: Option<OsString>,
}

impl ColourEnvironment {
    pub(super) fn read() -> Self {
        Self {
            no_color: env::var_os("NO_COLOR"),
            clicolor: env::var_os("CLICOLOR"),
            clicolor_force: env::var_os("CLICOLOR_FORCE"),
            term: env::var_os("TERM"),
        }
    }
}

/// Whether one stream is coloured. Asked for stdout and stderr apart.
///
/// Order: `--color`, then `NO_COLOR` (<https://no-color.org>: any value but the empty one), then `CLICOLOR_FORCE`, `CLICOLOR=0`,
/// `TERM=dumb` (<https://bixense.com/clicolors>), then whether the stream is a terminal.
pub(super) fn is_coloured(choice: ColourChoice, environment: &ColourEnvironment, is_terminal: bool) -> bool {
    let set = |value: &Option<OsString>| value.as_ref().is_some_and(|value| !value.is_empty());
    let is = |value: &Option<OsString>, text: &str| value.as_ref().is_some_and(|value| value == text);
    match choice {
        ColourChoice::Always => true,
        ColourChoice::Never => false,
        ColourChoice::Auto if set(&environment.no_color) => false,
        ColourChoice::Auto if set(&environment.clicolor_force) && !is(&environment.clicolor_force, "0") => true,
        ColourChoice::Auto if is(&environment.clicolor, "0") || is(&environment.term, "dumb") => false,
        ColourChoice::Auto => is_terminal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(pairs: &[(&str, &str)]) -> ColourEnvironment {
        let find = |name: &str| {
            pairs
                .iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| OsString::from(value))
        };
        ColourEnvironment {
            no_color: find("NO_COLOR"),
            clicolor: find("CLICOLOR"),
            clicolor_force: find("CLICOLOR_FORCE"),
            term: find("TERM"),
        }
    }

    #[test]
    fn the_flag_beats_the_environment_and_the_environment_beats_the_terminal() {
        use ColourChoice::{Always, Auto, Never};
        type Case<'a> = (ColourChoice, &'a [(&'a str, &'a str)], bool, bool);
        let cases: &[Case] = &[
            (Auto, &[], true, true),
            (Auto, &[], false, false),
            (Always, &[("NO_COLOR", "1")], false, true),
            (Never, &[("CLICOLOR_FORCE", "1")], true, false),
            (Auto, &[("NO_COLOR", "1"), ("CLICOLOR_FORCE", "1")], true, false),
            (Auto, &[("NO_COLOR", "")], true, true),
            (Auto, &[("CLICOLOR_FORCE", "1"), ("TERM", "dumb")], false, true),
            (Auto, &[("CLICOLOR_FORCE", "0")], false, false),
            (Auto, &[("CLICOLOR", "0")], true, false),
            (Auto, &[("TERM", "dumb")], true, false),
        ];
        for (choice, pairs, terminal, expected) in cases {
            assert_eq!(
                is_coloured(*choice, &environment(pairs), *terminal),
                *expected,
                "{choice:?} {pairs:?} terminal={terminal}"
            );
        }
    }
}
