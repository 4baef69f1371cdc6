//! A sandbox: a set of namespaces held by an init of ours. The hub is one, each node is one.

use crate::{
    Error, Result,
    error::Context,
    init,
    layout::{Layout, target_directory},
    namespaces,
    processes::{self, Process},
};
use rustix::{
    process::{Pid, Signal},
    thread::ThreadNameSpaceType,
};
use std::{
    env,
    fs::{self, OpenOptions},
    io::{BufRead, BufReader},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
};

/// Where programs are looked for inside a sandbox.
pub const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/usr/lib/cni";

/// One sandbox of a rig, running or not.
#[derive(Debug, Clone)]
pub struct Sandbox {
    layout: Layout,
    name: String,
}

impl Sandbox {
    pub fn new(layout: &Layout, name: &str) -> Self {
        Self {
            layout: layout.clone(),
            name: name.into(),
        }
    }

    /// The init's arguments: they name the rig and the sandbox, and are how it is found again.
    fn init_arguments(&self) -> [String; 4] {
        [
            "netcheck-rig".into(),
            init::SUBCOMMAND.into(),
            self.layout.directory().to_string_lossy().into_owned(),
            self.name.clone(),
        ]
    }

    /// The init, if the sandbox runs.
    pub fn init(&self) -> Option<Pid> {
        let wanted = self.init_arguments();
        processes::all()
            .into_iter()
            .find(|process| process.arguments == wanted)
            .map(|process| process.pid)
    }

    fn running_init(&self) -> Result<Pid> {
        self.init().ok_or_else(|| Error::NotRunning {
            directory: self.layout.directory().to_owned(),
        })
    }

    /// Makes the namespaces, runs `prepare` inside them and leaves the init behind.
    pub fn start(&self, prepare: impl FnOnce() -> Result<()> + Send) -> Result<()> {
        let program = own_program()?;
        let [name, arguments @ ..] = self.init_arguments();
        namespaces::in_new(namespaces::NEW_NODE, || {
            rustix::system::sethostname(self.name.as_bytes()).context(format!("set host name {}", self.name))?;
            prepare()?;
            let mut init = Command::new(&program)
                .arg0(&name)
                .args(&arguments)
                .env_clear()
                .current_dir("/")
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .stderr(self.log("init")?)
                .spawn()
                .context(format!("start {} as init of {}", program.display(), self.name))?;
            let mut line = String::new();
            let output = init.stdout.take();
            processes::adopt(init);
            if let Some(output) = output {
                BufReader::new(output)
                    .read_line(&mut line)
                    .context(format!("hear from the init of {}", self.name))?;
            }
            if line != init::READY {
                let log = self.log_path("init");
                let message = fs::read_to_string(&log).unwrap_or_default();
                return Err(Error::Usage(format!(
                    "the init of {} did not start: {}",
                    self.name,
                    message.trim()
                )));
            }
            Ok(())
        })
    }

    /// Kills the init, and with it everything in the sandbox.
    pub fn stop(&self) -> Result<()> {
        let Some(init) = self.init() else { return Ok(()) };
        processes::signal(init, Signal::KILL)?;
        processes::wait_until_ended(init, &format!("sandbox {}", self.name))
    }

    /// Starts a command in all of the sandbox's namespaces. Until the caller has collected it, the sandbox cannot end.
    pub fn spawn(&self, mut command: Command) -> Result<Child> {
        let init = self.running_init()?;
        let shown = show(&command);
        namespaces::within(&[(init, namespaces::NODE)], move || {
            command.spawn().context(format!("start `{shown}` in {}", self.name))
        })
    }

    /// Runs a command in all of the sandbox's namespaces and collects its output, whatever its exit code.
    pub fn output(&self, mut command: Command) -> Result<Output> {
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let shown = show(&command);
        self.spawn(command)?
            .wait_with_output()
            .context(format!("collect the output of `{shown}`"))
    }

