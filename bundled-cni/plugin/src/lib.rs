//! The CNI plugin of the bundled network: it gives a pod its interface, addresses and routes, and takes them away.
//!
//! `SPEC.md` beside this crate says what it does; this is the order in which to read how:
//!
//! | module | what | touches |
//! | --- | --- | --- |
//! | [`request`], [`config`], [`version`] | what a runtime asks for: environment, stdin | nothing |
//! | [`failure`], [`previous`] | what it is answered: errors, results | nothing |
//! | [`range`], [`netcheck_cni_intent`] | what follows from names and addresses: the veth's name, MACs, the next address, all that is to be in the kernel | nothing |
//! | [`disk`], [`node`], [`attachment`], [`store`] | the state directory | files |
//! | [`wiring`] | the kernel steps | the kernel |
//! | [`delegate`] | another plugin that gives out addresses | processes |
//! | [`detach`] | taking an attachment away, for DEL, for a failed ADD, for GC, and for the daemon | all of these |
//! | [`report`] | what the daemon is told of a call | a socket |
//! | [`collect`] | what nobody will come for, for the daemon | files |
//! | [`verbs`] | ADD, DEL, CHECK, GC, STATUS, and the role of `loopback` | all of these |
//! | [`steps`] | where tests let it die | |
//!
//! It is one process for each call, without threads that outlive a step and without anything to wait for but a lock: everything is
//! synchronous. It knows no Kubernetes; the daemon tells it what it needs in `node.json`.
//!
//! # One pod's life
//!
//! A runtime makes a network namespace and calls ADD: variables say which sandbox, stdin brings the configuration. [`run`] turns both into
//! a [`verbs::Call`]. ADD reads `node.json`, opens the namespace (a socket in it stays there, so that nothing ever changes the namespace of
//! the main thread), takes one address of each podCIDR ([`store::Locked::reserve`]: a symbolic link is reservation and owner in one
//! atomic step), writes down what it is about to do ([`attachment`]), and only then touches the kernel ([`wiring`]): a pair of interfaces, one
//! end of it inside the pod from the start, then addresses, neighbours and routes on both sides as [`netcheck_cni_intent::objects`] lists them. At last the
//! attachment is written down as done and the result printed.
//!
//! DEL needs nothing of that to be whole: the veth's name follows from what DEL is called with, its routes and neighbours vanish with
//! it, and the links say whose they are ([`detach`]).
//!
//! # What must never happen, and what prevents it
//!
//! | danger | what prevents it |
//! | --- | --- |
//! | two pods with one address | `symlink(2)` refuses a name that exists; the host route is made exclusively, should the folder be lost |
//! | an address that nobody has and nobody gets | each link names its owner; DEL and the next ADD of that owner find it, and so does collection |
//! | a killed ADD leaves half a pod | the order of steps: at each moment what is in the kernel can be found from a name on disk or from the call's own words |
//! | DEL takes what is another's | a veth only by our alias or none, a link only by its target |
//! | DEL fails for ever | it needs neither namespace, nor file, nor daemon |
//! | a runtime waits for ever | one lock, with a limit; the kernel answers each request |
//!
//! # How it is tested
//!
//! Pure modules by tables and by arbitrary input beside the code; [`store`] against a model, with deaths in between; the whole in
//! `tests/pods` on a real kernel, where `ip`, `ping` and cnitool judge. Debug builds die after the step that a variable names ([`steps`]).

pub mod attachment;
pub mod collect;
pub mod config;
pub mod delegate;
pub mod detach;
pub mod disk;
pub mod failure;
pub mod node;
pub mod previous;
pub mod range;
pub mod report;
pub mod request;
pub mod steps;
pub mod store;
pub mod verbs;
pub mod version;
pub mod wiring;

pub use failure::{Code, Failure};

use config::{Config, LONGEST, Role};
use netcheck_cni_intent::names::STATE_DIRECTORY;
use report::Report;
use request::{Request, Verb};
use serde_json::{Value, json};
use std::{
    ffi::OsString,
    io::{Read, Write},
    path::Path,
    time::Instant,
};
use verbs::Call;
use version::Version;

