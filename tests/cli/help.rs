//! Help pages, as snapshots: what users read is reviewed like code.

use crate::plugin::Plugin;

#[test]
fn help_pages() {
    let plugin = Plugin::new();
    let pages: &[(&str, &[&str])] = &[
        ("short", &["-h"]),
        ("long", &["--help"]),
        ("options", &["options"]),
        ("version", &["version", "--help"]),
        ("explain", &["explain", "--help"]),
        ("schema", &["schema", "--help"]),
        ("images", &["images", "--help"]),
        ("completion", &["completion", "--help"]),
    ];
    for (name, arguments) in pages {
        let outcome = plugin.run(arguments);
        assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""), "{name}");
        insta::with_settings!({snapshot_path => "snapshots", prepend_module_to_snapshot => false}, {
            insta::assert_snapshot!(format!("help-{name}"), outcome.stdout);
        });
    }
}

#[test]
fn every_verb_has_a_short_and_a_long_help_and_long_ones_of_cluster_verbs_have_examples() {
    let plugin = Plugin::new();
    for verb in [
        "matrix",
        "cleanup",
        "rbac",
        "images",
        "explain",
        "schema",
        "completion",
        "version",
        "options",
    ] {
        let (short, long) = (plugin.run(&[verb, "-h"]), plugin.run(&[verb, "--help"]));
        assert_eq!((short.code, long.code), (0, 0), "{verb}");
        assert!(
            long.stdout.contains("Usage: kubectl netcheck "),
            "{verb}: {}",
            long.stdout
        );
        if !["options", "version"].contains(&verb) {
            assert!(long.stdout.contains("Examples:"), "{verb}: {}", long.stdout);
        }
        assert!(
            !short.stdout.contains("--certificate-authority"),
            "{verb} shows what options is for"
        );
    }
}

/// Help must work where nothing else does.
#[test]
fn help_needs_no_configuration() {
    let plugin = Plugin::new().env("KUBECONFIG", "/proc/self/mem");
    assert_eq!(plugin.run(&["matrix", "--help"]).code, 0);
}

#[test]
fn mistakes_are_usage_errors_with_a_suggestion() {
    let plugin = Plugin::new();
    for (arguments, said) in [
        (&["expain"][..], "explain"),
        (&["version", "--contxt", "x"], "--context"),
        (&["version", "-o", "yml"], "yaml"),
        (&["explain", "matrix-refusd"], "matrix-refused"),
        (&["schema", "Verson"], "Version"),
        (&["-n", "shop", "version"], "after the verb"),
        (&["version", "--request-timeout", "soon"], "no duration"),
        (&["version", "--request-timeout", "18446744073709551615"], "no duration"),
        (&["matrix", "--timeout", "0"], "between 2s and 120s"),
        (&["matrix", "--timeout", "5ms"], "between 2s and 120s"),
        (&["matrix", "--timeout", "3m"], "between 2s and 120s"),
        (&["matrix", "--timeout", "18446744073709551615"], "no duration"),
        (&[], "Usage"),
    ] {
        let outcome = plugin.run(arguments);
        assert_eq!((outcome.code, outcome.stdout.as_str()), (2, ""), "{arguments:?}");
        assert!(outcome.stderr.contains(said), "{arguments:?}: {}", outcome.stderr);
    }
}
