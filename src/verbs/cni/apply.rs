//! Server-side apply of one object, and what became of it.

use crate::{
    cluster::{
        Cluster,
        request::{self, call},
    },
    exit::Failure,
    output::Explained,
};
use kube::{
    Api,
    api::{ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams},
};

/// Who owns the fields that we set, for the server.
pub const FIELD_MANAGER: &str = "kubectl-netcheck";

/// What an apply did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It was not there.
    Created,
    /// It was another.
    Configured,
    /// It was the same.
    Unchanged,
}

impl Change {
    /// kubectl's word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Configured => "configured",
            Self::Unchanged => "unchanged",
        }
    }
}

/// The API of an object's kind, in its namespace.
pub fn api_of(cluster: &Cluster, explained: &Explained) -> Api<DynamicObject> {
    let version = explained.object["apiVersion"].as_str().unwrap_or_default();
    let (group, version) = version.split_once('/').unwrap_or(("", version));
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, explained.kind()));
    match explained.namespace() {
        Some(namespace) => Api::namespaced_with(cluster.client.clone(), namespace, &resource),
        None => Api::all_with(cluster.client.clone(), &resource),
    }
}

/// Applies it. Fields that somebody else has set are taken over: the names are ours, and what was tuned has been read before.
///
/// # Errors
/// If the API server refuses or does not answer.
pub async fn apply(cluster: &Cluster, explained: &Explained) -> Result<Change, Failure> {
    let limit = request::limit(cluster.request_timeout);
    let (api, name) = (api_of(cluster, explained), explained.name());
    let before = call(
        limit,
        &format!("look up {}", explained.reference()),
        api.get_metadata_opt(name),
    )
    .await?;
    let params = PatchParams::apply(FIELD_MANAGER).force();
    let after = call(
        limit,
        &format!("apply {}", explained.reference()),
        api.patch(name, &params, &Patch::Apply(&explained.object)),
    )
    .await?;
    Ok(match before {
        None => Change::Created,
        // Where there is a status, that changes the version by itself; the generation counts changes of the rest.
        Some(before)
            if before.metadata.generation.is_some() && before.metadata.generation == after.metadata.generation =>
        {
            Change::Unchanged
        }
        Some(before) if before.metadata.resource_version == after.metadata.resource_version => Change::Unchanged,
        Some(_) => Change::Configured,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::fake;
    use serde_json::{Value, json};

    fn config_map(version: &str) -> Value {
        json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "netcheck-cni", "namespace": "netcheck-cni", "resourceVersion": version } })
    }

    async fn change(before: (u16, Value), after: Value) -> (Change, Vec<String>) {
        let (cluster, asked) = fake::cluster(move |asked| {
            if asked.line.starts_with("GET") {
                before.clone()
            } else {
                (200, after.clone())
            }
        });
        let explained = Explained {
            comments: Vec::new(),
            object: config_map("1"),
        };
        let change = apply(&cluster, &explained).await.unwrap();
        let lines = asked.lock().unwrap().iter().map(|asked| asked.line.clone()).collect();
        (change, lines)
    }

    #[tokio::test]
    async fn an_object_is_created_changed_or_left_as_it_is() {
        let missing = fake::status(404, "NotFound", "not found");
        let (created, lines) = change(missing, config_map("1")).await;
        assert_eq!(created, Change::Created);
        assert_eq!(
            lines[1],
            "PATCH /api/v1/namespaces/netcheck-cni/configmaps/netcheck-cni?&force=true&fieldManager=kubectl-netcheck"
        );
        assert_eq!(
            change((200, config_map("1")), config_map("1")).await.0,
            Change::Unchanged
        );
        assert_eq!(
            change((200, config_map("1")), config_map("2")).await.0,
            Change::Configured
        );
    }

    #[tokio::test]
    async fn kinds_are_asked_for_where_the_api_has_them() {
        let (cluster, _) = fake::cluster(|_| fake::status(404, "NotFound", ""));
        for (version, kind, namespace, path) in [
            ("v1", "Namespace", None, "/api/v1/namespaces"),
            (
                "apps/v1",
                "DaemonSet",
                Some("n"),
                "/apis/apps/v1/namespaces/n/daemonsets",
            ),
            (
                "rbac.authorization.k8s.io/v1",
                "ClusterRoleBinding",
                None,
                "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
            ),
        ] {
            let mut object = json!({ "apiVersion": version, "kind": kind, "metadata": { "name": "x" } });
            if let Some(namespace) = namespace {
                object["metadata"]["namespace"] = json!(namespace);
            }
            let explained = Explained {
                comments: Vec::new(),
                object,
            };
            assert_eq!(api_of(&cluster, &explained).resource_url(), path);
        }
    }
}
