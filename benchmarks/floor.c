/* The floor: one pass over a freshly mapped capture that walks the records and finds every line end in TCP payload.
   Whatever inspects SMTP has to do this much, so speed is told as a share of it. */
#define _DEFAULT_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { FILE_HEADER = 24, RECORD_HEADER = 16, ETHERNET = 1 };

static uint32_t little(const uint8_t *p) { return p[0] | p[1] << 8 | p[2] << 16 | (uint32_t)p[3] << 24; }
static uint32_t big(const uint8_t *p) { return (uint32_t)p[0] << 24 | p[1] << 16 | p[2] << 8 | p[3]; }
static uint32_t big16(const uint8_t *p) { return (uint32_t)p[0] << 8 | p[1]; }

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* Finds the TCP payload of an Ethernet frame; 0 when there is none. */
static size_t payload(const uint8_t *frame, size_t size, const uint8_t **data)
{
    size_t at = 12, end, protocol;

    if (size < 14)
        return 0;
    uint32_t type = big16(frame + at);
    while ((type == 0x8100 || type == 0x88A8 || type == 0x9100) && at + 6 <= size) {
        at += 4;
        type = big16(frame + at);
    }
    at += 2;
    if (type == 0x0800) {
        if (at + 20 > size || frame[at] >> 4 != 4 || (big16(frame + at + 6) & 0x1FFF))
            return 0;
        end = at + big16(frame + at + 2);
        protocol = frame[at + 9];
        at += (size_t)(frame[at] & 15) * 4;
    } else if (type == 0x86DD) {
        if (at + 40 > size)
            return 0;
        end = at + 40 + big16(frame + at + 4);
        protocol = frame[at + 6];
        at += 40;
        while ((protocol == 0 || protocol == 43 || protocol == 44 || protocol == 60) && at + 8 <= size) {
            if (protocol == 44 && (big16(frame + at + 2) & 0xFFF8))
                return 0;
            size_t length = protocol == 44 ? 8 : (size_t)(frame[at + 1] + 1) * 8;
            protocol = frame[at];
            at += length;
        }
    } else
        return 0;
    if (end > size)
        end = size;
    if (protocol != 6 || at + 20 > end)
        return 0;
    at += (size_t)(frame[at + 12] >> 4) * 4;
    if (at >= end)
        return 0;
    *data = frame + at;
    return end - at;
}

int main(int count, char **arguments)
{
    if (count != 2) {
        fprintf(stderr, "usage: floor CAPTURE\n");
        return 2;
    }
    double start = now();
    struct stat info;
    int file = open(arguments[1], O_RDONLY);
    if (file < 0 || fstat(file, &info) < 0) {
        perror(arguments[1]);
        return 2;
    }
    size_t size = (size_t)info.st_size;
    const uint8_t *capture = size ? mmap(NULL, size, PROT_READ, MAP_PRIVATE, file, 0) : MAP_FAILED;
    if (capture == MAP_FAILED || size < FILE_HEADER) {
        fprintf(stderr, "%s: no capture\n", arguments[1]);
        return 3;
    }
    madvise((void *)capture, size, MADV_SEQUENTIAL);

    uint32_t (*word)(const uint8_t *) = little(capture) == 0xA1B2C3D4 || little(capture) == 0xA1B23C4D ? little : big;
    if ((word(capture) != 0xA1B2C3D4 && word(capture) != 0xA1B23C4D) || (word(capture + 20) & 0xFFFFFFF) != ETHERNET) {
        fprintf(stderr, "%s: not a classic pcap file of Ethernet frames\n", arguments[1]);
        return 3;
    }
    uint64_t records = 0, octets = 0, line_ends = 0;
    size_t at = FILE_HEADER;
    while (at + RECORD_HEADER <= size) {
        size_t length = word(capture + at + 8);
        at += RECORD_HEADER;
        if (length > size - at)
            break;
        records++;
        const uint8_t *data;
        size_t left = payload(capture + at, length, &data);
        octets += left;
        while (left) {
            const uint8_t *end = memchr(data, '\n', left);
            if (!end)
                break;
            line_ends++;
            left -= (size_t)(end + 1 - data);
            data = end + 1;
        }
        at += length;
    }
    printf("{\"records\": %llu, \"payload_octets\": %llu, \"line_ends\": %llu, \"seconds\": %.6f}\n",
           (unsigned long long)records, (unsigned long long)octets, (unsigned long long)line_ends, now() - start);
    return 0;
}
