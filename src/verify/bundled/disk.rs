//! The disk (SPEC.md, section 7): what the runtime reads, what the plugin wrote down, which addresses are given out.

use crate::verify::{
    found::Found,
    generic::{
        configuration::{self, FOLDER as CONFIGURATIONS, PLUGINS, is_configuration},
        room,
    },
    group::Group,
    network::{Differences, Unchecked},
    objects::Objects,
};
use ipnet::IpNet;
use netcheck_cni_intent::{
    AttachmentKey,
    names::{CONFLIST, PLUGIN, STATE_DIRECTORY},
    recorded::{Attachment, Progress},
};
use netcheck_node_state::record::{Entry, NodeRecord};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

const ATTACHMENTS: &str = "/run/netcheck-cni/att";
const ADDRESSES: &str = "/run/netcheck-cni/ipam/ip";
const NAMESPACES: &str = "/run/netns";
/// An ADD is under way at most this long.
const ADDING_SECONDS: u64 = 120;

/// Folders that are read, and whether with what their files say.
pub const FOLDERS: [(&str, bool); 6] = [
    (CONFIGURATIONS, true),
    (PLUGINS, false),
    (STATE_DIRECTORY, true),
    (ATTACHMENTS, true),
    (ADDRESSES, true),
    (NAMESPACES, false),
];

/// What was read of it.
#[derive(Debug, Default)]
pub struct Disk<'a> {
    folders: BTreeMap<&'static str, &'a BTreeMap<String, Entry>>,
    attachments: BTreeMap<AttachmentKey, Attachment>,
    /// Names of files in `att/` that cannot be read, and why.
    unreadable: BTreeMap<&'a str, String>,
}

impl<'a> Disk<'a> {
    /// Takes it from a record.
    pub fn read(record: &'a NodeRecord, differences: &mut Differences) -> Self {
        let mut disk = Self::default();
        for (path, _) in FOLDERS {
            match record.folders.get(path) {
                Some(Ok(entries)) => drop(disk.folders.insert(path, entries)),
                // Those are made when they are needed first.
                Some(Err(why)) if why == "no such folder" => {}
                Some(Err(why)) => differences.unchecked.push(Unchecked {
                    group: Group::Disk,
                    why: format!("{path}: {why}"),
                }),
                None => differences.unchecked.push(Unchecked {
                    group: Group::Disk,
                    why: format!("{path} was not read"),
                }),
            }
        }
        for (name, entry) in disk.entries(ATTACHMENTS) {
            // Temporary files: whoever writes one renames it, or removes it later.
            if name.starts_with('.') {
                continue;
            }
            let read = match &entry.text {
                Some(Ok(text)) => name
                    .parse::<AttachmentKey>()
                    .map_err(|error| error.to_string())
                    .and_then(|key| Attachment::parse(&key, text.as_bytes())),
                Some(Err(why)) => Err(why.clone()),
                None => Err("it was not read".to_owned()),
            };
            match read {
                Ok(attachment) => drop(disk.attachments.insert(attachment.key(), attachment)),
                Err(why) => drop(disk.unreadable.insert(name, why)),
            }
        }
        disk
    }

