//! The CNI configuration in force, and its plugins: what a runtime reads of `/etc/cni/net.d` and runs of `/opt/cni/bin`.

use crate::verify::{
    found::Found,
    group::Group,
    network::{Differences, Unchecked},
};
use netcheck_node_state::record::{Entry, NodeRecord};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Where runtimes look for configurations.
pub const FOLDER: &str = "/etc/cni/net.d";
/// Where they look for plugins.
pub const PLUGINS: &str = "/opt/cni/bin";

/// The first configuration by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Configuration {
    /// Its file.
    pub file: String,
    /// Its `name`.
    pub name: String,
    /// Its `cniVersion`; `None` where the runtime chooses among several (`cniVersions`), or takes the first there was.
    pub version: Option<String>,
    /// The `type` of its first plugin, which makes the interface.
    pub first: String,
    /// All plugins that it needs, those for addresses and those that others call included.
    pub types: BTreeSet<String>,
    /// Where `host-local` keeps its networks, if it gives out the addresses.
    pub host_local: Option<String>,
    /// Whether a bridge that it makes is the pods' gateway.
    pub bridge_is_gateway: bool,
}

/// A file that the runtime tries and cannot read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// Its name.
    pub file: String,
    /// What is wrong with it.
    pub why: String,
}

/// Files that runtimes take for configurations (`ConfFiles()` of libcni).
pub fn is_configuration(name: &str) -> bool {
    [".conf", ".conflist", ".json"].iter().any(|end| name.ends_with(end))
}

impl Configuration {
    /// Reads the first one; `None` if there is none, or the folder was not read.
    ///
    /// # Errors
    /// If the first cannot be read: containerd then takes none at all.
    pub fn first(record: &NodeRecord) -> Result<Option<Self>, Broken> {
        let Some(Ok(entries)) = record.folders.get(FOLDER) else {
            return Ok(None);
        };
        let mut entries = entries.iter().filter(|(name, _)| is_configuration(name));
        let Some((file, text)) = entries.find_map(|(name, entry)| match &entry.text {
            // What a link leads to is not read.
            Some(Ok(text)) if !entry.is_link => Some((name, text)),
            _ => None,
        }) else {
            return Ok(None);
        };
        let read = serde_json::from_str(text).map_err(|error| error.to_string());
        let read = read.and_then(|value: Value| Self::of(file, &value).ok_or_else(|| "it names no plugins".to_owned()));
        read.map(Some).map_err(|why| Broken {
            file: file.clone(),
            why,
        })
    }

    /// Reads one; `None` if it names no plugins.
    pub fn of(file: &str, value: &Value) -> Option<Self> {
        let alone = [value.clone()];
        let plugins: &[Value] = match value.get("plugins") {
            Some(plugins) => plugins.as_array()?,
            None => &alone,
        };
        let mut configuration = Self {
            file: file.to_owned(),
            name: value["name"].as_str().unwrap_or_default().to_owned(),
            version: value["cniVersion"]
                .as_str()
                .filter(|_| value["cniVersions"].is_null())
                .map(str::to_owned),
            first: plugins.first()?["type"].as_str()?.to_owned(),
            types: BTreeSet::new(),
            host_local: None,
            bridge_is_gateway: false,
        };
        for plugin in plugins {
            configuration.add(plugin["type"].as_str()?, plugin);
        }
        Some(configuration)
    }

    fn add(&mut self, kind: &str, plugin: &Value) {
        self.types.insert(kind.to_owned());
        let is = |key: &str| plugin[key].as_bool() == Some(true);
        match kind {
            // It calls others: the bridge and host-local unless it is told otherwise (plugins/meta/flannel of flannel-io/cni-plugin).
            "flannel" => {
                let delegate = plugin["delegate"]["type"].as_str().unwrap_or("bridge");
                self.types.extend([delegate, "host-local"].map(str::to_owned));
                self.bridge_is_gateway |= delegate == "bridge";
            }
            "bridge" => self.bridge_is_gateway |= is("isGateway") || is("isDefaultGateway"),
            _ => {}
        }
        if let Some(ipam) = plugin["ipam"]["type"].as_str() {
            self.types.insert(ipam.to_owned());
            if ipam == "host-local" {
                let folder = plugin["ipam"]["dataDir"].as_str().unwrap_or("/var/lib/cni/networks");
                self.host_local = Some(folder.trim_end_matches('/').to_owned());
            }
        }
    }
}

