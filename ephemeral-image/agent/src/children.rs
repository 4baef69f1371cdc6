//! Child processes: those that a task starts and waits for, and those that process 1 of a container inherits.

use crate::sys;
use rustix::process::{Pid, WaitOptions, waitpid};
use std::{
    collections::BTreeSet,
    io,
    process::{Child, Command, ExitStatus},
    sync::{Mutex, MutexGuard, PoisonError},
};

/// Children that somebody here waits for, by number.
static AWAITED: Mutex<BTreeSet<u32>> = Mutex::new(BTreeSet::new());

fn awaited() -> MutexGuard<'static, BTreeSet<u32>> {
    AWAITED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts a program, to be waited for by [`wait`].
pub fn spawn(command: &mut Command) -> io::Result<Child> {
    // Held until it is known whose it is: it may end at once.
    let mut awaited = awaited();
    let child = command.spawn()?;
    awaited.insert(child.id());
    Ok(child)
}

/// Waits for the end of a program that [`spawn`] has started.
pub fn wait(mut child: Child) -> io::Result<ExitStatus> {
    let status = child.wait();
    awaited().remove(&child.id());
    // Those that ended meanwhile stood behind it.
    reap_orphans();
    status
}

/// Collects all children that have ended and that nobody waits for.
pub fn reap_orphans() {
    let awaited = awaited();
    while let Some(number) = sys::ended_child().filter(|number| !awaited.contains(number)) {
        let pid = i32::try_from(number).ok().and_then(Pid::from_raw);
        if waitpid(pid, WaitOptions::NOHANG).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_that_is_awaited_is_left_to_who_awaits_it() {
        for code in [0, 3] {
            let mut command = Command::new("sh");
            let child = spawn(command.args(["-c", &format!("exit {code}")])).unwrap();
            while sys::ended_child().is_none() {
                std::thread::yield_now();
            }
            reap_orphans();
            assert_eq!(wait(child).unwrap().code(), Some(code));
        }
    }
}
