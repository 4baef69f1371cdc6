//! Loading: from the embedded object, or from what an earlier process pinned.

use crate::{
    attach::{AttachChange, Attached, Hook, Hooking, Program},
    clsact,
    contents::{Change, Contents},
    error::{BpfError, Off, in_full},
    events::Events,
    maps::{Counters, Dump, LAYOUTS, MapLayout, Maps, Reasons},
    pins, sys,
};
use aya::{Ebpf, EbpfLoader, programs::SchedClassifier};
use std::{
    collections::BTreeMap,
    fs, io,
    os::fd::{AsFd, BorrowedFd},
    path::{Path, PathBuf},
};

/// The compiled `programs.c`.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/programs.o"));

/// How to work.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// How to hang programs on devices; `None`: by TCX where the kernel has it.
    pub hooking: Option<Hooking>,
}

/// Our programs and maps in the kernel. They stay when this is dropped.
pub struct Bpf {
    root: PathBuf,
    hooking: Hooking,
    maps: Maps,
    programs: BTreeMap<Program, Loaded>,
    /// Numbers of what was pinned when all was there.
    pinned: Vec<u32>,
}

/// A program in the kernel.
struct Loaded {
    program: SchedClassifier,
    id: u32,
}

/// Whether eBPF can be had here, with pins under `root`; else why not.
pub fn capability(root: &Path) -> Result<(), Off> {
    pins::check_filesystem(root)?;
    let page = rustix::param::page_size() as u32;
    sys::try_ring(page).map_err(|error| match error.raw_os_error() {
        Some(libc::ENOSYS) => Off::NoSyscall,
        Some(libc::EPERM | libc::EACCES) => Off::NotAllowed,
        Some(libc::EINVAL) => Off::NoRing,
        _ => Off::Refused(error),
    })
}

impl Bpf {
    /// Brings programs and maps into the kernel and pins them under `root`, such as `/sys/fs/bpf/netcheck-cni/v1`. Maps that are pinned
    /// there are used as they are, with their counts; programs are, if they are the same as ours and use these maps.
    ///
    /// # Errors
    /// If there is no eBPF here ([`BpfError::Off`]), or a pinned map has another layout ([`BpfError::ForeignMap`]).
    pub fn open(root: &Path, options: Options) -> Result<Self, BpfError> {
        capability(root)?;
        pins::make_folders(root)?;
        // The loader takes any map that it finds pinned: look first.
        for layout in &LAYOUTS {
            layout.open(root)?;
        }
        let paths = LAYOUTS.map(|MapLayout { name, .. }| (name, pins::map(root, name)));
        let mut loader = EbpfLoader::new();
        for (name, path) in &paths {
            loader.map_pin_path(name, path);
        }
        let mut object = loader.load(OBJECT).map_err(|error| BpfError::Load {
            what: "the eBPF object",
            reason: in_full(&error),
        })?;
        let maps = Maps::open(root)?;
        let mut programs = BTreeMap::new();
        for program in Program::ALL {
            programs.insert(program, Loaded::new(root, program, &mut object)?);
        }
        let hooking = options.hooking.unwrap_or_else(Hooking::of_this_kernel);
        Ok(Self {
            root: root.to_owned(),
            hooking,
            maps,
            programs,
            pinned: pinned(root).unwrap_or_default(),
        })
    }

    /// Whether the maps and programs that this works with are still those that are pinned; if not, open it anew. Cheap: nothing is loaded.
    pub fn is_pinned(&self) -> bool {
        pinned(&self.root).is_some_and(|now| now == self.pinned)
    }

    /// How programs are hung on devices.
    pub fn hooking(&self) -> Hooking {
        self.hooking
    }

    /// Sees to it that each hook has exactly the program that it must have, and that no other device has one of ours. Links whose device
    /// is gone are removed. A second call right after changes nothing.
    ///
    /// # Errors
    /// All that failed, after everything was tried.
    pub fn ensure_attached(&mut self, wanted: &[Hook]) -> Result<Vec<AttachChange>, Vec<BpfError>> {
        crate::attach::ensure(self, wanted)
    }

    /// What of ours hangs where.
    pub fn attached(&self) -> Result<Vec<Attached>, BpfError> {
        crate::attach::attached(&self.root)
    }

    /// [`Maps::reconcile`].
    pub fn reconcile(&mut self, wanted: &Contents) -> Result<Vec<Change>, Vec<BpfError>> {
        self.maps.reconcile(wanted)
    }

    /// [`Maps::read_counters`].
    pub fn read_counters(&self) -> Result<Counters, BpfError> {
        self.maps.read_counters()
    }

