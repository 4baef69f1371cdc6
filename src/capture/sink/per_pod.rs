//! A file for each source, in one folder.

use super::{Ending, FileSink, Output, Packet, PacketFormat, Sink, SinkError, file::About};
use crate::capture::source::{Interface, Source};
use std::path::{Path, PathBuf};

/// Writes `FOLDER/NAMESPACE_POD.pcapng` and `FOLDER/node_NAME.pcapng`.
pub struct PerPod {
    folder: PathBuf,
    about: About,
    /// By the source's number; a file is there from the source's first interface on.
    files: Vec<(Source, Option<FileSink>)>,
    /// Interface of the capture → its source, and its number in that one's file.
    interfaces: Vec<(usize, usize)>,
}

impl PerPod {
    /// Creates the folder if it is not there.
    ///
    /// # Errors
    /// If it cannot be created.
    pub fn begin(folder: &Path, sources: &[Source], about: About) -> Result<Self, SinkError> {
        std::fs::create_dir_all(folder)
            .map_err(|error| SinkError::of(&format!("cannot create folder {}", folder.display()), &error))?;
        Ok(Self {
            folder: folder.to_owned(),
            about,
            files: sources.iter().map(|source| (source.clone(), None)).collect(),
            interfaces: Vec::new(),
        })
    }
}

impl Sink for PerPod {
    fn source(&mut self, source: &Source) -> Result<(), SinkError> {
        self.files.push((source.clone(), None));
        Ok(())
    }

    fn interface(&mut self, interface: &Interface) -> Result<(), SinkError> {
        let number = interface.source;
        let inner = self.interfaces.iter().filter(|(source, _)| *source == number).count();
        self.interfaces.push((number, inner));
        let Some((source, file)) = self.files.get_mut(number) else {
            return Err(SinkError::Write(format!("{} belongs to no source", interface.name)));
        };
        let file = if let Some(file) = file {
            file
        } else {
            let path = self.folder.join(format!("{}.pcapng", source.file_stem()));
            let output = Output::create(&path)
                .map_err(|error| SinkError::of(&format!("cannot create {}", path.display()), &error))?;
            file.insert(FileSink::begin(output, PacketFormat::Pcapng, self.about.clone())?)
        };
        file.interface(&Interface {
            source: 0,
            ..interface.clone()
        })
    }

    fn packet(&mut self, packet: &Packet<'_>) -> Result<(), SinkError> {
        let Some((source, inner)) = self.interfaces.get(packet.interface).copied() else {
            return Err(SinkError::Write("a packet of no interface".to_owned()));
        };
        match self.files.get_mut(source) {
            Some((_, Some(file))) => file.packet(&Packet {
                interface: inner,
                ..*packet
            }),
            _ => Ok(()),
        }
    }

    fn flush(&mut self) -> Result<(), SinkError> {
        let mut files = self.files.iter_mut().filter_map(|(_, file)| file.as_mut());
        files.try_for_each(FileSink::flush)
    }

    fn finish(&mut self, ending: &Ending) -> Result<(), SinkError> {
        for ((_, file), source) in self.files.iter_mut().zip(&ending.sources) {
            if let Some(file) = file {
                file.finish(&Ending {
                    sources: vec![source.clone()],
                })?;
            }
        }
        Ok(())
    }
}
