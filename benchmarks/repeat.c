/* A corpus again and again on standard output, until SIZE octets: repeat CAPTURE SIZE. Each pass is later than the one
   before, and its addresses are others, so that its connections are new. Standard error gets a line for each
   gigabyte. Checksums are not made anew: of a frame whose SYN had a wrong one nobody asks for a right one. */
#define _DEFAULT_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FILE_HEADER = 24, RECORD = 16, BLOCK = 1 << 20, LARGEST = 1 << 18, GIGABYTE = 1000000000 };

static uint32_t word(const uint8_t *p)
{
    uint32_t n;
    memcpy(&n, p, 4);
    return n;
}

/* The first two octets of an IPv4 address and the next two of an IPv6 one: the same for both directions. */
static void shift(uint8_t *frame, uint32_t length, uint32_t pass)
{
    size_t at = frame[12] == 0x08 ? 26 : 24, step = frame[12] == 0x08 ? 4 : 16;
    for (int end = 0; end < 2 && at + step <= length; end++, at += step) {
        frame[at] ^= (uint8_t)(pass >> 8);
        frame[at + 1] ^= (uint8_t)pass;
    }
}

static int put(const uint8_t *p, size_t size)
{
    while (size) {
        ssize_t written = write(1, p, size);
        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0)
            return 0;
        p += written;
        size -= (size_t)written;
    }
    return 1;
}

int main(int count, char **arguments)
{
    static uint8_t block[BLOCK + RECORD + LARGEST];
    struct stat info;
    int file = count == 3 ? open(arguments[1], O_RDONLY) : -1;

    if (file < 0 || fstat(file, &info) < 0 || info.st_size <= FILE_HEADER) {
        fprintf(stderr, "usage: repeat CAPTURE SIZE\n");
        return 2;
    }
    size_t size = (size_t)info.st_size, used = FILE_HEADER;
    const uint8_t *capture = mmap(NULL, size, PROT_READ, MAP_PRIVATE, file, 0);
    if (capture == MAP_FAILED || word(capture) != 0xA1B2C3D4) {
        fprintf(stderr, "%s: no capture of this machine's order\n", arguments[1]);
        return 3;
    }
    memcpy(block, capture, FILE_HEADER);
    uint32_t first = word(capture + FILE_HEADER), last = first, later = 0;
    uint64_t sent = 0, wanted = strtoull(arguments[2], NULL, 10);
    for (uint32_t pass = 0; sent < wanted; pass++) {
        for (size_t at = FILE_HEADER; at + RECORD <= size && sent < wanted;) {
            uint32_t length = word(capture + at + 8);
            if (length > LARGEST || length < 14 + 40 || length > size - at - RECORD)
                return 3;
            uint8_t *p = block + used;
            memcpy(p, capture + at, RECORD + length);
            last = word(p);
            memcpy(p, &(uint32_t){last + later}, 4);
            shift(p + RECORD, length, pass);
            at += RECORD + length;
            used += RECORD + length;
            if (used >= BLOCK) {
                if (!put(block, used))
                    return 1;
                if ((sent + used) / GIGABYTE > sent / GIGABYTE)
                    fprintf(stderr, "%llu\n", (unsigned long long)((sent + used) / GIGABYTE));
                sent += used;
                used = 0;
            }
        }
        later += last - first + 1;
    }
    return put(block, used) ? 0 : 1;
}
