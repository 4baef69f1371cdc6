//! The user in a container: one attached session, from the first prompt to how it ended. Knows nothing of which container, or why.
//!
//! ```text
//! stdin ─ keys (detach?) ─┐                     ┌─ script: waits until somebody is there, runs the command, says how it ended
//!                         ├─ attach (WebSocket) ┤
//! stdout ─ marks ─────────┘                     └─ ends it when nobody has given a sign of life
//!          lifeline: a second stream that gives them
//! ```

mod attached;
mod keys;
mod lifeline;
mod marks;
mod script;

pub use attached::{Attachment, End, Io, Manner, attach};
pub use lifeline::Lifeline;
pub use marks::{ENDED, Said};
pub use script::{SILENCE, Session, command, read_back};
