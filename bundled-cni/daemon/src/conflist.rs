//! What the runtime reads: the plugins of the network, in their order (SPEC.md, section 7.1).

use netcheck_cni_intent::config::Chained;
use serde_json::{Value, json};

/// Its file's name: what sorts first in the folder wins (`go-cni`, `ocicni`).
pub const FILE: &str = "05-netcheck.conflist";

/// Name of the network.
const NETWORK: &str = "netcheck";

/// The list as text, with the plugins after ours, in the versions that all of them speak.
pub fn conflist(chain: &[Chained], versions: &[&str]) -> String {
    let ours = json!({ "type": "netcheck-cni", "capabilities": { "ips": true, "mac": true } });
    let plugins: Vec<Value> = [ours].into_iter().chain(chain.iter().copied().map(plugin)).collect();
    let list = json!({
        "cniVersion": preferred(versions),
        "cniVersions": versions,
        "name": NETWORK,
        "plugins": plugins,
    });
    format!("{list:#}\n")
}

/// For runtimes that know no `cniVersions`: not newer than what all of them know.
fn preferred<'a>(versions: &[&'a str]) -> &'a str {
    let known = versions.iter().rev().find(|version| **version != "1.1.0");
    known.or(versions.last()).copied().unwrap_or("1.0.0")
}

fn plugin(chained: Chained) -> Value {
    match chained {
        Chained::Portmap => json!({ "type": "portmap", "snat": true, "capabilities": { "portMappings": true } }),
        Chained::Bandwidth => json!({ "type": "bandwidth", "capabilities": { "bandwidth": true } }),
        Chained::Tuning => json!({ "type": "tuning" }),
    }
}

/// Of files in the folder, those that the runtime reads and that win against ours.
pub fn winners(names: impl IntoIterator<Item = String>) -> Vec<String> {
    let is_read = |name: &str| [".conf", ".conflist", ".json"].iter().any(|end| name.ends_with(end));
    let mut winners: Vec<String> = names
        .into_iter()
        .filter(|name| is_read(name) && name.as_str() < FILE && !name.starts_with('.'))
        .collect();
    winners.sort();
    winners
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ours_comes_first_and_the_chain_in_its_order() {
        let list: Value = serde_json::from_str(&conflist(
            &[Chained::Tuning, Chained::Portmap],
            &["0.4.0", "1.0.0", "1.1.0"],
        ))
        .unwrap();
        let types: Vec<_> = list["plugins"]
            .as_array()
            .unwrap()
            .iter()
            .map(|plugin| &plugin["type"])
            .collect();
        assert_eq!(types, ["netcheck-cni", "tuning", "portmap"]);
        assert_eq!(list["name"], "netcheck");
        assert_eq!(list["cniVersion"], "1.0.0");
        assert_eq!(list["cniVersions"], json!(["0.4.0", "1.0.0", "1.1.0"]));
    }

    #[test]
    fn only_configurations_that_sort_before_ours_win() {
        let names = [
            "10-calico.conflist",
            "00-multus.conf",
            FILE,
            ".05-a.conflist",
            "01-notes.txt",
            "05-a.json",
        ];
        assert_eq!(winners(names.map(str::to_owned)), ["00-multus.conf", "05-a.json"]);
    }
}
