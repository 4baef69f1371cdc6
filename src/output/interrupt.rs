//! Ctrl-C once: stop cleanly. Twice: leave now.

use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};

use super::{Printer, raw};
use crate::exit::Exit;

/// Tells whoever asks that the user wants to stop. Clones share one state.
#[derive(Debug, Clone)]
pub struct Interrupt {
    state: watch::Receiver<bool>,
    /// Keeps the channel open where nothing else does.
    _keep: Option<std::sync::Arc<watch::Sender<bool>>>,
}

impl Interrupt {
    /// Listens to SIGINT, SIGTERM and SIGHUP. The second of them ends the process with 130.
    ///
    /// # Errors
    /// If the signal handlers cannot be installed.
    pub fn install(printer: Printer) -> std::io::Result<Self> {
        let mut signals = [
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
            signal(SignalKind::hangup())?,
        ];
        let (sender, state) = watch::channel(false);
        tokio::spawn(async move {
            any(&mut signals).await;
            // Nobody may be listening any more; then the second signal is all that is left.
            let _ = sender.send(true);
            printer.warn("interrupted: stopping cleanly; once more leaves at once");
            any(&mut signals).await;
            leave_now();
        });
        Ok(Self { state, _keep: None })
    }

    /// One that never happens, for tests and for work that must not be interrupted.
    pub fn never() -> Self {
        let (sender, state) = watch::channel(false);
        Self {
            state,
            _keep: Some(std::sync::Arc::new(sender)),
        }
    }

    /// One that tests trigger by sending `true`.
    pub fn by_hand() -> (watch::Sender<bool>, Self) {
        let (sender, state) = watch::channel(false);
        (sender, Self { state, _keep: None })
    }

    /// Resolves once the user asked to stop, at once if that was before. May be called any number of times.
    pub async fn requested(&self) {
        let mut state = self.state.clone();
        if state.wait_for(|requested| *requested).await.is_err() {
            // The sender is gone, so nothing will ever be requested.
            std::future::pending::<()>().await;
        }
    }

    /// Whether the user asked to stop.
    pub fn is_requested(&self) -> bool {
        *self.state.borrow()
    }
}

async fn any(signals: &mut [tokio::signal::unix::Signal; 3]) {
    let [interrupt, terminate, hangup] = signals;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        _ = hangup.recv() => {}
    }
}

#[expect(clippy::exit, reason = "the user asked twice: nothing may delay the end")]
fn leave_now() -> ! {
    raw::restore();
    std::process::exit(Exit::Interrupted.code().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn everybody_who_asks_is_told_early_or_late() {
        let (sender, interrupt) = Interrupt::by_hand();
        assert!(!interrupt.is_requested());
        let early = tokio::spawn({
            let interrupt = interrupt.clone();
            async move { interrupt.requested().await }
        });
        sender.send(true).unwrap();
        early.await.unwrap();
        interrupt.requested().await;
        assert!(interrupt.is_requested());
    }

    #[tokio::test]
    async fn never_is_never() {
        let interrupt = Interrupt::never();
        let waited = tokio::time::timeout(std::time::Duration::from_millis(20), interrupt.requested()).await;
        assert!(waited.is_err());
    }
}
