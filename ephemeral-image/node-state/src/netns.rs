//! Network namespaces: finding those of pods, and working inside one.

use crate::{addresses::addresses, cgroup::pod_uid};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io,
    net::IpAddr,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::fs::{MetadataExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
    thread,
};

/// Where runtimes keep named namespaces, in the mount namespace of process 1 and in our own.
const NAMED: [&str; 4] = [
    "/proc/1/root/run/netns",
    "/proc/1/root/var/run/netns",
    "/run/netns",
    "/var/run/netns",
];

/// An open network namespace.
#[derive(Debug)]
pub struct Netns {
    /// `None` for the namespace this process is in, which needs no capability to work in.
    fd: Option<OwnedFd>,
    /// Its inode: equal inodes are the same namespace.
    inode: u64,
}

/// Why a namespace was not found or cannot be worked in.
#[derive(Debug, thiserror::Error)]
pub enum NetnsError {
    /// No process and no named namespace is the pod's.
    #[error("no process of the pod was found on this node, and none of its addresses in a named network namespace")]
    NotFound,
    /// The pod has processes, but their namespace cannot be opened.
    #[error("cannot open the network namespace of the pod's process {pid}: {source}")]
    OpenOfProcess {
        /// The process, as numbered in the reader's PID namespace.
        pid: u32,
        /// The error of the system call.
        source: io::Error,
    },
    /// A namespace file cannot be opened.
    #[error("cannot open network namespace {path}: {source}")]
    Open {
        /// The file.
        path: PathBuf,
        /// The error of the system call.
        source: io::Error,
    },
    /// The namespace is open, but may not be entered.
    #[error("cannot enter the network namespace: {0}")]
    Enter(io::Error),
    /// No thread could be started to enter it.
    #[error("cannot start a thread for the network namespace: {0}")]
    Thread(io::Error),
    /// The processes' list cannot be read.
    #[error("cannot list /proc: {0}")]
    Processes(io::Error),
}

impl Netns {
    /// The namespace of this process.
    pub fn own() -> Result<Self, NetnsError> {
        let inode = inode_of(Path::new("/proc/self/ns/net"))?;
        Ok(Self { fd: None, inode })
    }

    /// The namespace behind a file such as `/run/netns/NAME` or `/proc/PID/ns/net`.
    pub fn open(path: &Path) -> Result<Self, NetnsError> {
        let failed = |source| NetnsError::Open {
            path: path.to_owned(),
            source,
        };
        // A file of this name in a place that others write to may be a FIFO: not to be waited for.
        let file = File::options()
            .read(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(path)
            .map_err(failed)?;
        let inode = file.metadata().map_err(failed)?.ino();
        let fd = (inode != Self::own()?.inode).then(|| OwnedFd::from(file));
        Ok(Self { fd, inode })
    }

    /// Its inode: equal inodes are the same namespace.
    pub fn inode(&self) -> u64 {
        self.inode
    }

    /// Lends a descriptor of the namespace, as netlink's `IFLA_NET_NS_FD` wants it.
    pub(crate) fn with_fd<T>(&self, use_it: impl FnOnce(BorrowedFd<'_>) -> T) -> io::Result<T> {
        match &self.fd {
            Some(fd) => Ok(use_it(fd.as_fd())),
            None => Ok(use_it(File::open("/proc/self/ns/net")?.as_fd())),
        }
    }
}

/// Inode of the network namespace that the calling thread is in.
pub(crate) fn current_inode() -> io::Result<u64> {
    Ok(fs::metadata("/proc/thread-self/ns/net")?.ino())
}

fn inode_of(path: &Path) -> Result<u64, NetnsError> {
    let failed = |source| NetnsError::Open {
        path: path.to_owned(),
        source,
    };
    Ok(fs::metadata(path).map_err(failed)?.ino())
}

/// Runs `work` inside a namespace, on a thread made for it: the caller's thread never changes its namespace. Sockets made in `work` stay
/// in the namespace wherever they are used later.
pub fn within<T: Send>(netns: &Netns, work: impl FnOnce() -> T + Send) -> Result<T, NetnsError> {
    thread::scope(|scope| {
        let entered = move || match &netns.fd {
            None => Ok(work()),
            Some(fd) => move_into_link_name_space(fd.as_fd(), Some(LinkNameSpaceType::Network))
                .map(|()| work())
                .map_err(|errno| NetnsError::Enter(errno.into())),
        };
        let thread = thread::Builder::new()
            .name("in-netns".to_owned())
            .spawn_scoped(scope, entered)
            .map_err(NetnsError::Thread)?;
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// A pod whose namespace is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// The UID in its cgroup folder's name: the pod's, or a static pod's hash.
    pub uid: String,
    /// Its addresses, for when no process of it can be seen.
    pub ips: Vec<IpAddr>,
}

/// A pod's namespace.
#[derive(Debug)]
pub struct Found {
    /// The namespace.
    pub netns: Netns,
    /// What led to it.
    pub by: FoundBy,
}

/// What led to a namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FoundBy {
    /// The cgroups of the pod's processes, the one whose namespace it is first.
    Cgroup {
        /// The processes.
        pids: Vec<u32>,
    },
    /// An address of the pod in a named namespace.
    Address,
}

/// Finds the namespaces of many pods in one pass over `/proc` and at most one over the named namespaces; one outcome for each, in order.
pub fn find(wanted: &[Wanted]) -> Vec<Result<Found, NetnsError>> {
    let uids: BTreeSet<&str> = wanted.iter().map(|pod| pod.uid.as_str()).collect();
    let processes = processes_of(&uids);
    let host = inode_of(Path::new("/proc/1/ns/net")).ok();
    // Opened once, when the first pod needs it.
    let mut named = None;
    let mut outcomes = Vec::with_capacity(wanted.len());
    for pod in wanted {
        let by_process = match &processes {
            Ok(processes) => match processes.get(pod.uid.as_str()) {
                Some(pids) => by_processes(pod, pids, host),
                None => Err(NetnsError::NotFound),
            },
            Err(error) => Err(NetnsError::Processes(io::Error::new(error.kind(), error.to_string()))),
        };
        outcomes.push(by_process.or_else(|error| {
            let named = named.get_or_insert_with(named_namespaces);
            match by_address(pod, named) {
                Some(path) => Netns::open(path).map(|netns| Found {
                    netns,
                    by: FoundBy::Address,
                }),
                None => Err(error),
            }
        }));
    }
    outcomes
}

/// Processes of the pods, by UID, in ascending order.
fn processes_of<'a>(uids: &BTreeSet<&'a str>) -> io::Result<BTreeMap<&'a str, Vec<u32>>> {
    let mut processes: BTreeMap<&str, Vec<u32>> = BTreeMap::new();
    for entry in fs::read_dir("/proc")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        // A process may be gone by now, or hidden: then it is not the one that helps.
        if let Some(uid) = uid_of_process(pid).as_deref().and_then(|uid| uids.get(uid)) {
            processes.entry(uid).or_default().push(pid);
        }
    }
    for pids in processes.values_mut() {
        pids.sort_unstable();
    }
    Ok(processes)
}

