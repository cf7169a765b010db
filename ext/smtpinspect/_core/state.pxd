"""What is kept per connection, direction and mail. Only structures: the code that owns each is named beside it."""

from libc.stdint cimport int8_t, int16_t, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from smtpinspect._core.span cimport Span

cdef enum:          # Side
    CLIENT = 0
    SERVER = 1

cdef enum:                # grammar/words.py DOUBTS, `confidence`, as bits
    DOUBT_ONE_DIRECTION = 1
    DOUBT_GAP = 2
    DOUBT_SNAPLEN = 4
    DOUBT_SUPER_SEGMENTS = 8
    DOUBT_MID_STREAM = 16
    DOUBT_CUT_OFF = 32
    DOUBT_ENCRYPTED = 64
    DOUBT_OVERLAP = 128
    DOUBT_CAP = 256
    DOUBT_END_MARK_DISPUTED = 512

cdef enum:                # facts.Given
    GIVEN_ESMTP = 1
    GIVEN_HELO = 2
    GIVEN_SMTPUTF8 = 4
    GIVEN_TLS = 8
    GIVEN_STARRED = 16
    GIVEN_REFUSED_DATA = 32

cdef enum:                # grammar/words.py PHASES
    PHASE_CONNECT = 0
    PHASE_GREETING = 1
    PHASE_EHLO = 2
    PHASE_MAIL = 3
    PHASE_RCPT = 4
    PHASE_DATACMD = 5
    PHASE_REPLY354 = 6
    PHASE_DATABODY = 7
    PHASE_DATAMID = 8
    PHASE_DOT = 9
    PHASE_DOTREPLY = 10
    PHASE_QUIT = 11
    PHASE_NONE = 12

cdef enum:                # grammar/words.py OUTCOMES
    OUTCOME_UNKNOWN = 0
    OUTCOME_ACCEPTED = 1
    OUTCOME_REFUSED = 2
    OUTCOME_ABORTED = 3
    OUTCOME_STALLED = 4
    OUTCOME_RESET = 5
    OUTCOME_CLOSED = 6
    OUTCOME_ENCRYPTED = 7

cdef enum:                # grammar/words.py CLOSERS
    CLOSER_NONE = 0
    CLOSER_CLIENT = 1
    CLOSER_SERVER = 2
    CLOSER_MIDDLEBOX = 3
    CLOSER_UNKNOWN = 4

# --- sizes of arrays; where a limit of grammar/limits.py has the same name, an assertion holds them equal ---

cdef enum:
    EXCERPT = 64               # octets of evidence
    VERB_LENGTH = 40
    MIME_DEPTH = 32
    NAME_LENGTH = 76
    BEFORE = 16                # octets of evidence before a flagged one that lies behind the head
    RECENT = 2                 # delivered segments of which the source may still hold the octets
    BORDERS = 8                # of the client's last segments
    TAIL = 4                   # octets before a dot that tell whether it may be an end mark
    SHORT = 16                 # octets of a Short that need no memory of their own
    FEW = 2                    # rules of which a Standings needs no table
    NUMBERS = 12               # of a fact
    TEXTS = 3
    CLASSES = 11               # facts.Octets
    COUNTS = 6                 # facts.COUNT.what

# --- kept octets (text.pxd) ---

cdef struct Text:
    uint8_t* p
    uint32_t n
    uint32_t cap

cdef union Short:              # whose number of octets stands elsewhere: most are short
    uint8_t* p
    uint8_t own[SHORT]

# --- a fact (machine, mime → rows) ---

cdef struct Fact:              # begun by rows.fact_begin
    int kind
    int side
    int phase
    int32_t answers            # of a reply: 1 + the ordinal of the command that it answers, 0 else
    int verb                   # number of the verb in t[0], 0 when it has none
    int64_t v[NUMBERS]
    Span t[TEXTS]
    int64_t offset             # stream offset of the deciding octet
    int64_t length             # of the evidence
    Span octets                # the evidence's octets, as many as are held
    int64_t packet             # frame that holds the deciding octet
    # filled in where a flag is set, and for a Part's texts; nothing else clears them
    int64_t flag_at[CLASSES]   # first offset of each octet class, for Field and Path; of a Part's texts
    int64_t flag_packet[CLASSES]

# --- alerts and mails (machine → records) ---

cdef struct Conn
cdef struct Mime
cdef struct Nested

