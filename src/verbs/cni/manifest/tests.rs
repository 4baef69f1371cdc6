use super::*;
use crate::{
    agents::manifest::tests::assert_kept,
    output::{self, Format},
    verbs::cni::config,
};
use k8s_openapi::api::{
    apps::v1::DaemonSet,
    batch::v1::Job,
    core::v1::{ConfigMap, Namespace, ServiceAccount},
    rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding},
};
use serde::{Serialize, de::DeserializeOwned};
use std::{env, fs, path::Path};

fn settings() -> Settings {
    let ranges = [(
        config::CLUSTER_CIDRS.to_owned(),
        "10.244.0.0/16,fd00:10:244::/48".to_owned(),
    )];
    Settings {
        image: "ghcr.io/kubectl-netcheck/netcheck-cni:0.1.0".to_owned(),
        pull_secrets: Vec::new(),
        data: config::merged(None, &ranges.into()),
        api_server: None,
    }
}

fn undoing(force: bool) -> Undoing {
    Undoing {
        image: "i".to_owned(),
        pull_secrets: Vec::new(),
        force,
        seconds: 60,
    }
}

/// What people apply without the plugin. `NETCHECK_UPDATE_MANIFESTS=1 cargo test manifest` writes it anew.
#[test]
fn the_committed_manifest_is_what_is_rendered() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("bundled-cni/deploy/netcheck-cni.yaml");
    let head = "# What kubectl netcheck cni install --pod-cidr 10.244.0.0/16,fd00:10:244::/48 --dry-run prints. Put your cluster's pod ranges into\n\
                # clusterCIDRs before you apply this by hand. NetworkPolicies are not enforced.\n";
    let rendered = head.to_owned() + &output::objects(Format::Yaml, &objects(&settings())).unwrap();
    if env::var_os("NETCHECK_UPDATE_MANIFESTS").is_some() {
        fs::write(&path, &rendered).unwrap();
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == rendered,
        "{} is not current; NETCHECK_UPDATE_MANIFESTS=1 cargo test manifest",
        path.display()
    );
}

fn through<T: Serialize + DeserializeOwned>(object: &Value) {
    let typed: T = serde_json::from_value(object.clone()).unwrap();
    assert_kept(
        object,
        &serde_json::to_value(typed).unwrap(),
        object["kind"].as_str().unwrap(),
    );
}

#[test]
fn the_api_knows_every_field() {
    let settings = Settings {
        api_server: Some(("192.0.2.1".to_owned(), 6443)),
        pull_secrets: vec!["regcred".to_owned()],
        ..settings()
    };
    for Explained { object, .. } in objects(&settings) {
        match object["kind"].as_str().unwrap() {
            "Namespace" => through::<Namespace>(&object),
            "ServiceAccount" => through::<ServiceAccount>(&object),
            "ClusterRole" => through::<ClusterRole>(&object),
            "ClusterRoleBinding" => through::<ClusterRoleBinding>(&object),
            "Role" => through::<Role>(&object),
            "RoleBinding" => through::<RoleBinding>(&object),
            "ConfigMap" => through::<ConfigMap>(&object),
            "DaemonSet" => through::<DaemonSet>(&object),
            kind => panic!("{kind} is not looked at"),
        }
    }
    through::<Job>(&uninstall_job(&undoing(true), "netcheck-cni-uninstall-0", "n1"));
}

#[test]
fn the_api_server_may_be_named_where_services_do_not_work() {
    let settings = Settings {
        api_server: Some(("2001:db8::1".to_owned(), 6443)),
        ..settings()
    };
    let daemon = daemon_set(&settings).object;
    let environment = &daemon["spec"]["template"]["spec"]["containers"][0]["env"];
    assert_eq!(environment[1]["value"], "2001:db8::1");
    assert_eq!(environment[2]["value"], "6443");
}

#[test]
fn what_undoes_a_node_stands_where_the_daemon_stood_without_its_rights() {
    let daemon = &daemon_set(&settings()).object["spec"]["template"]["spec"];
    let job = uninstall_job(&undoing(false), "netcheck-cni-uninstall-2", "n1");
    let pod = &job["spec"]["template"]["spec"];
    assert_eq!(pod["volumes"], daemon["volumes"]);
    assert_eq!(pod["containers"][0]["args"], json!(["uninstall"]));
    assert_eq!(pod["automountServiceAccountToken"], false);
    assert_eq!(pod["nodeName"], "n1");
    let forced = uninstall_job(&undoing(true), "netcheck-cni-uninstall-2", "n1");
    assert_eq!(
        forced["spec"]["template"]["spec"]["containers"][0]["args"],
        json!(["uninstall", "--evict"])
    );
}
