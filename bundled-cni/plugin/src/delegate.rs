//! Another plugin that gives out the addresses (CNI 1.1.0 section 4): it is called as a runtime would call it, with our own input.

use crate::{Code, Failure, previous::Previous, request::Verb};
use serde::Deserialize;
use std::{
    io::{self, Write},
    path::PathBuf,
    process::{Command, Output, Stdio},
    thread,
};

/// A plugin that was found.
#[derive(Debug)]
pub struct Delegate<'a> {
    name: &'a str,
    program: PathBuf,
    input: &'a [u8],
}

/// What a plugin answers where it does not succeed.
#[derive(Deserialize)]
struct Answer {
    code: u32,
    msg: String,
    #[serde(default)]
    details: String,
}

impl<'a> Delegate<'a> {
    /// Looks for a plugin in the folders of `CNI_PATH`; it will get `input` on stdin.
    ///
    /// # Errors
    /// [`Code::CONFIG`] if it is in none of them.
    pub fn find(name: &'a str, path: &[PathBuf], input: &'a [u8]) -> Result<Self, Failure> {
        let program = path.iter().map(|folder| folder.join(name)).find(|file| file.is_file());
        let program = program.ok_or_else(|| {
            let folders: Vec<_> = path.iter().map(|folder| folder.display().to_string()).collect();
            let what = format!("ipam.type: there is no {name} in CNI_PATH ({})", folders.join(", "));
            Failure::new(Code::CONFIG, what)
        })?;
        Ok(Self { name, program, input })
    }

    /// ADD.
    ///
    /// # Errors
    /// As it said them, its name before the message; [`Code::UNSUPPORTED`] if it gave no address.
    pub fn add(&self) -> Result<Previous, Failure> {
        let output = self.call(Verb::Add, &[])?;
        let result = serde_json::from_slice(&output)
            .map_err(|error| Failure::new(Code::DECODE, format!("{}: its result is no JSON: {error}", self.name)))?;
        let result = Previous::from_value(&result).map_err(|failure| self.named(failure))?;
        if result.ips().is_empty() {
            let what = format!("{} gave no address", self.name);
            return Err(Failure::new(Code::UNSUPPORTED, what));
        }
        Ok(result)
    }

    /// Any verb, with variables that differ from those that we were called with.
    ///
    /// # Errors
    /// As it said them, its name before the message.
    pub fn call(&self, verb: Verb, variables: &[(&str, &str)]) -> Result<Vec<u8>, Failure> {
        let output = self.run(verb, variables).map_err(|error| {
            let what = format!("cannot run {}: {error}", self.program.display());
            Failure::new(Code::IO, what)
        })?;
        if output.status.success() {
            return Ok(output.stdout);
        }
        let answer: Result<Answer, _> = serde_json::from_slice(&output.stdout);
        let Ok(Answer { code, msg, details }) = answer else {
            let said = String::from_utf8_lossy(&output.stderr);
            let what = format!("{}: {}, without an answer: {}", self.name, output.status, said.trim());
            return Err(Failure::new(Code::IO, what));
        };
        Err(self.named(Failure {
            code: Code(code),
            message: msg,
            details,
        }))
    }

    fn run(&self, verb: Verb, variables: &[(&str, &str)]) -> io::Result<Output> {
        let mut child = Command::new(&self.program)
            .env("CNI_COMMAND", verb.text())
            .envs(variables.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let stdin = child.stdin.take();
        let input = self.input;
        thread::scope(|scope| {
            // One that answers without having read is not at fault, so that an error here says nothing.
            scope.spawn(move || stdin.map(|mut stdin| stdin.write_all(input)));
            child.wait_with_output()
        })
    }

    fn named(&self, mut failure: Failure) -> Failure {
        failure.message = format!("{}: {}", self.name, failure.message);
        failure
    }
}
