/* Searches that the C library has no call for. Plain vectors of the compiler: SSE2 or NEON everywhere,
   AVX2 where glibc can choose at run time. The last vector overlaps the one before: runs are short, and octets
   one by one would cost more than all the rest. */
#ifndef SMTPINSPECT_SCAN_H
#define SMTPINSPECT_SCAN_H

#include <stdint.h>
#include <string.h>

#if defined(__x86_64__) && defined(__GLIBC__) && defined(__GNUC__) && !defined(__clang__)
#define SCAN_CLONES __attribute__((target_clones("avx2", "default")))
#else
#define SCAN_CLONES
#endif
#if defined(__GNUC__)
#define SCAN_INLINE static inline __attribute__((always_inline))
#else
#define SCAN_INLINE static inline
#endif

#define SCAN_WIDTH 32
#define SCAN_HALF 16
typedef uint8_t scan_vector __attribute__((vector_size(SCAN_WIDTH), aligned(1), may_alias));
typedef uint64_t scan_words __attribute__((vector_size(SCAN_WIDTH), may_alias));
typedef uint8_t scan_half __attribute__((vector_size(SCAN_HALF), aligned(1), may_alias));
typedef uint64_t scan_half_words __attribute__((vector_size(SCAN_HALF), may_alias));

/* Where p[k] is one of the needles and p[k-1] breaks a line, or might: CR, LF, NUL or another octet up to CR. */
#define SCAN_HITS(type, p) \
    ((type)((*(const type *)(p) == a) | (*(const type *)(p) == b) | (*(const type *)(p) == c)) \
     & (type)(*(const type *)((p) - 1) <= limit))

SCAN_INLINE size_t scan_one_by_one(const uint8_t *p, size_t i, size_t n, uint8_t x, uint8_t y, uint8_t z)
{
    for (; i < n; i++)
        if ((p[i] == x || p[i] == y || p[i] == z) && p[i - 1] <= 13)
            return i;
    return n;
}

SCAN_INLINE size_t scan_halves(const uint8_t *p, size_t n, uint8_t x, uint8_t y, uint8_t z)
{
    const scan_half zero = {0}, limit = zero + 13, a = zero + x, b = zero + y, c = zero + z;
    scan_half_words words;
    if (n > SCAN_HALF) {
        words = (scan_half_words)(SCAN_HITS(scan_half, p + 1) | SCAN_HITS(scan_half, p + n - SCAN_HALF));
        if (!(words[0] | words[1]))
            return n;
    }
    return scan_one_by_one(p, 1, n, x, y, z);
}

SCAN_INLINE size_t scan_vectors(const uint8_t *p, size_t n, uint8_t x, uint8_t y, uint8_t z)
{
    const scan_vector zero = {0}, limit = zero + 13, a = zero + x, b = zero + y, c = zero + z;
    size_t i = 1;
    scan_words words;
    if (n <= SCAN_WIDTH + 1)
        return scan_halves(p, n, x, y, z);
    for (; i + 2 * SCAN_WIDTH <= n; i += 2 * SCAN_WIDTH) {
        words = (scan_words)(SCAN_HITS(scan_vector, p + i) | SCAN_HITS(scan_vector, p + i + SCAN_WIDTH));
        if (words[0] | words[1] | words[2] | words[3])
            return scan_one_by_one(p, i, n, x, y, z);
    }
    if (i == n)
        return n;
    words = (scan_words)SCAN_HITS(scan_vector, p + n - SCAN_WIDTH);
    if (i + SCAN_WIDTH < n)
        words |= (scan_words)SCAN_HITS(scan_vector, p + i);
    return words[0] | words[1] | words[2] | words[3] ? scan_one_by_one(p, i, n, x, y, z) : n;
}

/* First i >= 1 where p[i] is `needle` and p[i-1] is CR, LF, NUL or another octet up to CR; n when there is none. */
SCAN_CLONES
static size_t scan_after_break(const uint8_t *p, size_t n, uint8_t needle)
{
    return scan_vectors(p, n, needle, needle, needle);
}

/* The same for three needles at once. */
SCAN_CLONES
static size_t scan_after_break3(const uint8_t *p, size_t n, uint8_t x, uint8_t y, uint8_t z)
{
    return scan_vectors(p, n, x, y, z);
}

#endif
