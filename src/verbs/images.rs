//! `images`: what must be in a registry that the cluster can reach.

use clap::{Args, ValueEnum};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    agents::image,
    exit::{Exit, Failure},
    flags::OutputFlags,
    output::{Format, Printer, Table, document, lines},
    verbs::API_VERSION,
};

/// Arguments of `images`.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  # What to mirror for a cluster without internet access
  kubectl netcheck images -o name

  # Then use the mirror
  kubectl netcheck matrix --image-prefix registry.example.com/mirror")]
pub struct ImagesArgs {
    /// What to do with them
    #[arg(value_enum, default_value_t, hide_default_value = true)]
    action: Action,
}

#[derive(Debug, Clone, Copy, Default, ValueEnum)]
enum Action {
    /// List their references
    #[default]
    List,
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
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Image {
    /// What it is used for: `agent`, or `cni` (the bundled CNI's, for `cni install`).
    pub name: String,
    /// Exactly what a pod would name.
    pub reference: String,
    /// Digest the plugin was built with; absent in builds that know none, which then name the tag alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
}

pub(crate) fn list() -> ImageList {
    let items = [image::AGENT, image::CNI].map(|ours| {
        let reference = ours.reference();
        Image {
            name: ours.name.into(),
            digest: reference.split_once('@').map(|(_, digest)| digest.to_owned()),
            reference,
        }
    });
    ImageList {
        api_version: API_VERSION.into(),
        kind: "ImageList".into(),
        items: items.into(),
    }
}

/// Lists the images.
///
/// # Errors
/// If stdout cannot be written.
pub fn run(args: &ImagesArgs, output: &OutputFlags, printer: &Printer) -> Result<Exit, Failure> {
    let Action::List = args.action;
    let images = list();
    let text = match document(output.format, &images)? {
        Some(text) => text,
        None if output.format == Format::Name => lines(images.items.iter().map(|image| &image.reference)),
        None => images
            .items
            .iter()
            .fold(Table::new(["NAME", "REFERENCE"]), |table, image| {
                table.row([&image.name, &image.reference])
            })
            .render_on(printer),
    };
    printer.data(&text)?;
    Ok(Exit::Held)
}
