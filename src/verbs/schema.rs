//! `schema`: the JSON Schema of every report. Fields are only ever added.

use clap::{Args, builder::PossibleValuesParser};
use schemars::{Schema, schema_for};

use crate::{
    exit::{Exit, Failure},
    flags::OutputFlags,
    output::{Format, Printer, Table, document, lines, yaml},
};

/// A report's kind and how its schema is made.
struct Kind {
    name: &'static str,
    about: &'static str,
    schema: fn() -> Schema,
}

/// Every kind of document that a verb prints with `-o json`.
const KINDS: &[Kind] = &[
    Kind {
        name: "CapturePlan",
        about: "capture --dry-run",
        schema: || schema_for!(crate::verbs::capture::CapturePlan),
    },
    Kind {
        name: "CaptureReport",
        about: "capture -w FILE",
        schema: || schema_for!(crate::verbs::capture::CaptureReport),
    },
    Kind {
        name: "CleanupReport",
        about: "cleanup",
        schema: || schema_for!(crate::verbs::cleanup::CleanupReport),
    },
    Kind {
        name: "CniStatus",
        about: "cni status",
        schema: || schema_for!(crate::verbs::cni::CniStatus),
    },
    Kind {
        name: "CniUninstallReport",
        about: "cni uninstall",
        schema: || schema_for!(crate::verbs::cni::CniUninstallReport),
    },
    Kind {
        name: "DoctorPlan",
        about: "doctor --dry-run",
        schema: || schema_for!(crate::verbs::doctor::DoctorPlan),
    },
    Kind {
        name: "DoctorReport",
        about: "doctor",
        schema: || schema_for!(crate::doctor::report::DoctorReport),
    },
    Kind {
        name: "FindingList",
        about: "explain",
        schema: || schema_for!(crate::verbs::explain::FindingList),
    },
    Kind {
        name: "ImageList",
        about: "images",
        schema: || schema_for!(crate::verbs::images::ImageList),
    },
    Kind {
        name: "MatrixPlan",
        about: "matrix --dry-run",
        schema: || schema_for!(crate::verbs::matrix::Intent),
    },
    Kind {
        name: "MatrixReport",
        about: "matrix",
        schema: || schema_for!(crate::matrix::report::MatrixReport),
    },
    Kind {
        name: "VerifyPlan",
        about: "verify --dry-run",
        schema: || schema_for!(crate::verbs::verify::VerifyPlan),
    },
    Kind {
        name: "VerifyReport",
        about: "verify",
        schema: || schema_for!(crate::verify::report::VerifyReport),
    },
    Kind {
        name: "Version",
        about: "version",
        schema: || schema_for!(crate::verbs::version::Version),
    },
];

/// Arguments of `schema`.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  # Which reports there are
  kubectl netcheck schema

  # The schema of one, to generate types from or to validate with
  kubectl netcheck schema Version")]
pub struct SchemaArgs {
    /// Kind of report; without it, all kinds are listed
    #[arg(value_parser = PossibleValuesParser::new(KINDS.iter().map(|kind| kind.name)), ignore_case = true)]
    kind: Option<String>,
}

/// Prints the schema, or the list of kinds.
///
/// # Errors
/// If stdout cannot be written.
pub fn run(args: &SchemaArgs, output: &OutputFlags, printer: &Printer) -> Result<Exit, Failure> {
    let asked = args
        .kind
        .as_deref()
        .and_then(|asked| KINDS.iter().find(|kind| kind.name.eq_ignore_ascii_case(asked)));
    let text = match (asked, output.format) {
        (Some(kind), Format::Yaml) => yaml(&(kind.schema)())?,
        // A schema is JSON by nature.
        (Some(kind), _) => document(Format::Json, &(kind.schema)())?.unwrap_or_default(),
        (None, Format::Json | Format::Yaml) => {
            document(output.format, &KINDS.iter().map(|kind| kind.name).collect::<Vec<_>>())?.unwrap_or_default()
        }
        (None, Format::Name) => lines(KINDS.iter().map(|kind| kind.name)),
        (None, Format::Table | Format::Wide) => KINDS
            .iter()
            .fold(Table::new(["KIND", "PRINTED BY"]), |table, kind| {
                table.row([kind.name.to_owned(), format!("{} -o json", kind.about)])
            })
            .render_on(printer),
    };
    printer.data(&text)?;
    Ok(Exit::Held)
}

