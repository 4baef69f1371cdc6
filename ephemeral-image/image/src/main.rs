//! `netcheck-image`: builds, pushes and locks our images.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use clap::{Args, Parser, Subcommand, ValueEnum};
use netcheck_image::content::{self, LICENCE_PACKAGE, Packages, Program, READER_PACKAGES};
use netcheck_image::debian::{self, Cache};
use netcheck_image::lock;
use netcheck_image::recipe::{self, Recipe};
use netcheck_oci::push::{Credentials, Options, Scheme, push};
use netcheck_oci::{Image, Reference, Written};

/// Part of the sources: whoever builds the image also has this folder.
const LOCK_FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/debian.lock");

/// Assembles netcheck's images, without a container engine and bit for bit reproducibly
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Write the image as an archive, and its digest into a file beside it
    Build(Build),
    /// Push an archive to a registry
    Push(Push),
    /// Lock the versions of the Debian packages that apt offers now
    Lock(Lock),
}

#[derive(Args)]
struct Build {
    /// The agent, a static binary: builds the agent's image, as it does without any of these
    #[arg(
        long,
        value_name = "FILE",
        default_value = "target/x86_64-unknown-linux-gnu/agent/netcheck-agent"
    )]
    agent: PathBuf,
    /// The bundled CNI's daemon, a static binary: builds the CNI's image
    #[arg(long, value_name = "FILE", requires = "cni_plugin", conflicts_with = "agent")]
    cni_daemon: Option<PathBuf>,
    /// The bundled CNI's plugin, a static binary
    #[arg(long, value_name = "FILE", requires = "cni_daemon")]
    cni_plugin: Option<PathBuf>,
    /// The archive; the digest goes beside it, with the ending .digest
    /// [default: target/agent-image/netcheck-agent.tar, or target/cni-image/netcheck-cni.tar]
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// The reference under which the archive is loaded [default: the one that the plugin of this version asks for]
    #[arg(long, value_name = "REF")]
    name: Option<String>,
    #[command(flatten)]
    packages: PackageSource,
}

impl Build {
    /// Which image, from which binaries in the order of its recipe, and where it goes unless somebody says otherwise.
    fn chosen(&self) -> (Recipe, Vec<&Path>, &str) {
        match (&self.cni_daemon, &self.cni_plugin) {
            (Some(daemon), Some(plugin)) => (recipe::CNI, vec![daemon, plugin], "target/cni-image/netcheck-cni.tar"),
            _ => (
                recipe::AGENT,
                vec![&self.agent],
                "target/agent-image/netcheck-agent.tar",
            ),
        }
    }
}

#[derive(Args)]
struct Push {
    /// The archive
    #[arg(long, value_name = "FILE", default_value = "target/agent-image/netcheck-agent.tar")]
    archive: PathBuf,
    /// Name of the account; its password or token is read from stdin
    #[arg(long, value_name = "NAME")]
    username: Option<String>,
    /// How to talk to the registry [default: https, but http on a loopback address]
    #[arg(long, value_enum)]
    scheme: Option<SchemeArgument>,
    /// Where to push to
    #[arg(value_name = "REF", default_value_t = recipe::AGENT.reference())]
    reference: String,
}

#[derive(Clone, Copy, ValueEnum)]
enum SchemeArgument {
    Http,
    Https,
}

#[derive(Args)]
struct Lock {
    #[command(flatten)]
    packages: PackageSource,
}

