//! What people get who name no image: `debug` and `run` in a real terminal through real kubectl, in the toolbox, whose tools each do something there.

use super::debug::{SOON, expect};
use anyhow::{Context, Result, ensure};
use netcheck_e2e::{
    fault::Fault,
    lab::{Lab, Namespace},
    runner::Case,
    terminal::Terminal,
};
use serde_json::Value;
use std::time::{Duration, Instant};

pub const CASES: &[Case] = &[
    (
        "toolbox: beside a scratch image that is not root, without a flag, each tool does its work",
        in_pod,
    ),
    (
        "toolbox: a throw-away pod and a pod measure the way between them",
        between,
    ),
    ("toolbox: on a node its tools read what the node's own do", on_node),
    (
        "toolbox: where rights are missing a tool says so, and the session goes on",
        restricted,
    ),
];

/// How long one tool may take.
const TOOL_WITHIN: Duration = Duration::from_mins(1);
const ROWS: u16 = 40;
/// No line that is typed is broken.
const COLUMNS: u16 = 400;

/// What bash writes before it runs a line: pasting is no longer framed.
const PASTE_OVER: &str = "\x1b[?2004l\r";

/// A line for the shell, and what it prints among other things.
type Tool<'a> = (&'a str, &'a str);

/// What a packet is caught with while pings go to `$there`.
const CAUGHT: &str = "timeout 30 tcpdump -n -i eth0 -c 1 -w /dev/shm/caught icmp & while kill -0 $! 2>/dev/null; do ping -c 1 -W 1 $there; done >/dev/null; \
    tcpdump -n -r /dev/shm/caught";
const IN_POD: &[Tool] = &[
    ("netcheck-agent help", "runs inside a cluster"),
    ("id -u", "0\n"),
    (CAUGHT, "ICMP echo request"),
    (
        "tshark -n -r /dev/shm/caught -T fields -e _ws.col.Protocol -e ip.dst",
        "ICMP\t$there\n",
    ),
    ("timeout 30 mtr -n -r -c 1 $there", "|-- $there"),
    ("timeout 30 nmap -n -Pn -sS -p 8080 $there", "8080/tcp open"),
    ("echo hello | socat -T 30 -t 5 - TCP:$there:8080", "on-n2\n"),
    ("ss -l -n -t", ":8080 "),
    // In a namespace without rules nothing is followed.
    ("conntrack -L", " flow entries have been shown"),
    ("nft add table inet own && nft list ruleset", "table inet own {\n}"),
    (
        "iptables -A INPUT -p tcp --dport 1 -j DROP && iptables -S",
        "-A INPUT -p tcp -m tcp --dport 1 -j DROP\n",
    ),
    (
        "ipset create own hash:ip && ipset add own 192.0.2.1 && ipset list own",
        "\n192.0.2.1\n",
    ),
    (
        "ip link add own type bridge && bridge fdb show br own",
        " dev own master own permanent\n",
    ),
    ("ethtool -i eth0", "driver: veth\n"),
];
/// Where cluster DNS and the API server's Service are.
const OF_THE_CLUSTER: &[Tool] = &[
    ("timeout 30 dig +short kubernetes.default.svc.cluster.local", "$api\n"),
    // Who says nothing of themselves is told so.
    (
        "timeout 30 curl -s -k https://kubernetes.default.svc.cluster.local/version | jq -M .code",
        "401\n",
    ),
];
/// What admits nobody but who has capabilities, and what each says.
const REFUSED: &[Tool] = &[
    (
        "timeout 30 tcpdump -c 1 -n -i eth0",
        "You don't have permission to perform this capture",
    ),
    ("timeout 30 tshark -c 1 -n -i eth0", "permission to "),
    ("timeout 30 mtr -n -r -c 1 $there", "Permission denied"),
    ("timeout 30 ping -c 1 $there", "Operation not permitted"),
    ("timeout 30 nmap -n -Pn -sS -p 8080 $there", "requires root privileges"),
    ("conntrack -L", "you must be root or get CAP_NET_ADMIN"),
    ("nft list ruleset", "Operation not permitted"),
    ("iptables -S", "Permission denied"),
    ("ipset list", "Operation not permitted"),
    ("ip link add own type bridge", "Operation not permitted"),
    ("bpftool prog list", "Operation not permitted"),
];
/// What everybody may.
const ALLOWED: &[Tool] = &[
    ("id -u", "65532\n"),
    ("timeout 30 nmap -n -Pn -p 8080 $there", "8080/tcp open"),
    ("echo hello | socat -T 30 -t 5 - TCP:$there:8080", "on-n2\n"),
    ("ss -l -n -t", ":8080 "),
    ("bridge fdb show dev eth0", " self permanent\n"),
    ("ethtool -i eth0", "driver: veth\n"),
];

