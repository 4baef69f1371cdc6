/* What the programs need to know of a packet. Nothing is trusted: every read is bounded, and says if there was nothing to read. */
#pragma once

#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/in6.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <bpf/bpf_endian.h>
#include "layout.h"

#define IP_FRAGMENT_OFFSET 0x1fff
#define IP_MORE_FRAGMENTS 0x2000
#define IP6_FRAGMENT_OFFSET 0xfff8
#define TCP_FIN 0x01
#define TCP_SYN 0x02
#define TCP_RST 0x04
/* As many as a sane packet has (RFC 8200 section 4.1 names six, each once). */
#define MAX_EXTENSIONS 6
/* Beyond these the verifier would not see that an offset stays in bounds. */
#define QUICK_OFFSETS 4096

#define LIKELY(condition) __builtin_expect(!!(condition), 1)

struct packet {
	struct address source, destination;
	__be16 source_port, destination_port;
	__u8 protocol, tcp_flags;
	/* SEEN, NOT_IP or TRUNCATED; of TRUNCATED ones the addresses may be known. */
	__u8 reason;
	/* Zero, FRAGMENT_WITHOUT_PORTS or EXTENSION_NOT_FOLLOWED. */
	__u8 note;
	__u8 has_addresses;
	/* Of a fragment, which may end anywhere. */
	__u8 is_first_fragment;
	/* Where the header of TCP, UDP and so on begins, from the network header; 0 if there is none. */
	__u32 transport;
	/* Where the payload of TCP or UDP begins, from the network header; 0 if that is not known. */
	__u32 payload;
};

/* Whether the network header begins right behind a whole Ethernet header, so that the frame can be read without a helper. */
static __always_inline int is_plain_ethernet(struct __sk_buff *skb)
{
	void *header = (void *)(long)skb->data;

	/* The last field, h_proto; by struct ethhdr, which is packed, it would be read byte by byte. */
	return header + ETH_HLEN <= (void *)(long)skb->data_end && *(__be16 *)(header + ETH_HLEN - 2) == skb->protocol;
}

/* What is not in the first piece of a plain frame takes longer: the relative helper needs no Ethernet, but that piece; the other reaches
 * all pieces, but takes Ethernet for granted. Kept out of line, so that what each packet runs through stays short. */
static __noinline int read_slowly(struct __sk_buff *skb, __u32 offset, void *to, __u32 length)
{
	if (!bpf_skb_load_bytes_relative(skb, offset, to, length, BPF_HDR_START_NET))
		return 0;
	return bpf_skb_load_bytes(skb, ETH_HLEN + offset, to, length);
}

/* Reads at `offset` from the network header. */
static __always_inline int read(struct __sk_buff *skb, __u32 offset, void *to, __u32 length)
{
	void *from = (void *)(long)skb->data + ETH_HLEN + offset;

	if (LIKELY(offset < QUICK_OFFSETS && is_plain_ethernet(skb) && from + length <= (void *)(long)skb->data_end)) {
		/* Ethernet's header is laid so that what follows begins at a multiple of 4 (NET_IP_ALIGN). Without saying so each byte were an instruction. */
		__builtin_memcpy(to, __builtin_assume_aligned(from, 4), length);
		return 0;
	}
	return read_slowly(skb, offset, to, length);
}

static __always_inline void read_ports(struct __sk_buff *skb, struct packet *packet)
{
	/* Of TCP (RFC 9293 section 3.1) the flags are byte 13; of UDP and SCTP the ports alone are wanted, of ICMP type and code. */
	struct {
		__be16 source_port, destination_port;
		__u32 sequence, acknowledgement;
		__u8 data_offset, flags;
	} header = {};
	__u32 offset = packet->transport;
	__u32 failed;

	switch (packet->protocol) {
	case IPPROTO_TCP:
		failed = read(skb, offset, &header, 14);
		packet->tcp_flags = header.flags;
		packet->payload = offset + (header.data_offset >> 4) * 4;
		break;
	case IPPROTO_UDP:
	case IPPROTO_UDPLITE:
	case IPPROTO_SCTP:
	case IPPROTO_DCCP:
		failed = read(skb, offset, &header, 4);
		packet->payload = packet->protocol == IPPROTO_UDP ? offset + 8 : 0;
		break;
	case IPPROTO_ICMP:
	case IPPROTO_ICMPV6:
		failed = read(skb, offset, &header, 2);
		break;
	default:
		return;
	}
	if (failed) {
		/* A first fragment may end anywhere; a whole packet may not. */
		if (packet->is_first_fragment)
			packet->note = FRAGMENT_WITHOUT_PORTS;
		else
			packet->reason = TRUNCATED;
		packet->tcp_flags = 0;
		packet->payload = 0;
		return;
	}
	packet->source_port = header.source_port;
	packet->destination_port = header.destination_port;
}

