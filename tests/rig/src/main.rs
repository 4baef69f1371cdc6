//! `netcheck-rig`: the command line of the rig.

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand, ValueEnum};
use netcheck_rig::{
    Cni, Extra, Families, NAME_VARIABLE, Part, ProxyMode, Rig, RigSpec, Stderr, build_binaries, default_directory,
};
use std::{
    ffi::OsString,
    io::{Write, stderr, stdout},
    path::PathBuf,
    process::{Command, ExitCode},
};

/// A real multi-node Kubernetes on one machine
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Name of the rig; two rigs of different names run side by side
    #[arg(long, global = true, default_value = "default", env = NAME_VARIABLE)]
    name: String,
    /// Where the rig keeps its files [default: $NETCHECK_RIG_DIR, else target/rig, or target/rig-NAME]
    #[arg(long, global = true, value_name = "DIRECTORY")]
    dir: Option<PathBuf>,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Bring the rig up; finds it up already, mends it, or builds it
    Up {
        /// Number of nodes
        #[arg(long, default_value_t = 3)]
        nodes: u8,
        /// IP families of nodes, pods and Services
        #[arg(long, value_enum, default_value_t = FamiliesArgument::Dual)]
        families: FamiliesArgument,
        /// How kube-proxy programs Services
        #[arg(long, value_enum, default_value_t = ProxyArgument::Iptables)]
        proxy: ProxyArgument,
        /// Network plugin of the pods
        #[arg(long, value_enum, default_value_t = CniArgument::Bundled)]
        cni: CniArgument,
        /// A key of the bundled CNI's configuration, for example underlay=ipv6; may be given several times
        #[arg(long, value_name = "KEY=VALUE", value_parser = setting)]
        cni_set: Vec<(String, String)>,
        /// A node whose containerd is of version 2; may be given several times
        #[arg(long, value_name = "NODE")]
        containerd2: Vec<String>,
        /// Also run the shop: web, api and db with their Services
        #[arg(long)]
        shop: bool,
    },
    /// Take the rig down, in whatever state it is; only logs stay
    Down,
    /// Say what runs; exit code 1 if not all of it does
    Status,
    /// List the nodes and their addresses
    Nodes,
    /// Build Kubernetes, CoreDNS and the pods' workload, if they are not built
    Build,
    /// Run a command in a node's namespaces
    Exec {
        /// Name of the node
        node: String,
        /// The command and its arguments
        #[arg(last = true, required = true)]
        command: Vec<OsString>,
    },
    /// Run a command of this machine's in a pod's network namespace
    PodExec {
        /// The pod
        #[arg(value_name = "NAMESPACE/POD")]
        pod: String,
        /// The command and its arguments
        #[arg(last = true, required = true)]
        command: Vec<OsString>,
    },
    /// Work with images
    #[command(subcommand)]
    Image(ImageVerb),
    /// Add, remove, boot or move a node
    #[command(subcommand)]
    Node(NodeVerb),
    /// Stop, start or kill a part of a node
    #[command(subcommand)]
    Part(PartVerb),
    /// Start plain pods that serve TCP port 8080, spread over the nodes, and wait until they are ready
    Pods {
        /// How many
        count: usize,
        /// Their namespace
        #[arg(short, long, default_value = "pods")]
        namespace: String,
        /// What their names begin with
        #[arg(long, default_value = "pod")]
        prefix: String,
    },
    /// Print the path of a kubeconfig for a new user who may do nothing yet
    User {
        /// Name of the user
        user: String,
        /// Group of the user
        #[arg(long)]
        group: Option<String>,
    },
    /// Be the init of a sandbox
    #[command(hide = true)]
    SandboxInit {
        /// The rig it belongs to
        directory: PathBuf,
        /// Name of the sandbox
        sandbox: String,
    },
}

#[derive(Subcommand)]
enum ImageVerb {
    /// Load an archive (OCI layout or docker save) into every node
    Load {
        /// The archive
        file: PathBuf,
    },
}

#[derive(Subcommand)]
enum NodeVerb {
    /// Add a node and wait until it is Ready
    Add,
    /// Remove a node
    Remove {
        /// Its name
        node: String,
    },
    /// Cut its power, start it again, and wait until it is Ready
    Reboot {
        /// Its name
        node: String,
    },
    /// Give it other addresses, or its first ones again, and wait until it is Ready
    Readdress {
        /// Its name
        node: String,
    },
}

#[derive(Subcommand)]
enum PartVerb {
    /// Ask it to end
    Stop(PartArguments),
    /// Start it, if it does not run
    Start(PartArguments),
    /// Kill it
    Kill(PartArguments),
}

#[derive(clap::Args)]
struct PartArguments {
    /// Name of the node
    node: String,
    /// Which part
    #[arg(value_enum)]
    part: PartArgument,
}

#[derive(Clone, Copy, ValueEnum)]
enum FamiliesArgument {
    V4,
    V6,
    Dual,
}

#[derive(Clone, Copy, ValueEnum)]
enum ProxyArgument {
    Iptables,
    Nftables,
}

#[derive(Clone, Copy, ValueEnum)]
enum CniArgument {
    Bundled,
    Plain,
    Flannel,
    None,
}

#[derive(Clone, Copy, ValueEnum)]
enum PartArgument {
    Containerd,
    Kubelet,
    KubeProxy,
    Flanneld,
}

