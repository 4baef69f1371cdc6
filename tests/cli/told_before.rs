//! What is told before anything is created.

use serde_json::Value;

use crate::{
    fake_api::FakeApi,
    shop,
};

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
