//! Sessions that were left running: which of those in a pod is one's own.

use super::{OWNER, Place};
use crate::{
    agents::waiting,
    terminal::{Session, read_back},
};

/// One's own session that runs in a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// The container.
    pub container: String,
    /// The session.
    pub session: Session,
}

/// The latest session of this owner that is kept and runs, and has a terminal to come back to.
pub fn find(place: &Place, owner: &str) -> Option<Kept> {
    place.ephemeral().iter().rev().find_map(|container| {
        let session = read_back(container.command.as_deref().unwrap_or_default())?;
        let mut env = container.env.iter().flatten();
        let is_own = env.any(|one| one.name == OWNER && one.value.as_deref() == Some(owner));
        // One that was left a moment ago may not be known to run yet.
        let progress = waiting::of_ephemeral_container(&place.pod, &container.name);
        let runs = progress.final_word().is_none();
        let found = is_own && runs && session.keep.is_some() && container.tty == Some(true);
        found.then(|| Kept {
            container: container.name.clone(),
            session,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::debug::{
        Profile, Wanted,
        container::{patch, tests as of},
        place::tests::place,
    };
    use serde_json::{Value, json};
    use std::time::Duration;

    fn container(name: &str, owner: &str, keep: u64) -> Value {
        let session = Session {
            name: name.to_owned(),
            keep: (keep > 0).then(|| Duration::from_secs(keep)),
            ..of::session()
        };
        let wanted = Wanted {
            owner: owner.to_owned(),
            ..of::wanted()
        };
        patch(&wanted, &session, Profile::Netadmin)["spec"]["ephemeralContainers"][0].clone()
    }

    #[test]
    fn only_ones_own_kept_session_that_runs_is_come_back_to() {
        let status = |name: &str, state: Value| json!({ "name": name, "state": state, "ready": false, "restartCount": 0, "image": "", "imageID": "" });
        let running = || json!({ "running": {} });
        let ended = json!({ "terminated": { "exitCode": 0 } });
        let pod = place(
            "web",
            &json!({ "containers": [], "ephemeralContainers": [
                container("old", "ada", 60), container("mine", "ada", 3600), container("ended", "ada", 3600),
                container("brief", "ada", 0), container("theirs", "bob", 3600), { "name": "debugger-x7c" },
            ] }),
            &json!({ "phase": "Running", "ephemeralContainerStatuses": [
                status("old", running()), status("mine", running()), status("ended", ended), status("brief", running()),
                status("theirs", running()), status("debugger-x7c", running()),
            ] }),
        );
        assert_eq!(find(&pod, "ada").unwrap().container, "mine");
        assert_eq!(find(&pod, "bob").unwrap().container, "theirs");
        assert_eq!(find(&pod, "eve"), None);
    }
}
