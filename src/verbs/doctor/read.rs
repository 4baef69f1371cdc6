//! What `doctor` asks of the API, all at once. Nothing of it is stored there.

use super::DoctorArgs;
use crate::{
    agents::{
        self, AgentFlags, Budget,
        ephemeral::admits,
        gate::{self, Question, Verdict, may},
        image,
        manifest::{self, AgentSpec},
        permissions::Verb,
        run::RunId,
    },
    cluster::{
        Cluster,
        identity::whoami,
        list::{allowed, cluster_dns, list},
        request::{self, Problem, attempt},
    },
    doctor::{
        admission::{Agents, Labels, Target},
        api::{Me, Server},
        assess::ApiFacts,
        nodes::Node,
        proxy::{self, Guess},
        rights::{Answers, Scope},
    },
    exit::Failure,
    flags::KubectlFlags,
    networks::{self, Trace},
    output::safe,
    verbs::{cni::NETWORK, verify},
    verify::services::Proxy,
};
use clap::ValueEnum as _;
use futures::StreamExt as _;
use k8s_openapi::api::{
    apps::v1::DaemonSet,
    core::v1::{ConfigMap, Namespace, Node as ApiNode, Pod},
};
use kube::{Api, api::ListParams};
use std::{collections::BTreeSet, time::Duration};

/// Questions under way at once.
const AT_ONCE: usize = 32;
/// Pods of a namespace among which one is found that runs.
const FEW_PODS: u32 = 20;

/// The facts, and the nodes as the API has them.
pub struct Read {
    /// For the assessment.
    pub facts: ApiFacts,
    /// Names of nodes that `-l` chooses; `None` without it.
    pub labelled: Option<BTreeSet<String>>,
}

/// Asks.
///
/// # Errors
/// If the API server does not answer at all, or knows nobody like this.
pub async fn read(cluster: &Cluster, args: &DoctorArgs, flags: &KubectlFlags) -> Result<Read, Failure> {
    // Whether there is a server comes first: what cannot be reached is one line, and not thirty.
    let version = version(cluster).await?;
    let scope = Scope {
        namespace: (!flags.all_namespaces).then(|| cluster.namespace.clone()),
        agent_namespace: args.agents.agent_namespace.clone(),
        network_namespace: NETWORK.to_owned(),
    };
    let verbs = if args.verb.is_empty() {
        Verb::value_variants().to_vec()
    } else {
        args.verb.clone()
    };
    let (me, answers, target_labels, agent_labels, nodes, sets, mode, dns, labelled) = tokio::join!(
        me(cluster),
        answers(cluster, &scope, &verbs),
        labels(cluster, scope.namespace.as_deref()),
        labels(cluster, Some(&scope.agent_namespace)),
        nodes(cluster),
        daemon_sets(cluster),
        proxy_mode(cluster),
        cluster_dns(cluster),
        verify::labelled(cluster, flags.selector.as_deref()),
    );
    let (raw_nodes, sets) = (nodes?, sets?);
    let nodes = raw_nodes.as_ref().map_err(Clone::clone);
    let known: Vec<Node> = nodes
        .map(|nodes| nodes.iter().filter_map(Node::of).collect())
        .unwrap_or_default();
    let traces = traces(cluster, sets.as_deref(), raw_nodes.as_deref().unwrap_or_default()).await?;
    let proxy = guess(mode?, sets.as_deref());
    let first = known.iter().find(|node| node.out_of_scope.is_none());
    let (verdict, rung) = tokio::join!(
        verdict(
            cluster,
            &args.agents,
            &agent_labels,
            first.map(|node| node.name.as_str())
        ),
        rung(cluster, &args.agents, scope.namespace.as_deref()),
    );
    let may_create = Question {
        namespace: None,
        group: "",
        resource: "namespaces",
        verb: "create",
        name: None,
    };
    let may_create = agent_labels == Labels::Missing && may(cluster, &may_create).await.unwrap_or(false);
    let facts = ApiFacts {
        server: Server {
            address: cluster.server.clone(),
            version,
            me,
            user: cluster.user.clone(),
        },
        asked: args.verb.clone(),
        verbs,
        answers,
        agents: Agents {
            name: scope.agent_namespace.clone(),
            labels: agent_labels,
            verdict,
            may_create,
        },
        target: scope.namespace.clone().map(|name| Target {
            name,
            labels: target_labels,
            rung,
        }),
        scope,
        nodes: raw_nodes.map(|_| known),
        traces,
        proxy,
        dns: dns?,
    };
    Ok(Read {
        facts,
        labelled: labelled?,
    })
}

