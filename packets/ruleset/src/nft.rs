//! What `nft -j list ruleset` says (libnftables-json(5)).

mod expressions;
mod sets;
mod words;

pub(crate) use words::words;

use crate::{
    model::{Action, Base, Condition, Expr, Family, Flavour, Hook, Jump, Rule, Step, Table, Text},
    value::{Pattern, Set},
};
use expressions::{compare, expression};
use serde_json::{Map, Value as Json};
use std::{collections::HashMap, sync::Arc};

/// Sets and maps with names, of one table.
#[derive(Default)]
pub(super) struct Named {
    sets: HashMap<String, Arc<Set<()>>>,
    maps: HashMap<String, Arc<Set<Pattern>>>,
    verdicts: HashMap<String, Arc<Set<Jump>>>,
}

/// Reads all tables of IPv4 and IPv6. What cannot be read is left out if it is nothing that a packet meets, and else a rule that is not understood.
pub(crate) fn tables(listing: &Json) -> Vec<Table> {
    let objects: Vec<(&String, &Map<String, Json>)> = listing
        .get("nftables")
        .and_then(Json::as_array)
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let (kind, object) = entry.as_object()?.iter().next()?;
            Some((kind, object.as_object()?))
        })
        .collect();
    let mut tables: HashMap<(Family, &str), (Table, Named)> = HashMap::new();
    let mut order = Vec::new();
    for (kind, object) in &objects {
        let place = place(kind, object);
        let Some((family, name)) = place else { continue };
        if kind.as_str() == "table" {
            if is_dormant(object) {
                continue;
            }
            let mut table = Table::new(family, name, Flavour::Nft);
            table.unknown = unknown_flags(object);
            order.push((family, name));
            tables.insert((family, name), (table, Named::default()));
            continue;
        }
        // Of a table that is switched off.
        let Some((_, named)) = tables.get_mut(&(family, name)) else {
            continue;
        };
        if kind.as_str() == "set" || kind.as_str() == "map" {
            sets::read(named, object);
        }
    }
    for (kind, object) in &objects {
        let Some((table, named)) = place(kind, object).and_then(|place| tables.get_mut(&place)) else {
            continue;
        };
        match kind.as_str() {
            "chain" => {
                if let Some(name) = text(object, "name") {
                    let base = base(object);
                    table.chain(name).base = base;
                }
            }
            "rule" => {
                if let (Some(chain), Some(expr)) = (text(object, "chain"), object.get("expr")) {
                    let rule = Rule {
                        steps: steps(expr, named),
                        text: Text::Json(Arc::new(expr.clone())),
                    };
                    table.chain(chain).rules.push(rule);
                }
            }
            _ => {}
        }
    }
    let taken = order.into_iter().filter_map(|place| tables.remove(&place));
    taken.map(|(table, _)| table).collect()
}

/// Family and table that an object is of.
fn place<'a>(kind: &str, object: &'a Map<String, Json>) -> Option<(Family, &'a str)> {
    let family = Family::named(text(object, "family")?)?;
    let key = if kind == "table" { "name" } else { "table" };
    Some((family, text(object, key)?))
}

fn text<'a>(object: &'a Map<String, Json>, key: &str) -> Option<&'a str> {
    object.get(key)?.as_str()
}

fn flags(object: &Map<String, Json>) -> Vec<&str> {
    match object.get("flags") {
        Some(Json::String(flag)) => vec![flag],
        Some(Json::Array(flags)) => flags.iter().filter_map(Json::as_str).collect(),
        _ => Vec::new(),
    }
}

fn is_dormant(table: &Map<String, Json>) -> bool {
    flags(table).contains(&"dormant")
}

/// nft before 1.0.7 prints the family in the place of flags: whether that was `dormant` cannot be told.
fn unknown_flags(table: &Map<String, Json>) -> Option<String> {
    let flags = flags(table);
    let unknown = flags.iter().find(|flag| !["owner", "persist"].contains(*flag))?;
    Some(format!("flags {unknown} of the table"))
}

fn base(chain: &Map<String, Json>) -> Option<Base> {
    let hook = Hook::named(text(chain, "hook")?)?;
    Some(Base {
        hook,
        priority: chain.get("prio")?.as_i64()?,
        is_nat: text(chain, "type") == Some("nat"),
        drops: text(chain, "policy") == Some("drop"),
    })
}