/// A terminal at the toolbox's prompt.
struct Toolbox {
    terminal: Terminal,
    prompt: String,
    /// What was shown before the first prompt.
    greeting: String,
}

impl Toolbox {
    /// Runs `kubectl netcheck …` until its first prompt, which must say that one is here; the sign is root's `#` or `$`.
    fn open(lab: &Lab, arguments: &[&str], here: &str, sign: char) -> Result<Self> {
        let kubectl = lab.rig.directory().join("bin/kubectl");
        let begun = Instant::now();
        let mut terminal = Terminal::run(&kubectl, &lab.netcheck(arguments), ROWS, COLUMNS)?;
        // In its colours, and then in none.
        let prompt = format!("\x1b[1;36m[{here}]\x1b[0m / {sign} ");
        let greeting = terminal.wait_for(&prompt, SOON)?;
        println!("{} in {here}: first prompt after {:?}", arguments[0], begun.elapsed());
        Ok(Self {
            terminal,
            prompt,
            greeting,
        })
    }

    /// What a line prints, and its code. The prompt comes back.
    fn ask(&mut self, line: &str) -> Result<(i32, String)> {
        // The end is put together when it is printed, so that the line itself, which the terminal shows, is not taken for it.
        self.terminal.type_keys(&format!("{line}; echo \"<$?\"'>'\"end\"\r"))?;
        let shown = self
            .terminal
            .wait_for(">end\r\n", TOOL_WITHIN)
            .context(line.to_owned())?;
        self.terminal.wait_for(&self.prompt, SOON).context(line.to_owned())?;
        let shown = shown.replace("\r\n", "\n");
        let (_, printed) = shown.split_once('\n').context("the line is not shown")?;
        let printed = printed.trim_start_matches(PASTE_OVER);
        let code = printed.trim_end_matches(">end\n");
        let (printed, code) = code.rsplit_once('<').context("there is no code")?;
        Ok((
            code.parse().with_context(|| format!("{line}: {code:?}"))?,
            printed.to_owned(),
        ))
    }

    /// Each of these tools succeeds, or fails, and says what it should; all that do not are told. Names like `$there` stand for these values.
    fn try_all(&mut self, tools: &[Tool], succeed: bool, names: &[(&str, &str)]) -> Result<()> {
        let filled = |text: &str| {
            names
                .iter()
                .fold(text.to_owned(), |text, (name, value)| text.replace(name, value))
        };
        let mut wrong = Vec::new();
        for (line, expected) in tools {
            let (code, printed) = self.ask(&filled(line))?;
            if (code == 0) != succeed || !printed.contains(&filled(expected)) {
                wrong.push(format!("{line}: code {code}, no {expected:?} in {printed:?}"));
            }
        }
        ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
        Ok(())
    }

    /// Leaves it as people do, with this code.
    fn leave(mut self, code: i32) -> Result<()> {
        self.terminal.type_keys(&format!("exit {code}\r"))?;
        let status = self.terminal.wait(SOON)?;
        ensure!(status.code() == Some(code), "{status}: {}", self.terminal.screen());
        Ok(())
    }
}

/// A pod on each node, whose image holds one static program, which runs as somebody else than root, on a root that is read-only.
fn pods<'a>(lab: &'a Lab, level: &str) -> Result<Namespace<'a>> {
    lab.load_toolbox()?;
    let namespace = lab.namespace(level)?;
    namespace.pod_per_node(&["n1", "n2"])?;
    let pod: Value = serde_json::from_str(&namespace.kubectl("get pod on-n1 -o json")?)?;
    let context = &pod["spec"]["containers"][0]["securityContext"];
    ensure!(
        pod["spec"]["securityContext"]["runAsNonRoot"] == true && context["readOnlyRootFilesystem"] == true,
        "{pod:#}"
    );
    Ok(namespace)
}

fn address_of_the_api(lab: &Lab) -> Result<String> {
    lab.kubectl("get service kubernetes -o jsonpath={.spec.clusterIP}")
}

fn in_pod(lab: &Lab) -> Result<()> {
    let namespace = pods(lab, "privileged")?;
    let (there, api) = (namespace.address("on-n2", false)?.to_string(), address_of_the_api(lab)?);
    let here = format!("pod {}/on-n1", namespace.name);
    let mut toolbox = Toolbox::open(lab, &["debug", "-n", &namespace.name, "on-n1"], &here, '#')?;
    ensure!(toolbox.greeting.contains("profile netadmin"), "{}", toolbox.greeting);
    let names = [("$there", there.as_str()), ("$api", api.as_str())];
    toolbox.try_all(&[IN_POD, OF_THE_CLUSTER].concat(), true, &names)?;
    // Judged from outside.
    let rules = namespace.in_pod("on-n1", "nft list tables")?;
    ensure!(rules.contains("table inet own"), "{rules}");
    toolbox.leave(7)?;
    namespace.wait_until_ephemeral_ended(SOON)
}

