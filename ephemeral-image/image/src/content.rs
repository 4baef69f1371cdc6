//! What our images hold: below, the readers of rulesets, the same layer in all of them; above, the programs that a recipe names.

use std::collections::BTreeSet;
use std::path::Path;

use netcheck_oci::{ImageSpec, Layer, Reference};

use crate::closure::closure;
use crate::debian::{self, Cache};
use crate::lock::Package;
use crate::recipe::Recipe;
use crate::tree::{MERGED, Node, Tree};
use crate::{Error, Result, elf};

/// Packages whose dependencies are searched for what the readers need.
pub const READER_PACKAGES: [&str; 3] = ["ipset", "iptables", "nftables"];

/// The package that holds the texts of the licences that the others' copyright files refer to.
pub const LICENCE_PACKAGE: &str = "base-files";

/// The programs that read rulesets.
const READERS: [&str; 6] = [
    "/usr/sbin/ip6tables-legacy-save",
    "/usr/sbin/ip6tables-nft-save",
    "/usr/sbin/ipset",
    "/usr/sbin/iptables-legacy-save",
    "/usr/sbin/iptables-nft-save",
    "/usr/sbin/nft",
];

/// Licences of the readers and their libraries; the GPL asks for a copy beside every binary.
const LICENCES: [&str; 4] = ["GPL-2", "GPL-3", "LGPL-2.1", "LGPL-3"];

/// Folders on which a container runtime mounts something.
const MOUNT_POINTS: [&str; 3] = ["/dev", "/proc", "/sys"];

const PASSWD: &str = "root:x:0:0:root:/:/nonexistent\nnonroot:x:65532:65532:nonroot:/:/nonexistent\n";
const GROUP: &str = "root:x:0:\nnonroot:x:65532:\n";

/// The packages of one architecture, unpacked.
pub struct Packages {
    tree: Tree,
    /// By name: what dpkg would record of the package.
    control: Vec<(String, String)>,
    architecture: String,
}

impl Packages {
    /// Fetches and unpacks the locked packages of an architecture.
    pub fn fetch(cache: &Cache, locked: &[Package], architecture: &str) -> Result<Self> {
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
        for (package, deb) in packages.iter().zip(cache.fetch(&packages)?) {
            debian::unpack(&deb, &package.name, &mut tree)?;
            control.push((package.name.clone(), debian::control(&deb, &[])?));
        }
        Ok(Self {
            tree,
            control,
            architecture: architecture.to_owned(),
        })
    }

    /// Files that the readers need: programs, loader, libraries, plugins.
    fn needed(&self) -> Result<BTreeSet<String>> {
        let libraries = library_folder(&self.architecture);
        let plugins = format!("{libraries}/xtables/");
        let roots: Vec<_> = READERS
            .into_iter()
            .chain(self.tree.paths_below(&plugins))
            .map(str::to_owned)
            .collect();
        closure(&self.tree, &roots, &[libraries, "/usr/lib".to_owned()])
    }

    /// Names of the packages that the image takes files from.
    pub fn used(&self) -> Result<BTreeSet<String>> {
        let needed = self.needed()?;
        let mut used: BTreeSet<_> = needed
            .iter()
            .filter_map(|path| self.tree.package_of(path))
            .map(str::to_owned)
            .collect();
        used.insert(LICENCE_PACKAGE.to_owned());
        Ok(used)
    }

    /// The layer below the programs: the readers with all that they need, and the few files that every program expects.
    pub fn layer(&self) -> Result<Layer> {
        let mut files = self.needed()?;
        for licence in LICENCES {
            files.insert(format!("/usr/share/common-licenses/{licence}"));
        }
        for package in self.used()? {
            // Also for a shared copyright file, which is there through a link to another package's folder.
            files.insert(format!("/usr/share/doc/{package}/copyright"));
        }

        let mut layer = Layer::new()
            .file("/etc/passwd", PASSWD, 0o644)
            .file("/etc/group", GROUP, 0o644);
        for folder in MOUNT_POINTS {
            layer = layer.dir(folder, 0o755);
        }
        for link in MERGED {
            layer = layer
                .dir(format!("/usr/{link}"), 0o755)
                .symlink(format!("/{link}"), format!("usr/{link}"));
        }
        for path in files {
            layer = match self.tree.get(&path) {
                Some(Node::File { bytes, mode }) => layer.file(path, bytes.clone(), *mode),
                Some(Node::Symlink(target)) => layer.symlink(path, target.clone()),
                None => {
                    return Err(Error::Missing {
                        path,
                        needed_by: "the image".to_owned(),
                    });
                }
            };
        }
        // Where scanners look for what is installed when there is no package manager.
        let used = self.used()?;
        for (name, control) in self.control.iter().filter(|(name, _)| used.contains(name)) {
            layer = layer.file(format!("/var/lib/dpkg/status.d/{name}"), control.as_bytes(), 0o644);
        }
        Ok(layer)
    }
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

/// The layer above the readers, the only one that changes with the programs, which come in the recipe's order.
pub fn program_layer(recipe: &Recipe, programs: Vec<Program>) -> Layer {
    let mut layer = Layer::new();
    for (path, program) in recipe.programs.iter().zip(programs) {
        layer = layer.file(*path, program.bytes, 0o755);
    }
    for (path, mode) in recipe.folders {
        layer = layer.dir(*path, *mode);
    }
    layer
}

/// The image, from its two layers.
pub fn image(recipe: &Recipe, reference: &Reference, architecture: &str, readers: Layer, programs: Layer) -> ImageSpec {
    let mut spec = ImageSpec::new(reference.to_string(), architecture);
    spec.entrypoint = recipe
        .programs
        .first()
        .map(|path| (*path).to_owned())
        .into_iter()
        .collect();
    spec.env.insert("PATH".to_owned(), "/usr/sbin:/usr/bin".to_owned());
    spec.working_dir = "/".into();
    spec.layers = vec![readers, programs];
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
