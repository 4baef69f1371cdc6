//! Which cluster, as whom: kubeconfig files and kubectl's flags made into the one entry that counts. Pure, but for reading files.

use std::{
    collections::{BTreeMap, HashMap},
    env,
    path::{Path, PathBuf},
};

use kube::config::{
    AuthInfo, Cluster, Context, Kubeconfig, KubeconfigError, NamedAuthInfo, NamedCluster, NamedContext,
};

use crate::{exit::Failure, flags::ConnectFlags, output::safe, suggest::closest};

/// Name of the entries that stand for a cluster given by flags alone.
const BY_FLAGS: &str = "flags";

/// A kubeconfig reduced to one context, one cluster, one user, with the flags applied.
#[derive(Debug, Clone)]
pub(super) struct Chosen {
    /// Holds nothing but the chosen entries.
    pub kubeconfig: Kubeconfig,
    /// Name of the context, if a kubeconfig has one.
    pub context: Option<String>,
    /// Name of the user, if a kubeconfig has one.
    pub user: Option<String>,
    /// Address of the API server.
    pub server: String,
}

/// The files kubectl would read: `--kubeconfig`, else `KUBECONFIG`, else `~/.kube/config`. `None` if there are none.
pub(super) fn read(flags: &ConnectFlags) -> Result<Option<Kubeconfig>, Failure> {
    if let Some(path) = &flags.kubeconfig {
        return read_file(path).map(Some);
    }
    let paths: Vec<PathBuf> = match env::var_os("KUBECONFIG").filter(|value| !value.is_empty()) {
        Some(list) => env::split_paths(&list)
            .filter(|path| !path.as_os_str().is_empty())
            .collect(),
        None => env::home_dir()
            .map(|home| home.join(".kube/config"))
            .into_iter()
            .collect(),
    };
    let mut merged: Option<Kubeconfig> = None;
    // kubectl skips files of the list that do not exist.
    for path in paths.iter().filter(|path| path.exists()) {
        let next = read_file(path)?;
        merged = Some(match merged {
            None => next,
            Some(first) => first.merge(next).map_err(|error| unreadable(path, &error))?,
        });
    }
    Ok(merged)
}

/// Names of all contexts there are to choose from; none if there is no readable file.
pub fn contexts() -> Vec<String> {
    let file = read(&ConnectFlags::default()).ok().flatten().unwrap_or_default();
    file.contexts.into_iter().map(|entry| entry.name).collect()
}

/// Where [`read`] looks, for the message that says it found nothing.
pub(super) fn places() -> String {
    match env::var("KUBECONFIG") {
        Ok(list) if !list.is_empty() => format!("KUBECONFIG names {}, which does not exist", safe(&list)),
        _ => "KUBECONFIG is not set and ~/.kube/config does not exist".into(),
    }
}

fn read_file(path: &Path) -> Result<Kubeconfig, Failure> {
    Kubeconfig::read_from(path).map_err(|error| unreadable(path, &error))
}

fn unreadable(path: &Path, error: &KubeconfigError) -> Failure {
    let why = match error {
        KubeconfigError::ReadConfig(source, _) => source.to_string(),
        other => other.to_string().lines().next().unwrap_or_default().to_owned(),
    };
    Failure::usage(format!(
        "cannot read kubeconfig {}: {}",
        safe(&path.to_string_lossy()),
        safe(&why)
    ))
    .hint("--kubeconfig FILE or KUBECONFIG says which file to use")
}

