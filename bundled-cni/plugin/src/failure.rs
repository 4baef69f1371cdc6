//! What a verb that did not succeed answers (SPEC.md 8.2; CNI 1.1.0 section 5 "Error").

use serde_json::{Value, json};
use std::fmt::Display;

/// Number of an error, as runtimes and delegating plugins read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Code(pub u32);

impl Code {
    /// No error.
    pub const NONE: Self = Self(0);
    /// The version is not supported, or the verb does not exist in it.
    pub const VERSION: Self = Self(1);
    /// A value that is understood but cannot be done.
    pub const UNSUPPORTED: Self = Self(2);
    /// A variable is missing or malformed, or the namespace is none.
    pub const ENVIRONMENT: Self = Self(4);
    /// A file or stream could not be read or written.
    pub const IO: Self = Self(5);
    /// The input is no JSON, or too large.
    pub const DECODE: Self = Self(6);
    /// The configuration is of wrong shape.
    pub const CONFIG: Self = Self(7);
    /// The namespace is the plugin's own.
    pub const OWN_NETNS: Self = Self(8);
    /// It may work later.
    pub const AGAIN: Self = Self(11);
    /// STATUS: no pod can be added.
    pub const NOT_AVAILABLE: Self = Self(50);
    /// STATUS: no pod can be added, and existing ones may have limited connectivity.
    pub const LIMITED: Self = Self(51);
    /// The interface exists in the namespace.
    pub const INTERFACE_EXISTS: Self = Self(100);
    /// The attachment exists already.
    pub const ATTACHED: Self = Self(101);
    /// The kernel refused.
    pub const KERNEL: Self = Self(102);
    /// The host veth's name belongs to someone else.
    pub const NAME_TAKEN: Self = Self(103);
    /// CHECK: the reservation of an address.
    pub const RESERVATION: Self = Self(110);
    /// CHECK: the veth's end on the node.
    pub const HOST_LINK: Self = Self(111);
    /// CHECK: a route on the node.
    pub const HOST_ROUTE: Self = Self(112);
    /// CHECK: a neighbour on the node.
    pub const HOST_NEIGHBOUR: Self = Self(113);
    /// CHECK: the interface in the pod.
    pub const POD_LINK: Self = Self(114);
    /// CHECK: an address in the pod.
    pub const POD_ADDRESS: Self = Self(115);
    /// CHECK: a route in the pod.
    pub const POD_ROUTE: Self = Self(116);
    /// CHECK: a neighbour in the pod.
    pub const POD_NEIGHBOUR: Self = Self(117);
    /// CHECK: a hardware address.
    pub const MAC: Self = Self(118);
    /// A bug of ours.
    pub const BUG: Self = Self(999);
}

/// Why a verb did not succeed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// Its number.
    pub code: Code,
    /// What, where, and what to do.
    pub message: String,
    /// What else went wrong, such as while undoing; mostly empty.
    pub details: String,
}

impl Failure {
    /// A failure without details.
    pub fn new(code: Code, message: impl Display) -> Self {
        Self {
            code,
            message: message.to_string(),
            details: String::new(),
        }
    }

    /// Adds what went wrong besides.
    #[must_use]
    pub fn and(mut self, other: &Self) -> Self {
        let also = if self.details.is_empty() { "" } else { "; " };
        self.details = format!("{}{also}{other}", self.details);
        if !other.details.is_empty() {
            self.details = format!("{}; {}", self.details, other.details);
        }
        self
    }

    /// The first of many, with the others as its details; `Ok` if there is none.
    pub fn join(failures: impl IntoIterator<Item = Self>) -> Result<(), Self> {
        let first = failures.into_iter().reduce(|first, other| first.and(&other));
        first.map_or(Ok(()), Err)
    }

    /// As printed for the runtime.
    pub fn to_json(&self, version: &str) -> Value {
        let mut json = json!({"cniVersion": version, "code": self.code.0, "msg": self.message});
        if !self.details.is_empty() {
            json["details"] = self.details.clone().into();
        }
        json
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_failures_become_one_that_names_all() {
        assert_eq!(Failure::join([]), Ok(()));
        let failure = |text: &str| Failure::new(Code::IO, text);
        let joined = Failure::join([failure("a"), failure("b").and(&failure("c")), failure("d")]).unwrap_err();
        assert_eq!(joined.details, "b; c; d");
        let json = joined.to_json("1.0.0");
        assert_eq!(
            json,
            json!({"cniVersion": "1.0.0", "code": 5, "msg": "a", "details": "b; c; d"})
        );
        assert_eq!(failure("a").to_json("0.4.0").get("details"), None);
    }
}