impl From<PartArgument> for Part {
    fn from(argument: PartArgument) -> Self {
        match argument {
            PartArgument::Containerd => Self::Containerd,
            PartArgument::Kubelet => Self::Kubelet,
            PartArgument::KubeProxy => Self::KubeProxy,
            PartArgument::Flanneld => Self::Flanneld,
        }
    }
}

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(code) => code,
        Err(error) => {
            // Nothing is left to do for who closed stderr.
            let _ = writeln!(stderr(), "error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn setting(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("it is not of the form KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}

fn run(arguments: Arguments) -> Result<ExitCode> {
    let directory = arguments.dir.unwrap_or_else(|| default_directory(&arguments.name));
    let progress = Stderr::start();
    let attach = || Rig::attach(&directory);
    match arguments.verb {
        Verb::Up {
            nodes,
            families,
            proxy,
            cni,
            cni_set,
            containerd2,
            shop,
        } => {
            let spec = RigSpec {
                name: arguments.name,
                nodes,
                families: match families {
                    FamiliesArgument::V4 => Families::V4,
                    FamiliesArgument::V6 => Families::V6,
                    FamiliesArgument::Dual => Families::Dual,
                },
                proxy_mode: match proxy {
                    ProxyArgument::Iptables => ProxyMode::Iptables,
                    ProxyArgument::Nftables => ProxyMode::Nftables,
                },
                cni: match cni {
                    CniArgument::Bundled => Cni::Bundled,
                    CniArgument::Plain => Cni::Plain,
                    CniArgument::Flannel => Cni::Flannel,
                    CniArgument::None => Cni::None,
                },
                cni_settings: cni_set.into_iter().collect(),
                containerd2: containerd2.into_iter().collect(),
            };
            let rig = Rig::up_in(&directory, &spec, &progress)?;
            if shop {
                rig.open_shop()?;
            }
        }
        Verb::Down => Rig::down_in(&directory, &progress)?,
        Verb::Status => return status(&attach()?),
        Verb::Nodes => {
            for node in attach()?.nodes() {
                let addresses: Vec<_> = node.addresses().iter().map(ToString::to_string).collect();
                writeln!(stdout(), "{}\t{}", node.name(), addresses.join(",")).context("print the nodes")?;
            }
        }
        Verb::Build => {
            build_binaries(
                Extra {
                    containerd2: true,
                    flanneld: true,
                },
                &progress,
            )?;
        }
        Verb::Exec { node, command } => {
            let mut child = attach()?.node(&node)?.spawn(command_of(&command))?;
            return exit_code(child.wait().context("wait for the command")?);
        }
        Verb::PodExec { pod, command } => {
            let Some((namespace, name)) = pod.split_once('/') else {
                bail!("{pod:?} is no pod; say NAMESPACE/POD");
            };
            let mut child = attach()?.pod_spawn(namespace, name, command_of(&command))?;
            return exit_code(child.wait().context("wait for the command")?);
        }
        Verb::Image(ImageVerb::Load { file }) => attach()?.image_load(&file)?,
        Verb::Node(NodeVerb::Add) => {
            let node = attach()?.add_node(&progress)?;
            writeln!(stdout(), "{}", node.name()).context("print the node")?;
        }
        Verb::Node(NodeVerb::Remove { node }) => attach()?.remove_node(&node)?,
        Verb::Node(NodeVerb::Reboot { node }) => attach()?.reboot_node(&node, &progress)?,
        Verb::Node(NodeVerb::Readdress { node }) => attach()?.readdress_node(&node, &progress)?,
        Verb::Part(verb) => {
            let (PartVerb::Stop(which) | PartVerb::Start(which) | PartVerb::Kill(which)) = &verb;
            let node = attach()?.node(&which.node)?;
            let part = which.part.into();
            match verb {
                PartVerb::Stop(_) => node.stop_part(part)?,
                PartVerb::Start(_) => node.start_part(part)?,
                PartVerb::Kill(_) => node.kill_part(part)?,
            }
        }
        Verb::Pods {
            count,
            namespace,
            prefix,
        } => attach()?.start_plain_pods(&namespace, &prefix, count)?,
        Verb::User { user, group } => {
            let path = attach()?.kubeconfig_for_user(&user, group.as_deref())?;
            writeln!(stdout(), "{}", path.display()).context("print the kubeconfig's path")?;
        }
        Verb::SandboxInit { .. } => match netcheck_rig::init::run()? {},
    }
    Ok(ExitCode::SUCCESS)
}

fn command_of(words: &[OsString]) -> Command {
    let mut command = Command::new(words.first().map_or("true".as_ref(), OsString::as_os_str));
    command.args(words.iter().skip(1));
    command
}

/// The command's own code; a signal's number plus 128, as shells say it.
fn exit_code(status: std::process::ExitStatus) -> Result<ExitCode> {
    use std::os::unix::process::ExitStatusExt;
    let code = status
        .code()
        .or_else(|| status.signal().map(|signal| signal + 128))
        .unwrap_or(1);
    Ok(ExitCode::from(
        u8::try_from(code).context("read the command's exit code")?,
    ))
}

fn status(rig: &Rig) -> Result<ExitCode> {
    let status = rig.status();
    let list = |parts: &[(String, bool)]| {
        let words = parts.iter().map(|(name, runs)| {
            if *runs {
                name.clone()
            } else {
                format!("{name} (not running)")
            }
        });
        words.collect::<Vec<_>>().join(", ")
    };
    let mut out = stdout();
    writeln!(out, "{}", status.directory.display()).context("print the status")?;
    writeln!(out, "hub\t{}", list(&status.control_plane)).context("print the status")?;
    for node in &status.nodes {
        writeln!(out, "{}\t{}", node.name, list(&node.parts)).context("print the status")?;
    }
    Ok(if status.is_whole() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
