//! `verify` on the bundled CNI: nothing to say of a healthy cluster, and each fault by its name.

use anyhow::{Context as _, Result, ensure};
use netcheck_e2e::{
    bundled::{PATIENCE, configure, settled, two_pods, without_daemons},
    catalogue::{
        Injection,
        bundled::{self, VARIABLES},
    },
    effect::Probes,
    lab::{Lab, Namespace, said},
    ledger,
    runner::Case,
    verify::Verify,
    victim::Victim,
};
use netcheck_rig::{Node, Part, wait_until};
use serde_json::{Value, json};
use std::{collections::BTreeSet, fs, time::Duration};

pub const CASES: &[Case] = &[
    (
        "verify: a healthy cluster has no findings, and nothing is left",
        healthy,
    ),
    (
        "verify: what is kept in a file is judged alike without a cluster",
        offline,
    ),
    (
        "verify: the printed Role is enough, and without it the verb says so",
        guest,
    ),
    (
        "verify: with --fix the daemons put right what nothing has told them of",
        fixed,
    ),
    ("verify: pods that come and go are no findings", churn),
    (
        "verify: further networks of pods are what they ask for, and what is in them",
        further_networks,
    ),
    (
        "verify: what a node makes of a Service is what its endpoints are",
        services,
    ),
    (
        "verify: observed nodes tell why packets die, and of what that follows",
        observed,
    ),
    (
        "verify: each fault of the catalogue is found by its root cause alone",
        faults,
    ),
    (
        "verify: each fault of the catalogue does to traffic what it says",
        effects,
    ),
];

/// After a run nothing is left within this time.
const CLEAN: Duration = Duration::from_mins(1);

fn sh(node: &Node, line: &str) -> Result<String> {
    node.run(["sh", "-ec", line]).with_context(|| line.to_owned())
}

fn healthy(lab: &Lab) -> Result<()> {
    let _pods = two_pods(lab)?;
    settled(lab)?;
    let verify = Verify::run(lab, [] as [&str; 0])?;
    ensure!(verify.held(), "{}", verify.told());
    let nodes = verify.report["status"]["nodes"].as_array().map_or(0, Vec::len);
    ensure!(nodes == 2, "{}", verify.told());
    ensure!(
        verify.report["status"]["network"] == "netcheck-cni",
        "{}",
        verify.told()
    );
    let people = lab.netcheck(["verify", "n2"]).output()?;
    let text = String::from_utf8_lossy(&people.stdout).into_owned();
    ensure!(
        people.status.success() && text.starts_with("NODE") && text.contains("\nn2 ") && !text.contains("\nn1 "),
        "{}",
        said(&people)
    );
    ensure!(text.contains("result: held: 1 node\n"), "{text}");
    for (arguments, code) in [
        (&["verify", "n9"][..], 2),
        (&["verify", "pod/x"], 2),
        (&["verify", "--check", "verify-nothing"], 2),
        (&["verify", "--via", "ephemeral"], 2),
        (&["verify", "--from", "/nowhere/file"], 2),
        (&["verify", "--max-nodes", "1"], 2),
        (&["verify", "--dry-run"], 0),
        (&["verify", "--check", "verify-route-missing", "node/n1"], 0),
    ] {
        let output = lab.netcheck(arguments).output()?;
        ensure!(output.status.code() == Some(code), "{arguments:?}: {}", said(&output));
    }
    lab.wait_until_clean(CLEAN)
}

fn offline(lab: &Lab) -> Result<()> {
    let _pods = two_pods(lab)?;
    settled(lab)?;
    let n1 = lab.rig.node("n1")?;
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("evidence.json");
    let (file, junit) = (path.display().to_string(), folder.path().join("verify.xml"));
    // No daemon mends it: nobody watches nc_* devices that it did not make, and what hangs on them is left alone.
    sh(
        &n1,
        "ip link add ncdeadbeef000 type veth peer name ncdeadbeef001; ip link set ncdeadbeef000 alias 'netcheck-cni nobody'",
    )?;
    let live = Verify::run(lab, ["--save", &file, "--junit", &junit.display().to_string()]);
    sh(&n1, "ip link del ncdeadbeef000")?;
    let live = live?;
    ensure!(
        live.roots("n1") == BTreeSet::from(["verify-veth-unclaimed"]),
        "{}",
        live.told()
    );
    let xml = fs::read_to_string(&junit)?;
    ensure!(xml.contains("node/n1") && xml.contains("failures=\"0\""), "{xml}");
    // The cluster is as it was; the file tells what was.
    let away = Verify::run(lab, ["--from", &file, "--server", "https://192.0.2.1:1"])?;
    ensure!(
        away.report["status"]["findings"] == live.report["status"]["findings"] && away.exit == live.exit,
        "{}",
        away.told()
    );
    let whole = fs::read(&path)?;
    for (bytes, word) in [
        (&whole[..whole.len() / 2], "cut off"),
        (&b"{\"kind\":\"List\"}"[..], "no evidence"),
        (&[0xff, 0x00, 0x7b][..], "no evidence"),
    ] {
        fs::write(&path, bytes)?;
        let output = lab.netcheck(["verify", "--from", &file]).output()?;
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(
            output.status.code() == Some(2) && stderr.contains(word),
            "{word}: {}",
            said(&output)
        );
    }
    Ok(())
}

