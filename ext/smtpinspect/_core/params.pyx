"""Values of Content-Type and its like: a first word and parameters (RFC 2045 5.1, 2231)."""

from libc.stdint cimport uint8_t, uint32_t

from smtpinspect._core.octets cimport hex_value, is_blank, lower
from smtpinspect._core.span cimport span, Span
from smtpinspect._core.state cimport Text
from smtpinspect._core.text cimport text_add

from smtpinspect.grammar import limits as _limits

cdef uint32_t KEPT_FIELD = _limits.KEPT_FIELD

cdef inline bint is_space(uint8_t c) noexcept nogil:
    return c == 32 or c == 9 or c == 13 or c == 10


cdef void trim(const uint8_t** p, Py_ssize_t* n) noexcept nogil:
    while n[0] and is_space(p[0][0]):
        p[0] += 1
        n[0] -= 1
    while n[0] and is_space(p[0][n[0] - 1]):
        n[0] -= 1


cdef void pass_comments(const uint8_t** p, Py_ssize_t* n) noexcept nogil:
    """Blanks and comments before the value (RFC 2045 1, RFC 822 3.4.3)."""
    cdef Py_ssize_t i
    cdef int depth
    trim(p, n)
    while n[0] and p[0][0] == 40:
        depth = i = 0
        while i < n[0]:
            if p[0][i] == 92:
                i += 1
            elif p[0][i] == 40:
                depth += 1
            elif p[0][i] == 41:
                depth -= 1
            i += 1
            if depth == 0:
                break
        i = min(i, n[0])
        p[0] += i
        n[0] -= i
        trim(p, n)


cdef Span first_token(const Text* value) noexcept nogil:
    cdef const uint8_t* p = value.p
    cdef Py_ssize_t n = value.n, i = 0
    pass_comments(&p, &n)
    while i < n and p[i] != 59 and p[i] != 40 and not is_space(p[i]):
        i += 1
    return span(p, i)


cdef bint starts(const Text* value, const char* word, Py_ssize_t n) noexcept nogil:
    cdef const uint8_t* p = value.p
    cdef Py_ssize_t have = value.n, i
    pass_comments(&p, &have)
    if have < n:
        return False
    for i in range(n):
        if lower(p[i]) != <uint8_t>word[i]:
            return False
    return True


cdef Py_ssize_t param(
    const Text* value, const char* word, Py_ssize_t word_n, Text* out, Py_ssize_t* raw_at,
) noexcept nogil:
    """RFC 2231 3 for continuations, 4 for charset and language."""
    cdef const uint8_t* p = value.p
    cdef Py_ssize_t n = value.n, i = 0, name, name_n, j, start, total = -1
    cdef bint coded, quoted, first
    cdef uint8_t c
    cdef int ticks
    while i < n and p[i] != 59:
        i += 1
    while i < n:
        i += 1                                     # behind the semicolon
        while i < n and is_space(p[i]):
            i += 1
        name = i
        while i < n and p[i] != 61 and p[i] != 59:
            i += 1
        name_n = i - name
        while name_n and is_blank(p[name + name_n - 1]):
            name_n -= 1
        if i >= n or p[i] == 59:
            continue
        i += 1
        while i < n and is_space(p[i]):
            i += 1
        j = 0
        while j < word_n and j < name_n and lower(p[name + j]) == <uint8_t>word[j]:
            j += 1
        coded = False
        first = True
        if j == word_n and j < name_n and p[name + j] == 42:
            # word*, word*0, word*0*
            coded = p[name + name_n - 1] == 42
            j += 1
            first = j == name_n or p[name + j] == 48
            while j < name_n and (48 <= p[name + j] <= 57 or p[name + j] == 42):
                j += 1
        quoted = i < n and p[i] == 34
        if quoted:
            i += 1
        start = i
        if j != name_n or j < word_n:
            # another parameter
            while i < n and (p[i] != 34 if quoted else p[i] != 59):
                i += 2 if quoted and p[i] == 92 else 1
            while i < n and p[i] != 59:
                i += 1
            continue
        if total < 0:
            total = 0
            raw_at[0] = start
        if coded and first:
            # charset'language' comes first, where it comes
            j = i
            ticks = 0
            while j < n and p[j] != 59 and p[j] != 34 and ticks < 2:
                ticks += p[j] == 39
                j += 1
            if ticks == 2:
                total += j - i
                i = j
        while i < n:
            c = p[i]
            if quoted:
                if c == 34:
                    break
                if c == 92 and i + 1 < n:
                    i += 1
                    c = p[i]
            elif c == 59:
                break
            total += 1
            if c == 13 or c == 10:
                total -= 1
            else:
                if coded and c == 37 and i + 2 < n and hex_value(p[i + 1]) >= 0 and hex_value(p[i + 2]) >= 0:
                    c = <uint8_t>(hex_value(p[i + 1]) * 16 + hex_value(p[i + 2]))
                    i += 2
                    total += 2
                text_add(out, &c, 1, KEPT_FIELD)
            i += 1
        if not quoted:
            while out.n and is_blank(out.p[out.n - 1]):
                out.n -= 1
                total -= 1
        while i < n and p[i] != 59:
            i += 1
    return total
