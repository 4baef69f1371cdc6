//! Results as one JSON or YAML document.

use serde::Serialize;

use super::Format;
use crate::exit::Failure;

/// The value in the asked format, ended by a line break; `None` for the formats that are for people.
///
/// # Errors
/// If the value cannot be written in that format, which is a bug.
pub fn document<T: Serialize>(format: Format, value: &T) -> Result<Option<String>, Failure> {
    let bug = |error: String| Failure::unknown(format!("cannot write the result: {error}"));
    match format {
        Format::Json => serde_json::to_string_pretty(value)
            .map(|json| Some(json + "\n"))
            .map_err(|error| bug(error.to_string())),
        Format::Yaml => yaml(value).map(Some),
        Format::Table | Format::Wide | Format::Name => Ok(None),
    }
}

/// Names, one a line: what `-o name` prints.
pub fn lines<I>(names: I) -> String
where
    I: IntoIterator,
    I::Item: AsRef<str>,
{
    names
        .into_iter()
        .fold(String::new(), |text, name| text + name.as_ref() + "\n")
}

/// The value as one YAML document.
///
/// # Errors
/// As [`document`].
pub fn yaml<T: Serialize>(value: &T) -> Result<String, Failure> {
    let mut text = serde_saphyr::to_string(value)
        .map_err(|error| Failure::unknown(format!("cannot write the result: {error}")))?;
    if !text.ends_with('\n') {
        text.push('\n');
    }
    Ok(text)
}
