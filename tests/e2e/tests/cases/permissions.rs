//! The printed Role is enough, and of it nothing is too much: each verb in it is taken away once.

use crate::{Case, healthy};
use anyhow::{Context, Result, ensure};
use netcheck_e2e::{
    lab::{Lab, said},
    matrix::Matrix,
};
use serde_json::Value;
use std::{ffi::OsStr, path::PathBuf, time::Duration};

pub const CASES: &[Case] = &[
    (
        "permissions: without any one verb of the Role for node agents that verb is named",
        node,
    ),
    (
        "permissions: without any one verb of the Role for ephemeral containers that verb is named",
        ephemeral,
    ),
];

/// What a run in the shop may do without: where, verb, resource, and why it is granted all the same.
const SPARED: &[(&str, &str, &str, &str)] = &[
    (
        "kube-system",
        "list",
        "pods",
        "without it DNS is asked, but its pods are not watched, and a note says so",
    ),
    (
        "netcheck",
        "list",
        "events",
        "says why the Job controller could not create a pod; here it can",
    ),
    (
        "",
        "get",
        "namespaces",
        "tells a namespace that is on its way out; here it stays",
    ),
    (
        "shop",
        "watch",
        "pods",
        "without it pods are listed again and again until the container runs: as good here, a burden where many start slowly",
    ),
    (
        "shop",
        "create",
        "pods/exec",
        "newer servers authorise a WebSocket as create; the rig's asks for get",
    ),
];

fn node(lab: &Lab) -> Result<()> {
    // What is printed holds the agents' namespace, which the last run's may be on its way out of.
    lab.wait_until_clean(Duration::from_mins(1))?;
    each_verb(lab, "node")?;
    // The namespace that the printed Role comes with stays by design; later cases want to see one come and go.
    lab.kubectl("delete namespace netcheck").map(drop)
}

fn ephemeral(lab: &Lab) -> Result<()> {
    each_verb(lab, "ephemeral")
}

/// A user, and the roles that let it run `matrix` in the shop by one way.
struct Guest<'a> {
    lab: &'a Lab,
    via: &'static str,
    user: String,
    kubeconfig: PathBuf,
}

impl Guest<'_> {
    /// A run as this user.
    fn matrix<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Result<std::process::Output> {
        let line = ["matrix", "-n", "shop", "-o", "json", "--via", self.via];
        let mut command = self.lab.netcheck_as(&self.kubeconfig, line);
        command.args(arguments).output().context("run matrix as a guest")
    }

    /// What is named where nothing is to be looked at in particular.
    fn usual(&self) -> &'static [&'static str] {
        match self.via {
            // Containers that nobody can remove: few of them, but all that the cluster role is for is asked.
            "ephemeral" => &["deploy/web"],
            _ => &[],
        }
    }

    /// What needs this verb: workloads are read only where they are named, one by name, all by type.
    fn needing(&self, namespace: Option<&str>, verb: &str, resource: &str) -> Vec<String> {
        const WORKLOADS: [&str; 7] = [
            "deployments",
            "statefulsets",
            "daemonsets",
            "replicasets",
            "replicationcontrollers",
            "jobs",
            "cronjobs",
        ];
        if namespace == Some("shop") && WORKLOADS.contains(&resource) {
            return match verb {
                "get" => vec![format!("{resource}/web")],
                _ => vec![resource.to_owned()],
            };
        }
        self.usual().iter().map(|&word| word.to_owned()).collect()
    }

    /// Waits until the API server's authorizer has seen a change of the roles. `what` as `kubectl auth can-i` takes it.
    fn wait_until(&self, allowed: bool, verb: &str, what: &str, namespace: Option<&str>) -> Result<()> {
        let scope = namespace.map_or_else(|| "-A".to_owned(), |namespace| format!("-n {namespace}"));
        let line = format!("auth can-i {verb} {what} {scope} --as {}", self.user);
        let wanted = if allowed { "yes" } else { "no" };
        Ok(netcheck_rig::wait_until(
            &format!("`{line}` is {wanted}"),
            Duration::from_secs(20),
            || {
                // `no` is exit code 1.
                let output = self.lab.rig.kubectl_command(line.split_whitespace()).output();
                let output = output.map_err(|error| error.to_string())?;
                let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
                if said == wanted { Ok(()) } else { Err(said) }
            },
        )?)
    }
}

