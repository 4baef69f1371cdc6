//! `rbac`: what an administrator is given to apply. Asks no cluster.

use crate::plugin::Plugin;

#[test]
fn several_verbs_share_one_set_of_roles() {
    let plugin = Plugin::new();
    let print = |verbs: &[&str]| {
        let flags = ["--via", "node", "-n", "shop", "--user", "ada", "-o", "name"];
        plugin.run(&[&["rbac"], verbs, &flags].concat())
    };
    let printed = print(&["matrix", "cleanup"]);
    assert_eq!(printed.code, 0, "{}", printed.stderr);
    let names: Vec<&str> = printed.stdout.lines().collect();
    assert_eq!(
        names,
        [
            "namespace/netcheck",
            "clusterrole/netcheck-matrix-cleanup",
            "clusterrolebinding/netcheck-matrix-cleanup",
            "role/netcheck-matrix-cleanup",
            "rolebinding/netcheck-matrix-cleanup",
            "role/netcheck-matrix-cleanup-dns",
            "rolebinding/netcheck-matrix-cleanup-dns",
            "role/netcheck-matrix-cleanup-agents",
            "rolebinding/netcheck-matrix-cleanup-agents",
        ]
    );
    assert_eq!(print(&["cleanup", "matrix"]).stdout, printed.stdout);
}

#[test]
fn a_verb_must_be_named_and_known() {
    let plugin = Plugin::new();
    for (arguments, said) in [(&["rbac"][..], "VERB"), (&["rbac", "matrix", "clenup"], "cleanup")] {
        let outcome = plugin.run(arguments);
        assert_eq!((outcome.code, outcome.stdout.as_str()), (2, ""), "{arguments:?}");
        assert!(outcome.stderr.contains(said), "{}", outcome.stderr);
    }
}
