//! What verbs may do, against what they need (`agents::permissions`).

use super::{
    api::Me,
    book::{Book, finding},
    report::{State, Topic},
};
use crate::{
    agents::{
        gate::Question,
        permissions::{self, Grant, Place, Verb, Way},
    },
    findings::Severity,
};
use std::collections::{BTreeMap, BTreeSet};

/// Where verbs would work.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scope {
    /// The namespace that is looked at; `None` for all.
    pub namespace: Option<String>,
    /// The agents' namespace.
    pub agent_namespace: String,
    /// The bundled network's namespace.
    pub network_namespace: String,
}

/// Answers of the authorizers, or why one was not given.
pub type Answers = BTreeMap<Question, Result<bool, String>>;

impl Scope {
    /// What to ask about one verb of a grant.
    pub fn question(&self, grant: &Grant, verb: &'static str) -> Question {
        let (namespace, name) = match grant.place {
            Place::Targets => (self.namespace.clone(), None),
            Place::Agents => (Some(self.agent_namespace.clone()), None),
            Place::Dns | Place::System => (Some("kube-system".to_owned()), None),
            Place::Cluster => (None, None),
            Place::AgentNamespaceItself => (Some(self.agent_namespace.clone()), Some(self.agent_namespace.clone())),
            Place::Cni => (Some(self.network_namespace.clone()), None),
            Place::CniItself => (None, Some(self.network_namespace.clone())),
        };
        Question {
            // What a namespace's own Role allows on the namespace itself.
            name: name.or_else(|| namespace.clone().filter(|_| grant.resource == "namespaces")),
            namespace,
            group: grant.group,
            resource: grant.resource,
            verb,
        }
    }

    /// Everything that has to be asked about these verbs.
    pub fn questions(&self, verbs: &[Verb]) -> BTreeSet<Question> {
        let grants = verbs.iter().flat_map(|verb| permissions::grants(*verb, &WAYS));
        let asked = grants.flat_map(|grant| grant.verbs.iter().map(move |verb| (grant, *verb)));
        asked.map(|(grant, verb)| self.question(&grant, verb)).collect()
    }

    fn place(&self, grant: &Grant) -> String {
        let question = self.question(grant, "");
        match (&question.namespace, &question.name) {
            (_, Some(name)) => format!(" named {name}"),
            (Some(namespace), None) => format!(" in namespace {namespace}"),
            (None, None) => String::new(),
        }
    }

    /// The command that prints the Role.
    pub fn mend(&self, verb: Verb, me: Option<&Me>) -> String {
        let namespace = match &self.namespace {
            Some(namespace) => format!("-n {namespace}"),
            None => "-A".to_owned(),
        };
        let binding = me.map(Me::binding).unwrap_or_default();
        let agents = if self.agent_namespace == crate::agents::DEFAULT_NAMESPACE {
            String::new()
        } else {
            format!(" --agent-namespace {}", self.agent_namespace)
        };
        format!("kubectl netcheck rbac {} {namespace}{agents}{binding}", verb.word())
    }
}

const WAYS: [Way; 2] = [Way::Node, Way::Ephemeral];

/// How a verb stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Standing {
    /// Required whatever the way.
    pub both: Vec<String>,
    /// Required of node agents.
    pub node: Vec<String>,
    /// Required of ephemeral containers.
    pub ephemeral: Vec<String>,
    /// Without these it says less.
    pub optional: Vec<String>,
    /// Why something was not told.
    pub untold: Option<String>,
    /// It has agents on nodes.
    has_node: bool,
    /// It may have agents in pods.
    has_ephemeral: bool,
}

