"""A command line taken apart (RFC 5321 4.1, 4.1.2), and the facts that are in it."""

from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.string cimport memset

from smtpinspect._core.rows cimport F_PATH, fact_begin, UNFLAGGED
from smtpinspect._core.octets cimport upper
from smtpinspect._core.span cimport Span, span
from smtpinspect._core.state cimport (
    CLASSES, CLIENT, Conn, Fact, Mail, PHASE_DATACMD, PHASE_MAIL, PHASE_NONE, PHASE_QUIT, PHASE_RCPT,
)
from smtpinspect._core.verdicts cimport Verdicts

from smtpinspect.facts import Octets as _Octets
from smtpinspect.grammar.verbs import PARAMETERS as _PARAMETERS
from smtpinspect.grammar.verbs import VERBS as _VERBS

cdef enum:
    VERBS = 64
    KEYWORDS = 64              # bits of Talk.offered
    NAME_ROOM = 24             # octets of a verb, a keyword or a parameter

cdef uint8_t[VERBS][NAME_ROOM] VERB_NAME
cdef int[VERBS] VERB_LENGTH
cdef uint64_t[VERBS] VERB_NEEDS          # keywords of which one must be offered, 0: none
cdef uint8_t[KEYWORDS][NAME_ROOM] KEYWORD_NAME
cdef int[KEYWORDS] KEYWORD_LENGTH
cdef uint8_t[KEYWORDS][NAME_ROOM] PARAM_NAME
cdef int[KEYWORDS] PARAM_LENGTH
cdef uint64_t[KEYWORDS] PARAM_NEEDS
cdef uint8_t[256] FIRST_VERB         # by the first octet in upper case; 0: none
cdef uint8_t[VERBS] NEXT_VERB        # of those that begin alike
cdef int[256] FIRST_KEYWORD          # -1: none
cdef int[KEYWORDS] NEXT_KEYWORD
cdef uint8_t[256] BLANK              # SP, HTAB, VT, FF, CR
cdef int[256] PATH_CLASS             # octet classes, < and > among them wherever they stand
cdef int NVERBS = len(_VERBS)
cdef int NKEYWORDS = 0
cdef int NPARAMS = len(_PARAMETERS)
cdef int EIGHT_BIT = int(_Octets.EIGHT_BIT)
cdef int CONTROL = int(_Octets.CONTROL)
cdef int PIPE = int(_Octets.PIPE)
cdef int ANGLE = int(_Octets.ANGLE)
cdef int BACKQUOTE = int(_Octets.BACKQUOTE)
cdef int NUL = int(_Octets.NUL)


def _fill():
    global NKEYWORDS
    numbers = {}
    for words in [v.keywords for v in _VERBS] + [(k,) for k in _PARAMETERS.values()]:
        for word in words:
            numbers.setdefault(word, len(numbers))
    NKEYWORDS = len(numbers)
    assert NKEYWORDS <= KEYWORDS and NVERBS <= VERBS and NPARAMS <= KEYWORDS
    assert all(len(word) <= NAME_ROOM for word in (*(v.name for v in _VERBS), *numbers, *_PARAMETERS))
    for word, number in numbers.items():
        KEYWORD_LENGTH[number] = len(word)
        for i, c in enumerate(word):
            KEYWORD_NAME[number][i] = c
    for number, verb in enumerate(_VERBS):
        VERB_LENGTH[number] = len(verb.name)
        for i, c in enumerate(verb.name):
            VERB_NAME[number][i] = c
        VERB_NEEDS[number] = sum(1 << numbers[k] for k in verb.keywords)
    for number, (name, keyword) in enumerate(_PARAMETERS.items()):
        PARAM_LENGTH[number] = len(name)
        for i, c in enumerate(name):
            PARAM_NAME[number][i] = c
        PARAM_NEEDS[number] = 1 << numbers[keyword]
    for number in range(NVERBS - 1, 0, -1):
        c = _VERBS[number].name[0]
        NEXT_VERB[number] = FIRST_VERB[c]
        FIRST_VERB[c] = number
    for c in range(256):
        FIRST_KEYWORD[c] = -1
        BLANK[c] = c in (32, 9, 11, 12, 13)
        PATH_CLASS[c] = (
            PIPE if c == 124 else ANGLE if c in (60, 62) else EIGHT_BIT if c >= 0x80 else BACKQUOTE if c == 96
            else NUL | CONTROL if c == 0 else CONTROL if (c < 32 and c != 9) or c == 127 else 0)
    for word, number in sorted(numbers.items(), key=lambda item: -item[1]):
        NEXT_KEYWORD[number] = FIRST_KEYWORD[word[0]]
        FIRST_KEYWORD[word[0]] = number


