//! `version`: of the plugin, of what it sends into clusters, and of the API server.

use std::time::Duration;

use clap::Args;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    agents::image,
    cluster::{Cluster, errors},
    exit::{Exit, Failure},
    output::{Table, document, safe},
    verbs::{API_VERSION, Shared},
};

/// How long to wait for the API server: what this verb is mostly asked for is known without it.
const PATIENCE: Duration = Duration::from_secs(5);

/// Arguments of `version`.
#[derive(Debug, Args)]
pub struct VersionArgs {
    /// Do not ask the API server
    #[arg(long)]
    client: bool,
}

/// Versions of all parts.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Version {
    /// `netcheck.dev/v1alpha1`.
    pub api_version: String,
    /// `Version`.
    pub kind: String,
    /// The plugin.
    pub client: ClientVersion,
    /// The API server, if it was asked and answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server: Option<ServerVersion>,
}

/// Versions on this machine.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClientVersion {
    /// Version of the plugin.
    pub version: String,
    /// Version of what plugin and agent speak with each other; both must speak the same.
    pub protocol: u32,
    /// Image of the agent that belongs to this plugin.
    pub agent_image: String,
}

/// The API server.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServerVersion {
    /// Its address.
    pub address: String,
    /// Kubernetes version: `v1.33.1`.
    pub version: String,
}

/// Prints the versions. A server that does not answer is a warning.
///
/// # Errors
/// If stdout cannot be written.
pub async fn run(args: VersionArgs, shared: Shared) -> Result<Exit, Failure> {
    let server = if args.client {
        None
    } else {
        tokio::select! {
            server = server(&shared) => server.map_err(|failure| shared.printer.warn(failure.message)).ok(),
            () = shared.interrupt.requested() => return Ok(Exit::Interrupted),
        }
    };
    let version = Version {
        api_version: API_VERSION.into(),
        kind: "Version".into(),
        client: ClientVersion {
            version: env!("CARGO_PKG_VERSION").into(),
            protocol: netcheck_wire::PROTOCOL,
            agent_image: image::AGENT.reference(),
        },
        server,
    };
    let text = match document(shared.flags.output.format, &version)? {
        Some(text) => text,
        None => table(&version).render_on(&shared.printer),
    };
    shared.printer.data(&text)?;
    Ok(Exit::Held)
}

async fn server(shared: &Shared) -> Result<ServerVersion, Failure> {
    let cluster = Cluster::connect(&shared.flags).await?;
    let asking = "ask the API server for its version";
    let patience = cluster
        .request_timeout
        .filter(|timeout| !timeout.is_zero())
        .unwrap_or(PATIENCE);
    let info = tokio::time::timeout(patience, cluster.client.apiserver_version())
        .await
        .map_err(|_| {
            Failure::unknown(format!(
                "cannot {asking}: {} did not answer in {patience:?}",
                safe(&cluster.server)
            ))
        })?
        .map_err(|error| errors::failure(asking, error))?;
    Ok(ServerVersion {
        address: cluster.server,
        version: info.git_version,
    })
}

fn table(version: &Version) -> Table {
    let mut table = Table::new(["PART", "VERSION"])
        .row(["plugin", &version.client.version])
        .row(["protocol", &version.client.protocol.to_string()])
        .row(["agent image", &version.client.agent_image]);
    if let Some(server) = &version.server {
        table.push(["API server", &format!("{} at {}", server.version, server.address)]);
    }
    table
}
