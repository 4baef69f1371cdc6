//! GC: DEL for each attachment that the runtime does not know.

use super::Call;
use crate::{Failure, detach::detach, request::Verb};
use netcheck_cni_intent::AttachmentKey;

pub(super) fn gc(call: &Call<'_>) -> Result<(), Failure> {
    // A list that is missing names nobody: so libcni says it (`GCNetworkList()` without arguments), and so other plugins take it.
    let is_valid = |key: &AttachmentKey| {
        let attachment = (key.container_id.clone(), key.if_name.clone());
        call.config
            .valid
            .as_ref()
            .is_some_and(|valid| valid.contains(&attachment))
    };
    let store = call.store();
    let delegate = call.delegate()?;
    let is_invalid = |key: &AttachmentKey| key.network == call.config.network && !is_valid(key);
    let mut failures = Vec::new();
    for key in store.keys()?.into_iter().filter(is_invalid) {
        let release = || match &delegate {
            Some(delegate) => {
                let variables = [("CNI_CONTAINERID", &*key.container_id), ("CNI_IFNAME", &key.if_name)];
                delegate.call(Verb::Del, &variables).map(|_| ())
            }
            None => Ok(()),
        };
        failures.extend(detach(&store, &key, release).err().map(|mut failure| {
            failure.message = format!("{key}: {}", failure.message);
            failure
        }));
    }
    if let Some(delegate) = &delegate {
        failures.extend(delegate.call(Verb::Gc, &[]).err());
    }
    Failure::join(failures)
}
