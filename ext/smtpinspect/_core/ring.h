/* The memory-mapped ring of a packet socket (TPACKET_V3), as Documentation/networking/packet_mmap.rst and packet(7)
   tell of it. The kernel fills blocks in their order and hands each over when it is full or RING_RETIRE_MS went by;
   a block that was not given back is one that it cannot fill: it drops frames then, and counts them. */
#ifndef SMTPINSPECT_RING_H
#define SMTPINSPECT_RING_H

#include <errno.h>
#include <stdint.h>
#include <string.h>

enum {
    RING_BLOCK = 1 << 20,       /* octets; larger than any frame that a kernel merges (BIG TCP: 512 KiB) */
    RING_RETIRE_MS = 40,
    RING_TAG = 4,               /* octets of a VLAN tag */
    RING_COOKED = 16,           /* and of a cooked header, version 1 */
    RING_NETDOWN = 1,           /* of ring_state: the interface is down, it is gone, another error */
    RING_GONE = 2
};
enum { RING_LINK_ETHERNET = 1, RING_LINK_RAW = 101, RING_LINK_COOKED = 113 };

typedef struct {
    const uint8_t *p;
    uint32_t caplen, wirelen;
    int64_t ns;
} ring_frame;

#ifdef __linux__

#include <arpa/inet.h>
#include <linux/filter.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <poll.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#ifndef ARPHRD_RAWIP
#define ARPHRD_RAWIP 519
#endif

enum { RING_THERE = 1 };

typedef struct {
    int fd, index, loopback, link;
    uint32_t most;              /* octets of an IP packet that was not merged; 0: not known */
    uint8_t *map;
    uint32_t blocks;
    uint32_t block;             /* which one is read, or comes next */
    uint32_t left;              /* frames of it that are still to be read */
    uint8_t *at;
    uint64_t received, dropped, freezes;
    uint64_t merged;            /* frames larger than the interface sends or receives */
    const char *step;           /* what failed */
} ring;

