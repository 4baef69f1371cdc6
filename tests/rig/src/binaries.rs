//! Programs the rig builds for itself: Kubernetes, CoreDNS, containerd 2, cnitool and flanneld (Go modules beside this
//! crate) and the pods' workload (Rust).
//!
//! Each is built once and kept outside the checkout, in a folder named after what went into it; a fresh clone, a `cargo clean`
//! and a second checkout all find it there.

use crate::{Error, Progress, Result, error::Context, fingerprint::Fingerprint, layout::repository};
use serde::{Deserialize, Serialize};
use std::{
    env,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// The Kubernetes release that `kubernetes/go.mod` names.
const KUBERNETES_VERSION: &str = "v1.34.4";
/// How often a long build says that it is still at it.
const REMINDER: Duration = Duration::from_secs(30);

/// Built programs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Binaries {
    /// Every Kubernetes component and kubectl; `argv[0]` says which.
    pub kubernetes: PathBuf,
    /// CoreDNS.
    pub coredns: PathBuf,
    /// What pods run.
    pub workload: PathBuf,
    /// containerd 2, where a node is to have it.
    #[serde(default)]
    pub containerd2: Option<Containerd>,
    /// flannel's daemon, where that is the network.
    #[serde(default)]
    pub flanneld: Option<PathBuf>,
}

/// What is built only where somebody asks for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Extra {
    /// containerd 2.
    pub containerd2: bool,
    /// flannel's daemon.
    pub flanneld: bool,
}

/// A container runtime of our own building. Its client, `ctr`, and `runc` are the machine's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Containerd {
    /// The daemon.
    pub daemon: PathBuf,
    /// What it starts for each sandbox.
    pub shim: PathBuf,
}

/// Where built programs and images are kept: `$XDG_CACHE_HOME/netcheck-rig`, else `~/.cache/netcheck-rig`.
pub(crate) fn cache() -> PathBuf {
    let base = env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute());
    let home = || {
        env::var_os("HOME")
            .map_or_else(|| PathBuf::from("/root"), PathBuf::from)
            .join(".cache")
    };
    base.unwrap_or_else(home).join("netcheck-rig")
}

/// Builds what is not built yet; containerd 2 only if it is wanted.
///
/// # Errors
/// When a builder is missing or fails.
pub fn build(extra: Extra, progress: &dyn Progress) -> Result<Binaries> {
    let (cache, _lock) = locked_cache()?;
    let rig = repository().join("tests/rig");
    let (major, minor) = ("1", "34");
    let version = "-X k8s.io/component-base/version";
    let kubernetes = go_module(
        "kubernetes",
        "Kubernetes (about 7 minutes on 2 cores, once)",
        &format!(
            "-s -w {version}.gitVersion={KUBERNETES_VERSION} {version}.gitMajor={major} {version}.gitMinor={minor}"
        ),
    );
    let coredns = go_module("coredns", "CoreDNS (about 2 minutes on 2 cores, once)", "-s -w");
    let target = format!("{}-unknown-linux-gnu", env::consts::ARCH);
    let workload = Recipe {
        name: "rig-workload",
        note: "the pods' workload",
        folder: rig.join("workload"),
        inputs: &["Cargo.toml", "src/main.rs", "src/server.rs"],
        command: cargo_build(&target),
        product: Product::Below(format!("{target}/release/rig-workload")),
    };
    Ok(Binaries {
        kubernetes: kubernetes.make(&cache, progress)?,
        coredns: coredns.make(&cache, progress)?,
        workload: workload.make(&cache, progress)?,
        containerd2: extra.containerd2.then(|| containerd2(&cache, progress)).transpose()?,
        flanneld: extra.flanneld.then(|| flanneld_in(&cache, progress)).transpose()?,
    })
}

fn containerd2(cache: &Path, progress: &dyn Progress) -> Result<Containerd> {
    let build = |name, note, package| {
        let mut recipe = go_tool(name, "containerd", note, package);
        recipe.command.args(["-tags", "no_btrfs,no_zfs,no_devmapper"]);
        recipe.make(cache, progress)
    };
    Ok(Containerd {
        daemon: build(
            "containerd",
            "containerd 2 (about a minute on 2 cores, once)",
            "github.com/containerd/containerd/v2/cmd/containerd",
        )?,
        shim: build(
            "containerd-shim-runc-v2",
            "its shim (some seconds, once)",
            "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2",
        )?,
    })
}

/// Builds cnitool, the CNI project's own caller of plugins, if it is not built yet; where it is.
///
/// # Errors
/// When a builder is missing or fails.
pub fn cnitool(progress: &dyn Progress) -> Result<PathBuf> {
    let (cache, _lock) = locked_cache()?;
    go_module("cnitool", "cnitool (some seconds, once)", "-s -w").make(&cache, progress)
}

/// Builds flannel's daemon, a peer in benchmarks and a network of rigs, if it is not built yet; where it is.
///
/// # Errors
/// When a builder is missing or fails.
pub fn flanneld(progress: &dyn Progress) -> Result<PathBuf> {
    let (cache, _lock) = locked_cache()?;
    flanneld_in(&cache, progress)
}

