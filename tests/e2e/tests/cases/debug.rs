//! `debug` through a real terminal and real kubectl, in pods whose image holds nothing but one program and that run as somebody else than
//! root with a read-only root, and on a node.

use anyhow::{Context, Result, ensure};
use netcheck_e2e::{
    cutting_proxy::{Cut, CuttingProxy},
    helpers::{helpers_of, wait_until_ended},
    lab::{Lab, Namespace, said},
    manifests,
    runner::Case,
    terminal::{LAST, Terminal},
};
use netcheck_rig::wait_until;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::{
    fmt::Write as _,
    io::Write as _,
    path::Path,
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

pub const CASES: &[Case] = &[
    (
        "debug: a prompt without flags, a terminal of the right size, the shell's code",
        prompt,
    ),
    (
        "debug: a command's code and whole output, and what is piped into it",
        command,
    ),
    ("debug: the terminal is as before after every way of leaving", endings),
    ("debug: a session that is kept is come back to", kept),
    (
        "debug: as much as the namespace admits, and what is asked for or nothing",
        profiles,
    ),
    ("debug: on a node, and nothing stays behind", on_node),
    ("debug: wrong input is one clear line and the right code", input),
    ("debug: the printed Role is enough, and less is named", permissions),
];

/// A shell, and its tools: any image that has one will do.
pub const IMAGE: &str = "docker.io/rig/busybox:1";
pub const SOON: Duration = Duration::from_secs(30);
/// Silence ends a session between fifteen and thirty seconds after the last sign of life.
pub const BY_ITSELF: Duration = Duration::from_secs(45);
pub const SHELL: &str = "~ # ";

/// One pod, `on-n1`, in a namespace of this level.
pub fn pod<'a>(lab: &'a Lab, level: &str) -> Result<Namespace<'a>> {
    let namespace = lab.namespace(level)?;
    namespace.pod_per_node(&["n1"])?;
    Ok(namespace)
}

