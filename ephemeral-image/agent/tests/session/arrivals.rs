//! Captures of namespaces that appear later: real ones, with packets in them before anybody knows whose they are.

use crate::support::{
    needs_root,
    plugin::{Agent, Plugin},
    wait_for,
};
use libtest_mimic::Trial;
use netcheck_node_state::{Netns, within};
use netcheck_wire::{
    Event, FromAgent, Task, TaskId,
    capture::{Batch, CaptureOrder, PayloadRule},
    claim::{Attachment, Awaiting, Claim, Witness},
};
use std::{
    fs,
    net::UdpSocket,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

pub fn trials() -> Vec<Trial> {
    vec![
        needs_root(
            "what a claimed namespace saw before the claim is delivered",
            held_from_the_start,
        ),
        needs_root(
            "a namespace without a name is captured from its first process on",
            by_process,
        ),
        needs_root("a pod whose processes are hidden is found by its address", by_address),
        needs_root(
            "only the interfaces asked for are captured, and the counts agree",
            one_interface,
        ),
        needs_root(
            "what nobody claims is closed and forgotten, and nothing is leaked",
            unclaimed,
        ),
        needs_root("a source that is let go gives what it has, and its namespace", released),
        needs_root("a claim without a capture that awaits it is refused", no_capture),
    ]
}

static NEXT: AtomicU32 = AtomicU32::new(1);

/// A pod as a runtime makes one: a named namespace, an interface pair in it, later a process in a cgroup of its own.
struct Pod {
    uid: String,
    name: String,
    cgroup: PathBuf,
    process: Option<Child>,
    is_named: bool,
}

impl Pod {
    /// Only the namespace.
    fn named() -> Self {
        let pod = Self::new(true);
        ip(&format!("netns add {}", pod.name));
        pod
    }

    fn new(is_named: bool) -> Self {
        let number = u64::from(std::process::id()) << 16 | u64::from(NEXT.fetch_add(1, Ordering::Relaxed));
        let uid = format!("00000000-0000-4000-8000-{number:012x}");
        Self {
            name: format!("ncarrive-{number:x}"),
            cgroup: cgroup_root().join(format!("pod{uid}")),
            process: None,
            is_named,
            uid,
        }
    }

    fn path(&self) -> PathBuf {
        match (&self.process, self.is_named) {
            (Some(process), false) => format!("/proc/{}/ns/net", process.id()).into(),
            _ => Path::new("/run/netns").join(&self.name),
        }
    }

    fn run(&self, script: &str) {
        let net = format!("--net={}", self.path().display());
        let status = Command::new("nsenter")
            .args([&net, "sh", "-ec", script])
            .status()
            .unwrap();
        assert!(status.success(), "{script}");
    }

    /// Two interfaces that hear each other.
    fn wire(&self) {
        self.run(
            "ip link add eth0 type veth peer name eth1; ip addr add 198.51.100.1/24 dev eth0; ip link set eth0 up; ip link set eth1 up
             ip neigh replace 198.51.100.9 lladdr 02:00:00:00:00:09 dev eth0",
        );
        // Until the kernel has taken note of the carrier, what is sent goes nowhere.
        let net = format!("--net={}", self.path().display());
        wait_for("both ends to be up", || {
            let output = Command::new("nsenter")
                .args([&net, "ip", "-br", "link"])
                .output()
                .unwrap();
            String::from_utf8(output.stdout).unwrap().matches(" UP ").count() == 2
        });
    }

    /// UDP packets, each of which leaves by eth0 and arrives at eth1.
    fn send(&self, count: usize) {
        within(&Netns::open(&self.path()).unwrap(), || {
            let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
            for _ in 0..count {
                socket.send_to(b"early", "198.51.100.9:9").unwrap();
            }
        })
        .unwrap();
    }

    /// The first process of the pod, in its cgroup before it is in its namespace, as runtimes do it.
    fn start(&mut self) {
        fs::create_dir_all(&self.cgroup).unwrap();
        let enter = if self.is_named {
            format!("exec nsenter --net={} sleep 600", self.path().display())
        } else {
            "exec unshare --net sleep 600".to_owned()
        };
        let script = format!("echo $$ > {}/cgroup.procs; sleep 0.1; {enter}", self.cgroup.display());
        let child = Command::new("sh")
            .args(["-ec", &script])
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let pid = child.id();
        self.process = Some(child);
        wait_for("the pod's process in its namespace", || {
            let of = |path: String| fs::read_link(path).ok();
            of(format!("/proc/{pid}/ns/net")) != of("/proc/self/ns/net".to_owned())
        });
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
        if self.is_named {
            let _ = Command::new("ip")
                .args(["netns", "delete", &self.name])
                .stderr(Stdio::null())
                .status();
        }
        if self.cgroup.exists() {
            wait_for("the cgroup to be empty", || fs::remove_dir(&self.cgroup).is_ok());
        }
    }
}

fn ip(arguments: &str) {
    let status = Command::new("ip").args(arguments.split(' ')).status().unwrap();
    assert!(status.success(), "ip {arguments}");
}

/// Of any hierarchy in which folders can be made.
fn cgroup_root() -> PathBuf {
    let roots = ["/sys/fs/cgroup/pids", "/sys/fs/cgroup/unified", "/sys/fs/cgroup"];
    let root = roots
        .into_iter()
        .find(|root| Path::new(root).join("cgroup.procs").exists());
    root.expect("a cgroup hierarchy").into()
}

/// An agent with a capture that awaits pods.
struct Armed {
    agent: Agent,
    plugin: Plugin,
    capture: TaskId,
}

impl Armed {
    fn new(interfaces: &[&str]) -> Self {
        let agent = Agent::start();
        let mut plugin = Plugin::joining(&agent);
        // UDP over IPv4 in Ethernet: load the EtherType, compare, load the protocol, compare.
        let udp = vec![
            (0x28, 0, 0, 12),
            (0x15, 0, 3, 0x0800),
            (0x30, 0, 0, 23),
            (0x15, 0, 1, 17),
            (0x06, 0, 0, 262_144),
            (0x06, 0, 0, 0),
        ];
        let capture = plugin.start(Task::Capture(CaptureOrder {
            sources: Vec::new(),
            programs: vec![udp],
            snap_length: 262_144,
            payload: PayloadRule::Keep,
            ring_bytes: 1 << 20,
            awaiting: Some(Awaiting {
                program: 0,
                interfaces: interfaces.iter().map(|&name| name.to_owned()).collect(),
            }),
        }));
        let armed = plugin.wait_for_events(capture, 1);
        assert!(
            matches!(&armed[0], Event::Awaiting { folders } if folders.iter().any(|name| name.ends_with("run/netns"))),
            "{armed:?}"
        );
        Self { agent, plugin, capture }
    }

    fn claim(&mut self, source: u32, pod: &Pod, ips: &[&str]) {
        let events = self.plugin.task(Task::Claim(Claim {
            source,
            uid: pod.uid.clone(),
            ips: ips.iter().map(|ip| ip.parse().unwrap()).collect(),
            on_node: None,
        }));
        assert_eq!(events, []);
    }

    fn until<T>(&mut self, find: impl Fn(&Event) -> Option<T>) -> T {
        loop {
            if let Some(found) = self.plugin.events(self.capture).iter().find_map(&find) {
                return found;
            }
            self.plugin.receive();
        }
    }

    fn attached(&mut self, wanted: u32) -> Attachment {
        let attachment = self.until(|event| match event {
            Event::Attached { source, attachment } if *source == wanted => Some(*attachment),
            _ => None,
        });
        self.until(|event| match event {
            Event::Capturing { source, outcome } if *source == wanted => Some(outcome.clone()),
            _ => None,
        })
        .unwrap();
        attachment
    }

    /// Packets of a source that have arrived.
    fn packets(&self, source: u32) -> usize {
        let batches = self.plugin.data.iter().filter(|(id, _)| *id == self.capture);
        let batches = batches.map(|(_, bytes)| Batch::parse(bytes.clone()).unwrap());
        batches
            .filter(|batch| batch.source() == source)
            .map(|batch| batch.records() as usize)
            .sum()
    }

    fn wait_for_packets(&mut self, source: u32, count: usize) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while self.packets(source) < count {
            assert!(Instant::now() < deadline, "{} of {count} packets", self.packets(source));
            self.plugin.receive();
        }
    }

    /// Stops the capture; each source's last count of accepted and sent packets.
    fn finish(mut self) -> Vec<(u32, u64, u64)> {
        self.plugin.finish_with(&mut self.agent);
        let mut last = std::collections::BTreeMap::new();
        for event in self.plugin.events(self.capture) {
            if let Event::Captured { source, counters } = event {
                last.insert(source, (counters.accepted, counters.sent));
            }
        }
        last.into_iter()
            .map(|(source, (accepted, sent))| (source, accepted, sent))
            .collect()
    }

    /// Whether the agent has a packet socket that receives in the pod's namespace. Other tests' agents may have theirs.
    fn holds(&self, pod: &Pod) -> bool {
        let sockets = within(&Netns::open(&pod.path()).unwrap(), || {
            fs::read_to_string("/proc/thread-self/net/packet").unwrap()
        })
        .unwrap();
        // Columns of packet_seq_show (net/packet/af_packet.c): the sixth says whether it receives, the last is its inode.
        let receiving = sockets
            .lines()
            .filter(|line| line.split_whitespace().nth(5) == Some("1"));
        let inodes = receiving.filter_map(|line| line.split_whitespace().last());
        let ours: Vec<String> = inodes.map(|inode| format!("socket:[{inode}]")).collect();
        let entries = fs::read_dir(format!("/proc/{}/fd", self.agent.pid()))
            .unwrap()
            .flatten();
        let mut targets = entries.filter_map(|entry| fs::read_link(entry.path()).ok());
        targets.any(|target| ours.iter().any(|one| Path::new(one) == target))
    }
}

