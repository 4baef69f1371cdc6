//! The report as people see it, whole.

use super::*;
use crate::matrix::{
    family::Family,
    sample::{node, pod, report, row, rows},
};

fn at(width: usize) -> Style<'static> {
    Style { width, printer: None }
}

#[test]
fn the_table_shows_what_did_not_hold_with_its_evidence() {
    insta::assert_snapshot!(table(&report(rows()), at(100)));
}

#[test]
fn wide_is_a_line_a_row() {
    insta::assert_snapshot!(wide(&report(rows()), at(100)));
}

#[test]
fn names_are_ids() {
    let text = names(&report(rows()));
    assert_eq!(text.lines().count(), rows().len());
    assert!(text.lines().all(|line| !line.contains(' ')), "{text}");
}

#[test]
fn the_json_is_as_documented() {
    insta::assert_json_snapshot!(report(rows().into_iter().take(1).collect()));
}

#[test]
fn a_flood_of_failures_is_cut_and_counted() {
    let many: Vec<Row> = (0..100)
        .map(|index| {
            row(
                &node("n1"),
                &pod(&format!("w{index}"), "n2"),
                80,
                Family::Ipv4,
                Class::NeverArrived,
            )
        })
        .collect();
    let text = table(&report(many), at(100));
    assert!(
        text.contains(&format!("and {} more failed rows", 100 - MOST_SHOWN)),
        "{text}"
    );
}

#[test]
fn different_failures_come_before_repeats() {
    let mut many: Vec<Row> = (0..50)
        .map(|index| {
            row(
                &node("n1"),
                &pod(&format!("w{index}"), "n2"),
                80,
                Family::Ipv4,
                Class::NeverArrived,
            )
        })
        .collect();
    many.push(row(&node("n1"), &pod("last", "n2"), 80, Family::Ipv4, Class::Refused));
    assert!(table(&report(many), at(100)).contains("refused, nothing listens\n  reason"));
}

#[test]
fn nothing_to_test_is_said() {
    assert!(table(&report(Vec::new()), at(100)).starts_with("nothing to test"));
}

#[test]
fn what_could_not_be_told_names_the_page_that_explains_it() {
    let untested = Row {
        finding: Some("agent-image-pull".into()),
        reason: "node/n1: its agent did not start: ErrImagePull".into(),
        ..row(&pod("web", "n1"), &pod("api", "n2"), 80, Family::Ipv4, Class::NotTested)
    };
    let text = table(&report(vec![untested]), at(100));
    assert!(text.contains("ErrImagePull (agent-image-pull)"), "{text}");
}

#[test]
fn what_is_no_row_although_it_was_to_be_tested_is_in_the_coverage() {
    let mut report = report(rows());
    report.status.coverage.untold = vec![crate::matrix::report::Untold {
        what: "cluster DNS".into(),
        why: "there is no DNS Service".into(),
        hint: "--protocol tcp leaves DNS out".into(),
    }];
    let text = table(&report, at(100));
    let line = "not tested: cluster DNS: there is no DNS Service; --protocol tcp leaves DNS out";
    assert!(text.lines().any(|written| written == line), "{text}");
}
