"""Both streams of each connection, replaced once and laid aside, so that each repetition of an octet finds the same.

The core puts the streams together; lines are replaced as they come. What is laid aside stands in temporary files.
"""

from __future__ import annotations

import base64
import re
import tempfile
from array import array
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from smtpinspect._core.views import Flow, TapeSink
from smtpinspect.diagnose.anonymise import prefaces
from smtpinspect.diagnose.anonymise.files import file
from smtpinspect.diagnose.anonymise.places import Places
from smtpinspect.diagnose.anonymise.texts import Texts
from smtpinspect.diagnose.anonymise.words import KEPT
from smtpinspect.engine import Engine, Run
from smtpinspect.errors import CaptureError
from smtpinspect.grammar import limits
from smtpinspect.source import Input

CLIENT: Final = 0
_FIRST: Final = re.compile(rb"([A-Za-z0-9+/]{40,}={0,2})(\r*\n)?")
_NEXT: Final = re.compile(rb"([A-Za-z0-9+/]{4,}={0,2})(\r*\n)?")
_UU_BEGIN: Final = re.compile(rb"begin [0-7]{3,4} ", re.IGNORECASE)
_BASE64: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_INITIAL: Final = re.compile(rb"(AUTH +\S+ +)([A-Za-z0-9+/]{2,}={0,2})[ \t]*\r?\n", re.IGNORECASE)
_CHALLENGE: Final = re.compile(rb"(334 )([A-Za-z0-9+/]{4,}={0,2})[ \t]*\r?\n")
_ANSWER: Final = re.compile(rb"()([A-Za-z0-9+/]{2,}={0,2})[ \t]*\r?\n")
_BDAT: Final = re.compile(rb"BDAT (\d{1,18})(?: +LAST)?[ \t]*\r?\n", re.IGNORECASE)
# A SOCKS proxy's answers before the greeting (RFC 1928 3 to 6); the address in the last one is its own.
_SOCKS: Final = re.compile(rb"(?s:((?:\x05[\0\x02]|\x01\0)*(?:\x05\0\0\x01|\0\x5a))(.{6}))(?=220[ -])")
_TLS: Final = re.compile(rb"[\x14-\x17](?:\Z|\x03(?:\Z|[\0-\4]))")  # the head of a record (RFC 8446 5.1)
_WORD_END: Final = re.compile(rb".*[^A-Za-z0-9\x80-\xff+/=]", re.DOTALL)
_SOCKS_MOST: Final = 64

Emit = Callable[[int, bytes, bytes], None]  # stream offset, octets as they were, as they are now


