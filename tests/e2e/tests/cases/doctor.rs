//! `doctor`: what it says of a healthy cluster, of one with hardly any rights, and of what is broken; and that its first stage creates nothing.

use anyhow::{Context as _, Result, ensure};
use netcheck_e2e::{
    audit::Audit,
    bundled::{PATIENCE, settled, two_pods},
    doctor::Doctor,
    fault::Fault,
    lab::{Lab, said},
    runner::Case,
};
use netcheck_rig::{Node, wait_until};
use std::{fs, time::Duration};

pub const CASES: &[Case] = &[
    (
        "doctor: a healthy cluster is told what it is, and nothing is left",
        healthy,
    ),
    ("doctor: the API alone is asked without creating anything", api_only),
    (
        "doctor: without rights it says why it cannot tell, and the Role that it names is enough",
        few_rights,
    ),
    ("doctor: an image that cannot be pulled is told of", no_image),
    ("doctor: what an earlier network left is found", leftovers),
    ("doctor: a pod that cluster DNS does not answer is found", dns),
];

/// After a run nothing is left within this time.
const CLEAN: Duration = Duration::from_mins(1);

fn sh(node: &Node, line: &str) -> Result<String> {
    node.run(["sh", "-ec", line]).with_context(|| line.to_owned())
}

fn healthy(lab: &Lab) -> Result<()> {
    let namespace = two_pods(lab)?;
    settled(lab)?;
    let folder = tempfile::tempdir()?;
    let junit = folder.path().join("doctor.xml").display().to_string();
    let doctor = Doctor::run(lab, ["-n", &namespace.name, "--junit", &junit])?;
    doctor.expect_exit(0)?;
    let status = &doctor.report["status"];
    ensure!(status["network"] == "netcheck-cni", "{}", doctor.told());
    // What the node itself says, by other tools.
    let n1 = lab.rig.node("n1")?;
    sh(&n1, "iptables-save -t nat | grep -q '^:KUBE-SERVICES'")?;
    ensure!(status["serviceProxy"] == "kube-proxy (iptables)", "{}", doctor.told());
    let kernel = n1.run(["uname", "-r"])?;
    doctor.expect("nodes", "kernel, runtime", "ok", kernel.trim())?;
    doctor.expect("agents", "started", "ok", "n1, n2")?;
    doctor.expect("rights", "verify", "ok", "")?;
    doctor.expect("admission", &format!("pods in {}", namespace.name), "ok", "add NET_RAW")?;
    let mtu = sh(&n1, "cat /proc/sys/net/ipv6/conf/ncvx0/mtu")?;
    doctor.expect("network", "packet sizes", "ok", &format!("tunnels {}", mtu.trim()))?;
    doctor.expect("dns", "answers", "ok", "is answered to node/n1, pod ")?;
    for words in ["stage 1 of 2", "stage 2 of 2: agents on 2 of 2 nodes: n1 n2"] {
        ensure!(doctor.stderr.contains(words), "{words}: {}", doctor.told());
    }
    let xml = fs::read_to_string(&junit)?;
    ensure!(
        xml.contains("classname=\"dns\"") && xml.contains("failures=\"0\" errors=\"0\""),
        "{xml}"
    );
    let people = lab.netcheck(["doctor", "n2", "--max-nodes", "1"]).output()?;
    let text = String::from_utf8_lossy(&people.stdout).into_owned();
    ensure!(
        people.status.success() && text.starts_with("ABOUT ") && text.contains("result: held: "),
        "{}",
        said(&people)
    );
    ensure!(text.lines().count() < 45, "more than a screen: {text}");
    for (arguments, code) in [
        (&["doctor", "n9"][..], 2),
        (&["doctor", "pod/x"], 2),
        (&["doctor", "-n", "no-such-namespace"], 2),
        (&["doctor", "-l", "no=such"], 2),
        (&["doctor", "--via", "ephemeral"], 2),
        (&["doctor", "--verb", "nothing"], 2),
        (
            &["doctor", "--server", "https://192.0.2.1:1", "--request-timeout", "1s"],
            3,
        ),
    ] {
        let output = lab.netcheck(arguments).output()?;
        ensure!(output.status.code() == Some(code), "{arguments:?}: {}", said(&output));
        let errors = String::from_utf8_lossy(&output.stderr)
            .lines()
            .filter(|line| line.starts_with("error:"))
            .count();
        ensure!(errors == 1, "{arguments:?}: {}", said(&output));
    }
    lab.wait_until_clean(CLEAN)
}