/// Why something was refused, in a line; an error if there was no answer at all.
fn refused(problem: Problem, doing: &str) -> Result<String, Failure> {
    if problem.is_forbidden() {
        Ok(format!("you may not {doing}"))
    } else {
        Err(problem.into_failure(doing))
    }
}

/// The server's version; the inner error: it does not tell.
async fn version(cluster: &Cluster) -> Result<Result<String, String>, Failure> {
    let limit = request::limit(cluster.request_timeout);
    match attempt(limit, cluster.client.apiserver_version()).await {
        Ok(info) => Ok(Ok(info.git_version)),
        Err(problem) => refused(problem, "ask the API server for its version").map(Err),
    }
}

async fn me(cluster: &Cluster) -> Result<Me, String> {
    let info = match whoami(cluster).await {
        Ok(info) => info,
        // Kubernetes has it since 1.28.
        Err(problem) if problem.is_not_found() => return Err("it is older than 1.28".to_owned()),
        Err(problem) => return Err(problem.into_failure("ask who this is").message),
    };
    let info = info.ok_or("its answer says nothing")?;
    Ok(Me {
        name: info.username.unwrap_or_default(),
        groups: info.groups.unwrap_or_default(),
    })
}

async fn answers(cluster: &Cluster, scope: &Scope, verbs: &[Verb]) -> Answers {
    let asked = scope.questions(verbs).into_iter().map(|question| async move {
        let answer = may(cluster, &question).await.map_err(|failure| failure.message);
        (question, answer)
    });
    futures::stream::iter(asked).buffer_unordered(AT_ONCE).collect().await
}

async fn labels(cluster: &Cluster, namespace: Option<&str>) -> Labels {
    let Some(namespace) = namespace else {
        return Labels::Unread("all namespaces are looked at".to_owned());
    };
    let api: Api<Namespace> = Api::all(cluster.client.clone());
    match attempt(request::limit(cluster.request_timeout), api.get_metadata(namespace)).await {
        Ok(object) => Labels::There(object.metadata.labels.unwrap_or_default()),
        Err(problem) if problem.is_not_found() => Labels::Missing,
        Err(problem) if problem.is_forbidden() => Labels::Unread("you may not get namespaces".to_owned()),
        Err(problem) => Labels::Unread(problem.into_failure("look up the namespace").message),
    }
}

async fn nodes(cluster: &Cluster) -> Result<Result<Vec<ApiNode>, String>, Failure> {
    let api: Api<ApiNode> = Api::all(cluster.client.clone());
    let nodes = allowed(list(cluster, &api, None).await, "list nodes")?;
    Ok(nodes.ok_or_else(|| "you may not list nodes".to_owned()))
}

async fn daemon_sets(cluster: &Cluster) -> Result<Option<Vec<DaemonSet>>, Failure> {
    let api: Api<DaemonSet> = Api::all(cluster.client.clone());
    allowed(list(cluster, &api, None).await, "list DaemonSets in all namespaces")
}

/// Networks that show themselves: by DaemonSets; for whoever may not list these, by the pods of kube-system.
async fn traces(
    cluster: &Cluster,
    sets: Option<&[DaemonSet]>,
    nodes: &[ApiNode],
) -> Result<Result<Vec<Trace>, String>, Failure> {
    if let Some(sets) = sets {
        return Ok(Ok(networks::recognise(sets, nodes)));
    }
    let api: Api<Pod> = Api::namespaced(cluster.client.clone(), "kube-system");
    let pods = allowed(list(cluster, &api, None).await, "list pods in namespace kube-system")?;
    let found = networks::recognise_by_pods(pods.as_deref().unwrap_or_default(), nodes);
    Ok(match (found.is_empty(), pods) {
        (false, _) => Ok(found),
        (true, Some(_)) => {
            Err("you may not list DaemonSets, and no pod in kube-system is of a known network".to_owned())
        }
        (true, None) => Err("you may list neither DaemonSets nor pods in kube-system".to_owned()),
    })
}

/// kube-proxy's and Cilium's configuration, where they are and may be read.
struct Modes {
    kube_proxy: Option<String>,
    cilium: Option<String>,
    unread: Option<String>,
}

