//! `rbac VERB…`: the least an administrator must grant for verbs to work, as objects to apply.

use crate::{
    agents::{
        DEFAULT_NAMESPACE, Via, manifest,
        permissions::{self, Grant, Need, Only, Place, Verb, Way, words},
    },
    cluster::Cluster,
    exit::{Exit, Failure},
    flags::{ConnectFlags, KubectlFlags, OutputFlags},
    output::{self, Explained, Printer},
    verbs::cni::NETWORK,
};
use clap::Args;
use serde_json::{Value, json};
use std::{collections::BTreeSet, path::PathBuf};

/// Arguments of `rbac`.
#[derive(Debug, Clone, Args)]
#[command(after_long_help = "\
Examples:
  # Let ada run the matrix in namespace shop, and apply it at once
  kubectl netcheck rbac matrix -n shop --user ada | kubectl apply -f -

  # One set of roles to run the matrix and to clean up after it
  kubectl netcheck rbac matrix cleanup --group oncall

  # Roles only, for the second way in, in all namespaces
  kubectl netcheck rbac matrix --via ephemeral -A")]
pub struct RbacArgs {
    /// The verbs that shall be allowed
    #[arg(value_enum, value_name = "VERB", required = true)]
    verbs: Vec<Verb>,
    /// Namespace that is looked at (default: the context's)
    #[arg(short = 'n', long, value_name = "NAME")]
    namespace: Option<String>,
    /// Look at all namespaces
    #[arg(short = 'A', long)]
    all_namespaces: bool,
    /// Namespace of the node agents
    #[arg(long, value_name = "NAME", default_value = DEFAULT_NAMESPACE)]
    agent_namespace: String,
    /// Namespace of the cluster's DNS; on OpenShift openshift-dns
    #[arg(long, value_name = "NAME", default_value = "kube-system")]
    dns_namespace: String,
    /// Way in that shall be possible; auto is both
    #[arg(long, value_enum, default_value_t)]
    via: Via,
    /// User to bind the roles to; may be given several times
    #[arg(long, value_name = "NAME")]
    user: Vec<String>,
    /// Group to bind the roles to; may be given several times
    #[arg(long, value_name = "NAME")]
    group: Vec<String>,
    /// Service account to bind the roles to; may be given several times
    #[arg(long, value_name = "NAMESPACE:NAME")]
    serviceaccount: Vec<String>,
    /// Context of the kubeconfig file, for its namespace
    #[arg(long, value_name = "NAME", hide = true)]
    context: Option<String>,
    /// Kubeconfig file, for its namespace
    #[arg(long, value_name = "FILE", hide = true)]
    kubeconfig: Option<PathBuf>,
}

/// Prints the objects. Asks no cluster.
///
/// # Errors
/// If a service account is not written as NAMESPACE:NAME.
pub async fn run(args: &RbacArgs, output: &OutputFlags, printer: &Printer) -> Result<Exit, Failure> {
    let namespace = namespace(args).await;
    let subjects = subjects(args)?;
    let objects = objects(args, &namespace, &subjects)?;
    printer.data(&output::objects(output.format, &objects)?)?;
    if subjects.is_empty() {
        printer.note("no bindings: --user, --group or --serviceaccount adds them");
    }
    Ok(Exit::Held)
}

/// As every verb resolves it; without a usable kubeconfig it is kubectl's own fallback.
async fn namespace(args: &RbacArgs) -> String {
    if let Some(namespace) = &args.namespace {
        return namespace.clone();
    }
    let connect = ConnectFlags {
        context: args.context.clone(),
        kubeconfig: args.kubeconfig.clone(),
        ..ConnectFlags::default()
    };
    let cluster = Cluster::connect(&KubectlFlags {
        connect,
        ..KubectlFlags::default()
    })
    .await;
    cluster.map_or_else(|_| "default".to_owned(), |cluster| cluster.namespace)
}

fn subjects(args: &RbacArgs) -> Result<Vec<Value>, Failure> {
    let group = "rbac.authorization.k8s.io";
    let mut subjects = Vec::new();
    subjects.extend(
        args.user
            .iter()
            .map(|name| json!({ "kind": "User", "name": name, "apiGroup": group })),
    );
    subjects.extend(
        args.group
            .iter()
            .map(|name| json!({ "kind": "Group", "name": name, "apiGroup": group })),
    );
    for account in &args.serviceaccount {
        let Some((namespace, name)) = account
            .split_once(':')
            .filter(|(namespace, name)| !namespace.is_empty() && !name.is_empty())
        else {
            return Err(Failure::usage(format!(
                "--serviceaccount {account:?} is not of the form NAMESPACE:NAME"
            ))
            .hint(format!("--serviceaccount default:{account}")));
        };
        subjects.push(json!({ "kind": "ServiceAccount", "namespace": namespace, "name": name }));
    }
    Ok(subjects)
}