/// What was asked of the API that it would have kept.
fn kept(audit: &Audit) -> Result<Vec<String>> {
    let of_ours = |event: &serde_json::Value| {
        let agent = event["userAgent"].as_str().unwrap_or_default();
        let resource = event["objectRef"]["resource"].as_str().unwrap_or_default();
        let uri = event["requestURI"].as_str().unwrap_or_default();
        let is_read = matches!(event["verb"].as_str(), Some("get" | "list" | "watch"));
        agent.contains("netcheck") && !is_read && !resource.contains("review") && !uri.contains("dryRun=All")
    };
    Ok(audit
        .events()?
        .iter()
        .filter(|event| of_ours(event))
        .map(ToString::to_string)
        .collect())
}

fn api_only(lab: &Lab) -> Result<()> {
    let namespace = two_pods(lab)?;
    let audit = Audit::from_now(&lab.rig.audit_log())?;
    let doctor = Doctor::run(lab, ["--api-only", "-n", &namespace.name])?;
    // No DaemonSet of kube-proxy is in this cluster: that is for nodes to tell.
    doctor.expect_exit(3)?;
    doctor.expect("network", "service proxy", "unknown", "only nodes can tell")?;
    doctor.expect("network", "pod network", "ok", "DaemonSet netcheck-cni/netcheck-cni")?;
    let plan = lab.netcheck(["doctor", "--dry-run"]).output()?;
    let text = said(&plan);
    ensure!(
        plan.status.success() && text.contains("Job") && text.contains("nodes: n1 n2"),
        "{text}"
    );
    let asked = audit.events()?.len();
    let kept = kept(&audit)?;
    ensure!(kept.is_empty(), "{}", kept.join("\n"));
    ensure!(asked > 50, "the audit log must hold what was asked: {asked}");
    println!(
        "doctor: the API was asked in {} ms",
        doctor.report["status"]["timing"]["apiMs"]
    );
    Ok(())
}

fn few_rights(lab: &Lab) -> Result<()> {
    const USER: &str = "guest-doctor";
    lab.wait_until_clean(CLEAN)?;
    let namespace = two_pods(lab)?;
    let kubeconfig = lab.rig.kubeconfig_for_user(USER, None)?;
    let run = |more: &[&str]| -> Result<Doctor> {
        let line = ["doctor", "-o", "json", "-n", &namespace.name];
        Doctor::of(&lab.netcheck_as(&kubeconfig, line).args(more).output()?)
    };
    let stranger = run(&[])?;
    stranger.expect_exit(3)?;
    stranger.expect("api", "identity", "ok", USER)?;
    for (topic, check) in [("nodes", "ready"), ("network", "pod network"), ("dns", "service")] {
        stranger.expect(topic, check, "unknown", "could not tell: you may")?;
    }
    stranger.expect("agents", "started", "unknown", "you may not list nodes")?;
    // Impersonated, it is the same user.
    let acted = Doctor::run(lab, ["--api-only", "-n", &namespace.name, "--as", USER])?;
    acted.expect(
        "rights",
        "matrix",
        "warning",
        &format!("list pods in namespace {}", namespace.name),
    )?;
    // What it says is missing is what another tool says.
    let can = lab
        .rig
        .kubectl_command(["auth", "can-i", "list", "pods", "-n", &namespace.name, "--as", USER])
        .output()?;
    ensure!(String::from_utf8_lossy(&can.stdout).trim() == "no", "{}", said(&can));
    let gate = run(&["--api-only", "--verb", "matrix"])?;
    gate.expect_exit(1)?;
    let next = gate.report["status"]["findings"][0]["next"]
        .as_str()
        .unwrap_or_default();
    let mut words = next.split(' ');
    ensure!(
        words.next() == Some("kubectl") && words.next() == Some("netcheck") && next.contains(USER),
        "{next}"
    );
    // The very command that it names.
    let printed = lab.netcheck(words.chain(["-o", "json"])).output()?;
    let list = serde_json::from_slice(&printed.stdout).with_context(|| said(&printed))?;
    lab.apply(&list)?;
    wait_until("the guest to be allowed everything", PATIENCE, || {
        let gate = run(&["--api-only", "--verb", "matrix"]).map_err(|error| format!("{error:#}"))?;
        let whole = "by node agents, and by ephemeral containers";
        gate.expect("rights", "matrix", "ok", whole)
            .map_err(|error| format!("{error:#}"))
    })?;
    let now = run(&["--api-only", "--verb", "matrix"])?;
    now.expect("admission", "agents in netcheck", "ok", "node agents are admitted")?;
    // It stays by design; later cases want to see one come and go.
    lab.kubectl("delete namespace netcheck").map(drop)
}

