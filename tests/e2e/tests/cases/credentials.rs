//! Who the plugin is, and by what way it gets there: credentials that come from a program or end in mid-run, and proxies.

use crate::{Case, death, healthy};
use anyhow::{Context, Result, ensure};
use netcheck_e2e::{
    audit::Audit,
    connect_proxy::{ConnectProxy, Policy},
    credential_plugin::CredentialPlugin,
    lab::{Lab, Namespace, said},
    matrix::Matrix,
};
use serde_json::{Value, json};
use std::{
    path::{Path, PathBuf},
    process::{Output, Stdio},
    thread,
    time::{Duration, Instant},
};

pub const CASES: &[Case] = &[
    (
        "credentials: a plugin's short-lived token is asked for anew in mid-run",
        short_lived_token,
    ),
    ("credentials: a plugin that fails is named in one line", failing_plugin),
    (
        "credentials: a token that is revoked once the run has created a Job",
        revoked_after_job,
    ),
    (
        "credentials: a token that dies at four points of a run is never a wrong result",
        dies_at_four_points,
    ),
    (
        "proxy: requests and streams go through proxy-url and HTTPS_PROXY",
        through_proxy,
    ),
    (
        "proxy: one that refuses is named in one line, exit code 3",
        refusing_proxy,
    ),
];

/// For how long the API server goes by what it found out about a token (`tokenSuccessCacheTTL` of its authenticator).
const TOKEN_CACHED: Duration = Duration::from_secs(10);
/// No resolver knows it (RFC 6761 section 6.4), so that it can be reached through a proxy or not at all.
const UNKNOWN_NAME: &str = "api.lab.invalid:6443";

/// A service account of a test, with the rights that `rbac` prints for the shop and nothing else.
struct Guest<'a> {
    lab: &'a Lab,
    namespace: Namespace<'a>,
}

impl<'a> Guest<'a> {
    fn new(lab: &'a Lab) -> Result<Self> {
        // An earlier run's namespace for agents may still be on its way out, and nothing can be put into it then.
        lab.wait_until_clean(death::GONE)?;
        let namespace = lab.namespace("restricted")?;
        let guest = Self { lab, namespace };
        lab.kubectl(&format!("-n {} create serviceaccount guest", guest.namespace.name))?;
        let account = format!("{}:guest", guest.namespace.name);
        let printed = lab
            .netcheck(["rbac", "matrix", "-n", "shop", "--serviceaccount", &account])
            .output()?;
        ensure!(printed.status.success(), "{}", said(&printed));
        lab.rig.apply(&String::from_utf8_lossy(&printed.stdout))?;
        Ok(guest)
    }

    /// A kubeconfig with a token that lives as long as a Secret of this name.
    fn kubeconfig_bound_to(&self, secret: &str) -> Result<PathBuf> {
        let in_namespace = |line: &str| self.lab.kubectl(&format!("-n {} {line}", self.namespace.name));
        in_namespace(&format!("create secret generic {secret}"))?;
        let token = in_namespace(&format!(
            "create token guest --bound-object-kind=Secret --bound-object-name={secret}"
        ))?;
        Ok(self.lab.rig.kubeconfig_with_token(secret, token.trim())?)
    }

    fn revoke(&self, secret: &str) -> Result<()> {
        let line = format!("-n {} delete secret {secret}", self.namespace.name);
        self.lab.kubectl(&line).map(drop)
    }

    /// Waits until the runs' agents are gone, and takes the agents' namespace with them, which stays by design: later cases want to see
    /// one come and go.
    fn leave(self) -> Result<()> {
        self.lab.wait_until_clean(death::GONE)?;
        self.lab.kubectl("delete namespace netcheck").map(drop)
    }
}

/// The shop's matrix, as whoever the kubeconfig says.
fn shop_matrix(lab: &Lab, kubeconfig: &Path) -> std::process::Command {
    lab.netcheck_as(kubeconfig, ["matrix", "-n", "shop", "-o", "json"])
}

