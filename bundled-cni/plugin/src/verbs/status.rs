//! STATUS: whether ADD can succeed, for all that the daemon knows (SPEC.md 8.1 says what is not looked at, and why).

use super::Call;
use crate::{Code, Failure, request::Verb};

pub(super) fn status(call: &Call<'_>) -> Result<(), Failure> {
    let node = call
        .store()
        .node()
        .map_err(|error| Failure::new(Code::NOT_AVAILABLE, error))?;
    if !node.ready {
        let what = format!("node {} is not ready for pods: {}", node.node, node.reason);
        return Err(Failure::new(Code::LIMITED, what));
    }
    match call.delegate()? {
        Some(delegate) => delegate.call(Verb::Status, &[]).map(|_| ()),
        None => Ok(()),
    }
}