cdef struct Alert:
    Alert* next
    Conn* conn
    int16_t row
    int8_t strength
    uint8_t side
    uint8_t phase
    uint8_t breaks
    uint8_t after_break
    uint8_t noctets
    int64_t offset
    int64_t length
    int64_t packet
    int64_t frame              # at which it was decided
    int64_t ns
    int64_t moved              # payload octets of both sides until then, as a firewall counts them
    int64_t tx                 # -1 outside mails
    int64_t text_end           # filled when the mail ends: offset behind the end mark, -1 none
    uint8_t octets[EXCERPT]

cdef struct Standing:          # of one inspector towards a connection or a mail
    int8_t strongest           # of the alerts that count here
    int8_t overall             # of a connection: mails included
    uint8_t detached
    int8_t broke_strength      # of the strongest break
    int16_t broke              # row of the earliest break, -1 none

cdef struct Break:             # the earliest of one inspector
    int64_t at                 # stream offset
    int64_t tx                 # the mail it happened in, -1 outside
    uint8_t side

cdef struct Standings:         # as large as there are inspectors (verdicts)
    Break* breaks              # one per inspector, then the alerts per rule; NULL while `few` has room and none broke
    uint16_t few[FEW]          # until then: 1 + the rule's number, and its alerts
    uint8_t few_told[FEW]
    Standing each[1]           # one per inspector

cdef struct Piece:             # octets inside a Text
    uint32_t at
    uint32_t n

cdef struct Rcpt:
    Piece address
    uint16_t reply

cdef struct Mail:
    Mail* next                 # of a connection's newest: its oldest
    int64_t tx
    Text text                  # everything below that is a Piece lies here
    Piece helo
    Piece sender
    Piece header_from
    Piece header_to
    Piece subject
    Piece message_id
    Rcpt* rcpts
    uint32_t nrcpts
    uint32_t rcpts_cap
    uint32_t rcpt_count        # asked for, kept or not
    uint32_t rcpt_refused
    uint32_t rcpt_accepted
    uint32_t pending           # commands of it that wait for a reply
    Piece* names               # of attachments
    uint16_t nnames
    uint16_t doubt
    uint8_t has_sender
    uint8_t closed             # no more commands of the client belong to it
    uint8_t ended              # its record is written
    uint8_t outcome
    uint8_t phase
    uint8_t stage              # index in grammar/words.py STAGES
    uint8_t closer
    uint8_t has_text
    uint8_t bdat
    uint16_t reply
    uint16_t last_refusal
    uint8_t refusal_phase
    uint8_t refused_data       # DATA or BDAT was refused: a MAIL may begin anew
    uint8_t refused_mail       # MAIL itself was: it ends with its last pipelined reply
    int32_t ordinal            # of its MAIL
    uint8_t given
    int64_t declared           # SIZE=, -1 none
    int64_t octets             # of its text as sent
    int64_t plain              # without the dots of stuffing; counted only when SIZE is watched
    int64_t text_start         # stream offset, -1 none
    int64_t text_end           # behind the end mark, -1 while there is none
    int64_t command_at         # offset of its MAIL
    int64_t start_ns
    int64_t silence_ns
    Mime* mime                 # NULL while no text is read
    Nested* nested
    Alert* alerts
    Alert* last_alert
    Standings* standing

# --- reassembly (segments) ---

cdef struct Stored:
    Stored* next
    Stored* prev               # of the first one: not told
    Stored* left               # in the tree, while there is one
    Stored* right
    int64_t offset
    int64_t ack                # stream offset of the other side, -1 unknown
    int64_t packet
    int64_t ns
    uint32_t n                 # octets kept
    uint32_t missing           # octets behind them that the snap length cut off
    uint32_t height            # random: nobody lies under a lower one
    uint8_t border             # its first octet began a segment
    uint8_t merged             # larger than a segment on the wire
    uint8_t size               # of its memory, in 64 octets; 0: larger than any that is used again (store)

cdef struct Aside:             # of a direction: what came out of order, or did not fit; most have none (store)
    Stored* last
    Stored* near               # where the last one came, or what has followed it; NULL with an empty store only
    Stored* root               # of the tree by offsets; NULL while it was not needed (store)
    int64_t hold_ns            # since when the head of the store waits, 0 not
    int64_t excused            # acknowledged up to here, but not in the capture: not waited for
    int64_t rst_at             # of an RST that did not fit when it came, -1 none
    int64_t stray_at
    uint32_t stored_n
    uint32_t stored_octets
    uint32_t other_base        # of a second SYN with another number
    uint8_t strays             # segments far outside the window, one behind the other

