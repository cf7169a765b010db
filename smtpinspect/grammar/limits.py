"""Every limit of the engine, by name, with its unit and its reason. The core copies them when it is imported."""

from __future__ import annotations

from typing import Final

# --- lines and fields (octets) -------------------------------------------------------------------
KEPT_LINE: Final = 16_384  # head of a command or reply line; RFC 4954 4 allows 12,288 for AUTH
KEPT_FIELD: Final = 16_384  # head of a header field that a report or a rule reads
KEPT_ADDRESS: Final = 1_024  # RFC 5321 4.5.3.1: 256 for a path; four times that is shown
EXCERPT: Final = 64  # octets of evidence in an alert
NAME_LENGTH: Final = 76  # header field name; RFC 5322 2.1.1 leaves 998 for the whole line
BOUNDARY: Final = 255  # RFC 2046 5.1.1 allows 70
VERB_LENGTH: Final = 40  # a longer first word is no verb that any rule names

# --- TCP (octets, segments, nanoseconds) -----------------------------------------------------------
STORED_OCTETS: Final = 1 << 20  # out-of-order octets per direction; a larger window is a gap
STORED_SEGMENTS: Final = 3_072  # Snort 3 stream_tcp queue_limit.max_segments
STORED_TOTAL: Final = 256 << 20  # out-of-order octets of all connections together, looked at every 1,024 frames
UNDECIDED_OCTETS: Final = 16_384  # client octets kept until the server's first octets tell SMTP
UNDECIDED_SEGMENTS: Final = 128  # and segments, which may be empty in a headers-only capture
LARGEST_PAYLOAD: Final = 1 << 20  # one frame: no kernel merges more than 512 KiB (BIG TCP)
PATIENCE_NS: Final = 2_000_000_000  # an acknowledged hole is a gap after this long
PICKUP_FRAMES: Final = 8  # without SYN: frames to wait for an earlier one
PICKUP_NS: Final = 50_000_000  # and time; multi-queue captures shuffle by milliseconds
ACK_AHEAD: Final = 1 << 20  # an acknowledgement further ahead than this is not believed
FAR: Final = 64 << 20  # a segment further ahead than any window in use is stray (RFC 7323 2.3 allows 1 GiB)
FAR_SEGMENTS: Final = 8  # so many in a row are no strays: the capture has a large hole
IDLE_NS: Final = 3_600_000_000_000  # longer than any sender's final time-out (RFC 5321 4.5.3.2.6: 600 s)
LINGER_NS: Final = 120_000_000_000  # a closed connection is remembered for two segment lifetimes
THREADS: Final = 16  # connections are in as many lanes, which threads share
CONNECTIONS: Final = 4_000_000  # connections open at once; the longest idle goes first
REMEMBERED: Final = 65_536  # closed connections of which late frames are known
WIRE_SEGMENT: Final = 1_460  # a larger payload on Ethernet was merged by the capturing host
STALL_NS: Final = 3_000_000_000  # a shorter silence before the client closes is not called a stall

# --- live capture (nanoseconds, octets, mebibytes) -----------------------------------------------------
LIVE_PAUSE_NS: Final = 100_000_000  # between two looks at signals, idle connections and what is to be written
LIVE_RING: Final = 64  # MiB that the kernel fills while nobody reads; at 1 GB/s, 50 ms of standstill
KEPT_TOTAL: Final = 256 << 20  # octets kept of open connections for --write; the longest silent ones go first
KEPT_CONNECTION: Final = 64 << 20  # and of one; servers take mails of 10 to 50 MB
KEPT_FRAGMENTS: Final = 4 << 20  # and of IP fragments between two addresses

# --- dialogue (counts) -------------------------------------------------------------------------------
OUTSTANDING: Final = 1_000  # commands without a reply; Zeek's cap too
RECIPIENTS: Final = 1_000  # kept per mail; further ones are counted (RFC 5321 4.5.3.1.8: at least 100)
ATTACHMENTS: Final = 100  # names kept per mail
BEGIN_LINE: Final = 320  # octets of a uuencode `begin` line: mode and a file name of 255
MIME_DEPTH: Final = 32  # nested multiparts that are followed
ALERTS_PER_RULE: Final = 16  # per mail, or per connection outside mails; the rest is counted
REPLY_LINES: Final = 1_000  # lines of one reply that are looked at

