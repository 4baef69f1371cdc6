//! The words that begin or qualify a primitive.

use crate::ast::Protocol;
use crate::words;

const PROTOCOLS: &[(&str, Protocol)] = &[
    ("ether", Protocol::Link),
    ("link", Protocol::Link),
    ("ip", Protocol::Ip),
    ("ip6", Protocol::Ip6),
    ("arp", Protocol::Arp),
    ("rarp", Protocol::Rarp),
    ("tcp", Protocol::Transport(6)),
    ("udp", Protocol::Transport(17)),
    ("sctp", Protocol::Transport(132)),
    ("icmp", Protocol::Transport4(1)),
    ("icmp6", Protocol::Icmp6),
    ("igmp", Protocol::Transport4(2)),
    ("igrp", Protocol::Transport4(9)),
    ("esp", Protocol::Transport(50)),
    ("ah", Protocol::Transport(51)),
    ("pim", Protocol::Transport(103)),
    ("vrrp", Protocol::Transport4(112)),
    ("carp", Protocol::Transport4(112)),
    ("atalk", Protocol::Frame(0x809b)),
    ("aarp", Protocol::Frame(0x80f3)),
    ("decnet", Protocol::Frame(0x6003)),
    ("lat", Protocol::Frame(0x6004)),
    ("sca", Protocol::Frame(0x6007)),
    ("mopdl", Protocol::Frame(0x6001)),
    ("moprc", Protocol::Frame(0x6002)),
    ("iso", Protocol::Frame(0xfe)),
    ("stp", Protocol::Frame(0x42)),
    ("ipx", Protocol::Frame(0xe0)),
    ("netbeui", Protocol::Frame(0xf0)),
];

/// Words with a meaning of their own beside the protocols.
const OTHERS: &[&str] = &[
    "src",
    "dst",
    "host",
    "net",
    "mask",
    "port",
    "portrange",
    "proto",
    "pod",
    "svc",
    "broadcast",
    "multicast",
    "less",
    "greater",
    "len",
    "length",
    "vlan",
    "inbound",
    "outbound",
    "and",
    "or",
    "not",
];

/// Words of pcap-filter(7) left out here, and what to do instead.
const LEFT_OUT: &[(&str, &str)] = &[
    ("byte", "write ether[OFFSET] and a comparison instead"),
    ("gateway", "use `ether host` with its Ethernet address"),
    (
        "protochain",
        "only `proto` is there: the kernel cannot follow a chain of headers",
    ),
    ("mpls", "match the frame with ether proto 0x8847"),
    ("pppoed", "match the frame with ether proto 0x8863"),
    ("pppoes", "match the frame with ether proto 0x8864"),
    ("geneve", "match its outside with udp port 6081"),
    ("llc", "compare the length field: ether[12:2] <= 1500"),
    ("ifindex", "choose the interface where the capture is started"),
];

/// Words of pcap-filter(7) for links that no pod has.
const OTHER_LINKS: &[&str] = &[
    "ppp",
    "slip",
    "fddi",
    "tr",
    "wlan",
    "radio",
    "type",
    "subtype",
    "direction",
    "dir",
    "address1",
    "addr1",
    "address2",
    "addr2",
    "address3",
    "addr3",
    "address4",
    "addr4",
    "ra",
    "ta",
    "lane",
    "metac",
    "bcc",
    "oam",
    "oamf4",
    "oamf4ec",
    "oamf4sc",
    "sc",
    "ilmic",
    "vpi",
    "vci",
    "connectmsg",
    "metaconnect",
    "on",
    "ifname",
    "rset",
    "ruleset",
    "rnr",
    "rulenum",
    "srnr",
    "subrulenum",
    "reason",
    "action",
    "fisu",
    "lssu",
    "lsu",
    "msu",
    "hfisu",
    "hlssu",
    "hmsu",
    "sio",
    "opc",
    "dpc",
    "sls",
    "hsio",
    "hopc",
    "hdpc",
    "hsls",
    "esis",
    "es-is",
    "isis",
    "is-is",
    "l1",
    "l2",
    "iih",
    "lsp",
    "snp",
    "csnp",
    "psnp",
    "clnp",
];

/// The protocol a word stands for.
pub(super) fn protocol(word: &str) -> Option<Protocol> {
    PROTOCOLS
        .iter()
        .find(|(name, _)| *name == word)
        .map(|(_, protocol)| *protocol)
}

/// The word for a protocol.
pub(super) fn protocol_word(protocol: Protocol) -> &'static str {
    PROTOCOLS
        .iter()
        .find(|(_, one)| *one == protocol)
        .map_or("this protocol", |(word, _)| word)
}

/// Why a word of pcap-filter(7) is none here.
pub(super) fn left_out(word: &str) -> Option<&'static str> {
    LEFT_OUT
        .iter()
        .find(|(name, _)| *name == word)
        .map(|(_, reason)| *reason)
        .or_else(|| {
            OTHER_LINKS
                .contains(&word)
                .then_some("it is for links that pods do not have")
        })
}

/// Whether a word means something by itself, so that it is no name unless escaped.
pub(super) fn is_keyword(word: &str) -> bool {
    protocol(word).is_some() || OTHERS.contains(&word) || left_out(word).is_some()
}

/// A word that may have been meant, as the end of a message.
pub(super) fn hint(word: &str) -> String {
    let known = PROTOCOLS.iter().map(|(name, _)| *name).chain(OTHERS.iter().copied());
    words::closest(word, known).map_or_else(String::new, |close| format!(", did you mean `{close}`?"))
}