cdef struct Direction:         # what a segment in order needs, in 64 octets; then what it leaves behind
    int64_t next               # stream offset of the next octet to read
    int64_t acked              # by the other side, -1 unknown
    int64_t octets             # payload on the wire, repeats included
    int64_t fin_at             # stream offset of FIN, -1 none
    Stored* first
    Aside* aside               # NULL: nothing of it
    uint32_t base              # sequence number of stream offset 0
    uint32_t packets
    uint8_t known              # base is known
    uint8_t syn                # SYN seen
    uint8_t blocked            # the machine waits for the other side
    uint8_t ttl
    uint8_t has_payload
    uint8_t syn_data           # the store holds octets of a SYN that nobody has acknowledged yet
    uint8_t has_other          # a second SYN with another number
    uint8_t checks             # its SYN had a right checksum: wrong ones mean something
    int64_t recent_position[RECENT]  # of the last delivered segments in the source, to compare retransmissions
    uint32_t recent_offset[RECENT]   # the lower half; they are not longer ago than that
    uint32_t recent_n[RECENT]

# --- the dialogue (machine) ---

cdef struct Line:              # of which octets have come
    Text kept
    int64_t start
    int64_t n                  # octets so far
    int64_t packet             # frame of its first octet
    uint32_t cut               # where in the line the first segment border lies, 0 none
    uint8_t passed             # limits that were passed
    uint8_t held_cr            # its last octet is CR

cdef struct Pending:
    Mail* mail
    int64_t at                 # offset of the command
    int64_t ns
    int64_t end                # offset behind it
    int64_t packet
    int32_t rcpt               # index of the recipient, -1 none
    int32_t ordinal
    uint8_t verb               # number
    uint8_t what               # dialogue.What
    uint8_t last               # BDAT LAST
    uint8_t phase              # that it belongs to
    uint8_t name_n
    uint8_t name[VERB_LENGTH]

# --- a mail's text (mime) ---

cdef struct Track:             # of the octets of a part (attachments)
    uint8_t state              # attachments.Tracking
    uint8_t encoding           # decoding.Encoding
    uint8_t at_line            # the last octet was LF, or there is none
    void* part                 # attachments.Part, while it is looked at
    int64_t inflated           # octets, of all its parts

cdef struct Mime:              # what each segment of a body needs comes first
    Track as_sent              # the part, by its transfer encoding
    Track in_lines             # what is uuencoded in it
    int64_t body_octets
    uint8_t mode               # mimelines, Mode
    uint8_t level              # of the header that is read
    uint8_t depth              # open multiparts
    uint8_t dot                # the line began with a dot that stuffing may have added
    uint8_t held_cr            # the last octet was CR; what it is, the next one tells
    uint8_t in_field           # of a header
    uint8_t in_value
    uint8_t in_line            # of a body: in the middle of a line that is no boundary
    uint8_t in_dashes          # of a body: in a line that may be one
    uint8_t interest           # fields.Interest of the field
    uint8_t unstuff            # DATA, not BDAT
    uint8_t at_line            # the last octet was LF, or there is none
    uint8_t passed             # limits passed on this line
    uint8_t counts_passed[COUNTS]
    uint8_t name_n
    uint8_t head_n
    uint8_t excerpt_n
    uint8_t tail_n
    uint8_t tail[BEFORE]       # the last octets of the line so far
    int64_t window_at          # where in the line the excerpt begins; 0: it is the head
    uint8_t flagged            # the excerpt is taken
    uint8_t u8_need            # continuation octets still to come
    uint8_t u8_low
    uint8_t u8_high
    uint16_t parts
    int64_t line_start         # stream offset
    int64_t line_n             # octets of the line so far, line end excluded
    int64_t field_at
    int64_t field_packet
    int64_t value_at
    int64_t flags
    int64_t flag_at[CLASSES]
    int64_t flag_packet[CLASSES]
    int64_t header_octets
    int64_t type_at            # of the fields that describe the part
    int64_t type_packet
    int64_t disposition_at
    int64_t disposition_packet
    int64_t encoding_at
    int64_t encoding_packet
    int64_t addresses          # in the To fields so far
    uint8_t comment            # of a To field: depth of parentheses
    uint8_t quoted             # in a quoted string
    uint8_t escaped            # behind a backslash
    uint8_t angle              # between < and >
    uint8_t counted            # this address has had its @
    int64_t cr_packet
    uint8_t name[NAME_LENGTH]
    uint8_t head[EXCERPT]      # of the line
    uint8_t excerpt[EXCERPT]   # of the line with the first flagged octet
    Text value
    Text dashes                # the head of a line that may be a boundary
    Text dash_packets          # bodies.Held: which packets its octets came in
    int64_t dashes_at          # stream offset of its first octet
    Text type
    Text encoding
    Text disposition
    Text filename
    Text boundaries            # of the open multiparts, back to back
    Piece boundary[MIME_DEPTH]

