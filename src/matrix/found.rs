//! Rows that did not hold, as findings: the form in which every verb reports what is wrong.

use super::{
    class::Class,
    report::{Row, Untold},
    text::{evidence, title},
};
use crate::findings::{self, Finding};

/// One finding for each kind of trouble and reason, in the order of the rows. Rows that share both (all rows of a node without an agent) are one
/// finding: its subject is the first of them, and says how many more there are.
pub fn findings(rows: &[Row]) -> Vec<Finding> {
    let mut groups: Vec<(&Row, usize)> = Vec::new();
    for row in rows.iter().filter(|row| row.finding.is_some()) {
        match groups
            .iter_mut()
            .find(|(first, _)| first.finding == row.finding && first.reason == row.reason)
        {
            Some((_, count)) => *count += 1,
            None => groups.push((row, 1)),
        }
    }
    groups
        .into_iter()
        .filter_map(|(row, count)| finding(row, count))
        .collect()
}

/// A finding for each thing that is no row although it was to be tested.
pub fn untold(untold: &[Untold]) -> Vec<Finding> {
    let Some(page) = Class::NotTested.finding().and_then(findings::page) else {
        return Vec::new();
    };
    let found = untold.iter().map(|untold| Finding {
        fix: Some(untold.hint.clone()),
        ..Finding::new(page, &untold.what, &untold.why)
    });
    found.collect()
}

fn finding(row: &Row, count: usize) -> Option<Finding> {
    let page = findings::page(row.finding.as_deref()?)?;
    let subject = match count {
        1 => title(row),
        _ => format!("{} (and {} more rows)", title(row), count - 1),
    };
    let mut finding = Finding::new(page, subject, &row.reason);
    let observed = evidence(row)
        .into_iter()
        .filter(|(kind, _)| !matches!(*kind, "reason" | "cause"));
    finding.evidence = observed.map(|(kind, text)| format!("{kind}: {text}")).collect();
    finding.cause.clone_from(&row.cause);
    Some(finding)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matrix::sample;

    #[test]
    fn every_row_that_did_not_hold_is_in_one_finding_with_its_evidence() {
        let report = sample::report(sample::rows());
        let found = findings(&report.status.rows);
        assert!(!found.is_empty());
        for row in &report.status.rows {
            let own = found
                .iter()
                .filter(|finding| Some(&finding.id) == row.finding.as_ref() && finding.actual == row.reason);
            assert_eq!(own.count(), usize::from(row.class != Class::Reached), "{row:?}");
        }
        assert!(
            found
                .iter()
                .all(|finding| !finding.expected.is_empty() && finding.fix.is_some())
        );
    }

    #[test]
    fn what_an_agent_is_to_blame_for_is_a_finding_of_the_agent_and_inconclusive() {
        let report = sample::report(sample::rows());
        let mut untested = report
            .status
            .rows
            .into_iter()
            .find(|row| row.class == Class::NotTested)
            .unwrap();
        untested.finding = Some(findings::Obstacle::ImagePull.finding().into());
        let found = findings(&[untested]);
        assert_eq!(
            (found[0].id.as_str(), found[0].severity),
            ("agent-image-pull", findings::Severity::Inconclusive)
        );
    }

    #[test]
    fn rows_with_one_reason_are_one_finding() {
        let report = sample::report(sample::rows());
        let bad = report.status.rows.iter().find(|row| row.finding.is_some()).unwrap();
        let found = findings(&[bad.clone(), bad.clone(), bad.clone()]);
        assert_eq!(found.len(), 1);
        assert!(found[0].subject.ends_with("(and 2 more rows)"), "{}", found[0].subject);
    }
}
