//! What our images hold: below, what they have of Debian, the same layer in all images of one base; above, the programs that a recipe
//! names.

use std::collections::BTreeSet;
use std::path::Path;

use netcheck_oci::{ImageSpec, Layer, Reference};

use crate::base::Base;
use crate::closure::closure;
use crate::debian::{self, Cache};
use crate::lock::Package;
use crate::recipe::{Recipe, Start};
use crate::tree::{MERGED, Node, Tree};
use crate::{Error, Result, elf};

/// Folders on which a container runtime mounts something.
const MOUNT_POINTS: [&str; 3] = ["/dev", "/proc", "/sys"];

/// The packages of one architecture, unpacked.
pub struct Packages {
    base: &'static Base,
    tree: Tree,
    /// By name: what dpkg would record of the package.
    control: Vec<(String, String)>,
    architecture: String,
}

impl Packages {
    /// Fetches and unpacks a base's locked packages of an architecture.
    pub fn fetch(base: &'static Base, cache: &Cache, locked: &[Package], architecture: &str) -> Result<Self> {
        let packages: Vec<_> = locked
            .iter()
            .filter(|package| package.architecture == architecture)
            .cloned()
            .collect();
        if packages.is_empty() {
            return Err(Error::NotLocked(architecture.to_owned()));
        }
        let mut tree = Tree::default();
        let mut control = Vec::new();
        for (package, contents) in packages.iter().zip(debian::contents(&cache.fetch(&packages)?)) {
            let (record, tar) = contents?;
            debian::unpack(&tar, &package.name, &mut tree)?;
            control.push((package.name.clone(), record));
        }
        (base.arrange)(&mut tree)?;
        Ok(Self {
            base,
            tree,
            control,
            architecture: architecture.to_owned(),
        })
    }

    /// Files that the base takes, what they load, and the licences of all of it.
    fn needed(&self) -> Result<BTreeSet<String>> {
        let libraries = library_folder(&self.architecture);
        let roots = (self.base.roots)(&self.tree, &libraries);
        let mut files = closure(&self.tree, &roots, &[libraries, "/usr/lib".to_owned()])?;
        let mut settled = BTreeSet::new();
        // A copyright file may be there through a link to another package's, which is taken along, with its own.
        loop {
            let used = self.packages_of(&files);
            let Some(package) = used.difference(&settled).next() else {
                return Ok(files);
            };
            files.extend(self.copyright(package)?);
            settled.insert(package.clone());
        }
    }

    /// The copyright file of a package, with the links that lead to it.
    fn copyright(&self, package: &str) -> Result<Vec<String>> {
        let folder = format!("/usr/share/doc/{package}");
        let mut paths = Vec::new();
        let mut path = match self.tree.link_target(&folder) {
            Some(target) => {
                paths.push(folder);
                format!("{target}/copyright")
            }
            None => format!("{folder}/copyright"),
        };
        while let Some(target) = self.tree.link_target(&path) {
            if paths.contains(&path) {
                break;
            }
            paths.push(std::mem::replace(&mut path, target));
        }
        if self.tree.get(&path).is_none() {
            return Err(Error::Missing {
                path,
                needed_by: package.to_owned(),
            });
        }
        paths.push(path);
        Ok(paths)
    }

    fn packages_of(&self, files: &BTreeSet<String>) -> BTreeSet<String> {
        let packages = files.iter().filter_map(|path| self.tree.package_of(path));
        packages.map(str::to_owned).collect()
    }

    /// Names of the packages that the image takes files from.
    pub fn used(&self) -> Result<BTreeSet<String>> {
        Ok(self.packages_of(&self.needed()?))
    }

