//! `cni install`: looks whether the bundled CNI may come, renders its objects, applies them, and waits if asked.

use super::{
    apply::{self, Change},
    config::{self, Data},
    decide::{self, Wish},
    follow, lock, manifest, scene,
};
use crate::{
    agents::{ImageChoice, image},
    cluster::Cluster,
    exit::{Exit, Failure},
    flags::duration,
    output::{self, Explained, Format, Table},
    verbs::Shared,
};
use clap::{Args, ValueEnum};
use ipnet::IpNet;
use std::time::Duration;

/// The longest that applying may take before somebody else may think it dead.
const APPLIED_WITHIN: Duration = Duration::from_mins(3);

/// Arguments of `cni install`.
#[derive(Debug, Clone, Args)]
#[command(after_long_help = "\
A second installation keeps what was tuned in the ConfigMap, and brings this plugin's version of the rest. NetworkPolicies are not enforced.

Examples:
  # What would be applied, to look at or to keep in a repository
  kubectl netcheck cni install --dry-run

  # Install, and follow it until every node has a network
  kubectl netcheck cni install --wait

  # Routes instead of a tunnel between nodes on one link
  kubectl netcheck cni install --backend host-gw")]
pub struct InstallArgs {
    /// Way between nodes [default: vxlan, or what is installed]
    #[arg(long, value_enum)]
    backend: Option<Backend>,
    /// Upper limit of the pods' MTU in bytes, inside the tunnel; 0 is none
    #[arg(long, value_name = "BYTES", value_parser = mtu)]
    mtu: Option<u32>,
    /// Pod range of the whole cluster, one of each IP family (default: as the control plane or the nodes tell)
    #[arg(long, value_name = "CIDR", value_delimiter = ',', value_parser = pod_cidr)]
    pod_cidr: Vec<IpNet>,
    /// Another key of the configuration, see bundled-cni/SPEC.md; may be given several times
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Image of daemon and plugin (default: the one that belongs to this plugin)
    #[arg(long, value_name = "REFERENCE")]
    image: Option<String>,
    /// Registry, and path in it, that mirrors the image
    #[arg(long, value_name = "PREFIX", conflicts_with = "image")]
    image_prefix: Option<String>,
    /// Secret in namespace netcheck-cni to pull the image with; may be given several times
    #[arg(long, value_name = "NAME")]
    image_pull_secret: Vec<String>,
    /// API server as nodes reach it, where the Service kubernetes does not work before there is a pod network
    #[arg(long, value_name = "HOST:PORT", value_parser = host_and_port)]
    api_server: Option<(String, u16)>,
    /// Install although another network is, or was, there and does not show itself as a DaemonSet
    #[arg(long, visible_alias = "force")]
    replace: bool,
    /// Follow the nodes until each is ready and has applied the configuration
    #[arg(long, value_name = "TIMEOUT", num_args = 0..=1, require_equals = true, default_missing_value = "5m", value_parser = duration::parse)]
    wait: Option<Duration>,
}

/// `backend` of the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Backend {
    /// A tunnel
    Vxlan,
    /// Routes, which all nodes on one link can have
    HostGw,
    /// Routes where nodes share a link, else a tunnel
    Auto,
}

impl Backend {
    fn word(self) -> &'static str {
        match self {
            Self::Vxlan => "vxlan",
            Self::HostGw => "host-gw",
            Self::Auto => "auto",
        }
    }
}

fn mtu(text: &str) -> Result<u32, String> {
    let within = |mtu: &u32| *mtu == 0 || (576..=65535).contains(mtu);
    text.parse()
        .ok()
        .filter(within)
        .ok_or_else(|| "0 for no limit, or 576 to 65535".to_owned())
}

fn pod_cidr(text: &str) -> Result<IpNet, String> {
    let cidr: IpNet = text
        .parse()
        .map_err(|_| "write it as 10.244.0.0/16 or fd00:10:244::/48".to_owned())?;
    if cidr.trunc() != cidr {
        return Err(format!("it has host bits; the range is {}", cidr.trunc()));
    }
    Ok(cidr)
}

fn host_and_port(text: &str) -> Result<(String, u16), String> {
    let wrong = || "write it as HOST:PORT, with an IPv6 address in brackets".to_owned();
    let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
    let host = match host.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']').ok_or_else(wrong)?,
        None if host.contains(':') => return Err(wrong()),
        None => host,
    };
    let port = port.parse().ok().filter(|port| *port != 0);
    match port {
        Some(port) if !host.is_empty() => Ok((host.to_owned(), port)),
        _ => Err(wrong()),
    }
}

