//! The next command to run for a row that did not hold.

use super::{class::Class, judge::Verdict, plan::Row, report::Party, select::Relation};
use std::net::IpAddr;

/// One command that looks further; `None` where all is well.
pub fn next_step(
    row: &Row,
    verdict: &Verdict,
    source: &Party,
    destination: &Party,
    source_ips: &[IpAddr],
) -> Option<String> {
    let finding = verdict.finding()?;
    let explain = || format!("kubectl netcheck explain {finding}");
    // A command is copied into a shell: names that no API server would accept must not get into one.
    if ![source, destination].into_iter().all(is_plain) {
        return Some(explain());
    }
    if verdict.cause.is_some() {
        return describe(destination);
    }
    let class = verdict
        .transport
        .filter(|class| *class != Class::Reached)
        .unwrap_or(verdict.class);
    // The node that took the packet in and did not pass it on, if one was seen to.
    let blamed = verdict
        .by
        .as_deref()
        .and_then(|by| by.strip_prefix("node "))
        .filter(|node| is_plain_word(node));
    let elsewhere = row.pair.relation == Some(Relation::OtherNode);
    Some(match class {
        Class::NotTested => not_running(source, destination, &verdict.reason).unwrap_or_else(explain),
        Class::NeverArrived if elsewhere && !verdict.reason.contains("never left") => match row.target {
            Some(target) => route(blamed.or(source.node.as_deref()), target.ip()).unwrap_or_else(explain),
            None => explain(),
        },
        Class::ReplyLost if elsewhere && !verdict.reason.contains("dropped inside") => {
            let back = row
                .target
                .and_then(|target| source_ips.iter().find(|ip| ip.is_ipv4() == target.is_ipv4()));
            back.and_then(|ip| route(blamed.or(destination.node.as_deref()), *ip))
                .unwrap_or_else(explain)
        }
        // A router without a way: where the packet should have gone is the question, not which rule forbids it.
        Class::Rejected if verdict.reason.contains("cannot pass it on") => match row.target {
            Some(target) if destination.kind != "Service" => {
                route(blamed.or(source.node.as_deref()), target.ip()).unwrap_or_else(explain)
            }
            _ => explain(),
        },
        Class::Refused => describe(destination).unwrap_or_else(explain),
        Class::NoAnswer | Class::Rejected | Class::NeverArrived => policies(destination).unwrap_or_else(explain),
        Class::NameNotResolved => endpoints(destination),
        _ => explain(),
    })
}

fn is_plain(party: &Party) -> bool {
    let words = [Some(&party.name), party.namespace.as_ref(), party.node.as_ref()];
    words.into_iter().flatten().all(|word| is_plain_word(word))
}

/// A DNS name, as Kubernetes wants names of pods, nodes and Services to be (RFC 1123).
fn is_plain_word(word: &str) -> bool {
    !word.starts_with('-')
        && word
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-'))
}

fn endpoints(party: &Party) -> String {
    let namespace = party.namespace.as_deref().unwrap_or("default");
    format!(
        "kubectl get endpointslices -n {namespace} -l kubernetes.io/service-name={} -o wide",
        party.name
    )
}

fn route(node: Option<&str>, to: IpAddr) -> Option<String> {
    let node = node?;
    Some(format!("kubectl netcheck debug node/{node} -- ip route get {to}"))
}

fn policies(party: &Party) -> Option<String> {
    party
        .namespace
        .as_deref()
        .map(|namespace| format!("kubectl get networkpolicies -n {namespace}"))
}

fn describe(party: &Party) -> Option<String> {
    let kind = match party.kind.as_str() {
        "Pod" => "pod",
        "Service" | "DNS" => return Some(endpoints(party)),
        _ => return Some(format!("kubectl describe node {}", party.name)),
    };
    party
        .namespace
        .as_deref()
        .map(|namespace| format!("kubectl describe {kind} -n {namespace} {}", party.name))
}

fn not_running(source: &Party, destination: &Party, reason: &str) -> Option<String> {
    let meant = [source, destination].into_iter().find(|party| {
        let namespace = party.namespace.as_deref().unwrap_or_default();
        party.kind == "Pod" && reason.starts_with(&format!("pod {namespace}/{} is not running", party.name))
    })?;
    describe(meant)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_names_stay_out_of_commands() {
        let named = |name: &str| Party {
            kind: "Pod".into(),
            name: name.into(),
            ..Party::default()
        };
        assert!(is_plain(&named("web-5f6d-x1")) && is_plain(&named("ip-10-0-0-1.ec2.internal")));
        for name in ["x; rm -rf ~", "$(id)", "-oProxyCommand", "a b", "x\u{1b}[31m"] {
            assert!(!is_plain(&named(name)), "{name:?}");
        }
    }
}
