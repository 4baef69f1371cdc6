//! What a check found on a node.

use crate::findings::{self, Finding, Severity};

/// A difference, with what it is about; from it a [`Finding`] is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Id of the check.
    pub id: &'static str,
    /// The object: `10.244.2.0/24`, `ncvx0`, `shop/web-1`.
    pub object: String,
    /// What must be there.
    pub expected: String,
    /// What is.
    pub actual: String,
    /// Whose change would mend it, as a command on the node or in the cluster.
    pub fix: Option<String>,
    /// A command on the node that shows it.
    pub look: Option<String>,
    /// What else was seen of it, a line each.
    pub seen: Vec<String>,
    /// The device that it is on, if it is on one.
    pub device: Option<String>,
    /// It is there, or not, because of what is wrong with its device: so the comparison says.
    pub goes_with_device: bool,
    /// Index of the finding that this one follows from.
    pub follows: Option<usize>,
}

impl Found {
    /// A difference without further words.
    pub fn new(
        id: &'static str,
        object: impl Into<String>,
        expected: impl Into<String>,
        actual: impl Into<String>,
    ) -> Self {
        Self {
            id,
            object: object.into(),
            expected: expected.into(),
            actual: actual.into(),
            fix: None,
            look: None,
            seen: Vec::new(),
            device: None,
            goes_with_device: false,
            follows: None,
        }
    }

    /// With a command that shows it.
    #[must_use]
    pub fn look(mut self, command: impl Into<String>) -> Self {
        self.look = Some(command.into());
        self
    }

    /// With a command that mends it.
    #[must_use]
    pub fn fix(mut self, command: impl Into<String>) -> Self {
        self.fix = Some(command.into());
        self
    }

    /// On a device.
    #[must_use]
    pub fn on(mut self, device: impl Into<String>) -> Self {
        self.device = Some(device.into());
        self
    }

    /// On the device that a route names, as iproute2 writes it.
    #[must_use]
    pub fn on_device_of(mut self, route: &str) -> Self {
        let mut words = route.split(' ').skip_while(|word| *word != "dev");
        self.device = words.nth(1).map(str::to_owned);
        self
    }

    /// Whether it is the same difference, whatever is there now.
    pub fn is_same(&self, other: &Self) -> bool {
        self.identity() == other.identity()
    }

    /// What tells it from other differences.
    pub fn identity(&self) -> (&'static str, &str) {
        (self.id, &self.object)
    }

    /// As it is reported.
    pub fn finding(&self, node: &str) -> Finding {
        let page = findings::page(self.id);
        Finding {
            id: self.id.to_owned(),
            severity: page.map_or(Severity::Error, |page| page.severity),
            subject: format!("node/{node} {}", self.object),
            expected: self.expected.clone(),
            actual: self.actual.clone(),
            evidence: self
                .look
                .iter()
                .map(|look| format!("on {node}: {look}"))
                .chain(self.seen.iter().cloned())
                .collect(),
            cause: None,
            fix: self.fix.clone().or_else(|| Some((*page?.fix.first()?).to_owned())),
        }
    }
}
