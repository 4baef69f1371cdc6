//! Sets and maps, with names and without.

use super::{Named, expressions::pattern, flags, text};
use crate::{
    model::Jump,
    value::{Pattern, Set},
};
use serde_json::{Map, Value as Json};
use std::sync::Arc;

/// Reads a named set or map.
pub(super) fn read(named: &mut Named, object: &Map<String, Json>) {
    let Some(name) = text(object, "name") else { return };
    let is_fleeting = flags(object).iter().any(|flag| ["dynamic", "timeout"].contains(flag));
    let none = Json::Array(Vec::new());
    let elements = object.get("elem").unwrap_or(&none);
    let name = name.to_owned();
    match object.get("map") {
        None => {
            let mut set = plain(elements);
            set.is_fleeting = is_fleeting;
            named.sets.insert(name, Arc::new(set));
        }
        Some(Json::String(kind)) if kind == "verdict" => {
            named.verdicts.insert(name, Arc::new(verdicts(elements)));
        }
        Some(_) => {
            let mut set = values(elements);
            set.is_fleeting = is_fleeting;
            named.maps.insert(name, Arc::new(set));
        }
    }
}

/// Elements of a set.
pub(super) fn plain(elements: &Json) -> Set<()> {
    let mut set = Set::default();
    for element in list(elements) {
        set.insert(pattern(element), ());
    }
    set
}

/// Elements of a map to values.
pub(super) fn values(elements: &Json) -> Set<Pattern> {
    let mut set = Set::default();
    for (key, value) in pairs(elements) {
        set.insert(pattern(key), pattern(value));
    }
    set
}

/// Elements of a map to verdicts. What is no verdict that is known leads to a chain that is not there, which nothing decides about.
pub(super) fn verdicts(elements: &Json) -> Set<Jump> {
    let mut set = Set::default();
    for (key, value) in pairs(elements) {
        set.insert(
            pattern(key),
            jump(value).unwrap_or_else(|| Jump::Goto(value.to_string().into())),
        );
    }
    set
}

fn list(elements: &Json) -> impl Iterator<Item = &Json> {
    let one = (!elements.is_array() && !elements.is_null()).then_some(elements);
    elements.as_array().into_iter().flatten().chain(one)
}

fn pairs(elements: &Json) -> impl Iterator<Item = (&Json, &Json)> {
    list(elements).filter_map(|pair| match pair.as_array()?.as_slice() {
        [key, value] => Some((key, value)),
        _ => None,
    })
}

fn jump(value: &Json) -> Option<Jump> {
    let (kind, value) = match value {
        Json::String(kind) => (kind.as_str(), &Json::Null),
        value => {
            let (kind, value) = value.as_object()?.iter().next()?;
            (kind.as_str(), value)
        }
    };
    let target = || Some(value.get("target")?.as_str()?.into());
    Some(match kind {
        "accept" => Jump::Accept,
        "drop" => Jump::Drop,
        "continue" => Jump::Continue,
        "return" => Jump::Return,
        "jump" => Jump::To(target()?),
        "goto" => Jump::Goto(target()?),
        _ => return None,
    })
}
