/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Counts the packets that the kernel drops, by network namespace, device and reason. It looks on and changes nothing. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

/* The kernel's own structures are shown to programs under the GPL only: hence the licence of this one file, either at your choice. */
char LICENSE[] SEC("license") = "Dual MIT/GPL";

/* Of the kernel's structures what is read here. Where it lies in the running kernel is put in when the program is loaded, by its BTF. */
#define THERE __attribute__((preserve_access_index))

struct ns_common {
	unsigned int inum;
} THERE;

struct net {
	struct ns_common ns;
} THERE;

typedef struct {
	struct net *net;
} THERE possible_net_t;

struct net_device {
	int ifindex;
	possible_net_t nd_net;
} THERE;

struct sock_common {
	possible_net_t skc_net;
} THERE;

struct sock {
	struct sock_common __sk_common;
} THERE;

struct sk_buff {
	struct net_device *dev;
	struct sock *sk;
} THERE;

struct key {
	__u32 netns, ifindex, reason;
};

/* Room for a node's worth of namespaces, devices and reasons. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__type(key, struct key);
	__type(value, __u64);
	__uint(max_entries, 8192);
} counts SEC(".maps");

/* Packets for which there was no room. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(value, __u64);
	__uint(max_entries, 1);
} uncounted SEC(".maps");

/* Arguments: the packet, where in the kernel, and why (since Linux 5.17); later ones are not read. */
SEC("tp_btf/kfree_skb")
int count(unsigned long long *arguments)
{
	struct sk_buff *packet = (void *)arguments[0];
	struct net_device *device = packet->dev;
	struct sock *sock = packet->sk;
	struct key key = { .reason = arguments[2] };
	__u64 *found, one = 1;
	__u32 zero = 0;

	/* In a socket's queue other things lie where the device was: reading them gives zero. A packet of a socket may have no device yet, or none
	 * any more. */
	if (device)
		key.netns = device->nd_net.net->ns.inum;
	if (key.netns)
		key.ifindex = device->ifindex;
	else if (sock)
		key.netns = sock->__sk_common.skc_net.net->ns.inum;

	found = bpf_map_lookup_elem(&counts, &key);
	if (!found) {
		/* Another processor may be quicker: then it is there now, too. */
		bpf_map_update_elem(&counts, &key, &(__u64){ 0 }, BPF_NOEXIST);
		found = bpf_map_lookup_elem(&counts, &key);
	}
	if (!found)
		found = bpf_map_lookup_elem(&uncounted, &zero);
	if (found)
		__sync_fetch_and_add(found, one);
	return 0;
}