/// The plugin's error lines.
fn errors(output: &Output) -> Vec<String> {
    let text = String::from_utf8_lossy(&output.stderr);
    let errors = text.lines().filter(|line| line.starts_with("error"));
    errors.map(str::to_owned).collect()
}

/// Fails unless the run could not be told, and says so in one line with these words.
fn expect_one_line(output: &Output, words: &[&str]) -> Result<()> {
    ensure!(output.status.code() == Some(3), "{}", said(output));
    let errors = errors(output);
    ensure!(
        errors.len() == 1 && words.iter().all(|word| errors[0].contains(word)),
        "one error line with {words:?} was expected: {}",
        said(output)
    );
    Ok(())
}

fn short_lived_token(lab: &Lab) -> Result<()> {
    healthy::apply_shop(lab)?;
    let namespace = lab.namespace("restricted")?;
    let name = &namespace.name;
    lab.kubectl(&format!("-n {name} create serviceaccount guest"))?;
    lab.kubectl(&format!(
        "create clusterrolebinding {name} --clusterrole=cluster-admin --serviceaccount={name}:guest"
    ))?;
    let token = lab.kubectl(&format!("-n {name} create token guest"))?;
    let login = CredentialPlugin::of_short_lived_token(token.trim(), 2)?;
    let kubeconfig = lab.kubeconfig_changed("short-lived", |_, user| *user = login.user())?;
    let matrix = Matrix::of(&shop_matrix(lab, &kubeconfig).output()?)?;
    lab.kubectl(&format!("delete clusterrolebinding {name}"))?;
    matrix.others_reached(|_| false)?;
    matrix.expect_exit(0)?;
    ensure!(login.calls() > 1, "the plugin was asked {} times", login.calls());
    Ok(())
}

fn failing_plugin(lab: &Lab) -> Result<()> {
    let login = CredentialPlugin::that_fails("session expired, run lab-cloud login")?;
    let kubeconfig = lab.kubeconfig_changed("failing", |_, user| *user = login.user())?;
    let output = shop_matrix(lab, &kubeconfig).output()?;
    expect_one_line(
        &output,
        &[
            &login.path().display().to_string(),
            "session expired, run lab-cloud login",
        ],
    )
}

/// What a run may say whose token ended on the way; true if it noticed.
fn is_sound(output: &Output) -> Result<bool> {
    if !output.stdout.is_empty() {
        let matrix = Matrix::of(output)?;
        let known = |class: &str| ["reached", "not-tested", "unanswered"].contains(&class);
        let wrong: Vec<_> = matrix.rows.iter().filter(|row| !known(&row.class)).collect();
        ensure!(wrong.is_empty(), "verdicts on a healthy cluster: {wrong:#?}");
    }
    let errors = errors(output);
    ensure!(errors.len() <= 1, "the same is said more than once: {errors:#?}");
    match output.status.code() {
        Some(0) => Ok(false),
        Some(3) => {
            ensure!(
                said(output).contains("credentials"),
                "why it ended is not said: {}",
                said(output)
            );
            Ok(true)
        }
        _ => anyhow::bail!("neither held nor unknown: {}", said(output)),
    }
}

fn revoked_after_job(lab: &Lab) -> Result<()> {
    healthy::apply_shop(lab)?;
    let guest = Guest::new(lab)?;
    let kubeconfig = guest.kubeconfig_bound_to("short")?;
    let run = shop_matrix(lab, &kubeconfig)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("start the plugin")?;
    netcheck_rig::wait_until("the run has created a Job", Duration::from_secs(30), || {
        let left = lab.remains().map_err(|error| error.to_string())?;
        if left.iter().any(|name| name.starts_with("job")) {
            Ok(())
        } else {
            Err(left.join(", "))
        }
    })?;
    guest.revoke("short")?;
    is_sound(&run.wait_with_output()?)?;
    guest.leave()
}

