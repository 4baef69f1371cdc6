//! The pods of the golden vectors, which were worked out by hand: each is added on a node that is told what the vector's `node.json` says,
//! and `ip` must then show what the vector has for its veth and for its inside.

use crate::{
    sandbox::{Sandbox, trial},
    world::{World, ip},
};
use libtest_mimic::Trial;
use netcheck_cni_intent::AttachmentKey;
use serde_json::{Value, json};
use std::{fs, path::Path};

pub fn trials() -> Vec<Trial> {
    vec![trial("pods_of_the_golden_vectors", pods_of_the_golden_vectors)]
}

fn pods_of_the_golden_vectors() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../golden");
    let mut pods = 0;
    for file in fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        let vector: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        for attachment in vector["input"]["attachments"].as_array().unwrap() {
            let node = &vector["expected"][attachment["node"].as_str().unwrap()];
            if node["nodeJson"]["ready"] == json!(true) {
                matches_vector(node, attachment, &path.display().to_string());
                pods += 1;
            }
        }
    }
    assert!(pods >= 6, "only {pods} pods in the vectors");
}

fn matches_vector(node: &Value, attachment: &Value, vector: &str) {
    let world = World::with_ranges(&[]);
    world.write_node(&node["nodeJson"]);
    let key: AttachmentKey = attachment["key"].as_str().unwrap().parse().unwrap();
    let mut config = world.config("1.1.0");
    config["name"] = json!(key.network);
    config["runtimeConfig"] = json!({"ips": attachment["ips"]});
    let named = |what: &str| attachment["pod"][what].as_str().unwrap();
    let args = format!(
        "K8S_POD_NAMESPACE={};K8S_POD_NAME={};K8S_POD_UID={}",
        named("namespace"),
        named("name"),
        named("uid")
    );
    let pod = Sandbox::new();
    let call = world
        .call("ADD")
        .id(&key.container_id)
        .pod(&pod)
        .set("CNI_IFNAME", &key.if_name);
    call.set("CNI_ARGS", &args).config(&config).end().done();

    let veth = key.host_veth();
    let of_veth = |list: &str, name: &str| -> Vec<Value> {
        let all = node[list].as_array().unwrap().iter();
        all.filter(|one| one[name] == json!(veth)).cloned().collect()
    };
    let links = world.ip(&format!("link show {veth}"));
    compare(&links, &of_veth("links", "ifname"), &format!("{vector}: link"));
    let routes = [
        world.ip(&format!("-4 route show dev {veth}")),
        world.ip(&format!("-6 route show dev {veth}")),
    ];
    // `dev` goes without saying when it is asked for.
    let without_dev = |mut one: Value| {
        one.as_object_mut().unwrap().remove("dev");
        one
    };
    let wanted: Vec<_> = of_veth("routes", "dev").into_iter().map(without_dev).collect();
    let found = without_kernels_own(routes.concat());
    compare(&found, &wanted, &format!("{vector}: routes"));
    let neighbours = world.ip(&format!("neigh show dev {veth} nud permanent"));
    let wanted: Vec<_> = of_veth("neighbours", "dev").into_iter().map(without_dev).collect();
    compare(&neighbours, &wanted, &format!("{vector}: neighbours"));

    let inside = &node["pods"][key.to_string()];
    let name = &key.if_name;
    compare(
        &ip(&pod, &format!("link show {name}")),
        &[inside["link"].clone()],
        &format!("{vector}: pod's link"),
    );
    let addresses = ip(&pod, &format!("addr show {name}")).remove(0)["addr_info"].take();
    let global = addresses
        .as_array()
        .unwrap()
        .iter()
        .filter(|one| one["scope"] == "global");
    let global: Vec<_> = global.cloned().collect();
    compare(
        &global,
        list(inside, "addresses"),
        &format!("{vector}: pod's addresses"),
    );
    let routes = [ip(&pod, "-4 route"), ip(&pod, "-6 route")].concat();
    compare(
        &without_kernels_own(routes),
        list(inside, "routes"),
        &format!("{vector}: pod's routes"),
    );
    let neighbours = ip(&pod, "neigh show nud permanent");
    compare(
        &neighbours,
        list(inside, "neighbours"),
        &format!("{vector}: pod's neighbours"),
    );
    let call = world.call("DEL").id(&key.container_id).set("CNI_IFNAME", name);
    call.config(&config).end().done();
    world.assert_empty(vector);
}

fn list<'a>(inside: &'a Value, name: &str) -> &'a [Value] {
    inside[name].as_array().unwrap()
}

fn without_kernels_own(mut routes: Vec<Value>) -> Vec<Value> {
    routes.retain(|route| route["protocol"] != "kernel");
    routes
}

/// As many, and each wanted one is there with all that it says.
fn compare(found: &[Value], wanted: &[Value], what: &str) {
    assert_eq!(found.len(), wanted.len(), "{what}: {found:#?}");
    for one in wanted {
        assert!(
            found.iter().any(|found| says(found, one)),
            "{what}: {one} is not in {found:#?}"
        );
    }
}

fn says(found: &Value, wanted: &Value) -> bool {
    match wanted {
        Value::Object(wanted) => wanted
            .iter()
            .all(|(key, value)| found.get(key).is_some_and(|found| says(found, value))),
        other => found == other,
    }
}
