//! The bundled CNI on a real cluster, as its manifests bring it there: health, repair under traffic, live switches, death, churn, uninstall.

use anyhow::{Context, Result, bail, ensure};
use netcheck_e2e::{
    lab::{Lab, Namespace, said},
    runner::{self, Case},
    shop,
};
use netcheck_rig::{Cni, RigSpec, wait_until};
use std::{
    collections::BTreeSet,
    io::{BufRead as _, BufReader, Write as _},
    process::{Child, ChildStdin, ChildStdout, Command, ExitCode, Stdio},
    time::Duration,
};

/// Well below the period of full comparisons (30 s): what is mended by then was mended because of an event.
const BY_EVENT: Duration = Duration::from_secs(12);
/// For what takes the API server and kubelets.
const PATIENCE: Duration = Duration::from_secs(90);

const CASES: &[Case] = &[
    ("bundled: the shop is reached by tcp, dns and icmp", healthy),
    ("bundled: what is deleted or falsified by hand is back by event", mended),
    ("bundled: a switch of the backend breaks no connection", switched),
    ("bundled: without its daemon traffic and new pods go on", daemonless),
    ("bundled: pods that come and go leave nothing", churn),
    ("bundled: a node killed and started is whole again", rebooted),
    (
        "bundled: uninstall refuses, then leaves nodes as they were",
        uninstalled,
    ),
];

fn main() -> ExitCode {
    let spec = RigSpec {
        name: "bundled".into(),
        nodes: 2,
        cni: Cni::Bundled,
        ..RigSpec::default()
    };
    runner::run([(runner::named(spec), CASES.to_vec())])
}

fn healthy(lab: &Lab) -> Result<()> {
    shop::expect_healthy(lab, &["--protocol", "tcp,dns,icmp"], &["tcp", "dns", "icmp"])?;
    // The network says of itself what the matrix has shown.
    let output = lab.plugin(["cni", "status", "-o", "json"]).output()?;
    ensure!(output.status.success(), "{}", said(&output));
    Ok(())
}

/// A pod on each node, in a namespace of the case's own.
fn two_pods(lab: &Lab) -> Result<Namespace<'_>> {
    let namespace = lab.namespace("privileged")?;
    namespace.pod_per_node(&["n1", "n2"])?;
    Ok(namespace)
}

/// Waits until one pod reaches the other in both families.
fn wait_for_traffic(namespace: &Namespace<'_>, limit: Duration, why: &str) -> Result<()> {
    for v6 in [false, true] {
        let to = namespace.address("on-n2", v6)?;
        wait_until(&format!("traffic after {why}"), limit, || {
            let ping = namespace.in_pod("on-n1", &format!("ping -c 1 -W 1 {to}"));
            ping.map(drop).map_err(|error| error.to_string())
        })?;
    }
    Ok(())
}

/// The node's end of a pod's veth, by the route that leads to it.
fn host_veth(lab: &Lab, namespace: &Namespace<'_>, pod: &str, node: &str) -> Result<String> {
    let ip = namespace.address(pod, false)?;
    let route = lab.rig.node(node)?.run(["ip", "route", "show", &ip.to_string()])?;
    let mut words = route.split_whitespace().skip_while(|word| *word != "dev");
    Ok(words.nth(1).context("no route to the pod")?.to_owned())
}