fn guest(lab: &Lab) -> Result<()> {
    const USER: &str = "guest-verify";
    let kubeconfig = lab.rig.kubeconfig_for_user(USER, None)?;
    let run = || lab.netcheck_as(&kubeconfig, ["verify"]).output();
    let stranger = run()?;
    let text = said(&stranger);
    ensure!(
        stranger.status.code() == Some(3) && text.contains("rbac verify") && text.contains("list"),
        "{text}"
    );
    let printed = lab
        .netcheck(["rbac", "verify", "--user", USER, "-o", "json"])
        .output()?;
    let list = serde_json::from_slice(&printed.stdout).with_context(|| said(&printed))?;
    lab.wait_until_clean(CLEAN)?;
    lab.apply(&list)?;
    // The authorizer hears of it by and by.
    wait_until("the guest's run to hold", PATIENCE, || {
        let output = run().map_err(|error| error.to_string())?;
        let is_held = output.status.success() && String::from_utf8_lossy(&output.stdout).contains("result: held");
        if is_held { Ok(()) } else { Err(said(&output)) }
    })?;
    // It stays by design; later cases want to see one come and go.
    lab.kubectl("delete namespace netcheck").map(drop)
}

/// With a period of a day only events and askers make a daemon look, and no event makes it look at its plugin.
fn fixed(lab: &Lab) -> Result<()> {
    let _pods = two_pods(lab)?;
    configure(lab, &json!({ "periodSeconds": "86400" }))?;
    let outcome = falsified_and_fixed(lab);
    configure(lab, &json!({ "periodSeconds": null }))?;
    outcome?;
    others_left_alone(lab)
}

fn falsified_and_fixed(lab: &Lab) -> Result<()> {
    const PLUGIN: &str = "/opt/cni/bin/netcheck-cni";
    let n1 = lab.rig.node("n1")?;
    let whole = sh(&n1, &format!("sha256sum {PLUGIN}"))?;
    sh(&n1, &format!("rm {PLUGIN}"))?;
    let verify = Verify::run(lab, ["--fix"])?;
    let fix = &verify.report["status"]["fix"];
    ensure!(verify.held(), "{}", verify.told());
    let asked: Vec<_> = fix["nodes"].as_array().into_iter().flatten().collect();
    ensure!(
        asked.len() == 1 && asked[0]["node"] == "n1" && asked[0]["changed"]["file"].as_u64() >= Some(1),
        "{}",
        verify.told()
    );
    let gone = fix["gone"].as_array().into_iter().flatten();
    let gone: BTreeSet<&str> = gone.filter_map(|one| one["id"].as_str()).collect();
    ensure!(gone == BTreeSet::from(["verify-plugin-missing"]), "{}", verify.told());
    ensure!(
        sh(&n1, &format!("sha256sum {PLUGIN}"))? == whole,
        "{PLUGIN} is not what it was"
    );
    Ok(())
}

/// Somebody else's firewall is nothing that a daemon touches.
fn others_left_alone(lab: &Lab) -> Result<()> {
    let n1 = lab.rig.node("n1")?;
    sh(
        &n1,
        "nft add table inet fault; nft add chain inet fault f '{ type filter hook forward priority 0 ; policy drop ; }'",
    )?;
    let verify = Verify::run(lab, ["--fix"]);
    let left = sh(&n1, "nft list tables | grep -c fault");
    sh(&n1, "nft delete table inet fault")?;
    let verify = verify?;
    ensure!(
        verify.exit == 1 && verify.roots("n1") == BTreeSet::from(["verify-forward-dropped"]) && left?.trim() == "1",
        "{}",
        verify.told()
    );
    // The daemon takes its word back when it looks for such firewalls again, once in a period.
    wait_until("the daemon to see that it is gone", PATIENCE, || {
        settled(lab).map_err(|error| error.to_string())
    })?;
    lab.wait_until_clean(CLEAN)
}

