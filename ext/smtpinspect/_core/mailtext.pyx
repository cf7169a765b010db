"""A mail's octets: DATA's up to the end mark, BDAT's by their number; what they mean is mime's business."""

from libc.stdint cimport int64_t, uint8_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memmove, memset

from smtpinspect._core.commands cimport V_DATA
from smtpinspect._core.dialogue cimport Dialogue, W_END
from smtpinspect._core.endmark cimport before_dot, mark_length, mark_variant, OPEN
from smtpinspect._core.mime cimport mime_end, mime_feed, mime_free, mime_new, mime_passes
from smtpinspect._core.rows cimport F_END_OF_DATA, fact_begin
from smtpinspect._core.scan cimport scan_after_break
from smtpinspect._core.span cimport span
from smtpinspect._core.state cimport (
    BORDERS, CLIENT, Conn, Fact, GIVEN_REFUSED_DATA, Mail, Mark, Pending, PHASE_DOT, PHASE_DOTREPLY, TAIL, Talk,
)
from smtpinspect._core.states cimport E_CHUNK_DONE, E_END_OF_DATA
from smtpinspect._core.transactions cimport mail_begin, mail_decide


cdef void mark_begins(Talk* talk) noexcept nogil:
    """The text stands behind a line end; the two segments before its own are known."""
    if talk.mark == NULL:
        talk.mark = <Mark*>malloc(sizeof(Mark))
        if talk.mark == NULL:
            return
    memset(talk.mark, 0, sizeof(Mark))
    talk.mark.tail[TAIL - 2] = 13
    talk.mark.tail[TAIL - 1] = 10
    talk.mark.borders[0] = talk.before
    talk.mark.border_ns[0] = talk.before_ns
    talk.mark.borders[1] = talk.border
    talk.mark.border_ns[1] = talk.border_ns
    talk.mark.border_at = 1


cdef void text_begins(Dialogue dialogue, Conn* conn, int64_t at, bint stuffed) noexcept nogil:
    cdef Talk* talk = conn.talk
    cdef Mail* mail = talk.open
    if stuffed:
        mark_begins(talk)
    if mail == NULL:
        # text without MAIL that the server took: a mail all the same
        mail = mail_begin(dialogue.verdicts, conn, at)
        if mail == NULL:
            return
    mail.has_text = 1
    mail.bdat = not stuffed
    mail.text_start = at
    mail.refused_data = 0
    mail.last_refusal = 0 if mail.rcpt_accepted or not mail.rcpt_refused else mail.last_refusal
    mime_free(mail.mime)
    mail.mime = mime_new(stuffed, at)
    talk.given &= ~(<uint8_t>GIVEN_REFUSED_DATA)


cdef void text_octets(Dialogue dialogue, Conn* conn, const uint8_t* p, Py_ssize_t n, int64_t at) noexcept nogil:
    cdef Talk* talk = conn.talk
    cdef uint8_t* tail = talk.mark.tail
    if n <= 0:
        return
    if talk.open != NULL:
        mime_feed(dialogue.verdicts, conn, talk.open, p, n, at)
    if n >= TAIL:
        memcpy(tail, p + n - TAIL, TAIL)
    else:
        memmove(tail, tail + n, TAIL - n)
        memcpy(tail + TAIL - n, p, n)
    if dialogue.tape.on:
        dialogue.tape.text(conn, p, n, False)


# `more`: octets of the segment follow behind the mark
cdef void mark_fact(
    Dialogue dialogue, Conn* conn, int variant, int64_t dot, const uint8_t* before, const uint8_t* behind, bint more,
) noexcept nogil:
    cdef Talk* talk = conn.talk
    cdef Mark* m = talk.mark
    cdef Fact fact
    cdef uint8_t mark[8]
    cdef int i, k
    cdef int64_t border = -1, earlier = -1
    if dialogue.verdicts.program.n_of_kind[F_END_OF_DATA] == 0:
        return
    fact_begin(&fact, F_END_OF_DATA, CLIENT, PHASE_DOT)
    fact.v[0] = variant
    for i in range(BORDERS):
        k = <int>(m.borders[i] - (dot - 2))
        if 0 <= k < 5 and m.borders[i] > 0:
            fact.v[1] |= 1 << k
        if m.borders[i] == dot:
            border = m.border_ns[i]
            earlier = m.border_ns[(i + BORDERS - 1) % BORDERS]
    if border >= 0 and not more:
        fact.v[2] = 1
        fact.v[3] = (border - earlier) // 1000000 if earlier > 0 else 0
    fact.offset = dot
    fact.length = 1 + mark_length(variant)
    fact.packet = dialogue.verdicts.packet
    memcpy(mark, before + 2, 2)
    mark[2] = 46
    memcpy(mark + 3, behind, mark_length(variant))
    fact.octets = span(mark, 3 + mark_length(variant))
    dialogue.verdicts.judge(conn, talk.open, &fact)


