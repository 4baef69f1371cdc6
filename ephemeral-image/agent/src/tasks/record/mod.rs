//! `record`: reads what the node holds, and sends it as one document.
//!
//! Each part is read only when it is its turn to be sent, and forgotten after that: the agent may use little memory, and a node may hold much.

mod plugins;
mod program;
mod rulesets;

use super::{
    Reporter, Shared,
    document::{Document, OneByOne},
    not_located,
};
use netcheck_node_state::{
    record::{self, RECORD, Reading, Space},
    within,
};
use netcheck_wire::message::RecordOrder;
use serde::ser::{SerializeStruct as _, Serializer as _};
use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write as _,
    path::Path,
};

/// The root of the node's first process: its disk. Without the node's process numbers it is that of the agent's container.
const ROOT: &str = "/proc/1/root";

/// Runs the task.
pub fn run(order: &RecordOrder, shared: &Shared, reporter: &Reporter) -> Result<(), String> {
    // First of all, so that a node which cannot be read says so instead of half a document.
    let node = record::space(&order.sysctls).map_err(|error| format!("cannot read the node: {error}"))?;
    let mut document = Document::new(reporter);
    write(order, node, shared, reporter, &mut document)
        .map_err(std::io::Error::from)
        .and_then(|()| document.flush())
        .map_err(|error| format!("cannot send the record: {error}"))
}

/// Writes the document: a [`NodeRecord`](record::NodeRecord), field by field.
fn write(
    order: &RecordOrder,
    node: Space,
    shared: &Shared,
    reporter: &Reporter,
    document: &mut Document<'_>,
) -> serde_json::Result<()> {
    let root = Path::new(ROOT);
    // One that is named twice is read once, with its text if that is wanted anywhere.
    let mut folders = BTreeMap::<String, bool>::new();
    for folder in &order.folders {
        for path in paths(root, &folder.path) {
            *folders.entry(path).or_default() |= folder.with_text;
        }
    }
    let places: BTreeSet<u32> = order.places.iter().copied().collect();

    let mut serializer = serde_json::Serializer::new(document);
    let mut fields = serializer.serialize_struct("NodeRecord", 9)?;
    fields.serialize_field("record", &RECORD)?;
    let kernel = rustix::system::uname();
    fields.serialize_field("kernel", &kernel.release().to_string_lossy())?;
    fields.serialize_field("node", &node)?;
    drop(node);
    let pods = places
        .iter()
        .map(|&number| (number, pod(number, &order.sysctls, shared)));
    fields.serialize_field("pods", &OneByOne::new(pods))?;
    fields.serialize_field("nft", &rulesets::nft(reporter))?;
    fields.serialize_field("iptables", &OneByOne::new(rulesets::iptables(reporter)))?;
    let folders = folders
        .iter()
        .map(|(path, with_text)| (path, record::folder(root, path, *with_text)));
    fields.serialize_field("folders", &OneByOne::new(folders))?;
    let pins = order.pins.as_ref().map(|path| record::pins(root, path));
    fields.serialize_field("pins", &pins)?;
    let plugins = order.plugins.iter();
    let versions = plugins.flat_map(|plugins| plugins::versions(root, plugins, reporter));
    fields.serialize_field("plugins", &OneByOne::new(versions))?;
    fields.end()
}

/// The path, or with `/*` at its end those of all folders in it; where these cannot be listed, the folder itself says why.
fn paths(root: &Path, path: &str) -> Vec<String> {
    let Some(above) = path.strip_suffix("/*") else {
        return vec![path.to_owned()];
    };
    record::folders(root, above).map_or_else(
        |_| vec![above.to_owned()],
        |names| names.iter().map(|name| format!("{above}/{name}")).collect(),
    )
}

/// What a located place's namespace holds.
fn pod(number: u32, sysctls: &[String], shared: &Shared) -> Reading<Space> {
    let place = shared.place(number).ok_or_else(|| not_located(number))?;
    let space = within(&place.netns, || record::space(sysctls)).map_err(|error| error.to_string())?;
    space.map_err(|error| error.to_string())
}