fn each_verb(lab: &Lab, via: &'static str) -> Result<()> {
    healthy::apply_shop(lab)?;
    let user = format!("guest-{via}");
    let printed = lab
        .netcheck([
            "rbac", "matrix", "--via", via, "-n", "shop", "--user", &user, "-o", "json",
        ])
        .output()?;
    let list: Value = serde_json::from_slice(&printed.stdout).with_context(|| said(&printed))?;
    let objects = list["items"].as_array().context("a list of objects")?;
    lab.apply(&list)?;
    let guest = Guest {
        lab,
        via,
        kubeconfig: lab.rig.kubeconfig_for_user(&user, None)?,
        user,
    };
    let whole = whole(&guest)?;
    let mut wrong = Vec::new();
    for role in objects.iter().filter(|object| object["rules"].is_array()) {
        for (index, rule) in role["rules"].as_array().into_iter().flatten().enumerate() {
            for verb in words(&rule["verbs"]) {
                let place = &role["metadata"]["namespace"];
                if let Err(error) = without(&guest, role, index, &verb, &whole) {
                    wrong.push(format!("without {verb} of {rule} in {place}: {error:#}"));
                }
            }
        }
    }
    ensure!(wrong.is_empty(), "{} verbs: {}", wrong.len(), wrong.join("\n"));
    Ok(())
}

/// With all that is printed the run is whole: everything reached, nothing left out for want of a permission.
fn whole(guest: &Guest<'_>) -> Result<Matrix> {
    netcheck_rig::wait_until("the guest may list pods", Duration::from_secs(20), || {
        let output = guest.matrix(guest.usual()).map_err(|error| error.to_string())?;
        let matrix = Matrix::of(&output).map_err(|error| format!("{error:#}"))?;
        matrix.others_reached(|_| false).map_err(|error| format!("{error:#}"))?;
        matrix.expect_exit(0).map_err(|error| format!("{error:#}"))?;
        if let Some(kind) = ["Pod", "Node", "Service", "DNS"]
            .iter()
            .find(|kind| !matrix.rows.iter().any(|row| row.destination.kind == **kind))
        {
            return Err(format!("no row to a {kind}"));
        }
        let coverage = matrix.report["status"]["coverage"].to_string();
        if coverage.contains("forbidden") {
            return Err(coverage);
        }
        Ok(matrix)
    })
    .map_err(Into::into)
}

/// Without one verb the run says which one it lacks and that it could not tell; as good as with it only where that is known and why.
fn without(guest: &Guest<'_>, role: &Value, index: usize, verb: &str, whole: &Matrix) -> Result<()> {
    let mut less = role.clone();
    let verbs = less["rules"][index]["verbs"].as_array_mut().context("verbs")?;
    verbs.retain(|word| word != verb);
    if verbs.is_empty() {
        less["rules"].as_array_mut().context("rules")?.remove(index);
    }
    let (group, resource) = (
        &role["rules"][index]["apiGroups"][0],
        &role["rules"][index]["resources"][0],
    );
    let (group, resource) = (
        group.as_str().unwrap_or_default(),
        resource.as_str().unwrap_or_default(),
    );
    let object = &role["rules"][index]["resourceNames"][0];
    let object = object.as_str().map_or_else(String::new, |name| format!("/{name}"));
    let group = if group.is_empty() {
        String::new()
    } else {
        format!(".{group}")
    };
    let asked = match resource.split_once('/') {
        Some((resource, sub)) => format!("{resource}{group} --subresource={sub}"),
        None => format!("{resource}{group}{object}"),
    };
    let namespace = role["metadata"]["namespace"].as_str();
    guest.lab.apply(&less)?;
    guest.wait_until(false, verb, &asked, namespace)?;
    let output = guest.matrix(guest.needing(namespace, verb, resource))?;
    guest.lab.apply(role)?;
    guest.wait_until(true, verb, &asked, namespace)?;
    let spared = SPARED
        .iter()
        .any(|(place, one, of, _why)| (*place, *one, *of) == (namespace.unwrap_or_default(), verb, resource));
    let text = said(&output);
    let tells_more = text.contains("rbac matrix") || text.contains("agent-forbidden");
    let says_which = text.contains(verb) && text.contains(resource) && tells_more;
    let as_good = || -> Result<bool> {
        let matrix = Matrix::of(&output)?;
        Ok(output.status.code() == Some(0) && matrix.cases() == whole.cases())
    };
    let named = output.status.code() == Some(3) && says_which;
    ensure!(
        named || (spared && as_good()?),
        "it does not name the verb with exit code 3, spared: {spared}, as good: {:?}: {text}",
        as_good()
    );
    Ok(())
}

fn words(list: &Value) -> Vec<String> {
    let words = list.as_array().into_iter().flatten();
    words.filter_map(Value::as_str).map(str::to_owned).collect()
}
