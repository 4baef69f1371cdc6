//! What plugin and agent tell each other. All of it is JSON in [`crate::Kind::Hello`] and [`crate::Kind::Message`] frames; fields are only
//! ever added, and both sides ignore what they do not know.

use crate::capture::{CaptureCounters, CaptureInterface, CaptureOrder};
use crate::claim::{Attachment, Claim};
use crate::probe::{Place, PlaceFacts, Placed, Probe, ProbeResult, Query, Sightings};
use serde::{Deserialize, Serialize};

/// Version of this protocol. Sides with different numbers refuse each other.
pub const PROTOCOL: u32 = 1;

/// Number of a task, chosen by the plugin, unique in its session.
pub type TaskId = u32;

/// Bytes at the start of a data frame's payload that say which task it belongs to, as a big endian [`TaskId`].
pub const DATA_HEADER: usize = 4;

/// The plugin's first frame on every stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginHello {
    /// [`PROTOCOL`] of the plugin.
    pub protocol: u32,
    /// Version of the plugin, for messages.
    pub version: String,
    /// The session to open or resume; the agent was started for exactly one.
    pub session: String,
    /// Highest number the plugin has received in order; 0 on the first stream.
    pub received: u64,
}

/// The agent's answer to [`PluginHello`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentHello {
    /// [`PROTOCOL`] of the agent.
    pub protocol: u32,
    /// Version of the agent, for messages.
    pub version: String,
    /// Highest number the agent has received in order; 0 on the first stream.
    pub received: u64,
    /// `uname -r` of the node.
    pub kernel: String,
    /// Effective capabilities as the kernel's bit set (capabilities(7), `CapEff` of proc(5)).
    pub capabilities: u64,
    /// The user the agent runs as.
    pub uid: u32,
}

/// From plugin to agent, numbered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum ToAgent {
    /// Work to do. Tasks run side by side.
    Task {
        /// Its number.
        id: TaskId,
        /// What to do.
        task: Task,
    },
    /// Ends a task early; it still closes with [`FromAgent::Done`].
    Stop {
        /// Which one.
        id: TaskId,
    },
    /// No more tasks: finish what runs, send [`FromAgent::End`].
    Finish,
    /// The plugin has the end and its totals match: the agent may exit.
    EndReceived,
}

/// Work for an agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum Task {
    /// Find network namespaces and read what they hold; one [`Event::Located`] each. Later tasks name a place by its number.
    Locate {
        /// The namespaces to find.
        places: Vec<Place>,
    },
    /// Watch for probes in places until stopped; one [`Event::Watching`] each. What is seen is kept in the agent until asked for.
    Watch {
        /// Numbers of located places.
        places: Vec<u32>,
    },
    /// Send probes, all at once up to `parallel`; one [`Event::Probed`] each.
    Probe {
        /// The probes.
        probes: Vec<Probe>,
        /// How long one probe waits for its answer, in milliseconds.
        timeout_ms: u32,
        /// How many may be under way at once.
        parallel: u32,
    },
    /// Capture packets until stopped; one [`Event::Capturing`] for each source, then packets in data frames as [`crate::capture::Batch`]es.
    Capture(CaptureOrder),
    /// Take a pod's network namespace into the capture that awaits it, as soon as it is there: [`Event::Attached`], [`Event::Capturing`] and then
    /// packets come from the [`Task::Capture`], not from this task, which is done at once.
    Claim(Claim),
    /// Let a source of a capture go: what is in its ring still comes from the [`Task::Capture`], and then [`Event::Released`].
    Release {
        /// The source's number.
        source: u32,
    },
    /// Tell the time: one [`Event::Time`].
    Clock,
    /// Read what the node holds: data frames that make up one JSON document, a `NodeRecord` of the node-state library.
    Record(RecordOrder),
    /// Read what the node has counted, at both ends of an interval, and count what its kernel drops between: [`Event::Observing`] when it has
    /// begun, and in the end data frames that make up one JSON document, a `NodeObservation` of the node-state library.
    Observe(ObserveOrder),
    /// What the watch saw of some probes; one [`Event::Seen`] for each query, those without a sighting included.
    Look {
        /// What to look for and where.
        queries: Vec<Query>,
    },
}

