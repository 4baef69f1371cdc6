//! What running captures are told meanwhile: whom to take in, and whom to let go.

use netcheck_wire::claim::Claim;
use rustix::event::{EventfdFlags, eventfd};
use std::{
    collections::BTreeSet,
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::{Mutex, MutexGuard, PoisonError},
};

/// The way from the tasks that tell to the captures that run.
#[derive(Debug)]
pub struct Claims {
    state: Mutex<State>,
    bell: OwnedFd,
}

#[derive(Debug, Default)]
struct State {
    /// A capture is there to take claims.
    awaiting: bool,
    new: Vec<Claim>,
    released: BTreeSet<u32>,
}

impl Claims {
    /// Nothing told yet.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            state: Mutex::default(),
            bell: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
        })
    }

    /// From now on, or no longer, a capture takes claims.
    pub fn await_them(&self, awaiting: bool) {
        self.state().awaiting = awaiting;
    }

    /// Tells the awaiting capture of a pod; an error if there is none.
    pub fn claim(&self, claim: Claim) -> Result<(), String> {
        let mut state = self.state();
        if !state.awaiting {
            return Err(format!("no capture awaits source {}", claim.source));
        }
        state.new.push(claim);
        drop(state);
        super::ring(&self.bell);
        Ok(())
    }

    /// What was claimed since this was last asked; also silences the bell.
    pub fn take(&self) -> Vec<Claim> {
        let _ = rustix::io::read(&self.bell, &mut [0; 8]);
        std::mem::take(&mut self.state().new)
    }

    /// Lets a source go.
    pub fn release(&self, source: u32) {
        self.state().released.insert(source);
        super::ring(&self.bell);
    }

    /// Whether a source is to go.
    pub fn is_released(&self, source: u32) -> bool {
        self.state().released.contains(&source)
    }

    /// Readable when there are claims or releases that were not taken note of.
    pub fn bell(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
