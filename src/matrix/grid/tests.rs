//! Every width has its layout.

use super::*;
use crate::matrix::{
    family::Family,
    sample::{node, pod, row, rows},
};

fn at(width: usize) -> Style<'static> {
    Style { width, printer: None }
}

#[test]
fn wide_terminals_show_words() {
    insta::assert_snapshot!(render(&rows(), false, at(100)));
}

#[test]
fn narrow_terminals_show_letters_and_a_key() {
    insta::assert_snapshot!(render(&rows(), false, at(44)));
}

#[test]
fn the_narrowest_show_a_list() {
    insta::assert_snapshot!(render(&rows(), false, at(12)));
}

#[test]
fn pods_are_shown_exactly_if_asked() {
    let text = render(&rows(), true, at(200));
    assert!(text.contains("web-5f6d-x1"), "{text}");
}

#[test]
fn many_columns_come_in_blocks() {
    let sources: Vec<Row> = (0..30)
        .map(|index| {
            row(
                &node("n1"),
                &pod(&format!("w{index:02}"), "n2"),
                80,
                Family::Ipv4,
                Class::Reached,
            )
        })
        .collect();
    let text = render(&sources, false, at(60));
    assert!(
        text.lines().filter(|line| line.starts_with("FROM")).count() > 1,
        "{text}"
    );
    assert!(text.lines().all(|line| line.chars().count() <= 60), "{text}");
}

#[test]
fn namespaces_are_left_out_only_if_there_is_one() {
    let mut two = rows();
    two[0].source.namespace = Some("other".into());
    assert!(render(&two, false, at(200)).contains("other/web"));
    assert!(!render(&rows(), false, at(200)).contains("shop/"));
}