    /// As [`Self::output`], but a command that fails is an error.
    pub fn run(&self, command: Command) -> Result<String> {
        let shown = show(&command);
        checked(&shown, &self.output(command)?)
    }

    /// Runs a piece of this program in the sandbox's network namespace.
    pub fn on_network<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        namespaces::within(&[(self.running_init()?, ThreadNameSpaceType::NETWORK)], work)
    }

    /// Runs a piece of this program on the sandbox's file system.
    pub fn on_files<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        namespaces::within(&[(self.running_init()?, ThreadNameSpaceType::MOUNT)], work)
    }

    /// Runs a command in the sandbox's namespaces, but on the network of the process `other`.
    pub fn spawn_on_network_of(&self, other: Pid, mut command: Command) -> Result<Child> {
        let shown = show(&command);
        let without_network = namespaces::NODE.difference(ThreadNameSpaceType::NETWORK);
        namespaces::within(
            &[
                (other, ThreadNameSpaceType::NETWORK),
                (self.running_init()?, without_network),
            ],
            move || {
                command
                    .spawn()
                    .context(format!("start `{shown}` on the network of a pod of {}", self.name))
            },
        )
    }

    /// Starts a lasting program; `name` becomes its `argv[0]`, which says what it is to us and to multi-call binaries.
    pub fn start_daemon(
        &self,
        name: &str,
        program: &Path,
        arguments: &[String],
        environment: &[(&str, &str)],
    ) -> Result<()> {
        let mut command = Command::new(program);
        command
            .arg0(name)
            .args(arguments)
            .env_clear()
            .env("PATH", PATH)
            .env("HOME", "/root")
            .envs(environment.iter().copied())
            .current_dir("/")
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(self.log(name)?)
            .stderr(self.log(name)?);
        self.spawn(command).map(processes::adopt)
    }

    /// The lasting program of this name, if it runs.
    pub fn daemon(&self, name: &str) -> Option<Process> {
        let members = processes::in_pid_namespace_of(self.init()?);
        members
            .into_iter()
            .find(|process| process.arguments.first().is_some_and(|first| first == name))
    }

    /// Ends a lasting program and waits until it is gone.
    pub fn end_daemon(&self, name: &str, signal: Signal) -> Result<()> {
        while let Some(process) = self.daemon(name) {
            processes::signal(process.pid, signal)?;
            processes::wait_until_ended(process.pid, &format!("{name} on {}", self.name))?;
        }
        Ok(())
    }

    /// Where a lasting program of this sandbox writes to.
    pub fn log_path(&self, program: &str) -> PathBuf {
        self.layout.logs().join(format!("{}-{program}.log", self.name))
    }

    fn log(&self, program: &str) -> Result<fs::File> {
        let path = self.log_path(program);
        OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .context(format!("open {}", path.display()))
    }
}

/// Success's stdout, or the error that names the command and the end of its stderr.
pub fn checked(command: &str, output: &Output) -> Result<String> {
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<_> = errors.lines().collect();
    let message = lines[lines.len().saturating_sub(10)..].join("\n");
    Err(Error::Command {
        command: command.into(),
        status: output.status.to_string(),
        message,
    })
}

/// A command line for messages.
pub fn show(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

/// The `netcheck-rig` program, whoever is running this library: itself, or a test beside which cargo put it.
fn own_program() -> Result<PathBuf> {
    let own = env::current_exe().context("find this program's file")?;
    if own.file_name().is_some_and(|name| name == "netcheck-rig") {
        return Ok(own);
    }
    let beside = own.ancestors().skip(1).take(2).map(Path::to_owned);
    let built = ["release", "debug"].map(|profile| target_directory().join(profile));
    beside
        .chain(built)
        .map(|folder| folder.join("netcheck-rig"))
        .find(|path| path.is_file())
        .ok_or_else(|| Error::Usage("netcheck-rig is not built; run `cargo build -p netcheck-rig`".into()))
}