/// Picks context, cluster and user as kubectl does, and lays the flags over them.
pub(super) fn choose(file: Option<Kubeconfig>, flags: &ConnectFlags) -> Result<Chosen, Failure> {
    let file = file.unwrap_or_default();
    let context_name = flags
        .context
        .clone()
        .or_else(|| file.current_context.clone().filter(|name| !name.is_empty()));
    let context = match &context_name {
        Some(name) => find(&file.contexts, name, |entry| (&entry.name, &entry.context), "context")?,
        // Without a context, flags may still say everything.
        None if flags.server.is_some() || flags.cluster.is_some() => Context::default(),
        None => return Err(no_context(&file)),
    };

    let cluster_name = flags.cluster.clone().unwrap_or_else(|| context.cluster.clone());
    let cluster = match cluster_name.as_str() {
        "" => Cluster::default(),
        name => find(&file.clusters, name, |entry| (&entry.name, &entry.cluster), "cluster")?,
    };
    let user_name = flags
        .user
        .clone()
        .or_else(|| context.user.clone())
        .filter(|name| !name.is_empty());
    let user = match &user_name {
        Some(name) if flags.user.is_some() => {
            find(&file.auth_infos, name, |entry| (&entry.name, &entry.auth_info), "user")?
        }
        // Like kubectl, forgive a context that names a user the file does not have.
        Some(name) => file
            .auth_infos
            .iter()
            .find(|entry| entry.name == *name)
            .and_then(|entry| entry.auth_info.clone())
            .unwrap_or_default(),
        None => AuthInfo::default(),
    };

    let user = with_user_flags(user, flags)?;
    let cluster = with_cluster_flags(cluster, &user, flags);
    let server = cluster
        .server
        .clone()
        .filter(|server| !server.is_empty())
        .ok_or_else(|| {
            Failure::usage(format!(
                "cluster {:?} of the kubeconfig has no server",
                safe(&cluster_name)
            ))
            .hint("--server URL says where the API server is")
        })?;
    let context = Context {
        cluster: BY_FLAGS.into(),
        user: Some(BY_FLAGS.into()),
        namespace: flags
            .namespace
            .clone()
            .or(context.namespace)
            .filter(|namespace| !namespace.is_empty()),
        ..context
    };
    let kubeconfig = Kubeconfig {
        current_context: Some(BY_FLAGS.into()),
        contexts: vec![NamedContext {
            name: BY_FLAGS.into(),
            context: Some(context),
            other: BTreeMap::new(),
        }],
        clusters: vec![NamedCluster {
            name: BY_FLAGS.into(),
            cluster: Some(cluster),
            other: BTreeMap::new(),
        }],
        auth_infos: vec![NamedAuthInfo {
            name: BY_FLAGS.into(),
            auth_info: Some(user),
            other: BTreeMap::new(),
        }],
        ..Kubeconfig::default()
    };
    Ok(Chosen {
        kubeconfig,
        context: context_name,
        user: user_name,
        server,
    })
}

fn no_context(file: &Kubeconfig) -> Failure {
    let names: Vec<&str> = file.contexts.iter().map(|entry| entry.name.as_str()).collect();
    if names.is_empty() {
        Failure::usage("the kubeconfig has no contexts").hint("--kubeconfig FILE or KUBECONFIG says which file to use")
    } else {
        Failure::usage("the kubeconfig has no current context")
            .hint(format!("choose one with --context: {}", safe(&names.join(", "))))
    }
}

fn find<E, T: Clone>(
    entries: &[E],
    name: &str,
    parts: impl Fn(&E) -> (&String, &Option<T>),
    what: &str,
) -> Result<T, Failure> {
    if let Some(found) = entries
        .iter()
        .map(&parts)
        .find(|(entry, _)| *entry == name)
        .and_then(|(_, content)| content.clone())
    {
        return Ok(found);
    }
    let names: Vec<&str> = entries.iter().map(|entry| parts(entry).0.as_str()).collect();
    let failure = Failure::usage(format!("the kubeconfig has no {what} {:?}", safe(name)));
    Err(match closest(name, names.iter().copied()) {
        Some(near) => failure.hint(format!("did you mean {}?", safe(near))),
        None if names.is_empty() => failure.hint(format!("it has no {what}s at all; is it the right file?")),
        None => failure.hint(format!("it has {}", safe(&names.join(", ")))),
    })
}

