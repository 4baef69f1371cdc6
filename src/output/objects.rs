//! Kubernetes objects that are printed for somebody to apply, with comments for people who review them.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::{Format, document, lines, yaml};
use crate::exit::Failure;

/// One object, and what to say about it above it.
#[derive(Debug, Clone, PartialEq)]
pub struct Explained {
    /// Lines of comment.
    pub comments: Vec<String>,
    /// The object, as the API takes it.
    pub object: Value,
}

impl Explained {
    /// A word of the object: `kind`, or one of `metadata` by its path.
    fn word(&self, path: &str) -> &str {
        self.object.pointer(path).and_then(Value::as_str).unwrap_or_default()
    }

    /// Its kind.
    pub fn kind(&self) -> &str {
        self.word("/kind")
    }

    /// Its name.
    pub fn name(&self) -> &str {
        self.word("/metadata/name")
    }

    /// Its namespace, if it is in one.
    pub fn namespace(&self) -> Option<&str> {
        Some(self.word("/metadata/namespace")).filter(|namespace| !namespace.is_empty())
    }

    /// As kubectl names it: `role/netcheck-cni`.
    pub fn reference(&self) -> String {
        format!("{}/{}", self.kind().to_lowercase(), self.name())
    }
}

/// The objects in the asked format; for people as YAML with the comments.
///
/// # Errors
/// If an object cannot be written in that format, which is a bug.
pub fn objects(format: Format, objects: &[Explained]) -> Result<String, Failure> {
    match format {
        Format::Json => {
            let items: Vec<_> = objects.iter().map(|explained| &explained.object).collect();
            let list = json!({ "apiVersion": "v1", "kind": "List", "items": items });
            Ok(document(format, &list)?.unwrap_or_default())
        }
        Format::Name => Ok(lines(objects.iter().map(Explained::reference))),
        Format::Table | Format::Wide | Format::Yaml => {
            let mut text = String::new();
            for explained in objects {
                text.push_str("---\n");
                for comment in &explained.comments {
                    // Writing to a String cannot fail.
                    let _ = writeln!(text, "# {comment}");
                }
                text.push_str(&yaml(&explained.object)?);
            }
            Ok(text)
        }
    }
}