fn churn(lab: &Lab) -> Result<()> {
    let namespace = lab.namespace("privileged")?;
    lab.kubectl(&format!(
        "-n {} create deployment comers --image=docker.io/rig/workload:1 --replicas=1",
        namespace.name
    ))?;
    for replicas in [12, 2, 14, 1, 10] {
        lab.kubectl(&format!(
            "-n {} scale deployment comers --replicas={replicas}",
            namespace.name
        ))?;
        let verify = Verify::run(lab, [] as [&str; 0])?;
        ensure!(verify.held(), "while it is scaled to {replicas}: {}", verify.told());
    }
    lab.wait_until_clean(CLEAN)
}

fn faults(lab: &Lab) -> Result<()> {
    let namespace = two_pods(lab)?;
    settled(lab)?;
    wait_for_others(lab, &namespace)?;
    ledger::wait(&lab.rig, PATIENCE, "what was before")?;
    without_daemons(lab, |lab| catalogue(lab, &namespace))?;
    let verify = Verify::run(lab, [] as [&str; 0])?;
    ensure!(verify.held(), "with daemons again: {}", verify.told());
    Ok(())
}

/// Faults, with what an interval must show of each on its node: the finding, and the kernel's reason.
const OBSERVED: [(&str, &str, &str); 2] = [
    ("verify-fdb-missing", "observe-tunnel-undeliverable", "NO_TX_TARGET"),
    ("verify-forwarding-off", "observe-not-forwarded", "IP_INADDRERRORS"),
];

fn observed(lab: &Lab) -> Result<()> {
    const OBSERVE: [&str; 2] = ["--observe", "3s"];
    let namespace = two_pods(lab)?;
    settled(lab)?;
    wait_for_others(lab, &namespace)?;
    ledger::wait(&lab.rig, PATIENCE, "what was before")?;
    let healthy = Verify::run(lab, OBSERVE)?;
    ensure!(
        healthy.held() && healthy.told_of("n1", "").is_empty(),
        "{}",
        healthy.told()
    );
    let nodes = healthy.report["status"]["observed"]["nodes"].as_array();
    ensure!(nodes.map_or(0, Vec::len) == 2, "{}", healthy.told());
    let probes = healthy.report["status"]["observed"]["probes"].as_array();
    let answered = |probe: &Value| probe["sent"].as_u64() > Some(0) && probe["sent"] == probe["answered"];
    ensure!(
        probes.is_some_and(|probes| !probes.is_empty() && probes.iter().all(answered)),
        "{}",
        healthy.told()
    );
    without_daemons(lab, |lab| {
        let victim = victim(lab, &namespace, "n1", "n2")?;
        for (fault, finding, reason) in OBSERVED {
            let mut injections = bundled::lanes().into_iter().flatten();
            let injection = injections.find(|injection| injection.finding == fault);
            let injection = injection.with_context(|| format!("the catalogue has no {fault}"))?;
            victim.run(&injection.harm)?;
            let verify = Verify::run(lab, OBSERVE);
            victim.run(&injection.mend)?;
            let verify = verify?;
            ensure!(verify.told_of("n1", finding) == [fault], "{fault}: {}", verify.told());
            ensure!(verify.died_of("n1").contains(reason), "{fault}: {}", verify.told());
            // Of one family, or of both.
            let effect = verify
                .finding("n1", fault)
                .map(|one| one["harm"]["probed"]["effect"].clone());
            ensure!(
                effect.is_some_and(|effect| effect == "broken" || effect == "degraded"),
                "{fault}: {}",
                verify.told()
            );
        }
        Ok(())
    })?;
    lab.wait_until_clean(CLEAN)
}

/// Until earlier cases' pods are gone: without a daemon nothing is cleaned up after them.
fn wait_for_others(lab: &Lab, own: &Namespace<'_>) -> Result<()> {
    Ok(wait_until("earlier cases' namespaces to go", PATIENCE, || {
        let names = lab
            .kubectl("get namespaces -o name")
            .map_err(|error| error.to_string())?;
        let others = names
            .lines()
            .filter(|name| name.contains("/lab-") && !name.ends_with(&format!("/{}", own.name)));
        match others.collect::<Vec<_>>().as_slice() {
            [] => Ok(()),
            others => Err(others.join(", ")),
        }
    })?)
}

