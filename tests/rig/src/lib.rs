//! A real multi-node Kubernetes on one machine, for the tests and the demo.
//!
//! Real etcd, API server, controller manager, scheduler, and on every node a real kubelet, kube-proxy, containerd and runc.
//! A node is a set of namespaces (network, mount, PID, UTS, IPC) with an init of ours as its PID 1; a *hub* of the same kind
//! holds the control plane and the bridge that joins the nodes. All of a rig hangs on those few processes: when a namespace's
//! init ends, the kernel ends every process, mount and link in it. What is running is read from the process table and never
//! from a file of ours, so a rig that was killed half-way is found and cleared like any other.
//!
//! ```text
//!   root namespace ──veth──┐
//!                          │ bridge "underlay"
//!   hub: etcd, apiserver, ─┤
//!        controllers,      ├──veth── n1: containerd, kubelet, kube-proxy, pods
//!        scheduler         ├──veth── n2: …
//!                          └──veth── n3: …
//! ```
//!
//! Entry: [`Rig::up`] starts one, [`Rig::attach`] opens one that runs.

mod addresses;
mod binaries;
mod cgroups;
mod cluster_dns;
mod control_plane;
mod error;
mod fingerprint;
mod images;
pub mod init;
mod kubeconfig;
mod kubectl;
mod layout;
mod mounts;
mod namespaces;
mod network;
mod node;
mod pki;
mod processes;
mod progress;
mod rig;
mod sandbox;
mod spec;
mod waiting;
mod workloads;

pub use addresses::{Addresses, Endpoint};
pub use binaries::{Binaries, Containerd, Extra, build as build_binaries, cnitool, flanneld};
pub use error::{Error, Result};
pub use layout::{DIRECTORY_VARIABLE, NAME_VARIABLE, default_directory};
pub use node::{Node, Part};
pub use progress::{Progress, Silent, Stderr};
pub use rig::machine::check as check_machine;
pub use rig::{NodeStatus, Output, Rig, RigStatus};
pub use spec::{Cni, Families, ProxyMode, RigSpec};
pub use waiting::wait_until;
