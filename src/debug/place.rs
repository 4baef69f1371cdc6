//! The pod a session shall be in: whether that is possible, and which of several.

use crate::{agents::waiting, cluster::list::convert, exit::Failure, output::safe, suggest::closest};
use k8s_openapi::api::core::v1::{EphemeralContainer, Pod};

/// A pod, as a place for a session.
#[derive(Debug, Clone)]
pub struct Place {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The pod.
    pub pod: Pod,
}

impl Place {
    /// `None` without a name.
    pub fn new(pod: Pod) -> Option<Self> {
        Some(Self {
            namespace: pod.metadata.namespace.clone().unwrap_or_default(),
            name: pod.metadata.name.clone()?,
            pod,
        })
    }

    /// The best of several pods of one target: one that is ready, else one that runs, else the first.
    pub fn best(mut places: Vec<Self>) -> Option<Self> {
        places.sort_by(|one, other| one.name.cmp(&other.name));
        let rank = |place: &Self| match convert::pod(&place.pod) {
            Some(pod) if pod.ready => 0,
            Some(pod) if pod.running => 1,
            Some(pod) if pod.end.is_none() => 2,
            _ => 3,
        };
        places.into_iter().min_by_key(rank)
    }

    /// Ephemeral containers that it has already; they stay as long as it does.
    pub fn ephemeral(&self) -> &[EphemeralContainer] {
        let spec = self.pod.spec.as_ref();
        let containers = spec.and_then(|spec| spec.ephemeral_containers.as_deref());
        containers.unwrap_or_default()
    }

    /// Whether the pod is one of Windows, which has neither our image nor a shell of ours.
    fn is_of_windows(&self) -> bool {
        let Some(spec) = &self.pod.spec else { return false };
        let selected = spec
            .node_selector
            .as_ref()
            .and_then(|labels| labels.get("kubernetes.io/os"));
        spec.os
            .as_ref()
            .map(|os| &os.name)
            .or(selected)
            .is_some_and(|os| os == "windows")
    }

    /// Why no session can be in it.
    ///
    /// # Errors
    /// That is what it returns.
    pub fn check(&self) -> Result<(), Failure> {
        let Some(pod) = convert::pod(&self.pod) else {
            return Err(Failure::unknown(format!("pod {:?} has no UID", safe(&self.name))));
        };
        let name = format!("pod {}/{}", safe(&self.namespace), safe(&self.name));
        let reason = safe(pod.reason.as_deref().unwrap_or("not Running"));
        if self.is_of_windows() {
            return Err(
                Failure::usage(format!("{name} runs on Windows: the tools are for Linux"))
                    .hint("test it from its peers on Linux nodes"),
            );
        }
        if pod.end.is_some() {
            return Err(
                Failure::usage(format!("{name} has ended ({reason}): nothing can be started in it"))
                    .hint("name a pod that runs, or its workload"),
            );
        }
        if pod.is_leaving {
            return Err(Failure::usage(format!(
                "{name} is being deleted: nothing can be started in it"
            )));
        }
        if pod.node.is_none() {
            return Err(Failure::unknown(format!(
                "{name} is on no node yet ({reason}): nothing can be started in it"
            ))
            .hint("kubectl describe pod says why"));
        }
        Ok(())
    }

    /// Whether `target` is a container of the pod whose processes can be seen.
    ///
    /// # Errors
    /// If there is none of this name, or it does not run.
    pub fn check_target(&self, target: &str) -> Result<(), Failure> {
        let spec = self.pod.spec.as_ref();
        let names: Vec<&str> = (spec.into_iter().flat_map(|spec| &spec.containers))
            .map(|container| container.name.as_str())
            .collect();
        if names.contains(&target) {
            let statuses = self
                .pod
                .status
                .as_ref()
                .and_then(|status| status.container_statuses.as_ref());
            let status = statuses.into_iter().flatten().find(|status| status.name == target);
            // The kubelet would say so, too, but only of a container that then stays.
            return match status.filter(|status| status.state.as_ref().is_some_and(|state| state.running.is_none())) {
                Some(status) => Err(Failure::usage(format!(
                    "container {target:?} of pod {} does not run, so that it has no processes to see: {}",
                    safe(&self.name),
                    safe(&waiting::describe(status))
                ))
                .hint("without --target the session does not need it")),
                None => Ok(()),
            };
        }
        let failure = Failure::usage(format!("pod {} has no container {:?}", safe(&self.name), safe(target)));
        Err(match closest(target, names.iter().copied()) {
            Some(near) => failure.hint(format!("did you mean --target {}?", safe(near))),
            None => failure.hint(format!("it has {}", safe(&names.join(", ")))),
        })
    }

