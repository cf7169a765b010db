"""Targets: each makes a capture from a random.Random, and nothing else."""

from __future__ import annotations

import base64
import binascii
import quopri
import re
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from random import Random

from fuzz import parts
from kit import capture, link, mutate, wire
from kit.dialogue import DELIVERY, Turn, octets_of, parse
from kit.files import file_of
from kit.segment import ACK, FIN, PSH, RST, SYN, URG, Segment

TESTS = Path(__file__).parent.parent
PCAPS = (TESTS.parent / "pcaps", TESTS.parent.parent / "shared" / "pcaps-public")
BIG = 60_000  # octets of a stored capture that mutation takes
NEAR = 1 << 22  # stream offset up to which octets are sent again
TARGETS: dict[str, Callable[[Random], bytes]] = {}


def target(made: Callable[[Random], bytes]) -> Callable[[Random], bytes]:
    TARGETS[made.__name__.removeprefix("of_")] = made
    return made


# --- seeds ---------------------------------------------------------------------------------------


@cache
def stored() -> tuple[bytes, ...]:
    """Small captures from files; those that are not there are not missed."""
    found = [p for folder in PCAPS if folder.is_dir() for p in sorted(folder.glob("*.pcap*"))]
    return tuple(p.read_bytes() for p in found if p.stat().st_size <= BIG) or (capture_of(parse(DELIVERY)),)


