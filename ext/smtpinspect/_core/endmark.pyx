"""The end of mail data: CRLF.CRLF and nothing else (RFC 5321 4.1.1.4); look-alikes get a number.

The numbers are those of the hazard list (SMTP smuggling, CVE-2023-51764, -51765, -51766).
"""

from libc.stdint cimport uint8_t

cdef enum:          # Behind
    A_NOTHING = 0
    A_CRLF = 1
    A_LF = 2
    A_CR = 3
    A_NUL_CRLF = 4
    A_CR_CRLF = 5

# VARIANTS[before][behind]
cdef int[6][6] VARIANTS


def _fill():
    rows = {
        (B_CRLF, A_CRLF): 1, (B_CR_CRLF, A_CRLF): 1,
        (B_LF, A_LF): 2, (B_LF, A_CRLF): 3, (B_CRLF, A_LF): 4, (B_CR_CRLF, A_LF): 4,
        (B_CR, A_CR): 5, (B_CR, A_LF): 6, (B_LF, A_CR): 7, (B_CR, A_CRLF): 8,
        (B_CRLF, A_CR): 9, (B_CR_CRLF, A_CR): 9, (B_CRLF_NUL, A_CRLF): 10, (B_CRLF, A_NUL_CRLF): 11,
        (B_CRLF, A_CR_CRLF): 12, (B_CR_CRLF, A_CR_CRLF): 13,
    }
    for i in range(6):
        for j in range(6):
            VARIANTS[i][j] = rows.get((i, j), 0)


_fill()


cdef int before_dot(const uint8_t* tail, int n, bint start) noexcept nogil:
    if n == 0:
        return B_CRLF if start else B_NOTHING
    if tail[n - 1] == 10:
        if n >= 2 and tail[n - 2] == 13:
            return B_CR_CRLF if n >= 3 and tail[n - 3] == 13 else B_CRLF
        return B_LF
    if tail[n - 1] == 13:
        return B_CR
    if tail[n - 1] == 0:
        if n >= 3 and tail[n - 2] == 10 and tail[n - 3] == 13:
            return B_CRLF_NUL
        if n == 1 and start:
            return B_CRLF_NUL
    return B_NOTHING


cdef int behind_dot(const uint8_t* p, int n) noexcept nogil:
    if n == 0:
        return OPEN
    if p[0] == 10:
        return A_LF
    if p[0] == 13:
        if n == 1:
            return OPEN
        if p[1] == 10:
            return A_CRLF
        if p[1] != 13:
            return A_CR
        if n == 2:
            return OPEN
        return A_CR_CRLF if p[2] == 10 else A_CR
    if p[0] == 0:
        if n == 1:
            return OPEN
        if p[1] != 13:
            return A_NOTHING
        if n == 2:
            return OPEN
        return A_NUL_CRLF if p[2] == 10 else A_NOTHING
    return A_NOTHING


cdef int mark_variant(int before, const uint8_t* behind, int n) noexcept nogil:
    cdef int what
    if before == B_NOTHING:
        return 0
    what = behind_dot(behind, n)
    return OPEN if what == OPEN else VARIANTS[before][what]


cdef int mark_length(int variant) noexcept nogil:
    if variant in (2, 4, 5, 6, 7, 9):
        return 1
    if variant in (1, 3, 8, 10):
        return 2
    return 3