fn uid_of_process(pid: u32) -> Option<String> {
    pod_uid(&fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?)
}

/// Chooses among the namespaces of a pod's processes: the host's only if there is no other; among several others (a pod that makes
/// namespaces itself) the one that holds the pod's address, else that of the oldest process.
fn by_processes(pod: &Wanted, pids: &[u32], host: Option<u64>) -> Result<Found, NetnsError> {
    let mut failure = NetnsError::NotFound;
    let mut candidates: Vec<(u32, Netns)> = Vec::new();
    for &pid in pids {
        match Netns::open(Path::new(&format!("/proc/{pid}/ns/net"))) {
            // The number may have gone to another process since the list was made.
            Ok(netns) if uid_of_process(pid).as_deref() == Some(&pod.uid) => {
                if candidates.iter().all(|(_, known)| known.inode != netns.inode) {
                    candidates.push((pid, netns));
                }
            }
            Err(NetnsError::Open { source, .. }) if source.kind() != io::ErrorKind::NotFound => {
                failure = NetnsError::OpenOfProcess { pid, source };
            }
            Ok(_) | Err(_) => {}
        }
    }
    if candidates.iter().any(|(_, netns)| Some(netns.inode) != host) {
        candidates.retain(|(_, netns)| Some(netns.inode) != host);
    }
    let chosen = match candidates.len() {
        0 | 1 => 0,
        _ => candidates
            .iter()
            .position(|(_, netns)| holds_any(netns, &pod.ips))
            .unwrap_or(0),
    };
    if candidates.is_empty() {
        return Err(failure);
    }
    let (first, netns) = candidates.swap_remove(chosen);
    let others = pids.iter().copied().filter(|&pid| pid != first);
    let pids = [first].into_iter().chain(others).collect();
    Ok(Found {
        netns,
        by: FoundBy::Cgroup { pids },
    })
}

fn holds_any(netns: &Netns, ips: &[IpAddr]) -> bool {
    let here = within(netns, addresses);
    matches!(here, Ok(Ok(here)) if here.iter().any(|address| ips.contains(&address.ip)))
}

/// The addresses of every named namespace that can be read.
fn named_namespaces() -> Vec<(PathBuf, Vec<IpAddr>)> {
    let mut seen = BTreeSet::new();
    let mut namespaces = Vec::new();
    for path in NAMED
        .iter()
        .filter_map(|folder| fs::read_dir(folder).ok())
        .flatten()
        .flatten()
    {
        let path = path.path();
        let Ok(netns) = Netns::open(&path) else { continue };
        if seen.insert(netns.inode)
            && let Ok(Ok(here)) = within(&netns, addresses)
        {
            namespaces.push((path, here.into_iter().map(|address| address.ip).collect()));
        }
    }
    namespaces
}

fn by_address<'a>(pod: &Wanted, named: &'a [(PathBuf, Vec<IpAddr>)]) -> Option<&'a Path> {
    let holds = |here: &[IpAddr]| here.iter().any(|ip| pod.ips.contains(ip));
    named
        .iter()
        .find(|(_, here)| holds(here))
        .map(|(path, _)| path.as_path())
}
