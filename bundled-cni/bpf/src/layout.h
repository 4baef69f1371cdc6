/* Maps and their bytes, as SPEC.md section 6 has them. layout.rs says the same to Rust; a test compares both with the kernel's view. */
#pragma once

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

enum hook { POD_FROM, POD_TO, VX_OUT, VX_IN, UL_OUT, UL_IN };

enum reason {
	SEEN,
	NOT_IP,
	TRUNCATED,
	NOT_THIS_PODS_SOURCE,
	NOT_THIS_PODS_DESTINATION,
	TUNNEL_SOURCE_NO_PEER,
	TUNNEL_DESTINATION_NOT_OURS,
	TUNNEL_TO_NO_PEER,
	/* A packet has exactly one of those above; the ones below are counted besides. */
	PEER_WITHOUT_ENTRY,
	EVENT_LOST,
	FRAGMENT_WITHOUT_PORTS,
	EXTENSION_NOT_FOLLOWED,
	REASONS = 32,
};

enum node_flag { NODE_DIRECT = 1, NODE_SELF = 2 };

enum { PEERS = 8192 };

/* In network order; IPv4 as ::ffff:a.b.c.d. */
struct address {
	__u32 word[4];
};

/* A range of addresses; of an IPv4 one the length counts the 96 bits before it. Length 0: none. */
struct range {
	__u32 prefix_length;
	struct address address;
};

struct config {
	__u32 schema, sample, flags, tunnel_ifindex;
	struct range own4, own6;
};

struct endpoint {
	__u32 ifindex;
	__u8 pod_mac[6], host_mac[6];
	__u8 pod_uid[16];
};

struct amount {
	__u64 packets, bytes;
};

struct endpoint_count_key {
	struct address address;
	__u32 ifindex;
};

struct endpoint_count {
	struct amount from_pod, to_pod;
};

struct node {
	struct address internal_ip;
	__u8 vtep_mac[6];
	__u16 flags;
	/* The node's place in nc_peer; all ones of this node itself. */
	__u32 slot;
};

struct peer_count {
	struct amount sent, received;
};

struct event {
	__u64 time;
	struct address source, destination;
	__be16 source_port, destination_port;
	__u8 protocol, tcp_flags, hook, reason;
	__u32 ifindex, length;
	__u16 segments;
	__u8 zero[6];
};

_Static_assert(sizeof(struct config) == 56, "nc_cfg");
_Static_assert(sizeof(struct endpoint) == 32, "nc_ep");
_Static_assert(sizeof(struct endpoint_count_key) == 20 && sizeof(struct endpoint_count) == 32, "nc_ep_count");
_Static_assert(sizeof(struct range) == 20 && sizeof(struct node) == 28, "nc_node");
_Static_assert(sizeof(struct peer_count) == 32, "nc_peer");
_Static_assert(sizeof(struct amount) == 16, "nc_reason");
_Static_assert(sizeof(struct event) == 64, "nc_event");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct config);
} nc_cfg SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, struct address);
	__type(value, struct endpoint);
} nc_ep SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1024);
	__type(key, struct endpoint_count_key);
	__type(value, struct endpoint_count);
} nc_ep_count SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 16384);
	__type(key, struct range);
	__type(value, struct node);
} nc_node SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, PEERS);
	__type(key, __u32);
	__type(value, struct peer_count);
} nc_peer SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, REASONS);
	__type(key, __u32);
	__type(value, struct amount);
} nc_reason SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 256 * 1024);
} nc_event SEC(".maps");
