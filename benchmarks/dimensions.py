"""Captures of n of something: what `doubling.py` doubles."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from random import Random

SYN, FIN, PSH, ACK = 2, 1, 8, 16
C, S = 0, 1
MSS = 1_460


class Talk:
    """One connection: `say` adds what a side sends, each segment acknowledges what the other side has sent."""

    def __init__(self, number: int = 0, mss: int = MSS) -> None:
        self.ends = (
            struct.pack(">I", 0x0A000000 + (number >> 12)) + struct.pack(">I", 0xC6336419),
            struct.pack(">HH", 1024 + (number & 0xFFF), 25),
        )
        self.mss = mss
        self.sent = [1_000, 500_000]
        self.frames: list[bytes] = []
        self.add(C, SYN)
        self.add(S, SYN | ACK)
        self.add(C, ACK)

    def add(self, side: int, flags: int, payload: bytes = b"") -> None:
        self.frames.append(self.frame(side, self.sent[side], flags, payload))
        self.sent[side] += len(payload) + (flags & (SYN | FIN) != 0)

    def frame(self, side: int, seq: int, flags: int, payload: bytes = b"") -> bytes:
        hosts, ports = self.ends
        if side == S:
            hosts, ports = hosts[4:] + hosts[:4], ports[2:] + ports[:2]
        ack = self.sent[1 - side] if flags & ACK else 0
        tcp = ports + struct.pack(">IIBBHHH", seq & 0xFFFFFFFF, ack & 0xFFFFFFFF, 0x50, flags, 65535, 0, 0)
        ip = struct.pack(">BBHHHBBH", 0x45, 0, 40 + len(payload), 0, 0x4000, 64, 6, 0) + hosts
        return b"\2\0\0\0\0\1\2\0\0\0\0\2\x08\0" + ip + tcp + payload

    def say(self, side: int, octets: bytes) -> Talk:
        for at in range(0, len(octets), self.mss):
            self.add(side, ACK | PSH, octets[at : at + self.mss])
        return self

    def hello(self, keywords: Sequence[bytes] = (b"PIPELINING", b"8BITMIME")) -> Talk:
        self.say(S, b"220 mx.example ESMTP\r\n").say(C, b"EHLO client.example\r\n")
        lines = [b"mx.example", *keywords]
        return self.say(S, b"".join(b"250-%b\r\n" % k for k in lines[:-1]) + b"250 %b\r\n" % lines[-1])

    def mail(self, text: bytes, recipients: int = 1) -> Talk:
        self.say(C, b"MAIL FROM:<a@client.example>\r\n").say(S, b"250 ok\r\n")
        for i in range(recipients):
            self.say(C, b"RCPT TO:<user%d@mx.example>\r\n" % i).say(S, b"250 ok\r\n")
        self.say(C, b"DATA\r\n").say(S, b"354 go on\r\n")
        return self.say(C, text + b".\r\n").say(S, b"250 taken\r\n")

    def bye(self) -> Talk:
        self.say(C, b"QUIT\r\n").say(S, b"221 bye\r\n")
        self.add(C, FIN | ACK)
        self.add(S, FIN | ACK)
        self.add(C, ACK)
        return self


HEAD = b"From: <a@client.example>\r\nTo: <b@mx.example>\r\nSubject: doubling\r\n"
TEXT = HEAD + b"\r\n" + b"A line of some text in a mail.\r\n" * 20
DIMENSIONS: dict[str, Dimension] = {}


@dataclass(frozen=True)
class Dimension:
    make: Callable[[int], Iterable[bytes]]
    n: int
    """the smallest of the three"""
    files: bool = False


def dimension(n: int, files: bool = False) -> Callable[[Callable[[int], Iterable[bytes]]], None]:
    def taken(make: Callable[[int], Iterable[bytes]]) -> None:
        DIMENSIONS[make.__name__.replace("_", "-")] = Dimension(make, n, files)

    return taken


def one_mail(text: bytes, mss: int = MSS, times: int = 1) -> list[bytes]:
    talk = Talk(mss=mss).hello()
    for _ in range(times):
        talk.mail(text)
    return talk.bye().frames


# --- how long, how many ---------------------------------------------------------------------------


@dimension(300)
def frames(n: int) -> Iterator[bytes]:
    """Connections of one mail, one after the other."""
    for i in range(n):
        yield from Talk(i).hello().mail(TEXT).bye().frames


@dimension(1_000_000)
def command_line(n: int) -> list[bytes]:
    """Octets of one command line, in segments of 100."""
    return Talk(mss=100).hello().say(C, b"NOOP " + b"x" * n + b"\r\n").say(S, b"250 ok\r\n").bye().frames


@dimension(1_000_000)
def reply_line(n: int) -> list[bytes]:
    return Talk(mss=100).hello().say(C, b"NOOP\r\n").say(S, b"250 " + b"x" * n + b"\r\n").bye().frames


@dimension(1_000_000)
def header_line(n: int) -> list[bytes]:
    return one_mail(HEAD + b"X-Long: " + b"y" * n + b"\r\n\r\ntext\r\n", mss=100)


@dimension(10_000)
def folded_line(n: int) -> list[bytes]:
    """Continuation lines of one field that is read."""
    return one_mail(b"Content-Type: text/plain;\r\n" + b" name=a; value=b;\r\n" * n + HEAD + b"\r\ntext\r\n")


@dimension(1_000_000)
def body_line(n: int) -> list[bytes]:
    return one_mail(HEAD + b"\r\n" + b"z" * n + b"\r\n", mss=100)


@dimension(10_000)
def body_lines(n: int) -> list[bytes]:
    return one_mail(HEAD + b"\r\n" + b"A line of some text in a mail.\r\n" * n)


@dimension(10_000)
def header_count(n: int) -> list[bytes]:
    return one_mail(b"X-Field: value\r\nReceived: from a by b\r\n" * (n // 2) + HEAD + b"\r\ntext\r\n")


@dimension(5_000)
def addresses(n: int) -> list[bytes]:
    """In a To field."""
    return one_mail(HEAD + b"To: " + b"someone <a@b.example>,\r\n " * n + b"c@d\r\n\r\ntext\r\n")


@dimension(250)
def recipients(n: int) -> list[bytes]:
    """Up to the number that is kept."""
    talk = Talk().hello()
    for _ in range(4):
        talk.mail(TEXT, recipients=n)
    return talk.bye().frames


@dimension(1_000)
def recipients_beyond(n: int) -> list[bytes]:
    return Talk().hello().mail(TEXT, recipients=n).bye().frames


@dimension(500)
def mails(n: int) -> list[bytes]:
    """On one connection."""
    return one_mail(TEXT, times=n)


@dimension(20)
def keywords(n: int) -> Iterator[bytes]:
    """Of an EHLO reply, up to the number that is looked at."""
    for i in range(40):
        yield from Talk(i).hello([b"X-KEYWORD-%d" % k for k in range(n)]).bye().frames


@dimension(1_000)
def keywords_beyond(n: int) -> Iterator[bytes]:
    for i in range(10):
        yield from Talk(i).hello([b"X-KEYWORD-%d" % k for k in range(n)]).bye().frames


@dimension(5_000)
def reply_lines(n: int) -> list[bytes]:
    return Talk().hello().say(C, b"HELP\r\n").say(S, b"214-some help\r\n" * n + b"214 end\r\n").bye().frames


@dimension(5_000)
def greeting_lines(n: int) -> list[bytes]:
    return Talk().say(S, b"220-some greeting\r\n" * n + b"220 end\r\n").say(C, b"QUIT\r\n").frames


# --- parts ------------------------------------------------------------------------------------------


def nested(depth: int) -> bytes:
    octets = HEAD + b"MIME-Version: 1.0\r\n"
    for i in range(depth):
        octets += b'Content-Type: multipart/mixed; boundary="level-%d"\r\n\r\n--level-%d\r\n' % (i, i)
    octets += b"Content-Type: text/plain\r\n\r\ntext\r\n"
    return octets + b"".join(b"--level-%d--\r\n" % i for i in reversed(range(depth)))


@dimension(8)
def depth(n: int) -> list[bytes]:
    """Multiparts in each other, up to as many as are followed."""
    return one_mail(nested(n), times=100)


@dimension(32)
def depth_beyond(n: int) -> list[bytes]:
    return one_mail(nested(n), times=40)


def parts_of(octets: bytes, n: int) -> bytes:
    head = HEAD + b'MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary="b"\r\n\r\n'
    return head + b"".join(octets % i for i in range(n)) + b"--b--\r\n"


@dimension(4_000)
def parts(n: int) -> list[bytes]:
    return one_mail(parts_of(b"--b\r\nContent-Type: text/plain; charset=utf-8\r\nX-Number: %d\r\n\r\ntext\r\n", n))


@dimension(500)
def attachments(n: int) -> list[bytes]:
    part = (
        b"--b\r\nContent-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n"
        b'Content-Disposition: attachment; filename="file%d.bin"\r\n\r\nAAECAwQFBgcICQoLDA0ODw==\r\n'
    )
    return one_mail(parts_of(part, n))


@dimension(200_000)
def attachment(n: int) -> list[bytes]:
    """Octets of one, in base64."""
    part = b"--b\r\nContent-Type: application/zip\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    part += b"UEsDBBQAAAAIAAAAIQAAAAAAAAAAAAAAAAABAAAAYQ==\r\n" + (b"QUJD" * 18 + b"\r\n") * (n // 74)
    head = HEAD + b'MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary="b"\r\n\r\n'
    return one_mail(head + part + b"--b--\r\n")


@dimension(10_000)
def dashes(n: int) -> list[bytes]:
    """Lines that are nearly boundaries, of eight multiparts that are open."""
    octets = HEAD + b"MIME-Version: 1.0\r\n"
    for i in range(8):
        octets += b'Content-Type: multipart/mixed; boundary="level-%d"\r\n\r\n--level-%d\r\n' % (i, i)
    return one_mail(octets + b"\r\n" + b"--level-x\r\n" * n)


# --- what waits ---------------------------------------------------------------------------------------


@dimension(1_000)
def connections(n: int) -> Iterator[bytes]:
    """Open at once, a frame of each in turn."""
    each = [Talk(i).hello().frames for i in range(n)]
    for k in range(len(each[0])):
        for frames_of_one in each:
            yield frames_of_one[k]


@dimension(2_000)
def connections_busy(n: int) -> Iterator[bytes]:
    """Open at once, each with a mail, to its end."""
    each = [Talk(i).hello().mail(TEXT).bye().frames for i in range(n)]
    for k in range(len(each[0])):
        for frames_of_one in each:
            yield frames_of_one[k]


def behind_a_hole(n: int, order: Callable[[list[bytes]], list[bytes]], times: int) -> Iterator[bytes]:
    for i in range(times):
        talk = Talk(i, mss=100).hello()
        talk.say(C, b"MAIL FROM:<a@client.example>\r\n").say(S, b"250 ok\r\n")
        talk.say(C, b"RCPT TO:<b@mx.example>\r\n").say(S, b"250 ok\r\n").say(C, b"DATA\r\n").say(S, b"354 go\r\n")
        at = len(talk.frames)
        talk.say(C, HEAD + b"\r\n" + (b"x" * 98 + b"\r\n") * n + b".\r\n")
        hole, waiting = talk.frames[at], talk.frames[at + 1 :]
        del talk.frames[at:]
        yield from talk.frames
        yield from order(waiting)
        yield hole
        talk.frames.clear()
        yield from talk.say(S, b"250 taken\r\n").bye().frames


def shuffled(frames: list[bytes]) -> list[bytes]:
    frames = frames[:]
    Random(7).shuffle(frames)
    return frames


def swapped(frames: list[bytes]) -> list[bytes]:
    """The second half before the first, each in order."""
    half = len(frames) // 2
    return frames[half:] + frames[:half]


@dimension(700)
def held_in_order(n: int) -> Iterator[bytes]:
    """Segments behind one hole."""
    return behind_a_hole(n, list, 5)


@dimension(700)
def held_reversed(n: int) -> Iterator[bytes]:
    return behind_a_hole(n, lambda frames: frames[::-1], 5)


@dimension(700)
def held_shuffled(n: int) -> Iterator[bytes]:
    return behind_a_hole(n, shuffled, 20)


@dimension(700)
def held_swapped(n: int) -> Iterator[bytes]:
    return behind_a_hole(n, swapped, 5)


@dimension(700)
def held_twice(n: int) -> Iterator[bytes]:
    """Each segment behind the hole comes twice."""
    return behind_a_hole(n, lambda frames: frames + frames, 5)


@dimension(3_000)
def held_beyond(n: int) -> Iterator[bytes]:
    """More than are kept."""
    return behind_a_hole(n, list, 2)


@dimension(3_000)
def held_beyond_reversed(n: int) -> Iterator[bytes]:
    return behind_a_hole(n, lambda frames: frames[::-1], 2)


def pipelined(n: int, commands: bytes, replies: bytes, times: int) -> Iterator[bytes]:
    for i in range(times):
        yield from Talk(i).hello().say(C, commands * n).say(S, replies * n).bye().frames


@dimension(250)
def outstanding(n: int) -> Iterator[bytes]:
    """Commands that wait for a reply."""
    return pipelined(n, b"NOOP\r\n", b"250 ok\r\n", 20)


@dimension(2_000)
def outstanding_beyond(n: int) -> Iterator[bytes]:
    return pipelined(n, b"NOOP\r\n", b"250 ok\r\n", 5)


@dimension(60)
def outstanding_mails(n: int) -> Iterator[bytes]:
    """Mails that wait for replies: RSET ends each before its MAIL is answered."""
    return pipelined(n, b"MAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\nRSET\r\n", b"250 ok\r\n" * 3, 20)


@dimension(30_000)
def segments_of_one_octet(n: int) -> list[bytes]:
    return one_mail(HEAD + b"\r\n" + b"12345678\r\n" * (n // 10), mss=1)


# --- what is wrong --------------------------------------------------------------------------------------


@dimension(2_000)
def alerts(n: int) -> list[bytes]:
    """Commands that a rule does not like, on one connection."""
    talk = Talk().hello()
    for _ in range(n):
        talk.say(C, b"TURN\r\n").say(S, b"502 no\r\n")
    return talk.bye().frames


@dimension(200)
def alerts_written(n: int) -> Iterator[bytes]:
    """Connections that fire several rules each."""
    for i in range(n):
        talk = Talk(i).hello()
        for verb in (b"TURN", b"VRFY a", b"EXPN b", b"XXXX", b"DEBUG"):
            talk.say(C, verb + b"\r\n").say(S, b"502 no\r\n")
        yield from talk.mail(b"X: \xff\r\n" + HEAD + b"\r\n" + b"y" * 1_500 + b"\r\n").bye().frames


@dimension(4_000)
def retransmissions(n: int) -> list[bytes]:
    """Of one segment, before the next comes."""
    talk = Talk().hello()
    talk.say(C, b"NOOP\r\n")
    again = talk.frames[-1]
    talk.frames += [again] * n
    return talk.say(S, b"250 ok\r\n").bye().frames


@dimension(3_000)
def retransmitted(n: int) -> Iterator[bytes]:
    """Segments of a text, each sent twice."""
    for frame in one_mail(HEAD + b"\r\n" + (b"x" * 98 + b"\r\n") * n, mss=100):
        yield frame
        yield frame


@dimension(300)
def holes(n: int) -> Iterator[bytes]:
    """Segments of a text that are not in the capture, one of ten."""
    talk = Talk(mss=100).hello()
    for i, frame in enumerate(one_mail(HEAD + b"\r\n" + (b"x" * 98 + b"\r\n") * 10 * n, mss=100)):
        if i < len(talk.frames) + 8 or i % 10:
            yield frame


def fragments_of(frame: bytes, ident: int, size: int) -> list[bytes]:
    head, payload = frame[:34], frame[34:]
    made = []
    for at in range(0, len(payload), size):
        more = 0x2000 if at + size < len(payload) else 0
        piece = payload[at : at + size]
        ip = head[14:16] + struct.pack(">HHH", 20 + len(piece), ident, more | at >> 3) + head[22:]
        made.append(head[:14] + ip + piece)
    return made


@dimension(1_000)
def fragments(n: int) -> Iterator[bytes]:
    """Packets of three fragments each."""
    for i, frame in enumerate(one_mail(HEAD + b"\r\n" + b"Some text of a line.\r\n" * 64 * n)):
        yield from fragments_of(frame, i & 0xFFFF, 504) if len(frame) > 1_000 else (frame,)


@dimension(2_000)
def fragments_in_disorder(n: int) -> Iterator[bytes]:
    """Packets of some hundred fragments, the last one first."""
    for i, frame in enumerate(one_mail(HEAD + b"\r\n" + b"Some text of a line.\r\n" * 64 * (n // 10))):
        yield from reversed(fragments_of(frame, i & 0xFFFF, 8)) if len(frame) > 1_000 else (frame,)


@dimension(5_000)
def fragments_lost(n: int) -> Iterator[bytes]:
    """Packets of which one fragment never comes."""
    whole = Talk().hello().say(C, b"x" * MSS).frames[-1]
    for i in range(n):
        yield from fragments_of(whole, i & 0xFFFF, 504)[:2]
    yield from Talk(1).hello().frames


@dimension(16, files=True)
def files(n: int) -> Iterator[bytes]:
    """Captures that are read as one; each holds the same number of frames."""
    for i in range(n * 20):
        yield from Talk(i).hello().mail(TEXT).bye().frames