    /// The layer below the programs.
    pub fn layer(mut self) -> Result<Layer> {
        let files = self.needed()?;
        let used = self.packages_of(&files);
        let mut layer = Layer::new();
        for folder in MOUNT_POINTS {
            layer = layer.dir(folder, 0o755);
        }
        for link in MERGED {
            layer = layer
                .dir(format!("/usr/{link}"), 0o755)
                .symlink(format!("/{link}"), format!("usr/{link}"));
        }
        for path in files {
            layer = match self.tree.take(&path) {
                Some(Node::File { bytes, mode }) => layer.file(path, bytes, for_everybody(mode)),
                Some(Node::Symlink(target)) => layer.symlink(path, target),
                None => {
                    return Err(Error::Missing {
                        path,
                        needed_by: "the image".to_owned(),
                    });
                }
            };
        }
        // Where scanners look for what is installed when there is no package manager.
        for (name, control) in self.control.iter().filter(|(name, _)| used.contains(name)) {
            layer = layer.file(format!("/var/lib/dpkg/status.d/{name}"), control.as_bytes(), 0o644);
        }
        Ok(layer)
    }
}

/// Who runs the image may be anybody, and gains nothing by running a program: a container that may gain no privileges could not even
/// start one that grants them. Capabilities of files are no part of a package, so that there are none to take away.
fn for_everybody(mode: u32) -> u32 {
    let runs = if mode & 0o111 == 0 { 0 } else { 0o111 };
    (mode & 0o755) | 0o444 | runs
}

/// Debian's multiarch folder.
fn library_folder(architecture: &str) -> String {
    let machine = match architecture {
        "amd64" => "x86_64",
        "arm64" => "aarch64",
        other => other,
    };
    format!("/usr/lib/{machine}-linux-gnu")
}

/// A program for an image.
pub struct Program {
    /// The static binary.
    pub bytes: Vec<u8>,
    /// For which architecture it was built, by the name that images use.
    pub architecture: &'static str,
}

impl Program {
    /// Reads a binary and makes sure that it runs without anything else.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path).map_err(|source| Error::File {
            operation: "read program",
            path: path.to_owned(),
            source,
        })?;
        let unusable = |reason: String| Error::Elf {
            path: path.display().to_string(),
            reason,
        };
        let needs = elf::needs(&bytes).map_err(unusable)?;
        if needs.interpreter.is_some() || !needs.libraries.is_empty() {
            return Err(Error::Dynamic(path.to_owned()));
        }
        let architecture =
            elf::architecture(&bytes).ok_or_else(|| unusable("built for neither amd64 nor arm64".to_owned()))?;
        Ok(Self { bytes, architecture })
    }
}

/// The layer above, the only one that changes with the programs, which come in the recipe's order.
pub fn program_layer(recipe: &Recipe, programs: Vec<Program>) -> Layer {
    let mut layer = Layer::new();
    for (path, program) in recipe.programs.iter().zip(programs) {
        layer = layer.file(*path, program.bytes, 0o755);
    }
    for (path, target) in recipe.links {
        layer = layer.symlink(*path, *target);
    }
    for (path, mode) in recipe.folders {
        layer = layer.dir(*path, *mode);
    }
    layer
}

/// The image, from its two layers.
pub fn image(recipe: &Recipe, reference: &Reference, architecture: &str, base: Layer, programs: Layer) -> ImageSpec {
    let mut spec = ImageSpec::new(reference.to_string(), architecture);
    match recipe.starts {
        Start::FirstProgram => {
            spec.entrypoint = recipe.programs.iter().take(1).map(|path| (*path).to_owned()).collect();
        }
        Start::Unless(program) => spec.cmd = vec![program.to_owned()],
    }
    for (name, value) in [("PATH", "/usr/sbin:/usr/bin")].iter().chain(recipe.environment) {
        spec.env.insert((*name).to_owned(), (*value).to_owned());
    }
    spec.working_dir = "/".into();
    spec.layers = vec![base, programs];
    let labels = [
        ("title", recipe.name),
        ("description", recipe.description),
        ("source", env!("CARGO_PKG_REPOSITORY")),
        ("version", env!("CARGO_PKG_VERSION")),
    ];
    spec.labels = labels
        .map(|(key, value)| (format!("org.opencontainers.image.{key}"), value.to_owned()))
        .into();
    spec
}
