//! The throw-away pod of `run`, in a namespace of the user's.

use super::{Profile, Wanted, container::container};
use crate::{
    agents::{
        manifest::{self, AgentSpec},
        run::{MANAGED_BY_LABEL, RUN_LABEL},
    },
    exit::Failure,
    terminal::Session,
};
use k8s_openapi::api::batch::v1::Job;
use serde_json::json;
use std::collections::BTreeMap;

/// Name of its container.
pub const CONTAINER: &str = "toolbox";
/// A condition that nobody ever sets. A pod that waits for it is not ready, so no Service whose selector its labels match sends it traffic.
const NEVER_READY: &str = "netcheck.dev/takes-no-traffic";
/// Labels of ours, and of the Job controller's, by which pods are found.
const RESERVED: [&str; 3] = [MANAGED_BY_LABEL, "controller-uid", "job-name"];
const RESERVED_DOMAINS: [&str; 2] = ["netcheck.dev", "batch.kubernetes.io"];

/// What is asked of the pod, besides its container.
#[derive(Debug, Clone, Default)]
pub struct Throwaway {
    /// Name of the Job, with which the pod's begins; without it, the run's.
    pub name: Option<String>,
    /// On this node, whatever its taints.
    pub node: Option<String>,
    /// In the node's network namespace.
    pub host_network: bool,
    /// Labels of the pod, besides ours.
    pub labels: BTreeMap<String, String>,
    /// Its service account, with its token; without it there is no token.
    pub service_account: Option<String>,
}

impl Throwaway {
    /// The Job: its pod has no more than one container and is removed when that ends, or at the deadline.
    ///
    /// # Errors
    /// If the API has no place for something in it.
    pub fn job(&self, spec: &AgentSpec, wanted: &Wanted, session: &Session, profile: Profile) -> Result<Job, Failure> {
        let mut pod = manifest::short_lived_pod(spec, container(wanted, session, profile, false));
        match &self.node {
            Some(node) => {
                pod["nodeName"] = json!(node);
                pod["tolerations"] = json!([{ "operator": "Exists" }]);
            }
            None => pod["nodeSelector"] = json!({ "kubernetes.io/os": "linux" }),
        }
        if self.host_network {
            pod["hostNetwork"] = json!(true);
            pod["dnsPolicy"] = json!("ClusterFirstWithHostNet");
        }
        if let Some(account) = &self.service_account {
            pod["serviceAccountName"] = json!(account);
            pod["automountServiceAccountToken"] = json!(true);
        }
        if !self.labels.is_empty() {
            pod["readinessGates"] = json!([{ "conditionType": NEVER_READY }]);
        }
        let mut job = manifest::job_of(spec, 0, &manifest::labels_of(&spec.run, "run"), &pod)?;
        if let Some(name) = &self.name {
            job.metadata.name = Some(name.clone());
        }
        let template = job.spec.as_mut().and_then(|spec| spec.template.metadata.as_mut());
        if let Some(labels) = template.and_then(|template| template.labels.as_mut()) {
            labels.extend(self.labels.clone());
        }
        Ok(job)
    }
}

/// Reads one label, `KEY=VALUE`, of those that users may give to the pod.
///
/// # Errors
/// If it is none, or is one by which pods are found.
pub fn label(text: &str) -> Result<(String, String), String> {
    let (key, value) = text
        .split_once('=')
        .ok_or_else(|| format!("{text:?} is not KEY=VALUE"))?;
    let (domain, name) = match key.split_once('/') {
        Some((domain, name)) => (Some(domain), name),
        None => (None, key),
    };
    let domain_is_one = domain.is_none_or(|domain| {
        domain.len() <= 253
            && domain
                .split('.')
                .all(|part| is_framed(part) && part.chars().all(is_of_dns))
    });
    if !domain_is_one || !is_word(name) {
        return Err(format!("{key:?} is no key of a label"));
    }
    if !value.is_empty() && !is_word(value) {
        return Err(format!("{value:?} is no value of a label"));
    }
    let is_in =
        |reserved: &str| domain.is_some_and(|domain| domain == reserved || domain.ends_with(&format!(".{reserved}")));
    if RESERVED.contains(&key) || key == RUN_LABEL || RESERVED_DOMAINS.into_iter().any(is_in) {
        return Err(format!("{key} is how the pod is found again, and removed"));
    }
    Ok((key.to_owned(), value.to_owned()))
}

/// Reads the name of the pod: it may have no more letters than leave room for what the Job controller adds.
///
/// # Errors
/// If no pod can have it.
pub fn name(text: &str) -> Result<String, String> {
    if text.len() <= 52 && is_framed(text) && text.chars().all(is_of_dns) {
        return Ok(text.to_owned());
    }
    Err("names are of up to 52 lower-case letters, digits and '-'; a command comes after --".to_owned())
}

fn is_of_dns(letter: char) -> bool {
    letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '-'
}

/// Begins and ends with a letter or digit.
fn is_framed(text: &str) -> bool {
    let ends = [text.chars().next(), text.chars().last()];
    ends.iter()
        .all(|end| end.is_some_and(|end| end.is_ascii_alphanumeric()))
}

