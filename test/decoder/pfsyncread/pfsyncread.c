/*
 * pfsyncread reads pfsync packets as an OpenBSD or a FreeBSD kernel would, and says
 * what is in them. It is made from the tables of the protocol's description and shares
 * nothing with the Go code: it is there to disagree with it.
 *
 * usage: pfsyncread openbsd|freebsd13|freebsd14|freebsd15 < packets
 *
 * A line of input is the payload of one IP datagram in hexadecimal. A line of output
 * is one message. What a kernel would count as an error, and what it would take but
 * should not be said, is a complaint on standard error; then the exit status is 1.
 */
#include <arpa/inet.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PACKED __attribute__((packed))

struct header { uint8_t version, pad; uint16_t len; uint8_t cksum[16]; } PACKED;
struct subheader { uint8_t action, len; uint16_t count; } PACKED;
struct scrub { uint16_t flags; uint8_t ttl, flag; uint32_t ts_mod; } PACKED;
struct peer {
	struct scrub scrub;
	uint32_t seqlo, seqhi, seqdiff;
	uint16_t max_win, mss;
	uint8_t state, wscale, pad[6];
} PACKED;
struct key_ob { uint8_t addr[2][16]; uint16_t port[2], rdomain; uint8_t af, pad; } PACKED;
struct key_fb { uint8_t addr[2][16]; uint16_t port[2]; } PACKED;

struct state_ob {
	uint8_t id[8];
	char ifname[16];
	struct key_ob key[2];
	struct peer src, dst;
	uint8_t rt_addr[16];
	uint32_t rule, anchor, nat_rule, creation, expire, packets[2][2], bytes[2][2];
	uint8_t creatorid[4];
	int32_t rtableid[2];
	uint16_t max_mss;
	uint8_t af, proto, direction, log, rt, timeout, sync_flags, updates, min_ttl, set_tos;
	uint16_t state_flags;
	uint8_t set_prio[2];
} PACKED;

#define FREEBSD_STATE \
	uint8_t id[8]; \
	char ifname[16]; \
	struct key_fb key[2]; \
	struct peer src, dst; \
	uint8_t rt_addr[16]; \
	uint32_t rule, anchor, nat_rule, creation, expire, packets[2][2], bytes[2][2]; \
	uint8_t creatorid[4];

struct state_1301 {
	FREEBSD_STATE
	uint8_t af, proto, direction, spare[2], log, state_flags, timeout, sync_flags, updates;
} PACKED;
struct state_1400 {
	FREEBSD_STATE
	uint8_t af, proto, direction;
	uint16_t state_flags;
	uint8_t log, spare, timeout, sync_flags, updates;
	uint16_t qid, pqid, dnpipe, dnrpipe;
	int32_t rtableid;
	uint8_t min_ttl, set_tos;
	uint16_t max_mss;
	uint8_t set_prio[2], rt;
	char rt_ifname[16];
} PACKED;
struct state_1500 {
	FREEBSD_STATE
	char tagname[64], rt_ifname[16], orig_ifname[16];
	int32_t rtableid;
	uint16_t state_flags, qid, pqid, dnpipe, dnrpipe, max_mss;
	uint8_t wire_af, stack_af, rt_af, wire_proto, stack_proto, log, timeout, direction, rt, min_ttl, set_tos;
	uint8_t set_prio[2], spare[3];
} PACKED;

struct upd_c {
	uint8_t id[8];
	struct peer src, dst;
	uint8_t creatorid[4];
	uint32_t expire;
	uint8_t timeout, flags, pad[2];
} PACKED;
struct id { uint8_t id[8], creatorid[4]; } PACKED;
struct clr { char ifname[16]; uint8_t creatorid[4]; } PACKED;
struct bus { uint8_t creatorid[4]; uint32_t endtime; uint8_t status, pad[3]; } PACKED;

_Static_assert(sizeof(struct header) == 20 && sizeof(struct subheader) == 4, "headers");
_Static_assert(sizeof(struct peer) == 32 && sizeof(struct key_ob) == 40 && sizeof(struct key_fb) == 36, "parts");
_Static_assert(sizeof(struct state_ob) == 264 && offsetof(struct state_ob, creatorid) == 236, "OpenBSD 6");
_Static_assert(sizeof(struct state_1301) == 242 && offsetof(struct state_1301, af) == 232, "1301");
_Static_assert(sizeof(struct state_1400) == 277 && offsetof(struct state_1400, rtableid) == 250, "1400");
_Static_assert(sizeof(struct state_1500) == 360 && offsetof(struct state_1500, wire_af) == 344, "1500");
_Static_assert(sizeof(struct upd_c) == 84 && sizeof(struct clr) == 20 && sizeof(struct bus) == 12, "small ones");

