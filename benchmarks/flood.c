/* The frames of a capture into an interface, as fast as told: flood CAPTURE IFACE BITS_PER_SECOND SECONDS FIRST, 0 bits:
   as fast as it can. The capture is sent again and again; each pass, of which FIRST is the number of the first one, has
   other addresses, as in repeat.c, so that its connections are new. One line on standard output: frames and octets
   sent, seconds. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <fcntl.h>
#include <time.h>
#include <unistd.h>

enum { FILE_HEADER = 24, RECORD = 16, BATCH = 64 };

static uint32_t word(const uint8_t *p)
{
    uint32_t n;
    memcpy(&n, p, 4);
    return n;
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* The first two octets of an IPv4 address and the next two of an IPv6 one: the same for both directions. */
static void shift(uint8_t *frame, uint32_t length, unsigned pass)
{
    size_t at = frame[12] == 0x08 ? 26 : 24, step = frame[12] == 0x08 ? 4 : 16;
    for (int end = 0; end < 2 && at + step <= length; end++, at += step) {
        frame[at] ^= (uint8_t)(pass >> 8);
        frame[at + 1] ^= (uint8_t)pass;
    }
}

int main(int argc, char **argv)
{
    if (argc != 6) {
        fprintf(stderr, "usage: flood CAPTURE IFACE BITS_PER_SECOND SECONDS FIRST\n");
        return 2;
    }
    double rate = atof(argv[3]) / 8, seconds = atof(argv[4]);
    struct stat st;
    int file = open(argv[1], O_RDONLY), wire = socket(AF_PACKET, SOCK_RAW, 0), on = 1;
    if (file < 0 || wire < 0 || fstat(file, &st) < 0) {
        perror("flood");
        return 1;
    }
    size_t size = (size_t)st.st_size;
    uint8_t *capture = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_POPULATE, file, 0);
    struct sockaddr_ll to = {.sll_family = AF_PACKET, .sll_protocol = 0, .sll_ifindex = (int)if_nametoindex(argv[2])};
    if (capture == MAP_FAILED || bind(wire, (struct sockaddr *)&to, sizeof to) < 0) {
        perror(argv[2]);
        return 1;
    }
    setsockopt(wire, SOL_PACKET, PACKET_QDISC_BYPASS, &on, sizeof on);
    struct mmsghdr messages[BATCH];
    struct iovec parts[BATCH];
    memset(messages, 0, sizeof messages);
    for (int i = 0; i < BATCH; i++) {
        messages[i].msg_hdr.msg_iov = &parts[i];
        messages[i].msg_hdr.msg_iovlen = 1;
    }
    uint64_t frames = 0, octets = 0;
    double begun = now();
    for (unsigned pass = (unsigned)atoi(argv[5]), before = 0; seconds > now() - begun; before = pass++) {
        size_t at = FILE_HEADER;
        while (at + RECORD <= size && seconds > now() - begun) {
            int n = 0, sent = 0;
            for (; n < BATCH && at + RECORD <= size; n++) {
                uint32_t length = word(capture + at + 8);
                shift(capture + at + RECORD, length, pass ^ before);
                parts[n].iov_base = capture + at + RECORD;
                parts[n].iov_len = length;
                octets += length;
                at += RECORD + length;
            }
            double early = rate > 0 ? (double)octets / rate - (now() - begun) : 0;
            if (early > 0) {
                struct timespec pause = {0, (long)(early * 1e9)};
                nanosleep(&pause, NULL);
            }
            while (sent < n) {
                int got = sendmmsg(wire, messages + sent, (unsigned)(n - sent), 0);
                if (got > 0)
                    sent += got;
            }
            frames += (uint64_t)n;
        }
    }
    printf("%llu %llu %.6f\n", (unsigned long long)frames, (unsigned long long)octets, now() - begun);
    return 0;
}