/// The shell of one is the server of the other.
fn between(lab: &Lab) -> Result<()> {
    let namespace = pods(lab, "privileged")?;
    let here = format!("pod {}/probe", namespace.name);
    let run = ["run", "probe", "-n", &namespace.name, "--node", "n2"];
    let mut server = Toolbox::open(lab, &run, &here, '#')?;
    server.try_all(&[IN_POD[0]], true, &[])?;
    let (_, address) = server.ask("ip -j -4 addr show eth0 | jq -r '.[0].addr_info[0].local'")?;
    server.terminal.type_keys("iperf3 -s -1\r")?;
    server.terminal.wait_for("Server listening", SOON)?;

    let here = format!("pod {}/on-n1", namespace.name);
    let mut client = Toolbox::open(lab, &["debug", "-n", &namespace.name, "on-n1"], &here, '#')?;
    let measured = "timeout 30 iperf3 -J -t 1 -c $address | jq -M '.end.sum_received.bytes > 1000000'";
    client.try_all(&[(measured, "true\n")], true, &[("$address", address.trim())])?;
    client.leave(0)?;
    // One client is all that it waits for.
    server.terminal.wait_for(&server.prompt, SOON)?;
    server.leave(0)?;
    let left = namespace.kubectl("get job,pod -l app.kubernetes.io/managed-by=kubectl-netcheck -o name")?;
    ensure!(left.trim().is_empty(), "{left}");
    Ok(())
}

fn on_node(lab: &Lab) -> Result<()> {
    lab.load_toolbox()?;
    let n1 = lab.rig.node("n1")?;
    let own = |line: &str| n1.run(line.split_whitespace());
    let table = Fault::inject(
        "a table and a set on a node",
        || {
            own("nft add table inet toolbox")?;
            Ok(own("ipset create toolbox hash:ip").map(drop)?)
        },
        || {
            own("nft delete table inet toolbox")?;
            Ok(own("ipset destroy toolbox").map(drop)?)
        },
    )?;
    let mut toolbox = Toolbox::open(lab, &["debug", "node/n1"], "node n1", '#')?;
    let services = own("iptables -t nat -S KUBE-SERVICES")?;
    let last = services.lines().last().context("kube-proxy has no rules")?;
    let session = [
        ("nft list ruleset", "table inet toolbox {"),
        ("ipset list -n", "toolbox\n"),
        ("iptables -t nat -S KUBE-SERVICES", last),
        // The session's own way here.
        ("conntrack -L -p tcp --dport 10250", "ESTABLISHED"),
        ("ss -H -l -n -t -p sport = :10250", "users:(("),
        ("bpftool -j prog list | jq -M type", "\"array\"\n"),
        ("bridge -j link | jq -M type", "\"array\"\n"),
        ("cat /host/etc/hostname", "n1\n"),
    ];
    toolbox.try_all(&[&session, &IN_POD[..1]].concat(), true, &[])?;
    toolbox.leave(0)?;
    table.mend()?;
    lab.wait_until_clean(SOON)
}

fn restricted(lab: &Lab) -> Result<()> {
    let namespace = pods(lab, "restricted")?;
    let (there, api) = (namespace.address("on-n2", false)?.to_string(), address_of_the_api(lab)?);
    let names = [("$there", there.as_str()), ("$api", api.as_str())];
    let place = ["-n", namespace.name.as_str()];
    let here = ["on-n1", "probe"].map(|pod| format!("pod {}/{pod}", namespace.name));
    let debug = [&["debug", "on-n1", "--profile", "restricted"], &place[..]].concat();
    let mut toolbox = Toolbox::open(lab, &debug, &here[0], '$')?;
    toolbox.try_all(REFUSED, false, &names)?;
    toolbox.try_all(&[ALLOWED, OF_THE_CLUSTER].concat(), true, &names)?;
    toolbox.leave(0)?;
    // Without a flag it comes to the same, and it is said why.
    let mut toolbox = Toolbox::open(lab, &[&["run", "probe"], &place[..]].concat(), &here[1], '$')?;
    ensure!(toolbox.greeting.contains("trying restricted"), "{}", toolbox.greeting);
    toolbox.try_all(&REFUSED[..1], false, &names)?;
    toolbox.try_all(&ALLOWED[..2], true, &names)?;
    toolbox.leave(0)?;
    // One command has the tool's own code.
    let line = [&["debug"], &place[..], &["on-n1", "--", "conntrack", "-L"]].concat();
    expect(&lab.netcheck(line).output()?, 1, &["CAP_NET_ADMIN"])
}
