//! The cluster's side: a client made from kubectl's flags, names resolved as kubectl does, and an inventory of what is there.

pub mod inventory;