    fn entries(&self, path: &'static str) -> impl Iterator<Item = (&'a str, &'a Entry)> + use<'a> {
        let entries = self.folders.get(path).copied();
        entries
            .into_iter()
            .flatten()
            .map(|(name, entry)| (name.as_str(), entry))
    }

    /// Attachments that are done and whose namespaces are there.
    pub fn live(&self) -> impl Iterator<Item = &Attachment> {
        self.attachments
            .values()
            .filter(|attachment| attachment.state == Progress::Done && self.has_netns(attachment))
    }

    /// Whether its namespace still has its name; one that has its name elsewhere counts as there.
    fn has_netns(&self, attachment: &Attachment) -> bool {
        let Some((folder, name)) = attachment.netns.rsplit_once('/') else {
            return true;
        };
        let is_known = matches!(folder, "/run/netns" | "/var/run/netns");
        let Some(names) = self.folders.get(NAMESPACES).filter(|_| is_known) else {
            return true;
        };
        names.contains_key(name)
    }

    /// Compares it with the API.
    pub fn judge(&self, objects: &Objects, node: &str, found: &mut Vec<Found>) {
        self.configurations(found);
        self.plugins(found);
        self.attachments(found);
        self.addresses(&objects.ranges_of(node), found);
        self.pods(objects, node, found);
    }

    /// The runtime takes the first file by name (containerd's and CRI-O's `net.d`).
    fn configurations(&self, found: &mut Vec<Found>) {
        let Some(ours) = CONFLIST.rsplit('/').next() else {
            return;
        };
        if !self.folders.contains_key(CONFIGURATIONS) {
            return;
        }
        let names: Vec<&str> = self
            .entries(CONFIGURATIONS)
            .map(|(name, _)| name)
            .filter(|name| is_configuration(name))
            .collect();
        let look = format!("ls {CONFIGURATIONS}");
        let expected = format!("{CONFLIST} before all others");
        match names.first() {
            Some(first) if *first == ours => {}
            Some(first) if names.contains(&ours) => found.push(
                Found::new(
                    "verify-conf-foreign",
                    *first,
                    expected,
                    format!("{CONFIGURATIONS}/{first} comes first"),
                )
                .look(look)
                .fix(format!("mv {CONFIGURATIONS}/{first} {CONFIGURATIONS}/{first}.disabled")),
            ),
            _ => found.push(Found::new("verify-conf-missing", ours, expected, "there is no such file").look(look)),
        }
        let text = self.entries(CONFIGURATIONS).find(|(name, _)| *name == ours);
        if let Some((
            _,
            Entry {
                text: Some(Ok(text)), ..
            },
        )) = text
            && let Err(error) = serde_json::from_str::<serde_json::Value>(text)
        {
            found.push(configuration::broken(ours, &error.to_string()));
        }
    }

    fn plugins(&self, found: &mut Vec<Found>) {
        if let Some(there) = self.folders.get(PLUGINS) {
            let needed = [PLUGIN, "loopback"];
            found.extend(
                needed
                    .iter()
                    .filter_map(|name| configuration::missing_plugin(there, name)),
            );
        }
    }

    fn attachments(&self, found: &mut Vec<Found>) {
        for (name, why) in &self.unreadable {
            found.push(
                Found::new(
                    "verify-attachment-broken",
                    *name,
                    "the plugin's file about an attachment",
                    why,
                )
                .look(format!("cat {ATTACHMENTS}/{name}")),
            );
        }
        let ages: BTreeMap<&str, u64> = self
            .entries(ATTACHMENTS)
            .map(|(name, entry)| (name, entry.age_seconds))
            .collect();
        for (key, attachment) in &self.attachments {
            let file = key.to_string();
            let age = ages.get(file.as_str()).copied().unwrap_or_default();
            let about = format!("{} ({key})", attachment.pod);
            if attachment.state == Progress::Intent {
                if age > ADDING_SECONDS {
                    found.push(
                        Found::new(
                            "verify-attachment-unfinished",
                            about,
                            "an ADD that came to its end",
                            format!("one that began {age} s ago"),
                        )
                        .look(format!("cat {ATTACHMENTS}/{file}")),
                    );
                }
                continue;
            }
            if !self.has_netns(attachment) {
                let ips: Vec<String> = attachment.ips.iter().map(ToString::to_string).collect();
                found.push(
                    Found::new(
                        "verify-attachment-stale",
                        about,
                        "nothing of a pod that is gone",
                        format!(
                            "an attachment with {}, whose namespace {} is gone",
                            ips.join(", "),
                            attachment.netns
                        ),
                    )
                    .look(format!("cat {ATTACHMENTS}/{file}; ls {}", attachment.netns)),
                );
            }
        }
    }

    /// An address is given out by a link to the attachment that has it.
    fn addresses(&self, ranges: &[IpNet], found: &mut Vec<Found>) {
        if !self.folders.contains_key(ADDRESSES) {
            return;
        }
        let mut given: BTreeMap<IpAddr, &str> = BTreeMap::new();
        for (name, entry) in self.entries(ADDRESSES) {
            let (Ok(ip), Some(Ok(target))) = (name.parse(), &entry.text) else {
                continue;
            };
            given.insert(ip, target);
            let is_known = target
                .parse()
                .is_ok_and(|key: AttachmentKey| self.attachments.contains_key(&key));
            if !is_known && entry.age_seconds > ADDING_SECONDS {
                found.push(
                    Found::new(
                        "verify-address-leaked",
                        ip.to_string(),
                        "every address given out has an attachment",
                        format!("{target} has it, and there is no such attachment"),
                    )
                    .look(format!("ls -l {ADDRESSES}")),
                );
            }
        }
        room::addresses(ranges, &given.keys().copied().collect(), ADDRESSES, found);
        for attachment in self.live().filter(|attachment| attachment.ipam == PLUGIN) {
            for ip in attachment.ips.iter().filter(|ip| !given.contains_key(ip)) {
                found.push(
                    Found::new(
                        "verify-address-lost",
                        ip.to_string(),
                        format!("{ip} is given out to {}", attachment.pod),
                        "it counts as free: another pod may get it too",
                    )
                    .look(format!("ls -l {ADDRESSES}")),
                );
            }
        }
    }

    /// Pods of the API against attachments.
    fn pods(&self, objects: &Objects, node: &str, found: &mut Vec<Found>) {
        if !self.folders.contains_key(ATTACHMENTS) {
            return;
        }
        let mut by_uid: BTreeMap<&str, BTreeSet<IpAddr>> = BTreeMap::new();
        for attachment in self.live() {
            by_uid.entry(&attachment.pod.uid).or_default().extend(&attachment.ips);
        }
        for pod in objects.wired_on(node) {
            let told: BTreeSet<IpAddr> = pod.ips.iter().copied().collect();
            let list = |ips: &BTreeSet<IpAddr>| ips.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            match by_uid.get(pod.uid.as_str()) {
                None => found.push(
                    Found::new(
                        "verify-pod-unattached",
                        pod.full_name(),
                        "an attachment of ours",
                        "none: another CNI configuration was in force when it started, or the file is gone",
                    )
                    .look(format!("grep -l {} {ATTACHMENTS}/*", pod.uid))
                    .fix(format!("kubectl -n {} delete pod {}", pod.namespace, pod.name)),
                ),
                Some(ips) if !told.is_subset(ips) => found.push(
                    Found::new(
                        "verify-pod-address",
                        pod.full_name(),
                        format!("the addresses that the API tells: {}", list(&told)),
                        list(ips),
                    )
                    .look(format!("grep -h {} {ATTACHMENTS}/*", pod.uid))
                    .fix(format!("kubectl -n {} delete pod {}", pod.namespace, pod.name)),
                ),
                Some(_) => {}
            }
        }
    }
}
