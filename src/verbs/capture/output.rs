//! Where the packets shall go, decided before anything is created in the cluster.

use super::CaptureArgs;
use crate::{
    capture::{
        sink::{FileSink, LineFormat, Lines, Output, PacketFormat, PerPod, Sink, SinkError, file::About},
        source::Source,
    },
    exit::Failure,
    output::{Format, Printer},
};
use std::{
    fs::OpenOptions,
    io::{self, IsTerminal as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

/// Where Wireshark is on macOS, where it is on nobody's PATH.
const WIRESHARK_ON_MACOS: &str = "/Applications/Wireshark.app/Contents/MacOS/Wireshark";

/// Where the packets go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// A file.
    File(PathBuf, PacketFormat),
    /// Stdout, as pcapng.
    Stdout,
    /// Wireshark's stdin.
    Wireshark(PathBuf),
    /// A folder with a file for each source.
    PerPod(PathBuf),
    /// Lines on stdout.
    Lines(LineFormat),
}

impl Destination {
    /// What the arguments ask for.
    ///
    /// # Errors
    /// If it cannot work: binary to a terminal, a folder that is a file, no Wireshark.
    pub fn choose(args: &CaptureArgs, format: Format) -> Result<Self, Failure> {
        let destination = match (&args.write, &args.per_pod) {
            (Some(path), _) if path == Path::new("-") => {
                if io::stdout().is_terminal() {
                    return Err(Failure::usage("-w - writes binary data, and stdout is a terminal")
                        .hint("pipe it (… -w - | tshark -r -), name a file, or leave out -w to read lines"));
                }
                Self::Stdout
            }
            (Some(path), _) => {
                check_file(path)?;
                Self::File(path.clone(), PacketFormat::of(path))
            }
            (None, Some(folder)) => {
                if folder.exists() && !folder.is_dir() {
                    return Err(Failure::usage(format!("--per-pod {}: is no folder", folder.display())));
                }
                Self::PerPod(folder.clone())
            }
            (None, None) if args.wireshark => Self::Wireshark(find_wireshark()?),
            (None, None) => Self::Lines(match format {
                Format::Table | Format::Wide => LineFormat::Text,
                Format::Json => LineFormat::Json,
                Format::Yaml | Format::Name => {
                    return Err(Failure::usage("packets are written as lines or with -o json")
                        .hint("with -w FILE, -o yaml prints the capture's account"));
                }
            }),
        };
        Ok(destination)
    }

    /// Whether stdout is free for a report.
    pub fn leaves_stdout(&self) -> bool {
        matches!(self, Self::File(..) | Self::PerPod(_) | Self::Wireshark(_))
    }

    /// In words, for the summary.
    pub fn words(&self) -> String {
        match self {
            Self::File(path, _) => path.display().to_string(),
            Self::Stdout | Self::Lines(_) => "stdout".to_owned(),
            Self::Wireshark(_) => "Wireshark".to_owned(),
            Self::PerPod(folder) => format!("{}/", folder.display()),
        }
    }

    /// Opens it, now that packets are about to come. Gives Wireshark's process, if there is one.
    pub fn open(
        &self,
        sources: &[Source],
        about: About,
        printer: &Printer,
    ) -> Result<(Box<dyn Sink>, Option<Child>), SinkError> {
        let pcapng = PacketFormat::Pcapng;
        Ok(match self {
            Self::File(path, format) => {
                let output = Output::create(path)
                    .map_err(|error| SinkError::of(&format!("cannot create {}", path.display()), &error))?;
                (Box::new(FileSink::begin(output, *format, about)?), None)
            }
            Self::Stdout => {
                let output = Output::Pipe {
                    pipe: Box::new(io::stdout()),
                    name: "stdout",
                };
                (Box::new(FileSink::begin(output, pcapng, about)?), None)
            }
            Self::Wireshark(program) => {
                let child = Command::new(program)
                    .args(["-k", "-i", "-"])
                    .stdin(Stdio::piped())
                    .stdout(Stdio::null())
                    .stderr(Stdio::null())
                    .spawn();
                let mut child = child.map_err(|error| SinkError::of("cannot start Wireshark", &error))?;
                let Some(pipe) = child.stdin.take() else {
                    return Err(SinkError::Write("Wireshark has no stdin".to_owned()));
                };
                let output = Output::Pipe {
                    pipe: Box::new(pipe),
                    name: "Wireshark",
                };
                (Box::new(FileSink::begin(output, pcapng, about)?), Some(child))
            }
            Self::PerPod(folder) => (Box::new(PerPod::begin(folder, sources, about)?), None),
            Self::Lines(format) => (Box::new(Lines::new(printer.clone(), *format, about.names)), None),
        })
    }
}

/// Tried before anything is created in the cluster; a file that is there keeps its content until packets come.
fn check_file(path: &Path) -> Result<(), Failure> {
    if path.is_dir() {
        return Err(
            Failure::usage(format!("-w {}: is a folder", path.display())).hint("--per-pod writes into a folder")
        );
    }
    let is_new = !path.exists();
    OpenOptions::new()
        .append(true)
        .create(true)
        .open(path)
        .and_then(|_| if is_new { std::fs::remove_file(path) } else { Ok(()) })
        .map_err(|error| Failure::usage(format!("-w {}: cannot be written: {error}", path.display())))
}

fn find_wireshark() -> Result<PathBuf, Failure> {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&paths)
        .map(|folder| folder.join("wireshark"))
        .chain([PathBuf::from(WIRESHARK_ON_MACOS)])
        .find(|path| path.is_file())
        .ok_or_else(|| {
            Failure::usage("--wireshark: there is no wireshark on PATH")
                .hint("install it, or write a file with -w and open it elsewhere")
        })
}
