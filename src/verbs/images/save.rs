//! `images save`: one archive, whole or not at all.

use std::{
    io::{self, IsTerminal as _, Write},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use netcheck_oci::ArchiveWriter;

use super::{
    Image, megabytes,
    source::{Source, not_written},
};
use crate::{exit::Failure, output::file, verbs::Shared};

/// A registry that sends nothing for so long is not waited for any longer.
const SILENCE: Duration = Duration::from_mins(1);
/// How long the work may take to notice that it shall stop, before its file is removed under it.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often is looked how far it is.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// What the work and who waits for it know of each other.
#[derive(Default)]
struct Meter {
    bytes: AtomicU64,
    stop: AtomicBool,
}

/// Saves the images; says what was saved. `None` if the user interrupted it.
pub(super) async fn save(
    images: Vec<Image>,
    source: Source,
    file: PathBuf,
    shared: &Shared,
) -> Result<Option<Vec<Image>>, Failure> {
    let target = Target::choose(file)?;
    let expected: Option<u64> = images.iter().map(|image| image.size).sum();
    let printer = &shared.printer;
    let is_anyones = |image: &&Image| image.digest.is_none() && source.is_registry();
    for image in images.iter().filter(is_anyones) {
        printer.warn(format!(
            "this build knows no digest of {}: what {} names now is saved, whatever that is",
            image.name, image.reference
        ));
    }
    let phase = printer.phase(&format!("saving {}", target.name()));
    let meter = Arc::new(Meter::default());
    let mut work = {
        let (target, meter) = (target.clone(), Arc::clone(&meter));
        tokio::task::spawn_blocking(move || target.write(&images, &source, &meter))
    };
    let mut last = (0, Instant::now());
    let stopped = loop {
        tokio::select! {
            done = &mut work => {
                let saved = done.map_err(|error| Failure::unknown(format!("saving ended unexpectedly: {error}")))??;
                let size = saved.iter().filter_map(|image| image.size).sum();
                phase.finish(format!("{} of layers", megabytes(size)));
                if let Target::File(path) = &target {
                    printer.note(format!("on each node: ctr --namespace k8s.io images import {}", path.display()));
                }
                return Ok(Some(saved));
            }
            () = shared.interrupt.requested() => break Ok(None),
            () = tokio::time::sleep(LOOK_EVERY) => {
                let bytes = meter.bytes.load(Ordering::Relaxed);
                if bytes != last.0 {
                    last = (bytes, Instant::now());
                    let total = expected.map(|total| format!(" of {}", megabytes(total))).unwrap_or_default();
                    phase.say(format!("{}{total}", megabytes(bytes)));
                } else if last.1.elapsed() > SILENCE {
                    break Err(Failure::unknown(format!("nothing came for {} s", SILENCE.as_secs()))
                        .hint("nothing was saved; try again, or take --from the folder of a build"));
                }
            }
        }
    };
    meter.stop.store(true, Ordering::Relaxed);
    // It may be waiting for a registry that does not answer: the process ends without it.
    let _ = tokio::time::timeout(PATIENCE, work).await;
    target.clear();
    stopped
}

/// Where the archive goes.
#[derive(Debug, Clone)]
enum Target {
    Stdout,
    File(PathBuf),
}

impl Target {
    fn choose(file: PathBuf) -> Result<Self, Failure> {
        if file.as_os_str() == "-" {
            if io::stdout().is_terminal() {
                return Err(Failure::usage("an archive is nothing for a terminal")
                    .hint("redirect stdout, or give a file: images save netcheck.tar"));
            }
            return Ok(Self::Stdout);
        }
        file::check(&file).map_err(|reason| Failure::usage(format!("{} {reason}", file.display())))?;
        Ok(Self::File(file))
    }

    fn name(&self) -> String {
        match self {
            Self::Stdout => "to stdout".to_owned(),
            Self::File(path) => path.display().to_string(),
        }
    }

    /// Removes what was begun and will not be ended.
    fn clear(&self) {
        if let Self::File(path) = self {
            file::discard(path);
        }
    }

    fn write(&self, images: &[Image], source: &Source, meter: &Meter) -> Result<Vec<Image>, Failure> {
        match self {
            Self::Stdout => fill(io::stdout().lock(), images, source, meter),
            Self::File(path) => replace(path, |output| fill(output, images, source, meter)),
        }
    }
}

/// Replaces a file by what is written, if all of it could be.
fn replace(
    path: &Path,
    write: impl FnOnce(&mut io::BufWriter<std::fs::File>) -> Result<Vec<Image>, Failure>,
) -> Result<Vec<Image>, Failure> {
    let mut outcome = None;
    let replaced = file::replace(path, |output| match outcome.insert(write(output)) {
        Ok(_) => Ok(()),
        Err(_) => Err(io::Error::other("not all could be saved")),
    });
    match (outcome, replaced) {
        (Some(Err(failure)), _) => Err(failure),
        (_, Err(error)) => Err(Failure::unknown(format!("cannot write {}: {error}", path.display()))),
        (saved, Ok(())) => saved.unwrap_or_else(|| Ok(Vec::new())),
    }
}

fn fill(output: impl Write, images: &[Image], source: &Source, meter: &Meter) -> Result<Vec<Image>, Failure> {
    let mut archive = ArchiveWriter::new(output).map_err(|error| not_written(&error))?;
    let mut saved = Vec::new();
    for image in images {
        saved.push(source.add(image, &mut archive, |count| {
            meter.bytes.fetch_add(count as u64, Ordering::Relaxed);
            if meter.stop.load(Ordering::Relaxed) {
                return Err(io::Error::other("it was stopped"));
            }
            Ok(())
        })?);
    }
    archive.finish().map_err(|error| not_written(&error))?;
    Ok(saved)
}
