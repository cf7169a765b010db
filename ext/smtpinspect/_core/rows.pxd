"""Rules as rows: compiled once, evaluated where a fact is born."""

from libc.stdint cimport int16_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memset

from smtpinspect._core.scope cimport Scopes
from smtpinspect._core.span cimport Span, span
from smtpinspect._core.state cimport COUNTS, Fact, NUMBERS

cdef enum:                     # facts.KINDS, in order
    F_GREETING = 0
    F_COMMAND = 1
    F_LINE = 2
    F_PATH = 3
    F_KEYWORD = 4
    F_REPLY = 5
    F_REPLY_LINE = 6
    F_EMPTY_LINE = 7
    F_FIELD = 8
    F_PART = 9
    F_COUNT = 10
    F_END_OF_DATA = 11
    F_TLS = 12
    F_CONTENT = 13
    F_KINDS = 14

cdef enum:                     # facts.LINE.where
    IN_COMMAND = 0
    IN_AUTH = 1
    IN_REPLY = 2
    IN_HEADER = 3
    IN_PART_HEADER = 4
    IN_BODY = 5
    WHERES = 6

cdef enum:                     # facts.COUNT.what
    COUNT_RCPT = 0
    COUNT_RCPT_REFUSED = 1
    COUNT_HEADER = 2
    COUNT_BODY = 3
    COUNT_OVER_SIZE = 4
    COUNT_TO_ADDRESSES = 5

cdef enum:
    MOST = 256                 # rows that one kind may have, and so that one fact may fire
    MOST_LIMITS = 250          # limits of one place or count: `passed` is an octet, 255 stands for none left

cdef enum:
    UNFLAGGED = 1 << 30        # in Program.flags_wanted: a row asks for no octet class, so every Path may matter

cdef struct Condition:
    uint8_t op
    uint8_t text               # the slot is one of t[], else of v[]
    uint8_t slot
    int64_t value
    uint64_t verbs             # of a verb: the numbers with which it holds, as bits; octets are compared for 0 only
    uint32_t first             # values of a set: octets[first .. first + n)
    uint32_t n

cdef struct Row:
    int kind
    uint32_t given
    uint32_t not_given
    uint32_t first             # conditions
    uint32_t n
    int16_t rule               # number of its id
    int16_t same               # number of its id and detail: rows that are alternatives
    int16_t inspector
    int16_t group              # first_of, -1 none
    uint8_t strength
    uint8_t breaks
    uint8_t seen               # in no verdict
    uint8_t method             # Python decides
    uint8_t about              # of a Part: 1 + the text that decides, 0 the fact's own place

cdef struct Guard:             # what a fact must have at least for its row to hold: most facts have it not
    int64_t least              # of v[slot]
    uint64_t width             # how many more values will do
    uint64_t verbs             # by Fact.verb, as bits
    int16_t row
    uint8_t slot

cdef struct Limit:
    int64_t limit
    int16_t row
    uint8_t wire               # the line end counts

cdef struct Limits:
    Limit* at
    int n

cdef struct Fired:
    int16_t row
    int64_t offset
    int64_t packet


cdef inline void fact_begin(Fact* fact, int kind, int side, int phase) noexcept nogil:
    """A fact without content. Cleared in pieces that compilers write as a few stores each."""
    fact.kind = kind
    fact.side = side
    fact.phase = phase
    fact.answers = 0
    fact.verb = 0
    memset(fact.v, 0, sizeof(int64_t) * (NUMBERS // 2))
    memset(fact.v + NUMBERS // 2, 0, sizeof(int64_t) * (NUMBERS - NUMBERS // 2))
    memset(fact.t, 0, sizeof(fact.t))
    fact.offset = 0
    fact.length = 0
    fact.octets = span(NULL, 0)
    fact.packet = 0


cdef inline uint64_t name_bit(const uint8_t* p, Py_ssize_t n) noexcept nogil:
    """A name's place among 64, by its length and its ends, without case: another name is mostly somewhere else."""
    if n == 0:
        return 1
    return <uint64_t>1 << ((<uint64_t>n * 7 + <uint64_t>(p[0] | 32) * 5 + <uint64_t>(p[n - 1] | 32) * 11) & 63)


cdef inline uint64_t first_bit(const uint8_t* p, Py_ssize_t n) noexcept nogil:
    """The same by the first octet alone, for words whose end is not known yet; an empty one may stand anywhere."""
    return <uint64_t>1 << ((p[0] | 32) & 63) if n else ~<uint64_t>0


cdef class Program:
    cdef Row* rows
    cdef Condition* conditions
    cdef Span* sets
    cdef int nrows
    cdef int nrules
    cdef int ninspectors
    cdef Guard* of_kind[F_KINDS]       # rows of a kind, in order
    cdef int n_of_kind[F_KINDS]
    # Of Field and Path: the octet classes that rows ask for. A fact with none of them fires nothing,
    # but for a Field whose name is wanted.
    cdef uint64_t flags_wanted[F_KINDS]
    cdef uint64_t names_wanted[F_KINDS]    # of Field and Keyword, by name_bit: rows ask for these names, or for any
    cdef uint64_t values_wanted        # of Fields, by name_bit: some row reads the value
    cdef uint64_t verbs_advertised     # by number: some row is told whether such a Command was advertised,
    cdef uint64_t offers_wanted        # and these keywords tell, by name_bit
    cdef uint64_t firsts_wanted        # of Keywords, by first_bit: what is in names_wanted or offers_wanted
    cdef Limits lines[WHERES]
    cdef Limits counts[COUNTS]
    cdef readonly tuple table          # the Python rows
    cdef readonly tuple labels         # inspectors' keys, in order
    cdef readonly tuple profiles
    cdef readonly tuple gids
    cdef readonly tuple judged         # does the inspector count in verdicts?
    cdef readonly tuple rules          # rule ids, by number
    cdef readonly Scopes scopes
    cdef object methods
    cdef object regexes
    cdef readonly uint32_t wants_content   # bits 1 << facts.CONTENT.kind: kinds that some row may match
    cdef list _kept                    # octet strings that `sets` point into
    # Rows of the fact's kind that hold; `out` has room for MOST, returns how many were filled.
    cdef int match(self, const Fact* fact, uint32_t given, Fired* out) noexcept nogil
    cdef int _want(self, int kind, object rule) except -1
    cdef void _guard(self, Guard* guard, int number) noexcept
    cdef int _fill(self, Limits* limits, list found) except -1
    cdef void _place(self, int number, const Fact* fact, Fired* out) noexcept nogil
    # Does this row hold? `out` then tells its deciding octet.
    cdef bint holds(self, int row, const Fact* fact, uint32_t given, Fired* out) noexcept nogil
    # Python's word: the strength, -1 when the row does not fire, -2 when Python raised.
    cdef int ask(self, int row, Fact* fact, object about) except -2
