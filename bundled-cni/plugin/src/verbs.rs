//! The verbs, one file each.

mod add;
mod check;
mod del;
mod gc;
mod loopback;
mod status;

use crate::{
    Code, Failure,
    config::{Config, Ipam, Role},
    delegate::Delegate,
    request::{Request, Verb},
    store::Store,
};
use netcheck_cni_intent::AttachmentKey;
use serde_json::Value;

/// A verb with all that it is about.
#[derive(Debug)]
pub struct Call<'a> {
    /// What the environment says.
    pub request: Request,
    /// What stdin says.
    pub config: Config,
    /// The same as it came, for other plugins.
    pub input: &'a [u8],
}

impl Call<'_> {
    /// Does it; what there is to print on success.
    ///
    /// # Errors
    /// What SPEC.md 8.2 says.
    pub fn run(&self) -> Result<Option<Value>, Failure> {
        if self.config.role == Role::Loopback {
            return loopback::run(self);
        }
        match self.request.verb {
            Verb::Add => add::add(self).map(Some),
            Verb::Del => del::del(self).map(|()| None),
            Verb::Check => check::check(self).map(|()| None),
            Verb::Gc => gc::gc(self).map(|()| None),
            Verb::Status => status::status(self).map(|()| None),
            Verb::Version => Ok(None),
        }
    }

    /// Takes back an ADD whose result nobody could be told.
    pub fn undo(&self) -> Result<(), Failure> {
        match (self.config.role, self.request.verb) {
            (Role::Network, Verb::Add) => del::del(self),
            _ => Ok(()),
        }
    }

    fn store(&self) -> Store {
        Store::at(&self.config.data_dir)
    }

    fn key(&self) -> Result<AttachmentKey, Failure> {
        let key = AttachmentKey {
            network: self.config.network.clone(),
            container_id: self.request.container_id.clone(),
            if_name: self.request.if_name.clone(),
        };
        if key.fits_a_file_name() {
            return Ok(key);
        }
        let what = format!("{key} is longer than a file's name may be; give the network a shorter one");
        Err(Failure::new(Code::CONFIG, what))
    }

    /// The plugin that gives out the addresses, if it is another one.
    fn delegate(&self) -> Result<Option<Delegate<'_>>, Failure> {
        match &self.config.ipam {
            Ipam::Own => Ok(None),
            Ipam::Delegate(name) => Delegate::find(name, &self.request.path, self.input).map(Some),
        }
    }
}