class Stream:
    """One side's octets on their way from `feed` to `emit`; lines wait until they are whole."""

    def __init__(self, texts: Texts, emit: Emit, *, replies: bool) -> None:
        self._texts, self._emit, self._replies = texts, emit, replies
        self._places = Places(texts, replies=replies)
        self.have = 0  # offset behind what came
        self._at = 0  # and behind what went
        self._buffer = bytearray()
        self._run: list[tuple[bytes, bytes]] = []  # lines of base64, and their ends
        self._size = 0
        self._uu = False
        self._inside = False  # a line that goes on
        self._auth = False  # the next line may answer a 334
        self._chunk = 0  # octets of a BDAT that are to come
        self._tls: _Records | None = None

    def feed(self, at: int, octets: bytes) -> None:
        """The next octets of the stream, at this offset; what came before is left out, what is missing is a gap."""
        if at < self.have:
            octets = octets[self.have - at :]
        elif at > self.have:
            self.gap(self.have, at - self.have)
        self.have += len(octets)
        if self._tls is not None:
            self._put(octets, self._tls.emptied(octets))
            return
        self._buffer += octets
        if not self._at and _TLS.match(self._buffer):
            if len(self._buffer) > 2:
                self.encrypted()
            return
        if self._replies and not self._at and self._buffer.startswith((b"\0", b"\5")):
            if (found := _SOCKS.match(self._buffer)) is not None:
                self._put(found[0], found[1] + bytes(len(found[2])))
                del self._buffer[: found.end()]
            elif len(self._buffer) < _SOCKS_MOST:
                return
        if not self._replies and not self._at and self._buffer:
            head = bytes(self._buffer[: prefaces.MOST])
            if made := prefaces.replaced(head, self._texts):
                self._put(head[: len(made)], made)
                del self._buffer[: len(made)]
            elif prefaces.waits(head):
                return
        while self._buffer:
            n = self._buffer.find(b"\n") + 1
            ends = 0 < self._chunk <= (n or len(self._buffer))
            if not n and not ends:
                break
            self._next(self._chunk if ends else n, ends)
        if len(self._buffer) > limits.MESSAGE_PIECE:
            found = _WORD_END.match(self._buffer)
            self._next(found.end() if found else len(self._buffer), False)

    def _next(self, n: int, chunk_ends: bool) -> None:
        """The next line, or a part of one; what BDAT announced ends like a line (RFC 3030)."""
        line = bytes(self._buffer[:n])
        del self._buffer[:n]
        self._line(line)
        if self._chunk:
            self._chunk -= n
        elif not self._replies and (found := _BDAT.match(line)):
            self._chunk = min(int(found[1]), 1 << 62)
        if chunk_ends:
            self._flush_run()
            self._inside, self._chunk = False, 0

    def gap(self, at: int, n: int) -> None:
        """So many octets at this offset are missing."""
        self.flush()
        self._places.gap()
        self._inside = False
        self.have = max(self.have, at + n)
        self._at = self.have

    def encrypted(self) -> None:
        """From here on it is TLS."""
        if self._tls is None:
            octets = bytes(self._buffer)
            self._buffer.clear()
            self._flush_run()
            self._tls = _Records()
            self._put(octets, self._tls.emptied(octets))

    def flush(self) -> None:
        """Nothing more comes: what waits goes as it is."""
        if self._buffer:
            self._line(bytes(self._buffer))
            self._buffer.clear()
        self._flush_run()

    def _put(self, octets: bytes, made: bytes) -> None:
        if octets:
            self._emit(self._at, octets, made)
            self._at += len(octets)

    def _line(self, line: bytes) -> None:
        begins, self._inside = not self._inside, not line.endswith(b"\n")
        if begins and self._secret(line):
            return
        goes_on = bool(self._run) and not self._run[-1][1]  # a very long line comes in pieces
        if (begins or goes_on) and self._in_base64(line):
            return
        self._flush_run()
        if begins and self._uuencoded(line):
            return
        self._put(line, self._places.line(line, begins=begins, chunk=self._chunk > 0))

    def _secret(self, line: bytes) -> bool:
        """What AUTH carries (RFC 4954 4): other octets of base64, without regard to their classes."""
        found = (_CHALLENGE if self._replies else _INITIAL).match(line)
        if found is None and self._auth:
            found = _ANSWER.fullmatch(line)
            if found is not None and found[2].lower().decode() in KEPT:
                found = None
        if not self._replies:
            self._auth = line[:5].upper() == b"AUTH " or found is not None
        if found is None:
            return False
        self._flush_run()
        begin, end = found.span(2)
        numbers = self._texts.random(found[2], end - begin)
        made = bytes(_BASE64[number % 64] for number in numbers)
        # what is filled up stays so
        kept = found[2].rstrip(b"=")
        made = made[: len(kept)] + found[2][len(kept) :]
        self._put(line, self._texts.line(line[:begin], reply=self._replies) + made + line[end:])
        return True

    def _in_base64(self, line: bytes) -> bool:
        found = (_NEXT if self._run else _FIRST).fullmatch(line)
        if found is None:
            return False
        self._run.append((found[1], found[2] or b""))
        self._size += len(line)
        if found[1].endswith(b"=") or self._size > limits.ANONYMISED_FILE:
            self._flush_run()
        return True

    def _flush_run(self) -> None:
        if not self._run:
            return
        run, self._run, self._size = self._run, [], 0
        whole = b"".join(text for text, _ in run)
        n = len(whole) // 4 * 4  # its lines may be of any length
        made = base64.b64encode(file(base64.b64decode(whole[:n]), self._texts)) + self._texts.boundary(whole[n:])
        at = 0
        for text, end in run:
            self._put(text + end, made[at : at + len(text)] + end)
            at += len(text)

    def _uuencoded(self, line: bytes) -> bool:
        """A line of uuencode is noise in its alphabet; its length stays."""
        if not self._uu:
            self._uu = bool(_UU_BEGIN.match(line))
            return False
        if line.rstrip(b"\r\n") in (b"end", b"`", b" ", b"") or not 0x20 < line[0] <= 0x60:
            self._uu = line[:1] in (b"`", b" ")
            return False
        text = line.rstrip(b"\r\n")
        numbers = self._texts.random(text, len(text) - 1)
        made = text[:1] + bytes(0x21 + number % 63 for number in numbers)
        self._put(line, made + line[len(text) :])
        return True


class _Records:
    """TLS: the heads of records stay (RFC 8446 5.1), what they carry is zeros."""

    def __init__(self) -> None:
        self._head = b""
        self._left = 0
        self._lost = False

    def emptied(self, octets: bytes) -> bytes:
        """These octets, in the order of the stream: all but the heads of records are zeros."""
        out = bytearray(len(octets))
        at = 0
        while at < len(octets) and not self._lost:
            if self._left:
                n = min(self._left, len(octets) - at)
                self._left -= n
                at += n
                continue
            octet = octets[at : at + 1]
            self._head += octet
            if (len(self._head) == 1 and not 20 <= octet[0] <= 23) or (len(self._head) == 2 and octet != b"\x03"):
                self._lost = True
                break
            out[at : at + 1] = octet
            at += 1
            if len(self._head) == 5:
                self._left = int.from_bytes(self._head[3:], "big")
                self._head = b""
        return bytes(out)


