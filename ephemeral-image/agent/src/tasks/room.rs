//! How many raw bytes may wait for the session's thread, all tasks together.

use super::Gone;
use std::sync::{Condvar, Mutex, PoisonError};

/// Bytes that may wait. The session keeps as many again until they are acknowledged.
const BYTES: usize = 4 << 20;

/// Room for bytes; whoever finds none waits.
#[derive(Debug, Default)]
pub struct Room {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    taken: usize,
    is_closed: bool,
}

impl Room {
    /// Waits until there is room, and takes it. What is larger than all of it goes in alone.
    pub fn take(&self, bytes: usize) -> Result<(), Gone> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        while !state.is_closed && state.taken > 0 && state.taken + bytes > BYTES {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.is_closed {
            return Err(Gone);
        }
        state.taken += bytes;
        Ok(())
    }

    /// Gives room back.
    pub fn give_back(&self, bytes: usize) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.taken = state.taken.saturating_sub(bytes);
        drop(state);
        self.changed.notify_all();
    }

    /// The session is gone: nobody waits any more.
    pub fn close(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).is_closed = true;
        self.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{sync::Arc, thread};

    #[test]
    fn a_task_waits_for_room_and_no_longer_than_the_session_lives() {
        let room = Arc::new(Room::default());
        room.take(BYTES).unwrap();
        let waiting = {
            let room = room.clone();
            thread::spawn(move || room.take(1).and_then(|()| room.take(BYTES)).is_err())
        };
        room.give_back(BYTES);
        room.close();
        assert!(waiting.join().unwrap());
        assert!(room.take(1).is_err());
    }

    #[test]
    fn what_is_larger_than_all_room_goes_in_alone() {
        let room = Room::default();
        room.take(BYTES + 1).unwrap();
        room.give_back(BYTES + 1);
        room.take(BYTES).unwrap();
    }
}
