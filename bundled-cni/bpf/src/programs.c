/* Counting programs for TCX and clsact. They decide nothing: all return TCX_NEXT, which clsact knows as TC_ACT_UNSPEC. */
#include "layout.h"
#include "packet.h"

#define NEXT (-1)

/* No helper here is for GPL programs only, so the licence of these sources is what the kernel is told. */
char LICENSE[] SEC("license") = "Apache-2.0";

static __always_inline void add(struct amount *amount, __u64 packets, __u64 bytes)
{
	amount->packets += packets;
	amount->bytes += bytes;
}

/* Returns how many packets this processor has counted under it. */
static __always_inline __u64 count_reason(__u32 reason, __u64 packets, __u64 bytes)
{
	struct amount *amount = bpf_map_lookup_elem(&nc_reason, &reason);

	if (!amount)
		return 0;
	add(amount, packets, bytes);
	return amount->packets;
}

static __always_inline struct config *config(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&nc_cfg, &zero);
}

static __always_inline struct node *node_of(const struct address *address)
{
	struct range key = { .prefix_length = 128, .address = *address };

	return bpf_map_lookup_elem(&nc_node, &key);
}

static __always_inline int is_peer(const struct node *node, __u16 direct)
{
	return node && (node->flags & (NODE_SELF | NODE_DIRECT)) == direct;
}

/* Whether an address is this node's own pods'. A search of nc_node says the same, since ranges of accepted nodes do not overlap, but takes longer. */
static __always_inline int is_own(const struct address *address)
{
	struct config *known = config();

	return known && (is_in(address, &known->own4) || is_in(address, &known->own6));
}

/* Counts for the pod on this veth, whose address is `own`. There is an entry iff nc_ep has the address on this very device. */
static __always_inline __u32 count_pod(struct __sk_buff *skb, const struct address *own, int is_from, __u64 packets)
{
	struct endpoint_count_key key = { .address = *own, .ifindex = skb->ifindex };
	struct endpoint_count *count = bpf_map_lookup_elem(&nc_ep_count, &key);

	if (!count)
		return is_from ? NOT_THIS_PODS_SOURCE : NOT_THIS_PODS_DESTINATION;
	add(is_from ? &count->from_pod : &count->to_pod, packets, skb->len);
	return SEEN;
}

static __always_inline void count_peer(struct __sk_buff *skb, struct node *peer, int is_sent, __u64 packets)
{
	struct peer_count *count = bpf_map_lookup_elem(&nc_peer, &peer->slot);

	if (count)
		add(is_sent ? &count->sent : &count->received, packets, skb->len);
	else
		count_reason(PEER_WITHOUT_ENTRY, packets, skb->len);
}

/* Both ends must attribute a packet alike: sent to B is what B will call received from here. */
static __always_inline __u32 count_sent(struct __sk_buff *skb, const struct packet *packet, __u16 direct, __u64 packets)
{
	struct node *peer = node_of(&packet->destination);

	if (!is_peer(peer, direct))
		return direct ? SEEN : TUNNEL_TO_NO_PEER;
	if (is_own(&packet->source))
		count_peer(skb, peer, 1, packets);
	return SEEN;
}

static __always_inline __u32 count_received(struct __sk_buff *skb, const struct packet *packet, __u16 direct, __u64 packets)
{
	struct node *peer = node_of(&packet->source);

	if (!is_peer(peer, direct))
		return direct ? SEEN : TUNNEL_SOURCE_NO_PEER;
	if (!is_own(&packet->destination))
		return direct ? SEEN : TUNNEL_DESTINATION_NOT_OURS;
	count_peer(skb, peer, 0, packets);
	return SEEN;
}

