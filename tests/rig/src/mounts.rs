//! What a sandbox sees of the file system. Everything here runs inside the sandbox's new mount namespace: the machine's own
//! mounts and files are not touched.

use crate::{Result, error::Context};
use rustix::mount::{
    MountFlags, MountPropagationFlags, mount, mount_bind, mount_bind_recursive, mount_change, mount_move,
};
use std::{
    ffi::CString,
    fs::{self, File},
    path::{Path, PathBuf},
};

/// Where Debian's `containernetworking-plugins` puts the reference CNI plugins.
pub const CNI_PLUGINS: &str = "/usr/lib/cni";

/// A node's lasting folders and the files that differ from node to node.
pub struct NodeFiles {
    /// On-disk home of the node's containerd, kubelet and pod logs.
    pub home: PathBuf,
    /// containerd's `certs.d`, shared by all nodes.
    pub registries: PathBuf,
    /// Content of `/etc/hosts`.
    pub hosts: String,
    /// Content of `/etc/hostname`.
    pub hostname: String,
}

/// Cuts the tie to the machine's mounts, and gives the sandbox its own `/run` and `/sys`.
pub fn isolate() -> Result<()> {
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .context("make the sandbox's mounts private")?;
    tmpfs("/run")?;
    // A fresh sysfs shows this network namespace's devices; the cgroup hierarchies below the old one are kept.
    create("/run/.cgroup")?;
    mount_bind_recursive("/sys/fs/cgroup", "/run/.cgroup").context("set the cgroup mounts aside")?;
    let plain = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount("sysfs", "/sys", "sysfs", plain, None).context("mount the sandbox's /sys")?;
    mount_move("/run/.cgroup", "/sys/fs/cgroup").context("move the cgroup mounts back")?;
    fs::remove_dir("/run/.cgroup").context("remove /run/.cgroup")?;
    mount("bpf", "/sys/fs/bpf", "bpf", plain, None).context("mount the sandbox's own bpffs")?;
    for (kind, target) in [("tracefs", "/sys/kernel/tracing"), ("debugfs", "/sys/kernel/debug")] {
        // Kernels without them lack nothing that pods need.
        let _ = mount(kind, target, kind, plain, None);
    }
    Ok(())
}

/// Gives a node its own `/etc`, `/opt` and `/var` over the machine's, its lasting folders, and shares all of it among the
/// node's own mount namespaces, so that what a pod mounts with `Bidirectional` propagation reaches the others.
pub fn furnish(node: &NodeFiles) -> Result<()> {
    for (source, target) in [
        (node.home.join("containerd"), "/run/.home/containerd"),
        (node.home.join("kubelet"), "/run/.home/kubelet"),
        (node.home.join("pod-logs"), "/run/.home/pod-logs"),
        // Not the overlay's: whatever CNI the machine itself has configured is not this node's. And on disk: a boot leaves them.
        (node.home.join("etc-cni"), "/run/.home/etc-cni"),
        (node.home.join("opt-cni"), "/run/.home/opt-cni"),
        (node.home.join("var-lib-cni"), "/run/.home/var-lib-cni"),
        (node.registries.clone(), "/run/.home/registries"),
    ] {
        create(&source)?;
        bind(&source, target)?;
    }
    for folder in ["etc", "opt", "var"] {
        overlay(folder)?;
    }
    for (source, target) in [
        ("/run/.home/containerd", "/var/lib/containerd"),
        ("/run/.home/kubelet", "/var/lib/kubelet"),
        ("/run/.home/pod-logs", "/var/log/pods"),
        ("/run/.home/registries", "/etc/containerd/certs.d"),
        ("/run/.home/etc-cni", "/etc/cni"),
        ("/run/.home/opt-cni", "/opt/cni"),
        ("/run/.home/var-lib-cni", "/var/lib/cni"),
    ] {
        create(target)?;
        mount_move(source, target).context(format!("move {source} to {target}"))?;
    }
    create("/etc/cni/net.d")?;
    create("/opt/cni/bin")?;
    for plugin in fs::read_dir(CNI_PLUGINS).context(format!("list {CNI_PLUGINS}"))? {
        let plugin = plugin.context(format!("list {CNI_PLUGINS}"))?;
        let place = Path::new("/opt/cni/bin").join(plugin.file_name());
        // No link: what a pod mounts of this folder must hold the programs themselves.
        File::create(&place).context(format!("create {}", place.display()))?;
        mount_bind(plugin.path(), &place).context(format!("put {} in place", place.display()))?;
    }
    write("/etc/hosts", &node.hosts)?;
    write("/etc/hostname", &node.hostname)?;
    write("/etc/resolv.conf", "# The rig has no resolver outside the cluster.\n")?;
    create("/run/netns")?;
    mount_bind("/run/netns", "/run/netns").context("make /run/netns a mount")?;
    create("/run/lock")?;
    mount_change("/", MountPropagationFlags::SHARED | MountPropagationFlags::REC)
        .context("share mounts within the node")
}

