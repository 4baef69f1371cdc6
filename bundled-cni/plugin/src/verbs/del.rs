//! DEL.

use super::Call;
use crate::{Failure, detach::detach, request::Verb};

pub(super) fn del(call: &Call<'_>) -> Result<(), Failure> {
    let delegate = call.delegate()?;
    detach(&call.store(), &call.key()?, || match &delegate {
        Some(delegate) => delegate.call(Verb::Del, &[]).map(|_| ()),
        None => Ok(()),
    })
}
