//! Our table, by the program `nft`.

use ipnet::IpNet;
use netcheck_cni_intent::{
    Finding, forward,
    names::{NFT_POLICY_TABLE, NFT_TABLE},
};
use netcheck_node_state::ruleset::{Nft, NftError, NftTable};
use std::collections::BTreeMap;

/// Its family.
const FAMILY: &str = "inet";

/// The table as it is, if it is.
pub fn read() -> Result<Option<NftTable>, NftError> {
    Nft::default().table(FAMILY, NFT_TABLE)
}

/// Puts it in place, whole.
pub fn write(table: &NftTable) -> Result<(), NftError> {
    Nft::default().replace_table(table)
}

/// Whether the one is there that is kept for NetworkPolicy.
pub fn has_policy_table() -> Result<bool, NftError> {
    Nft::default().has_table(FAMILY, NFT_POLICY_TABLE)
}

/// Which chains of others at hook forward drop what pods in these ranges send.
pub fn forward_dropped(ranges: &[IpNet]) -> Result<Vec<Finding>, NftError> {
    let nft = Nft::default();
    let chains = nft.base_chains("forward")?;
    let mut known = BTreeMap::new();
    let mut findings = forward::dropped(&chains, ranges, &mut |base, chain| {
        let place = (base.family.clone(), base.table.clone(), chain.to_owned());
        let rules = || nft.rules(&base.family, &base.table, chain).ok().flatten();
        known.entry(place).or_insert_with(rules).clone()
    });
    // Asked last, and only about a table that something is to be said of: its listing may be long.
    findings.retain(|finding| {
        let Finding::ForwardDropped { chain, .. } = finding else {
            return true;
        };
        let mut words = chain.split(' ');
        let (family, table) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        !nft.is_dormant(family, table).unwrap_or(true)
    });
    Ok(findings)
}

/// Removes one of ours.
pub fn delete(name: &str) -> Result<(), NftError> {
    Nft::default().delete_table(FAMILY, name)
}