fn no_image(lab: &Lab) -> Result<()> {
    lab.wait_until_clean(CLEAN)?;
    let doctor = Doctor::run(lab, ["n1", "--image", "registry.invalid/no/such:1"])?;
    doctor.expect_exit(3)?;
    ensure!(doctor.found("node/n1") == ["agent-image-pull"], "{}", doctor.told());
    doctor.expect("agents", "started", "unknown", "Pull")?;
    lab.wait_until_clean(CLEAN)
}

fn leftovers(lab: &Lab) -> Result<()> {
    settled(lab)?;
    let n1 = lab.rig.node("n1")?;
    let fault = Fault::inject(
        "a bridge and a configuration of Weave Net",
        || {
            sh(
                &n1,
                "ip link add weave type bridge; ip link set weave up; \
                 echo '{\"cniVersion\":\"0.3.0\",\"name\":\"weave\",\"plugins\":[{\"type\":\"weave-net\"}]}' > /etc/cni/net.d/99-weave.conflist",
            )
            .map(drop)
        },
        || sh(&n1, "ip link del weave; rm /etc/cni/net.d/99-weave.conflist").map(drop),
    )?;
    let doctor = Doctor::run(lab, [] as [&str; 0])?;
    fault.mend()?;
    doctor.expect_exit(0)?;
    let mut found = doctor.found("node/n1");
    found.sort_unstable();
    ensure!(
        found == ["doctor-conf-leftover", "verify-leftover"],
        "{}",
        doctor.told()
    );
    ensure!(doctor.found("node/n2").is_empty(), "{}", doctor.told());
    doctor.expect("network", "leftovers", "warning", "weave")
}

fn dns(lab: &Lab) -> Result<()> {
    let namespace = two_pods(lab)?;
    settled(lab)?;
    let n1 = lab.rig.node("n1")?;
    let fault = Fault::inject(
        "no DNS for pods",
        || {
            sh(
                &n1,
                "nft add table inet no_dns; nft add chain inet no_dns forward '{ type filter hook forward priority -300; }'; \
                 nft add rule inet no_dns forward udp dport '{ 53, 1053 }' counter drop",
            )
            .map(drop)
        },
        || sh(&n1, "nft delete table inet no_dns").map(drop),
    )?;
    let doctor = Doctor::run(lab, ["-n", &namespace.name])?;
    let rules = sh(&n1, "nft list table inet no_dns");
    fault.mend()?;
    let rules = rules?;
    ensure!(rules.contains("counter") && !rules.contains("packets 0"), "{rules}");
    doctor.expect_exit(1)?;
    ensure!(
        doctor.found("pod ").contains(&"doctor-dns-unanswered"),
        "{}",
        doctor.told()
    );
    doctor.expect("dns", "answers", "failed", " on n1: no answer in time")?;
    Doctor::run(lab, ["-n", &namespace.name])?.expect_exit(0)
}
