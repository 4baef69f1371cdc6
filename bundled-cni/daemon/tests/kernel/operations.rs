//! What the plugin tells the daemon of its calls, and that it needs no daemon for it.

use crate::{
    node::{Node, attachments, node_of},
    vector,
};
use libtest_mimic::Trial;
use netcheck_cni_daemon::{metrics::Metrics, operations};
use netcheck_trials::{Need, trial, wait_for};
use serde_json::json;
use std::{
    fs,
    os::unix::fs::{FileTypeExt as _, MetadataExt as _},
    sync::Arc,
};

pub fn trials(needs: &'static [Need]) -> Vec<Trial> {
    vec![trial("operations::calls_are_counted", needs, calls_are_counted)]
}

fn calls_are_counted() {
    let vector = vector::read("02-dual-stack-vxlan");
    let mut node = Node::furnished(node_of(&vector, "n1"));
    node.settle(&vector::view(&vector));
    let attachment = attachments(&vector, "n1")[0];
    // Nobody listens yet.
    assert_eq!(node.add(attachment).0, 0);
    node.del(attachment);

    let metrics = Arc::new(Metrics::new("/nonexistent".into()));
    operations::listen(&node.places().state, metrics.clone()).unwrap();
    let socket = node.places().state.join("operations.sock");
    let is_bound =
        || fs::symlink_metadata(&socket).is_ok_and(|file| file.file_type().is_socket() && file.mode() & 0o777 == 0o600);
    wait_for("the socket", is_bound);
    let says = |line: &str| {
        let line = format!("netcheck_cni_operation_{line}\n");
        wait_for(&line, || metrics.text().unwrap().contains(&line));
    };
    assert_eq!(node.add(attachment).0, 0);
    says("duration_seconds_count{verb=\"ADD\"} 1");
    let (status, said) = node.add(attachment);
    assert_eq!((status, &said["code"]), (1, &json!(101)));
    says("duration_seconds_count{verb=\"ADD\"} 2");
    says("failures_total{verb=\"ADD\",code=\"101\"} 1");
    let (status, said) = node.call(
        "ADD",
        &[
            ("CNI_CONTAINERID", "c9"),
            ("CNI_IFNAME", "eth0"),
            ("CNI_NETNS", "/dev/null"),
        ],
        &json!({}),
    );
    assert_eq!((status, &said["code"]), (1, &json!(4)));
    says("failures_total{verb=\"ADD\",code=\"4\"} 1");
    node.del(attachment);
    says("duration_seconds_count{verb=\"DEL\"} 1");
    let text = metrics.text().unwrap();
    assert!(!text.contains("failures_total{verb=\"DEL\""), "{text}");
    let sum = text
        .lines()
        .find_map(|line| line.strip_prefix("netcheck_cni_operation_duration_seconds_sum{verb=\"ADD\"} "));
    let sum: f64 = sum.unwrap().parse().unwrap();
    assert!(sum > 0.0 && sum < 3.0 * 240.0, "{sum}");

    // Somebody takes the socket away: another one is there soon.
    fs::remove_file(&socket).unwrap();
    wait_for("another socket", is_bound);
    assert_eq!(node.add(attachment).0, 0);
    says("duration_seconds_count{verb=\"ADD\"} 4");
}