static __always_inline __u32 count(struct __sk_buff *skb, const struct packet *packet, enum hook hook, __u64 packets)
{
	if (!packet->has_addresses || is_link_local_or_unspecified(&packet->source))
		return SEEN;
	switch (hook) {
	case POD_FROM:
		return count_pod(skb, &packet->source, 1, packets);
	case POD_TO:
		return count_pod(skb, &packet->destination, 0, packets);
	case VX_OUT:
		return count_sent(skb, packet, 0, packets);
	case VX_IN:
		return count_received(skb, packet, 0, packets);
	case UL_OUT:
		return count_sent(skb, packet, NODE_DIRECT, packets);
	case UL_IN:
		return count_received(skb, packet, NODE_DIRECT, packets);
	}
	return SEEN;
}

/* `number` is this packet's, of its reason on this processor. */
static __always_inline int is_told(const struct packet *packet, __u32 reason, __u64 number)
{
	struct config *known;

	if (reason >= NOT_THIS_PODS_SOURCE || packet->tcp_flags & (TCP_SYN | TCP_FIN | TCP_RST))
		return 1;
	known = config();
	/* Numbers, spread over all of 32 bits by a multiplication (Knuth's; 2^32 / golden ratio), are chance enough without the helper's price.
	 * The rest does as a remainder would, but without a division. */
	return known && known->sample && (__u64)((__u32)number * 2654435769U) * known->sample >> 32 == 0;
}

/* Out of line, since few packets are told of; these are read once more for what counting does not need. */
static __noinline int tell(struct __sk_buff *skb, enum hook hook, __u32 reason, __u64 packets)
{
	struct packet packet = {};
	struct event *event = bpf_ringbuf_reserve(&nc_event, sizeof(*event), 0);

	if (!event) {
		count_reason(EVENT_LOST, packets, skb->len);
		return 0;
	}
	read_packet(skb, &packet);
	event->time = bpf_ktime_get_ns();
	event->source = packet.source;
	event->destination = packet.destination;
	event->source_port = packet.source_port;
	event->destination_port = packet.destination_port;
	event->protocol = packet.protocol;
	event->tcp_flags = packet.tcp_flags;
	event->hook = hook;
	event->reason = reason;
	event->ifindex = skb->ifindex;
	event->length = skb->len;
	event->segments = packets;
	__builtin_memset(event->zero, 0, sizeof(event->zero));
	bpf_ringbuf_submit(event, 0);
	return 0;
}

static __always_inline int look_at(struct __sk_buff *skb, const struct packet *packet, enum hook hook)
{
	__u64 packets = packets_in(skb, packet), number;
	/* What is wrong with a packet's addresses matters more than that its end is missing. */
	__u32 reason = count(skb, packet, hook, packets);

	if (reason == SEEN)
		reason = packet->reason;
	number = count_reason(reason, packets, skb->len);
	if (packet->note)
		count_reason(packet->note, packets, skb->len);
	if (is_told(packet, reason, number))
		tell(skb, hook, reason, packets);
	return NEXT;
}

/* Any packet. */
static __always_inline int look_closely(struct __sk_buff *skb, enum hook hook)
{
	struct packet packet = {};

	read_packet(skb, &packet);
	return look_at(skb, &packet, hook);
}

/* Most packets run through a short way of their own, in which the compiler knows what all of them have in common; the long one is out of line. */
#define PROGRAM(name, hook)                                      \
	static __noinline int name##_closely(struct __sk_buff *skb) \
	{                                                        \
		return look_closely(skb, hook);                  \
	}                                                        \
	SEC("classifier/" #name)                                 \
	int name(struct __sk_buff *skb)                          \
	{                                                        \
		struct packet ipv4 = {}, ipv6 = {};              \
                                                                 \
		if (read_plain_ipv4(skb, &ipv4))                 \
			return look_at(skb, &ipv4, hook);        \
		if (read_plain_ipv6(skb, &ipv6))                 \
			return look_at(skb, &ipv6, hook);        \
		return name##_closely(skb);                      \
	}

PROGRAM(nc_pod_from, POD_FROM)
PROGRAM(nc_pod_to, POD_TO)
PROGRAM(nc_vx_out, VX_OUT)
PROGRAM(nc_vx_in, VX_IN)
PROGRAM(nc_ul_out, UL_OUT)
PROGRAM(nc_ul_in, UL_IN)