_fill()
assert [_VERBS[i].name for i in (
    V_HELO, V_EHLO, V_MAIL, V_RCPT, V_DATA, V_RSET, V_VRFY, V_EXPN, V_HELP, V_NOOP, V_QUIT, V_BDAT, V_AUTH,
    V_STARTTLS, V_XEXCH50, V_X_EXPS, V_X_ANONYMOUSTLS, V_LHLO)] == [
    b"HELO", b"EHLO", b"MAIL", b"RCPT", b"DATA", b"RSET", b"VRFY", b"EXPN", b"HELP", b"NOOP", b"QUIT", b"BDAT",
    b"AUTH", b"STARTTLS", b"XEXCH50", b"X-EXPS", b"X-ANONYMOUSTLS", b"LHLO"]


cdef inline bint blank(uint8_t c) noexcept nogil:
    return BLANK[c]


cdef inline bint same(Span word, const uint8_t* name, int n) noexcept nogil:
    cdef int i
    if word.n != n:
        return False
    for i in range(n):
        if upper(word.p[i]) != name[i]:
            return False
    return True


cdef int verb_number(Span word) noexcept nogil:
    cdef int i
    if word.n < 4 or word.n > NAME_ROOM:
        return 0
    i = FIRST_VERB[upper(word.p[0])]
    while i and not same(word, VERB_NAME[i], VERB_LENGTH[i]):
        i = NEXT_VERB[i]
    return i


cdef int keyword_number(Span word) noexcept nogil:
    cdef int i
    if word.n == 0:
        return -1
    i = FIRST_KEYWORD[upper(word.p[0])]
    while i >= 0 and not same(word, KEYWORD_NAME[i], KEYWORD_LENGTH[i]):
        i = NEXT_KEYWORD[i]
    return i


cdef int verb_phase(int verb) noexcept nogil:
    if verb == V_MAIL:
        return PHASE_MAIL
    if verb == V_RCPT:
        return PHASE_RCPT
    if verb == V_DATA or verb == V_BDAT:
        return PHASE_DATACMD
    if verb == V_QUIT:
        return PHASE_QUIT
    return PHASE_NONE


cdef inline Span first_word(Span s) noexcept nogil:
    cdef Py_ssize_t i = 0
    while i < s.n and not blank(s.p[i]):
        i += 1
    return span(s.p, i)


cdef inline Span trimmed(Span s) noexcept nogil:
    while s.n and blank(s.p[0]):
        s.p += 1
        s.n -= 1
    while s.n and blank(s.p[s.n - 1]):
        s.n -= 1
    return s


cdef int64_t number(Span s) noexcept nogil:
    """Decimal digits and nothing else; -1 when it is no such number or too large to count octets."""
    cdef int64_t value = 0
    cdef Py_ssize_t i
    if s.n == 0 or s.n > 18:
        return -1
    for i in range(s.n):
        if s.p[i] < 48 or s.p[i] > 57:
            return -1
        value = value * 10 + (s.p[i] - 48)
    return value


