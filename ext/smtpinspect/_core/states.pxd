"""grammar.states as numbers, and its table as C arrays."""

cdef enum:                     # grammar.states.STATES, in order
    S_COMMAND = 0
    S_WAIT = 1
    S_AUTH = 2
    S_TEXT = 3
    S_CHUNK = 4
    S_TLS = 5
    S_LOST = 6
    STATES = 7

cdef enum:                     # grammar.states.EVENTS, in order
    E_HELO = 0
    E_MAIL = 1
    E_RCPT = 2
    E_DATA = 3
    E_BDAT = 4
    E_RSET = 5
    E_QUIT = 6
    E_AUTH = 7
    E_STARTTLS = 8
    E_XEXCH50 = 9
    E_OTHER = 10
    E_EMPTY = 11
    E_ANSWER = 12
    E_END_OF_DATA = 13
    E_CHUNK_DONE = 14
    E_CLIENT_GAP = 15
    E_DATA_354 = 16
    E_DATA_OTHER = 17
    E_AUTH_334 = 18
    E_AUTH_OTHER = 19
    E_STARTTLS_220 = 20
    E_STARTTLS_OTHER = 21
    E_XEXCH50_354 = 22
    E_XEXCH50_OTHER = 23
    E_REPLY = 24
    E_UNSOLICITED = 25
    E_SERVER_GAP = 26
    E_NO_REPLY = 27
    E_NO_REPLY_COMMAND = 28
    E_NO_REPLY_TLS = 29
    E_PLAIN = 30
    E_IMPLICIT_TLS = 31
    E_END_LOST = 32
    EVENTS = 33

cdef enum:                     # grammar.states.ACTIONS, in order
    D_NOTHING = 0
    D_GREET = 1
    D_MAIL = 2
    D_RCPT = 3
    D_CHUNK = 4
    D_COUNT = 5
    D_ABORT = 6
    D_TEXT = 7
    D_REFUSED = 8
    D_TLS = 9
    D_PLAIN = 10
    D_LOOSE = 11
    D_RESYNC = 12
    D_EMPTY = 13
    D_IGNORE = 14
    ACTIONS = 15

cdef int next_state(int state, int event) noexcept nogil
cdef int action_of(int state, int event) noexcept nogil
