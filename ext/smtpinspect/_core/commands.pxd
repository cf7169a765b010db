"""A command line taken apart (RFC 5321 4.1, 4.1.2), and the facts that are in it."""

from libc.stdint cimport int64_t, uint8_t

from smtpinspect._core.span cimport Span
from smtpinspect._core.state cimport Conn, Mail
from smtpinspect._core.verdicts cimport Verdicts

cdef enum:                 # grammar.verbs.VERBS, by number; a test holds them equal
    V_UNKNOWN = 0
    V_HELO = 1
    V_EHLO = 2
    V_MAIL = 3
    V_RCPT = 4
    V_DATA = 5
    V_RSET = 6
    V_VRFY = 7
    V_EXPN = 8
    V_HELP = 9
    V_NOOP = 10
    V_QUIT = 11
    V_BDAT = 12
    V_AUTH = 13
    V_STARTTLS = 14
    V_XEXCH50 = 22
    V_X_EXPS = 23
    V_X_ANONYMOUSTLS = 25
    V_LHLO = 28

cdef struct Command:
    int verb               # number
    Span word              # the verb as sent, blanks before it skipped
    Span arg               # behind it, blanks trimmed
    int64_t chunk          # octets that BDAT or XEXCH50 announces, -1 none
    bint last              # BDAT ... LAST
    Span path              # of MAIL and RCPT: the address without brackets
    bint has_path
    Span params            # behind the path
    int64_t size           # SIZE=, -1 none
    bint smtputf8

cdef void command_parse(Span line, Command* out) noexcept nogil
cdef bint surely_command(Span line, Command* c) noexcept nogil     # for octets of which the state is not known
cdef int verb_number(Span word) noexcept nogil
cdef int verb_phase(int verb) noexcept nogil                        # PHASE_NONE when it has none of its own
cdef int keyword_number(Span word) noexcept nogil                   # of an EHLO keyword, -1 none
cdef bint command_advertised(Command* c, unsigned long long offered, bint esmtp, bint answered) noexcept nogil
cdef void path_fact(
    Verdicts verdicts, Conn* conn, Mail* mail, Command* c, Span line, int64_t at, int phase,
) noexcept nogil
