/* Searches that the C library has no call for. Plain vectors of the compiler: SSE2 or NEON everywhere,
   AVX2 where glibc can choose at run time. */
#ifndef SMTPINSPECT_SCAN_H
#define SMTPINSPECT_SCAN_H

#include <stdint.h>
#include <string.h>

#if defined(__x86_64__) && defined(__GLIBC__) && defined(__GNUC__) && !defined(__clang__)
#define SCAN_CLONES __attribute__((target_clones("avx2", "default")))
#else
#define SCAN_CLONES
#endif

#define SCAN_WIDTH 32
typedef uint8_t scan_vector __attribute__((vector_size(SCAN_WIDTH), aligned(1), may_alias));
typedef uint64_t scan_words __attribute__((vector_size(SCAN_WIDTH), may_alias));

/* First i >= 1 where p[i] is `needle` and p[i-1] is CR, LF, NUL or another octet up to CR; n when there is none. */
SCAN_CLONES
static size_t scan_after_break(const uint8_t *p, size_t n, uint8_t needle)
{
    size_t i = 1;
    const scan_vector limit = {0};
    for (; i + 2 * SCAN_WIDTH <= n; i += 2 * SCAN_WIDTH) {
        scan_vector a = *(const scan_vector *)(p + i), b = *(const scan_vector *)(p + i - 1);
        scan_vector c = *(const scan_vector *)(p + i + SCAN_WIDTH), d = *(const scan_vector *)(p + i + SCAN_WIDTH - 1);
        scan_vector hit = (scan_vector)((a == (limit + needle)) & (b <= (limit + 13)))
                        | (scan_vector)((c == (limit + needle)) & (d <= (limit + 13)));
        scan_words words = (scan_words)hit;
        if (words[0] | words[1] | words[2] | words[3])
            break;
    }
    for (; i < n; i++)
        if (p[i] == needle && p[i - 1] <= 13)
            return i;
    return n;
}

#endif