fn with_cluster_flags(mut cluster: Cluster, user: &AuthInfo, flags: &ConnectFlags) -> Cluster {
    if let Some(authority) = &flags.certificate_authority {
        cluster.certificate_authority = Some(authority.to_string_lossy().into_owned());
        cluster.certificate_authority_data = None;
    }
    if let Some(insecure) = flags.insecure_skip_tls_verify {
        cluster.insecure_skip_tls_verify = Some(insecure);
        if insecure {
            cluster.certificate_authority = None;
            cluster.certificate_authority_data = None;
        }
    }
    if let Some(name) = &flags.tls_server_name {
        cluster.tls_server_name = Some(name.clone());
    }
    if let Some(disable) = flags.disable_compression {
        cluster.disable_compression = Some(disable);
    }
    if let Some(server) = &flags.server {
        cluster.server = Some(server.clone());
    }
    if let Some(server) = &cluster.server
        && !server.is_empty()
        && !server.contains("://")
    {
        // client-go: TLS if anything about TLS is said, else plain.
        let says_tls = cluster.certificate_authority.is_some()
            || cluster.certificate_authority_data.is_some()
            || cluster.insecure_skip_tls_verify == Some(true)
            || user.client_certificate.is_some()
            || user.client_certificate_data.is_some();
        cluster.server = Some(format!("{}://{server}", if says_tls { "https" } else { "http" }));
    }
    cluster
}

fn with_user_flags(mut user: AuthInfo, flags: &ConnectFlags) -> Result<AuthInfo, Failure> {
    if flags.token.is_some() && (flags.username.is_some() || flags.password.is_some()) {
        return Err(Failure::usage("--token and --username/--password exclude each other"));
    }
    if let Some(token) = &flags.token {
        user = AuthInfo {
            token: Some(token.clone().into()),
            ..without_login(user)
        };
    }
    if flags.username.is_some() || flags.password.is_some() {
        let (username, password) = (user.username.clone(), user.password.clone());
        user = AuthInfo {
            username: flags.username.clone().or(username),
            password: flags.password.clone().map(Into::into).or(password),
            ..without_login(user)
        };
    }
    if let Some(file) = &flags.client_certificate {
        user.client_certificate = Some(file.to_string_lossy().into_owned());
        user.client_certificate_data = None;
    }
    if let Some(file) = &flags.client_key {
        user.client_key = Some(file.to_string_lossy().into_owned());
        user.client_key_data = None;
    }
    if let Some(name) = &flags.as_user {
        user.impersonate = Some(name.clone());
    }
    if let Some(uid) = &flags.as_uid {
        user.impersonate_uid = Some(uid.clone());
    }
    if !flags.as_group.is_empty() {
        user.impersonate_groups = Some(flags.as_group.clone());
    }
    if !flags.as_user_extra.is_empty() {
        let mut extra: HashMap<String, Vec<String>> = HashMap::new();
        for pair in &flags.as_user_extra {
            let (key, value) = pair
                .split_once('=')
                .ok_or_else(|| Failure::usage(format!("--as-user-extra {:?} is not KEY=VALUE", safe(pair))))?;
            extra.entry(key.into()).or_default().push(value.into());
        }
        user.impersonate_user_extra = Some(extra);
    }
    let more_than_name =
        user.impersonate_uid.is_some() || user.impersonate_groups.is_some() || user.impersonate_user_extra.is_some();
    if user.impersonate.is_none() && more_than_name {
        return Err(
            Failure::usage("--as-uid, --as-group and --as-user-extra need --as as well")
                .hint("name the user to act as: --as USER"),
        );
    }
    Ok(user)
}