impl InstallArgs {
    fn wish(&self) -> Result<Wish, Failure> {
        let choice = ImageChoice {
            image: self.image.clone(),
            prefix: self.image_prefix.clone(),
            pull_secrets: self.image_pull_secret.clone(),
        };
        let mut changes: Data = self
            .set
            .iter()
            .map(|text| config::setting(text))
            .collect::<Result<_, _>>()?;
        let mut pod_cidrs = self.pod_cidr.clone();
        if let Some(ranges) = changes.remove(config::CLUSTER_CIDRS) {
            for range in ranges.split(',') {
                pod_cidrs
                    .push(pod_cidr(range.trim()).map_err(|why| Failure::usage(format!("--set clusterCIDRs: {why}")))?);
            }
        }
        if let Some(backend) = self.backend {
            changes.insert("backend".to_owned(), backend.word().to_owned());
        }
        if let Some(mtu) = self.mtu {
            changes.insert("mtu".to_owned(), mtu.to_string());
        }
        Ok(Wish {
            image: choice.reference(&image::CNI)?,
            pull_secrets: choice.pull_secrets,
            changes,
            pod_cidrs,
            api_server: self.api_server.clone(),
            replace: self.replace,
        })
    }
}

/// Installs.
///
/// # Errors
/// If it may not be, or an object cannot be applied.
pub async fn run(args: InstallArgs, shared: Shared) -> Result<Exit, Failure> {
    let wish = args.wish()?;
    let cluster = Cluster::connect(&shared.flags).await?;
    let printer = &shared.printer;
    let phase = printer.phase("looking at the cluster");
    let read = tokio::select! {
        read = scene::read(&cluster) => read?,
        () = shared.interrupt.requested() => return Err(interrupted()),
    };
    drop(phase);
    let decision = decide::decide(&wish, &read)?;
    for fact in &decision.facts {
        printer.note(fact);
    }
    for warning in &decision.warnings {
        printer.warn(warning);
    }
    let objects = manifest::objects(&decision.settings);
    let format = shared.flags.output.format;
    if shared.flags.dry_run {
        printer.data(&output::objects(format, &objects)?)?;
        return Ok(Exit::Held);
    }
    let changes = apply_all(&cluster, &objects, &shared).await?;
    printer.data(&applied(format, &objects, &changes, &shared)?)?;
    let Some(timeout) = args.wait else {
        printer.note("kubectl netcheck cni status --wait follows the nodes");
        return Ok(Exit::Held);
    };
    let status = follow::until_settled(&cluster, timeout, &shared).await?;
    // A document is one: who asked for objects has them.
    if matches!(format, Format::Table | Format::Wide) {
        status.print(format, printer)?;
    }
    Ok(status.exit())
}

fn interrupted() -> Failure {
    Failure::interrupted("interrupted: some objects may be applied")
        .hint("kubectl netcheck cni install goes on where this one ended; cni uninstall removes what is there")
}

/// The namespace first, then under the lock in it the rest.
async fn apply_all(cluster: &Cluster, objects: &[Explained], shared: &Shared) -> Result<Vec<Change>, Failure> {
    let phase = shared.printer.phase("applying");
    let mut changes = vec![apply::apply(cluster, &manifest::namespace()).await?];
    let lock = lock::take(cluster, APPLIED_WITHIN).await?;
    let all = async {
        for (done, object) in objects.iter().enumerate().skip(1) {
            phase.set(done, objects.len());
            changes.push(apply::apply(cluster, object).await?);
        }
        Ok(())
    };
    let outcome = tokio::select! {
        outcome = tokio::time::timeout(APPLIED_WITHIN, all) => {
            outcome.unwrap_or_else(|_| Err(Failure::unknown(format!("applying took longer than {APPLIED_WITHIN:?}"))))
        }
        () = shared.interrupt.requested() => Err(interrupted()),
    };
    lock.release(cluster, &shared.printer).await;
    outcome?;
    phase.finish(format!("{} objects", objects.len()));
    Ok(changes)
}

fn applied(format: Format, objects: &[Explained], changes: &[Change], shared: &Shared) -> Result<String, Failure> {
    if !matches!(format, Format::Table | Format::Wide) {
        return output::objects(format, objects);
    }
    let rows = objects.iter().zip(changes);
    let table = rows.fold(
        Table::new(["OBJECT", "NAMESPACE", "CHANGE"]),
        |table, (object, change)| table.row([&object.reference(), object.namespace().unwrap_or("-"), change.word()]),
    );
    Ok(table.render_on(&shared.printer))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_api_servers() {
        for (text, expected) in [
            ("192.0.2.1:6443", Some(("192.0.2.1", 6443))),
            ("[2001:db8::1]:6443", Some(("2001:db8::1", 6443))),
            ("api.example.com:443", Some(("api.example.com", 443))),
            ("2001:db8::1:6443", None),
            ("192.0.2.1", None),
            (":6443", None),
            ("a:0", None),
        ] {
            let parsed = host_and_port(text).ok();
            assert_eq!(parsed, expected.map(|(host, port)| (host.to_owned(), port)), "{text}");
        }
    }

    #[test]
    fn ranges_have_no_host_bits() {
        assert_eq!(
            pod_cidr("10.244.1.0/16").unwrap_err(),
            "it has host bits; the range is 10.244.0.0/16"
        );
        assert!(pod_cidr("fd00:10:244::/48").is_ok());
        assert!(mtu("575").is_err() && mtu("0").is_ok());
    }
}
