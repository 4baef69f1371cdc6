//! The stream between plugin and agent, without any I/O.
//!
//! Three layers, each a file: [`frame`] turns bytes into checked frames, [`session`] numbers them so that a cut stream is
//! resumed or known to be incomplete, [`message`] says what the two sides tell each other. `WIRE.md` beside this crate is the
//! specification, with the state table of both sides.

#![forbid(unsafe_code)]

pub mod capture;
pub mod claim;
pub mod frame;
pub mod message;
pub mod probe;
pub mod session;

pub use frame::{Decoder, Frame, FrameError, Kind, Payload};
pub use message::{AgentHello, Event, FromAgent, PROTOCOL, PluginHello, Task, TaskId, ToAgent, Totals};
pub use session::{Accepted, Session, SessionError};
