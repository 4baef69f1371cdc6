//! The cluster's DNS: its Service, what is behind it, and whether a question is answered.

use super::{
    book::{Book, finding, listed},
    report::{State, Topic},
};
use crate::cluster::inventory::Service;
use netcheck_wire::probe::Outcome;
use std::net::{IpAddr, SocketAddr};

/// A question that was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// From where: `node/n1`, `pod shop/web-1 on n1`.
    pub from: String,
    /// Whether that is a pod.
    pub is_pod: bool,
    /// The server.
    pub server: SocketAddr,
    /// The name.
    pub name: String,
    /// What came of it, or why it was not asked.
    pub outcome: Result<Outcome, String>,
}

/// Says what is behind it.
pub fn judge(service: &Result<Service, String>, asked: &[Asked], book: &mut Book) {
    let service = match service {
        Ok(service) => service,
        Err(why) => {
            book.untold(Topic::Dns, "service", why)
                .next("kubectl netcheck rbac doctor");
            return;
        }
    };
    let name = format!("{}/{}", service.namespace, service.name);
    let next = format!("kubectl netcheck matrix -n {} --protocol dns", service.namespace);
    // With both families each backend is there twice.
    let is_v4 = service.cluster_ips.first().is_none_or(IpAddr::is_ipv4);
    let endpoints = || {
        service
            .endpoints
            .iter()
            .filter(|endpoint| endpoint.ip.is_ipv4() == is_v4)
    };
    let ready = endpoints().filter(|endpoint| endpoint.ready).count();
    let all = endpoints().count();
    let ips = listed(service.cluster_ips.iter().map(ToString::to_string));
    let state = if ready > 0 { State::Ok } else { State::Failed };
    book.line(
        Topic::Dns,
        "service",
        state,
        format!("{name} at {ips}, {ready} of {all} endpoints ready"),
    );
    if ready == 0 {
        let found = finding(
            "doctor-dns-no-endpoints",
            format!("service {name}"),
            format!("none of {all} endpoints is ready"),
        );
        let pods = format!("kubectl -n {} get pods -o wide", service.namespace);
        book.find(Topic::Dns, found, pods);
    }
    if asked.is_empty() {
        return;
    }
    let mut unanswered = Vec::new();
    let mut untold = Vec::new();
    let mut answered = Vec::new();
    for one in asked {
        match verdict(one, service) {
            Ok(()) => answered.push(one.from.as_str()),
            Err(Wrong::Untold(why)) => untold.push(format!("{}: {why}", one.from)),
            Err(Wrong::Answer(why)) => unanswered.push((one, why)),
        }
    }
    let question = asked.first().map_or("", |one| one.name.as_str());
    let (state, says) = match (unanswered.first(), answered.is_empty()) {
        (Some((one, why)), _) => (State::Failed, format!("{question} asked from {}: {why}", one.from)),
        (None, false) => (State::Ok, format!("{question} is answered to {}", listed(&answered))),
        (None, true) => (State::Unknown, format!("could not tell: {}", listed(&untold))),
    };
    // Without an endpoint nothing can answer, and that is told already.
    if ready > 0 {
        for (one, why) in &unanswered {
            let mut found = finding(
                "doctor-dns-unanswered",
                format!("{} asks {}", one.from, one.server),
                why.clone(),
            );
            found.evidence = vec![format!("the question: {}", one.name)];
            if one.is_pod && answered.iter().any(|from| from.starts_with("node/")) {
                found.cause =
                    Some("nodes are answered: the way from pods is broken, or a policy forbids it".to_owned());
            }
            book.find(Topic::Dns, found, next.clone());
        }
    }
    book.line(Topic::Dns, "answers", state, says).next(next);
}

/// Why an answer is none.
enum Wrong {
    Untold(String),
    Answer(String),
}

fn verdict(asked: &Asked, service: &Service) -> Result<(), Wrong> {
    match &asked.outcome {
        Err(why) | Ok(Outcome::NotSent { why }) => Err(Wrong::Untold(why.clone())),
        Ok(Outcome::Resolved {
            rcode: 0, addresses, ..
        }) if addresses.iter().any(|ip| service.cluster_ips.contains(ip)) => Ok(()),
        Ok(Outcome::Resolved {
            rcode: 0, addresses, ..
        }) => Err(Wrong::Answer(format!(
            "another address was answered: {}",
            listed(addresses.iter().map(ToString::to_string))
        ))),
        Ok(Outcome::Resolved { rcode, .. }) => Err(Wrong::Answer(format!("the answer is an error, code {rcode}"))),
        Ok(Outcome::Failed { errno }) => Err(Wrong::Answer(format!("the kernel reports {errno}"))),
        Ok(Outcome::TimedOut) => Err(Wrong::Answer("no answer in time".to_owned())),
        Ok(Outcome::Connected | Outcome::Echoed) => {
            Err(Wrong::Untold("its agent says something else than was asked".to_owned()))
        }
    }
}
