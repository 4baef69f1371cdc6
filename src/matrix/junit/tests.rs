//! What CI gets to read.

use super::*;
use crate::matrix::{
    assemble,
    family::Family,
    report::Conclusion,
    sample::{pod, report, row, rows},
};

#[test]
fn a_case_for_every_stable_name() {
    insta::assert_snapshot!(of_report(&report(rows()), &[]).unwrap());
}

#[test]
fn pods_of_one_workload_are_one_case_with_the_worst_result() {
    let (web, mut api) = (pod("web", "n1"), pod("api", "n2"));
    let first = row(&web, &api, 80, Family::Ipv4, Class::Reached);
    api.name = "api-5f6d-x2".into();
    let second = row(&web, &api, 80, Family::Ipv4, Class::Refused);
    let xml = of_report(&report(vec![first, second]), &[]).unwrap();
    assert_eq!(xml.matches("<testcase").count(), 1, "{xml}");
    assert!(xml.contains(r#"failures="1""#) && xml.contains("api-5f6d-x2"), "{xml}");
    assert!(!xml.contains("name=\"shop/web-5f6d"), "{xml}");
}

#[test]
fn what_could_not_be_told_is_an_error_unless_allowed() {
    let rows = vec![row(
        &pod("web", "n1"),
        &pod("api", "n2"),
        80,
        Family::Ipv4,
        Class::Unanswered,
    )];
    let mut unanswered = report(rows);
    assert!(of_report(&unanswered, &[]).unwrap().contains("<error"));
    unanswered.status.summary = assemble::summary(&unanswered.status.rows, Some("known".into()));
    let xml = of_report(&unanswered, &[]).unwrap();
    assert!(
        xml.contains("<skipped") && xml.contains("known") && !xml.contains("<error"),
        "{xml}"
    );
}

#[test]
fn what_could_not_even_be_made_a_row_is_an_errored_case_unless_allowed() {
    let mut untold = report(vec![row(
        &pod("web", "n1"),
        &pod("api", "n2"),
        80,
        Family::Ipv4,
        Class::Reached,
    )]);
    untold.status.coverage.untold = vec![Untold {
        what: "cluster DNS".into(),
        why: "you may not list services".into(),
        hint: "--protocol tcp leaves DNS out".into(),
    }];
    let xml = of_report(&untold, &[]).unwrap();
    assert!(xml.contains("<error") && xml.contains(r#"errors="1""#), "{xml}");
    for part in ["name=\"cluster DNS\"", "you may not list services", "--protocol tcp"] {
        assert!(xml.contains(part), "{part}: {xml}");
    }
    untold.status.summary = assemble::summary(&untold.status.rows, Some("known".into()));
    let xml = of_report(&untold, &[]).unwrap();
    assert!(
        xml.contains("<skipped") && xml.contains("known") && !xml.contains("<error"),
        "{xml}"
    );
}

#[test]
fn rows_that_held_do_not_hide_a_run_that_is_incomplete() {
    let mut incomplete = report(vec![held()]);
    assert!(!of_report(&incomplete, &[]).unwrap().contains("<error"));
    incomplete.status.conclusion = Conclusion::Inconclusive;
    incomplete
        .status
        .coverage
        .notes
        .push("the session with the agent on node/n1 has no confirmed end".into());
    let xml = of_report(&incomplete, &[]).unwrap();
    assert!(
        xml.contains(r#"<testcase name="run""#) && xml.contains(r#"errors="1""#),
        "{xml}"
    );
    assert!(xml.contains("incomplete") && xml.contains("no confirmed end"), "{xml}");
}

#[test]
fn a_run_without_rows_is_no_green_suite() {
    let xml = of_report(&report(Vec::new()), &[]).unwrap();
    assert!(xml.contains(r#"tests="1""#) && xml.contains(r#"errors="1""#), "{xml}");
    assert!(xml.contains("could not tell"), "{xml}");
}

#[test]
fn what_is_allowed_does_not_excuse_an_interrupt() {
    let untold = row(&pod("web", "n1"), &pod("db", "n2"), 80, Family::Ipv4, Class::NotTested);
    let mut interrupted = report(vec![held(), untold]);
    interrupted.status.summary = assemble::summary(&interrupted.status.rows, Some("known".into()));
    assert!(!of_report(&interrupted, &[]).unwrap().contains("<error"));
    interrupted.status.conclusion = Conclusion::Interrupted;
    let xml = of_report(&interrupted, &[]).unwrap();
    assert!(xml.contains(r#"errors="1""#) && xml.contains("interrupted"), "{xml}");
}

#[test]
fn what_stays_behind_is_an_errored_case() {
    let left = Failure::unknown("cannot remove Job netcheck-0123bcdf-0");
    let xml = of_report(&report(vec![held()]), &[left]).unwrap();
    assert!(
        xml.contains(r#"<testcase name="removal""#) && xml.contains(r#"errors="1""#),
        "{xml}"
    );
    assert!(xml.contains("netcheck-0123bcdf-0"), "{xml}");
}

fn held() -> Row {
    row(&pod("web", "n1"), &pod("api", "n2"), 80, Family::Ipv4, Class::Reached)
}

#[test]
fn a_run_that_failed_before_its_rows_leaves_an_errored_case() {
    let failure = Failure::unknown("cannot reach https://x \u{1b}[31m<&>").hint("look at it");
    let xml = of_failure(&failure).unwrap();
    assert!(xml.contains("<error") && xml.contains(r#"errors="1""#), "{xml}");
    assert!(!xml.contains('\u{1b}'), "control characters are no XML");
}

#[test]
fn the_file_is_whole_or_untouched() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("report.xml");
    save(&path, "<one/>").unwrap();
    save(&path, "<two/>").unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "<two/>");
    assert_eq!(
        std::fs::read_dir(folder.path()).unwrap().count(),
        1,
        "no temporary file stays"
    );

    let missing = folder.path().join("no-such-folder/report.xml");
    assert!(save(&missing, "<x/>").unwrap_err().message.contains("no-such-folder"));
}

#[test]
fn a_path_that_cannot_be_written_is_known_before_the_run() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("report.xml");
    save(&path, "<old/>").unwrap();
    check(&path).unwrap();
    assert_eq!(
        std::fs::read_to_string(&path).unwrap(),
        "<old/>",
        "only a result replaces it"
    );
    assert_eq!(
        std::fs::read_dir(folder.path()).unwrap().count(),
        1,
        "no temporary file stays"
    );
    for wrong in [folder.path().join("no-such-folder/report.xml"), folder.path().into()] {
        let failure = check(&wrong).unwrap_err();
        assert_eq!(failure.exit, crate::exit::Exit::Usage);
        assert!(failure.message.contains("--junit"), "{failure}");
    }
}