fn mended(lab: &Lab) -> Result<()> {
    let namespace = two_pods(lab)?;
    wait_for_traffic(&namespace, PATIENCE, "the start")?;
    let n1 = lab.rig.node("n1")?;
    let veth = host_veth(lab, &namespace, "on-n1", "n1")?;
    let remote = n1.run(["sh", "-c", "ip route show proto 147 | grep -m 1 onlink | cut -d' ' -f1"])?;
    let remote = remote.trim();
    let before = n1.run([
        "sh",
        "-c",
        "ip route show; ip -6 route show; bridge fdb show dev ncvx0; ip neigh show dev ncvx0",
    ])?;
    for deed in [
        "ip link set ncvx0 down",
        "ip link delete ncvx0",
        "ip link set ncvx0 address 02:00:00:00:00:01",
        &format!("ip route delete {remote}"),
        &format!("ip route replace blackhole {remote}"),
        "sh -c 'bridge fdb show dev ncvx0 | while read mac rest; do bridge fdb delete $mac dev ncvx0; done'",
        "ip neigh flush dev ncvx0 nud permanent",
        "nft delete table inet netcheck-cni",
        "sysctl -qw net.ipv4.ip_forward=0",
        &format!("sh -c 'ip link set {veth} down; ip link set {veth} up'"),
        &format!("ip link set {veth} down"),
    ] {
        n1.run(["sh", "-c", deed])?;
        // Nothing tells of a kernel parameter: that is found with the next change of anything, or within a period.
        if deed.contains("sysctl") {
            n1.run(["ip", "link", "set", "ncvx0", "down"])?;
        }
        wait_for_traffic(&namespace, BY_EVENT, deed)?;
    }
    wait_until("the state of before", PATIENCE, || {
        let now = n1
            .run([
                "sh",
                "-c",
                "ip route show; ip -6 route show; bridge fdb show dev ncvx0; ip neigh show dev ncvx0",
            ])
            .map_err(|error| error.to_string())?;
        let sorted = |text: &str| text.lines().map(str::to_owned).collect::<BTreeSet<_>>();
        if sorted(&now) == sorted(&before) {
            Ok(())
        } else {
            Err(now)
        }
    })?;
    Ok(())
}

/// A connection between two pods that says back what it is told.
struct Echo {
    server: Child,
    client: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    said: u32,
}

impl Echo {
    fn open(lab: &Lab, namespace: &Namespace<'_>) -> Result<Self> {
        let spawn = |pod: &str, words: &[&str]| -> Result<Child> {
            let mut command = Command::new("busybox");
            command.args(words).stdin(Stdio::piped()).stdout(Stdio::piped());
            Ok(lab.rig.pod_spawn(&namespace.name, pod, command)?)
        };
        let server = spawn("on-n2", &["nc", "-l", "-p", "9000", "-e", "cat"])?;
        wait_until("the server to listen", PATIENCE, || {
            let listening = namespace.in_pod("on-n2", "ss -Hltn sport = 9000");
            let listening = listening.map_err(|error| error.to_string())?;
            if listening.is_empty() {
                Err("not yet".to_owned())
            } else {
                Ok(())
            }
        })?;
        let to = namespace.address("on-n2", false)?.to_string();
        let mut client = spawn("on-n1", &["nc", &to, "9000"])?;
        let stdin = client.stdin.take().context("no stdin")?;
        let stdout = BufReader::new(client.stdout.take().context("no stdout")?);
        Ok(Self {
            server,
            client,
            stdin,
            stdout,
            said: 0,
        })
    }