cdef struct Socks:             # a negotiation before the dialogue (socks), per side
    uint8_t on[2]              # it is not over
    uint8_t read[2]            # octets of it
    uint8_t need[2]            # octets of its second message
    uint8_t methods[2]         # octets of its first message behind the second one

cdef struct Reply:             # of which lines have come
    Text greeting
    uint8_t head[EXCERPT]      # of its first line
    uint8_t head_n
    uint16_t first_code
    uint32_t lines
    int64_t at
    int64_t packet

cdef struct Nested:            # the last MAIL inside a mail (client)
    Text line
    int64_t at
    int64_t ns
    int64_t reply              # offset behind the 2xx that it got, until the client goes on; 0 none
    int32_t ordinal

cdef struct Mark:              # of a text that is read: what tells its end mark (endmark, mailtext)
    uint8_t tail[TAIL]         # the text's last octets
    uint8_t pre                # what stood before a dot that is not decided yet
    uint8_t post_n
    uint8_t post[4]            # what stood behind it so far
    uint8_t border_at
    uint16_t early             # 1 + the code of the first reply inside the text, 0 none: it is the reply to it
    int64_t dot_at             # stream offset of that dot
    int64_t borders[BORDERS]   # starts of the client's last segments
    int64_t border_ns[BORDERS]

cdef union Here:               # in the client's stream
    int64_t asked_end          # WAIT: offset behind the command that waits
    int64_t chunk_left         # CHUNK: octets until its end

cdef struct Talk:
    uint8_t state
    uint8_t greeted            # the greeting has been read
    uint8_t asked              # the verb whose reply WAIT waits for
    uint8_t given
    uint8_t ehlo_pending       # whose reply lists keywords
    uint8_t quiet              # a reply behind a hole: read, but told as one without a code
    uint8_t unsure             # replies may belong to lost commands
    uint8_t chunk_last
    uint8_t chunk_mail         # the chunk's octets are mail text
    uint8_t tls_written
    uint8_t in_reply           # inside a multi-line reply
    uint8_t skip_line[2]       # octets up to the next line end are not looked at
    uint8_t answered           # an EHLO or HELO has been answered
    uint8_t began_late         # picked up mid-stream
    uint8_t new_border         # no line has begun behind the last border
    uint16_t reply_code        # of the open reply
    uint16_t farewell          # the last reply was a 421: the server closes
    uint16_t qhead
    uint16_t qn
    uint16_t qcap
    uint16_t helo_n
    Socks socks
    uint32_t gaps              # of both sides
    int32_t nth                # commands in the segment of the client's present line
    int32_t ordinal
    Pending* queue             # NULL while no command waits
    Line* line[2]              # NULL while none is open
    Reply* reply               # NULL while none is open
    int64_t border             # start of the client's last segment
    int64_t border_ns
    int64_t before             # of the one before it
    int64_t before_ns
    Mail* open                 # takes commands
    Mail* last_mail            # of those that are not written yet, the newest; the others follow it in a ring
    Mark* mark
    Here here
    uint64_t offered           # EHLO keywords by number
    uint32_t txs               # mails begun
    uint32_t commands
    Short helo                 # of helo_n octets
    Standings* standing        # NULL while nothing was fired

cdef struct Key:
    uint8_t lo[16]
    uint8_t hi[16]
    uint16_t lo_port
    uint16_t hi_port
    uint8_t family

cdef enum:          # Kind
    KIND_UNDECIDED = 0
    KIND_SMTP = 1
    KIND_OTHER = 2

cdef struct Conn:
    uint32_t bucket            # next in the hash table's chain (connections: what such a number means)
    uint32_t hash
    Key key
    uint16_t doubt
    uint16_t frames_waited
    uint8_t client             # the side that is the client: 0 = lo, 1 = hi
    uint8_t role_known         # 0 guessed, 1 by port, 2 by SYN or greeting
    uint8_t kind
    uint8_t done               # its records are written; late frames are ignored
    uint8_t picked_up          # waiting for earlier frames
    uint8_t established
    uint8_t closer
    uint8_t reset
    uint8_t ending             # both FINs have come; the rest is waited for no longer than limits.PATIENCE_NS
    uint8_t reuse_seen
    uint32_t reuse_isn         # of a SYN on an open connection
    int64_t last_ns
    int64_t progress_ns        # when new octets last came, from either side
    Talk* talk
    Direction d[2]             # CLIENT, SERVER
    uint64_t first_packet
    int64_t start_ns
    int64_t fin_ns             # when the first FIN came, 0 while there is none
    int64_t moved_ns           # when its place in the list of ages was last looked at; when it was over, or the capture
    uint32_t older             # by last activity
    uint32_t newer
