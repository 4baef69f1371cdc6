//! The control plane: etcd, API server, controller manager and scheduler, in the hub's namespaces.

use crate::{
    Addresses, Endpoint, Result,
    addresses::bracketed,
    error::Context,
    kubeconfig::{self, Credentials},
    layout::Layout,
    pki::Authority,
    sandbox::Sandbox,
};
use serde_json::json;
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Issuer of service account tokens.
const TOKEN_ISSUER: &str = "https://kubernetes.default.svc.cluster.local";
/// How long a node may be silent before it is NotReady: a third of the default, for tests that wait for it.
const NODE_GRACE: &str = "14s";
/// The API server's client certificate at the kubelets.
pub const KUBELET_CLIENT: &str = "kube-apiserver-kubelet-client";

/// The user who comes with a static token, in the group of the same name with an `s`.
pub const TOKEN_USER: &str = "rig-token-user";
/// That user's token; it opens nothing but a cluster of this machine's.
pub const TOKEN: &str = "rig-static-token";

/// The API server and what it needs.
pub const API_PARTS: [&str; 2] = ["etcd", "kube-apiserver"];

/// The parts, in the order they start.
pub const PARTS: [&str; 4] = ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"];

/// The API server's URL.
pub fn server_url(addresses: Addresses) -> String {
    format!("https://{}:6443", bracketed(addresses.primary(Endpoint::Hub)))
}

/// What the control plane runs from.
pub struct ControlPlane<'a> {
    pub layout: &'a Layout,
    pub addresses: Addresses,
    pub hub: &'a Sandbox,
    pub kubernetes: &'a Path,
}

