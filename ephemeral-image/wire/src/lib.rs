//! The stream between plugin and agent: frames, sessions that survive a cut, and messages.
