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
        ("rbac", &["rbac", "--help"]),
        ("doctor", &["doctor", "--help"]),
        ("cni", &["cni", "--help"]),
        ("cni-install", &["cni", "install", "--help"]),
        ("cni-status", &["cni", "status", "--help"]),
        ("cni-uninstall", &["cni", "uninstall", "--help"]),
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
        "doctor",
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

/// As `kubectl options` of 1.32 to 1.34 lists them.
#[test]
fn every_verb_takes_all_of_kubectls_own_flags() {
    let flags = [
        "--as=x",
        "--as-group=x",
        "--as-uid=x",
        "--as-user-extra=x=y",
        "--cache-dir=x",
        "--certificate-authority=x",
        "--client-certificate=x",
        "--client-key=x",
        "--cluster=x",
        "--context=x",
        "--disable-compression=false",
        "--insecure-skip-tls-verify=false",
        "--kubeconfig=x",
        "--kuberc=x",
        "--log-flush-frequency=5s",
        "--match-server-version",
        "--namespace=x",
        "--password=x",
        "--profile=none",
        "--profile-output=profile.pprof",
        "--request-timeout=0",
        "--server=x",
        "--tls-server-name=x",
        "--token=x",
        "--user=x",
        "--username=x",
        "--vmodule=x=1",
        "--warnings-as-errors=true",
    ];
    let plugin = Plugin::new();
    for verb in [
        "matrix",
        "doctor",
        "cleanup",
        "rbac",
        "images",
        "explain",
        "schema",
        "completion",
        "version",
        "options",
    ] {
        // Help that is asked for last needs all that stands before it to be understood.
        let outcome = plugin.run(&[&[verb][..], &flags, &["--help"]].concat());
        assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""), "{verb}");
    }
}

#[test]
fn verbs_that_ask_no_cluster_ignore_which() {
    let plugin = Plugin::new();
    for verb in [
        &["explain", "matrix-refused"][..],
        &["schema", "Version"],
        &["images", "list"],
    ] {
        let elsewhere = [
            "-n",
            "shop",
            "--context",
            "none",
            "--kubeconfig",
            "/nowhere",
            "--warnings-as-errors",
        ];
        let (plain, with_flags) = (plugin.run(verb), plugin.run(&[verb, &elsewhere].concat()));
        assert_eq!((with_flags.code, with_flags.stderr.as_str()), (0, ""), "{verb:?}");
        assert_eq!(with_flags.stdout, plain.stdout, "{verb:?}");
    }
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
        (&["matrix", "--timeout", "0"], "between 2s and 2m"),
        (&["matrix", "--timeout", "5ms"], "between 2s and 2m"),
        (&["matrix", "--timeout", "3m"], "between 2s and 2m"),
        (&["verify", "--observe", "500ms"], "between 1s and 10m"),
        (&["verify", "--observe", "11m"], "between 1s and 10m"),
        (&["verify", "--observe", "5s", "--from", "x"], "cannot be used with"),
        (&["matrix", "--timeout", "18446744073709551615"], "no duration"),
        (&[], "Usage"),
    ] {
        let outcome = plugin.run(arguments);
        assert_eq!((outcome.code, outcome.stdout.as_str()), (2, ""), "{arguments:?}");
        assert!(outcome.stderr.contains(said), "{arguments:?}: {}", outcome.stderr);
    }
}
