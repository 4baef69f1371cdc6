//! The words of the language: constants, protocols, services. From pcap-filter(7), IANA's registries and `/etc/protocols`.

/// Constants that stand for numbers.
const CONSTANTS: &[(&str, u32)] = &[
    ("icmptype", 0),
    ("icmpcode", 1),
    ("icmp-echoreply", 0),
    ("icmp-unreach", 3),
    ("icmp-sourcequench", 4),
    ("icmp-redirect", 5),
    ("icmp-echo", 8),
    ("icmp-routeradvert", 9),
    ("icmp-routersolicit", 10),
    ("icmp-timxceed", 11),
    ("icmp-paramprob", 12),
    ("icmp-tstamp", 13),
    ("icmp-tstampreply", 14),
    ("icmp-ireq", 15),
    ("icmp-ireqreply", 16),
    ("icmp-maskreq", 17),
    ("icmp-maskreply", 18),
    ("icmp6type", 0),
    ("icmp6code", 1),
    ("icmp6-destinationunreach", 1),
    ("icmp6-packettoobig", 2),
    ("icmp6-timeexceeded", 3),
    ("icmp6-parameterproblem", 4),
    ("icmp6-echo", 128),
    ("icmp6-echoreply", 129),
    ("icmp6-multicastlistenerquery", 130),
    ("icmp6-multicastlistenerreportv1", 131),
    ("icmp6-multicastlistenerdone", 132),
    ("icmp6-routersolicit", 133),
    ("icmp6-routeradvert", 134),
    ("icmp6-neighborsolicit", 135),
    ("icmp6-neighboradvert", 136),
    ("icmp6-redirect", 137),
    ("icmp6-routerrenum", 138),
    ("icmp6-nodeinformationquery", 139),
    ("icmp6-nodeinformationresponse", 140),
    ("icmp6-ineighbordiscoverysolicit", 141),
    ("icmp6-ineighbordiscoveryadvert", 142),
    ("icmp6-multicastlistenerreportv2", 143),
    ("icmp6-homeagentdiscoveryrequest", 144),
    ("icmp6-homeagentdiscoveryreply", 145),
    ("icmp6-mobileprefixsolicit", 146),
    ("icmp6-mobileprefixadvert", 147),
    ("icmp6-certpathsolicit", 148),
    ("icmp6-certpathadvert", 149),
    ("icmp6-multicastrouteradvert", 151),
    ("icmp6-multicastroutersolicit", 152),
    ("icmp6-multicastrouterterm", 153),
    ("tcpflags", 13),
    ("tcp-fin", 0x01),
    ("tcp-syn", 0x02),
    ("tcp-rst", 0x04),
    ("tcp-push", 0x08),
    ("tcp-ack", 0x10),
    ("tcp-urg", 0x20),
    ("tcp-ece", 0x40),
    ("tcp-cwr", 0x80),
];

/// The number a constant stands for.
pub(crate) fn constant(word: &str) -> Option<u32> {
    find(CONSTANTS, word)
}

/// Names of IP protocols.
const IP_PROTOCOLS: &[(&str, u32)] = &[
    ("ip", 0),
    ("hopopt", 0),
    ("icmp", 1),
    ("igmp", 2),
    ("ggp", 3),
    ("ipencap", 4),
    ("st", 5),
    ("tcp", 6),
    ("egp", 8),
    ("igp", 9),
    ("pup", 12),
    ("udp", 17),
    ("rdp", 27),
    ("dccp", 33),
    ("ddp", 37),
    ("ipv6", 41),
    ("ipv6-route", 43),
    ("ipv6-frag", 44),
    ("idrp", 45),
    ("rsvp", 46),
    ("gre", 47),
    ("esp", 50),
    ("ah", 51),
    ("skip", 57),
    ("ipv6-icmp", 58),
    ("ipv6-nonxt", 59),
    ("ipv6-opts", 60),
    ("eigrp", 88),
    ("ospf", 89),
    ("ipip", 94),
    ("etherip", 97),
    ("encap", 98),
    ("pim", 103),
    ("ipcomp", 108),
    ("vrrp", 112),
    ("l2tp", 115),
    ("isis", 124),
    ("sctp", 132),
    ("mobility-header", 135),
    ("udplite", 136),
    ("mpls-in-ip", 137),
    ("hip", 139),
    ("shim6", 140),
];

/// The number of an IP protocol.
pub(crate) fn ip_protocol(word: &str) -> Option<u32> {
    find(IP_PROTOCOLS, word)
}