fn line<'a>(namespace: &'a Namespace, arguments: &[&'a str]) -> Vec<&'a str> {
    [&["debug", "-n", namespace.name.as_str(), "--image", IMAGE], arguments].concat()
}

/// kubectl by its own name, which the rig's is a link of: a terminal takes no other.
pub fn terminal_of(lab: &Lab, command: &Command) -> Result<Terminal> {
    Terminal::run(&lab.rig.directory().join("bin/kubectl"), command, 33, 101)
}

/// In a terminal.
pub fn session(lab: &Lab, namespace: &Namespace, arguments: &[&str]) -> Result<Terminal> {
    terminal_of(lab, &lab.netcheck(line(namespace, arguments)))
}

/// Without one.
pub fn run(lab: &Lab, namespace: &Namespace, arguments: &[&str]) -> Result<Output> {
    lab.netcheck(line(namespace, arguments))
        .output()
        .context("run kubectl netcheck debug")
}

pub fn expect(output: &Output, code: i32, words: &[&str]) -> Result<()> {
    let text = said(output);
    ensure!(output.status.code() == Some(code), "not {code}: {text}");
    for word in words {
        ensure!(text.contains(word), "{word:?} is missing: {text}");
    }
    Ok(())
}

fn prompt(lab: &Lab) -> Result<()> {
    let namespace = pod(lab, "privileged")?;
    let mut terminal = session(lab, &namespace, &["on-n1"])?;
    let before = terminal.settings()?;
    let begun = Instant::now();
    let shown = terminal.wait_for(SHELL, SOON)?;
    println!("first prompt after {:?}", begun.elapsed());
    ensure!(shown.contains("profile netadmin"), "{shown}");
    ensure!(terminal.settings()? != before, "the terminal is not raw");
    terminal.enter("echo $((6*7))", "\r\n42\r\n", SOON)?;
    terminal.enter("stty size", "\r\n33 101\r\n", SOON)?;
    terminal.enter("id -u", "\r\n0\r\n", SOON)?;
    // NET_ADMIN, by its effect.
    terminal.enter("ip addr add 192.0.2.7/32 dev lo && echo d''one", "done", SOON)?;
    ensure!(namespace.in_pod("on-n1", "ip -j addr show lo")?.contains("192.0.2.7"));
    terminal.resize(44, 122)?;
    wait_until("the new size has arrived", SOON, || {
        let shown = terminal
            .enter("stty size", SHELL, SOON)
            .map_err(|error| error.to_string())?;
        if shown.contains("44 122") { Ok(()) } else { Err(shown) }
    })?;
    // Ctrl-C is the command's, not ours.
    terminal.type_keys("sleep 1000\r")?;
    terminal.wait_for("sleep 1000\r\n", SOON)?;
    wait_until("Ctrl-C ends the command", SOON, || {
        terminal.type_keys("\u{3}").map_err(|error| error.to_string())?;
        terminal
            .wait_for(SHELL, Duration::from_millis(500))
            .map_err(|error| error.to_string())
    })?;
    terminal.type_keys("exit 7\r")?;
    let status = terminal.wait(SOON)?;
    ensure!(status.code() == Some(7), "{status}: {}", terminal.screen());
    ensure!(terminal.settings()? == before, "the terminal is not as before");
    let screen = terminal.screen();
    ensure!(!screen.contains("netcheck;"), "a mark is shown: {screen:?}");
    namespace.wait_until_ephemeral_ended(SOON)
}

/// What `seq 1 200000` writes.
pub fn numbers() -> String {
    (1..=200_000).fold(String::new(), |mut all, number| {
        let _ = writeln!(all, "{number}");
        all
    })
}

fn command(lab: &Lab) -> Result<()> {
    let namespace = pod(lab, "privileged")?;
    let numbers = numbers();
    let output = run(
        lab,
        &namespace,
        &["pod/on-n1", "--", "sh", "-c", "seq 1 200000; echo oops >&2; exit 9"],
    )?;
    ensure!(output.status.code() == Some(9), "{:?}", output.status);
    ensure!(
        output.stdout == numbers.as_bytes(),
        "{} bytes of {}",
        output.stdout.len(),
        numbers.len()
    );
    ensure!(
        String::from_utf8_lossy(&output.stderr).contains("oops\n"),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );

    let mut child = lab
        .netcheck(line(&namespace, &["on-n1", "-q", "-i", "--", "cat"]))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut stdin = child.stdin.take().context("stdin")?;
    let piped = numbers.clone();
    let writer = std::thread::spawn(move || stdin.write_all(piped.as_bytes()));
    let output = child.wait_with_output()?;
    let _written = writer.join();
    ensure!(
        output.status.code() == Some(0),
        "{:?}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    ensure!(
        output.stdout == numbers.as_bytes(),
        "{} bytes of {}",
        output.stdout.len(),
        numbers.len()
    );

    let output = run(
        lab,
        &namespace,
        &[
            "on-n1",
            "--env",
            "WHAT=this and that",
            "--",
            "sh",
            "-c",
            "echo $WHAT; printf x",
        ],
    )?;
    ensure!(output.stdout == b"this and that\nx", "{}", said(&output));
    expect(
        &run(lab, &namespace, &["on-n1", "--", "no-such-tool"])?,
        127,
        &["there is no no-such-tool in image"],
    )?;
    namespace.wait_until_ephemeral_ended(SOON)
}

/// Processes of sessions in this rig's pods, by the session's name.
fn keepers(lab: &Lab, name: &str) -> Vec<i32> {
    let cgroup = format!(":/{}/", lab.rig.cgroup());
    let is_it = |process: &Path| {
        let line = std::fs::read(process.join("cmdline")).unwrap_or_default();
        let words: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
        words.first() == Some(&b"sh".as_slice())
            && words.get(4) == Some(&name.as_bytes())
            && std::fs::read_to_string(process.join("cgroup")).is_ok_and(|lines| lines.contains(&cgroup))
    };
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let found = entries.filter(|entry| is_it(&entry.path()));
    found
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}

fn kill(id: i32, signal: Signal) -> Result<()> {
    kill_process(Pid::from_raw(id).context("a process")?, signal).context("kill it")
}

fn endings(lab: &Lab) -> Result<()> {
    let namespace = pod(lab, "privileged")?;
    let check = |how: &str, code: i32, words: &[&str], terminal: &mut Terminal, before: &str| {
        let status = terminal.wait(SOON).with_context(|| how.to_owned())?;
        let screen = terminal.screen();
        ensure!(status.code() == Some(code), "{how}: {status}: {screen}");
        for word in words {
            ensure!(screen.contains(word), "{how}: {word:?} is missing: {screen}");
        }
        ensure!(terminal.settings()? == before, "{how}: the terminal is not as before");
        Ok(())
    };
    let start = |arguments: &[&str]| -> Result<(Terminal, String)> {
        let mut terminal = session(lab, &namespace, &[&["on-n1"], arguments].concat())?;
        let before = terminal.settings()?;
        terminal.wait_for(SHELL, SOON)?;
        Ok((terminal, before))
    };

    // First those that only silence ends: they have the longest to go.
    let (mut terminal, before) = start(&["-c", "killed"])?;
    let helpers = helpers_of(terminal.id())?;
    let shown = terminal.screen();
    terminal.signal(Signal::KILL)?;
    terminal.wait(SOON)?;
    wait_until("the terminal is as before", SOON, || match terminal.settings() {
        Ok(settings) if settings == before => Ok(()),
        Ok(settings) => Err(settings),
        Err(error) => Err(error.to_string()),
    })?;
    wait_until_ended(&helpers, SOON)?;
    // Whoever comes next begins on a line of its own.
    wait_until("a new line is shown, and nothing else", SOON, || {
        let since = terminal.screen().split_off(shown.len());
        if since.replace(LAST, "") == "\r\n" {
            Ok(())
        } else {
            Err(since)
        }
    })?;

    let proxy = CuttingProxy::start(lab.server()?, Cut::ForGoodAfter(400_000))?;
    let through = lab.kubeconfig_through(proxy.address())?;
    let line = lab.netcheck_as(&through, line(&namespace, &["on-n1", "-c", "cut"]));
    let mut terminal = terminal_of(lab, &line)?;
    let before = terminal.settings()?;
    terminal.wait_for(SHELL, SOON)?;
    terminal.type_keys("seq 1 1000000\r")?;
    check("a cut stream", 3, &["was cut"], &mut terminal, &before)?;

    let (mut terminal, before) = start(&["-c", "left"])?;
    terminal.type_keys("\u{10}\u{11}")?;
    check("the keys that leave", 0, &["left"], &mut terminal, &before)?;

    let (mut terminal, before) = start(&["-c", "closed"])?;
    terminal.type_keys("\u{4}")?;
    check("Ctrl-D", 0, &[], &mut terminal, &before)?;

    let (mut terminal, before) = start(&["-c", "terminated"])?;
    terminal.signal(Signal::TERM)?;
    check("a SIGTERM", 130, &[], &mut terminal, &before)?;

    let (mut terminal, before) = start(&["-c", "shot"])?;
    let keepers = keepers(lab, "shot");
    ensure!(!keepers.is_empty(), "no process of the session's is found");
    for keeper in keepers {
        // The others go with the first of the container.
        let _gone = kill(keeper, Signal::KILL);
    }
    check("the container killed", 3, &["exit code 137"], &mut terminal, &before)?;

    namespace.wait_until_ephemeral_ended(BY_ITSELF)?;
    let (mut terminal, before) = start(&["-c", "last"])?;
    namespace.kubectl("delete pod on-n1 --wait=false")?;
    check("the pod deleted", 3, &["deleted"], &mut terminal, &before)
}

fn kept(lab: &Lab) -> Result<()> {
    let namespace = pod(lab, "privileged")?;
    let mut terminal = session(lab, &namespace, &["on-n1", "--keep", "10m"])?;
    terminal.wait_for(SHELL, SOON)?;
    terminal.enter("memory=kept; echo d''one", "done", SOON)?;
    terminal.type_keys("\u{10}\u{11}")?;
    let status = terminal.wait(SOON)?;
    ensure!(
        status.code() == Some(0) && terminal.screen().contains("comes back"),
        "{status}: {}",
        terminal.screen()
    );

    let mut terminal = session(lab, &namespace, &["on-n1"])?;
    terminal.wait_for("back in your session", SOON)?;
    // The prompt appears without a key.
    terminal.wait_for("# ", SOON)?;
    terminal.enter("echo $memory", "\r\nkept\r\n", SOON)?;
    terminal.type_keys("exit 5\r")?;
    let status = terminal.wait(SOON)?;
    ensure!(status.code() == Some(5), "{status}: {}", terminal.screen());
    namespace.wait_until_ephemeral_ended(SOON)?;

    let mut terminal = session(lab, &namespace, &["on-n1"])?;
    let shown = terminal.wait_for(SHELL, SOON)?;
    ensure!(shown.contains("number 2"), "that it is the second is not said: {shown}");
    terminal.type_keys("exit\r")?;
    terminal.wait(SOON).map(drop)
}

fn profiles(lab: &Lab) -> Result<()> {
    let namespace = pod(lab, "restricted")?;
    let output = run(lab, &namespace, &["on-n1", "--profile", "netadmin", "--", "id", "-u"])?;
    expect(&output, 3, &["PodSecurity"])?;
    ensure!(
        namespace.ephemeral_containers()?.is_empty(),
        "a refused container was added"
    );
    let output = run(lab, &namespace, &["on-n1", "--", "id", "-u"])?;
    expect(&output, 0, &["profile netadmin is refused", "trying restricted"])?;
    ensure!(output.stdout == b"65532\n", "{}", said(&output));

    let namespace = pod(lab, "baseline")?;
    let output = run(
        lab,
        &namespace,
        &[
            "on-n1",
            "--target",
            "server",
            "--",
            "sh",
            "-c",
            "id -u; cat /proc/[0-9]*/comm",
        ],
    )?;
    expect(&output, 0, &["trying baseline", "rig-workload"])?;
    ensure!(output.stdout.starts_with(b"0\n"), "{}", said(&output));
    let output = run(lab, &namespace, &["on-n1", "--dry-run", "-o", "json"])?;
    let list: Value = serde_json::from_slice(&output.stdout).with_context(|| said(&output))?;
    ensure!(
        list["items"][0]["spec"]["ephemeralContainers"][0]["image"] == IMAGE,
        "{list:#}"
    );
    ensure!(
        namespace.ephemeral_containers()?.len() == 1,
        "a dry run added a container"
    );
    Ok(())
}

/// That `readlink /proc/self/ns/net` names, before all else, the node's network namespace.
pub fn expect_network_of(lab: &Lab, node: &str, output: &Output) -> Result<()> {
    let network = lab.rig.node(node)?.run(["readlink", "/proc/self/ns/net"])?;
    ensure!(
        network.starts_with("net:[") && output.stdout.starts_with(network.trim().as_bytes()),
        "not {network}: {}",
        said(output)
    );
    Ok(())
}

fn on_node(lab: &Lab) -> Result<()> {
    let debug = |arguments: &[&'static str]| [&["debug", "node/n1", "--image", IMAGE], arguments].concat();
    let output = lab
        .netcheck(debug(&[
            "--",
            "sh",
            "-c",
            "readlink /proc/self/ns/net; cat /host/etc/hostname && ! touch /host/x && exit 4",
        ]))
        .output()?;
    expect(&output, 4, &["Read-only"])?;
    expect_network_of(lab, "n1", &output)?;
    lab.wait_until_clean(SOON)?;

    let mut terminal = terminal_of(lab, &lab.netcheck(debug(&[])))?;
    terminal.wait_for(SHELL, SOON)?;
    terminal.signal(Signal::KILL)?;
    drop(terminal);
    lab.wait_until_clean(BY_ITSELF)?;
    let output = lab.netcheck(debug(&["--profile", "restricted"])).output()?;
    expect(&output, 2, &["no meaning on a node"])?;
    // In a terminal: without one it would be refused as it is in a pod.
    let mut terminal = terminal_of(lab, &lab.netcheck(debug(&["--keep", "1h"])))?;
    let status = terminal.wait(SOON)?;
    let screen = terminal.screen().replace(LAST, "");
    ensure!(status.code() == Some(2), "{status}: {screen}");
    let line = screen.trim_end();
    ensure!(
        line.contains("--keep works in pods only") && !line.contains('\n'),
        "{screen:?}"
    );
    lab.wait_until_clean(SOON)
}

fn input(lab: &Lab) -> Result<()> {
    let namespace = pod(lab, "privileged")?;
    // Whoever waits for an image for good never comes to the end of this.
    let output = lab
        .netcheck([
            "debug",
            "-n",
            &namespace.name,
            "on-n1",
            "--image",
            "registry.invalid/no/such:1",
            "--",
            "true",
        ])
        .output()?;
    expect(&output, 3, &["did not start", "Pull", "--image"])?;
    let scratch = [
        "debug",
        "-n",
        &namespace.name,
        "on-n1",
        "--image",
        manifests::WORKLOAD,
        "--",
        "true",
    ];
    expect(&lab.netcheck(scratch).output()?, 3, &["has no sh"])?;
    let mut failed = manifests::server_pod(&namespace.name, "failed", "n1", &["no-such-word"], 1);
    failed["spec"]["restartPolicy"] = "Never".into();
    lab.apply(&failed)?;
    wait_until("the pod has ended", SOON, || {
        let phase = namespace.kubectl("get pod failed -o jsonpath={.status.phase}");
        match phase.map_err(|error| error.to_string())?.as_str() {
            "Failed" => Ok(()),
            phase => Err(phase.to_owned()),
        }
    })?;
    for (arguments, code, words) in [
        (
            &["on-n1", "--target", "serve", "--", "true"] as &[&str],
            2,
            "did you mean --target server?",
        ),
        (&["on-n1", "-c", "server", "--", "true"], 2, "already"),
        (&["on-n2", "--", "true"], 2, "did you mean on-n1?"),
        (&["failed", "--", "true"], 2, "has ended"),
        (&["deploy/none", "--", "true"], 2, "no deployment"),
        (&["node/n9", "--", "true"], 2, "no node"),
        (&["on-n1", "other", "--", "true"], 2, "one target"),
        (&["--", "true"], 2, "needs a target"),
        (&["on-n1", "--keep", "1h"], 2, "--keep"),
        (&["on-n1", "--profile", "legacy"], 2, "netadmin"),
    ] {
        expect(&run(lab, &namespace, arguments)?, code, &[words]).with_context(|| format!("{arguments:?}"))?;
    }
    Ok(())
}

fn permissions(lab: &Lab) -> Result<()> {
    let namespace = pod(lab, "privileged")?;
    lab.apply(&manifests::service(&namespace.name, "svc", "on-n1", 8080))?;
    let user = "debugger";
    let kubeconfig = lab.rig.kubeconfig_for_user(user, None)?;
    let debug = |target: &str| {
        let line = line(&namespace, &[target, "--", "echo", "hello"]);
        lab.netcheck_as(&kubeconfig, line).output().context("run it")
    };
    expect(&debug("on-n1")?, 3, &["may not get pods", "rbac debug"])?;
    let roles = lab
        .netcheck([
            "rbac",
            "debug",
            "-n",
            &namespace.name,
            "--via",
            "ephemeral",
            "--user",
            user,
            "-o",
            "json",
        ])
        .output()?;
    let roles: Value = serde_json::from_slice(&roles.stdout).with_context(|| said(&roles))?;
    let mut without_attach = roles.clone();
    for item in without_attach["items"].as_array_mut().into_iter().flatten() {
        if let Some(rules) = item.get_mut("rules").and_then(Value::as_array_mut) {
            rules.retain(|rule| rule["resources"][0] != "pods/attach");
        }
    }
    lab.apply(&without_attach)?;
    wait_until("the Role is in force", SOON, || match debug("on-n1") {
        Ok(output) if said(&output).contains("pods/attach") && output.status.code() == Some(3) => Ok(()),
        Ok(output) => Err(said(&output)),
        Err(error) => Err(error.to_string()),
    })?;
    lab.apply(&roles)?;
    wait_until("the Role is in force", SOON, || match debug("on-n1") {
        Ok(output) if output.stdout == b"hello\n" => Ok(()),
        Ok(output) => Err(said(&output)),
        Err(error) => Err(error.to_string()),
    })?;
    expect(&debug("svc/svc")?, 0, &["hello", "service/svc: pod"])
}