impl Standing {
    /// By the answers.
    pub fn of(verb: Verb, scope: &Scope, answers: &Answers) -> Self {
        let mut standing = Self::default();
        for grant in permissions::grants(verb, &WAYS) {
            let mut lacking = Vec::new();
            for one in grant.verbs {
                match answers.get(&scope.question(&grant, one)) {
                    Some(Ok(true)) => {}
                    Some(Ok(false)) => lacking.push(*one),
                    Some(Err(why)) => standing.untold = Some(why.clone()),
                    None => standing.untold = Some("it was not asked".to_owned()),
                }
            }
            let (is_node, is_ephemeral) = (grant.way == Way::Node, grant.way == Way::Ephemeral);
            standing.has_node |= is_node;
            standing.has_ephemeral |= is_ephemeral;
            if lacking.is_empty() {
                continue;
            }
            let words = permissions::words(grant.group, grant.resource, &lacking);
            let list = match (grant.required, grant.way) {
                (false, _) => &mut standing.optional,
                (true, Way::Both) => &mut standing.both,
                (true, Way::Node) => &mut standing.node,
                (true, Way::Ephemeral) => &mut standing.ephemeral,
            };
            list.push(format!("{words}{}", scope.place(&grant)));
        }
        standing
    }

    /// Whether it can do its work, by whichever way.
    pub fn is_possible(&self) -> bool {
        let by_node = self.has_node && self.node.is_empty();
        let by_ephemeral = self.has_ephemeral && self.ephemeral.is_empty();
        self.both.is_empty() && (by_node || by_ephemeral || !(self.has_node || self.has_ephemeral))
    }

    /// Whether its agents may be on nodes.
    pub fn is_possible_on_nodes(&self) -> bool {
        self.both.is_empty() && self.node.is_empty()
    }

    fn says(&self) -> String {
        let ways = match (self.has_node, self.has_ephemeral) {
            (false, false) => String::new(),
            (true, false) => "by node agents".to_owned(),
            _ if self.node.is_empty() && self.ephemeral.is_empty() => {
                "by node agents, and by ephemeral containers".to_owned()
            }
            _ if self.node.is_empty() => "by node agents only".to_owned(),
            _ => "by ephemeral containers only".to_owned(),
        };
        let less = match self.optional.as_slice() {
            [] => String::new(),
            lacking => format!("less without {}", super::book::listed(lacking)),
        };
        let parts: Vec<String> = [ways, less].into_iter().filter(|part| !part.is_empty()).collect();
        if parts.is_empty() {
            "all that it needs".to_owned()
        } else {
            parts.join("; ")
        }
    }

    /// All that keeps it from working, a line each.
    fn lacks(&self) -> Vec<String> {
        let mut lacks = self.both.clone();
        let of = |list: &[String], way: &str| list.iter().map(|one| format!("{one} ({way})")).collect::<Vec<_>>();
        lacks.extend(of(&self.node, "node agents"));
        // One way is enough, and the one that needs less rights on nodes is named where both are lacking.
        lacks.extend(of(&self.ephemeral, "or, instead, ephemeral containers"));
        lacks
    }
}

/// A line for each verb. Missing rights are failures of those that were `asked` for, and else only deserve a look.
pub fn judge(scope: &Scope, asked: &[Verb], verbs: &[Verb], answers: &Answers, me: Option<&Me>, book: &mut Book) {
    for verb in verbs {
        let standing = Standing::of(*verb, scope, answers);
        let mend = scope.mend(*verb, me);
        if standing.is_possible() {
            match &standing.untold {
                Some(why) => book.untold(Topic::Rights, verb.word(), why).next(mend),
                None if standing.optional.is_empty() => {
                    book.line(Topic::Rights, verb.word(), State::Ok, standing.says());
                }
                None => book
                    .line(Topic::Rights, verb.word(), State::Ok, standing.says())
                    .next(mend),
            }
            continue;
        }
        let severity = if asked.contains(verb) {
            Severity::Error
        } else {
            Severity::Warning
        };
        let lacks = standing.lacks();
        book.line(
            Topic::Rights,
            verb.word(),
            severity.into(),
            format!("you may not {}", super::book::listed(&lacks)),
        )
        .next(mend.clone());
        let mut found = finding(
            "doctor-rights-missing",
            verb.word(),
            format!("you may not {}", lacks.first().map_or("", String::as_str)),
        );
        found.severity = severity;
        found.evidence = lacks.iter().map(|lack| format!("missing: {lack}")).collect();
        found.fix = Some(format!("{mend} | kubectl apply -f -, by an administrator"));
        book.find(Topic::Rights, found, mend);
    }
}