/// Names of what an Ethernet frame can carry: types, and below 256 the service access points of IEEE 802.2.
const ETHERNET_TYPES: &[(&str, u32)] = &[
    ("aarp", 0x80f3),
    ("arp", 0x0806),
    ("atalk", 0x809b),
    ("decnet", 0x6003),
    ("ip", 0x0800),
    ("ip6", 0x86dd),
    ("lat", 0x6004),
    ("loopback", 0x9000),
    ("mopdl", 0x6001),
    ("moprc", 0x6002),
    ("rarp", 0x8035),
    ("sca", 0x6007),
    ("iso", 0xfe),
    ("stp", 0x42),
    ("ipx", 0xe0),
    ("netbeui", 0xf0),
];

/// The Ethernet type or service access point a name stands for.
pub(crate) fn ethernet_type(word: &str) -> Option<u32> {
    find(ETHERNET_TYPES, word)
}

fn find(table: &[(&str, u32)], word: &str) -> Option<u32> {
    table.iter().find(|(name, _)| *name == word).map(|(_, value)| *value)
}

/// What carries a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Carrier {
    Tcp,
    Udp,
    Both,
}

use Carrier::{Both, Tcp, Udp};

/// Well-known services, as Debian's `/etc/services` lists them (IANA Service Name and Transport Protocol Port Number Registry).
const SERVICES: &[(&str, u16, Carrier)] = &[
    ("echo", 7, Both),
    ("discard", 9, Both),
    ("daytime", 13, Both),
    ("ftp-data", 20, Tcp),
    ("ftp", 21, Tcp),
    ("ssh", 22, Tcp),
    ("telnet", 23, Tcp),
    ("smtp", 25, Tcp),
    ("time", 37, Both),
    ("whois", 43, Tcp),
    ("domain", 53, Both),
    ("bootps", 67, Udp),
    ("bootpc", 68, Udp),
    ("tftp", 69, Udp),
    ("http", 80, Tcp),
    ("kerberos", 88, Both),
    ("pop3", 110, Tcp),
    ("sunrpc", 111, Both),
    ("auth", 113, Tcp),
    ("ntp", 123, Udp),
    ("netbios-ns", 137, Udp),
    ("netbios-dgm", 138, Udp),
    ("netbios-ssn", 139, Tcp),
    ("imap2", 143, Tcp),
    ("snmp", 161, Both),
    ("snmp-trap", 162, Both),
    ("bgp", 179, Tcp),
    ("ldap", 389, Both),
    ("https", 443, Both),
    ("microsoft-ds", 445, Tcp),
    ("submissions", 465, Tcp),
    ("isakmp", 500, Udp),
    ("syslog", 514, Udp),
    ("route", 520, Udp),
    ("rtsp", 554, Both),
    ("submission", 587, Tcp),
    ("ipp", 631, Tcp),
    ("ldaps", 636, Both),
    ("domain-s", 853, Both),
    ("rsync", 873, Tcp),
    ("ftps", 990, Tcp),
    ("imaps", 993, Tcp),
    ("pop3s", 995, Tcp),
    ("socks", 1080, Tcp),
    ("openvpn", 1194, Both),
    ("ms-sql-s", 1433, Tcp),
    ("radius", 1812, Both),
    ("radius-acct", 1813, Both),
    ("nfs", 2049, Both),
    ("iscsi-target", 3260, Tcp),
    ("mysql", 3306, Tcp),
    ("ms-wbt-server", 3389, Tcp),
    ("epmd", 4369, Tcp),
    ("ipsec-nat-t", 4500, Udp),
    ("sip", 5060, Both),
    ("sip-tls", 5061, Both),
    ("xmpp-client", 5222, Tcp),
    ("mdns", 5353, Udp),
    ("postgresql", 5432, Tcp),
    ("redis", 6379, Tcp),
    ("http-alt", 8080, Tcp),
];

/// The port of a service, and what carries it.
pub(crate) fn service(word: &str) -> Option<(u16, Carrier)> {
    SERVICES
        .iter()
        .find(|(name, ..)| *name == word)
        .map(|(_, port, carrier)| (*port, *carrier))
}

/// The closest of some words, for `did you mean`.
pub(crate) fn closest<'a>(word: &str, among: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase();
    // Distances between endless words take endless time, and nobody means any of ours with one.
    if word.len() > 32 {
        return None;
    }
    among
        .map(|candidate| (strsim::damerau_levenshtein(&word, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= 2 && *distance < candidate.len().min(word.len()))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// The closest service name.
pub(crate) fn closest_service(word: &str) -> Option<&'static str> {
    closest(word, SERVICES.iter().map(|(name, ..)| *name))
}

/// The closest name of an IP protocol.
pub(crate) fn closest_ip_protocol(word: &str) -> Option<&'static str> {
    closest(word, IP_PROTOCOLS.iter().map(|(name, _)| *name))
}

/// The closest name of an Ethernet type.
pub(crate) fn closest_ethernet_type(word: &str) -> Option<&'static str> {
    closest(word, ETHERNET_TYPES.iter().map(|(name, _)| *name))
}
