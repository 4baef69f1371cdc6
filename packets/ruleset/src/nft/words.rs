//! Rules in words that people know from nft.

use serde_json::Value as Json;

/// Longer texts are cut.
const LONGEST: usize = 200;
/// How deep is read.
const DEPTH: u32 = 16;

/// A rule's expressions, or one of them, about as nft prints them.
pub(crate) fn words(value: &Json) -> String {
    let mut text = match value {
        Json::Array(each) => join(each, " ", DEPTH),
        other => said(other, DEPTH),
    };
    if let Some((end, _)) = text.char_indices().nth(LONGEST) {
        text.truncate(end);
        text.push('…');
    }
    text
}

fn join(each: &[Json], between: &str, depth: u32) -> String {
    let each: Vec<String> = each.iter().take(64).map(|one| said(one, depth)).collect();
    each.join(between)
}

fn said(value: &Json, depth: u32) -> String {
    let Some(depth) = depth.checked_sub(1) else {
        return "…".to_owned();
    };
    let object = match value {
        Json::Null => return String::new(),
        Json::Bool(value) => return value.to_string(),
        Json::Number(value) => return value.to_string(),
        Json::String(text) => return text.clone(),
        Json::Array(each) => return join(each, ",", depth),
        Json::Object(object) => object,
    };
    let Some((kind, value)) = object.iter().next() else {
        return String::new();
    };
    let part = |name: &str| said(value.get(name).unwrap_or(&Json::Null), depth);
    let list = |between| match value {
        Json::Array(each) => join(each, between, depth),
        other => said(other, depth),
    };
    match kind.as_str() {
        "match" => match part("op").as_str() {
            "==" | "in" => format!("{} {}", part("left"), part("right")),
            op => format!("{} {op} {}", part("left"), part("right")),
        },
        "payload" => format!("{} {}", part("protocol"), part("field")),
        "meta" => format!("meta {}", part("key")),
        "ct" => format!("ct {}", part("key")),
        "fib" => format!("fib {} {}", part("flags"), part("result")),
        "numgen" => format!("numgen {} mod {}", part("mode"), part("mod")),
        "prefix" => format!("{}/{}", part("addr"), part("len")),
        "range" => list("-"),
        "concat" => list(" . "),
        "set" if value.get("op").is_none() => format!("{{ {} }}", list(", ")),
        "&" | "|" | "^" | "<<" | ">>" => list(&format!(" {kind} ")),
        "vmap" => format!("{} vmap {}", part("key"), part("data")),
        "mangle" => format!("{} set {}", part("key"), part("value")),
        "jump" | "goto" => format!("{kind} {}", part("target")),
        "dnat" | "snat" => match value.get("port") {
            Some(_) => format!("{kind} to {}:{}", part("addr"), part("port")),
            None => format!("{kind} to {}", part("addr")),
        },
        "xt" => format!("xt {} {}", part("type"), part("name")),
        "elem" => part("val"),
        _ => kind.clone(),
    }
}