/// The user without any other way to log in than a client certificate.
fn without_login(user: AuthInfo) -> AuthInfo {
    AuthInfo {
        token: None,
        token_file: None,
        username: None,
        password: None,
        exec: None,
        auth_provider: None,
        ..user
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r"
apiVersion: v1
kind: Config
current-context: shop
contexts:
- {name: shop, context: {cluster: prod, user: jane, namespace: store}}
- {name: lab, context: {cluster: lab, user: ghost}}
clusters:
- {name: prod, cluster: {server: 'https://prod:6443', certificate-authority-data: QQ==}}
- {name: lab, cluster: {server: 'lab:8080'}}
users:
- {name: jane, user: {exec: {apiVersion: client.authentication.k8s.io/v1, command: login}}}
- {name: joe, user: {token: secret}}
";

    fn with(change: impl FnOnce(&mut ConnectFlags)) -> Result<Chosen, Failure> {
        let mut flags = ConnectFlags::default();
        change(&mut flags);
        choose(Some(Kubeconfig::from_yaml(FILE).unwrap()), &flags)
    }

    fn context(chosen: &Chosen) -> Context {
        chosen.kubeconfig.contexts[0].context.clone().unwrap()
    }

    fn cluster(chosen: &Chosen) -> Cluster {
        chosen.kubeconfig.clusters[0].cluster.clone().unwrap()
    }

    fn user(chosen: &Chosen) -> AuthInfo {
        chosen.kubeconfig.auth_infos[0].auth_info.clone().unwrap()
    }

    #[test]
    fn the_current_context_decides() {
        let chosen = with(|_| {}).unwrap();
        assert_eq!(
            (
                chosen.context.as_deref(),
                chosen.user.as_deref(),
                chosen.server.as_str()
            ),
            (Some("shop"), Some("jane"), "https://prod:6443")
        );
        assert_eq!(context(&chosen).namespace.as_deref(), Some("store"));
    }

    #[test]
    fn flags_override_namespace_cluster_user_and_server() {
        assert_eq!(
            context(&with(|flags| flags.namespace = Some("x".into())).unwrap())
                .namespace
                .as_deref(),
            Some("x")
        );
        assert_eq!(
            with(|flags| flags.cluster = Some("lab".into())).unwrap().server,
            "http://lab:8080"
        );
        assert_eq!(
            with(|flags| flags.user = Some("joe".into())).unwrap().user.as_deref(),
            Some("joe")
        );
        assert_eq!(
            with(|flags| flags.server = Some("10.0.0.1:6443".into()))
                .unwrap()
                .server,
            "https://10.0.0.1:6443"
        );
    }

    #[test]
    fn a_token_replaces_the_exec_plugin() {
        let user = user(&with(|flags| flags.token = Some("abc".into())).unwrap());
        assert!(user.exec.is_none() && user.token.is_some());
    }

    #[test]
    fn insecure_drops_the_authority_and_a_file_replaces_its_data() {
        let insecure = cluster(&with(|flags| flags.insecure_skip_tls_verify = Some(true)).unwrap());
        assert_eq!(
            (insecure.certificate_authority_data, insecure.insecure_skip_tls_verify),
            (None, Some(true))
        );
        let file = cluster(&with(|flags| flags.certificate_authority = Some("/ca".into())).unwrap());
        assert_eq!(
            (file.certificate_authority_data, file.certificate_authority.as_deref()),
            (None, Some("/ca"))
        );
    }

    #[test]
    fn impersonation_is_whole_or_refused() {
        let user = user(
            &with(|flags| {
                flags.as_user = Some("bob".into());
                flags.as_group = vec!["dev".into(), "ops".into()];
                flags.as_user_extra = vec!["scope=a".into(), "scope=b".into()];
            })
            .unwrap(),
        );
        assert_eq!(user.impersonate.as_deref(), Some("bob"));
        assert_eq!(user.impersonate_groups.unwrap(), ["dev", "ops"]);
        assert_eq!(user.impersonate_user_extra.unwrap()["scope"], ["a", "b"]);
        assert!(with(|flags| flags.as_group = vec!["dev".into()]).is_err());
        assert!(with(|flags| flags.as_user_extra = vec!["scope".into()]).is_err());
    }

    #[test]
    fn what_does_not_exist_is_named_with_what_does() {
        let failure = with(|flags| flags.context = Some("shpo".into())).unwrap_err();
        assert_eq!(failure.message, "the kubeconfig has no context \"shpo\"");
        assert_eq!(failure.hint.as_deref(), Some("did you mean shop?"));
        let failure = with(|flags| flags.user = Some("nobody-at-all".into())).unwrap_err();
        assert_eq!(failure.hint.as_deref(), Some("it has jane, joe"));
        assert!(
            with(|flags| flags.context = Some("lab".into())).is_ok(),
            "kubectl forgives a context's missing user"
        );
    }

    #[test]
    fn flags_alone_are_enough_and_nothing_is_not() {
        let flags = ConnectFlags {
            server: Some("https://1.2.3.4:6443".into()),
            ..ConnectFlags::default()
        };
        assert_eq!(choose(None, &flags).unwrap().server, "https://1.2.3.4:6443");
        assert!(choose(None, &ConnectFlags::default()).is_err());
    }
}