/// What of a node is to be read besides its own network namespace and its rulesets.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RecordOrder {
    /// Numbers of located places whose namespaces are to be read as well.
    pub places: Vec<u32>,
    /// Kernel parameters to read in each namespace, as sysctl(8) writes them; a part that is `*` stands for each device and for `all` and `default`.
    pub sysctls: Vec<String>,
    /// Folders of the node's disk.
    pub folders: Vec<Folder>,
    /// A folder of bpffs whose pins are to be read, with what the maps hold.
    pub pins: Option<String>,
    /// Plugins whose version is to be asked.
    pub plugins: Option<Plugins>,
}

/// CNI plugins of a node: those that its configurations name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Plugins {
    /// The folder of the configurations.
    pub configuration: String,
    /// The folder that the plugins are in.
    pub programs: String,
}

/// A folder of the node's disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Folder {
    /// Its path on the node; with `/*` at its end all folders in it, each under its own path.
    pub path: String,
    /// Whether what its files say is to be read, too; those larger than the agent allows say so instead.
    #[serde(default)]
    pub with_text: bool,
}

/// What is to be observed besides the node's own network namespace, and how long.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ObserveOrder {
    /// Numbers of located places whose namespaces are to be read as well.
    pub places: Vec<u32>,
    /// Milliseconds between the two readings.
    pub for_ms: u64,
}

/// From agent to plugin, numbered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum FromAgent {
    /// Something a task found.
    Event {
        /// The task.
        id: TaskId,
        /// What it found.
        event: Event,
    },
    /// A task is over; nothing of it follows.
    Done {
        /// The task.
        id: TaskId,
        /// How many events and data frames it sent.
        events: u64,
        /// Why it could not be done, if it could not.
        error: Option<String>,
    },
    /// The last message of a session.
    End {
        /// What the plugin must have counted too.
        totals: Totals,
    },
}

/// What a session carried, counted by the sender, compared by the receiver.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Tasks that were done.
    pub tasks: u64,
    /// Events sent.
    pub events: u64,
    /// Data frames sent.
    pub data_frames: u64,
    /// Bytes in data frames, task numbers not counted.
    pub data_bytes: u64,
}

/// What a task found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum Event {
    /// Outcome of looking for one place.
    Located(Placed<PlaceFacts>),
    /// Whether one place is being watched.
    Watching(Placed<()>),
    /// Outcome of one probe.
    Probed(ProbeResult),
    /// What was seen of one probe.
    Seen(Sightings),
    /// Whether one source is being captured: every packet of it that passes the filter counts from now on.
    Capturing {
        /// The source's number.
        source: u32,
        /// The interfaces it has, or why there is no capture.
        outcome: Result<Vec<CaptureInterface>, String>,
    },
    /// An interface that appeared later; packets of it follow.
    InterfaceAppeared {
        /// The source's number.
        source: u32,
        /// The interface.
        interface: CaptureInterface,
    },
    /// What became of a source's packets until now: about once a second, and finally when its capture has ended.
    Captured {
        /// The source's number.
        source: u32,
        /// The numbers.
        counters: CaptureCounters,
    },
    /// The capture is armed for namespaces that appear from now on.
    Awaiting {
        /// Folders that are watched; without any, a pod is noticed by its first process.
        folders: Vec<String>,
    },
    /// A claimed pod's network namespace is there, and captured from some moment on. [`Event::Capturing`] follows.
    Attached {
        /// The source's number.
        source: u32,
        /// The moments.
        attachment: Attachment,
    },
    /// Nothing more comes of a source that was let go; its final [`Event::Captured`] came before.
    Released {
        /// The source's number.
        source: u32,
    },
    /// The first readings are made, and drops are counted from now on.
    Observing {
        /// Whether drops are; else why not.
        drops: Result<(), String>,
    },
    /// The node's real-time clock.
    Time {
        /// Nanoseconds since 1970.
        at_ns: u64,
    },
}
