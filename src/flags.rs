//! kubectl's own flags. All are taken by every verb, and heeded where they mean something; the few that are in daily use are shown in a
//! verb's help, the others by `kubectl netcheck options`.

pub mod duration;

use std::{convert::Infallible, path::PathBuf};

use clap::{Arg, Args, Command};
use serde::{Deserialize, Serialize};

use crate::output::{ColourChoice, Format};

/// Heading of these flags in a verb's help.
const HEADING: &str = "kubectl's flags (all of them: kubectl netcheck options)";

/// What verbs that work on the cluster's objects share.
#[derive(Debug, Clone, Default, Args, Serialize, Deserialize)]
pub struct KubectlFlags {
    /// How to reach the cluster, and as whom.
    #[command(flatten)]
    pub connect: ConnectFlags,

    /// Look at all namespaces
    #[arg(short = 'A', long, help_heading = HEADING)]
    pub all_namespaces: bool,

    /// Only objects with these labels: app=web,tier!=db
    #[arg(short = 'l', long, value_name = "SELECTOR", help_heading = HEADING)]
    pub selector: Option<String>,

    /// Print what would be created and sent, and do nothing
    #[arg(long)]
    pub dry_run: bool,

    /// Do not ask back, and exceed the default limits if the request does
    #[arg(short = 'y', long)]
    pub yes: bool,

    /// How results are printed.
    #[command(flatten)]
    pub output: OutputFlags,
}

/// A verb that works on the cluster's objects.
#[derive(Debug, Args)]
pub struct With<A: Args> {
    /// Its own arguments.
    #[command(flatten)]
    pub args: A,
    /// kubectl's.
    #[command(flatten)]
    pub flags: KubectlFlags,
}

/// kubectl's `ConfigFlags`, every one of them.
#[derive(Debug, Clone, Default, Args, Serialize, Deserialize)]
#[command(next_help_heading = HEADING)]
pub struct ConnectFlags {
    /// Namespace (default: the context's)
    #[arg(short = 'n', long, value_name = "NAME")]
    pub namespace: Option<String>,
    /// Context of the kubeconfig file
    #[arg(long, value_name = "NAME")]
    pub context: Option<String>,
    /// Kubeconfig file
    #[arg(value_parser = file, long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Cluster of the kubeconfig file
    #[arg(long, value_name = "NAME", hide = true)]
    pub cluster: Option<String>,
    /// User of the kubeconfig file
    #[arg(long, value_name = "NAME", hide = true)]
    pub user: Option<String>,
    /// Address of the API server
    #[arg(short = 's', long, value_name = "URL", hide = true)]
    pub server: Option<String>,
    /// Bearer token
    #[arg(long, hide = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// User to act as
    #[arg(long = "as", value_name = "USER", hide = true)]
    pub as_user: Option<String>,
    /// UID to act as
    #[arg(long, value_name = "UID", hide = true)]
    pub as_uid: Option<String>,
    /// Group to act as; may be given several times
    #[arg(long, value_name = "GROUP", hide = true)]
    pub as_group: Vec<String>,
    /// Extra attribute to act with; may be given several times
    #[arg(long, value_name = "KEY=VALUE", hide = true)]
    pub as_user_extra: Vec<String>,
    /// File with the certificates that vouch for the API server
    #[arg(value_parser = file, long, value_name = "FILE", hide = true)]
    pub certificate_authority: Option<PathBuf>,
    /// File with the client's certificate
    #[arg(value_parser = file, long, value_name = "FILE", hide = true)]
    pub client_certificate: Option<PathBuf>,
    /// File with the client's key
    #[arg(value_parser = file, long, value_name = "FILE", hide = true)]
    pub client_key: Option<PathBuf>,
    /// Name that the API server's certificate must carry
    #[arg(long, value_name = "NAME", hide = true)]
    pub tls_server_name: Option<String>,
    /// Do not check the API server's certificate
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub insecure_skip_tls_verify: Option<bool>,
    /// User name for basic authentication
    #[arg(long, hide = true)]
    pub username: Option<String>,
    /// Password for basic authentication
    #[arg(long, hide = true)]
    pub password: Option<String>,
    /// How long to wait for the answer to one request: 5s, 2m; 0 waits for ever
    #[arg(long, value_name = "DURATION", value_parser = duration::parse, hide = true)]
    pub request_timeout: Option<std::time::Duration>,
    /// Do not ask the API server to compress its answers
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub disable_compression: Option<bool>,
    /// Accepted for kubectl's sake; netcheck keeps no cache
    #[arg(value_parser = file, long, value_name = "DIR", hide = true)]
    pub cache_dir: Option<PathBuf>,
    /// What means nothing here.
    #[command(flatten)]
    #[serde(skip)]
    pub ignored: IgnoredFlags,
}