fn flanneld_in(cache: &Path, progress: &dyn Progress) -> Result<PathBuf> {
    let note = "flanneld (about a minute on 2 cores, once)";
    let mut recipe = go_tool("flanneld", "flanneld", note, "github.com/flannel-io/flannel");
    // One of its backends is in C.
    recipe.command.env("CGO_ENABLED", "1");
    recipe.make(cache, progress)
}

/// The cache, held against other builders: two at once would do the same work twice, and slower.
fn locked_cache() -> Result<(PathBuf, File)> {
    let cache = cache();
    fs::create_dir_all(&cache).context(format!("create {}", cache.display()))?;
    let path = cache.join("lock");
    let lock = File::create(&path).context(format!("open {}", path.display()))?;
    lock.lock().context(format!("lock {}", path.display()))?;
    Ok((cache, lock))
}

/// A Go module in a folder of its name beside this crate.
fn go_module(name: &'static str, note: &'static str, linker_flags: &str) -> Recipe {
    Recipe {
        name,
        note,
        folder: repository().join("tests/rig").join(name),
        inputs: &["go.sum", "go.mod", "main.go"],
        command: go_build(linker_flags),
        product: Product::Output("."),
    }
}

/// A Go program that has no `main` of ours: a tool of the module in that folder.
fn go_tool(name: &'static str, folder: &str, note: &'static str, package: &'static str) -> Recipe {
    Recipe {
        name,
        note,
        folder: repository().join("tests/rig").join(folder),
        inputs: &["go.sum", "go.mod"],
        command: go_build("-s -w"),
        product: Product::Output(package),
    }
}

/// How to build one program.
struct Recipe {
    name: &'static str,
    note: &'static str,
    folder: PathBuf,
    /// Files that decide what comes out.
    inputs: &'static [&'static str],
    command: Command,
    product: Product,
}

/// Where the builder puts what it built.
enum Product {
    /// Where `-o` says; of this Go package.
    Output(&'static str),
    /// Below its target directory.
    Below(String),
}

impl Recipe {
    fn key(&self) -> Result<String> {
        let mut fingerprint = Fingerprint::default();
        for input in self.inputs {
            let path = self.folder.join(input);
            let content = fs::read(&path).context(format!("read {}", path.display()))?;
            fingerprint = fingerprint.add(input.as_bytes()).add(&content);
        }
        let words = self.command.get_args();
        Ok(words
            .fold(fingerprint, |fingerprint, word| {
                fingerprint.add(word.as_encoded_bytes())
            })
            .hex(8))
    }

    fn make(mut self, cache: &Path, progress: &dyn Progress) -> Result<PathBuf> {
        let folder = cache.join(format!("{}-{}", self.name, self.key()?));
        let program = folder.join(self.name);
        if program.is_file() {
            return Ok(program);
        }
        progress.step(&format!("building {}", self.note));
        fs::create_dir_all(&folder).context(format!("create {}", folder.display()))?;
        let unfinished = folder.join("unfinished");
        let built = match &self.product {
            Product::Output(package) => {
                self.command.arg("-o").arg(&unfinished).arg(package);
                unfinished.clone()
            }
            Product::Below(path) => {
                self.command.arg("--target-dir").arg(&unfinished);
                unfinished.join(path)
            }
        };
        self.command.current_dir(&self.folder);
        run_with_reminders(&mut self.command, self.name, progress)?;
        fs::rename(&built, &program).context(format!("keep {}", program.display()))?;
        if unfinished.is_dir() {
            fs::remove_dir_all(&unfinished).context(format!("remove {}", unfinished.display()))?;
        }
        Ok(program)
    }
}

fn go_build(linker_flags: &str) -> Command {
    let mut command = Command::new("go");
    command
        .args(["build", "-trimpath", "-ldflags", linker_flags])
        .env("CGO_ENABLED", "0")
        .env("GOFLAGS", "");
    command
}

fn cargo_build(target: &str) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command
        .args([
            "build",
            "--quiet",
            "--release",
            "--package",
            "rig-workload",
            "--target",
            target,
        ])
        .env("RUSTFLAGS", "-C target-feature=+crt-static")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env_remove("CARGO_TARGET_DIR");
    command
}

fn run_with_reminders(command: &mut Command, name: &str, progress: &dyn Progress) -> Result<()> {
    let shown = crate::sandbox::show(command);
    let program = command.get_program().to_string_lossy().into_owned();
    // The builder's own messages are for whoever waits: they go where ours go.
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .map_err(|cause| {
            if cause.kind() == std::io::ErrorKind::NotFound {
                Error::MissingProgram { program }
            } else {
                Error::Io {
                    what: format!("start `{shown}`"),
                    cause,
                }
            }
        })?;
    let start = Instant::now();
    let mut reminded = start;
    loop {
        if let Some(status) = child.try_wait().context(format!("wait for `{shown}`"))? {
            if status.success() {
                return Ok(());
            }
            let message = "its messages are above".into();
            return Err(Error::Command {
                command: shown,
                status: status.to_string(),
                message,
            });
        }
        if reminded.elapsed() >= REMINDER {
            reminded = Instant::now();
            progress.step(&format!(
                "still building {name}, {} s so far",
                start.elapsed().as_secs()
            ));
        }
        thread::sleep(Duration::from_millis(50));
    }
}
