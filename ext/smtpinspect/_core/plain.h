/* Runs of plain octets: most of a header and of a record is, so that only the others are looked at one by one.
   16 octets at a time, with the compiler's vectors: SSE2 or NEON, plain words elsewhere. */
#ifndef SMTPINSPECT_PLAIN_H
#define SMTPINSPECT_PLAIN_H

#include <stdint.h>
#include <string.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

#define PLAIN_WIDTH 16
typedef int8_t plain_vector __attribute__((vector_size(PLAIN_WIDTH)));
typedef uint64_t plain_words __attribute__((vector_size(PLAIN_WIDTH)));

static inline plain_vector plain_load(const uint8_t *p)
{
    plain_vector v;
    memcpy(&v, p, PLAIN_WIDTH);
    return v;
}

/* The first octet that is not 0; PLAIN_WIDTH when there is none. */
static inline size_t plain_first(plain_vector v)
{
#ifdef __SSE2__
    unsigned hits = (unsigned)_mm_movemask_epi8((__m128i)v);
    return hits ? (size_t)__builtin_ctz(hits) : PLAIN_WIDTH;
#else
    plain_words words = (plain_words)v;
    size_t i = 0;
    if ((words[0] | words[1]) == 0)
        return PLAIN_WIDTH;
    while (v[i] == 0)
        i++;
    return i;
#endif
}

/* As signed numbers, controls and octets from 128 on are both less than 32. */
static inline plain_vector plain_no_text(plain_vector v)
{
    return (plain_vector)(v < 32) | (plain_vector)(v == 127);
}

static inline plain_vector plain_no_field(plain_vector v)
{
    return plain_no_text(v) & (plain_vector)(v != 9);
}

static inline plain_vector plain_no_json(plain_vector v)
{
    return plain_no_text(v) | (plain_vector)(v == '"') | (plain_vector)(v == '\\');
}

/* The last octets stand at the end of a vector whose first ones were looked at before, or nowhere. */
#define PLAIN_RUN(name, no)                                                 \
    static inline size_t name(const uint8_t *p, size_t n)                   \
    {                                                                       \
        size_t i = 0, k;                                                    \
        uint8_t rest[PLAIN_WIDTH];                                          \
        for (; i + PLAIN_WIDTH <= n; i += PLAIN_WIDTH) {                    \
            k = plain_first(no(plain_load(p + i)));                         \
            if (k < PLAIN_WIDTH)                                            \
                return i + k;                                               \
        }                                                                   \
        if (i == n)                                                         \
            return n;                                                       \
        if (i) {                                                            \
            i = n - PLAIN_WIDTH;                                            \
            return i + plain_first(no(plain_load(p + i)));                  \
        }                                                                   \
        memset(rest, 0, PLAIN_WIDTH);                                       \
        for (k = 0; k < n; k++)                                             \
            rest[k] = p[k];                                                 \
        return plain_first(no(plain_load(rest)));                           \
    }

/* The first octet that is neither printable ASCII nor HTAB; n when there is none. */
PLAIN_RUN(plain_field, plain_no_field)

/* The first octet that a JSON string cannot hold as it is, or that is no ASCII; n when there is none. */
PLAIN_RUN(plain_json, plain_no_json)

#endif
