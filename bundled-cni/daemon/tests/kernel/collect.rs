//! What pods that are gone, and processes that died, have left on a node goes without a word of the runtime (SPEC.md 7.3, Collection).

use crate::{
    held::Held,
    node::{Node, attachments, node_of},
    shell::run,
    vector::{self, words},
};
use libtest_mimic::Trial;
use netcheck_cni::steps::Step;
use netcheck_cni_daemon::{cluster::View, uninstall::uninstall};
use netcheck_cni_intent::publish::Degraded;
use netcheck_trials::{Need, trial, wait_for};
use serde_json::{Value, json};
use std::{fs, path::PathBuf};

pub fn trials(needs: &'static [Need]) -> Vec<Trial> {
    vec![
        trial(
            "collect::an_add_that_died_is_cleared_away",
            needs,
            an_add_that_died_is_cleared_away,
        ),
        trial("collect::a_pod_without_a_del_goes", needs, a_pod_without_a_del_goes),
        trial(
            "collect::a_pod_whose_file_is_cut_is_left_alone",
            needs,
            a_pod_whose_file_is_cut_is_left_alone,
        ),
    ]
}

/// A node with a pod that nothing here concerns.
struct Site {
    node: Node,
    view: View,
    attachment: Value,
    /// Its firewall's table is the vector's all the time.
    nft: Value,
    before: (Held, Vec<String>),
}

impl Site {
    fn new() -> Self {
        let vector = vector::read("02-dual-stack-vxlan");
        let view = vector::view(&vector);
        let mut node = Node::furnished(node_of(&vector, "n1"));
        node.settle(&view);
        let mut attachment = attachments(&vector, "n1")[0].clone();
        attachment["ips"] = Value::Null;
        let mut bystander = attachment.clone();
        bystander["key"] = "netcheck@bystander@eth0".into();
        assert_eq!(node.add(&bystander).0, 0);
        let mut site = Self {
            nft: json!({ "nft": vector["expected"]["n1"]["nft"] }),
            before: (node.held(), Vec::new()),
            node,
            view,
            attachment,
        };
        site.period();
        site.before = (site.node.held(), site.on_disk());
        site
    }

    /// A period goes by, for all that is there. What is given out has been for a while.
    fn period(&mut self) {
        let links = self.node.places().state.join("ipam/ip");
        run(&format!(
            "find {} -type l -exec touch -h -d '2 minutes ago' {{}} +",
            links.display()
        ));
        self.node.look_at_all();
        self.node.settle(&self.view);
    }

    /// All files of addresses and attachments, temporary ones included.
    fn on_disk(&self) -> Vec<String> {
        let state = self.node.places().state;
        let names = |folder: &str| {
            let entries = fs::read_dir(state.join(folder)).unwrap();
            entries
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect::<Vec<_>>()
        };
        let mut all = [names("ipam"), names("ipam/ip"), names("att")].concat();
        all.retain(|name| !name.starts_with("cursor"));
        all.sort();
        all
    }

    fn file(&self) -> PathBuf {
        self.node
            .places()
            .state
            .join("att")
            .join(words(&self.attachment["key"]))
    }

    fn is_as_before(&self, after: &str) {
        assert_eq!(self.on_disk(), self.before.1, "{after}");
        let differences = self.node.held().differences(&self.before.0, &self.nft);
        assert_eq!(differences, "", "{after}");
    }
}

fn an_add_that_died_is_cleared_away() {
    let mut site = Site::new();
    for step in Step::ALL.into_iter().filter(|step| step.text().starts_with("Add")) {
        site.node.add_and_die(&site.attachment, step);
        // The runtime drops the sandbox, and forgets it.
        site.node.pods.remove(&words(&site.attachment["key"]));
        site.period();
        site.period();
        site.is_as_before(&step.text());
    }
    // So does what was not written to its end.
    let places = site.node.places();
    for folder in [
        places.state.join("ipam"),
        places.state.join("att"),
        places.bin,
        places.conf,
    ] {
        let file = folder.join(".netcheck-cni.1.1");
        run(&format!(
            "echo half > {0}; touch -d '2 minutes ago' {0}",
            file.display()
        ));
        site.period();
        assert!(!file.exists(), "{}", file.display());
    }
    site.is_as_before("files that were not whole");
}

fn a_pod_without_a_del_goes() {
    let mut site = Site::new();
    assert_eq!(site.node.add(&site.attachment).0, 0);
    site.period();
    site.period();
    assert!(site.file().exists(), "a pod that lives stays");
    site.node.pods.remove(&words(&site.attachment["key"]));
    // Not at the first look: a pod that is being restarted may look like that for a moment.
    site.period();
    assert!(site.file().exists());
    site.period();
    site.is_as_before("its namespace");
}

fn a_pod_whose_file_is_cut_is_left_alone() {
    let mut site = Site::new();
    assert_eq!(site.node.add(&site.attachment).0, 0);
    site.period();
    let (wired, on_disk) = (site.node.held(), site.on_disk());
    let whole = fs::read(site.file()).unwrap();
    fs::write(site.file(), &whole[..whole.len() / 2]).unwrap();
    for _ in 0..3 {
        site.period();
        assert_eq!(site.node.held().differences(&wired, &site.nft), "");
        assert_eq!(site.on_disk(), on_disk);
        let said = site.node.settle(&site.view).degraded;
        assert!(said.contains(&Degraded::AttachmentUnreadable), "{said:?}");
    }
    // Nor is it cut off by an uninstall that was not told to.
    let refused = uninstall(&site.node.places(), false).unwrap_err().to_string();
    assert!(refused.contains(&words(&site.attachment["key"])), "{refused}");

    // With the pod goes its veth, by a worker of the kernel's, and then nothing of it is there.
    site.node.pods.remove(&words(&site.attachment["key"]));
    let recorded: Value = serde_json::from_slice(&whole).unwrap();
    let veth = words(&recorded["hostVeth"]);
    wait_for("the veth to go", || {
        !site.node.sandbox.run("ip -o link").contains(&veth)
    });
    site.period();
    site.period();
    site.is_as_before("the pod whose file was cut");
    assert!(
        !site
            .node
            .settle(&site.view)
            .degraded
            .contains(&Degraded::AttachmentUnreadable)
    );
}