/// Kernel settings of the whole machine that every kubelet wants, and would otherwise write (`setupKernelTunables` in its
/// container manager).
const WANTED_BY_KUBELET: [(&str, &str); 6] = [
    ("vm/overcommit_memory", "1"),
    ("vm/panic_on_oom", "0"),
    ("kernel/panic", "10"),
    ("kernel/panic_on_oops", "1"),
    ("kernel/keys/root_maxkeys", "1000000"),
    ("kernel/keys/root_maxbytes", "25000000"),
];

/// What kubelet knows a boot by.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// Mounts `/proc` for the PID namespace of the calling process. Over the machine-wide settings that kubelet insists on lie
/// files that already say what it wants, so it leaves the machine's own alone; and each start of a sandbox is a boot of its own.
pub fn mount_proc() -> Result<()> {
    mount(
        "proc",
        "/proc",
        "proc",
        MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC,
        None,
    )
    .context("mount /proc of a sandbox")?;
    create("/run/.sysctl")?;
    for (setting, value) in WANTED_BY_KUBELET {
        let stand_in = format!("/run/.sysctl/{}", setting.replace('/', "."));
        write(&stand_in, &format!("{value}\n"))?;
        let target = format!("/proc/sys/{setting}");
        mount_bind(&stand_in, &target).context(format!("cover {target}"))?;
    }
    let fresh = "/proc/sys/kernel/random/uuid";
    let boot_id = fs::read_to_string(fresh).context(format!("read {fresh}"))?;
    write("/run/.sysctl/boot_id", &boot_id)?;
    mount_bind("/run/.sysctl/boot_id", BOOT_ID).context(format!("cover {BOOT_ID}"))
}

fn create(directory: impl AsRef<Path>) -> Result<()> {
    let directory = directory.as_ref();
    fs::create_dir_all(directory).context(format!("create {}", directory.display()))
}

/// Replaces a file, or a symlink that leads somewhere else.
fn write(path: &str, content: &str) -> Result<()> {
    let _ = fs::remove_file(path);
    fs::write(path, content).context(format!("write {path}"))
}

fn bind(source: &Path, target: &str) -> Result<()> {
    create(target)?;
    mount_bind(source, target).context(format!("bind {} to {target}", source.display()))
}

fn tmpfs(target: &str) -> Result<()> {
    create(target)?;
    let mode = CString::from(c"mode=755");
    mount(
        "tmpfs",
        target,
        "tmpfs",
        MountFlags::NOSUID | MountFlags::NODEV,
        mode.as_c_str(),
    )
    .context(format!("mount a tmpfs on {target}"))
}

/// Lays a writable layer in memory over a folder of the machine's.
fn overlay(folder: &str) -> Result<()> {
    let upper = format!("/run/.overlay/{folder}/upper");
    let work = format!("/run/.overlay/{folder}/work");
    create(&upper)?;
    create(&work)?;
    let options = CString::new(format!("lowerdir=/{folder},upperdir={upper},workdir={work}"))
        .context(format!("name the layers of /{folder}"))?;
    mount(
        "overlay",
        format!("/{folder}"),
        "overlay",
        MountFlags::empty(),
        options.as_c_str(),
    )
    .context(format!("lay an overlay on /{folder}"))
}
