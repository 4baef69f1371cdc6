//! The container of a session, as the API takes it.

use super::{OWNER, Profile, TARGET};
use crate::{
    agents::manifest::typed,
    exit::Failure,
    output::safe,
    terminal::{Session, command},
};
use k8s_openapi::api::core::v1::Container;
use serde_json::{Map, Value, json};

/// What the user wants of the container, whatever the profile.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Reference of its image.
    pub image: String,
    /// When it is pulled; `None` leaves it to the API server.
    pub pull_policy: Option<String>,
    /// Variables besides ours, in order.
    pub env: Vec<(String, String)>,
    /// The container whose processes are seen.
    pub target: Option<String>,
    /// Changes from a file.
    pub custom: Custom,
    /// It has a terminal.
    pub tty: bool,
    /// Whose it is.
    pub owner: String,
    /// Where one is in it: `pod shop/web-1`.
    pub place: String,
}

/// Part of a container, from `--custom`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Custom(Map<String, Value>);

/// What a file may not change: what kubectl does not let it, and how the container is connected, which must be as the plugin's end is.
const FIXED: [&str; 9] = [
    "name",
    "command",
    "args",
    "image",
    "lifecycle",
    "volumeDevices",
    "stdin",
    "stdinOnce",
    "tty",
];

impl Custom {
    /// Reads a file's JSON or YAML.
    ///
    /// # Errors
    /// If it is no part of a container, or would change what other flags say.
    pub fn parse(text: &str) -> Result<Self, Failure> {
        let wrong = |why: String| {
            Failure::usage(format!("--custom: the file is no part of a container: {}", safe(&why)))
                .hint("for instance: {\"securityContext\": {\"capabilities\": {\"add\": [\"SYS_TIME\"]}}}")
        };
        let part: Map<String, Value> = serde_saphyr::from_str(text).map_err(|error| wrong(error.to_string()))?;
        if let Some(fixed) = FIXED.iter().find(|fixed| part.contains_key(**fixed)) {
            return Err(Failure::usage(format!("--custom cannot change {fixed}"))
                .hint("what is run, and how it is connected, is said on the command line"));
        }
        // Unknown fields would be dropped without a word by the API server.
        let mut whole = part.clone();
        whole.insert("name".to_owned(), json!(""));
        let known: Container =
            serde_json::from_value(Value::Object(whole)).map_err(|error| wrong(error.to_string()))?;
        let known = serde_json::to_value(known).unwrap_or_default();
        match part.keys().find(|key| known.get(key.as_str()).is_none()) {
            Some(unknown) => Err(wrong(format!("there is no field {unknown:?}"))),
            None => Ok(Self(part)),
        }
    }

    /// Changes a container: objects are merged, lists of variables by name, all else replaced.
    fn change(&self, container: &mut Value) {
        for (key, value) in &self.0 {
            if key == "env" {
                let names: Vec<&Value> = value.as_array().into_iter().flatten().map(|one| &one["name"]).collect();
                if let Some(env) = container["env"].as_array_mut() {
                    env.retain(|one| !names.contains(&&one["name"]));
                    env.extend(value.as_array().into_iter().flatten().cloned());
                }
            } else {
                merge(&mut container[key], value);
            }
        }
    }
}

/// RFC 7396, as far as objects go.
fn merge(into: &mut Value, from: &Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from.clone(),
    }
}

/// The container of a session with a profile.
pub fn container(wanted: &Wanted, session: &Session, profile: Profile, on_node: bool) -> Value {
    let ours = [(OWNER, &wanted.owner), (TARGET, &wanted.place)];
    let ours = ours.map(|(name, value)| (name.to_owned(), value.clone()));
    let env: Vec<Value> = (ours.iter().chain(&wanted.env))
        .map(|(name, value)| json!({ "name": name, "value": value }))
        .collect();
    let command: Vec<String> = command(session).iter().map(|word| unexpanded(word)).collect();
    let mut container = json!({
        "name": session.name,
        "image": wanted.image,
        "command": command,
        "env": env,
        "stdin": true,
        // The end of what is piped is the end of the command's input.
        "stdinOnce": !wanted.tty,
        "tty": wanted.tty,
        "securityContext": profile.security_context(on_node),
    });
    if let Some(policy) = &wanted.pull_policy {
        container["imagePullPolicy"] = json!(policy);
    }
    wanted.custom.change(&mut container);
    container
}

