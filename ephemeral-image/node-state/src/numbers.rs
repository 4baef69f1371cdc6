//! Numbers of the kernel's interface, in the width in which messages carry them.

use linux_raw_sys::netlink;

/// Takes constants over under their own names.
macro_rules! numbers {
    ($from:path, $width:ty: $($name:ident)*) => {
        $(
            #[allow(clippy::cast_possible_wrap, reason = "the generated constants are wider than what they number")]
            pub(crate) const $name: $width = {
                use $from as source;
                source::$name as $width
            };
        )*
    };
}

// linux/netlink.h
numbers!(netlink, u16: NLM_F_REQUEST NLM_F_ACK NLM_F_CREATE NLM_F_EXCL NLM_F_REPLACE NLM_F_ACK_TLVS NLM_F_CAPPED NLM_F_DUMP NLM_F_DUMP_INTR NLMSG_NOOP NLMSG_ERROR NLMSG_DONE NLMSG_OVERRUN);
numbers!(netlink::nlmsgerr_attrs, u16: NLMSGERR_ATTR_MSG);
// linux/rtnetlink.h
numbers!(netlink, u16: RTM_NEWLINK RTM_SETLINK RTM_DELLINK RTM_GETLINK RTM_NEWADDR RTM_DELADDR RTM_GETADDR
    RTM_NEWROUTE RTM_DELROUTE RTM_GETROUTE RTM_NEWNEIGH RTM_DELNEIGH RTM_GETNEIGH RTM_NEWRULE RTM_GETRULE RTAX_MTU
    RTM_NEWQDISC RTM_GETQDISC RTM_NEWTFILTER RTM_GETTFILTER);
// The kernel's enumerations for traffic control are in no crate that is used here: linux/rtnetlink.h and linux/gen_stats.h.
pub(crate) const TCA_KIND: u16 = 1;
pub(crate) const TCA_OPTIONS: u16 = 2;
pub(crate) const TCA_STATS2: u16 = 7;
pub(crate) const TCA_STATS_QUEUE: u16 = 3;
numbers!(netlink::rtattr_type_t, u16: RTA_DST RTA_OIF RTA_GATEWAY RTA_PRIORITY RTA_METRICS RTA_MULTIPATH RTA_TABLE RTA_VIA RTA_PREFSRC);
numbers!(netlink, u8: RTN_UNICAST RTN_LOCAL RTN_UNREACHABLE RTNH_F_ONLINK);
numbers!(netlink, u32: RTM_F_CLONED RTEXT_FILTER_SKIP_STATS);
numbers!(netlink::rtnetlink_groups, u32: RTNLGRP_LINK RTNLGRP_NEIGH RTNLGRP_IPV4_IFADDR RTNLGRP_IPV4_ROUTE RTNLGRP_IPV6_IFADDR
    RTNLGRP_IPV6_ROUTE);
// linux/fib_rules.h
numbers!(netlink, u16: FRA_DST FRA_SRC FRA_IIFNAME FRA_GOTO FRA_PRIORITY FRA_FWMARK FRA_FLOW FRA_SUPPRESS_IFGROUP FRA_SUPPRESS_PREFIXLEN FRA_TABLE
    FRA_FWMASK FRA_OIFNAME FRA_PAD FRA_PROTOCOL);
numbers!(netlink, u32: FIB_RULE_INVERT);
// linux/if_link.h
numbers!(netlink, u16: IFLA_ADDRESS IFLA_IFNAME IFLA_MTU IFLA_LINKINFO IFLA_IFALIAS IFLA_AF_SPEC IFLA_NET_NS_FD IFLA_EXT_MASK IFLA_LINK IFLA_LINK_NETNSID IFLA_MASTER IFLA_STATS64
    IFLA_INET6_ADDR_GEN_MODE IFLA_INFO_KIND IFLA_INFO_DATA
    IFLA_VXLAN_ID IFLA_VXLAN_LINK IFLA_VXLAN_LOCAL IFLA_VXLAN_LOCAL6 IFLA_VXLAN_LEARNING IFLA_VXLAN_PORT
    IFLA_VXLAN_GROUP IFLA_VXLAN_GROUP6 IFLA_VXLAN_TTL IFLA_VXLAN_TOS IFLA_VXLAN_AGEING IFLA_VXLAN_LIMIT IFLA_VXLAN_PORT_RANGE IFLA_VXLAN_PROXY
    IFLA_VXLAN_RSC IFLA_VXLAN_L2MISS IFLA_VXLAN_L3MISS IFLA_VXLAN_UDP_CSUM IFLA_VXLAN_UDP_ZERO_CSUM6_TX IFLA_VXLAN_UDP_ZERO_CSUM6_RX
    IFLA_VXLAN_REMCSUM_TX IFLA_VXLAN_REMCSUM_RX IFLA_VXLAN_GBP IFLA_VXLAN_REMCSUM_NOPARTIAL IFLA_VXLAN_COLLECT_METADATA IFLA_VXLAN_LABEL
    IFLA_VXLAN_GPE IFLA_VXLAN_TTL_INHERIT IFLA_VXLAN_DF IFLA_VXLAN_LOCALBYPASS);
/// linux/veth.h.
pub(crate) const VETH_INFO_PEER: u16 = 1;
// linux/if_addr.h
numbers!(netlink, u16: IFA_ADDRESS IFA_LOCAL);
numbers!(netlink, u8: IFA_F_NODAD);
// linux/neighbour.h
numbers!(netlink, u16: NDA_DST NDA_LLADDR NDA_PROTOCOL NDA_PORT NDA_VNI NDA_IFINDEX NUD_PERMANENT NUD_NOARP NUD_REACHABLE);
numbers!(netlink, u8: NTF_SELF NTF_PROXY NTF_ROUTER NTF_STICKY NTF_EXT_LEARNED);
/// Families of linux/socket.h.
pub(crate) const AF_INET: u8 = 2;
/// IPv6.
pub(crate) const AF_INET6: u8 = 10;
/// Forwarding entries.
pub(crate) const AF_BRIDGE: u8 = 7;
/// `IN6_ADDR_GEN_MODE_EUI64` of linux/if_link.h.
pub(crate) const GENERATES_EUI64: u8 = 0;
/// `IN6_ADDR_GEN_MODE_NONE`.
pub(crate) const GENERATES_NONE: u8 = 1;