fn dies_at_four_points(lab: &Lab) -> Result<()> {
    healthy::apply_shop(lab)?;
    let guest = Guest::new(lab)?;
    let start = Instant::now();
    let healthy = Matrix::of(&shop_matrix(lab, &guest.kubeconfig_bound_to("whole")?).output()?)?;
    ensure!(
        healthy.exit == 0,
        "the printed rights are not enough: {}",
        healthy.stderr
    );
    let whole = start.elapsed();
    let mut noticed = 0;
    for step in 1..=4 {
        let secret = format!("dies-{step}");
        let kubeconfig = guest.kubeconfig_bound_to(&secret)?;
        let known_since = Instant::now();
        let asked = lab
            .rig
            .kubectl_command(["auth", "whoami", "-o", "name"])
            .env("KUBECONFIG", &kubeconfig)
            .output()?;
        ensure!(asked.status.success(), "{}", said(&asked));
        guest.revoke(&secret)?;
        // The run begins while the API server still goes by what it knew, so that the token dies this far into it.
        let until_start = TOKEN_CACHED.saturating_sub(whole * step / 5 + known_since.elapsed());
        thread::sleep(until_start);
        let output = shop_matrix(lab, &kubeconfig).output()?;
        noticed += u32::from(is_sound(&output).with_context(|| format!("step {step}"))?);
    }
    ensure!(noticed > 0, "no run of {whole:?} noticed that its token had died");
    guest.leave()
}

/// Points a kubeconfig at a name that only a proxy can reach.
fn behind_proxy(lab: &Lab, name: &str, proxy_url: Option<&str>) -> Result<PathBuf> {
    let host = lab.server()?.ip().to_string();
    lab.kubeconfig_changed(name, |cluster: &mut Value, _| {
        cluster["server"] = json!(format!("https://{UNKNOWN_NAME}"));
        cluster["tls-server-name"] = json!(host);
        if let Some(url) = proxy_url {
            cluster["proxy-url"] = json!(url);
        }
    })
}

fn through_proxy(lab: &Lab) -> Result<()> {
    healthy::apply_shop(lab)?;
    for by_environment in [false, true] {
        let proxy = ConnectProxy::start(Policy::TunnelTo(lab.server()?))?;
        let url = proxy.url();
        let kubeconfig = behind_proxy(lab, "proxied", (!by_environment).then_some(&url))?;
        let audit = Audit::from_now(&lab.rig.audit_log())?;
        let mut run = shop_matrix(lab, &kubeconfig);
        for name in ["HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy"] {
            run.env_remove(name);
        }
        if by_environment {
            run.env("HTTPS_PROXY", &url);
        }
        let matrix = Matrix::of(&run.output()?)?;
        matrix.others_reached(|_| false)?;
        matrix.expect_exit(0)?;
        let streams: usize = audit.streams()?.values().sum();
        let asked = proxy.asked();
        let wanted = format!("CONNECT {UNKNOWN_NAME} ");
        ensure!(
            asked.iter().all(|line| line.starts_with(&wanted)),
            "other names were asked for: {asked:?}"
        );
        // A stream has a connection to itself.
        ensure!(
            streams > 0 && asked.len() >= streams,
            "{streams} streams, {} connections by environment {by_environment}",
            asked.len()
        );
    }
    Ok(())
}

fn refusing_proxy(lab: &Lab) -> Result<()> {
    let proxy = ConnectProxy::start(Policy::Forbid)?;
    let kubeconfig = behind_proxy(lab, "refused", Some(&proxy.url()))?;
    let output = shop_matrix(lab, &kubeconfig).output()?;
    expect_one_line(&output, &[&proxy.url(), "proxy", UNKNOWN_NAME])?;
    ensure!(!proxy.asked().is_empty(), "the proxy was not asked");
    Ok(())
}