#[cfg(test)]
mod tests {
    use std::{env, fs, path::Path};

    use serde_json::Value;

    use super::*;

    /// The committed schemas are what users build on. `NETCHECK_UPDATE_SCHEMAS=1 cargo test schema` writes them anew.
    #[test]
    fn committed_schemas_are_current_and_only_grew() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas");
        let update = env::var_os("NETCHECK_UPDATE_SCHEMAS").is_some();
        for kind in KINDS {
            let path = folder.join(format!("{}.json", kind.name));
            let generated = serde_json::to_value((kind.schema)()).unwrap();
            let committed: Option<Value> = fs::read(&path)
                .ok()
                .map(|bytes| serde_json::from_slice(&bytes).unwrap());
            if let Some(committed) = &committed {
                assert_eq!(
                    shrunk(committed, &generated),
                    Vec::<String>::new(),
                    "{} lost what users may rely on",
                    kind.name
                );
            }
            if update {
                fs::create_dir_all(&folder).unwrap();
                fs::write(&path, serde_json::to_string_pretty(&generated).unwrap() + "\n").unwrap();
            } else {
                assert_eq!(
                    committed.as_ref(),
                    Some(&generated),
                    "schemas/{}.json is not current; NETCHECK_UPDATE_SCHEMAS=1 cargo test schema",
                    kind.name
                );
            }
        }
    }

    /// Paths of properties, required fields and enum values that are in `before` and not in `after`, or whose type changed.
    fn shrunk(before: &Value, after: &Value) -> Vec<String> {
        fn walk(path: &str, before: &Value, after: &Value, lost: &mut Vec<String>) {
            match (before, after) {
                (Value::Object(before), Value::Object(after)) => {
                    for (key, value) in before
                        .iter()
                        .filter(|(key, _)| !["description", "title"].contains(&key.as_str()))
                    {
                        match after.get(key) {
                            Some(other) => walk(&format!("{path}/{key}"), value, other, lost),
                            None => lost.push(format!("{path}/{key}")),
                        }
                    }
                }
                (Value::Array(before), Value::Array(after)) => {
                    for value in before
                        .iter()
                        .filter(|value| !after.iter().any(|other| same(value, other)))
                    {
                        lost.push(format!("{path}: {value}"));
                    }
                }
                _ if before != after => lost.push(format!("{path}: {before} became {after}")),
                _ => {}
            }
        }
        /// Members of `oneOf` and the like match if the earlier one lives on in the later one.
        fn same(before: &Value, after: &Value) -> bool {
            let mut lost = Vec::new();
            walk("", before, after, &mut lost);
            lost.is_empty()
        }
        let mut lost = Vec::new();
        walk("", before, after, &mut lost);
        lost
    }

    #[test]
    fn what_shrinks_is_noticed_and_what_grows_is_not() {
        let before =
            serde_json::json!({"properties": {"a": {"type": "string"}}, "enum": ["x", "y"], "description": "old"});
        let grown = serde_json::json!({"properties": {"a": {"type": "string"}, "b": {}}, "enum": ["x", "y", "z"]});
        assert!(shrunk(&before, &grown).is_empty());
        assert_eq!(shrunk(&grown, &before).len(), 2);
        let changed = serde_json::json!({"properties": {"a": {"type": "integer"}}, "enum": ["x", "y"]});
        assert_eq!(shrunk(&before, &changed).len(), 1);
    }
}