cdef void end_of_data(
    Dialogue dialogue, Conn* conn, int64_t dot, const uint8_t* before, const uint8_t* behind, bint more,
) noexcept nogil:
    cdef Talk* talk = conn.talk
    cdef Mail* mail = talk.open
    cdef Pending mark
    cdef int early
    mark_fact(dialogue, conn, 1, dot, before, behind, more)
    if mail != NULL:
        mime_end(dialogue.verdicts, conn, mail)
        mail.text_end = dot + 3
        mail.closed = 1
    dialogue.event(conn, E_END_OF_DATA)
    dialogue.ask(
        conn, dot, dot + 3, dialogue.verdicts.packet, V_DATA, span(<const uint8_t*>b".", 1), W_END,
        PHASE_DOTREPLY, mail,
    )
    talk.open = NULL
    early = talk.mark.early
    free(talk.mark)
    talk.mark = NULL
    dialogue.tape.text_end(conn)
    if early and talk.qn == 1:
        # the reply has come already
        dialogue.queue_take(talk, &mark)
        if mail != NULL:
            mail.pending -= 1
            mail_decide(dialogue.verdicts, conn, mail, early - 1)


cdef Py_ssize_t text_feed(Dialogue dialogue, Conn* conn, const uint8_t* p, Py_ssize_t n, int64_t at) noexcept nogil:
    cdef Mark* m = conn.talk.mark
    cdef Py_ssize_t i = 0, j
    cdef int variant, before, k
    cdef uint8_t held[4]
    cdef int held_n
    cdef int64_t dot
    if m == NULL:
        return n
    if n >= TAIL and not m.pre and conn.talk.open != NULL and (p[0] != 46 or p[1] > 13 or m.tail[TAIL - 1] > 13) and (
            mime_passes(dialogue.verdicts, conn, conn.talk.open, p, n, at)):
        memcpy(m.tail, p + n - TAIL, TAIL)
        if dialogue.tape.on:
            dialogue.tape.text(conn, p, n, False)
        return n
    while m.pre and i < n:
        # a dot at the end of what came before
        m.post[m.post_n] = p[i]
        m.post_n += 1
        i += 1
        variant = mark_variant(m.pre, m.post, m.post_n)
        if variant == OPEN:
            continue
        dot = m.dot_at
        m.pre = 0
        if variant == 1:
            end_of_data(dialogue, conn, dot, m.tail, m.post, i < n)
            return i
        if variant > 0:
            mark_fact(dialogue, conn, variant, dot, m.tail, m.post, False)
        held[0] = 46
        text_octets(dialogue, conn, held, 1, dot)
        held_n = m.post_n
        memcpy(held, m.post, held_n)
        # what came behind the dot is text, and may hold a dot of its own
        text_feed(dialogue, conn, held, held_n, dot + 1)
        if conn.talk.mark == NULL:
            return i
    if i == n:
        return n
    j = i - 1
    while True:
        # the next dot that stands behind a line end, a CR or a NUL
        if j < i:
            j = i
            if p[j] != 46 or m.tail[TAIL - 1] > 13:
                j = i + <Py_ssize_t>scan_after_break(p + i, n - i, 46)
        else:
            j += <Py_ssize_t>scan_after_break(p + j, n - j, 46)
        if j >= n:
            text_octets(dialogue, conn, p + i, n - i, at + i)
            return n
        for k in range(TAIL):
            # the four octets before it, from here or from before
            held[k] = p[j - TAIL + k] if j - TAIL + k >= i else m.tail[j - i + k]
        before = before_dot(held, TAIL, False)
        if before == 0:
            continue
        variant = mark_variant(before, p + j + 1, <int>(n - j - 1 if n - j - 1 < 3 else 3))
        if variant == 0:
            continue
        if variant == OPEN:
            text_octets(dialogue, conn, p + i, j - i, at + i)
            m.pre = <uint8_t>before
            m.dot_at = at + j
            m.post_n = 0
            for k in range(<int>(n - j - 1)):
                m.post[k] = p[j + 1 + k]
                m.post_n += 1
            return n
        if variant == 1:
            text_octets(dialogue, conn, p + i, j - i, at + i)
            end_of_data(dialogue, conn, at + j, held, p + j + 1, j + 3 < n)
            return j + 3
        text_octets(dialogue, conn, p + i, j - i, at + i)
        mark_fact(dialogue, conn, variant, at + j, held, p + j + 1, False)
        i = j
        # j stays on the dot: the search goes on behind it


cdef void chunk_done(Dialogue dialogue, Conn* conn, int64_t at) noexcept nogil:
    cdef Talk* talk = conn.talk
    cdef Mail* mail = talk.open
    dialogue.event(conn, E_CHUNK_DONE)
    if not talk.chunk_mail:
        return
    dialogue.tape.chunk_done(conn, talk.chunk_last)
    if talk.chunk_last and mail != NULL:
        mime_end(dialogue.verdicts, conn, mail)
        mail.text_end = at
        mail.closed = 1
        talk.open = NULL


cdef Py_ssize_t chunk_feed(Dialogue dialogue, Conn* conn, const uint8_t* p, Py_ssize_t n, int64_t at) noexcept nogil:
    cdef Talk* talk = conn.talk
    cdef Py_ssize_t took = n if n < talk.here.chunk_left else <Py_ssize_t>talk.here.chunk_left
    if talk.chunk_mail and took:
        if talk.open != NULL:
            mime_feed(dialogue.verdicts, conn, talk.open, p, took, at)
        dialogue.tape.text(conn, p, took, True)
    talk.here.chunk_left -= took
    if talk.here.chunk_left == 0:
        chunk_done(dialogue, conn, at + took)
    return took