fn steps(expr: &Json, named: &Named) -> Vec<Step> {
    let mut steps = Vec::new();
    for statement in expr.as_array().into_iter().flatten() {
        let single = statement.as_object().and_then(|object| object.iter().next());
        match single {
            Some((kind, value)) => steps.extend(step(kind, value, named)),
            // `accept` and its like may stand without a value.
            None => match statement.as_str() {
                Some(kind) => steps.extend(step(kind, &Json::Null, named)),
                None => steps.push(Step::Do(Action::Unknown(statement.to_string()))),
            },
        }
    }
    steps
}

/// `None`: it changes nothing that is looked at here.
fn step(kind: &str, value: &Json, named: &Named) -> Option<Step> {
    let target = || value.get("target").and_then(Json::as_str).map(Box::from);
    let unknown = || Action::Unknown(words(&serde_json::json!([{ kind: value }])));
    let action = match kind {
        "match" => return Some(Step::If(compare(value, named))),
        "limit" | "quota" | "ct count" => return Some(Step::If(Condition::Unknown(kind.to_owned()))),
        "counter" | "log" | "comment" | "set" | "map" | "dup" | "flow" | "secmark" | "ct helper" | "ct timeout"
        | "ct expectation" | "last" => return None,
        "accept" => Action::Go(Jump::Accept),
        "drop" => Action::Go(Jump::Drop),
        "continue" => Action::Go(Jump::Continue),
        "return" => Action::Go(Jump::Return),
        "jump" => target().map_or_else(unknown, |target| Action::Go(Jump::To(target))),
        "goto" => target().map_or_else(unknown, |target| Action::Go(Jump::Goto(target))),
        "reject" => Action::Reject,
        "notrack" => Action::Untrack,
        "masquerade" => Action::Masquerade,
        "redirect" => Action::Redirect(value.get("port").map(|port| expression(port, named))),
        "dnat" => Action::Dnat {
            address: value.get("addr").map(|address| expression(address, named)),
            port: value.get("port").map(|port| expression(port, named)),
        },
        "snat" => Action::Snat,
        "vmap" => dispatch(value, named).unwrap_or_else(unknown),
        "mangle" => mangle(value, named).unwrap_or_else(unknown),
        "xt" => return xt(value),
        _ => unknown(),
    };
    Some(Step::Do(action))
}

fn dispatch(value: &Json, named: &Named) -> Option<Action> {
    let key = expression(value.get("key")?, named);
    let data = value.get("data")?;
    let map = match data.as_str() {
        Some(name) => named.verdicts.get(name.strip_prefix('@')?)?.clone(),
        None => Arc::new(sets::verdicts(data.get("set")?)),
    };
    Some(Action::Dispatch(key, map))
}

fn mangle(value: &Json, named: &Named) -> Option<Action> {
    let (key, value) = (value.get("key")?, expression(value.get("value")?, named));
    match (expression(key, named), key.get("meta"), key.get("ct")) {
        (Expr::Mark, ..) => Some(Action::SetMark(value)),
        (Expr::CtMark, ..) => Some(Action::SetCtMark(value)),
        // Priority, DSCP, the size of segments: nothing that is asked for here.
        (_, Some(_), _) | (_, _, Some(_)) => Some(Action::Go(Jump::Continue)),
        _ if key.get("tcp option").is_some() => Some(Action::Go(Jump::Continue)),
        _ => {
            let field = key.get("payload")?.get("field")?.as_str()?;
            ["dscp", "ecn", "ttl", "hoplimit"]
                .contains(&field)
                .then_some(Action::Go(Jump::Continue))
        }
    }
}

/// An extension of iptables: only its name is told.
fn xt(value: &Json) -> Option<Step> {
    let name = value.get("name").and_then(Json::as_str).unwrap_or("?");
    let is_match = value.get("type").and_then(Json::as_str) == Some("match");
    match name {
        "comment" | "nfacct" | "LOG" | "NFLOG" | "TCPMSS" | "CHECKSUM" => None,
        _ if is_match => Some(Step::If(Condition::Unknown(format!("iptables' {name}")))),
        "MASQUERADE" => Some(Step::Do(Action::Masquerade)),
        "REJECT" => Some(Step::Do(Action::Reject)),
        _ => Some(Step::Do(Action::Unknown(format!("iptables' {name}")))),
    }
}
