"""A dialogue with a stranger's server: every wait has an end, and every answer a size."""

from __future__ import annotations

import errno
import re
import socket
import struct
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final, Literal, NamedTuple, Protocol

from smtpinspect.errors import UsageError

LONGEST: Final = 65_536  # octets of one reply that are read; RFC 5321 4.5.3.1.5 allows 512 a line
LINES: Final = 500  # and lines
CONNECT: Final = 20.0  # seconds
_CODED: Final = re.compile(rb"(\d{3})([ -]|$)")
_TCP_INFO: Final = getattr(socket, "TCP_INFO", None)
_RETRANSMITS_AT: Final = 100  # of tcpi_total_retrans in Linux' struct tcp_info

Ended = Literal["", "silence", "closed", "reset", "too long"]


class Answer(NamedTuple):
    """A reply, or what came in its place. `code`: of its last line, None where that has none; `ended`: why it is no
    whole reply; `seconds` until its last octet, `again`: segments that this end had to send again meanwhile.
    """

    octets: bytes = b""
    ended: Ended = ""
    seconds: float = 0.0
    again: int = 0

    @property
    def code(self) -> int | None:
        """The last line's, None where it has none."""
        lines = self.octets.splitlines()
        found = _CODED.match(lines[-1]) if lines else None
        return int(found[1]) if found else None

    @property
    def text(self) -> str:
        """Its lines without their ends; octets of 128 and more as Latin-1."""
        return "\n".join(line.decode("latin-1") for line in self.octets.splitlines())


class Wire(Protocol):
    """A connection. `receive` gives octets, b"" when the other end has closed, None after so many seconds; raises
    ConnectionError when it was reset."""

    def send(self, octets: bytes) -> None:
        """In one segment, where there is room."""

    def receive(self, seconds: float) -> bytes | None:
        """What comes next."""

    def again(self) -> int:
        """Segments that had to be sent again so far."""

    def pause(self, seconds: float) -> None:
        """Let time go by."""

    def close(self) -> None:
        """The end."""


class NoServerError(Exception):
    """No dialogue could be had; the text says why."""


class Socket:
    """A TCP connection. Raises NoServerError when there is none."""

    def __init__(self, address: str, port: int, source: str | None = None, *, connect: float = CONNECT) -> None:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_STREAM)
        self._socket.settimeout(connect)
        try:
            if source:
                self._bind(source)
            self._socket.connect((address, port))
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError as error:
            self._socket.close()
            raise NoServerError(_reason(error, connect)) from None

    def _bind(self, source: str) -> None:
        try:
            self._socket.bind((source, 0))
        except OSError as error:
            self._socket.close()
            raise UsageError(f"--source {source}: {error.strerror or error}") from None

    @property
    def local(self) -> str:
        """This end's address."""
        return str(self._socket.getsockname()[0])

    def send(self, octets: bytes) -> None:
        self._socket.settimeout(CONNECT)
        self._socket.sendall(octets)

    def receive(self, seconds: float) -> bytes | None:
        self._socket.settimeout(max(seconds, 0.001))
        try:
            return self._socket.recv(4_096)
        except TimeoutError:
            return None

    def again(self) -> int:
        """Linux tells; elsewhere none are known of."""
        if _TCP_INFO is None:
            return 0
        with suppress(OSError, struct.error):
            told = self._socket.getsockopt(socket.IPPROTO_TCP, _TCP_INFO, 256)
            return int(struct.unpack_from("=I", told, _RETRANSMITS_AT)[0])
        return 0

    def pause(self, seconds: float) -> None:
        time.sleep(seconds)

    def close(self) -> None:
        with suppress(OSError):
            self._socket.close()


def _reason(error: OSError, seconds: float) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer to the connection attempt within {seconds:.0f} s: a filter drops it, or nobody is there"
    if error.errno == errno.ECONNREFUSED:
        return "connection refused: nothing listens on this port, or a filter says so"
    if error.errno in (errno.EHOSTUNREACH, errno.ENETUNREACH):
        return f"no way there: {error.strerror}"
    return f"no connection: {error.strerror or error}"


class Talk:
    """Sends, and reads replies whole (RFC 5321 4.2.1)."""

    def __init__(self, wire: Wire, clock: Callable[[], float] = time.monotonic) -> None:
        self.wire = wire
        self._clock = clock
        self._left = b""

    def ask(self, *pieces: bytes, seconds: float, pause: float = 0.0) -> Answer:
        """Send these pieces, each in a segment, with a pause between them; the reply."""
        before = self.wire.again()
        try:
            for number, piece in enumerate(pieces):
                if number:
                    self.wire.pause(pause)
                self.wire.send(piece)
        except OSError:
            return Answer(ended="reset")
        return self.read(seconds, before)

    def read(self, seconds: float, before: int = 0) -> Answer:
        """The next reply."""
        begin = self._clock()
        octets = b""
        while True:
            line, newline, rest = self._left.partition(b"\n")
            if newline:
                self._left = rest
                octets += line + newline
                if len(octets) > LONGEST or octets.count(b"\n") > LINES:
                    return self._made(octets[:LONGEST], "too long", begin, before)
                found = _CODED.match(line.rstrip(b"\r"))
                if (found and found[2] != b"-") or (not found and not _CODED.match(octets)):
                    return self._made(octets, "", begin, before)
                continue
            tls = not octets and self._left[:2] in (b"\x15\x03", b"\x16\x03")  # RFC 8446 5.1: no line will come
            if tls or len(self._left) + len(octets) > LONGEST:
                octets, self._left = octets + self._left, b""
                return self._made(octets[:LONGEST], "too long", begin, before)
            ended = self._more(begin + seconds - self._clock())
            if ended:
                octets, self._left = octets + self._left, b""
                return self._made(octets, ended, begin, before)

    def _more(self, seconds: float) -> Ended:
        if seconds <= 0:
            return "silence"
        try:
            got = self.wire.receive(seconds)
        except OSError:
            return "reset"
        if got is None:
            return "silence"
        if not got:
            return "closed"
        self._left += got
        return ""

    def _made(self, octets: bytes, ended: Ended, begin: float, before: int) -> Answer:
        return Answer(octets, ended, self._clock() - begin, self.wire.again() - before)
