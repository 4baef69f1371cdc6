//! Taking an attachment away: DEL, the undoing of a failed ADD, GC, and the daemon's collection are all this (SPEC.md 7.3).

use crate::{Failure, steps::Step, store::Store, wiring::unwire};
use netcheck_cni_intent::AttachmentKey;

/// Removes all of an attachment: its veth (its routes and neighbours vanish with it), then its addresses, then its file. What is missing is
/// fine, and neither the pod's namespace nor the state directory is needed. `release` gives back what another plugin gave out.
///
/// # Errors
/// What could not be removed. While the veth is there, its addresses are not released: another pod would get them.
pub fn detach(
    store: &Store,
    key: &AttachmentKey,
    release: impl FnOnce() -> Result<(), Failure>,
) -> Result<(), Failure> {
    // A device of that name that is not ours is left alone, and nothing else of this attachment is in the kernel.
    unwire(key)?;
    Step::DelVeth.done();
    release()?;
    if store.is_gone() {
        return Ok(());
    }
    let locked = store.lock()?;
    // Whoever made links has not always come to write down which.
    let known = match store.attachment(key)? {
        Some(Ok(attachment)) => Some(attachment.ips),
        _ => None,
    };
    locked.release(key, known.as_deref())?;
    Step::DelLinks.done();
    locked.forget(key)?;
    Step::DelAttachment.done();
    Ok(())
}