#[derive(Args)]
struct PackageSource {
    /// The lock file
    #[arg(long, value_name = "FILE", default_value = LOCK_FILE)]
    lock_file: PathBuf,
    /// Where downloaded packages are kept [default: kubectl-netcheck/debian-packages in the user's cache folder]
    #[arg(long, value_name = "FOLDER")]
    package_cache: Option<PathBuf>,
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().verb {
        Verb::Build(arguments) => build(&arguments),
        Verb::Push(arguments) => push_archive(&arguments),
        Verb::Lock(arguments) => write_lock(&arguments),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nothing is left to do if nobody reads it.
            let _ = writeln!(io::stderr(), "error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn build(arguments: &Build) -> Result<()> {
    let (recipe, files, usual_output) = arguments.chosen();
    let output = arguments.output.as_deref().unwrap_or(Path::new(usual_output));
    let mut programs = Vec::new();
    for file in files {
        let program = Program::read(file)?;
        within(
            recipe.program_at_most,
            &file.display().to_string(),
            program.bytes.len() as u64,
        )?;
        programs.push(program);
    }
    let architecture = programs.first().context("the recipe names no program")?.architecture;
    if programs.iter().any(|program| program.architecture != architecture) {
        bail!("the programs of {} are built for different architectures", recipe.name);
    }
    let lock_file = &arguments.packages.lock_file;
    let text = fs::read_to_string(lock_file).with_context(|| format!("cannot read {}", lock_file.display()))?;
    let packages = Packages::fetch(&arguments.packages.cache()?, &lock::parse(&text)?, architecture)?;

    let layers = [packages.layer()?, content::program_layer(&recipe, programs)];
    let content_sizes = layers.each_ref().map(netcheck_oci::Layer::content_size);
    let [readers, programs] = layers;
    let name = arguments.name.clone().unwrap_or_else(|| recipe.reference());
    let image = content::image(&recipe, &name.parse()?, architecture, readers, programs);

    if let Some(folder) = output.parent() {
        fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    }
    let written = image.write_archive(output)?;
    within(recipe.image_at_most, "the image", written.archive_size)?;
    let digest_file = output.with_extension("digest");
    fs::write(&digest_file, format!("{}\n", written.manifest_digest))
        .with_context(|| format!("cannot write {}", digest_file.display()))?;
    report(output, architecture, &written, content_sizes)
}

/// Images travel to every node that is looked at: what has grown too large is noticed here, and not by users.
fn within(limit: u64, what: &str, size: u64) -> Result<()> {
    if size > limit {
        bail!("{what} has {size} bytes, more than the {limit} it may have");
    }
    Ok(())
}

fn report(archive: &Path, architecture: &str, written: &Written, content_sizes: [u64; 2]) -> Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "image    {} ({architecture})", written.name)?;
    writeln!(out, "digest   {}", written.manifest_digest)?;
    for ((part, layer), content) in ["readers", "programs"].iter().zip(&written.layers).zip(content_sizes) {
        writeln!(
            out,
            "{part:<8} {} of files, {} compressed",
            megabytes(content),
            megabytes(layer.size)
        )?;
    }
    writeln!(
        out,
        "archive  {} in {}",
        megabytes(written.archive_size),
        archive.display()
    )?;
    Ok(())
}

fn push_archive(arguments: &Push) -> Result<()> {
    let image = Image::read_archive(&arguments.archive)?;
    let target: Reference = arguments.reference.parse()?;
    let credentials = arguments.username.clone().map(read_password).transpose()?;
    let scheme = arguments.scheme.map(|scheme| match scheme {
        SchemeArgument::Http => Scheme::Http,
        SchemeArgument::Https => Scheme::Https,
    });
    let pushed = push(&image, &target, &Options { scheme, credentials })?;
    writeln!(
        io::stdout(),
        "pushed   {}\nblobs    {} uploaded, {} there already",
        pushed.pinned_name,
        pushed.uploaded,
        pushed.reused
    )?;
    Ok(())
}

/// A password is never an argument: arguments are visible to every user of the machine.
fn read_password(username: String) -> Result<Credentials> {
    let mut password = String::new();
    io::stdin()
        .read_line(&mut password)
        .context("cannot read the password from stdin")?;
    let password = password.trim_end_matches(['\r', '\n']).to_owned();
    if password.is_empty() {
        bail!("no password for {username} on stdin");
    }
    Ok(Credentials { username, password })
}

/// Replaces the lines of this machine's architecture; others stay.
fn write_lock(arguments: &Lock) -> Result<()> {
    let architecture = debian::native_architecture()?;
    let cache = arguments.packages.cache()?;
    let mut names = debian::dependencies(&READER_PACKAGES)?;
    names.push(LICENCE_PACKAGE.to_owned());
    names.sort();
    names.dedup();
    let mut current = cache.fetch_current(&names, &architecture)?;
    let used = Packages::fetch(&cache, &current, &architecture)?.used()?;
    current.retain(|package| used.contains(&package.name));

    let lock_file = &arguments.packages.lock_file;
    let old = match fs::read_to_string(lock_file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        read => read.with_context(|| format!("cannot read {}", lock_file.display()))?,
    };
    let old = lock::parse(&old)?;
    let mut out = io::stdout().lock();
    for package in current.iter().filter(|package| !old.contains(package)) {
        writeln!(
            out,
            "locked   {} {} {}",
            package.name, package.version, package.architecture
        )?;
    }
    let others = old.into_iter().filter(|package| package.architecture != architecture);
    let all: Vec<_> = others.chain(current).collect();
    fs::write(lock_file, lock::format(&all)).with_context(|| format!("cannot write {}", lock_file.display()))?;
    writeln!(out, "{} packages in {}", all.len(), lock_file.display())?;
    Ok(())
}

impl PackageSource {
    fn cache(&self) -> Result<Cache> {
        if let Some(folder) = &self.package_cache {
            return Ok(Cache::new(folder));
        }
        Ok(Cache::new(debian::default_cache_folder().context(
            "neither HOME nor XDG_CACHE_HOME is set; use --package-cache",
        )?))
    }
}

#[expect(clippy::cast_precision_loss, reason = "shown with one decimal")]
fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}