/// A word that is the same again once the kubelet has put variables into it: `$$` is its `$` (third_party/forked/golang/expansion).
fn unexpanded(word: &str) -> String {
    word.replace('$', "$$")
}

/// The patch that adds it to a pod (strategic merge: appends by name).
pub fn patch(wanted: &Wanted, session: &Session, profile: Profile) -> Value {
    let mut container = container(wanted, session, profile, false);
    if let Some(target) = &wanted.target {
        container["targetContainerName"] = json!(target);
    }
    json!({ "spec": { "ephemeralContainers": [container] } })
}

/// Checks the patch against the API's types.
///
/// # Errors
/// If the API has no place for something in it.
pub fn checked(patch: Value) -> Result<Value, Failure> {
    let _: Vec<k8s_openapi::api::core::v1::EphemeralContainer> = typed(patch["spec"]["ephemeralContainers"].clone())?;
    Ok(patch)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::agents::manifest::tests::assert_kept;
    use k8s_openapi::api::core::v1::EphemeralContainer;

    pub(crate) fn wanted() -> Wanted {
        Wanted {
            image: "toolbox:1".to_owned(),
            pull_policy: Some("IfNotPresent".to_owned()),
            env: vec![("LANG".to_owned(), "C.UTF-8".to_owned())],
            target: Some("app".to_owned()),
            custom: Custom::default(),
            tty: true,
            owner: "ada ada@laptop".to_owned(),
            place: "pod shop/web-1".to_owned(),
        }
    }

    pub(crate) fn session() -> Session {
        Session {
            name: "netcheck-debug-0123bcdf".to_owned(),
            token: "t0".to_owned(),
            keep: None,
            stdin: true,
            command: Vec::new(),
        }
    }

    #[test]
    fn the_api_knows_every_field_of_the_container() {
        for profile in Profile::ALL {
            let patch = patch(&wanted(), &session(), profile);
            let written = &patch["spec"]["ephemeralContainers"][0];
            let read: EphemeralContainer = serde_json::from_value(written.clone()).unwrap();
            assert_kept(written, &serde_json::to_value(read).unwrap(), "container");
        }
    }

    #[test]
    fn a_dollar_is_the_shells_and_not_the_kubelets() {
        let session = Session {
            command: ["sh", "-c", "echo $$ $(id)"].map(str::to_owned).to_vec(),
            ..session()
        };
        let container = container(&wanted(), &session, Profile::Netadmin, false);
        let words = container["command"].as_array().unwrap();
        assert_eq!(words.last().unwrap(), "echo $$$$ $$(id)");
    }

    #[test]
    fn a_file_changes_what_it_names_and_no_more() {
        let custom = Custom::parse(
            "env: [{name: LANG, value: C}]\nsecurityContext: {capabilities: {add: [SYS_TIME]}}\nresources: {limits: {memory: 1Gi}}",
        )
        .unwrap();
        let container = container(&Wanted { custom, ..wanted() }, &session(), Profile::Netadmin, false);
        assert_eq!(container["securityContext"]["capabilities"]["add"], json!(["SYS_TIME"]));
        assert_eq!(container["securityContext"]["runAsUser"], 0);
        assert_eq!(container["resources"]["limits"]["memory"], "1Gi");
        let env = container["env"].as_array().unwrap();
        assert_eq!(env.iter().filter(|one| one["name"] == "LANG").count(), 1);
        assert_eq!(env.last().unwrap()["value"], "C");
    }

    #[test]
    fn a_file_that_is_no_part_of_a_container_is_refused() {
        for (text, word) in [
            ("image: other", "image"),
            ("recources: {}", "recources"),
            ("[1, 2]", "no part"),
            ("tty: true", "tty"),
            ("privileged: true", "privileged"),
            ("workingDir: [1]", "no part"),
            ("{", "no part"),
        ] {
            let failure = Custom::parse(text).unwrap_err();
            assert!(failure.message.contains(word), "{text}: {}", failure.message);
        }
    }
}
