//! Talks to registries (OCI distribution-spec v1.1): pushes images, and pulls them into archives.

use std::io::BufRead;

mod challenge;
mod error;
mod pull;
mod push;
mod session;

pub use error::RegistryError;
pub use pull::{Pulled, pull};
pub use push::{Pushed, push};

/// Name and password, or name and access token, for a registry.
#[derive(Clone)]
pub struct Credentials {
    /// The user's name.
    pub username: String,
    /// Password or access token.
    pub password: String,
}

impl Credentials {
    /// Takes the password from the first line of `input`. A password is never an argument: those are visible to every user of the machine.
    pub fn read(username: String, mut input: impl BufRead) -> Result<Self, RegistryError> {
        let mut password = String::new();
        // What cannot be read is not there.
        let _ = input.read_line(&mut password);
        let password = password.trim_end_matches(['\r', '\n']).to_owned();
        if password.is_empty() {
            return Err(RegistryError::NoPassword { username });
        }
        Ok(Self { username, password })
    }
}

/// What HTTP travels in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// TCP, for registries inside a trusted network.
    Http,
    /// TLS, with the authorities that the machine trusts.
    Https,
}

/// How to talk to the registry.
#[derive(Clone, Default)]
pub struct Options {
    /// HTTP or HTTPS; if not set, HTTPS, but HTTP to registries on a loopback address, as Docker does.
    pub scheme: Option<Scheme>,
    /// Sent only when the registry asks for it; without them all is anonymous.
    pub credentials: Option<Credentials>,
}