/// As names and values of labels are.
fn is_word(text: &str) -> bool {
    let known = |letter: char| letter.is_ascii_alphanumeric() || "-_.".contains(letter);
    text.len() <= 63 && is_framed(text) && text.chars().all(known)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        agents::{Budget, manifest::tests::assert_kept, run::RunId},
        debug::container::tests as of,
    };
    use serde_json::Value;
    use std::time::Duration;

    fn job(throwaway: &Throwaway, profile: Profile) -> Value {
        let spec = AgentSpec {
            run: RunId::parse("0123bcdf").unwrap(),
            namespace: "shop".to_owned(),
            image: "toolbox:1".to_owned(),
            pull_secrets: Vec::new(),
            deadline: Duration::from_hours(1),
            budget: Budget::PROBING,
        };
        serde_json::to_value(throwaway.job(&spec, &of::wanted(), &of::session(), profile).unwrap()).unwrap()
    }

    fn labelled(words: &[&str]) -> Throwaway {
        Throwaway {
            labels: words.iter().map(|word| label(word).unwrap()).collect(),
            ..Throwaway::default()
        }
    }

    #[test]
    fn it_goes_by_itself_and_is_found_by_its_run() {
        for profile in Profile::ALL {
            let job = job(&labelled(&["app=web"]), profile);
            assert_eq!(job["spec"]["ttlSecondsAfterFinished"], 0);
            assert_eq!(job["spec"]["activeDeadlineSeconds"], 3600);
            assert_eq!(job["metadata"]["namespace"], "shop");
            for labels in [
                &job["metadata"]["labels"],
                &job["spec"]["template"]["metadata"]["labels"],
            ] {
                assert_eq!(labels[RUN_LABEL], "0123bcdf");
                assert_eq!(labels[MANAGED_BY_LABEL], "kubectl-netcheck");
            }
        }
    }

    #[test]
    fn it_has_nothing_of_the_cluster_or_the_node_unasked() {
        let job = job(&Throwaway::default(), Profile::Netadmin);
        let pod = &job["spec"]["template"]["spec"];
        assert_eq!(pod["automountServiceAccountToken"], false);
        for field in [
            "hostNetwork",
            "hostPID",
            "hostIPC",
            "volumes",
            "nodeName",
            "tolerations",
            "serviceAccountName",
        ] {
            assert!(pod[field].is_null(), "{field}: {pod:#}");
        }
        assert_eq!(pod["nodeSelector"], json!({ "kubernetes.io/os": "linux" }));
        assert_eq!(job["metadata"]["name"], "netcheck-0123bcdf-0");
    }

    #[test]
    fn it_has_what_is_asked_for() {
        let asked = Throwaway {
            name: Some("probe".to_owned()),
            node: Some("n1".to_owned()),
            host_network: true,
            service_account: Some("reader".to_owned()),
            ..Throwaway::default()
        };
        let job = job(&asked, Profile::Netadmin);
        assert_eq!(job["metadata"]["name"], "probe");
        let expected = json!({
            "nodeName": "n1", "tolerations": [{ "operator": "Exists" }], "hostNetwork": true,
            "dnsPolicy": "ClusterFirstWithHostNet", "serviceAccountName": "reader", "automountServiceAccountToken": true,
        });
        assert_kept(&expected, &job["spec"]["template"]["spec"], "spec");
    }

    /// A Deployment's labels are tried for the sake of NetworkPolicies: its Service shall not take the shell for one of its pods.
    #[test]
    fn a_pod_with_others_labels_is_never_ready() {
        let pods = |throwaway: &Throwaway| job(throwaway, Profile::Netadmin)["spec"]["template"].clone();
        let pod = pods(&labelled(&["app.kubernetes.io/name=web", "tier="]));
        assert_eq!(pod["metadata"]["labels"]["app.kubernetes.io/name"], "web");
        assert_eq!(pod["metadata"]["labels"]["tier"], "");
        assert_eq!(pod["spec"]["readinessGates"][0]["conditionType"], NEVER_READY);
        assert!(pods(&Throwaway::default())["spec"]["readinessGates"].is_null());
    }

    #[test]
    fn labels_that_find_pods_and_what_is_none_are_refused() {
        for (text, word) in [
            ("netcheck.dev/run=0123bcdf", "found again"),
            ("x.netcheck.dev/y=1", "found again"),
            ("app.kubernetes.io/managed-by=Helm", "found again"),
            ("batch.kubernetes.io/job-name=x", "found again"),
            ("job-name=x", "found again"),
            ("app", "KEY=VALUE"),
            ("=x", "no key"),
            ("a/b/c=x", "no key"),
            ("Bad.Domain/x=y", "no key"),
            ("app=a b", "no value"),
            ("app=-", "no value"),
            ("app=\u{1b}[2J", "no value"),
        ] {
            let error = label(text).unwrap_err();
            assert!(error.contains(word), "{text}: {error}");
            assert!(!error.contains('\u{1b}'), "{error}");
        }
        assert_eq!(
            label("notnetcheck.dev/x=1"),
            Ok(("notnetcheck.dev/x".to_owned(), "1".to_owned()))
        );
    }

    #[test]
    fn names_that_no_pod_can_have_are_refused() {
        assert!(name("probe-1").is_ok());
        for wrong in ["", "-a", "a-", "A", "a.b", "a\u{1b}[2J", &"x".repeat(53)] {
            assert!(name(wrong).is_err(), "{wrong:?}");
        }
    }
}