/// Compares what was read with what a runtime needs.
pub fn judge(
    record: &NodeRecord,
    first: Result<&Option<Configuration>, &Broken>,
    differences: &mut Differences,
    is_known: bool,
) {
    let mut unchecked = |why: String| {
        differences.unchecked.push(Unchecked {
            group: Group::Disk,
            why,
        });
    };
    let entries = match record.folders.get(FOLDER) {
        Some(Ok(entries)) => entries,
        // k3s and others have folders of their own.
        Some(Err(why)) => return unchecked(format!("{FOLDER}: {why}")),
        None => return unchecked(format!("{FOLDER} was not read")),
    };
    let configuration = match first {
        Ok(Some(configuration)) => configuration,
        Ok(None) if entries.keys().any(|name| is_configuration(name)) => {
            return unchecked(format!("what the files in {FOLDER} say could not be read"));
        }
        // Some runtimes have their configurations elsewhere, and the folder all the same.
        Ok(None) if !is_known => return unchecked(format!("no CNI configuration is in {FOLDER}")),
        Ok(None) => {
            differences.found.push(
                Found::new("verify-conf-missing", FOLDER, "a CNI configuration", "there is none")
                    .look(format!("ls {FOLDER}"))
                    .fix("install the network's DaemonSet anew, or look at the log of its pod on this node"),
            );
            return;
        }
        Err(broken) => {
            let found = self::broken(&broken.file, &broken.why);
            differences.found.push(found.fix(format!(
                "have the network's agent write {FOLDER}/{} anew: delete its pod on this node",
                broken.file
            )));
            return;
        }
    };
    match record.folders.get(PLUGINS) {
        Some(Ok(there)) => {
            // Runtimes look into further folders: where nothing of the configuration is in this one, it is another.
            if !configuration.types.iter().any(|name| there.contains_key(name)) {
                return unchecked(format!("none of the plugins that are configured is in {PLUGINS}"));
            }
            // Not every runtime calls it: it is missed where the other reference plugins are.
            let has_package = ["bridge", "host-local", "ptp"]
                .iter()
                .any(|name| there.contains_key(*name));
            let needed = configuration.types.iter().map(String::as_str);
            let needed = needed.chain(has_package.then_some("loopback"));
            for name in needed {
                differences.found.extend(missing_plugin(there, name).map(|found| {
                    found.fix(format!(
                        "put {PLUGINS}/{name} back: from the network's image, or the package kubernetes-cni"
                    ))
                }));
            }
        }
        Some(Err(why)) => unchecked(format!("{PLUGINS}: {why}")),
        None => unchecked(format!("{PLUGINS} was not read")),
    }
}

/// Plugins that do not speak the configuration's version. Those that could not be asked may be well: the agent's image is not the node.
pub fn versions(record: &NodeRecord, configuration: &Configuration, found: &mut Vec<Found>) {
    let Some(wanted) = &configuration.version else { return };
    for name in &configuration.types {
        let Some(Ok(answer)) = record.plugins.get(name) else {
            continue;
        };
        let Ok(answer) = serde_json::from_str::<Value>(answer) else {
            continue;
        };
        let Some(spoken) = answer["supportedVersions"].as_array() else {
            continue;
        };
        let spoken: Vec<&str> = spoken.iter().filter_map(Value::as_str).collect();
        if spoken.contains(&wanted.as_str()) {
            continue;
        }
        found.push(
            Found::new(
                "verify-plugin-version",
                name,
                format!("version {wanted} of CNI, as {} says", configuration.file),
                format!("versions {}", spoken.join(", ")),
            )
            .look(format!("echo '{{}}' | CNI_COMMAND=VERSION {PLUGINS}/{name}"))
            .fix(format!(
                "install a newer {PLUGINS}/{name}, or have {FOLDER}/{} name a version that it speaks",
                configuration.file
            )),
        );
    }
}

/// A configuration that is none.
pub fn broken(file: &str, why: &str) -> Found {
    Found::new("verify-conf-broken", file, "a CNI configuration list in JSON", why).look(format!("cat {FOLDER}/{file}"))
}

/// What is wrong with a plugin's file, if anything is.
pub fn missing_plugin(there: &BTreeMap<String, Entry>, name: &str) -> Option<Found> {
    let actual = match there.get(name) {
        None => "it is not there".to_owned(),
        // A link's own mode and length say nothing of what it leads to.
        Some(entry) if entry.mode & 0o111 == 0 => format!("it cannot be executed: mode {:o}", entry.mode),
        Some(entry) if entry.length == 0 => "it is empty".to_owned(),
        Some(_) => return None,
    };
    Some(
        Found::new(
            "verify-plugin-missing",
            name,
            format!("an executable {PLUGINS}/{name}"),
            actual,
        )
        .look(format!("ls -l {PLUGINS}/{name}")),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use netcheck_node_state::record::Space;

    fn wrong(conflist: &str, answer: Result<&str, &str>) -> Vec<String> {
        let value = serde_json::from_str(conflist).unwrap();
        let configuration = Configuration::of("10-net.conflist", &value).unwrap();
        let answer = answer.map(str::to_owned).map_err(str::to_owned);
        let record = NodeRecord {
            plugins: BTreeMap::from([("ptp".to_owned(), answer)]),
            ..NodeRecord::of(Space::default())
        };
        let mut found = Vec::new();
        versions(&record, &configuration, &mut found);
        found.into_iter().map(|one| one.object).collect()
    }

    #[test]
    fn a_plugin_that_does_not_speak_the_configurations_version_is_told() {
        let list = |version: &str| format!(r#"{{"cniVersion":"{version}","name":"n","plugins":[{{"type":"ptp"}}]}}"#);
        let answer = Ok(r#"{"cniVersion":"1.0.0","supportedVersions":["0.4.0","1.0.0"]}"#);
        assert_eq!(wrong(&list("1.1.0"), answer), ["ptp"]);
        assert_eq!(wrong(&list("1.0.0"), answer), [""; 0]);
        // The runtime chooses one that both know.
        let several = r#"{"cniVersion":"1.1.0","cniVersions":["1.0.0","1.1.0"],"plugins":[{"type":"ptp"}]}"#;
        assert_eq!(wrong(several, answer), [""; 0]);
        // What could not be asked says nothing of the node.
        for silent in [Err("exit status: 1"), Ok(""), Ok("{}"), Ok("[1]")] {
            assert_eq!(wrong(&list("1.1.0"), silent), [""; 0], "{silent:?}");
        }
    }
}