static __always_inline void read_ipv4(struct __sk_buff *skb, struct packet *packet)
{
	struct iphdr header;
	__u16 fragment;

	if (read(skb, 0, &header, sizeof(header)) || header.version != 4 || header.ihl < 5) {
		packet->reason = TRUNCATED;
		return;
	}
	packet->source.word[2] = packet->destination.word[2] = bpf_htonl(0xffff);
	packet->source.word[3] = header.saddr;
	packet->destination.word[3] = header.daddr;
	packet->has_addresses = 1;
	packet->protocol = header.protocol;
	fragment = bpf_ntohs(header.frag_off);
	if (fragment & IP_FRAGMENT_OFFSET)
		packet->note = FRAGMENT_WITHOUT_PORTS;
	else
		packet->transport = header.ihl * 4;
	packet->is_first_fragment = !!(fragment & IP_MORE_FRAGMENTS);
}

/* Follows extension headers, of which few packets have any, from `packet->protocol` at `packet->transport` to what they carry. */
static __noinline int follow_extensions(struct __sk_buff *skb, struct packet *packet)
{
	struct {
		__u8 next, length;
		__be16 fragment;
	} extension;
	__u32 offset = packet->transport;
	int i;

	packet->transport = 0;
	for (i = 0; i <= MAX_EXTENSIONS; i++) {
		__u8 kind = packet->protocol;

		switch (kind) {
		case IPPROTO_HOPOPTS:
		case IPPROTO_ROUTING:
		case IPPROTO_DSTOPTS:
		case IPPROTO_FRAGMENT:
		case IPPROTO_AH:
			break;
		case 135: /* mobility */
		case 139: /* host identity */
		case 140: /* shim6 */
			packet->note = EXTENSION_NOT_FOLLOWED;
			return 0;
		default:
			packet->transport = offset;
			return 0;
		}
		if (i == MAX_EXTENSIONS)
			break;
		if (read_slowly(skb, offset, &extension, sizeof(extension))) {
			packet->reason = TRUNCATED;
			return 0;
		}
		packet->protocol = extension.next;
		if (kind == IPPROTO_FRAGMENT) {
			if (bpf_ntohs(extension.fragment) & IP6_FRAGMENT_OFFSET) {
				packet->note = FRAGMENT_WITHOUT_PORTS;
				return 0;
			}
			packet->is_first_fragment = 1;
			offset += 8;
		} else if (kind == IPPROTO_AH) {
			offset += (extension.length + 2) * 4;
		} else {
			offset += (extension.length + 1) * 8;
		}
	}
	packet->note = EXTENSION_NOT_FOLLOWED;
	return 0;
}

static __always_inline void read_ipv6(struct __sk_buff *skb, struct packet *packet)
{
	struct ipv6hdr header;

	if (read(skb, 0, &header, sizeof(header)) || header.version != 6) {
		packet->reason = TRUNCATED;
		return;
	}
	__builtin_memcpy(&packet->source, &header.saddr, sizeof(packet->source));
	__builtin_memcpy(&packet->destination, &header.daddr, sizeof(packet->destination));
	packet->has_addresses = 1;
	packet->protocol = header.nexthdr;
	packet->transport = sizeof(header);
	if (header.nexthdr != IPPROTO_TCP && header.nexthdr != IPPROTO_UDP)
		follow_extensions(skb, packet);
}

static __always_inline void read_packet(struct __sk_buff *skb, struct packet *packet)
{
	switch (skb->protocol) {
	case bpf_htons(ETH_P_IP):
		read_ipv4(skb, packet);
		break;
	case bpf_htons(ETH_P_IPV6):
		read_ipv6(skb, packet);
		break;
	default:
		packet->reason = NOT_IP;
	}
	if (packet->transport)
		read_ports(skb, packet);
}