    /// [`Maps::read_reasons`].
    pub fn read_reasons(&self) -> Result<Reasons, BpfError> {
        self.maps.read_reasons()
    }

    /// [`Maps::dump`].
    pub fn dump(&self) -> Result<Dump, BpfError> {
        self.maps.dump()
    }

    /// The reading end of the events' ring.
    pub fn events(&self) -> Result<Events, BpfError> {
        Events::open(&self.root)
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// A program's descriptor and number.
    pub(crate) fn program(&self, program: Program) -> Result<(BorrowedFd<'_>, u32), BpfError> {
        let missing = |reason: String| BpfError::Load {
            what: program.name(),
            reason,
        };
        let loaded = self
            .programs
            .get(&program)
            .ok_or_else(|| missing("not loaded".to_owned()))?;
        let fd = loaded.program.fd().map_err(|error| missing(in_full(&error)))?;
        Ok((fd.as_fd(), loaded.id))
    }
}

impl Loaded {
    fn new(root: &Path, program: Program, object: &mut Ebpf) -> Result<Self, BpfError> {
        let name = program.name();
        let failed = |error: &dyn std::error::Error| BpfError::Load {
            what: name,
            reason: in_full(error),
        };
        let fresh = object.program_mut(name).ok_or_else(|| BpfError::Load {
            what: name,
            reason: "it is not in the object".to_owned(),
        })?;
        let fresh: &mut SchedClassifier = fresh.try_into().map_err(|error| failed(&error))?;
        fresh.load().map_err(|error| failed(&error))?;
        let info = fresh.info().map_err(|error| failed(&error))?;
        let path = pins::program(root, name);

        // The tag is a hash of the instructions, in which maps do not count.
        if let Ok(pinned) = SchedClassifier::from_pin(&path) {
            let old = pinned.info().map_err(|error| failed(&error))?;
            let mut maps = [&info, &old].map(aya::programs::ProgramInfo::map_ids);
            for ids in maps.iter_mut().flatten().flatten() {
                ids.sort_unstable();
            }
            if let [Ok(ours), Ok(theirs)] = &maps
                && ours == theirs
                && info.tag() == old.tag()
            {
                return Ok(Self {
                    id: old.id(),
                    program: pinned,
                });
            }
        }
        // Under another name first: at no time is there no program at the path.
        let new = pins::program(root, &format!("{name}_new"));
        pins::remove(&new)?;
        let fd = fresh.fd().map_err(|error| failed(&error))?;
        sys::pin(fd.as_fd(), &new).map_err(|source| pins::failed("pin", &new, source))?;
        fs::rename(&new, &path).map_err(|source| pins::failed("rename to", &path, source))?;
        let program = SchedClassifier::from_pin(&path).map_err(|error| failed(&error))?;
        Ok(Self { id: info.id(), program })
    }
}

/// The numbers of all maps and programs pinned under a root; `None` if one is missing, or is no such thing.
fn pinned(root: &Path) -> Option<Vec<u32>> {
    let maps = LAYOUTS
        .iter()
        .map(|layout| Some(layout.open(root).ok()??.info().ok()?.id()));
    let programs = Program::ALL.into_iter().map(|program| {
        let pinned = SchedClassifier::from_pin(pins::program(root, program.name())).ok()?;
        Some(pinned.info().ok()?.id())
    });
    maps.chain(programs).collect()
}

/// Takes everything of ours away: programs off the devices of this network namespace, links, programs, maps, the root folder, and the
/// folder above it if it is empty then.
///
/// # Errors
/// All that failed, after everything was tried.
pub fn remove_all(root: &Path) -> Result<(), Vec<BpfError>> {
    let mut errors = Vec::new();
    // Links first: what hangs on devices ends before what it works with.
    for folder in pins::FOLDERS.map(|folder| root.join(folder)) {
        match pins::files(&folder) {
            Ok(files) => errors.extend(files.iter().filter_map(|file| pins::remove(file).err())),
            Err(error) => errors.push(error),
        }
        errors.extend(remove_folder(&folder).err());
    }
    if let Err(more) = clsact::remove_all() {
        errors.extend(more);
    }
    errors.extend(remove_folder(root).err());
    // Others' folder, perhaps: it goes only if nothing is in it.
    if let Some(above) = root.parent() {
        drop(fs::remove_dir(above));
    }
    if errors.is_empty() { Ok(()) } else { Err(errors) }
}

fn remove_folder(path: &Path) -> Result<(), BpfError> {
    match fs::remove_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(pins::failed("remove folder", path, error)),
        _ => Ok(()),
    }
}
