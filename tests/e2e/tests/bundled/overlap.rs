//! A Service that has an address of the pods' range, as clusters get it whose ranges were planned apart from each other.

use anyhow::{Context as _, Result, ensure};
use netcheck_e2e::{
    bundled::{PATIENCE, settled, two_pods},
    lab::{Lab, Namespace},
    runner::Case,
    traffic::Inside,
    verify::Verify,
};
use netcheck_rig::wait_until;
use serde_json::json;
use std::{
    collections::BTreeSet,
    net::{SocketAddr, TcpStream},
    time::Duration,
};

pub const CASES: &[Case] = &[(
    "verify: a Service's address in the pods' range is found, and takes a pod's connections",
    overlap,
)];

/// Name of the further range of Services, and of the Service.
const NAME: &str = "overlapping";
/// The pods' port.
const PORT: u16 = 8080;
/// How long a connection may take.
const ANSWER: Duration = Duration::from_secs(3);

fn overlap(lab: &Lab) -> Result<()> {
    let namespace = two_pods(lab)?;
    settled(lab)?;
    let victim = namespace.address("on-n2", false)?;
    let range = lab.kubectl("get node n2 -o jsonpath={.spec.podCIDR}")?;
    reached(lab, &namespace, victim, true)?;
    let outcome = overlapping(lab, &namespace, &range, victim);
    namespace.kubectl(&format!("delete service {NAME} --ignore-not-found"))?;
    let seconds = PATIENCE.as_secs();
    lab.kubectl(&format!(
        "delete servicecidr {NAME} --ignore-not-found --timeout={seconds}s"
    ))?;
    outcome?;
    reached(lab, &namespace, victim, true)?;
    Verify::wait_until_held(lab, PATIENCE)
}

fn overlapping(lab: &Lab, namespace: &Namespace<'_>, range: &str, victim: std::net::IpAddr) -> Result<()> {
    lab.apply(&json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR",
        "metadata": { "name": NAME }, "spec": { "cidrs": [range] },
    }))?;
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": { "name": NAME, "namespace": namespace.name },
        "spec": { "clusterIP": victim.to_string(), "ports": [{ "port": PORT }] },
    });
    // The range is not in use before a controller has looked at it.
    wait_until("a Service to get the address", PATIENCE, || {
        namespace.apply(&service).map_err(|error| format!("{error:#}"))
    })?;
    reached(lab, namespace, victim, false)?;
    let verify = Verify::run(lab, [] as [&str; 0])?;
    ensure!(
        verify.roots("n2") == BTreeSet::from(["verify-range-overlap"]) && verify.roots("n1").is_empty(),
        "{}",
        verify.told()
    );
    let finding = verify.finding("n2", "verify-range-overlap").context("it is told")?;
    let told = format!("Service {}/{NAME} has {victim}", namespace.name);
    ensure!(finding["actual"] == told, "{finding}");
    Ok(())
}

/// Waits until the one pod gets to the other, or does not: kube-proxy refuses what comes to a Service without endpoints.
fn reached(lab: &Lab, namespace: &Namespace<'_>, victim: std::net::IpAddr, is_reached: bool) -> Result<()> {
    let inside = Inside::pod(lab, namespace, "on-n1")?;
    let to = SocketAddr::new(victim, PORT);
    let what = if is_reached { "an answer of" } else { "no answer of" };
    Ok(wait_until(&format!("{what} {to}"), PATIENCE, || {
        let connected = inside.run(|| Ok(TcpStream::connect_timeout(&to, ANSWER)?));
        match connected {
            Ok(_) if is_reached => Ok(()),
            Err(_) if !is_reached => Ok(()),
            other => Err(format!("{:?}", other.map(drop))),
        }
    })?)
}