async fn proxy_mode(cluster: &Cluster) -> Result<Modes, Failure> {
    let api: Api<ConfigMap> = Api::namespaced(cluster.client.clone(), "kube-system");
    let limit = request::limit(cluster.request_timeout);
    let (kube_proxy, cilium) = tokio::join!(
        attempt(limit, api.get_opt("kube-proxy")),
        attempt(limit, api.get_opt("cilium-config"))
    );
    let doing = "look up ConfigMaps in namespace kube-system";
    let (kube_proxy, cilium) = (allowed(kube_proxy, doing)?, allowed(cilium, doing)?);
    let unread = (kube_proxy.is_none() || cilium.is_none())
        .then(|| "you may not get configmaps in namespace kube-system".to_owned());
    let value = |map: Option<Option<ConfigMap>>, key: &str| map.flatten()?.data?.remove(key);
    Ok(Modes {
        // As kubeadm writes it.
        kube_proxy: value(kube_proxy, "config.conf").map(|text| proxy::mode_of(&text).to_owned()),
        cilium: value(cilium, "kube-proxy-replacement"),
        unread,
    })
}

fn guess(modes: Modes, sets: Option<&[DaemonSet]>) -> Guess {
    let is_running = |set: &&DaemonSet| {
        let status = set.status.as_ref();
        set.metadata.name.as_deref() == Some("kube-proxy")
            && status.is_some_and(|status| status.desired_number_scheduled > 0)
    };
    let daemon = sets.unwrap_or_default().iter().find(is_running);
    if modes
        .cilium
        .is_some_and(|how| ["true", "strict"].contains(&how.as_str()))
        && daemon.is_none()
    {
        return Guess {
            proxy: Some(Proxy::Cilium),
            evidence: "ConfigMap kube-system/cilium-config".to_owned(),
            unread: None,
        };
    }
    let proxy = daemon.and_then(|_| Guess::of_mode(modes.kube_proxy.as_deref()?));
    Guess {
        proxy,
        evidence: "DaemonSet and ConfigMap kube-system/kube-proxy".to_owned(),
        unread: modes.unread.or_else(|| {
            sets.is_none()
                .then(|| "you may not list DaemonSets in all namespaces".to_owned())
        }),
    }
}

fn agent_spec(agents: &AgentFlags) -> Result<AgentSpec, Failure> {
    let image = agents::ImageChoice {
        image: agents.image.clone(),
        prefix: agents.image_prefix.clone(),
        pull_secrets: agents.image_pull_secret.clone(),
    };
    Ok(AgentSpec {
        run: RunId::new()?,
        namespace: agents.agent_namespace.clone(),
        image: image.reference(&image::AGENT)?,
        pull_secrets: image.pull_secrets,
        deadline: Duration::from_mins(1),
        budget: Budget::RECORDING,
    })
}

/// What admission says of a node agent; nothing is created.
async fn verdict(
    cluster: &Cluster,
    agents: &AgentFlags,
    labels: &Labels,
    node: Option<&str>,
) -> Result<Verdict, String> {
    let Some(node) = node else {
        return Err("no node is known that an agent could run on".to_owned());
    };
    if *labels == Labels::Missing {
        return Err("there is no such namespace".to_owned());
    }
    let spec = agent_spec(agents).map_err(|failure| failure.message)?;
    let job = manifest::job(&spec, node, 0).map_err(|failure| failure.message)?;
    let verdict = gate::ask_admission(cluster, &job).await;
    verdict.map_err(|failure| safe(&failure.message))
}

/// What admission says of ephemeral containers in a pod that runs; nothing is created.
async fn rung(
    cluster: &Cluster,
    agents: &AgentFlags,
    namespace: Option<&str>,
) -> Result<(Option<agents::ladder::Rung>, String), String> {
    let namespace = namespace.ok_or("all namespaces are looked at")?;
    let limit = request::limit(cluster.request_timeout);
    let api: Api<Pod> = Api::namespaced(cluster.client.clone(), namespace);
    let params = ListParams::default().limit(FEW_PODS);
    let pods = attempt(limit, api.list(&params)).await;
    let pods = pods.map_err(|problem| problem.into_failure("list pods").message)?;
    let is_running = |pod: &&Pod| {
        let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
        phase == Some("Running") && pod.metadata.deletion_timestamp.is_none()
    };
    let pod = pods
        .items
        .iter()
        .find(is_running)
        .and_then(|pod| pod.metadata.name.clone());
    let pod = pod.ok_or_else(|| format!("no pod runs in namespace {namespace}"))?;
    let spec = agent_spec(agents).map_err(|failure| failure.message)?;
    let rung = admits(cluster, namespace, &pod, &spec.run, &spec.image).await;
    rung.map(|rung| (rung, pod)).map_err(|failure| safe(&failure.message))
}