cdef void parse_path(Span line, Command* c) noexcept nogil:
    """The address of MAIL FROM: or RCPT TO:, the RFC's reading where it fits, else what stands there."""
    cdef Span rest = c.arg
    cdef Py_ssize_t i = 0, start
    cdef bint quoted = False, closed = False
    cdef uint8_t ch
    while i < rest.n and rest.p[i] != 58:
        i += 1
    if i == rest.n:
        c.path = rest
        c.has_path = rest.n > 0
        c.params = span(rest.p + rest.n, 0)
        return
    rest = trimmed(span(rest.p + i + 1, rest.n - i - 1))
    c.has_path = True
    if rest.n == 0 or rest.p[0] != 60:
        c.path = first_word(rest)
    else:
        i = 1
        while i < rest.n:
            ch = rest.p[i]
            if ch == 92 and quoted:
                i += 1
            elif ch == 34:
                quoted = not quoted
            elif ch == 62 and not quoted:
                closed = True
                break
            i += 1
        if not closed:
            # a quote that never closes, or no > at all: up to the last >, else the first word
            i = 1
            while i < rest.n and rest.p[i] != 62 and not blank(rest.p[i]):
                i += 1
            closed = i < rest.n and rest.p[i] == 62
        c.path = span(rest.p + 1, (i if i < rest.n else rest.n) - 1)
        if closed:
            i += 1
        # a source route is not part of the address (RFC 5321 4.1.2, appendix C)
        if c.path.n and c.path.p[0] == 64:
            start = 0
            while start < c.path.n and c.path.p[start] != 58:
                start += 1
            if start < c.path.n:
                c.path = span(c.path.p + start + 1, c.path.n - start - 1)
        c.params = trimmed(span(rest.p + i, rest.n - i))
        return
    c.params = trimmed(span(rest.p + c.path.n, rest.n - c.path.n))


cdef void parse_params(Command* c) noexcept nogil:
    cdef Span rest = c.params, word, name
    cdef Py_ssize_t i
    while rest.n:
        word = first_word(rest)
        rest = trimmed(span(rest.p + word.n, rest.n - word.n))
        i = 0
        while i < word.n and word.p[i] != 61:
            i += 1
        name = span(word.p, i)
        if same(name, <const uint8_t*>b"SIZE", 4) and i < word.n:
            c.size = number(span(word.p + i + 1, word.n - i - 1))
        elif same(name, <const uint8_t*>b"SMTPUTF8", 8):
            c.smtputf8 = True


cdef void command_parse(Span line, Command* c) noexcept nogil:
    cdef Span rest, word
    memset(c, 0, sizeof(Command))
    c.chunk = -1
    c.size = -1
    rest = trimmed(line)
    c.word = first_word(rest)
    c.arg = trimmed(span(rest.p + c.word.n, rest.n - c.word.n))
    c.verb = verb_number(c.word)
    if c.verb == V_MAIL or c.verb == V_RCPT:
        parse_path(line, c)
        if c.verb == V_MAIL:
            parse_params(c)
    elif c.verb == V_BDAT or c.verb == V_XEXCH50:
        word = first_word(c.arg)
        rest = trimmed(span(c.arg.p + word.n, c.arg.n - word.n))
        c.chunk = number(word)
        if c.verb == V_BDAT and rest.n:
            c.last = same(rest, <const uint8_t*>b"LAST", 4)
            if not c.last:
                c.chunk = -1


cdef bint surely_command(Span line, Command* c) noexcept nogil:
    """Text that happens to begin with a verb is no command: the whole form must fit."""
    if c.verb == V_UNKNOWN or (line.n and blank(line.p[0])):
        return False
    if c.verb in (V_DATA, V_RSET, V_QUIT, V_STARTTLS):
        return c.arg.n == 0
    if c.verb == V_MAIL:
        return c.arg.n > 5 and same(span(c.arg.p, 5), <const uint8_t*>b"FROM:", 5)
    if c.verb == V_RCPT:
        return c.arg.n > 3 and same(span(c.arg.p, 3), <const uint8_t*>b"TO:", 3)
    if c.verb in (V_HELO, V_EHLO, V_LHLO):
        return c.arg.n > 0 and first_word(c.arg).n == c.arg.n
    if c.verb == V_BDAT or c.verb == V_XEXCH50:
        return c.chunk >= 0
    if c.verb == V_AUTH:
        return c.arg.n > 0 and (same(first_word(c.arg), <const uint8_t*>b"PLAIN", 5)
                                or first_word(c.arg).n == c.arg.n)
    if c.verb == V_NOOP:
        return c.arg.n == 0
    return False