# --- what attachments hold (octets, counts) ------------------------------------------------------------
OLE_CHAIN: Final = 256  # directory sectors of a compound file that are followed: 1,024 entries at least
OLE_CANDIDATES: Final = 32  # sectors with a project's names of which the FAT has not told yet
PE_HEAD: Final = 5_120  # an executable's headers end within these; 96 sections take 3,840 (the loader's limit)
PE_BEHIND: Final = 2_048  # kept before the entry point: a call may go back
PE_IMPORTS: Final = 2_048  # kept around the import directory: that of a packed file is one page at most
PE_SECTIONS: Final = 96  # of a section table that are read
PACKER_ROWS: Final = 320  # rows of grammar.packers, jumps before ASPack's multiplied out
PACKER_PATTERN: Final = 72  # octets of a row's pattern, and of it between two jumps
CONTENT_TOTAL: Final = 64 << 20  # octets that all scans hold, each lane a sixteenth; 110 KiB for each deflated layer
CONTENT_FINDINGS: Final = 16  # of one kind in one part; the kind is then no longer looked for
ARCHIVE_DEPTH: Final = 3  # archives in each other that are opened; what the product does is not known
INFLATED_OCTETS: Final = 2 << 30  # inflated from one mail, in all layers; 600 octets can ask for gigabytes
INFLATE_RATIO: Final = 200  # octets from one compressed octet of a member; deflate gives 1,032 at most
INFLATE_FLOOR: Final = 32 << 20  # inflated octets before the ratio counts; sheets and logs reach it too

# --- stage and phase ---------------------------------------------------------------------------------
SOCKET: Final = 65_536  # octets that a sender's socket takes at once: decides the stage in the text
FIRST_SEGMENT: Final = 1_460  # text octets that count as phase databody; datamid behind

# --- transcript (octets) --------------------------------------------------------------------------
TRANSCRIPT_MESSAGE: Final = 64 << 20  # a longer message is hashed but its parts are not listed

# --- simulate (octets) ----------------------------------------------------------------------------
SCRIPT_OCTETS: Final = 64 << 20  # of each side of the connection that is simulated

# --- captures to show others (octets, counts) -------------------------------------------------------
EXPORT_BLOCK: Final = 17 << 20  # of a block that is copied: the largest record that is read, with its options
EXPORT_FILES: Final = 64  # captures that are open for writing at once
EXPORT_MAILS: Final = 10_000  # captures that --extract writes; a directory with more is slow to list
EXPORT_FRAGMENTS: Final = 4_096  # IP fragments held until it is known whose they are
EXPORT_CASES: Final = 100  # connections that --evidence holds
# --- diagnose (packets, octets, connections) ---------------------------------------------------------
TRACES: Final = 1_024  # connections of a capture whose packets are looked at one by one
TRACE_HEAD: Final = 4_096  # packets kept of a connection: a dialogue, and 5 MB of a text
TRACE_TAIL: Final = 2_048  # and from its end: hours of retransmissions
TRACE_OCTETS: Final = 16 << 20  # of one connection; behind that TRACE_EXCERPT of each packet's payload
TRACES_OCTETS: Final = 128 << 20  # of all connections, likewise
LOOKED_AT: Final = 64  # mails of a capture up to which those that were delivered are looked at, too
LOOKED_AT_OCTETS: Final = 32 << 20  # and octets of their connections: a second's work
TRACES_PACKETS: Final = 400_000  # of all connections; behind that TRACE_FEW of the begin and of the end of each
TRACE_FEW: Final = 64  # packets: a short dialogue, and how it ended
TRACE_STEPS: Final = 10_000  # commands of a connection that are read; none sends as many
CLOSERS: Final = 64  # FINs and RSTs of a connection that are compared with what came before
TRACE_EXCERPT: Final = 256  # holds a command line, and what a page quotes
# --- diagnose (counts) ----------------------------------------------------------------------------
DIAGNOSED_FAILED: Final = 2_000  # mails that are explained; a page of more would not be read
DIAGNOSED_ACCEPTED: Final = 50_000  # mails that are compared with these; some 6 KB each
DIAGNOSED_READINGS: Final = 2_000  # failures of a log that are told one by one; the sums count all
CONTRAST_PATHS: Final = 20_000  # of which accepted and cut mails are compared; some 10 KB each at most
CONTRAST_RULES: Final = 256  # of a path, that accepted mails trip
CONTRAST_NAMED: Final = 3  # of these mails, that a page names
PATH_CASES: Final = 2_000  # of one path, with which a broken mail is compared
BOUNCE_PARTS: Final = 100  # of one bounce that are looked at; a report has three
BOUNCE_QUOTED: Final = 1_000  # characters of a reply, or of a Message-ID, that it quotes; a line has 998 (RFC 5322)
BOUNCE_RECIPIENTS: Final = 1_000  # of one bounce that are read
PATH_SIGNS: Final = 8  # of a kind that are kept for a path
DIFFERENCE_OCTETS: Final = 2_048  # of a difference between two points that are kept
DIFFERENCE_PACKETS: Final = 16  # of a difference that are named, at each point
PATH_TRACES: Final = 32  # of the same path, whose packets are compared with those of a broken mail
RELAXED_RULES: Final = 8  # switched off together; a mail that trips more wants the inspection off
COPY_NS: Final = 100_000_000  # between a packet and its copy at the next interface: a full queue; no RTO is as short
COPY_PACKETS: Final = 256  # of a connection that are compared with what follows: what such a queue holds
TAPS: Final = 64  # places where packets of a connection were seen: interfaces, links, TTLs
READ_AGAIN: Final = 1_000_000  # frames before the last one of a connection that is read once more, by itself
TRACE_NOTICES: Final = 64  # ICMP errors about a connection that are kept
SACK_BLOCKS: Final = 256  # of one direction of a connection that are kept
DIAGNOSED_ALERTS: Final = 512  # of one mail that is explained
MEASURED_WORDS: Final = 256  # verbs, addresses, types of a connection that are told apart
MEASURED_HEADER: Final = 65_536  # octets of a header whose fields are read; MTAs take some 32 KiB
MEASURED_MAILS: Final = 16  # accepted mails of a path whose octets are measured
# --- diagnose (octets, counts) ---------------------------------------------------------------------
DIALOGUE_HEAD: Final = 8_192  # octets of a server in which its greeting and its keywords are looked for
HEARD_MAILS: Final = 1_000  # of one connection, kept until it is over; of the ones before the MTA is not told
SERVER_GREETINGS: Final = 4  # of one server that are compared: it says the same, but for the time
SERVER_KEYWORDS: Final = 256  # of one server that are counted: none has as many
COUNTED_KEYS: Final = 10_000  # destinations, domains, hours that a sum tells apart; the rest is one
MESSAGE_PIECE: Final = 65_536  # of a stored message that are read at once; a longer line comes in parts
ANONYMISED_INFLATED: Final = 256 << 20  # inflated from one such file, in all layers: two seconds
ANONYMISED_FILE: Final = 16 << 20  # of base64 that are replaced as one file; what follows is one by itself