impl ControlPlane<'_> {
    /// Writes certificates, kubeconfigs and configuration files.
    pub fn configure(&self, authority: &Authority) -> Result<()> {
        for directory in [
            self.layout.config(),
            self.layout.kubeconfigs(),
            self.layout.logs(),
            self.layout.etcd(),
        ] {
            fs::create_dir_all(&directory).context(format!("create {}", directory.display()))?;
        }
        let mut own = self.addresses.of(Endpoint::Hub);
        own.extend(
            self.addresses
                .kubernetes_service()
                .iter()
                .filter_map(|address| address.parse::<std::net::IpAddr>().ok()),
        );
        let names = [
            "kubernetes",
            "kubernetes.default",
            "kubernetes.default.svc",
            "kubernetes.default.svc.cluster.local",
            "localhost",
        ];
        authority.server("apiserver", "kube-apiserver", &names, &own)?;
        authority.client(KUBELET_CLIENT, KUBELET_CLIENT, None)?;
        for name in ["kube-controller-manager", "kube-scheduler", "kube-proxy"] {
            let user = format!("system:{name}");
            let pair = authority.client(name, &user, None)?;
            self.write_kubeconfig(&self.layout.kubeconfigs().join(name), name, authority, &pair)?;
        }
        self.write("audit-policy.json", &audit_policy())?;
        // token,user,uid,"groups": the API server reads it at its start only, so the one user is always there.
        let tokens = self.layout.config().join("tokens.csv");
        fs::write(
            &tokens,
            format!("{TOKEN},{TOKEN_USER},{TOKEN_USER},\"{TOKEN_USER}s\"\n"),
        )
        .context(format!("write {}", tokens.display()))
    }

    /// Writes a kubeconfig for the holder of a certificate.
    pub fn write_kubeconfig(
        &self,
        path: &Path,
        name: &str,
        authority: &Authority,
        pair: &crate::pki::Pair,
    ) -> Result<()> {
        let server = server_url(self.addresses);
        kubeconfig::write(
            path,
            name,
            &server,
            &authority.certificate(),
            &Credentials::Certificate(pair),
        )
    }

    fn write(&self, name: &str, document: &serde_json::Value) -> Result<()> {
        let path = self.layout.config().join(name);
        fs::write(&path, format!("{document:#}\n")).context(format!("write {}", path.display()))
    }

    /// Starts the API server and its database, if they do not run.
    pub fn start_api(&self, authority: &Authority) -> Result<()> {
        self.start(authority, &API_PARTS)
    }

    /// Starts all parts that do not run. Better after the API server is ready: the controller manager looks for it only every
    /// few seconds.
    pub fn start_all(&self, authority: &Authority) -> Result<()> {
        self.start(authority, &PARTS)
    }

    fn start(&self, authority: &Authority, parts: &[&str]) -> Result<()> {
        for part in parts.iter().copied() {
            if self.hub.daemon(part).is_some() {
                continue;
            }
            let (program, arguments) = match part {
                "etcd" => (PathBuf::from("etcd"), self.etcd()),
                "kube-apiserver" => (self.kubernetes.into(), self.api_server(authority)),
                "kube-controller-manager" => (self.kubernetes.into(), self.controller_manager(authority)),
                _ => (self.kubernetes.into(), self.scheduler()),
            };
            self.hub.start_daemon(part, &program, &arguments, &[])?;
        }
        Ok(())
    }

    fn etcd(&self) -> Vec<String> {
        flags(&[
            ("data-dir", self.layout.etcd().join("data").display().to_string()),
            // A crash of the machine loses the cluster, and that is fine; half of etcd's time is not spent on the disk.
            ("unsafe-no-fsync", "true".into()),
            ("listen-client-urls", "http://127.0.0.1:2379".into()),
            ("advertise-client-urls", "http://127.0.0.1:2379".into()),
            ("listen-peer-urls", "http://127.0.0.1:2380".into()),
        ])
    }

    fn api_server(&self, authority: &Authority) -> Vec<String> {
        let pki = |name: &str| self.layout.pki().join(name).display().to_string();
        let config = |name: &str| self.layout.config().join(name).display().to_string();
        let any = if self.addresses.families.has_v6() {
            "::"
        } else {
            "0.0.0.0"
        };
        flags(&[
            ("advertise-address", self.addresses.primary(Endpoint::Hub).to_string()),
            ("bind-address", any.into()),
            ("secure-port", "6443".into()),
            ("etcd-servers", "http://127.0.0.1:2379".into()),
            ("service-cluster-ip-range", self.addresses.service_networks().join(",")),
            ("allow-privileged", "true".into()),
            ("anonymous-auth", "false".into()),
            ("authorization-mode", "Node,RBAC".into()),
            ("enable-admission-plugins", "NodeRestriction".into()),
            ("client-ca-file", authority.certificate().display().to_string()),
            ("tls-cert-file", pki("apiserver.crt")),
            ("tls-private-key-file", pki("apiserver.key")),
            (
                "kubelet-certificate-authority",
                authority.certificate().display().to_string(),
            ),
            ("kubelet-client-certificate", pki(&format!("{KUBELET_CLIENT}.crt"))),
            ("kubelet-client-key", pki(&format!("{KUBELET_CLIENT}.key"))),
            // Otherwise exec looks up node names in a DNS that does not know them.
            ("kubelet-preferred-address-types", "InternalIP".into()),
            ("service-account-issuer", TOKEN_ISSUER.into()),
            (
                "service-account-key-file",
                authority.service_account_public_key().display().to_string(),
            ),
            (
                "service-account-signing-key-file",
                authority.service_account_key().display().to_string(),
            ),
            ("token-auth-file", config("tokens.csv")),
            ("audit-policy-file", config("audit-policy.json")),
            ("audit-log-path", self.layout.audit_log().display().to_string()),
            ("audit-log-maxsize", "500".into()),
            ("profiling", "false".into()),
        ])
    }

    fn controller_manager(&self, authority: &Authority) -> Vec<String> {
        let mut arguments = flags(&[
            (
                "kubeconfig",
                self.layout
                    .kubeconfigs()
                    .join("kube-controller-manager")
                    .display()
                    .to_string(),
            ),
            ("allocate-node-cidrs", "true".into()),
            ("cluster-cidr", self.addresses.pod_networks().join(",")),
            ("service-cluster-ip-range", self.addresses.service_networks().join(",")),
            (
                "service-account-private-key-file",
                authority.service_account_key().display().to_string(),
            ),
            ("root-ca-file", authority.certificate().display().to_string()),
            (
                "cluster-signing-cert-file",
                authority.certificate().display().to_string(),
            ),
            ("cluster-signing-key-file", authority.key().display().to_string()),
            ("use-service-account-credentials", "true".into()),
            ("node-monitor-grace-period", NODE_GRACE.into()),
            ("node-monitor-period", "2s".into()),
            ("leader-elect", "false".into()),
            ("profiling", "false".into()),
        ]);
        if self.addresses.families.has_v4() {
            arguments.push("--node-cidr-mask-size-ipv4=24".into());
        }
        if self.addresses.families.has_v6() {
            arguments.push("--node-cidr-mask-size-ipv6=64".into());
        }
        arguments
    }

    fn scheduler(&self) -> Vec<String> {
        flags(&[
            (
                "kubeconfig",
                self.layout.kubeconfigs().join("kube-scheduler").display().to_string(),
            ),
            ("leader-elect", "false".into()),
            ("profiling", "false".into()),
        ])
    }
}

/// `--name=value` for each.
pub fn flags(pairs: &[(&str, String)]) -> Vec<String> {
    pairs.iter().map(|(name, value)| format!("--{name}={value}")).collect()
}

/// Who did what, without bodies; the components' own chatter is left out, so that a test counts only what it caused.
fn audit_policy() -> serde_json::Value {
    let chatter = [
        "system:kube-controller-manager",
        "system:kube-scheduler",
        "system:kube-proxy",
        "system:apiserver",
    ];
    json!({
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived"],
        "rules": [
            { "level": "None", "users": chatter },
            { "level": "None", "userGroups": ["system:nodes", "system:serviceaccounts:kube-system"] },
            { "level": "Metadata" },
        ],
    })
}

/// What a cluster needs beyond the API server's own bootstrap: the API server may talk to kubelets.
pub fn bootstrap_roles() -> String {
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": { "name": "rig:kubelet-api-admin" },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "system:kubelet-api-admin" },
        "subjects": [{ "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": KUBELET_CLIENT }],
    })
    .to_string()
}
