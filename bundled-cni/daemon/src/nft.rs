//! Our table, by the program `nft`.

use netcheck_cni_intent::names::{NFT_POLICY_TABLE, NFT_TABLE};
use netcheck_node_state::ruleset::{Nft, NftError, NftTable};

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

/// Removes one of ours.
pub fn delete(name: &str) -> Result<(), NftError> {
    Nft::default().delete_table(FAMILY, name)
}
