/* Runs of plain octets: most of a header and of a record is, so that only the others are looked at one by one.
   16 octets at a time, with the compiler's vectors: SSE2 or NEON, plain words elsewhere. */
#ifndef SMTPINSPECT_PLAIN_H
#define SMTPINSPECT_PLAIN_H

#include <stdint.h>
#include <string.h>

#define PLAIN_WIDTH 16
typedef int8_t plain_vector __attribute__((vector_size(PLAIN_WIDTH)));
typedef uint64_t plain_words __attribute__((vector_size(PLAIN_WIDTH)));

static inline plain_vector plain_load(const uint8_t *p)
{
    plain_vector v;
    memcpy(&v, p, PLAIN_WIDTH);
    return v;
}

/* As signed numbers, controls and octets from 128 on are both less than 32. */
static inline plain_vector plain_not_text(plain_vector v)
{
    return (plain_vector)(v < 32) | (plain_vector)(v == 127);
}

static inline int plain_any(plain_vector v)
{
    plain_words words = (plain_words)v;
    return (words[0] | words[1]) != 0;
}

static inline int plain_in_field(uint8_t c) { return (c >= 32 && c < 127) || c == 9; }
static inline int plain_in_json(uint8_t c) { return c >= 32 && c < 127 && c != '"' && c != '\\'; }

/* The first octet that is neither printable ASCII nor HTAB; n when there is none. */
static inline size_t plain_field(const uint8_t *p, size_t n)
{
    size_t i = 0;
    for (; i + PLAIN_WIDTH <= n; i += PLAIN_WIDTH) {
        plain_vector v = plain_load(p + i);
        if (plain_any(plain_not_text(v) & (plain_vector)(v != 9)))
            break;
    }
    if (n >= PLAIN_WIDTH && i + PLAIN_WIDTH > n) {
        plain_vector v = plain_load(p + n - PLAIN_WIDTH);
        if (!plain_any(plain_not_text(v) & (plain_vector)(v != 9)))
            return n;
    }
    while (i < n && plain_in_field(p[i]))
        i++;
    return i;
}

/* The first octet that a JSON string cannot hold as it is, or that is no ASCII; n when there is none. */
static inline size_t plain_json(const uint8_t *p, size_t n)
{
    size_t i = 0;
    for (; i + PLAIN_WIDTH <= n; i += PLAIN_WIDTH) {
        plain_vector v = plain_load(p + i);
        if (plain_any(plain_not_text(v) | (plain_vector)(v == '"') | (plain_vector)(v == '\\')))
            break;
    }
    if (n >= PLAIN_WIDTH && i + PLAIN_WIDTH > n) {
        plain_vector v = plain_load(p + n - PLAIN_WIDTH);
        if (!plain_any(plain_not_text(v) | (plain_vector)(v == '"') | (plain_vector)(v == '\\')))
            return n;
    }
    while (i < n && plain_in_json(p[i]))
        i++;
    return i;
}

#endif