    /// Says more than a packet's worth and waits for all of it. A connection that breaks ends in an error, one that hangs in the case's limit.
    fn exchange(&mut self) -> Result<()> {
        self.said += 1;
        let line = format!("{:08}{}", self.said, "x".repeat(6000));
        writeln!(self.stdin, "{line}").context("the connection broke")?;
        let mut answer = String::new();
        self.stdout.read_line(&mut answer).context("the connection broke")?;
        ensure!(answer.trim_end() == line, "said back {} bytes", answer.len());
        Ok(())
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        for child in [&mut self.client, &mut self.server] {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn switched(lab: &Lab) -> Result<()> {
    let namespace = two_pods(lab)?;
    wait_for_traffic(&namespace, PATIENCE, "the start")?;
    let mut echo = Echo::open(lab, &namespace)?;
    echo.exchange()?;
    for (backend, mtu) in [("host-gw", 1500), ("vxlan", 1450), ("auto", 1500), ("vxlan", 1450)] {
        let patch = format!(r#"{{"data":{{"backend":"{backend}"}}}}"#);
        lab.rig.kubectl([
            "-n",
            "netcheck-cni",
            "patch",
            "cm",
            "netcheck-cni",
            "--type=merge",
            "-p",
            &patch,
        ])?;
        let status = lab.plugin(["cni", "status", "--wait", "--timeout", "60s"]).output()?;
        ensure!(status.status.success(), "{backend}: {}", said(&status));
        echo.exchange()
            .with_context(|| format!("after the switch to {backend}"))?;
        wait_for_traffic(&namespace, BY_EVENT, backend)?;
        for pod in ["on-n1", "on-n2"] {
            for family in ["-4", "-6"] {
                let route = namespace.in_pod(pod, &format!("ip {family} route show default"))?;
                ensure!(route.contains(&format!("mtu {mtu}")), "{backend}: {pod} has {route}");
            }
        }
        // As large as fits, and not fragmented.
        let to = namespace.address("on-n2", false)?;
        namespace.in_pod("on-n1", &format!("ping -c 1 -W 2 -M do -s {} {to}", mtu - 28))?;
    }
    Ok(())
}

fn daemonless(lab: &Lab) -> Result<()> {
    let namespace = two_pods(lab)?;
    wait_for_traffic(&namespace, PATIENCE, "the start")?;
    let mut echo = Echo::open(lab, &namespace)?;
    echo.exchange()?;
    // No daemon is left, and none comes: no node has this label.
    let nowhere = r#"{"spec":{"template":{"spec":{"nodeSelector":{"nowhere":"true"}}}}}"#;
    lab.rig
        .kubectl(["-n", "netcheck-cni", "patch", "ds", "netcheck-cni", "-p", nowhere])?;
    wait_until("the daemons to be gone", PATIENCE, || {
        let pods = lab
            .kubectl("-n netcheck-cni get pods -o name")
            .map_err(|error| error.to_string())?;
        if pods.is_empty() { Ok(()) } else { Err(pods) }
    })?;
    let outcome = (|| -> Result<()> {
        echo.exchange()?;
        let later = two_pods(lab)?;
        wait_for_traffic(&later, PATIENCE, "pods that came without a daemon")?;
        // The pods that have just come and go again find their way out as well.
        lab.kubectl(&format!("delete namespace {} --timeout=60s", later.name))
            .map(drop)
    })();
    let back = r#"{"spec":{"template":{"spec":{"nodeSelector":{"nowhere":null}}}}}"#;
    lab.rig
        .kubectl(["-n", "netcheck-cni", "patch", "ds", "netcheck-cni", "-p", back])?;
    lab.kubectl("-n netcheck-cni rollout status ds/netcheck-cni --timeout=90s")?;
    outcome?;
    echo.exchange()
}

/// What a node holds of pods: veths, given out addresses, attachments, routes to single addresses.
fn of_pods(lab: &Lab, node: &str) -> Result<[usize; 4]> {
    let node = lab.rig.node(node)?;
    let count = |script: &str| -> Result<usize> { Ok(node.run(["sh", "-c", script])?.trim().parse()?) };
    Ok([
        count("ip -o link show type veth | grep -c 'nc[0-9a-f]\\{11\\}@' || true")?,
        count("ls /run/netcheck-cni/ipam/ip | wc -l")?,
        count("ls /run/netcheck-cni/att | wc -l")?,
        count("(ip route show proto 147; ip -6 route show proto 147) | grep -c 'dev nc[0-9a-f]\\{11\\}' || true")?,
    ])
}

/// Waits until every node holds as much as its pods need: dual-stack, so twice as many addresses and routes.
fn wait_for_balance(lab: &Lab) -> Result<()> {
    for node in ["n1", "n2"] {
        wait_until(&format!("{node} to hold what its pods need"), PATIENCE, || {
            let pods = lab
                .rig
                .kubectl_json(&[
                    "get",
                    "pods",
                    "-A",
                    "--field-selector",
                    &format!("spec.nodeName={node}"),
                ])
                .map_err(|error| error.to_string())?;
            let pods = pods["items"].as_array().cloned().unwrap_or_default();
            let wired = pods.iter().filter(|pod| pod["spec"]["hostNetwork"] != true).count();
            let held = of_pods(lab, node).map_err(|error| error.to_string())?;
            let wanted = [wired, 2 * wired, wired, 2 * wired];
            if held == wanted {
                Ok(())
            } else {
                Err(format!("{held:?}, wanted {wanted:?}"))
            }
        })?;
    }
    Ok(())
}

fn churn(lab: &Lab) -> Result<()> {
    wait_for_balance(lab)?;
    let namespace = lab.namespace("privileged")?;
    lab.kubectl(&format!(
        "-n {} create deployment many --image=docker.io/rig/workload:1 --replicas=40",
        namespace.name
    ))?;
    // containerd dies in the middle of it; what it had begun is begun again or taken away.
    let n2 = lab.rig.node("n2")?;
    wait_until("some pods to run", PATIENCE, || {
        let running = lab
            .kubectl(&format!(
                "-n {} get pods --field-selector status.phase=Running -o name",
                namespace.name
            ))
            .map_err(|error| error.to_string())?;
        if running.lines().count() >= 5 {
            Ok(())
        } else {
            Err(running)
        }
    })?;
    n2.kill_part(netcheck_rig::Part::Containerd)?;
    n2.start_part(netcheck_rig::Part::Containerd)?;
    lab.kubectl(&format!(
        "-n {} rollout status deployment/many --timeout=120s",
        namespace.name
    ))?;
    let ips = lab.kubectl(&format!(
        "-n {} get pods -o jsonpath={{.items[*].status.podIPs[*].ip}}",
        namespace.name
    ))?;
    let all: Vec<&str> = ips.split_whitespace().collect();
    let different: BTreeSet<&str> = all.iter().copied().collect();
    ensure!(
        all.len() == 80 && different.len() == 80,
        "{} addresses, {} different",
        all.len(),
        different.len()
    );
    wait_for_balance(lab)?;
    lab.kubectl(&format!("delete namespace {} --timeout=120s", namespace.name))?;
    wait_for_balance(lab)
}

fn rebooted(lab: &Lab) -> Result<()> {
    // The kernel state of a node goes with its network namespace; here all of it that is ours goes at once, and the disk state too.
    let namespace = two_pods(lab)?;
    wait_for_traffic(&namespace, PATIENCE, "the start")?;
    let n1 = lab.rig.node("n1")?;
    n1.run(["sh", "-c", "ip link delete ncvx0; nft delete table inet netcheck-cni; ip route flush proto 147; ip -6 route flush proto 147"])?;
    n1.run([
        "sh",
        "-c",
        "rm -f /etc/cni/net.d/05-netcheck.conflist /run/netcheck-cni/node.json /opt/cni/bin/netcheck-cni",
    ])?;
    lab.kubectl("-n netcheck-cni delete pod -l app.kubernetes.io/component=daemon --field-selector spec.nodeName=n1 --wait=true")?;
    lab.kubectl("-n netcheck-cni rollout status ds/netcheck-cni --timeout=90s")?;
    wait_for_traffic(&namespace, PATIENCE, "everything of ours was deleted")?;
    n1.run(["test", "-x", "/opt/cni/bin/netcheck-cni"])?;
    n1.run(["test", "-s", "/etc/cni/net.d/05-netcheck.conflist"])?;
    let later = two_pods(lab)?;
    wait_for_traffic(&later, PATIENCE, "new pods")
}

fn uninstalled(lab: &Lab) -> Result<()> {
    let namespace = two_pods(lab)?;
    let refused = lab.plugin(["cni", "uninstall"]).output()?;
    ensure!(
        !refused.status.success() && said(&refused).contains("on-n1"),
        "{}",
        said(&refused)
    );
    wait_for_traffic(&namespace, PATIENCE, "a refused uninstall")?;
    let gone = lab.plugin(["cni", "uninstall", "--evict", "--yes"]).output()?;
    ensure!(gone.status.success(), "{}", said(&gone));
    for node in lab.rig.nodes() {
        let left = node.run([
            "sh",
            "-c",
            "ip -o link | grep -E ' (ncvx0|nc[0-9a-f]{11})[@:]'; ip route show proto 147; ip -6 route show proto 147; nft list tables | grep netcheck; \
             ls /etc/cni/net.d /sys/fs/bpf | grep netcheck; ls /opt/cni/bin | grep netcheck; ls -A /run/netcheck-cni 2>/dev/null; true",
        ])?;
        if !left.trim().is_empty() {
            bail!("{} still holds:\n{left}", node.name());
        }
    }
    let annotations = lab.kubectl("get nodes -o jsonpath={.items[*].metadata.annotations}")?;
    ensure!(!annotations.contains("cni.netcheck.dev"), "{annotations}");
    Ok(())
}