static int release;	/* 0 OpenBSD, else FreeBSD's number */
static int line, complaints;

__attribute__((format(printf, 1, 2))) static void
complain(const char *fmt, ...)
{
	va_list ap;

	fprintf(stderr, "packet %d: ", line);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	complaints++;
}

static void
zero(const char *what, const void *p, size_t n)
{
	const uint8_t *b = p;

	while (n-- > 0)
		if (*b++ != 0) {
			complain("%s is not zero", what);
			return;
		}
}

static const char *
hex(const uint8_t *b, size_t n)
{
	static char bufs[4][40];
	static int turn;
	char *s = bufs[turn++ % 4];

	for (size_t i = 0; i < n; i++)
		sprintf(s + 2 * i, "%02x", b[i]);
	return s;
}

static int
inet6_of(void)
{
	return release ? 28 : 24;
}

static const char *
address(const uint8_t *a, int af)
{
	static char bufs[8][INET6_ADDRSTRLEN];
	static int turn;
	char *s = bufs[turn++ % 8];

	if (af == 2) {
		zero("what is behind an IPv4 address", a + 4, 12);
		inet_ntop(AF_INET, a, s, INET6_ADDRSTRLEN);
	} else if (af == inet6_of())
		inet_ntop(AF_INET6, a, s, INET6_ADDRSTRLEN);
	else {
		complain("address family %d", af);
		strcpy(s, "?");
	}
	return s;
}

/* Behind the two addresses of a key. */
static int
port(const uint8_t *key, int n)
{
	return key[32 + 2 * n] << 8 | key[33 + 2 * n];
}

static void
name(const char *what, const char *s, size_t n)
{
	if (memchr(s, 0, n) == NULL)
		complain("%s has no end", what);
}

/* What every message with peers is refused for. */
static void
progress(const struct peer *src, const struct peer *dst, int timeout)
{
	int max = release >= 14 ? 25 : 20;

	if (timeout >= max)
		complain("timeout %d of %d", timeout, max);
	if (src->state > 12 || dst->state > 12)
		complain("peer states %d:%d", src->state, dst->state);
	zero("the pad of src", src->pad, sizeof(src->pad));
	zero("the pad of dst", dst->pad, sizeof(dst->pad));
}

struct common {
	const uint8_t *id, *creatorid, *wire, *stack, *rt_addr;
	const char *ifname;
	const struct peer *src, *dst;
	uint32_t rule, anchor, nat_rule, creation, expire;
	int wire_af, stack_af, proto, stack_proto, direction, timeout, flags, rt;
};

static void
show(const char *action, const struct common *c)
{
	static const uint8_t none[16];

	progress(c->src, c->dst, c->timeout);
	name("the interface", c->ifname, 16);
	if (memcmp(c->creatorid, none, 4) == 0)
		complain("creatorid 0");
	if (memcmp(c->id, none, 8) == 0)
		complain("id 0");
	if (c->direction != 1 && c->direction != 2)
		complain("direction %d", c->direction);
	if (c->flags & 0x0408)
		complain("flags %04x are not for the wire", c->flags);
	if (c->proto == 6 && !(c->flags & 2) && c->src->seqlo == 0)
		complain("a TCP state without sequence numbers that is not sloppy");
	if (release == 13 && c->rule == 0xffffffff && memcmp(c->rt_addr, none, 16) != 0)
		complain("FreeBSD 13 leaves out a state with a next hop and no rule");
	if (c->expire == 0)
		complain("expired already");
	printf("%s %s/%s %s proto %d dir %d wire %s %d %s %d stack %s %d %s %d peers %d:%d wscale %d:%d timeout %d flags %04x "
	    "rule %d anchor %d nat %d age %u expire %u\n",
	    action, hex(c->id, 8), hex(c->creatorid, 4), c->ifname, c->proto, c->direction,
	    address(c->wire, c->wire_af), port(c->wire, 0), address(c->wire + 16, c->wire_af), port(c->wire, 1),
	    address(c->stack, c->stack_af), port(c->stack, 0), address(c->stack + 16, c->stack_af), port(c->stack, 1),
	    c->src->state, c->dst->state, c->src->wscale, c->dst->wscale, c->timeout, c->flags,
	    (int)c->rule, (int)c->anchor, (int)c->nat_rule, c->creation, c->expire);
}

