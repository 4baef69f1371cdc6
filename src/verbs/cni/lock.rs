//! A Lease in our namespace, so that two installations, or one and an uninstall, never change the cluster at once.

use super::names::{LABEL, NAME};
use crate::{
    agents::run::{holder, is_expired},
    cluster::{
        Cluster,
        request::{self, attempt},
    },
    exit::Failure,
    output::{Printer, safe},
};
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use kube::{
    Api,
    api::{DeleteParams, PostParams, Preconditions},
};
use serde_json::json;
use std::time::Duration;

/// The Lease's name.
pub const LOCK: &str = "netcheck-cni-change";

/// A lock that is held.
#[derive(Debug)]
pub struct Lock {
    uid: Option<String>,
}

/// Takes it, for so long at most: a holder that died loses it then.
///
/// # Errors
/// If somebody else holds it, or the Lease cannot be written.
pub async fn take(cluster: &Cluster, at_most: Duration) -> Result<Lock, Failure> {
    let limit = request::limit(cluster.request_timeout);
    let leases: Api<Lease> = Api::namespaced(cluster.client.clone(), NAME);
    let doing = format!("take the lock, Lease {NAME}/{LOCK}");
    let wanted = lease(at_most)?;
    // Twice: an expired one is removed first.
    for _ in 0..2 {
        match attempt(limit, leases.create(&PostParams::default(), &wanted)).await {
            Ok(held) => return Ok(Lock { uid: held.metadata.uid }),
            Err(problem) if problem.is_conflict() => {}
            Err(problem) => return Err(problem.into_failure(&doing)),
        }
        let found = attempt(limit, leases.get_opt(LOCK)).await;
        let Some(found) = found.map_err(|problem| problem.into_failure(&doing))? else {
            continue;
        };
        if !is_over(&found, cluster.now().await) {
            return Err(is_held(&found));
        }
        remove(cluster, found.metadata.uid)
            .await
            .map_err(|problem| problem.into_failure(&doing))?;
    }
    Err(Failure::unknown(format!("cannot {doing}: it changes hands all the time")).hint("try again in a minute"))
}

impl Lock {
    /// Gives it back. If that fails it ends by itself.
    pub async fn release(self, cluster: &Cluster, printer: &Printer) {
        if let Err(problem) = remove(cluster, self.uid).await {
            printer.warn(problem.into_failure(&format!("remove Lease {NAME}/{LOCK}")).message);
        }
    }
}

/// Removes that very Lease; one that is gone is fine.
async fn remove(cluster: &Cluster, uid: Option<String>) -> Result<(), request::Problem> {
    let leases: Api<Lease> = Api::namespaced(cluster.client.clone(), NAME);
    let params = DeleteParams {
        preconditions: Some(Preconditions {
            uid,
            resource_version: None,
        }),
        ..DeleteParams::default()
    };
    match attempt(request::limit(cluster.request_timeout), leases.delete(LOCK, &params)).await {
        Err(problem) if !problem.is_not_found() && !problem.is_conflict() => Err(problem),
        _ => Ok(()),
    }
}

fn lease(at_most: Duration) -> Result<Lease, Failure> {
    serde_json::from_value(json!({
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": { "name": LOCK, "namespace": NAME, "labels": { LABEL: NAME } },
        "spec": { "holderIdentity": holder(), "leaseDurationSeconds": at_most.as_secs().max(1) },
    }))
    .map_err(|error| Failure::unknown(format!("netcheck built an object the API has no place for: {error}")))
}

fn is_over(lease: &Lease, now: Timestamp) -> bool {
    let created = lease.metadata.creation_timestamp.as_ref().map(|time| time.0);
    is_expired(
        created,
        lease.spec.as_ref().and_then(|spec| spec.lease_duration_seconds),
        now,
    )
}

fn is_held(lease: &Lease) -> Failure {
    let spec = lease.spec.as_ref();
    let who = spec
        .and_then(|spec| spec.holder_identity.as_deref())
        .unwrap_or("somebody");
    Failure::unknown(format!("{} is changing the installation at this moment", safe(who))).hint(format!(
        "wait for its end; if it was killed, the lock goes with kubectl delete lease -n {NAME} {LOCK}, or by itself after {} s",
        spec.and_then(|spec| spec.lease_duration_seconds).unwrap_or_default()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{cluster::fake, exit::Exit};
    use serde_json::Value;
    use std::sync::atomic::{AtomicBool, Ordering};

    fn found(created: &str) -> (u16, Value) {
        let lease = json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": { "name": LOCK, "uid": "u-1", "creationTimestamp": created },
            "spec": { "holderIdentity": "ada@laptop", "leaseDurationSeconds": 120 },
        });
        (200, lease)
    }

    #[tokio::test]
    async fn who_comes_second_hears_who_was_first() {
        let (cluster, _) = fake::cluster(|asked| match asked.line.split_once(' ').unwrap().0 {
            "POST" => fake::status(409, "AlreadyExists", "exists"),
            _ => found(&Timestamp::now().to_string()),
        });
        let failure = take(&cluster, Duration::from_mins(1)).await.unwrap_err();
        assert_eq!(failure.exit, Exit::Unknown);
        assert_eq!(
            failure.message,
            "ada@laptop is changing the installation at this moment"
        );
    }

    #[tokio::test]
    async fn the_lock_of_a_dead_holder_is_taken_over() {
        let removed = std::sync::Arc::new(AtomicBool::new(false));
        let (cluster, asked) = fake::cluster(move |asked| match asked.line.split_once(' ').unwrap().0 {
            "POST" if removed.load(Ordering::Relaxed) => (201, asked.body.clone()),
            "POST" => fake::status(409, "AlreadyExists", "exists"),
            "DELETE" => {
                removed.store(true, Ordering::Relaxed);
                fake::status(200, "", "")
            }
            _ => found("2020-01-01T00:00:00Z"),
        });
        take(&cluster, Duration::from_mins(1)).await.unwrap();
        let asked = asked.lock().unwrap();
        let delete = asked.iter().find(|asked| asked.line.starts_with("DELETE")).unwrap();
        assert_eq!(delete.body["preconditions"]["uid"], "u-1", "just the one that was seen");
    }
}