    /// Whether a new container can have this name.
    ///
    /// # Errors
    /// If one has it, or none can.
    pub fn check_name(&self, name: &str) -> Result<(), Failure> {
        let letters = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let framed = name.starts_with('-') || name.ends_with('-');
        if name.is_empty() || name.len() > 63 || framed || !name.chars().all(letters) {
            return Err(
                Failure::usage(format!("{:?} cannot be the name of a container", safe(name)))
                    .hint("names are of up to 63 lower-case letters, digits and '-'"),
            );
        }
        let spec = self.pod.spec.as_ref();
        let regular = spec.into_iter().flat_map(|spec| &spec.containers).map(|one| &one.name);
        let initial = spec
            .into_iter()
            .flat_map(|spec| spec.init_containers.iter().flatten())
            .map(|one| &one.name);
        let ephemeral = self.ephemeral().iter().map(|one| &one.name);
        if regular.chain(initial).chain(ephemeral).any(|taken| taken == name) {
            return Err(Failure::usage(format!(
                "pod {} has a container {name:?} already: -c names the new one",
                safe(&self.name)
            ))
            .hint("--target names the container whose processes are to be seen"));
        }
        Ok(())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::exit::Exit;
    use serde_json::{Value, json};

    pub(crate) fn place(name: &str, spec: &Value, status: &Value) -> Place {
        let pod =
            json!({ "metadata": { "name": name, "namespace": "shop", "uid": name }, "spec": spec, "status": status });
        Place::new(serde_json::from_value(pod).unwrap()).unwrap()
    }

    fn running(name: &str, ready: &str) -> Place {
        place(
            name,
            &json!({ "nodeName": "n1", "containers": [{ "name": "app" }, { "name": "sidecar" }] }),
            &json!({ "phase": "Running", "conditions": [{ "type": "Ready", "status": ready }] }),
        )
    }

    #[test]
    fn a_ready_pod_is_chosen_before_one_that_only_runs() {
        let pods = vec![running("a", "False"), running("c", "True"), running("b", "True")];
        assert_eq!(Place::best(pods).unwrap().name, "b");
        assert_eq!(Place::best(vec![running("a", "False")]).unwrap().name, "a");
        assert!(Place::best(Vec::new()).is_none());
    }

    #[test]
    fn where_nothing_can_start_is_said_before() {
        let spec = json!({ "nodeName": "n1", "containers": [] });
        let windows = json!({ "nodeName": "n1", "containers": [], "os": { "name": "windows" } });
        let selected = json!({ "containers": [], "nodeSelector": { "kubernetes.io/os": "windows" } });
        let running = json!({ "phase": "Running" });
        for (spec, status, exit, word) in [
            (
                &spec,
                json!({ "phase": "Succeeded" }),
                Exit::Usage,
                "has ended (Completed)",
            ),
            (
                &spec,
                json!({ "phase": "Failed", "reason": "Evicted" }),
                Exit::Usage,
                "Evicted",
            ),
            (
                &json!({ "containers": [] }),
                json!({ "phase": "Pending" }),
                Exit::Unknown,
                "on no node",
            ),
            (&windows, running.clone(), Exit::Usage, "Windows"),
            (&selected, running.clone(), Exit::Usage, "Windows"),
        ] {
            let failure = place("web", spec, &status).check().unwrap_err();
            assert_eq!(failure.exit, exit, "{failure}");
            assert!(failure.message.contains(word), "{failure}");
        }
        assert_eq!(place("web", &spec, &running).check(), Ok(()));
    }

    #[test]
    fn names_of_containers_are_looked_up() {
        let pod = running("web", "True");
        assert!(pod.check_target("app").is_ok());
        assert_eq!(
            pod.check_target("ap").unwrap_err().hint.as_deref(),
            Some("did you mean --target app?")
        );
        let ended = json!({ "terminated": { "exitCode": 1, "reason": "Error" } });
        let status =
            json!({ "name": "sidecar", "state": ended, "ready": false, "restartCount": 0, "image": "", "imageID": "" });
        let half = place(
            "half",
            &json!({ "containers": [{ "name": "app" }, { "name": "sidecar" }] }),
            &json!({ "phase": "Running", "containerStatuses": [status] }),
        );
        let failure = half.check_target("sidecar").unwrap_err();
        assert!(
            failure.message.contains("does not run") && failure.message.contains("exit code 1"),
            "{failure}"
        );
        assert!(half.check_target("app").is_ok());
        assert!(pod.check_name("mine").is_ok());
        for wrong in ["app", "", "-a", "A", "a\u{1b}[2J", &"x".repeat(64)] {
            let failure = pod.check_name(wrong).unwrap_err();
            assert!(!failure.message.contains('\u{1b}'), "{failure}");
        }
    }
}
