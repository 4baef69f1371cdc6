//! What is told before anything is created.

use serde_json::Value;

use crate::{
    fake_api::{FakeApi, status},
    shop,
};

/// Nobody can remove an ephemeral container: no flag silences that.
#[test]
fn ephemeral_containers_are_told_of_even_quietly() {
    let api = FakeApi::start(|request| {
        if request.line.starts_with("PATCH ") {
            let message = r#"pods "web-1" is forbidden: User "jane" cannot patch resource "pods/ephemeralcontainers" in API group """#;
            status(403, "Forbidden", message)
        } else {
            shop::answer(request)
        }
    });
    let outcome = shop::plugin(&api).run(&["matrix", "-q", "--via", "ephemeral", "--image", "agent:test"]);
    assert_eq!(outcome.code, 3, "{}", outcome.stderr);
    assert!(
        outcome
            .stderr
            .contains("adding one ephemeral container to each of 2 pods"),
        "{}",
        outcome.stderr
    );
}

#[test]
fn a_dry_run_prints_a_document_that_has_a_schema() {
    let api = FakeApi::start(shop::answer);
    let plugin = shop::plugin(&api);
    let outcome = plugin.look(&["--image", "agent:test", "-o", "json"]);
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    let plan: Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!(plan["kind"], "MatrixPlan");
    let schema: Value = serde_json::from_str(&plugin.run(&["schema", "MatrixPlan"]).stdout).unwrap();
    for name in plan.as_object().unwrap().keys() {
        assert!(schema["properties"][name].is_object(), "{name} is not in the schema");
    }
}