/// Answers one call of a runtime; false if it did not succeed. Only `output` is for the runtime; `messages` is for people.
pub fn run(
    variable: impl Fn(&str) -> Option<OsString>,
    input: impl Read,
    output: &mut impl Write,
    messages: &mut impl Write,
) -> bool {
    let started = Instant::now();
    let request = match Request::from_variables(variable) {
        Ok(Some(request)) => request,
        Ok(None) => {
            // Whoever cannot read it is not told anything else either.
            let _ = writeln!(messages, "{}", about());
            return true;
        }
        Err(failure) => {
            // Errors too are in the version that was asked for, wherever that can be read.
            let asked = read_input(input).1.ok().and_then(|(_, asked)| asked);
            let version = Version::parse(asked.as_deref()).unwrap_or(Version::NEWEST);
            return refuse(output, version, &failure);
        }
    };
    let (input, read) = read_input(input);
    if request.verb == Verb::Version {
        // It says which versions there are, so that no version may stop it, nor what stands beside it.
        let asked = read.ok().and_then(|(_, asked)| asked);
        return print(output, &supported(asked.as_deref())).is_ok();
    }
    let verb = request.verb;
    let tell = |state: &Path, code: Code| {
        let duration = started.elapsed();
        let code = code.0;
        Report { verb, code, duration }.send(state);
    };
    let mut version = Version::NEWEST;
    let prepared = read.and_then(|(value, asked)| {
        version = Version::parse(asked.as_deref())?;
        version.demand(request.verb)?;
        let config = Config::from_value(version, value)?;
        let input = &input;
        Ok(Call { request, config, input })
    });
    let call = match prepared {
        Ok(call) => call,
        Err(failure) => {
            refuse(output, version, &failure);
            tell(Path::new(STATE_DIRECTORY), failure.code);
            return false;
        }
    };
    let code = match call.run() {
        Ok(None) => Code::NONE,
        Ok(Some(result)) => match print(output, &result) {
            Ok(()) => Code::NONE,
            Err(failure) => {
                // A pod that nobody was told of must not stay.
                let failure = call.undo().err().map_or(failure.clone(), |undo| failure.and(&undo));
                let _ = writeln!(messages, "{failure}");
                failure.code
            }
        },
        Err(failure) => {
            refuse(output, version, &failure);
            failure.code
        }
    };
    if call.config.role == Role::Network {
        tell(&call.config.data_dir, code);
    }
    code == Code::NONE
}

/// What a call without verb shows.
fn about() -> String {
    let versions = Version::ALL.map(Version::text).join(", ");
    let (name, version) = (env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"));
    format!("{name} {version}, a CNI plugin\nCNI protocol versions supported: {versions}")
}

type Input = Result<(Value, Option<String>), Failure>;

fn read_input(input: impl Read) -> (Vec<u8>, Input) {
    let mut bytes = Vec::new();
    // One more than is allowed shows that it is too long.
    let limit = LONGEST as u64 + 1;
    let read = match input.take(limit).read_to_end(&mut bytes) {
        Ok(_) => config::read(&bytes),
        Err(error) => Err(Failure::new(Code::IO, format!("cannot read stdin: {error}"))),
    };
    (bytes, read)
}

fn supported(asked: Option<&str>) -> Value {
    let version = asked.unwrap_or(Version::NEWEST.text());
    json!({"cniVersion": version, "supportedVersions": Version::ALL.map(Version::text)})
}

fn refuse(output: &mut impl Write, version: Version, failure: &Failure) -> bool {
    // There is no other way to say it.
    let _ = print(output, &failure.to_json(version.text()));
    false
}

fn print(output: &mut impl Write, value: &Value) -> Result<(), Failure> {
    // In one piece: a runtime that is gone meanwhile shows at once.
    let text = format!("{value:#}\n");
    let printed = output.write_all(text.as_bytes()).and_then(|()| output.flush());
    printed.map_err(|error| Failure::new(Code::IO, format!("cannot write the result to stdout: {error}")))
}
