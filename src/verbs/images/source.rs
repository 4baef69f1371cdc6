//! Where images come from that are saved: a registry, or the archives of a build.

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
};

use netcheck_oci::{
    ArchiveWriter, Digest, Image as Built, Reference,
    registry::{Credentials, Options, RegistryError, pull},
};

use super::Image;
use crate::{exit::Failure, output::safe};

/// Where images come from.
pub(super) enum Source {
    /// The registry that their references name.
    Registry(Options),
    /// A folder: `netcheck-NAME.tar`, or as a build leaves it, `NAME-image/netcheck-NAME.tar`.
    Folder(PathBuf),
}

impl Source {
    /// The source that flags ask for. A password is read from stdin.
    pub(super) fn choose(folder: Option<PathBuf>, registry_user: Option<String>) -> Result<Self, Failure> {
        if let Some(folder) = folder {
            if !folder.is_dir() {
                return Err(Failure::usage(format!(
                    "--from {}: there is no such folder",
                    folder.display()
                )));
            }
            return Ok(Self::Folder(folder));
        }
        let credentials = registry_user
            .map(|name| Credentials::read(name, io::stdin().lock()))
            .transpose()
            .map_err(|error| {
                Failure::usage(safe(&error.to_string())).hint("pipe the password or token into the plugin")
            })?;
        Ok(Self::Registry(Options {
            credentials,
            ..Options::default()
        }))
    }

    /// Whether somebody else may have changed what is there.
    pub(super) fn is_registry(&self) -> bool {
        matches!(self, Self::Registry(_))
    }

    /// Adds an image to an archive; says what was added. `progress` is told of bytes, and ends the work with its error.
    pub(super) fn add<W: Write>(
        &self,
        image: &Image,
        archive: &mut ArchiveWriter<W>,
        progress: impl FnMut(usize) -> io::Result<()>,
    ) -> Result<Image, Failure> {
        let reference: Reference = image
            .reference
            .parse()
            .map_err(|error| Failure::usage(format!("cannot save {}: {error}", image.name)))?;
        let (digest, size) = match self {
            Self::Registry(options) => {
                let pulled = pull(&reference, options, archive, progress).map_err(|error| not_pulled(image, &error))?;
                (pulled.digest, pulled.size)
            }
            Self::Folder(folder) => {
                let mut built = find(folder, image, &reference)?;
                built.reference = reference;
                archive.add(&built).map_err(|error| not_written(&error))?;
                (built.manifest_digest(), built.layers_size())
            }
        };
        Ok(Image {
            digest: Some(digest.to_string()),
            size: Some(size),
            ..image.clone()
        })
    }
}

/// The archive could not be written.
pub(super) fn not_written(error: &io::Error) -> Failure {
    Failure::unknown(format!("cannot write the archive: {error}"))
}

fn find(folder: &Path, image: &Image, reference: &Reference) -> Result<Built, Failure> {
    let file = format!("netcheck-{}.tar", image.name);
    let places = [
        folder.join(&file),
        folder.join(format!("{}-image", image.name)).join(&file),
    ];
    let Some(path) = places.iter().find(|path| path.is_file()) else {
        return Err(Failure::usage(format!("there is no {file} in {}", folder.display()))
            .hint("make build leaves all of them in the folders of target; --image NAME saves fewer"));
    };
    let built = Built::read_archive(path).map_err(|error| Failure::unknown(safe(&with_causes(&error))))?;
    let digest = built.manifest_digest();
    check(path, reference.digest.as_ref(), &digest)?;
    Ok(built)
}

fn check(path: &Path, wanted: Option<&Digest>, actual: &Digest) -> Result<(), Failure> {
    match wanted {
        Some(wanted) if wanted != actual => Err(Failure::unknown(format!(
            "{} is not the image that belongs to this plugin: its digest is {actual}, not {wanted}",
            path.display()
        ))
        .hint("plugin and images come from one build: make plugin")),
        _ => Ok(()),
    }
}

fn not_pulled(image: &Image, error: &RegistryError) -> Failure {
    let message = format!("cannot save {}: {}", image.name, safe(&with_causes(error)));
    match error {
        RegistryError::Archive(error) => not_written(error),
        RegistryError::Status { status: 404, .. } => Failure::usage(message).hint(
            "the registry does not have this image; --image-prefix names another registry, --from the folder of a build",
        ),
        RegistryError::Unauthorized { .. } => {
            Failure::unknown(message).hint("--registry-user NAME takes the password or token from stdin")
        }
        _ => Failure::unknown(message).hint("nothing was saved; try again, or take --from the folder of a build"),
    }
}

/// What failed, and what that came from, in one line.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        line = format!("{line}: {error}");
        cause = error.source();
    }
    line
}