#define COMMON(s) { \
	.id = s->id, .creatorid = s->creatorid, .wire = (const void *)&s->key[0], .stack = (const void *)&s->key[1], \
	.rt_addr = s->rt_addr, .ifname = s->ifname, .src = &s->src, .dst = &s->dst, \
	.rule = ntohl(s->rule), .anchor = ntohl(s->anchor), .nat_rule = ntohl(s->nat_rule), \
	.creation = ntohl(s->creation), .expire = ntohl(s->expire), \
	.direction = s->direction, .timeout = s->timeout }

static void
show_ob(const char *action, const void *p)
{
	const struct state_ob *s = p;
	struct common c = COMMON(s);

	c.wire_af = s->key[0].af ? s->key[0].af : s->af;
	c.stack_af = s->key[1].af ? s->key[1].af : s->af;
	if (s->af != c.wire_af)
		complain("family %d, that of the wire key %d", s->af, c.wire_af);
	c.proto = s->proto;
	c.flags = ntohs(s->state_flags);
	zero("updates", &s->updates, 1);
	zero("the pad of a key", &s->key[0].pad, 1);
	zero("the pad of a key", &s->key[1].pad, 1);
	if (ntohl(s->nat_rule) != 0xffffffff)
		complain("nat_rule %d", (int)ntohl(s->nat_rule));
	show(action, &c);
}

static void
show_1301(const char *action, const void *p)
{
	const struct state_1301 *s = p;
	struct common c = COMMON(s);

	c.wire_af = c.stack_af = s->af;
	c.proto = s->proto;
	c.flags = s->state_flags;
	zero("spare", s->spare, sizeof(s->spare));
	show(action, &c);
}

static void
show_1400(const char *action, const void *p)
{
	const struct state_1400 *s = p;
	struct common c = COMMON(s);

	c.wire_af = c.stack_af = s->af;
	c.proto = s->proto;
	c.flags = ntohs(s->state_flags);
	zero("spare", &s->spare, 1);
	name("the interface of the next hop", s->rt_ifname, 16);
	if (ntohl(s->rtableid) != 0xffffffff)
		complain("rtableid %d may not exist there", (int)ntohl(s->rtableid));
	show(action, &c);
}

static void
show_1500(const char *action, const void *p)
{
	const struct state_1500 *s = p;
	struct common c = COMMON(s);

	c.wire_af = s->wire_af;
	c.stack_af = s->stack_af;
	c.proto = s->wire_proto;
	c.flags = ntohs(s->state_flags);
	if (s->wire_af == s->stack_af && s->wire_proto != s->stack_proto)
		complain("protocols %d and %d", s->wire_proto, s->stack_proto);
	zero("spare", s->spare, sizeof(s->spare));
	name("the tag", s->tagname, 64);
	name("the original interface", s->orig_ifname, 16);
	name("the interface of the next hop", s->rt_ifname, 16);
	if (strcmp(s->ifname, "all") != 0 && s->orig_ifname[0] == 0)
		complain("no original interface");
	if (ntohl(s->rtableid) != 0xffffffff)
		complain("rtableid %d may not exist there", (int)ntohl(s->rtableid));
	show(action, &c);
}

static void
show_upd_c(const char *action, const void *p)
{
	const struct upd_c *u = p;

	progress(&u->src, &u->dst, u->timeout);
	zero("the pad of an update", u->pad, sizeof(u->pad));
	zero("expire of an update", &u->expire, 4);
	printf("%s %s/%s peers %d:%d wscale %d:%d timeout %d\n", action, hex(u->id, 8), hex(u->creatorid, 4),
	    u->src.state, u->dst.state, u->src.wscale, u->dst.wscale, u->timeout);
}

static void
show_id(const char *action, const void *p)
{
	const struct id *i = p;

	printf("%s %s/%s\n", action, hex(i->id, 8), hex(i->creatorid, 4));
}

static void
show_clr(const char *action, const void *p)
{
	const struct clr *c = p;

	name("the interface", c->ifname, 16);
	printf("%s %s '%s'\n", action, hex(c->creatorid, 4), c->ifname);
}

static void
show_bus(const char *action, const void *p)
{
	const struct bus *b = p;

	zero("the pad of a bulk status", b->pad, sizeof(b->pad));
	if (b->status != 1 && b->status != 2)
		complain("bulk status %d", b->status);
	printf("%s %s %s age %u\n", action, hex(b->creatorid, 4), b->status == 1 ? "start" : "end", ntohl(b->endtime));
}

