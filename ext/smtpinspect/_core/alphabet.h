/* How many octets are of the base64 alphabet (RFC 2045 6.8), and is padding among them. Plain vectors of the
   compiler: SSE2 or NEON everywhere, AVX2 where glibc can choose at run time. */
#ifndef SMTPINSPECT_ALPHABET_H
#define SMTPINSPECT_ALPHABET_H

#include <stdint.h>

#if defined(__x86_64__) && defined(__GLIBC__) && defined(__GNUC__) && !defined(__clang__)
#define ALPHABET_CLONES __attribute__((target_clones("avx2", "default")))
#else
#define ALPHABET_CLONES
#endif

#define ALPHABET_WIDTH 32
#define ALPHABET_ROUNDS 255 /* a lane counts no further */
typedef uint8_t alphabet_vector __attribute__((vector_size(ALPHABET_WIDTH), aligned(1), may_alias));
typedef uint64_t alphabet_words __attribute__((vector_size(ALPHABET_WIDTH), may_alias));

ALPHABET_CLONES
static size_t alphabet_count(const uint8_t *p, size_t n, int *padded)
{
    const alphabet_vector zero = {0};
    alphabet_vector pads = {0};
    size_t total = 0, i = 0;
    int seen = 0;
    while (i + ALPHABET_WIDTH <= n) {
        alphabet_vector lanes = {0};
        size_t rounds = (n - i) / ALPHABET_WIDTH;
        if (rounds > ALPHABET_ROUNDS)
            rounds = ALPHABET_ROUNDS;
        for (; rounds; rounds--, i += ALPHABET_WIDTH) {
            alphabet_vector v = *(const alphabet_vector *)(p + i);
            alphabet_vector letters = (alphabet_vector)(((v | (zero + 32)) - 'a') <= (zero + 25));
            alphabet_vector digits = (alphabet_vector)((v - '/') <= (zero + 10)); /* and the slash before them */
            alphabet_vector plus = (alphabet_vector)(v == (zero + '+'));
            pads |= (alphabet_vector)(v == (zero + '='));
            lanes -= letters | digits | plus;
        }
        for (int k = 0; k < ALPHABET_WIDTH; k++)
            total += lanes[k];
    }
    {
        alphabet_words words = (alphabet_words)pads;
        seen = (words[0] | words[1] | words[2] | words[3]) != 0;
    }
    for (; i < n; i++) {
        uint8_t c = p[i];
        total += (uint8_t)((c | 32) - 'a') <= 25 || (uint8_t)(c - '/') <= 10 || c == '+';
        seen |= c == '=';
    }
    *padded = seen;
    return total;
}

#endif