class Spool:
    """Where the octets of all streams are laid, as they were and as they are now."""

    def __init__(self) -> None:
        self._old = tempfile.TemporaryFile()  # noqa: SIM115  # closed by `close`
        self._new = tempfile.TemporaryFile()  # noqa: SIM115
        self._size = 0
        # of each stream: offset, place, octets, offset, ...
        self._index: dict[tuple[int, int], array[int]] = {}

    def close(self) -> None:
        self._old.close()
        self._new.close()

    def add(self, conn: int, side: int, at: int, octets: bytes, made: bytes) -> None:
        """Octets of one side (0 client, 1 server) of a connection, at this stream offset, and what stands for them."""
        self._old.write(octets)
        self._new.write(made)
        rows = self._index.setdefault((conn, side), array("Q"))
        if rows and rows[-3] + rows[-1] == at and rows[-2] + rows[-1] == self._size:
            rows[-1] += len(octets)
        else:
            rows.extend((at, self._size, len(octets)))
        self._size += len(octets)

    def pieces(self, conn: int, side: int, at: int, n: int) -> list[tuple[int, bytes, bytes]]:
        """What is known of these octets of a stream: (offset, as they were, as they are now)."""
        rows = self._index.get((conn, side))
        if rows is None:
            return []
        low, high = 0, len(rows) // 3
        while low < high:  # the first row that ends behind `at`
            middle = (low + high) // 2
            if rows[3 * middle] + rows[3 * middle + 2] <= at:
                low = middle + 1
            else:
                high = middle
        found = []
        for k in range(low, len(rows) // 3):
            begin, place, size = rows[3 * k : 3 * k + 3]
            if begin >= at + n:
                break
            first, last = max(at, begin), min(at + n, begin + size)
            self._old.seek(place + first - begin)
            self._new.seek(place + first - begin)
            found.append((first, self._old.read(last - first), self._new.read(last - first)))
        return found


class Laid(NamedTuple):
    """What the first pass gives: the octets, the connections, why the capture could not be read to its end."""

    spool: Spool
    flows: list[Flow]
    encrypted: frozenset[int]  # connections (their first packet) with TLS
    fault: CaptureError | None


class _Tape:
    """Hears the streams; each method gets the connection's first packet."""

    def __init__(self, texts: Texts, spool: Spool) -> None:
        self._texts, self._spool = texts, spool
        self._open: dict[tuple[int, int], Stream] = {}
        self.encrypted: set[int] = set()

    def of(self, conn: int, side: int) -> Stream:
        made = self._open.get((conn, side))
        if made is None:

            def emit(at: int, octets: bytes, now: bytes) -> None:
                self._spool.add(conn, side, at, octets, now)

            made = self._open[conn, side] = Stream(self._texts, emit, replies=side != CLIENT)
        return made

    def stream(self, conn: int, side: int, at: int, octets: bytes, _: Any) -> None:
        self.of(conn, side).feed(at, octets)

    def stream_gap(self, conn: int, side: int, at: int, n: int, _: Any) -> None:
        self.of(conn, side).gap(at, n)

    def starttls(self, conn: int, *_: Any) -> None:
        self.encrypted.add(conn)
        for side in (0, 1):
            self.of(conn, side).encrypted()

    def implicit_tls(self, conn: int, *_: Any) -> None:
        self.starttls(conn)

    def __getattr__(self, name: str) -> Callable[..., None]:
        return _nothing

    def finish(self, conn: int) -> None:
        for side in (0, 1):
            if (stream := self._open.pop((conn, side), None)) is not None:
                stream.flush()

    def finish_all(self) -> None:
        for conn, _ in list(self._open):
            self.finish(conn)


def _nothing(*_: Any) -> None:
    """What the machine reads in the streams is of no interest here."""


def lay(source: Input, texts: Texts, ports: Sequence[int]) -> Laid:
    """Read a capture and replace what its streams hold. Raises UsageError for what cannot be opened."""
    engine = Engine([], ports=ports)
    spool = Spool()
    tape = _Tape(texts, spool)
    run = Run(engine, source, TapeSink(engine.program, mails=False), tape)
    flows: list[Flow] = []
    try:
        for flow in run.records():
            tape.finish(flow.first_packet)
            flows.append(flow)
    finally:
        run.close()
    tape.finish_all()
    return Laid(spool, flows, frozenset(tape.encrypted), run.replay.fault)