@cache
def dialogues() -> tuple[tuple[Turn, ...], ...]:
    """The dialogues of the transcript documents."""
    found = [tuple(parse(DELIVERY))]
    for path in sorted((TESTS / "transcripts").glob("*/*.md")):
        for block in re.findall(r"```dialogue\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL):
            turns = tuple(parse(block))
            if sum(len(t.octets) for t in turns) < 12_000:
                found.append(turns)
    return tuple(found)


# --- from turns to a capture ------------------------------------------------------------------------


def capture_of(turns: Sequence[Turn], ends: wire.Ends = wire.V4, mss: int = 1460) -> bytes:
    return written(wire.build(turns, mss=mss), ends)


def written(segments: Sequence[Segment], ends: wire.Ends = wire.V4, kind: str = "pcap", how: str = "ethernet") -> bytes:
    """A capture file in the order of the segments."""
    made = link.LINKS[how]
    items = capture.records(wire.packets(segments, ends), made)
    return capture.pcap(items, link=made.number) if kind == "pcap" else capture.pcapng(items, link=made.number)


def arrived(rng: Random, turns: Sequence[Turn], wild: int = 2) -> bytes:
    """The turns as a capture, cut anywhere, and as often mistreated as `wild` says."""
    octets = sum(len(t.octets) for t in turns)
    mss = max(rng.choice([1, 2, 7, 60, 536, 1460, 1460, 9000]), octets // 1500 + 1)
    isns = {
        "client_isn": rng.choice([0, 1000, 2**32 - 40, rng.getrandbits(32)]),
        "server_isn": rng.getrandbits(32),
    }
    segments = wire.build(
        turns,
        mss=mss,
        handshake=rng.random() > 0.15,
        close=rng.choice(["fin", "fin", "rst", "none"]),
        step=rng.choice([1e-6, 1e-3, 1e-3, 0.3, 5.0]),
        only=rng.choice([None] * 8 + ["C", "S"]),
        **isns,
    )
    for _ in range(rng.randrange(wild + 1)):
        if segments:
            segments = rng.choice(MISTREATMENTS)(rng, segments)
    ends = rng.choice([wire.V4, wire.V4, wire.V6, wire.Ends(server_port=8025), wire.Ends(client_port=25)])
    return written(segments, ends, rng.choice(["pcap", "pcapng"]), rng.choice(["ethernet", "ethernet", "raw", "sll2"]))


def holes(rng: Random, segments: list[Segment]) -> list[Segment]:
    """Some octets of one side are not in the capture, or some segments."""
    if rng.random() < 0.5:
        return mutate.dropped(segments, lambda _, s: s.data and rng.random() < 0.15)
    data = [s for s in segments if s.data]
    if not data:
        return segments
    s = rng.choice(data)
    try:
        at = mutate.offset(s, mutate.bases(segments)) + rng.randrange(len(s.payload))
        return mutate.without(segments, s.direction, at, at + rng.choice([1, 2, 10, 2000]))
    except (KeyError, ValueError):
        return segments


def torn(rng: Random, segments: list[Segment]) -> list[Segment]:
    """The capture length cut octets off."""
    return [
        s.but(payload=s.payload[:keep], cut=len(s.payload) - keep)
        if s.data and rng.random() < 0.2 and (keep := rng.randrange(len(s.payload))) < len(s.payload)
        else s
        for s in segments
    ]


def jumped(rng: Random, segments: list[Segment]) -> list[Segment]:
    """Numbers and flags of chance in a few segments."""
    result = list(segments)
    for _ in range(rng.randrange(1, 4)):
        i = rng.randrange(len(result))
        s = result[i]
        far = rng.choice([1, -1, 7, 1460, 1 << 16, 1 << 20, 1 << 26, 1 << 30, -(1 << 31), rng.getrandbits(32)])
        change = rng.randrange(5)
        if change == 0:
            s = s.but(seq=(s.seq + far) & wire.MASK)
        elif change == 1:
            s = s.but(ack=(s.ack + far) & wire.MASK)
        elif change == 2:
            s = s.but(flags=s.flags ^ rng.choice([SYN, FIN, RST, ACK, PSH, URG, SYN | ACK, 63]))
        elif change == 3:
            s = s.but(direction="S" if s.direction == "C" else "C")
        else:
            s = s.but(flags=SYN | rng.choice([0, ACK]), seq=rng.getrandbits(32))
        result[i] = s
        if change < 3 and rng.random() < 0.3:  # from here on
            d = s.direction
            result[i:] = [x.but(seq=(x.seq + far) & wire.MASK) if x.direction == d else x for x in result[i:]]
    return result


def overlapped(rng: Random, segments: list[Segment]) -> list[Segment]:
    """Copies that say something else, before or behind the true ones."""
    extra = []
    for i, s in enumerate(segments):
        if s.data and rng.random() < 0.2:
            first, size = rng.randrange(-20, len(s.payload)), rng.randrange(1, len(s.payload) + 40)
            copy = s.but(seq=(s.seq + first) & wire.MASK, payload=rng.randbytes(size), flags=ACK | PSH)
            extra.append((max(0, i + rng.randrange(-3, 4)), copy))
    return mutate.placed(segments, extra)


def timed(rng: Random, segments: list[Segment]) -> list[Segment]:
    """Clocks that stand, jump, and run backwards."""
    at = rng.choice([0.0, wire.START, 4e9])
    result = []
    for s in segments:
        at += rng.choice([0, 0, 1e-3, 0.5, 3, 700, -2, 4000])
        result.append(s.but(time=max(0.0, at)))
    return result


def shuffled(rng: Random, segments: list[Segment]) -> list[Segment]:
    if rng.random() < 0.3:
        return rng.sample(segments, len(segments))
    return mutate.reordered(segments, rng, rng.choice([2, 5, 40]), handshake=rng.random() < 0.3)


def twice(rng: Random, segments: list[Segment]) -> list[Segment]:
    """The same ends again, with other numbers: a new connection on a known pair."""
    add = rng.choice([0, 5000, rng.getrandbits(32)])
    late = segments[-1].time + rng.choice([0.1, 200.0])
    again = [
        s.but(
            seq=(s.seq + add) & wire.MASK,
            ack=(s.ack + add) & wire.MASK,
            time=s.time - segments[0].time + late,
        )
        for s in segments
    ]
    return [*segments[: rng.randrange(1, len(segments) + 1)], *again]


def resent(rng: Random, segments: list[Segment]) -> list[Segment]:
    """Octets sent again with other borders, where numbers have not jumped: the copies need all octets in between."""
    base = mutate.bases(segments)
    near = all(mutate.offset(s, base) < NEAR for s in segments if s.data)
    return mutate.retransmitted(segments, rng) if near and any(s.data for s in segments) else segments


MISTREATMENTS: tuple[Callable[[Random, list[Segment]], list[Segment]], ...] = (
    holes,
    torn,
    jumped,
    overlapped,
    timed,
    shuffled,
    twice,
    lambda rng, s: mutate.random_cuts(s, rng, rng.choice([0.01, 0.2])),
    lambda rng, s: mutate.duplicated(s, rng),
    resent,
)


# --- octets of a dialogue ---------------------------------------------------------------------------

# fmt: off
COMMANDS = (
    b'EHLO a.example', b'HELO a', b'LHLO a', b'MAIL FROM:<a@b.example>',
    b'MAIL FROM:<> SIZE=10 BODY=8BITMIME', b'MAIL FROM:<a', b'b@c>', b'MAIL FROM:<"a\\"b>"@c> SMTPUTF8',
    b'MAIL FROM:<@r.example:a@b>', b'MAIL FROM:', b'MAIL FROM', b'RCPT TO:<a@b.example>', b'RCPT TO:a@b',
    b'RCPT TO:<a@b>c>', b'RCPT TO:<', b'RCPT TO:', b'RCPT', b'DATA', b'DATA x', b'BDAT 5', b'BDAT 0',
    b'BDAT 0 LAST', b'BDAT 20 LAST', b'BDAT 3 last', b'BDAT', b'BDAT -1', b'BDAT 999999999999999999 LAST',
    b'BDAT 99999999999999999999', b'RSET', b'QUIT', b'NOOP', b'NOOP x', b'VRFY a', b'EXPN b', b'HELP',
    b'AUTH PLAIN AAAA', b'AUTH LOGIN', b'AUTH CRAM-MD5', b'X-EXPS NTLM', b'*', b'STARTTLS',
    b'X-ANONYMOUSTLS', b'XEXCH50 12 2', b'XEXCH50 0 0', b'TURN', b'ETRN a', b'XFOO', b'.', b'..', b' NOOP',
    b'\tNOOP', b'', b'PROXY TCP4 192.0.2.1 192.0.2.2 1 25', b'GET / HTTP/1.1', b'From: a@b', b'--b',
    b'\xff\xfe', b'\x00',
)
REPLIES = (
    b'220 mx.example ESMTP', b'220-two\r\n220 lines', b'220 ****0*2***', b'554 no', b'250 ok', b'250',
    b'250-mx\r\n250-SIZE 1000\r\n250-CHUNKING\r\n250-PIPELINING\r\n250-STARTTLS\r\n250-AUTH=LOGIN\r\n250 8BITMIME',
    b'250-open', b'250 2.0.0 Ok', b'354 go on', b'334 VXNlcm5hbWU6', b'334', b'235 ok', b'221 bye',
    b'421 4.4.2 timeout', b'450 later', b'500 what', b'502 no', b'503 5.5.1 bad', b'535 no',
    b'550 5.7.1 no', b'OK', b'ok then', b'2', b'22', b'999 x', b'000', b'354-x\r\n354 y', b'220 go TLS',
    b'', b'\xff\xff\xff', b'25O ok', b'250-mx\r\n\r\n250 x', b'250-mx\r\nnonsense\r\n250 x', b'-1',
    b'250\t x',
)
# fmt: on
ENDS = (b"\r\n", b"\r\n", b"\r\n", b"\r\n", b"\n", b"\r", b"\r\r\n", b"", b"\0\r\n")
LENGTHS = (
    0,
    1,
    63,
    64,
    76,
    77,
    255,
    256,
    259,
    509,
    510,
    511,
    512,
    513,
    997,
    998,
    999,
    1000,
    1024,
    2047,
    4095,
    4096,
    4097,
    16383,
    16384,
    16385,
    20000,
)


def flipped(rng: Random, octets: bytes, most: int = 6) -> bytes:
    """A few octets changed, cut out, doubled or put in."""
    made = bytearray(octets)
    for _ in range(rng.randrange(1, most + 1)):
        if not made:
            return bytes(made)
        at = rng.randrange(len(made))
        what = rng.randrange(6)
        if what == 0:
            made[at] ^= 1 << rng.randrange(8)
        elif what == 1:
            made[at] = rng.choice([0, 9, 10, 13, 32, 34, 39, 42, 45, 46, 58, 59, 61, 92, 127, 128, 255])
        elif what == 2:
            del made[at : at + rng.choice([1, 1, 2, 8, 100])]
        elif what == 3:
            made[at:at] = rng.choice(
                [b"\r\n", b"\n", b"\r", b".", b"\r\n.\r\n", b"\0", rng.randbytes(rng.randrange(9))]
            )
        elif what == 4:
            size = rng.randrange(1, 200)
            made[at:at] = made[at : at + size]
        else:
            made[at : at + 4] = rng.choice([b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", rng.randbytes(4)])
    return bytes(made)


def long_word(rng: Random) -> bytes:
    return rng.choice([b"a", b"\xff", b"\0", b"<", b"=", b" x", b"*0", b"\r", b'"', b"\\"]) * rng.choice(LENGTHS)


def command(rng: Random) -> bytes:
    line = rng.choice(COMMANDS)
    if rng.random() < 0.12:
        line += long_word(rng)
    if rng.random() < 0.1:
        line = flipped(rng, line, 2)
    return line + rng.choice(ENDS)


def reply(rng: Random) -> bytes:
    line = rng.choice(REPLIES)
    if rng.random() < 0.05:
        line += b" " + long_word(rng)
    return line + rng.choice(ENDS)


def fitting(rng: Random, line: bytes) -> bytes:
    """A reply that mostly goes with the command."""
    if rng.random() < 0.15:
        return reply(rng)
    word = line[:4].upper()
    if word == b"DATA" or word == b"XEXC":
        return rng.choice([b"354 go\r\n", b"354 go\r\n", b"554 no\r\n"])
    if word == b"AUTH" or word == b"X-EX":
        return rng.choice([b"334 x\r\n", b"235 ok\r\n", b"535 no\r\n"])
    if word == b"EHLO":
        return b"250-mx\r\n250-SIZE 1000\r\n250-CHUNKING\r\n250-STARTTLS\r\n250 PIPELINING\r\n"
    if word == b"STAR":
        return rng.choice([b"220 go\r\n", b"454 no\r\n"])
    return rng.choice([b"250 ok\r\n", b"250 ok\r\n", b"550 no\r\n"])


def begun(rng: Random) -> list[Turn]:
    """A greeting, and mostly an EHLO."""
    turns = [Turn("S", b"220 mx.example ESMTP\r\n")]
    if rng.random() < 0.8:
        turns += [Turn("C", b"EHLO a.example\r\n"), Turn("S", fitting(rng, b"EHLO"))]
    return turns


def mailed(rng: Random, text: bytes) -> list[Turn]:
    """A mail with this text on the wire, by DATA or in chunks."""
    turns = [*begun(rng), Turn("C", b"MAIL FROM:<a@b.example> SIZE=100\r\n"), Turn("S", b"250 ok\r\n")]
    turns += [Turn("C", b"RCPT TO:<c@d.example>\r\n"), Turn("S", b"250 ok\r\n")]
    if rng.random() < 0.7:
        turns += [
            Turn("C", b"DATA\r\n"),
            Turn("S", b"354 go\r\n"),
            Turn("C", text + b"\r\n.\r\n"),
            Turn("S", b"250 ok\r\n"),
        ]
    else:
        cut = rng.randrange(len(text) + 1)
        turns += [
            Turn("C", b"BDAT %d\r\n" % cut + text[:cut] + b"BDAT %d LAST\r\n" % (len(text) - cut) + text[cut:]),
            Turn("S", b"250 ok\r\n250 ok\r\n"),
        ]
    return [*turns, Turn("C", b"QUIT\r\n"), Turn("S", b"221 bye\r\n")]


# --- the targets --------------------------------------------------------------------------------------


@target
def of_capture(rng: Random) -> bytes:
    """Octets of a capture file."""
    return flipped(rng, rng.choice(stored()), rng.choice([2, 10, 60]))


@target
def of_frames(rng: Random) -> bytes:
    """Octets of link, IP and TCP headers, the file itself being whole."""
    ends = rng.choice([wire.V4, wire.V6])
    segments = wire.build(rng.choice(dialogues()))
    items = []
    for r in capture.records(wire.packets(segments, ends)):
        frame = r.frame
        if rng.random() < 0.2:
            frame = flipped(rng, frame[:74], 3) + frame[74:]
        length = rng.choice([r.length] * 9 + [len(frame) + rng.getrandbits(rng.choice([4, 16]))])
        items.append(capture.Record(r.time, frame, max(length, len(frame))))
        if rng.random() < 0.05:
            items.append(items[rng.randrange(len(items))])
    return capture.pcap(items)


@target
def of_segments(rng: Random) -> bytes:
    """Segments of a dialogue: overlaps, holes, jumps, flags, clocks."""
    return arrived(rng, rng.choice(dialogues()), wild=5)


@target
def of_client(rng: Random) -> bytes:
    """The client's octets; the server answers as servers do, or not at all."""
    turns = begun(rng)
    for _ in range(rng.randrange(1, 25)):
        line = command(rng)
        turns.append(Turn("C", line))
        if rng.random() < 0.8:
            turns.append(Turn("S", fitting(rng, line)))
        if line[:4] == b"DATA" or rng.random() < 0.1:
            turns.append(Turn("C", rng.choice(texts(rng)) + rng.choice([b"\r\n.\r\n", b".\r\n", b"\n.\n", b"\r\n."])))
            turns.append(Turn("S", b"250 ok\r\n"))
    return arrived(rng, turns)


@target
def of_server(rng: Random) -> bytes:
    """The server's octets, whatever the client says."""
    turns = [Turn("S", reply(rng))] if rng.random() < 0.9 else []
    plain = [
        b"EHLO a\r\n",
        b"MAIL FROM:<a@b>\r\n",
        b"RCPT TO:<c@d>\r\n",
        b"DATA\r\n",
        b"A: b\r\n\r\nx\r\n.\r\n",
        b"QUIT\r\n",
    ]
    for line in plain * rng.randrange(1, 4):
        turns += [
            Turn("C", line),
            Turn("S", b"".join(reply(rng) for _ in range(rng.choice([0, 1, 1, 1, 2, 5])))),
        ]
    return arrived(rng, [t for t in turns if t.octets])


@target
def of_both(rng: Random) -> bytes:
    """Both sides at random, in any order."""
    turns = [Turn("C", command(rng)) if rng.random() < 0.5 else Turn("S", reply(rng)) for _ in range(rng.randrange(40))]
    turns = [t for t in turns if t.octets]
    return arrived(rng, [Turn("S", b"220 mx\r\n"), *turns] if rng.random() < 0.7 else turns, wild=3)


@target
def of_mutated(rng: Random) -> bytes:
    """Whole dialogues with a few octets changed."""
    turns = [
        Turn(t.side, flipped(rng, t.octets, 3), t.wait) if rng.random() < 0.3 else t for t in rng.choice(dialogues())
    ]
    return arrived(rng, [t for t in turns if t.octets])


def header_field(rng: Random) -> bytes:
    name = rng.choice(
        [
            b"Subject",
            b"From",
            b"To",
            b"X-A",
            b"Message-ID",
            b"Content-Type",
            b"Content-Disposition",
            b"Content-Transfer-Encoding",
        ]
    )
    value = rng.choice(
        [
            b'a@b, <c@d>, "e\\", f',
            b"=?utf-8?q?a?=",
            b"=?utf-8?b?a?=",
            b"\xff\xc3\xa9\xc3",
            b"base64",
            b"\0\x01\x7f",
            b"a\r\n b\r\n\tc",
            b"message/rfc822",
        ]
    )
    if rng.random() < 0.3:
        value = rng.choice([b"attachment", b"text/plain", b"multipart/mixed"]) + params(rng)
    if rng.random() < 0.08:
        value += long_word(rng)
    return (
        name
        + rng.choice([b": ", b":", b" : ", b"", b":\r\n "])
        + value
        + rng.choice([b"\r\n"] * 6 + [b"\n", b"\r", b"\r\r\n"])
    )


def params(rng: Random) -> bytes:
    made = b""
    for _ in range(rng.randrange(6)):
        name = rng.choice([b"name", b"filename", b"boundary", b"charset", b"NAME ", b"x", b""])
        name += rng.choice([b"", b"", b"*", b"*0", b"*0*", b"*1", b"*1*", b"*00", b"*99999999999999999999", b"**"])
        value = rng.choice(
            [
                b"a",
                b'"a b"',
                b'"a\\"b',
                b"utf-8''%e2%82%ac.exe",
                b"'''",
                b"%",
                b"%4",
                b"%zz",
                b'""',
                b'"',
                b"\\",
                b"",
                b"b  ",
                b'"b "',
                b"a\r\n b",
            ]
        )
        if rng.random() < 0.05:
            value += long_word(rng)
        made += (
            rng.choice([b"; ", b";", b" ;\r\n ", b";;"]) + name + rng.choice([b"=", b"=", b" = ", b"==", b""]) + value
        )
    return made


def multipart(rng: Random, depth: int = 0) -> bytes:
    mark = rng.choice(
        [b"b", b"b" * (depth + 1), b"=_%d" % depth, b"b" * rng.choice([70, 254, 255, 256]), b"b ", b"b--"]
    )
    quoted = rng.choice([mark, b'"' + mark + b'"'])
    made = b"Content-Type: multipart/mixed; boundary=" + quoted + b"\r\n\r\n"
    for _ in range(rng.randrange(4)):
        made += rng.choice([b"", b"preamble\r\n", b"--\r\n", b"-" * 300 + b"\r\n"]) + b"--" + mark
        made += rng.choice([b"\r\n", b"\r\n", b"\n", b" \t\r\n", b"--\r\n", b"x\r\n", b"\r"])
        if rng.random() < 0.4 and depth < 40:
            made += multipart(rng, depth + 1)
        else:
            made += (
                b"".join(header_field(rng) for _ in range(rng.randrange(4)))
                + b"\r\n"
                + rng.choice([b"x\r\n", b"", b"--", b"-"])
            )
    return made + rng.choice([b"--" + mark + b"--\r\n", b""])


def nested(rng: Random) -> bytes:
    """Deeper than is followed."""
    depth = rng.choice([5, 31, 32, 33, 60, 300])
    if rng.random() < 0.3:
        return b"Content-Type: message/rfc822\r\n\r\n" * depth + b"Subject: deep\r\n\r\nx"
    made = b""
    for i in range(depth):
        mark = b"p" * (i % 60 + 1) if rng.random() < 0.5 else b"p%d" % i
        made += b"Content-Type: multipart/mixed; boundary=" + mark + b"\r\n\r\n--" + mark + b"\r\n"
    return made + b"\r\nx\r\n--p--\r\n--pp\r\n\r\n"


def texts(rng: Random) -> list[bytes]:
    """Texts of a mail, one of each kind."""
    headers = b"".join(header_field(rng) for _ in range(rng.randrange(8)))
    pieces = [b"\r\n", b"\r", b"\n", b".", b".", b"\0", b"x", b"--", b"\r\n.\r\n"]
    return [
        headers + b"\r\n" + b"x" * rng.choice(LENGTHS) + b"\r\n",
        headers + multipart(rng),
        nested(rng),
        b"".join(rng.choice(pieces) for _ in range(rng.randrange(60))),
        headers + b"\r\n" + base64.encodebytes(rng.randbytes(200)).replace(b"\n", b"\r\n"),
        rng.randbytes(rng.randrange(400)),
    ]


@target
def of_mime(rng: Random) -> bytes:
    """Headers, parameters, boundaries, nesting, folds."""
    text = rng.choice(texts(rng)[:3])
    if rng.random() < 0.3:
        text = flipped(rng, text, 5)
    return arrived(rng, mailed(rng, text), wild=1)


def attached(rng: Random) -> bytes:
    """A part with a file of chance, in some encoding or another."""
    octets = file_of(rng)[:12_000]
    encoding = rng.choice([b"base64"] * 4 + [b"quoted-printable", b"8bit", b"x-uuencode"])
    if encoding == b"base64":
        lines = base64.b64encode(octets)
        n = rng.choice([1, 3, 4, 76, 76, 76, 990])
        body = b"\r\n".join(lines[i : i + n] for i in range(0, len(lines), n)[:600])
    elif encoding == b"quoted-printable":
        body = quopri.encodestring(octets).replace(b"\n", b"\r\n")
    elif encoding == b"x-uuencode":
        lines = b"".join(binascii.b2a_uu(octets[i : i + 45]) for i in range(0, len(octets), 45))
        body = b"begin 644 a.zip\r\n" + lines.replace(b"\n", b"\r\n") + b"`\r\nend\r\n"
    else:
        body = octets
    if rng.random() < 0.3:
        body = flipped(rng, body, 3)
    head = b'Content-Type: application/zip; name="a.zip"\r\nContent-Transfer-Encoding: ' + encoding
    return head + b"\r\n\r\n" + body.replace(b"\r\n.", b"\r\n..")


@target
def of_content(rng: Random) -> bytes:
    """Attachments: archives, documents and programs, whole and damaged."""
    parts = [attached(rng) for _ in range(rng.randrange(1, 4))]
    text = parts[0]
    if len(parts) > 1 or rng.random() < 0.5:
        text = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n"
        text += b"\r\n--b\r\n".join(parts) + b"\r\n--b--"
    return arrived(rng, mailed(rng, text), wild=1)


def encoded(rng: Random, octets: bytes) -> tuple[bytes, bytes]:
    """A transfer encoding by its name, and the octets in it; it may be another."""
    made = {
        b"base64": base64.encodebytes(octets).replace(b"\n", rng.choice([b"\r\n", b"\r\n", b"\n", b" =\r\n"])),
        b"quoted-printable": binascii.b2a_qp(octets, istext=rng.random() < 0.5).replace(b"\n", b"\r\n"),
        b"x-uuencode": b"begin 644 a\r\n"
        + b"".join(binascii.b2a_uu(octets[i : i + 45]) for i in range(0, len(octets), 45)).replace(b"\n", b"\r\n")
        + rng.choice([b"`\r\nend\r\n", b"end\r\n", b""]),
        b"8bit": octets,
    }
    name = rng.choice([*made])
    return (rng.choice([*made, b"x-foo", b""]) if rng.random() < 0.1 else name), made[name]


@target
def of_attachments(rng: Random) -> bytes:
    """Archives, documents and programs, broken or not, in parts of every encoding."""
    text = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" if rng.random() < 0.8 else b""
    for _ in range(rng.randrange(1, 4)):
        octets = file_of(rng)[:40_000]
        if rng.random() < 0.5:
            octets = flipped(rng, octets, 4)
        how, made = encoded(rng, octets)
        if rng.random() < 0.3:
            made = flipped(rng, made, 3)
        kind = rng.choice([b"application/zip; name=a.zip", b"text/plain", b"message/rfc822", b""])
        text += b"--b\r\n" + (b"Content-Type: " + kind + b"\r\n" if kind else b"")
        text += b"Content-Transfer-Encoding: " + how + b"\r\n\r\n" + made + rng.choice([b"\r\n", b"\r\n", b""])
    text += rng.choice([b"--b--\r\n", b"--b", b"\r\n", b"begin 644 y\r\nM"])
    return arrived(rng, mailed(rng, re.sub(rb"(?m)^\.", b"..", text)), wild=1)


@target
def of_end_mark(rng: Random) -> bytes:
    """Dots and line ends of every kind in a text."""
    return arrived(rng, mailed(rng, b"A: b\r\n\r\n" + texts(rng)[3]), wild=1)


@target
def of_lines(rng: Random) -> bytes:
    """Lines around every limit, on both sides and in the text."""
    turns = [
        Turn("S", b"220 " + long_word(rng) + b"\r\n"),
        Turn("C", b"EHLO " + long_word(rng) + rng.choice(ENDS)),
    ]
    turns += [Turn("S", b"250-" + long_word(rng) + b"\r\n250 " + long_word(rng) + b"\r\n")]
    for _ in range(rng.randrange(4)):
        turns += [
            Turn("C", rng.choice(COMMANDS) + long_word(rng) + rng.choice(ENDS)),
            Turn("S", b"250 " + long_word(rng) + b"\r\n"),
        ]
    text = b"".join(
        rng.choice([b"Subject: ", b" ", b"\t", b"X-A: ", b"\r\n", b""]) + long_word(rng) + b"\r\n" for _ in range(4)
    )
    return arrived(rng, turns + mailed(rng, text)[1:], wild=1)


@target
def of_bdat(rng: Random) -> bytes:
    """Chunks whose sizes tell the truth, or not."""
    octets, answers = b"", b""
    for _ in range(rng.randrange(1, 10)):
        octets += rng.choice([b"", b"", b"MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\n", b"RSET\r\n", b"DATA\r\n", b"NOOP\r\n"])
        size = rng.choice([0, 1, 5, 30, 3000])
        said = rng.choice(
            [b"%d" % size] * 6
            + [b"%d" % (size + 1), b"0%d" % size, b"-%d" % size, b"%d000000000000" % size, b"1e3", b"0x1"]
        )
        octets += b"BDAT " + said + rng.choice([b"", b" LAST", b" last", b" LAST x", b"\tLAST"]) + rng.choice(ENDS)
        octets += rng.choice([b"A: b\r\n\r\n.\r\n", b"\xff", b"\r\n"]) * size
        answers += rng.choice([b"250 ok\r\n", b"250 ok\r\n", b"503 no\r\n", b""])
        octets = octets[:40_000]
    return arrived(
        rng,
        [
            *begun(rng),
            Turn("C", b"MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\n" + octets),
            Turn("S", b"250 ok\r\n" * 2 + answers),
        ],
    )


@target
def of_auth(rng: Random) -> bytes:
    """AUTH dialogues, and what looks like commands in them."""
    turns = begun(rng)
    for _ in range(rng.randrange(1, 6)):
        turns += [
            Turn(
                "C",
                rng.choice([b"AUTH LOGIN\r\n", b"AUTH PLAIN\r\n", b"AUTH\r\n", b"X-EXPS NTLM\r\n", command(rng)]),
            )
        ]
        for _ in range(rng.randrange(4)):
            turns += [
                Turn(
                    "S",
                    rng.choice([b"334 x\r\n"] * 4 + [b"235 ok\r\n", b"334\r\n", b"334-a\r\n334 b\r\n", reply(rng)]),
                )
            ]
            turns += [
                Turn(
                    "C",
                    rng.choice([b"AAAA\r\n", b"*\r\n", b"QUIT\r\n", b"\r\n", b"DATA\r\n", long_word(rng) + b"\r\n"]),
                )
            ]
        turns += [Turn("S", rng.choice([b"235 ok\r\n", b"535 no\r\n"]))]
    return arrived(rng, [t for t in turns if t.octets])


@target
def of_socks(rng: Random) -> bytes:
    """A SOCKS5 negotiation before the dialogue, on a port that says nothing."""
    methods = rng.randbytes(rng.choice([0, 1, 2, 30, 255]))
    kind = rng.choice([1, 3, 4, 9])
    name = rng.randbytes(rng.choice([0, 1, 16, 255]))
    address = {1: rng.randbytes(4), 4: rng.randbytes(16), 3: bytes([len(name)]) + name}.get(kind, b"xy") + b"\0\x19"
    bound = rng.choice([b"\1" + bytes(6), b"\4" + bytes(18), b"\3\0" + bytes(2), b"\3\5" + bytes(7)])
    turns = [
        Turn("C", b"\5" + bytes([len(methods)]) + methods),
        Turn("S", b"\5" + rng.choice([b"\0", b"\0", b"\2", b""])),
        Turn("C", b"\5\1\0" + bytes([kind]) + address),
        Turn("S", b"\5\0\0" + bound),
        *rng.choice(dialogues()),
    ]
    if rng.random() < 0.4:
        turns[rng.randrange(4)] = Turn("CSCS"[at := rng.randrange(4)], rng.randbytes(rng.randrange(1, 9) + at))  # type: ignore[arg-type]
    segments = wire.build(turns, mss=rng.choice([1, 3, 1460]))
    for _ in range(rng.randrange(2)):
        segments = rng.choice(MISTREATMENTS)(rng, segments)
    return written(segments, wire.Ends(server_port=rng.choice([1080, 1080, 25])))


@target
def of_tls(rng: Random) -> bytes:
    """STARTTLS, refused, accepted, with octets before and behind it; TLS from the start."""
    hello = b"\x16\x03\x01" + rng.randbytes(60)
    if rng.random() < 0.2:
        return arrived(rng, [Turn("C", hello), Turn("S", rng.randbytes(80)), Turn("C", rng.randbytes(30))])
    turns = begun(rng)
    if rng.random() < 0.4:
        turns += [Turn("C", b"MAIL FROM:<a@b>\r\n"), Turn("S", b"250 ok\r\n")]
    turns += [
        Turn(
            "C",
            rng.choice([b"STARTTLS\r\n", b"STARTTLS x\r\n", b"X-ANONYMOUSTLS\r\n"])
            + rng.choice([b"", b"", b"NOOP\r\n", hello]),
        ),
        Turn(
            "S",
            rng.choice([b"220 go\r\n"] * 4 + [b"454 no\r\n", b"220-a\r\n220 b\r\n", reply(rng)])
            + rng.choice([b"", b"", b"250 ok\r\n"]),
        ),
        Turn("C", rng.choice([hello, hello, b"EHLO b\r\n", b"\x80\x2e\x01", command(rng), rng.randbytes(20)])),
        Turn("S", rng.choice([rng.randbytes(50), b"250 ok\r\n"])),
        Turn("C", rng.choice([rng.randbytes(50), b"STARTTLS\r\n", b"MAIL FROM:<x@y>\r\n"])),
    ]
    return arrived(rng, [t for t in turns if t.octets])


@target
def of_many(rng: Random) -> bytes:
    """Several connections through each other, some of the same ends."""
    items: list[capture.Record] = []
    for _ in range(rng.randrange(2, 5)):
        ends = wire.Ends(client_port=rng.choice([40112, 40113, 25]), server_port=rng.choice([25, 587, 8025]))
        segments = wire.build(
            rng.choice(dialogues()),
            start=wire.START + rng.choice([0, 0, 1, 130, 4000]),
            step=rng.choice([1e-3, 0.1]),
        )
        if rng.random() < 0.5:
            segments = rng.choice(MISTREATMENTS)(rng, segments)
        items += capture.records(wire.packets(segments, ends))
    return capture.pcap(sorted(items, key=lambda r: r.time))


@target
def of_outstanding(rng: Random) -> bytes:
    """More commands than replies, up to and over what the queue holds."""
    count = rng.choice([10, 998, 999, 1000, 1001, 2500])
    lines = [
        b"NOOP\r\n",
        b"MAIL FROM:<a@b>\r\n",
        b"RSET\r\n",
        b"RCPT TO:<a@b>\r\n",
        b"MAIL FROM:<a@b>\r\nBDAT 1 LAST\r\nx",
        b"XFOO\r\n",
    ]
    few = rng.sample(lines, rng.randrange(1, 4))
    octets = b"".join(rng.choice(few) for _ in range(count))
    turns = [
        *begun(rng)[:-1],
        Turn("S", b"250-mx\r\n"),
        Turn("C", octets),
        Turn("S", b"250-SIZE\r\n250 x\r\n"),
    ]
    turns += [Turn("S", b"250 ok\r\n" * rng.choice([0, 1, 700, 1500])), Turn("C", b"QUIT\r\n")]
    return arrived(rng, [t for t in turns if t.octets], wild=1)


def capture_from(name: str, seed: int) -> bytes:
    """The capture that a target makes of a seed."""
    return TARGETS[name](Random(f"{name} {seed}"))


def as_dialogue(text: str) -> bytes:
    """Octets written as in a dialogue text, for what a failure is reduced to."""
    return octets_of(text)


@target
def of_attachment(rng: Random) -> bytes:
    """A compound file or an executable as an attachment."""
    octets = rng.choice([parts.of_ole, parts.of_pe])(rng)[: rng.choice([600, 3000, BIG])]
    head = b"MIME-Version: 1.0\r\nContent-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    width = rng.choice([76, 76, 60, 1, 57])
    lines = base64.b64encode(octets)[: BIG if width > 1 else 3000]
    text = b"\r\n".join(lines[at : at + width] for at in range(0, len(lines), width))
    return arrived(rng, mailed(rng, head + (flipped(rng, text, 3) if rng.random() < 0.2 and text else text)))