fn held_from_the_start() {
    let mut armed = Armed::new(&[]);
    let mut pod = Pod::named();
    wait_for("the namespace to be held", || armed.holds(&pod));
    pod.wire();
    // One by one, each in a block of the ring of its own: more than it has.
    for _ in 0..10 {
        pod.send(1);
        thread::sleep(Duration::from_millis(70));
    }
    // Nothing is sent before somebody says whose it is.
    assert!(armed.plugin.data.is_empty());
    pod.start();
    armed.claim(7, &pod, &[]);
    let attachment = armed.attached(7);
    assert_eq!(attachment.told_by, Witness::Namespace);
    assert!(
        attachment.appeared_ns.unwrap() <= attachment.attached_ns,
        "{attachment:?}"
    );
    armed.wait_for_packets(7, 20);
    pod.send(5);
    armed.wait_for_packets(7, 30);
    assert_eq!(armed.finish(), [(7, 30, 30)]);
}

fn by_process() {
    let mut armed = Armed::new(&[]);
    let mut pod = Pod::new(false);
    armed.claim(3, &pod, &[]);
    pod.start();
    let attachment = armed.attached(3);
    assert_eq!(attachment.told_by, Witness::Process);
    assert!(
        attachment.appeared_ns.is_some_and(|at| at <= attachment.attached_ns),
        "{attachment:?}"
    );
    pod.wire();
    pod.send(4);
    armed.wait_for_packets(3, 8);
    assert_eq!(armed.finish(), [(3, 8, 8)]);
}

