//! Names and constants of SPEC.md, section 1. Whatever the plugin, the daemon and the verifier must agree on is here, once.

use netcheck_node_state::Mac;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Schema of everything that is written down or pinned.
pub const SCHEMA: u32 = 1;
/// Namespace, ConfigMap, DaemonSet and ServiceAccount.
pub const NAMESPACE: &str = "netcheck-cni";
/// The CNI network's name.
pub const NETWORK: &str = "netcheck";
/// The plugin: name of its binary, and the `type` by which a configuration names it.
pub const PLUGIN: &str = "netcheck-cni";
/// The CNI configuration.
pub const CONFLIST: &str = "/etc/cni/net.d/05-netcheck.conflist";
/// The state directory, unless a configuration's `dataDir` says otherwise.
pub const STATE_DIRECTORY: &str = "/run/netcheck-cni";
/// The file in it by which the daemon tells the plugin of the node.
pub const NODE_JSON: &str = "node.json";
/// The overlay device.
pub const OVERLAY: &str = "ncvx0";
/// The overlay device's mark, its alias.
pub const OVERLAY_ALIAS: &str = "netcheck-cni v1";
/// How the alias of each host veth of ours begins.
pub const VETH_ALIAS_START: &str = "netcheck-cni ";
/// How the name of each host veth of ours begins; 11 hex digits follow.
pub const VETH_NAME_START: &str = "nc";
/// Longest alias that the kernel takes, in bytes (`IFALIASZ` of linux/if.h, less its final zero).
pub const ALIAS_BYTES: usize = 255;
/// Longest name of a file, in bytes (`NAME_MAX` of linux/limits.h).
pub const FILE_NAME_BYTES: usize = 255;
/// The mark on routes (`RTA_PROTOCOL`) and neighbours (`NDA_PROTOCOL`).
pub const PROTOCOL: u8 = 147;
/// `RTPROT_KERNEL` of linux/rtnetlink.h: routes that follow from an address.
pub const PROTOCOL_KERNEL: u8 = 2;
/// The nftables table, of family `inet`.
pub const NFT_TABLE: &str = "netcheck-cni";
/// The nftables table kept for later: it must not exist in schema 1.
pub const NFT_POLICY_TABLE: &str = "netcheck-policy";
/// Where the BPF objects are pinned.
pub const BPF_PINS: &str = "/sys/fs/bpf/netcheck-cni/v1/";
/// The IPv4 gateway that pods see; on no interface anywhere.
pub const GATEWAY4: IpAddr = IpAddr::V4(Ipv4Addr::new(169, 254, 1, 1));
/// The IPv6 gateway that pods see; on no interface anywhere.
pub const GATEWAY6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1));
/// Hardware address of every host veth: the pods' neighbour entries for their gateway need no other.
pub const HOST_MAC: Mac = Mac([0x0e, 0x6e, 0x63, 0x00, 0x00, 0x01]);

/// `RT_TABLE_MAIN` of linux/rtnetlink.h: the only table that we write to.
pub const TABLE_MAIN: u32 = 254;
/// Metric of IPv6 routes where nothing else is said (`IP6_RT_PRIO_USER` of linux/ipv6_route.h).
pub const METRIC6: u32 = 1024;
/// Metric of the own range's unreachable route: whatever else there is wins.
pub const METRIC_UNREACHABLE: u32 = 2_147_483_647;
/// `RT_SCOPE_LINK` of linux/rtnetlink.h.
pub const SCOPE_LINK: u8 = 253;
/// `RTPROT_BOOT` of linux/rtnetlink.h: the routes inside pods.
pub const PROTOCOL_BOOT: u8 = 3;
/// Lowest MTU with which a device carries IPv6 (RFC 8200, section 5), in bytes.
pub const IPV6_MIN_MTU: u32 = 1280;

/// Annotation: [`SCHEMA`].
pub const ANNOTATION_SCHEMA: &str = "cni.netcheck.dev/schema";
/// Annotation: the VTEP's hardware address, to compare; never an input.
pub const ANNOTATION_VTEP_MAC: &str = "cni.netcheck.dev/vtep-mac";
/// Annotation: InternalIPs with the prefix length that they have on the interface; an input of the way to a peer.
pub const ANNOTATION_UNDERLAY: &str = "cni.netcheck.dev/underlay";
/// Annotation: MTU of the underlay; an input of all nodes' MTU.
pub const ANNOTATION_MTU: &str = "cni.netcheck.dev/mtu";
/// Annotation: hash of the configuration that was last applied without failures.
pub const ANNOTATION_CONFIG: &str = "cni.netcheck.dev/config";
/// Condition type of Kubernetes itself: whether the node's network is set up.
pub const CONDITION_NETWORK_UNAVAILABLE: &str = "NetworkUnavailable";
/// Condition type: whether NetworkPolicy is enforced.
pub const CONDITION_POLICY: &str = "cni.netcheck.dev/NetworkPolicyEnforced";
/// Condition type: whether something is not as it should be.
pub const CONDITION_DEGRADED: &str = "cni.netcheck.dev/Degraded";