/// Rules of the real kube-proxy, while it does not run: it would put them right.
fn services(lab: &Lab) -> Result<()> {
    let namespace = two_pods(lab)?;
    settled(lab)?;
    namespace.kubectl("expose pod on-n2 --port 8080")?;
    let n1 = lab.rig.node("n1")?;
    let service = format!("{}/on-n2", namespace.name);
    wait_until("kube-proxy to have made its rules", PATIENCE, || {
        let rules = sh(&n1, "iptables -t nat -S").map_err(|error| error.to_string())?;
        let is_there = rules
            .lines()
            .any(|rule| rule.contains(&service) && rule.contains("DNAT"));
        if is_there { Ok(()) } else { Err("none".to_owned()) }
    })?;
    let healthy = Verify::run(lab, [] as [&str; 0])?;
    ensure!(healthy.held(), "{}", healthy.told());
    n1.stop_part(Part::KubeProxy)?;
    let outcome = misled(lab, &n1, &service);
    n1.start_part(Part::KubeProxy)?;
    outcome?;
    Verify::wait_until_held(lab, PATIENCE)
}

fn misled(lab: &Lab, n1: &Node, service: &str) -> Result<()> {
    let dispatch = format!("iptables -t nat -S KUBE-SERVICES | grep '{service}'");
    let endpoint = format!("iptables -t nat -S | grep '{service}' | grep DNAT");
    for (what, find, harm, findings) in [
        (
            "its rule is gone",
            &dispatch,
            "s/^-A /-D /",
            &["verify-service-missing"][..],
        ),
        (
            "its endpoint is another",
            &endpoint,
            "s/^-A \\([^ ]*\\) \\(.*\\)--to-destination .*/-R \\1 2 \\2--to-destination 192.0.2.77:8080/",
            &["verify-service-endpoint-missing", "verify-service-endpoint-stale"],
        ),
    ] {
        sh(n1, "iptables-save -t nat > /run/nat")?;
        sh(n1, &format!("{find} | sed '{harm}' | xargs iptables -t nat"))?;
        let verify = Verify::run(lab, [] as [&str; 0]);
        sh(n1, "iptables-restore -T nat /run/nat")?;
        let verify = verify?;
        let expected: BTreeSet<&str> = findings.iter().copied().collect();
        ensure!(verify.roots("n1") == expected, "{what}: {}", verify.told());
        ensure!(verify.roots("n2").is_empty(), "{what}: {}", verify.told());
    }
    Ok(())
}

/// A real interface by the real macvlan plugin. What Multus does besides, calling the plugin and writing the annotation, this test does in its
/// place.
fn further_networks(lab: &Lab) -> Result<()> {
    let namespace = two_pods(lab)?;
    settled(lab)?;
    let victim = victim(lab, &namespace, "n1", "n2")?;
    let configuration = json!({
        "cniVersion": "1.0.0", "name": "lan", "type": "macvlan", "master": "eth0", "mode": "bridge",
        "ipam": { "type": "static", "addresses": [{ "address": "192.0.2.7/24" }] },
    });
    let added = victim.ask(&format!(
        "echo '{configuration}' | CNI_COMMAND=ADD CNI_CONTAINERID=further CNI_NETNS=$NETNS CNI_IFNAME=net1 CNI_PATH=/opt/cni/bin \
         /opt/cni/bin/macvlan"
    ))?;
    let added: Value = serde_json::from_str(&added).context("read the plugin's result")?;
    let status = json!([
        { "name": "netcheck", "interface": "eth0", "ips": [namespace.address("on-n1", false)?], "default": true, "dns": {} },
        { "name": format!("{}/lan", namespace.name), "interface": "net1", "ips": ["192.0.2.7"],
          "mac": added["interfaces"][0]["mac"], "dns": {} },
    ]);
    let annotate = |networks: &str| {
        let patch = json!({ "metadata": { "annotations": {
            "k8s.v1.cni.cncf.io/networks": networks, "k8s.v1.cni.cncf.io/network-status": status.to_string(),
        } } });
        let patch = patch.to_string();
        lab.rig
            .kubectl(["-n", &namespace.name, "patch", "pod", "on-n1", "-p", &patch])
    };
    annotate("lan@net1")?;
    let verify = Verify::run(lab, [] as [&str; 0])?;
    ensure!(verify.held(), "with all that was asked for: {}", verify.told());
    for (what, harm, finding) in [
        ("down", "ip link set net1 down", "verify-network-changed"),
        ("gone", "ip link del net1", "verify-network-interface-missing"),
    ] {
        victim.run(&format!("nsenter --net=$NETNS {harm}"))?;
        let verify = Verify::run(lab, [] as [&str; 0])?;
        ensure!(
            verify.roots("n1") == BTreeSet::from([finding]),
            "{what}: {}",
            verify.told()
        );
    }
    annotate("lan@net1,other")?;
    let verify = Verify::run(lab, [] as [&str; 0])?;
    let both = BTreeSet::from(["verify-network-interface-missing", "verify-network-missing"]);
    ensure!(verify.roots("n1") == both, "{}", verify.told());
    Ok(())
}