static inline int64_t ring_clock(int realtime)
{
    struct timespec now;
    clock_gettime(realtime ? CLOCK_REALTIME : CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static inline struct tpacket_block_desc *ring_block(const ring *r, uint32_t block)
{
    return (struct tpacket_block_desc *)(r->map + (size_t)block * RING_BLOCK);
}

static void ring_close(ring *r)
{
    if (r->map != NULL)
        munmap(r->map, (size_t)r->blocks * RING_BLOCK);
    if (r->fd >= 0)
        close(r->fd);
    r->map = NULL;
    r->fd = -1;
    r->left = 0;
}

static int ring_fail(ring *r, const char *step)
{
    int why = errno;
    r->step = step;
    ring_close(r);
    return -why;
}

/* The link type that its frames have; what is neither Ethernet nor bare IP is asked for with cooked headers. */
static int ring_ask(ring *r, int fd, const char *name)
{
    struct ifreq ask;
    memset(&ask, 0, sizeof ask);
    r->link = RING_LINK_COOKED;
    snprintf(ask.ifr_name, sizeof ask.ifr_name, "%s", "lo");
    r->loopback = ioctl(fd, SIOCGIFINDEX, &ask) < 0 ? -1 : ask.ifr_ifindex;
    r->index = 0;
    if (name == NULL)
        return 0;
    snprintf(ask.ifr_name, sizeof ask.ifr_name, "%s", name);
    if (ioctl(fd, SIOCGIFINDEX, &ask) < 0)
        return -1;
    r->index = ask.ifr_ifindex;
    if (ioctl(fd, SIOCGIFMTU, &ask) == 0)
        r->most = (uint32_t)ask.ifr_mtu;
    if (ioctl(fd, SIOCGIFHWADDR, &ask) < 0)
        return -1;
    switch (ask.ifr_hwaddr.sa_family) {
    case ARPHRD_LOOPBACK:
        r->loopback = r->index;
        r->link = RING_LINK_ETHERNET;
        break;
    case ARPHRD_ETHER:
        r->link = RING_LINK_ETHERNET;
        break;
    case ARPHRD_NONE:
    case ARPHRD_RAWIP:
        r->link = RING_LINK_RAW;
    }
    return 0;
}

static int ring_filter(int fd, const void *filter, uint32_t n)
{
    struct sock_fprog program = {(unsigned short)n, (struct sock_filter *)filter};
    return setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program);
}

/* Nothing more comes in. */
static inline void ring_shut(ring *r)
{
    struct sock_filter none = {BPF_RET | BPF_K, 0, 0, 0};
    ring_filter(r->fd, &none, 1);
}

/* `name` NULL: all interfaces; `filter` of n instructions, NULL: all frames. 0, or a negative errno. */
static int ring_open(ring *r, const char *name, uint32_t blocks, const void *filter, uint32_t n, int promiscuous)
{
    struct sockaddr_ll to;
    struct packet_mreq mode;
    struct tpacket_req3 ask;
    int version = TPACKET_V3, reserve = RING_TAG, fd;
    memset(r, 0, sizeof *r);
    /* protocol 0: no frame comes before the filter is there */
    r->fd = fd = socket(AF_PACKET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return ring_fail(r, "socket");
    if (ring_ask(r, fd, name) < 0)
        return ring_fail(r, "interface");
    if (r->link != RING_LINK_COOKED) {
        close(fd);
        r->fd = fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
        if (fd < 0)
            return ring_fail(r, "socket");
    }
    if (setsockopt(fd, SOL_PACKET, PACKET_VERSION, &version, sizeof version) < 0
        || setsockopt(fd, SOL_PACKET, PACKET_RESERVE, &reserve, sizeof reserve) < 0)
        return ring_fail(r, "version");
    if (filter != NULL && ring_filter(fd, filter, n) < 0)
        return ring_fail(r, "filter");
    memset(&ask, 0, sizeof ask);
    ask.tp_block_size = RING_BLOCK;
    ask.tp_block_nr = r->blocks = blocks;
    ask.tp_frame_size = RING_BLOCK;
    ask.tp_frame_nr = blocks;
    ask.tp_retire_blk_tov = RING_RETIRE_MS;
    if (setsockopt(fd, SOL_PACKET, PACKET_RX_RING, &ask, sizeof ask) < 0)
        return ring_fail(r, "ring");
    r->map = mmap(NULL, (size_t)blocks * RING_BLOCK, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (r->map == MAP_FAILED) {
        r->map = NULL;
        return ring_fail(r, "ring");
    }
    if (promiscuous && name != NULL) {
        memset(&mode, 0, sizeof mode);
        mode.mr_ifindex = r->index;
        mode.mr_type = PACKET_MR_PROMISC;
        if (setsockopt(fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &mode, sizeof mode) < 0)
            return ring_fail(r, "promiscuous");
    }
    memset(&to, 0, sizeof to);
    to.sll_family = AF_PACKET;
    to.sll_protocol = htons(ETH_P_ALL);
    to.sll_ifindex = r->index;
    if (bind(fd, (struct sockaddr *)&to, sizeof to) < 0)
        return ring_fail(r, "bind");
    return 0;
}

static inline int ring_ready(const ring *r)
{
    return (__atomic_load_n(&ring_block(r, r->block)->hdr.bh1.block_status, __ATOMIC_ACQUIRE) & TP_STATUS_USER) != 0;
}

/* The block that is ready becomes the one that is read: how many of its octets count. */
static inline uint32_t ring_take(ring *r)
{
    struct tpacket_block_desc *block = ring_block(r, r->block);
    r->left = block->hdr.bh1.num_pkts;
    r->at = (uint8_t *)block + block->hdr.bh1.offset_to_first_pkt;
    return block->hdr.bh1.blk_len;
}

static inline void ring_give(ring *r, uint32_t block)
{
    __atomic_store_n(&ring_block(r, block)->hdr.bh1.block_status, TP_STATUS_KERNEL, __ATOMIC_RELEASE);
}

static inline void ring_put(uint8_t *p, unsigned v)
{
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
}

/* What a capture in a file would hold of the frame: a cooked header before what has no other, and the VLAN tag where
   it was before the kernel took it out. There is room before the frame for both. */
static void ring_dress(const ring *r, const struct tpacket3_hdr *head, const struct sockaddr_ll *from, ring_frame *out)
{
    uint8_t *p = (uint8_t *)head + head->tp_mac;
    struct sockaddr_ll sender = *from;          /* may be written over */
    uint32_t before = 12;
    if (r->link == RING_LINK_COOKED) {
        p = (uint8_t *)head + head->tp_net - RING_COOKED;
        memset(p, 0, RING_COOKED);
        ring_put(p, sender.sll_pkttype);
        ring_put(p + 2, sender.sll_hatype);
        ring_put(p + 4, sender.sll_halen);
        memcpy(p + 6, sender.sll_addr, sender.sll_halen < 8 ? sender.sll_halen : 8);
        memcpy(p + 14, &sender.sll_protocol, 2);
        out->caplen += RING_COOKED;
        out->wirelen += RING_COOKED;
        before = 14;
    }
    if (head->tp_status & TP_STATUS_VLAN_VALID && r->link != RING_LINK_RAW && out->caplen >= before + 2) {
        p -= RING_TAG;
        memmove(p, p + RING_TAG, before);
        ring_put(p + before, head->tp_status & TP_STATUS_VLAN_TPID_VALID ? head->hv1.tp_vlan_tpid : ETH_P_8021Q);
        ring_put(p + before + 2, head->hv1.tp_vlan_tci);
        out->caplen += RING_TAG;
        out->wirelen += RING_TAG;
    }
    out->p = p;
}

/* The next frame of the block; 0: it holds no more. */
static inline int ring_next(ring *r, ring_frame *out)
{
    while (r->left) {
        const struct tpacket3_hdr *head = (const struct tpacket3_hdr *)r->at;
        const struct sockaddr_ll *from = (const struct sockaddr_ll *)(r->at + TPACKET_ALIGN(sizeof *head));
        r->left--;
        r->at += head->tp_next_offset;
        if (from->sll_ifindex == r->loopback && from->sll_pkttype == PACKET_OUTGOING)
            continue;                           /* it comes in, too */
        out->p = (const uint8_t *)head + head->tp_mac;
        out->caplen = head->tp_snaplen;
        out->wirelen = head->tp_len;
        out->ns = (int64_t)head->tp_sec * 1000000000 + head->tp_nsec;
        if (r->most && head->tp_len > r->most + (r->link == RING_LINK_ETHERNET ? ETH_HLEN + 2 * RING_TAG : 0))
            r->merged++;
        if (r->link == RING_LINK_COOKED || head->tp_status & TP_STATUS_VLAN_VALID)
            ring_dress(r, head, from, out);
        return 1;
    }
    return 0;
}

/* Is the interface down, or gone? */
static int ring_state(ring *r)
{
    struct ifreq ask;
    if (r->index == 0)
        return 0;
    memset(&ask, 0, sizeof ask);
    if (if_indextoname((unsigned)r->index, ask.ifr_name) == NULL)
        return RING_GONE;
    if (ioctl(r->fd, SIOCGIFFLAGS, &ask) < 0)
        return errno == ENODEV ? RING_GONE : 0;
    return ask.ifr_flags & IFF_UP ? 0 : RING_NETDOWN;
}

/* Until a block is ready, so long at most: 1 when there is something, 0 when not, negative: interrupted, or an error
   of the interface. */
static int ring_wait(ring *r, int64_t ns)
{
    struct pollfd wait = {r->fd, POLLIN, 0};
    int error = 0;
    socklen_t size = sizeof error;
    int got = poll(&wait, 1, (int)((ns + 999999) / 1000000));
    if (got < 0)
        return -errno;
    if (wait.revents & (POLLERR | POLLHUP | POLLNVAL)) {
        getsockopt(r->fd, SOL_SOCKET, SO_ERROR, &error, &size);
        return error ? -error : 0;
    }
    return got > 0;
}

/* What the kernel counted since it was last asked. */
static void ring_count(ring *r)
{
    struct tpacket_stats_v3 told;
    socklen_t size = sizeof told;
    if (r->fd < 0 || getsockopt(r->fd, SOL_PACKET, PACKET_STATISTICS, &told, &size) < 0)
        return;
    r->received += told.tp_packets;
    r->dropped += told.tp_drops;
    r->freezes += told.tp_freeze_q_cnt;
}

#else /* no packet sockets */

enum { RING_THERE = 0 };

typedef struct {
    int fd, link;
    uint8_t *map;
    uint32_t blocks, block, left;
    uint64_t received, dropped, freezes, merged;
    const char *step;
} ring;

static int64_t ring_clock(int realtime) { return realtime; }
static void ring_close(ring *r) { r->left = 0; }
static void ring_shut(ring *r) { r->left = 0; }
static int ring_open(ring *r, const char *name, uint32_t blocks, const void *filter, uint32_t n, int promiscuous)
{
    memset(r, 0, sizeof *r);
    (void)name, (void)blocks, (void)filter, (void)n, (void)promiscuous;
    r->step = "system";
    return -ENOSYS;
}
static int ring_ready(const ring *r) { return (int)r->left; }
static uint32_t ring_take(ring *r) { return r->left; }
static void ring_give(ring *r, uint32_t block) { r->left = block & 0; }
static int ring_next(ring *r, ring_frame *out) { out->caplen = r->left; return 0; }
static int ring_state(ring *r) { return (int)r->left; }
static int ring_wait(ring *r, int64_t ns) { r->left = ns & 0; return -ENOSYS; }
static void ring_count(ring *r) { r->left = 0; }

#endif
#endif
