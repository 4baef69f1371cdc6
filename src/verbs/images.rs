//! `images`: what must be in a registry that the cluster can reach, or on its nodes.

mod save;
mod source;

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    agents::{ImageChoice, image, image::Published},
    exit::{Exit, Failure},
    output::{Format, Printer, Table, document, lines},
    verbs::{API_VERSION, Shared},
};

/// Arguments of `images`.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  # What to mirror for a cluster without internet access
  kubectl netcheck images -o name

  # Then use the mirror
  kubectl netcheck matrix --image-prefix registry.example.com/mirror

  # Carry all of them there in one file; on each node: ctr --namespace k8s.io images import netcheck.tar
  kubectl netcheck images save netcheck.tar

  # Onto a node at once
  kubectl netcheck images save - --image agent | ssh n1 ctr --namespace k8s.io images import -")]
pub struct ImagesArgs {
    /// What to do with them
    #[arg(value_enum, default_value_t, hide_default_value = true)]
    action: Action,
    /// Where save writes the archive; - is stdout
    #[arg(value_name = "FILE", required_if_eq("action", "save"))]
    file: Option<PathBuf>,
    /// Only this image; may be given several times
    #[arg(long = "image", value_name = "NAME", value_enum)]
    only: Vec<Name>,
    /// Registry, and path in it, that mirrors the images
    #[arg(long, value_name = "PREFIX")]
    image_prefix: Option<String>,
    /// Account at the registry that save pulls from; its password or token is read from stdin
    #[arg(long, value_name = "NAME")]
    registry_user: Option<String>,
    /// Take what save writes from the archives that a build has left in this folder, and from no registry
    #[arg(long, value_name = "DIR", conflicts_with = "registry_user")]
    from: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum Action {
    /// List them
    #[default]
    List,
    /// Save them into one archive, for clusters without internet access
    Save,
}

/// An image of ours, where only those are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Name {
    /// What looks at networks from inside the cluster
    Agent,
    /// Tools for people
    Toolbox,
    /// The bundled pod network
    Cni,
}

impl Name {
    fn published(self) -> Published {
        match self {
            Self::Agent => image::AGENT,
            Self::Toolbox => image::TOOLBOX,
            Self::Cni => image::CNI,
        }
    }
}

/// The images of this version of the plugin.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ImageList {
    /// `netcheck.dev/v1alpha1`.
    pub api_version: String,
    /// `ImageList`.
    pub kind: String,
    /// One entry per image.
    pub items: Vec<Image>,
}

/// One image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Image {
    /// What it is called here: `agent`, `toolbox`, or `cni` (the bundled CNI's, for `cni install`).
    pub name: String,
    /// Exactly what a pod would name.
    pub reference: String,
    /// Digest the plugin was built with, or, once it is saved, of what was saved; absent in builds that know none, which then name
    /// the tag alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// Bytes that a node pulls of it, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// What it is for.
    #[serde(default)]
    pub purpose: String,
}

/// The images that are asked for, all if none is.
fn list(only: &[Name], prefix: Option<&str>) -> Result<Vec<Image>, Failure> {
    let choice = ImageChoice {
        prefix: prefix.filter(|prefix| !prefix.is_empty()).map(str::to_owned),
        ..ImageChoice::default()
    };
    let asked_for = Name::value_variants()
        .iter()
        .filter(|name| only.is_empty() || only.contains(name));
    asked_for
        .map(|name| {
            let ours = name.published();
            let reference = choice.reference(&ours)?;
            Ok(Image {
                name: ours.name.into(),
                digest: ours.digest().map(str::to_owned),
                reference,
                size: ours.size(),
                purpose: ours.purpose.into(),
            })
        })
        .collect()
}

/// Lists the images, or saves them.
///
/// # Errors
/// If stdout or the archive cannot be written, or an image cannot be had.
pub async fn run(args: ImagesArgs, shared: Shared) -> Result<Exit, Failure> {
    let images = list(&args.only, args.image_prefix.as_deref())?;
    let images = match (args.action, args.file) {
        (Action::Save, Some(file)) => {
            let source = source::Source::choose(args.from, args.registry_user)?;
            let to_stdout = file.as_os_str() == "-";
            let Some(saved) = save::save(images, source, file, &shared).await? else {
                return Ok(Exit::Interrupted);
            };
            if to_stdout {
                // The archive is there already.
                return Ok(Exit::Held);
            }
            saved
        }
        (Action::Save, None) => {
            return Err(Failure::usage("no file to save to").hint("images save FILE, or - for stdout"));
        }
        (Action::List, Some(file)) => {
            return Err(
                Failure::usage(format!("list takes no file, and was given '{}'", file.display()))
                    .hint("images save FILE writes an archive"),
            );
        }
        (Action::List, None) => images,
    };
    print(images, shared.flags.output.format, &shared.printer)?;
    Ok(Exit::Held)
}

fn print(items: Vec<Image>, format: Format, printer: &Printer) -> Result<(), Failure> {
    let images = ImageList {
        api_version: API_VERSION.into(),
        kind: "ImageList".into(),
        items,
    };
    let text = match document(format, &images)? {
        Some(text) => text,
        None if format == Format::Name => lines(images.items.iter().map(|image| &image.reference)),
        None => table(&images.items, format == Format::Wide).render_on(printer),
    };
    printer.data(&text)
}

/// References come last, since they are long; on a wide screen their digests have a column.
fn table(images: &[Image], wide: bool) -> Table {
    let mut heads = vec!["NAME", "SIZE", "FOR", "REFERENCE"];
    heads.extend(wide.then_some("DIGEST"));
    images.iter().fold(Table::new(heads), |table, image| {
        let size = image.size.map_or_else(|| "unknown".to_owned(), megabytes);
        let mut cells = vec![image.name.clone(), size, image.purpose.clone()];
        if wide {
            let tagged = image.reference.split('@').next().unwrap_or_default();
            cells.extend([tagged.to_owned(), image.digest.clone().unwrap_or_default()]);
        } else {
            cells.push(image.reference.clone());
        }
        table.row(cells)
    })
}

fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}

#[cfg(test)]
mod tests;