/// Flags of kubectl's that are about kubectl itself (`kubectl options`): scripts that pass one set of flags to all of it must not fail here.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = HEADING)]
pub struct IgnoredFlags {
    /// Accepted for kubectl's sake; netcheck reads no preferences
    #[arg(long, value_name = "FILE", hide = true)]
    kuberc: Option<String>,
    /// Accepted for kubectl's sake; netcheck's logs are never held back
    #[arg(long, value_name = "DURATION", hide = true)]
    log_flush_frequency: Option<String>,
    /// Accepted for kubectl's sake; netcheck has a version of its own
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    match_server_version: Option<bool>,
    /// Accepted for kubectl's sake; netcheck has no profiler
    // As in kubectl, `debug` has another meaning for it.
    #[arg(long, value_name = "NAME", hide = true)]
    pub profile: Option<String>,
    /// Accepted for kubectl's sake; netcheck has no profiler
    #[arg(long, value_name = "FILE", hide = true)]
    profile_output: Option<String>,
    /// Accepted for kubectl's sake; netcheck's logs are chosen by -v alone
    #[arg(long, value_name = "PATTERN=LEVEL", hide = true)]
    vmodule: Option<String>,
    /// Accepted for kubectl's sake; netcheck does not act on the server's warnings
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    warnings_as_errors: Option<bool>,
}

impl ConnectFlags {
    /// All of these as hidden arguments of a verb that asks no cluster and so ignores them, but those that it reads by itself.
    pub fn ignored_by_a_verb(own: &[&str]) -> Vec<Arg> {
        let command = Self::augment_args(Command::new("ignored"));
        let others = command
            .get_arguments()
            .filter(|flag| !own.contains(&flag.get_id().as_str()));
        others.map(|flag| flag.clone().hide(true)).collect()
    }

    /// Empty values count as not given, as in kubectl: scripts write `--context "$CONTEXT"`.
    #[must_use]
    pub fn without_empty(mut self) -> Self {
        let texts = [
            &mut self.namespace,
            &mut self.context,
            &mut self.cluster,
            &mut self.user,
            &mut self.server,
            &mut self.token,
            &mut self.as_user,
            &mut self.as_uid,
            &mut self.tls_server_name,
            &mut self.username,
            &mut self.password,
        ];
        for text in texts {
            text.take_if(|text| text.is_empty());
        }
        for list in [&mut self.as_group, &mut self.as_user_extra] {
            list.retain(|value| !value.is_empty());
        }
        let files = [
            &mut self.kubeconfig,
            &mut self.certificate_authority,
            &mut self.client_certificate,
            &mut self.client_key,
            &mut self.cache_dir,
        ];
        for file in files {
            file.take_if(|file| file.as_os_str().is_empty());
        }
        self
    }
}

/// Unlike clap's own parser, takes an empty name as well.
#[expect(clippy::unnecessary_wraps, reason = "clap wants a fallible parser")]
fn file(text: &str) -> Result<PathBuf, Infallible> {
    Ok(text.into())
}

/// How results are printed.
#[derive(Debug, Clone, Default, Args, Serialize, Deserialize)]
#[command(next_help_heading = "Output")]
pub struct OutputFlags {
    /// Output format
    #[arg(short = 'o', long = "output", value_name = "FORMAT", value_enum, default_value_t)]
    pub format: Format,
    /// When to colour; colour only repeats what words say
    #[arg(
        long,
        value_name = "WHEN",
        value_enum,
        default_value_t,
        hide_possible_values = true,
        hide_default_value = true,
        help = "When to colour: auto, always, never"
    )]
    pub color: ColourChoice,
    /// Only results and errors
    #[arg(short = 'q', long)]
    pub quiet: bool,
    /// Say what is done: -v steps, -v 6 requests, -v 8 everything
    #[arg(
        short = 'v',
        long = "v",
        value_name = "LEVEL",
        num_args = 0..=1,
        default_value_t,
        default_missing_value = "1",
        hide_default_value = true
    )]
    pub verbosity: u8,
}
