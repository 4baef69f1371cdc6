//! Hanging programs on devices: exactly one of ours on each hook, none elsewhere.

use crate::{
    bpf::Bpf,
    clsact::{self, Filter},
    error::BpfError,
    pins,
    sys::{self, TcxSide},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    os::fd::AsFd,
    path::Path,
};

/// The programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Program {
    /// Host's end of a pod's veth, ingress.
    PodFrom,
    /// Host's end of a pod's veth, egress.
    PodTo,
    /// `ncvx0`, egress.
    VxOut,
    /// `ncvx0`, ingress.
    VxIn,
    /// The uplink, egress.
    UlOut,
    /// The uplink, ingress.
    UlIn,
}

impl Program {
    /// All of them, in the order of an event's hook.
    pub const ALL: [Self; 6] = [
        Self::PodFrom,
        Self::PodTo,
        Self::VxOut,
        Self::VxIn,
        Self::UlOut,
        Self::UlIn,
    ];

    /// Its name in the kernel.
    pub const fn name(self) -> &'static str {
        match self {
            Self::PodFrom => "nc_pod_from",
            Self::PodTo => "nc_pod_to",
            Self::VxOut => "nc_vx_out",
            Self::VxIn => "nc_vx_in",
            Self::UlOut => "nc_ul_out",
            Self::UlIn => "nc_ul_in",
        }
    }

    /// Whether it hangs where packets come into the namespace.
    pub const fn is_ingress(self) -> bool {
        matches!(self, Self::PodFrom | Self::VxIn | Self::UlIn)
    }

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|program| program.name() == name)
    }

    fn tcx_side(self) -> TcxSide {
        if self.is_ingress() {
            TcxSide::Ingress
        } else {
            TcxSide::Egress
        }
    }
}

/// A place for a program.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hook {
    /// The device's name.
    pub device: String,
    /// The device's number.
    pub ifindex: u32,
    /// What must hang there; which side it is follows from it.
    pub program: Program,
}

/// How programs are hung on devices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hooking {
    /// By TCX links, since Linux 6.6.
    Tcx,
    /// By filters of the clsact qdisc.
    Clsact,
}

impl Hooking {
    /// The way that this kernel has.
    pub fn of_this_kernel() -> Self {
        if sys::has_tcx() { Self::Tcx } else { Self::Clsact }
    }
}

/// A change made to hooks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AttachChange {
    /// The hook had no program of ours.
    Attached(Hook),
    /// The hook had an older one.
    Replaced(Hook),
    /// What hung where nothing of ours must hang was taken off: a link's pin, or device and program.
    Detached(String),
}

/// Something of ours that hangs, or hung, on a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attached {
    /// A link's pin, or the program's name.
    pub name: String,
    /// The device; 0: it is gone.
    pub ifindex: u32,
    /// Where packets come in, or where they go out.
    pub is_ingress: bool,
    /// The program's number.
    pub program_id: u32,
    /// How it hangs there.
    pub hooking: Hooking,
}

/// What was done, and what failed.
#[derive(Default)]
struct Done {
    changes: Vec<AttachChange>,
    errors: Vec<BpfError>,
}

impl Done {
    fn note(&mut self, outcome: Result<Option<AttachChange>, BpfError>) {
        match outcome {
            Ok(change) => self.changes.extend(change),
            Err(error) => self.errors.push(error),
        }
    }

    fn detached(&mut self, name: String, outcome: Result<(), BpfError>) {
        self.note(outcome.map(|()| Some(AttachChange::Detached(name))));
    }
}

pub(crate) fn ensure(bpf: &Bpf, wanted: &[Hook]) -> Result<Vec<AttachChange>, Vec<BpfError>> {
    let mut done = Done::default();
    let result = match bpf.hooking() {
        Hooking::Tcx => {
            // What an earlier process hung the other way would count everything twice.
            detach_filters(&mut done, &BTreeSet::new()).and_then(|()| ensure_links(bpf, wanted, &mut done))
        }
        Hooking::Clsact => {
            detach_links(bpf.root(), &BTreeMap::new(), &mut done).and_then(|()| ensure_filters(bpf, wanted, &mut done))
        }
    };
    done.errors.extend(result.err());
    if done.errors.is_empty() {
        Ok(done.changes)
    } else {
        Err(done.errors)
    }
}

fn ensure_links(bpf: &Bpf, wanted: &[Hook], done: &mut Done) -> Result<(), BpfError> {
    let mut pins: BTreeMap<String, &Hook> = BTreeMap::new();
    for hook in wanted {
        let pin = pins::link_name(&hook.device, hook.program.is_ingress());
        match pins.get(&pin) {
            Some(other) if other.device != hook.device => {
                done.errors.push(BpfError::PinNameTaken {
                    first: other.device.clone(),
                    second: hook.device.clone(),
                    pin,
                });
            }
            _ => {
                pins.insert(pin, hook);
            }
        }
    }
    detach_links(bpf.root(), &pins, done)?;
    for (pin, hook) in pins {
        done.note(ensure_link(bpf, &pins::links(bpf.root()).join(pin), hook));
    }
    Ok(())
}

