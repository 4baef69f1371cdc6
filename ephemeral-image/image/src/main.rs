//! `netcheck-image`: builds, pushes and locks our images.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use clap::{Args, Parser, Subcommand, ValueEnum};
use netcheck_image::base::{self, Base};
use netcheck_image::content::{self, Packages, Program};
use netcheck_image::debian::{self, Cache};
use netcheck_image::lock;
use netcheck_image::recipe::{self, Recipe};
use netcheck_oci::registry::{Credentials, Options, Scheme, push};
use netcheck_oci::{Image, Reference, Written};

/// Where lock files are, which are part of the sources: whoever builds an image also has this folder.
const SOURCES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

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
    /// Lock the versions of the Debian packages that apt offers now, for all images
    Lock(PackageSource),
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
    /// Build the toolbox, which has the agent too
    #[arg(long, conflicts_with = "cni_daemon")]
    toolbox: bool,
    /// The archive; the digest goes beside it, with the ending .digest
    /// [default: target/agent-image/netcheck-agent.tar, or target/{cni,toolbox}-image/netcheck-{cni,toolbox}.tar]
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// The reference under which the archive is loaded [default: the one that the plugin of this version asks for]
    #[arg(long, value_name = "REF")]
    name: Option<String>,
    /// The lock file [default: the one in the sources]
    #[arg(long, value_name = "FILE")]
    lock_file: Option<PathBuf>,
    #[command(flatten)]
    packages: PackageSource,
}

impl Build {
    /// Which image, from which binaries in the order of its recipe, and where it goes unless somebody says otherwise.
    fn chosen(&self) -> (Recipe, Vec<&Path>, &str) {
        match (&self.cni_daemon, &self.cni_plugin) {
            (Some(daemon), Some(plugin)) => (recipe::CNI, vec![daemon, plugin], "target/cni-image/netcheck-cni.tar"),
            _ if self.toolbox => (
                recipe::TOOLBOX,
                vec![&self.agent],
                "target/toolbox-image/netcheck-toolbox.tar",
            ),
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
struct PackageSource {
    /// Where downloaded packages are kept [default: kubectl-netcheck/debian-packages in the user's cache folder]
    #[arg(long, value_name = "FOLDER")]
    package_cache: Option<PathBuf>,
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().verb {
        Verb::Build(arguments) => build(&arguments),
        Verb::Push(arguments) => push_archive(&arguments),
        Verb::Lock(arguments) => write_locks(&arguments),
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
    let lock_file = arguments.lock_file.clone().unwrap_or_else(|| lock_file(recipe.base));
    let text = fs::read_to_string(&lock_file).with_context(|| format!("cannot read {}", lock_file.display()))?;
    let packages = Packages::fetch(
        recipe.base,
        &arguments.packages.cache()?,
        &lock::parse(&text)?,
        architecture,
    )?;

    let layers = [packages.layer()?, content::program_layer(&recipe, programs)];
    let content_sizes = layers.each_ref().map(netcheck_oci::Layer::content_size);
    let [debian, programs] = layers;
    let name = arguments.name.clone().unwrap_or_else(|| recipe.reference());
    within(recipe.files_at_most, "the image unpacked", content_sizes.iter().sum())?;
    let image = content::image(&recipe, &name.parse()?, architecture, debian, programs);

    if let Some(folder) = output.parent() {
        fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    }
    let written = image.write_archive(output)?;
    within(recipe.image_at_most, "the image", written.archive_size)?;
    let digest_file = output.with_extension("digest");
    fs::write(&digest_file, format!("{}\n", written.manifest_digest))
        .with_context(|| format!("cannot write {}", digest_file.display()))?;
    let size_file = output.with_extension("size");
    let pulled: u64 = written.layers.iter().map(|layer| layer.size).sum();
    fs::write(&size_file, format!("{pulled}\n")).with_context(|| format!("cannot write {}", size_file.display()))?;
    report(&recipe, output, architecture, &written, content_sizes)
}

/// Images travel to every node that is looked at: what has grown too large is noticed here, and not by users.
fn within(limit: u64, what: &str, size: u64) -> Result<()> {
    if size > limit {
        bail!("{what} has {size} bytes, more than the {limit} it may have");
    }
    Ok(())
}

fn report(
    recipe: &Recipe,
    archive: &Path,
    architecture: &str,
    written: &Written,
    content_sizes: [u64; 2],
) -> Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "image    {} ({architecture})", written.name)?;
    writeln!(out, "digest   {}", written.manifest_digest)?;
    for ((part, layer), content) in [recipe.base.name, "programs"]
        .iter()
        .zip(&written.layers)
        .zip(content_sizes)
    {
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
    let credentials = arguments.username.clone();
    let credentials = credentials
        .map(|name| Credentials::read(name, io::stdin().lock()))
        .transpose()?;
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

fn lock_file(base: &Base) -> PathBuf {
    Path::new(SOURCES).join(base.lock_file)
}

fn write_locks(source: &PackageSource) -> Result<()> {
    let architecture = debian::native_architecture()?;
    let cache = source.cache()?;
    for base in base::ALL {
        write_lock(base, &cache, &architecture)?;
    }
    Ok(())
}

/// Replaces the lines of this machine's architecture; others stay.
fn write_lock(base: &'static Base, cache: &Cache, architecture: &str) -> Result<()> {
    let names = debian::dependencies(&base.packages())?;
    let mut current = cache.fetch_current(&names, architecture)?;
    let used = Packages::fetch(base, cache, &current, architecture)?.used()?;
    current.retain(|package| used.contains(&package.name));

    let lock_file = lock_file(base);
    let old = match fs::read_to_string(&lock_file) {
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
    fs::write(&lock_file, lock::format(&all)).with_context(|| format!("cannot write {}", lock_file.display()))?;
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
