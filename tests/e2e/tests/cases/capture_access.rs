//! What `rbac capture` prints is enough to capture, and without any of it the missing verb is named.

use crate::Case;
use anyhow::{Context, Result};
use netcheck_e2e::{
    capture::Files,
    lab::{Lab, said},
    traffic::talkers,
};
use serde_json::Value;
use std::{process::Output, time::Duration};

pub const CASES: &[Case] = &[(
    "capture access: the printed roles are enough, and a verb less is named",
    roles,
)];

/// How long the API server's authorizer may take to see a change.
const SEEN: Duration = Duration::from_secs(30);

fn roles(lab: &Lab) -> Result<()> {
    // What is printed holds the agents' namespace, which the last run's may be on its way out of.
    lab.wait_until_clean(Duration::from_mins(1))?;
    let namespace = lab.namespace("privileged")?;
    talkers(lab, &namespace, &[("one", "n1"), ("two", "n2")])?;
    let files = Files::new()?;
    let (_, file) = files.path("guest.pcapng");
    for via in ["node", "ephemeral"] {
        let user = format!("eavesdropper-{via}");
        let line = [
            "rbac",
            "capture",
            "-n",
            &namespace.name,
            "--user",
            &user,
            "--via",
            via,
            "-o",
            "json",
        ];
        let printed = lab.netcheck(line).output()?;
        let list: Value = serde_json::from_slice(&printed.stdout).with_context(|| said(&printed))?;
        lab.apply(&list)?;
        let kubeconfig = lab.rig.kubeconfig_for_user(&user, None)?;
        let run = || -> Result<Output, String> {
            let line = [
                "capture",
                "-n",
                &namespace.name,
                "-l",
                "set=lab",
                "--via",
                via,
                "-w",
                &file,
            ];
            let mut command = lab.netcheck_as(&kubeconfig, line);
            command
                .args(["--duration", "1s", "-o", "json"])
                .output()
                .map_err(|error| error.to_string())
        };
        netcheck_rig::wait_until("the guest may capture", SEEN, || {
            let output = run()?;
            let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
            let whole = report["status"]["complete"] == true && output.status.code() == Some(0);
            if whole { Ok(()) } else { Err(said(&output)) }
        })?;
        // The verb that everything hangs on: streams into agents.
        let less = without_streams(list);
        lab.apply(&less)?;
        netcheck_rig::wait_until("the guest may not capture", SEEN, || {
            let output = run()?;
            let text = said(&output);
            let named = ["create", "pods/exec", "netcheck rbac"]
                .iter()
                .all(|word| text.contains(word));
            if output.status.code() == Some(3) && named {
                Ok(())
            } else {
                Err(text)
            }
        })?;
    }
    // The namespace that the printed roles come with stays by design; later cases want to see one come and go.
    lab.kubectl("delete namespace netcheck").map(drop)
}

/// Takes the right to open streams out of the roles.
fn without_streams(mut list: Value) -> Value {
    for object in list["items"].as_array_mut().into_iter().flatten() {
        for rule in object
            .get_mut("rules")
            .and_then(Value::as_array_mut)
            .into_iter()
            .flatten()
        {
            if let Some(resources) = rule.get_mut("resources").and_then(Value::as_array_mut) {
                resources.retain(|resource| !matches!(resource.as_str(), Some("pods/exec" | "pods/attach")));
                if resources.is_empty() {
                    resources.push("nothing-at-all".into());
                }
            }
        }
    }
    list
}