fn objects(args: &RbacArgs, namespace: &str, subjects: &[Value]) -> Result<Vec<Explained>, Failure> {
    let ways: &[Way] = match args.via {
        Via::Auto => &[Way::Node, Way::Ephemeral],
        Via::Node => &[Way::Node],
        Via::Ephemeral => &[Way::Ephemeral],
    };
    // The same roles, whatever the order in which verbs are named.
    let verbs: BTreeSet<Verb> = args.verbs.iter().copied().collect();
    let grants: Vec<Grant> = verbs.iter().flat_map(|verb| permissions::grants(*verb, ways)).collect();
    let at =
        |wanted: &[Place]| permissions::united(grants.iter().copied().filter(|grant| wanted.contains(&grant.place)));
    let words: Vec<&str> = verbs.iter().map(|verb| verb.word()).collect();
    let name = format!("netcheck-{}", words.join("-"));
    let mut objects = Vec::new();
    if !at(&[Place::Agents]).is_empty() {
        objects.push(Explained {
            comments: vec![
                "The node agents' namespace; no run removes one with the label netcheck.dev/keep".to_owned(),
            ],
            object: kubernetes(&manifest::namespace(&args.agent_namespace, true)?)?,
        });
    }
    if !at(&[Place::Cni]).is_empty() {
        let mut namespace = super::cni::namespace();
        namespace.comments = vec!["The bundled CNI's namespace, in which a role of it can be".to_owned()];
        objects.push(namespace);
    }
    let everywhere = [
        Place::Cluster,
        Place::AgentNamespaceItself,
        Place::CniItself,
        Place::Targets,
    ];
    let cluster_wide = &everywhere[..if args.all_namespaces { 4 } else { 3 }];
    role(
        &mut objects,
        None,
        &name,
        &at(cluster_wide),
        &args.agent_namespace,
        subjects,
    );
    if !args.all_namespaces {
        role(
            &mut objects,
            Some(namespace),
            &name,
            &at(&[Place::Targets]),
            &args.agent_namespace,
            subjects,
        );
        let dns_name = format!("{name}-dns");
        role(
            &mut objects,
            Some(&args.dns_namespace),
            &dns_name,
            &at(&[Place::Dns]),
            &args.agent_namespace,
            subjects,
        );
    }
    let agents_name = format!("{name}-agents");
    let agents = Some(args.agent_namespace.as_str());
    role(
        &mut objects,
        agents,
        &agents_name,
        &at(&[Place::Agents]),
        &args.agent_namespace,
        subjects,
    );
    for (namespace, place, ending) in [
        (NETWORK, Place::Cni, "network"),
        ("kube-system", Place::System, "system"),
    ] {
        let name = format!("{name}-{ending}");
        role(
            &mut objects,
            Some(namespace),
            &name,
            &at(&[place]),
            &args.agent_namespace,
            subjects,
        );
    }
    Ok(objects)
}

/// A role (of the cluster without a namespace) and its binding, if there is anything to grant.
fn role(
    objects: &mut Vec<Explained>,
    namespace: Option<&str>,
    name: &str,
    needs: &[Need],
    agent_namespace: &str,
    subjects: &[Value],
) {
    if needs.is_empty() {
        return;
    }
    let (kind, binding) = match namespace {
        Some(_) => ("Role", "RoleBinding"),
        None => ("ClusterRole", "ClusterRoleBinding"),
    };
    let mut metadata = json!({
        "name": name,
        "labels": { "app.kubernetes.io/name": crate::agents::run::NAME },
    });
    if let Some(namespace) = namespace {
        metadata["namespace"] = json!(namespace);
    }
    let rules: Vec<_> = needs
        .iter()
        .map(|need| {
            let mut rule = json!({ "apiGroups": [need.group], "resources": [need.resource], "verbs": need.verbs });
            match need.only {
                Some(Only::AgentNamespace) => rule["resourceNames"] = json!([agent_namespace]),
                Some(Only::Cni) => rule["resourceNames"] = json!([NETWORK]),
                None => {}
            }
            rule
        })
        .collect();
    let comments = needs.iter().filter(|need| !need.why.is_empty()).map(|need| {
        let optional = if need.required { "" } else { " (optional)" };
        let what = words(need.group, need.resource, &need.verbs);
        format!("{what}: {}{optional}", need.why.join("; "))
    });
    objects.push(Explained {
        comments: comments.collect(),
        object: json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": kind,
            "metadata": metadata,
            "rules": rules,
        }),
    });
    if !subjects.is_empty() {
        objects.push(Explained {
            comments: Vec::new(),
            object: json!({
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": binding,
                "metadata": metadata,
                "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name },
                "subjects": subjects,
            }),
        });
    }
}

