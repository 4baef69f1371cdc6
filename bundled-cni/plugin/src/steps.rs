//! Where a process may die: tests end it right after a step, to see that what is left behind goes away (SPEC.md 7.3).

/// A step of ADD or DEL, as numbered in SPEC.md 7.3.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// 1: all read, nothing done.
    AddRead,
    /// Within 2: the link of one address.
    AddOneLink,
    /// 2: links and cursors, or the delegate's addresses.
    AddReserved,
    /// 3: the attachment's file.
    AddIntent,
    /// 4: the pair of interfaces.
    AddVeth,
    /// Within 5: alias and addrgenmode.
    AddAlias,
    /// 5: the pod's side.
    AddPodSide,
    /// Within 6: the host's end is up.
    AddHostUp,
    /// 6: the host's side.
    AddHostSide,
    /// 7: the attachment's file again; the result is not printed yet.
    AddDone,
    /// The pair of interfaces is gone.
    DelVeth,
    /// One link is gone.
    DelOneLink,
    /// All links are gone.
    DelLinks,
    /// The attachment's file is gone.
    DelAttachment,
}

impl Step {
    /// All, in order.
    pub const ALL: [Self; 14] = [
        Self::AddRead,
        Self::AddOneLink,
        Self::AddReserved,
        Self::AddIntent,
        Self::AddVeth,
        Self::AddAlias,
        Self::AddPodSide,
        Self::AddHostUp,
        Self::AddHostSide,
        Self::AddDone,
        Self::DelVeth,
        Self::DelOneLink,
        Self::DelLinks,
        Self::DelAttachment,
    ];

    /// The variable that names the step after which a process of a debug build kills itself.
    pub const VARIABLE: &str = "NETCHECK_CNI_DIE_AFTER";

    /// Its name in the variable.
    pub fn text(self) -> String {
        format!("{self:?}")
    }

    /// Says that a step is done. Only debug builds look whether they are to die of it.
    pub fn done(self) {
        #[cfg(debug_assertions)]
        if std::env::var_os(Self::VARIABLE).is_some_and(|step| step == *self.text()) {
            let own = rustix::process::getpid();
            // Were it refused, the test would see that the process lives.
            let _ = rustix::process::kill_process(own, rustix::process::Signal::KILL);
        }
    }
}