cdef bint command_advertised(Command* c, unsigned long long offered, bint esmtp, bint answered) noexcept nogil:
    cdef Span rest, word
    cdef Py_ssize_t i
    cdef int k
    if not answered:
        return True
    if VERB_NEEDS[c.verb] and (not esmtp or not (VERB_NEEDS[c.verb] & offered)):
        return False
    rest = c.params
    while rest.n:
        word = first_word(rest)
        rest = trimmed(span(rest.p + word.n, rest.n - word.n))
        i = 0
        while i < word.n and word.p[i] != 61:
            i += 1
        for k in range(NPARAMS):
            if same(span(word.p, i), PARAM_NAME[k], PARAM_LENGTH[k]):
                if not esmtp or not (PARAM_NEEDS[k] & offered):
                    return False
    return True


cdef void path_fact(
    Verdicts verdicts, Conn* conn, Mail* mail, Command* c, Span line, int64_t at, int phase,
) noexcept nogil:
    """The octets of a path: classes with their first offset; < and > count only outside the brackets' own places."""
    cdef Fact fact
    cdef Py_ssize_t i, k, last, at_sign = -1, first = c.path.p - line.p
    cdef int bit
    cdef Py_ssize_t open_at = -1, close_at = -1
    if verdicts.program.n_of_kind[F_PATH] == 0 or not c.has_path:
        return
    fact_begin(&fact, F_PATH, CLIENT, phase)
    # the two brackets that delimit the path are in their place, every other one is stray
    i = c.arg.p - line.p
    while i < line.n and line.p[i] != 58:
        i += 1
    k = i + 1
    while k < line.n and blank(line.p[k]):
        k += 1
    if k < line.n and line.p[k] == 60:
        open_at = k
        if first + c.path.n < line.n and line.p[first + c.path.n] == 62:
            close_at = first + c.path.n
    last = (c.params.p - line.p) if c.params.n else line.n
    for k in range(i + 1, line.n):
        bit = PATH_CLASS[line.p[k]]
        if bit == 0 or (bit != ANGLE and k >= last):
            continue                               # parameters: no bracket has a place there
        if bit & ~fact.v[2] and not (bit == ANGLE and (k == open_at or k == close_at)):
            mark_flags(&fact, bit, at + k, verdicts.packet)
    if (<uint64_t>fact.v[2] | UNFLAGGED) & verdicts.program.flags_wanted[F_PATH] == 0:
        return
    fact.v[0] = 0 if c.verb == V_MAIL else 1
    fact.v[1] = c.path.n
    fact.t[0] = c.path
    for i in range(c.path.n):
        if c.path.p[i] == 64:
            at_sign = i
    fact.t[1] = span(c.path.p + at_sign + 1, c.path.n - at_sign - 1) if at_sign >= 0 else span(c.path.p, 0)
    fact.offset = at + (first if first > 0 else 0)
    fact.packet = verdicts.packet
    fact.length = 1
    fact.octets = line
    verdicts.judge(conn, mail, &fact)


cdef void mark_flags(Fact* fact, int bits, int64_t at, int64_t packet) noexcept nogil:
    cdef int i
    for i in range(CLASSES):
        if (bits >> i) & 1 and not (fact.v[2] >> i) & 1:
            fact.v[2] |= 1 << i
            fact.flag_at[i] = at
            fact.flag_packet[i] = packet