/// As the API wants it; k8s-openapi writes kind and version itself.
fn kubernetes<T: serde::Serialize>(object: &T) -> Result<Value, Failure> {
    serde_json::to_value(object).map_err(|error| Failure::unknown(format!("cannot write the object: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::rbac::v1::{ClusterRole, Role};

    fn args(verbs: &[Verb], via: Via, all_namespaces: bool) -> RbacArgs {
        RbacArgs {
            verbs: verbs.to_vec(),
            namespace: None,
            all_namespaces,
            agent_namespace: "netcheck".to_owned(),
            dns_namespace: "kube-system".to_owned(),
            via,
            user: vec!["ada".to_owned()],
            group: Vec::new(),
            serviceaccount: Vec::new(),
            context: None,
            kubeconfig: None,
        }
    }

    fn names(args: &RbacArgs) -> Vec<String> {
        let objects = objects(args, "shop", &subjects(args).unwrap()).unwrap();
        let name = |object: &Value| {
            let namespace = object["metadata"]["namespace"].as_str().unwrap_or("-");
            format!(
                "{} {namespace} {}",
                object["kind"].as_str().unwrap(),
                object["metadata"]["name"].as_str().unwrap()
            )
        };
        objects.iter().map(|explained| name(&explained.object)).collect()
    }

    #[test]
    fn each_role_is_as_narrow_as_its_place() {
        assert_eq!(
            names(&args(&[Verb::Matrix], Via::Node, false)),
            [
                "Namespace - netcheck",
                "ClusterRole - netcheck-matrix",
                "ClusterRoleBinding - netcheck-matrix",
                "Role shop netcheck-matrix",
                "RoleBinding shop netcheck-matrix",
                "Role kube-system netcheck-matrix-dns",
                "RoleBinding kube-system netcheck-matrix-dns",
                "Role netcheck netcheck-matrix-agents",
                "RoleBinding netcheck netcheck-matrix-agents",
            ]
        );
        assert_eq!(
            names(&args(&[Verb::Matrix], Via::Ephemeral, true)),
            ["ClusterRole - netcheck-matrix", "ClusterRoleBinding - netcheck-matrix"]
        );
    }

    #[test]
    fn cluster_dns_is_where_the_administrator_says() {
        let args = RbacArgs {
            dns_namespace: "openshift-dns".to_owned(),
            ..args(&[Verb::Matrix], Via::Node, false)
        };
        assert!(names(&args).contains(&"Role openshift-dns netcheck-matrix-dns".to_owned()));
    }

    #[test]
    fn several_verbs_share_roles_that_say_everything_once() {
        let both = names(&args(&[Verb::Cleanup, Verb::Matrix, Verb::Cleanup], Via::Node, false));
        assert_eq!(both, names(&args(&[Verb::Matrix, Verb::Cleanup], Via::Node, false)));
        assert!(
            both.contains(&"Role netcheck netcheck-matrix-cleanup-agents".to_owned()),
            "{both:?}"
        );
        for all_namespaces in [false, true] {
            let args = args(&[Verb::Matrix, Verb::Cleanup], Via::Auto, all_namespaces);
            for explained in objects(&args, "shop", &[]).unwrap() {
                let rules = explained.object["rules"].as_array().cloned().unwrap_or_default();
                let mut seen = BTreeSet::new();
                for rule in &rules {
                    let what = (&rule["apiGroups"], &rule["resources"], &rule["resourceNames"]);
                    assert!(seen.insert(format!("{what:?}")), "{what:?} twice");
                }
            }
        }
    }

    #[test]
    fn the_api_reads_what_is_printed() {
        let args = args(&[Verb::Matrix, Verb::Cleanup], Via::Auto, false);
        for explained in objects(&args, "shop", &[]).unwrap() {
            match explained.object["kind"].as_str() {
                Some("Role") => drop(serde_json::from_value::<Role>(explained.object).unwrap()),
                Some("ClusterRole") => drop(serde_json::from_value::<ClusterRole>(explained.object).unwrap()),
                _ => {}
            }
        }
    }

    #[test]
    fn the_agents_namespace_is_the_only_one_named_in_the_cluster_role() {
        let objects = objects(&args(&[Verb::Cleanup], Via::Auto, false), "shop", &[]).unwrap();
        let cluster_role = objects
            .iter()
            .find(|explained| explained.object["kind"] == "ClusterRole")
            .unwrap();
        let rules = cluster_role.object["rules"].as_array().unwrap();
        let deletes_namespaces: Vec<_> = rules
            .iter()
            .filter(|rule| {
                rule["resources"] == json!(["namespaces"])
                    && rule["verbs"].as_array().unwrap().contains(&json!("delete"))
            })
            .collect();
        assert_eq!(deletes_namespaces.len(), 1);
        assert_eq!(deletes_namespaces[0]["resourceNames"], json!(["netcheck"]));
    }

    #[test]
    fn a_service_account_needs_its_namespace() {
        let mut args = args(&[Verb::Matrix], Via::Auto, false);
        args.serviceaccount = vec!["ci".to_owned()];
        let failure = subjects(&args).unwrap_err();
        assert_eq!(failure.exit, Exit::Usage);
        args.serviceaccount = vec!["tools:ci".to_owned()];
        assert_eq!(subjects(&args).unwrap()[1]["namespace"], "tools");
    }
}