/* What each release knows: number, name, size, from which FreeBSD on (0: OpenBSD too). */
static const struct {
	int number, openbsd, first, last;
	const char *name;
	size_t size;
	void (*show)(const char *, const void *);
} known[] = {
	{ 0, 1, 13, 15, "CLR", sizeof(struct clr), show_clr },
	{ 2, 1, 13, 15, "INS_ACK", sizeof(struct id), show_id },
	{ 4, 1, 13, 15, "UPD_C", sizeof(struct upd_c), show_upd_c },
	{ 5, 1, 13, 15, "UPD_REQ", sizeof(struct id), show_id },
	{ 7, 1, 13, 15, "DEL_C", sizeof(struct id), show_id },
	{ 10, 1, 13, 15, "BUS", sizeof(struct bus), show_bus },
	{ 13, 1, 0, 0, "INS", sizeof(struct state_ob), show_ob },
	{ 14, 1, 0, 0, "UPD", sizeof(struct state_ob), show_ob },
	{ 1, 0, 13, 15, "INS", sizeof(struct state_1301), show_1301 },
	{ 3, 0, 13, 15, "UPD", sizeof(struct state_1301), show_1301 },
	{ 13, 0, 14, 15, "INS", sizeof(struct state_1400), show_1400 },
	{ 14, 0, 14, 15, "UPD", sizeof(struct state_1400), show_1400 },
	{ 15, 0, 15, 15, "INS", sizeof(struct state_1500), show_1500 },
	{ 16, 0, 15, 15, "UPD", sizeof(struct state_1500), show_1500 },
};

static void
packet(const uint8_t *b, size_t n)
{
	struct header h;
	struct subheader s;
	size_t pos = sizeof(h), i;

	if (n < sizeof(h)) {
		complain("%zu bytes (hdrops)", n);
		return;
	}
	memcpy(&h, b, sizeof(h));
	zero("the header's pad", &h.pad, 1);
	zero("the checksum", h.cksum, sizeof(h.cksum));
	if (h.version != (release ? 5 : 6)) {
		complain("version %d (badver)", h.version);
		return;
	}
	if (ntohs(h.len) > n || ntohs(h.len) < sizeof(h)) {
		complain("length %d of %zu (badlen)", ntohs(h.len), n);
		return;
	}
	n = ntohs(h.len); /* what is behind it is not seen */
	while (n - pos >= sizeof(s)) {
		memcpy(&s, b + pos, sizeof(s));
		pos += sizeof(s);
		for (i = 0; i < sizeof(known) / sizeof(known[0]); i++)
			if (known[i].number == s.action && (release ? known[i].first <= release && known[i].last >= release : known[i].openbsd))
				break;
		if (i == sizeof(known) / sizeof(known[0])) {
			complain("action %d (badact)", s.action);
			return;
		}
		if (release == 0 && s.len * 4u != known[i].size)
			complain("%s of %d words", known[i].name, s.len);
		if (release != 0 && s.len != 0)
			complain("%s: the pad of the subheader is %d", known[i].name, s.len);
		if (ntohs(s.count) == 0)
			complain("%s: an empty section", known[i].name);
		if (ntohs(s.count) * known[i].size > n - pos) {
			complain("%d %s in %zu bytes (badlen)", ntohs(s.count), known[i].name, n - pos);
			return;
		}
		for (int k = 0; k < ntohs(s.count); k++, pos += known[i].size)
			known[i].show(known[i].name, b + pos);
	}
	if (pos != n)
		complain("%zu bytes behind the last section", n - pos);
}

int
main(int argc, char **argv)
{
	static char text[2 * 65536 + 2];
	static uint8_t b[65536];

	if (argc == 2 && strcmp(argv[1], "openbsd") == 0)
		release = 0;
	else if (argc == 2 && strncmp(argv[1], "freebsd", 7) == 0)
		release = atoi(argv[1] + 7);
	else {
		fprintf(stderr, "usage: pfsyncread openbsd|freebsd13|freebsd14|freebsd15\n");
		return 2;
	}
	while (fgets(text, sizeof(text), stdin) != NULL) {
		size_t n = 0;
		unsigned v;

		line++;
		while (sscanf(text + 2 * n, "%2x", &v) == 1)
			b[n++] = v;
		packet(b, n);
	}
	return complaints > 0;
}