# --- a firewall's configuration --------------------------------------------------------------------
CONFIG_OCTETS: Final = 16 << 20  # a running-config with 200,000 access-list lines stays below
CONFIG_LINE: Final = 16_384  # characters of a line that are read; the devices' own command lines are shorter
CONFIG_QUOTED: Final = 120  # characters of a line that a report quotes
CONFIG_LINES: Final = 4_096  # lines of a sort that a report holds
CONFIG_PORTS: Final = 64  # ports of one class or range that are looked at
CONFIG_TOKENS: Final = 200_000  # of a JSON text whose lines are told; a body of settings has some hundred
CONFIG_PARTS: Final = 1_024  # contexts, and match lines of one map; a firewall has 250 contexts at most

# --- vendor logs (octets, counts) ------------------------------------------------------------------
LOG_LINE: Final = 1_024  # RFC 3164 4.1: a syslog packet
LOG_READ: Final = 8_192  # RFC 5425 4.3.1: what a reader of syslog should take; a longer line is not read
LOG_SEGMENTS: Final = 64  # segments of a connection and side of which is known that they have their line

# --- several captures of one path (octets, counts) ---------------------------------------------------
POINT_OCTETS: Final = 16 << 20  # of each side of a connection that are compared
POINT_CHANGES: Final = 4_096  # steps of such a comparison
POINT_CASES: Final = 64  # connections that are compared: those that failed first
SHARED_FRAMES: Final = 200_000  # of each of several captures in which a handshake that another has is looked for
POINT_LINES: Final = 512  # lines of a connection by which it is found at another point
LOG_JOINED: Final = 4_096  # lines of a firewall's log about one connection
# --- a mail server's log (characters, counts) ---------------------------------------------------------
MAIL_LOG_LINE: Final = 4_096  # of a line that are read; syslog daemons cut at 1 to 8 KiB, phrases stand before
PASTED: Final = 1 << 20  # characters of lines that are given as such; a command line has no more
MAIL_LOG_HEAD: Final = 16_384  # octets of a file that tell whether it is a log
MAIL_LOG_MAILS: Final = 100_000  # mails of which size and sender are remembered, the latest ones
MAIL_LOG_PENDING: Final = 10_000  # attempts whose last line has not come
BOUNCE_OCTETS: Final = 4 << 20  # of a bounce that are read; the mail that came back may follow
MONTH_HOSTS: Final = 10_000  # destinations that a month of logs is grouped by; the rest is one group
MONTH_MAILS: Final = 200_000  # mails that have failed and may still be delivered; the first ones are settled
MONTH_DAYS: Final = 400  # of one destination
MONTH_ADDRESSES: Final = 16  # of one destination that are counted by themselves