/* What most packets are: whole TCP or UDP right behind an IP header without options, behind Ethernet, all headers in the first piece. The
 * functions below read of these what counting needs, at once, so that a packet runs through few instructions; the caches forget them between
 * packets, and fetching them takes longer than they do. False: it is something else, and read_packet() finds out what. */

/* The beginning of TCP's header (RFC 9293 section 3.1), and what must be there of UDP's packet, too. */
struct plain_transport {
	__u32 ports, sequence, acknowledgement;
	__u8 data_offset, flags;
};

static __always_inline int is_plain(struct __sk_buff *skb, __be16 protocol, struct plain_transport *transport)
{
	return (void *)(&transport->flags + 1) <= (void *)(long)skb->data_end && is_plain_ethernet(skb) && skb->protocol == protocol;
}

static __always_inline int read_plain_transport(struct plain_transport *transport, __u32 offset, __u8 protocol, struct packet *packet)
{
	if (protocol == IPPROTO_TCP) {
		packet->tcp_flags = transport->flags;
		packet->payload = offset + (transport->data_offset >> 4) * 4;
		return 1;
	}
	packet->payload = offset + 8;
	return protocol == IPPROTO_UDP;
}

static __always_inline int read_plain_ipv4(struct __sk_buff *skb, struct packet *packet)
{
	struct iphdr *header = (void *)(long)skb->data + ETH_HLEN;
	struct plain_transport *transport = (void *)(header + 1);

	if (!is_plain(skb, bpf_htons(ETH_P_IP), transport) || header->version != 4 || header->ihl != 5 ||
	    header->frag_off & bpf_htons(IP_FRAGMENT_OFFSET | IP_MORE_FRAGMENTS))
		return 0;
	packet->source.word[2] = packet->destination.word[2] = bpf_htonl(0xffff);
	packet->source.word[3] = header->saddr;
	packet->destination.word[3] = header->daddr;
	packet->has_addresses = 1;
	return read_plain_transport(transport, sizeof(*header), header->protocol, packet);
}

static __always_inline int read_plain_ipv6(struct __sk_buff *skb, struct packet *packet)
{
	struct ipv6hdr *header = (void *)(long)skb->data + ETH_HLEN;
	struct plain_transport *transport = (void *)(header + 1);

	if (!is_plain(skb, bpf_htons(ETH_P_IPV6), transport) || header->version != 6)
		return 0;
	__builtin_memcpy(&packet->source, &header->saddr, sizeof(packet->source));
	__builtin_memcpy(&packet->destination, &header->daddr, sizeof(packet->destination));
	packet->has_addresses = 1;
	return read_plain_transport(transport, sizeof(*header), header->nexthdr, packet);
}

/* How many packets offload has packed into this one. What a virtual machine's interface hands in says only how large each is (gso_segs is 0
 * in virtio_net_hdr_to_skb(), include/linux/virtio_net.h), so that they are reckoned as tcp_gso_segment() will. */
static __always_inline __u64 packets_in(struct __sk_buff *skb, const struct packet *packet)
{
	__u32 headers = ETH_HLEN + packet->payload;

	if (skb->gso_segs)
		return skb->gso_segs;
	if (!skb->gso_size || !packet->payload || skb->len <= headers)
		return 1;
	return (skb->len - headers + skb->gso_size - 1) / skb->gso_size;
}

/* fe80::/10 and ::, the sources of neighbour discovery. */
static __always_inline int is_link_local_or_unspecified(const struct address *address)
{
	return (address->word[0] & bpf_htonl(0xffc00000)) == bpf_htonl(0xfe800000) ||
	       !(address->word[0] | address->word[1] | address->word[2] | address->word[3]);
}

/* The bits in which two addresses differ, of words `at` and the next. */
static __always_inline __u64 difference(const struct address *one, const struct address *other, int at)
{
	return (__u64)bpf_ntohl(one->word[at] ^ other->word[at]) << 32 | bpf_ntohl(one->word[at + 1] ^ other->word[at + 1]);
}

static __always_inline int is_in(const struct address *address, const struct range *range)
{
	__u64 high = difference(address, &range->address, 0);
	__u64 low = difference(address, &range->address, 2);
	__u32 length = range->prefix_length;

	/* A shift by 64 or more has no meaning (BPF takes it modulo 64), which the masks make plain. */
	if (length > 64)
		return !high && !(low >> ((128 - length) & 63));
	return length && !(high >> ((64 - length) & 63));
}