fn victim(lab: &Lab, namespace: &Namespace<'_>, name: &'static str, peer: &str) -> Result<Victim> {
    let pod = format!("on-{name}");
    let known = [
        ("POD4", namespace.address(&pod, false)?.to_string()),
        ("POD6", namespace.address(&pod, true)?.to_string()),
        ("VETH", namespace.host_veth(&pod, name)?),
    ];
    Victim::new(lab, name, peer, &known, &VARIABLES)
}

fn effects(lab: &Lab) -> Result<()> {
    let namespace = two_pods(lab)?;
    settled(lab)?;
    wait_for_others(lab, &namespace)?;
    ledger::wait(&lab.rig, PATIENCE, "what was before")?;
    without_daemons(lab, |lab| each_effect(lab, &namespace))
}

/// Each alone, or they would be taken for each other.
fn each_effect(lab: &Lab, namespace: &Namespace<'_>) -> Result<()> {
    let victim = victim(lab, namespace, "n1", "n2")?;
    let everyday = Probes::new(lab, namespace)?;
    let with_starts = Probes::new(lab, namespace)?.starting_pods();
    let mut wrong = Vec::new();
    for injection in bundled::lanes().concat().iter().chain([&bundled::last()]) {
        let is_of_the_disk = ["conf", "plugin", "address", "attachment"]
            .iter()
            .any(|start| injection.finding.starts_with(&format!("verify-{start}")));
        let probes = if is_of_the_disk { &with_starts } else { &everyday };
        victim.run(&injection.harm).with_context(|| injection.what.to_owned())?;
        let effect = probes.effect();
        victim.mend(injection)?;
        wrong.extend(effect?.is_not(injection));
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

fn catalogue(lab: &Lab, namespace: &Namespace<'_>) -> Result<()> {
    let victims = [victim(lab, namespace, "n1", "n2")?, victim(lab, namespace, "n2", "n1")?];
    let (mut wrong, mut commands) = (Vec::new(), 0);
    let lanes = bundled::lanes();
    let all = 1 + lanes.iter().map(Vec::len).sum::<usize>();
    let rounds = lanes.iter().map(|lane| lane.len().div_ceil(victims.len())).max();
    for round in 0..rounds.unwrap_or_default() {
        // One of each lane on each node.
        let due = |(place, victim)| {
            let of_lane = lanes.iter().filter_map(|lane| lane.get(round * victims.len() + place));
            (victim, of_lane.collect::<Vec<&Injection>>())
        };
        let done: Vec<(&Victim, Vec<&Injection>)> = victims.iter().enumerate().map(due).collect();
        for (victim, injections) in &done {
            for injection in injections {
                victim.run(&injection.harm).with_context(|| injection.what.to_owned())?;
            }
        }
        let verify = Verify::run(lab, [] as [&str; 0]);
        let tried: Result<usize> = verify.as_ref().map_or(Ok(0), |verify| {
            victims
                .iter()
                .try_fold(0, |sum, victim| Ok(sum + victim.by_hand(verify)?))
        });
        for (victim, injections) in &done {
            for injection in injections {
                // What the report's own commands have mended already is no failure; in the end all must be as it was.
                victim.mend(injection)?;
            }
        }
        commands += tried.context("a command that the report gives to mend something by hand")?;
        let verify = verify?;
        for (victim, injections) in &done {
            let expected: BTreeSet<&str> = injections.iter().map(|injection| injection.finding).collect();
            let found = verify.roots(victim.name);
            if found != expected {
                let what: Vec<&str> = injections.iter().map(|injection| injection.what).collect();
                wrong.push(format!(
                    "{} on {}: {expected:?} expected, found {found:?}",
                    what.join(", "),
                    victim.name
                ));
            }
        }
    }
    println!("verify: {commands} commands to mend by hand were taken");
    println!(
        "verify: {all} faults, {} times with something else than their root causes",
        wrong.len()
    );
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    let clean = Verify::run(lab, [] as [&str; 0])?;
    ensure!(clean.held(), "after everything was mended: {}", clean.told());
    let last = bundled::last();
    let [victim, _] = &victims;
    victim.run(&last.harm)?;
    let verify = Verify::run(lab, [] as [&str; 0])?;
    ensure!(
        verify.roots(victim.name) == BTreeSet::from([last.finding]),
        "{}",
        verify.told()
    );
    Ok(())
}