fn ensure_link(bpf: &Bpf, pin: &Path, hook: &Hook) -> Result<Option<AttachChange>, BpfError> {
    let (program, id) = bpf.program(hook.program)?;
    let failed = |source| BpfError::Attach {
        program: hook.program.name(),
        device: hook.device.clone(),
        source,
    };
    let side = hook.program.tcx_side();
    if pin.exists() {
        let link = sys::get(pin).map_err(|source| pins::failed("open", pin, source))?;
        let found = sys::tcx_link(link.as_fd()).map_err(|source| pins::failed("ask", pin, source))?;
        match found.filter(|link| link.ifindex == hook.ifindex && link.side == side as u32) {
            Some(link) if link.program_id == id => return Ok(None),
            Some(_) => {
                sys::replace_program(link.as_fd(), program).map_err(failed)?;
                return Ok(Some(AttachChange::Replaced(hook.clone())));
            }
            // Dead, or of a device that had the name before.
            None => pins::remove(pin)?,
        }
    }
    let link = sys::attach_tcx(program, hook.ifindex, side).map_err(failed)?;
    sys::pin(link.as_fd(), pin).map_err(|source| pins::failed("pin", pin, source))?;
    Ok(Some(AttachChange::Attached(hook.clone())))
}

/// Removes the pins of links that are not wanted; those of devices that are gone are among them.
fn detach_links(root: &Path, wanted: &BTreeMap<String, &Hook>, done: &mut Done) -> Result<(), BpfError> {
    for path in pins::files(&pins::links(root))? {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if !wanted.contains_key(&name) {
            done.detached(name, pins::remove(&path));
        }
    }
    Ok(())
}

fn ensure_filters(bpf: &Bpf, wanted: &[Hook], done: &mut Done) -> Result<(), BpfError> {
    let places = wanted.iter().map(|hook| (hook.ifindex, hook.program.is_ingress()));
    detach_filters(done, &places.collect())?;
    for hook in wanted {
        let mut errors = Vec::new();
        done.note(ensure_filter(bpf, hook, &mut errors));
        done.errors.extend(errors);
    }
    Ok(())
}

fn ensure_filter(bpf: &Bpf, hook: &Hook, errors: &mut Vec<BpfError>) -> Result<Option<AttachChange>, BpfError> {
    let (program, id) = bpf.program(hook.program)?;
    let is_ingress = hook.program.is_ingress();
    clsact::ensure_qdisc(hook.ifindex, &hook.device)?;
    let (ours, others): (Vec<_>, Vec<_>) = clsact::filters(hook.ifindex, is_ingress)?
        .into_iter()
        .filter(Filter::is_at_our_preference)
        .partition(Filter::is_ours);
    if let Some(other) = others.into_iter().next() {
        return Err(BpfError::FilterTaken {
            device: hook.device.clone(),
            pref: clsact::PREFERENCE,
            name: other.program_name,
        });
    }
    // Ours has one handle; whatever else bears our name there is one too many.
    let (proper, extra): (Vec<_>, Vec<_>) = ours.into_iter().partition(Filter::has_our_handle);
    errors.extend(extra.iter().filter_map(|filter| clsact::remove(filter).err()));
    match proper.first() {
        Some(filter) if filter.program_id == id => Ok(None),
        found => {
            clsact::put(hook.ifindex, is_ingress, program, hook.program.name(), &hook.device)?;
            Ok(Some(if found.is_some() {
                AttachChange::Replaced(hook.clone())
            } else {
                AttachChange::Attached(hook.clone())
            }))
        }
    }
}

/// Removes filters of ours from places where none must be.
fn detach_filters(done: &mut Done, wanted: &BTreeSet<(u32, bool)>) -> Result<(), BpfError> {
    for filter in clsact::ours()? {
        if !wanted.contains(&(filter.ifindex, filter.is_ingress)) {
            let name = format!("{} at device {}", filter.program_name, filter.ifindex);
            let outcome = clsact::remove(&filter).and_then(|()| clsact::remove_qdisc_if_empty(filter.ifindex));
            done.detached(name, outcome);
        }
    }
    Ok(())
}

pub(crate) fn attached(root: &Path) -> Result<Vec<Attached>, BpfError> {
    let mut all = Vec::new();
    for path in pins::files(&pins::links(root))? {
        let link = sys::get(&path).map_err(|source| pins::failed("open", &path, source))?;
        let found = sys::tcx_link(link.as_fd()).map_err(|source| pins::failed("ask", &path, source))?;
        if let Some(link) = found {
            all.push(Attached {
                name: path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
                ifindex: link.ifindex,
                is_ingress: link.side == TcxSide::Ingress as u32,
                program_id: link.program_id,
                hooking: Hooking::Tcx,
            });
        }
    }
    all.extend(clsact::ours()?.into_iter().map(|filter| Attached {
        name: filter.program_name,
        ifindex: filter.ifindex,
        is_ingress: filter.is_ingress,
        program_id: filter.program_id,
        hooking: Hooking::Clsact,
    }));
    Ok(all)
}