fn by_address() {
    let mut armed = Armed::new(&[]);
    let pod = Pod::named();
    wait_for("the namespace to be held", || armed.holds(&pod));
    pod.wire();
    pod.send(3);
    armed.claim(1, &pod, &["198.51.100.1"]);
    assert_eq!(armed.attached(1).told_by, Witness::Namespace);
    armed.wait_for_packets(1, 6);
    assert_eq!(armed.finish(), [(1, 6, 6)]);
}

fn one_interface() {
    let mut armed = Armed::new(&["eth1"]);
    let pod = Pod::named();
    wait_for("the namespace to be held", || armed.holds(&pod));
    pod.wire();
    pod.send(6);
    armed.claim(1, &pod, &["198.51.100.1"]);
    armed.attached(1);
    armed.wait_for_packets(1, 6);
    let capture = armed.capture;
    for event in armed.plugin.events(capture) {
        let told = match event {
            Event::Capturing { outcome, .. } => outcome.unwrap(),
            Event::InterfaceAppeared { interface, .. } => vec![interface],
            _ => Vec::new(),
        };
        assert!(told.iter().all(|interface| interface.name == "eth1"), "{told:?}");
    }
    assert_eq!(armed.finish(), [(1, 6, 6)]);
}

fn unclaimed() {
    let mut armed = Armed::new(&[]);
    let mut pod = Pod::named();
    let nobodys = Pod::named();
    for pod in [&pod, &nobodys] {
        wait_for("the namespace to be held", || armed.holds(pod));
    }
    pod.wire();
    pod.send(3);
    // Seen to be a pod's that nobody has claimed, its ring goes before its time.
    pod.start();
    wait_for("the ring to be closed", || !armed.holds(&pod));
    assert!(armed.holds(&nobodys));
    // With neither process nor claim its time runs out.
    let deadline = Instant::now() + Duration::from_mins(1);
    while armed.holds(&nobodys) {
        assert!(Instant::now() < deadline, "still held");
        // Our answers keep the session alive.
        armed.plugin.task(Task::Clock);
        thread::sleep(Duration::from_millis(100));
    }
    assert!(armed.plugin.data.is_empty());
    assert_eq!(armed.finish(), []);
}

fn released() {
    let mut armed = Armed::new(&[]);
    let mut pod = Pod::named();
    pod.wire();
    pod.start();
    armed.claim(2, &pod, &[]);
    // One that never comes is let go as well.
    let never = Pod::new(false);
    armed.claim(4, &never, &[]);
    armed.attached(2);
    assert!(armed.holds(&pod));
    pod.send(5);
    for source in [2, 4] {
        armed.plugin.task(Task::Release { source });
        armed.until(|event| matches!(event, Event::Released { source: one } if *one == source).then_some(()));
    }
    assert_eq!(armed.packets(2), 10);
    wait_for("the ring to be closed", || !armed.holds(&pod));
    assert_eq!(armed.finish(), [(2, 10, 10)]);
}

fn no_capture() {
    let mut agent = Agent::start();
    let mut plugin = Plugin::joining(&agent);
    let id = plugin.start(Task::Claim(Claim {
        source: 1,
        uid: "nobody".to_owned(),
        ips: Vec::new(),
        on_node: None,
    }));
    let refused = |plugin: &Plugin| {
        plugin.messages.iter().find_map(|message| match message {
            FromAgent::Done { id: of, error, .. } if *of == id => Some(error.clone()),
            _ => None,
        })
    };
    while refused(&plugin).is_none() {
        plugin.receive();
    }
    assert_eq!(refused(&plugin).unwrap().unwrap(), "no capture awaits source 1");
    plugin.finish_with(&mut agent);
}
