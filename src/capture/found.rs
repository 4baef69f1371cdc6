//! What is to be told of a capture, as findings. Pure.

use super::account::Account;
use crate::findings::{self, Finding};

/// A source and what became of it: its account, or why it was not captured at all.
pub type Told<'a> = (&'a str, Result<&'a Account, &'a str>);

/// One finding for each thing that is wrong with a source.
pub fn findings<'a>(sources: impl IntoIterator<Item = Told<'a>>) -> Vec<Finding> {
    sources
        .into_iter()
        .flat_map(|(name, told)| of_source(name, told))
        .collect()
}

fn of_source(name: &str, told: Result<&Account, &str>) -> Vec<Finding> {
    let account = match told {
        Ok(account) => account,
        Err(why) => {
            return finding("capture-source-missing", name, why.to_owned())
                .into_iter()
                .collect();
        }
    };
    let lost = |id, count: u64, where_| {
        (count > 0).then(|| {
            finding(
                id,
                name,
                format!("{count} of {} packets were lost {where_}", account.accepted),
            )
        })
    };
    let found = [
        lost("capture-lost-in-ring", account.lost_in_ring, "in the node's kernel"),
        lost(
            "capture-lost-in-stream",
            account.lost_in_agent + account.lost_in_stream,
            "on the way",
        ),
        lost("capture-lost-at-output", account.lost_at_output, "at the output"),
        account
            .unsettled
            .as_ref()
            .map(|why| finding("capture-incomplete", name, why.clone())),
    ];
    found.into_iter().flatten().flatten().collect()
}

fn finding(id: &str, subject: &str, actual: String) -> Option<Finding> {
    findings::page(id).map(|page| Finding::new(page, subject, actual))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_loss_is_a_finding_and_a_whole_capture_is_none() {
        let whole = Account {
            accepted: 5,
            written: 5,
            ..Account::default()
        };
        let holes = Account {
            accepted: 100,
            written: 80,
            lost_in_ring: 10,
            lost_in_stream: 6,
            lost_at_output: 4,
            unsettled: Some("the agent died".into()),
            ..Account::default()
        };
        let found = findings([
            ("pod a", Ok(&whole)),
            ("pod b", Ok(&holes)),
            ("pod c", Err("it is not running")),
        ]);
        let told: Vec<_> = found
            .iter()
            .map(|finding| format!("{}: {}: {}", finding.subject, finding.id, finding.actual))
            .collect();
        assert_eq!(
            told,
            [
                "pod b: capture-lost-in-ring: 10 of 100 packets were lost in the node's kernel",
                "pod b: capture-lost-in-stream: 6 of 100 packets were lost on the way",
                "pod b: capture-lost-at-output: 4 of 100 packets were lost at the output",
                "pod b: capture-incomplete: the agent died",
                "pod c: capture-source-missing: it is not running",
            ]
        );
    }
}
