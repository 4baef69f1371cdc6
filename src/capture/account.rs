//! Where every packet went. Pure.
//!
//! A packet that passed the filter in the kernel is either in the output or in one of the columns of [`Account`]; the sum is checked, and what
//! cannot be told (an agent that died before its last count) is said.

use netcheck_wire::capture::CaptureCounters;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What became of one source's packets.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Account {
    /// Packets that passed the filter in the kernel.
    pub accepted: u64,
    /// Written to the output.
    pub written: u64,
    /// Bytes of these, as captured.
    pub written_bytes: u64,
    /// Lost in the node's kernel: the ring was full, because packets came faster than they could be carried away.
    pub lost_in_ring: u64,
    /// Lost in the agent: damaged, or too large for a frame.
    pub lost_in_agent: u64,
    /// Lost on the way: the agent sent them, and they did not arrive.
    pub lost_in_stream: u64,
    /// Lost at the output, which took no more.
    pub lost_at_output: u64,
    /// Left out on purpose: they came after a limit was reached.
    pub beyond_limit: u64,
    /// Why the numbers of the kernel and the agent are not final, if they are not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unsettled: Option<String>,
}

/// A source's packets as they are counted on our side, and what the agent said last.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    /// What the agent said last.
    pub agent: CaptureCounters,
    /// Packets that arrived here.
    pub arrived: u64,
    /// Packets that the output has for certain.
    pub written: u64,
    /// Bytes of these.
    pub written_bytes: u64,
    /// Packets that the output did not take.
    pub lost_at_output: u64,
    /// Packets that were left out because a limit was reached.
    pub beyond_limit: u64,
}

impl Tally {
    /// The account. `end` says how the source's flow ended: whole, or why not.
    pub fn account(&self, end: Result<(), &str>) -> Account {
        let agent = &self.agent;
        let mut account = Account {
            accepted: agent.accepted,
            written: self.written,
            written_bytes: self.written_bytes,
            lost_in_ring: agent.ring_drops,
            lost_in_agent: agent.unfit,
            lost_in_stream: agent.sent.saturating_sub(self.arrived),
            lost_at_output: self.lost_at_output,
            beyond_limit: self.beyond_limit,
            unsettled: end.err().map(str::to_owned),
        };
        if account.unsettled.is_some() {
            // More may have arrived than the agent's last count knows of.
            account.accepted = account
                .accepted
                .max(self.arrived + account.lost_in_ring + account.lost_in_agent);
        } else if account.sum() != account.accepted {
            account.unsettled = Some(format!(
                "the numbers do not add up: {} packets passed the filter, {} are accounted for",
                account.accepted,
                account.sum()
            ));
        }
        account
    }
}

impl Account {
    /// Packets that are accounted for.
    pub fn sum(&self) -> u64 {
        self.written + self.lost() + self.beyond_limit
    }

    /// Packets that were to be in the output and are not.
    pub fn lost(&self) -> u64 {
        self.lost_in_ring + self.lost_in_agent + self.lost_in_stream + self.lost_at_output
    }

    /// Of several sources together.
    pub fn total<'a>(accounts: impl IntoIterator<Item = &'a Self>) -> Self {
        let mut total = Self::default();
        for account in accounts {
            total.accepted += account.accepted;
            total.written += account.written;
            total.written_bytes += account.written_bytes;
            total.lost_in_ring += account.lost_in_ring;
            total.lost_in_agent += account.lost_in_agent;
            total.lost_in_stream += account.lost_in_stream;
            total.lost_at_output += account.lost_at_output;
            total.beyond_limit += account.beyond_limit;
            if total.unsettled.is_none() {
                total.unsettled.clone_from(&account.unsettled);
            }
        }
        total
    }

    /// Each cause of a loss that happened, in words: `12 in the kernel's ring`.
    pub fn losses(&self) -> Vec<String> {
        let causes = [
            (self.lost_in_ring, "in the node's kernel (ring full)"),
            (self.lost_in_agent, "in the agent (damaged or too large)"),
            (self.lost_in_stream, "in the stream"),
            (self.lost_at_output, "at the output"),
        ];
        let happened = causes.into_iter().filter(|(count, _)| *count > 0);
        happened.map(|(count, place)| format!("{count} {place}")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally() -> Tally {
        Tally {
            agent: CaptureCounters {
                accepted: 100,
                ring_drops: 10,
                sent: 88,
                unfit: 2,
                ..CaptureCounters::default()
            },
            arrived: 88,
            written: 80,
            written_bytes: 8000,
            lost_at_output: 5,
            beyond_limit: 3,
        }
    }

    #[test]
    fn every_packet_is_in_the_output_or_in_a_column() {
        let account = tally().account(Ok(()));
        assert_eq!((account.accepted, account.sum()), (100, 100));
        assert_eq!(account.unsettled, None);
        assert_eq!(account.lost(), 17);
        assert_eq!(
            account.losses(),
            [
                "10 in the node's kernel (ring full)",
                "2 in the agent (damaged or too large)",
                "5 at the output"
            ]
        );
    }

    #[test]
    fn what_does_not_add_up_is_said() {
        let mut tally = tally();
        tally.agent.accepted = 101;
        let unsettled = tally.account(Ok(())).unsettled.unwrap();
        assert!(unsettled.contains("101") && unsettled.contains("100"), "{unsettled}");
    }

    #[test]
    fn what_an_agent_that_died_said_last_is_a_least() {
        let mut tally = tally();
        tally.arrived = 95;
        tally.written = 95;
        (tally.lost_at_output, tally.beyond_limit) = (0, 0);
        let account = tally.account(Err("the stream was cut"));
        assert_eq!((account.accepted, account.lost_in_stream), (107, 0));
        assert_eq!(account.unsettled.as_deref(), Some("the stream was cut"));
        let total = Account::total([&account, &Account::default()]);
        assert_eq!(total, account);
    }

    #[test]
    fn packets_that_never_arrived_are_lost_in_the_stream() {
        let mut tally = tally();
        tally.arrived = 80;
        tally.written = 72;
        assert_eq!(tally.account(Err("cut")).lost_in_stream, 8);
    }
}
