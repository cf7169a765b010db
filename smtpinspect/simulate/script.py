"""What was said on a connection of a capture: commands with their replies and places, mails with their text.

The core's machine tells what it reads, as it does for a transcript; here it is kept with its stream offsets, so that
a dialogue can be taken up where it breaks, or be held once more.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from smtpinspect._core.views import TapeSink
from smtpinspect.engine import PORTS, Engine, Run
from smtpinspect.grammar import limits
from smtpinspect.source import Input

CLIENT: Final = 0
SERVER: Final = 1

_PATH: Final = re.compile(
    rb"^[ \t]*(?:FROM|TO)[ \t]*:[ \t]*(<(?:\"(?:[^\"\\]|\\.)*\"|[^>\"])*>|[^ \t]*)[ \t]*(.*)$", re.I | re.S
)


class Reply(NamedTuple):
    """`octets` are its lines with their ends; `at` and `end` the server's stream offsets of them."""

    code: int | None
    octets: bytes
    at: int
    end: int

    @property
    def whole(self) -> bool:
        """Has its last line come (RFC 5321 4.2.1)?"""
        return self.octets.rpartition(b"\n")[0].rpartition(b"\n")[2][3:4] != b"-"

    @property
    def text(self) -> str:
        """Its lines, joined by LF."""
        return "\n".join(line.decode("latin-1") for line in self.octets.splitlines())


class Command(NamedTuple):
    """`line` has no line end; `at` and `end` are the client's stream offsets, the line end included.

    `behind`: commands before it that still waited for their replies when it was sent.
    `answer`: what answered a 334 in an AUTH dialogue.
    """

    verb: str
    line: bytes
    at: int
    end: int
    reply: Reply | None = None
    behind: int = 0
    answer: bool = False

    @property
    def text(self) -> str:
        return self.line.decode("latin-1")

    @property
    def path(self) -> str:
        """Of MAIL and RCPT: the path as sent, angle brackets included; "" else."""
        found = _PATH.match(self.line[4:])
        return found[1].decode("latin-1") if found else ""

    @property
    def parameters(self) -> tuple[str, ...]:
        """Of MAIL and RCPT: the ESMTP parameters as sent."""
        found = _PATH.match(self.line[4:])
        return tuple(word.decode("latin-1") for word in found[2].split()) if found else ()


class Transaction(NamedTuple):
    """A mail of the connection: MAIL, RCPTs, and the text as it was on the wire, without the end mark.

    `text_at` and `text_end` are the client's stream offsets of the text and of what lies behind its end mark (behind
    the last chunk); `complete`: the end mark, or the last chunk, is in the capture; `holes`: octets of the text that
    are not, and stand as zeros. `chunks`: sizes of the BDAT chunks, none for DATA.
    """

    number: int  # from 1 over the connection
    mail: Command
    rcpts: tuple[Command, ...]
    data: Command | None
    text: bytes = b""
    text_at: int | None = None
    text_end: int | None = None
    complete: bool = False
    holes: int = 0
    chunks: tuple[int, ...] = ()
    reply: Reply | None = None

    @property
    def sender(self) -> str:
        """Bare, without the angle brackets."""
        return self.mail.path.removeprefix("<").removesuffix(">")

    @property
    def recipients(self) -> tuple[str, ...]:
        """Bare, in the order of their commands."""
        return tuple(each.path.removeprefix("<").removesuffix(">") for each in self.rcpts)

    def holds(self, at: int) -> bool:
        """Is this octet of the client's stream one of its text, or of its end mark?"""
        return self.text_at is not None and self.text_at <= at and (self.text_end is None or at < self.text_end)

    @property
    def begins(self) -> int:
        return self.mail.at

    @property
    def ends(self) -> int:
        """The client's stream offset behind the last octet that belongs to it."""
        last = [self.mail.end, *(each.end for each in self.rcpts)]
        last += [self.data.end] if self.data else []
        return max([*last, *([self.text_end] if self.text_end is not None else [])])


class Script(NamedTuple):
    """A connection's dialogue. `streams`: the octets of client and server, holes as zeros, from offset 0.

    `cut`: the connection was too long to keep whole; what lies behind is not in `streams`.
    """

    first_packet: int
    client: str  # ADDRESS:PORT
    server: str
    start_ns: int
    streams: tuple[bytes, bytes]
    greeting: Reply | None
    commands: tuple[Command, ...]
    replies: tuple[Reply, ...]
    mails: tuple[Transaction, ...]
    tls_at: int | None = None  # the client's stream offset from which on it is TLS
    gaps: tuple[tuple[int, int, int], ...] = ()  # side, offset, octets
    confidence: tuple[str, ...] = ()
    cut: bool = False

    @property
    def hello(self) -> Command | None:
        """The last EHLO or HELO that was accepted, else the last one that was sent."""
        said = [each for each in self.commands if each.verb in ("EHLO", "HELO", "LHLO")]
        good = [each for each in said if each.reply is not None and (each.reply.code or 0) // 100 == 2]
        return next(reversed(good or said), None)

    @property
    def helo(self) -> str:
        """The name that the client gave, "" without one."""
        words = self.hello.line.split(None, 1) if self.hello else []
        return words[1].strip().decode("latin-1") if len(words) > 1 else ""

    @property
    def keywords(self) -> tuple[str, ...]:
        """The lines of the accepted EHLO's reply behind the first, without their codes."""
        hello = self.hello
        if hello is None or hello.reply is None or hello.reply.code != 250 or hello.verb == "HELO":
            return ()
        return tuple(line[4:].strip() for line in hello.reply.text.split("\n")[1:])

    @property
    def host(self) -> str:
        """The name that the server gave in its greeting or its reply to EHLO, "" when neither shows one."""
        for reply in (self.greeting, self.hello.reply if self.hello else None):
            words = reply.text.split("\n")[0][4:].split() if reply is not None else []
            if words and re.fullmatch(r"[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?\.[A-Za-z]{2,}", words[0]):
                return words[0]
        return ""

    @property
    def pipelined(self) -> bool:
        """Did the client send a command before the reply to the one before it?"""
        return any(each.behind for each in self.commands)


@dataclass(slots=True)
class _Text:
    via: str
    at: int
    octets: bytearray = field(default_factory=bytearray)
    holes: int = 0
    chunks: list[int] = field(default_factory=list)
    end: int | None = None
    ordinals: list[int] = field(default_factory=list)  # of its end mark, or of its chunks
    complete: bool = False


@dataclass(slots=True)
class _Side:
    octets: bytearray = field(default_factory=bytearray)
    have: int = 0
    read: int = 0  # stream offset up to which the machine has told what it read


class _Listener:
    """Hears one connection; the core calls these methods, as it does those of `transcripts.Tape`."""

    def __init__(self, first_packet: int) -> None:
        self.first_packet = first_packet
        self.sides = (_Side(), _Side())
        self.commands: list[Command] = []
        self.ordinals: dict[int, int] = {}
        self.replies: list[Reply] = []
        self.answers: dict[int, Reply] = {}
        self.waiting: set[int] = set()  # ordinals of commands and end marks without a reply
        self.texts: list[_Text] = []
        self.open: _Text | None = None
        self.gaps: list[tuple[int, int, int]] = []
        self.tls_at: int | None = None
        self.cut = False

    # --- the streams

    def stream(self, conn: int, side: int, at: int, octets: bytes, _: object) -> None:
        if conn != self.first_packet:
            return
        here = self.sides[side]
        self._keep(side, octets[max(0, here.have - at) :])

    def stream_gap(self, conn: int, side: int, at: int, n: int, _: object) -> None:
        if conn != self.first_packet:
            return
        self.gaps.append((side, at, n))
        here = self.sides[side]
        if len(here.octets) + n <= limits.SCRIPT_OCTETS:
            self._keep(side, bytes(n))
        else:
            here.have += n
            self.cut = True

    def _keep(self, side: int, octets: bytes) -> None:
        here = self.sides[side]
        here.have += len(octets)
        if self.cut or len(here.octets) + len(octets) > limits.SCRIPT_OCTETS:
            self.cut = True
        else:
            here.octets += octets

    # --- what the machine reads

    def command(self, conn: int, line: bytes, length: int, kind: int, ordinal: int | None) -> None:
        if conn != self.first_packet:
            return
        here = self.sides[CLIENT]
        at = max(here.octets.find(line, here.read), here.read)
        end = at + length
        end += 2 if here.octets[end : end + 2] == b"\r\n" else int(here.octets[end : end + 1] == b"\n")
        here.read = end
        words = line.split(None, 1)
        verb = "" if kind or not words else words[0].upper().decode("latin-1")
        self.commands.append(Command(verb, line, at, end, None, len(self.waiting), bool(kind)))
        if ordinal is not None:
            self.ordinals[ordinal] = len(self.commands) - 1
            self.waiting.add(ordinal)

    def reply(self, conn: int, code: int | None, ordinal: int | None, *_: object) -> None:
        if conn != self.first_packet:
            return
        here = self.sides[SERVER]
        at = end = here.read
        last = b"" if code is None else b"%03d" % code
        while end < len(here.octets):
            newline = here.octets.find(b"\n", end)
            line = bytes(here.octets[end : newline + 1 if newline >= 0 else len(here.octets)])
            end += len(line)
            if not last or (line.startswith(last) and line[3:4] != b"-"):
                break
        here.read = end
        made = Reply(code, bytes(here.octets[at:end]), at, end)
        self.replies.append(made)
        if ordinal is not None:
            self.answers[ordinal] = made
            self.waiting.discard(ordinal)
            if self.open is not None and self.open.via == "DATA" and ordinal not in self.ordinals:
                self.open.ordinals = [ordinal]  # of the end mark to come

    def text_begin(self, conn: int, via: str, *_: object) -> None:
        if conn == self.first_packet:
            self._close()
            self.open = _Text(via, self.sides[CLIENT].read)

    def text(self, conn: int, octets: bytes, via: str, *_: object) -> None:
        if conn != self.first_packet:
            return
        text = self._text(via)
        self.sides[CLIENT].read += len(octets)
        if len(text.octets) + len(octets) <= limits.SCRIPT_OCTETS:
            text.octets += octets

    def text_gap(self, conn: int, n: int, via: str, *_: object) -> None:
        if conn != self.first_packet:
            return
        text = self._text(via)
        self.sides[CLIENT].read += n
        text.holes += n
        if len(text.octets) + n <= limits.SCRIPT_OCTETS:
            text.octets += bytes(n)

    def text_end(self, conn: int, ordinal: int, *_: object) -> None:
        if conn != self.first_packet:
            return
        text = self._text("DATA")
        self.sides[CLIENT].read += 3  # the dot and its line end
        text.ordinals = [ordinal]
        if ordinal not in self.answers:
            self.waiting.add(ordinal)
        self._close(True)

    def chunk_done(self, conn: int, ordinal: int, last: bool, *_: object) -> None:
        if conn != self.first_packet:
            return
        text = self._text("BDAT")
        text.chunks.append(len(text.octets) - sum(text.chunks))
        text.ordinals.append(ordinal)
        if last:
            self._close(True)

    def starttls(self, conn: int, client_at: int, server_at: int, *_: object) -> None:
        if conn == self.first_packet:
            self.tls_at = client_at

    def implicit_tls(self, conn: int, *_: object) -> None:
        if conn == self.first_packet:
            self.tls_at = 0

    def _text(self, via: str) -> _Text:
        if self.open is not None and self.open.via != via:
            self._close()
        if self.open is None:
            self.open = _Text(via, self.sides[CLIENT].read)
        return self.open

    def _close(self, complete: bool = False) -> None:
        if self.open is not None:
            self.open.complete = complete
            self.open.end = self.sides[CLIENT].read
            self.texts.append(self.open)
        self.open = None

    # --- the whole

    def finished(self) -> None:
        self._close()
        for ordinal, place in self.ordinals.items():
            if ordinal in self.answers:
                self.commands[place] = self.commands[place]._replace(reply=self.answers[ordinal])

    def mails(self) -> list[Transaction]:
        """A mail begins with MAIL, and has what comes before the next one."""
        begins = [n for n, each in enumerate(self.commands) if each.verb == "MAIL" and self._opens(n)]
        made = []
        for number, (first, behind) in enumerate(zip(begins, [*begins, len(self.commands)][1:], strict=True), 1):
            mine = self.commands[first:behind]
            until = self.commands[behind].at if behind < len(self.commands) else self.sides[CLIENT].have + 1
            rcpts = tuple(each for each in mine if each.verb == "RCPT")
            data = next((each for each in reversed(mine) if each.verb in ("DATA", "BDAT")), None)
            mail = Transaction(number, mine[0], rcpts, data)
            for text in self.texts:
                if mine[0].end <= text.at <= until:
                    mail = mail._replace(
                        text=bytes(text.octets), text_at=text.at, text_end=text.end, complete=text.complete,
                        holes=text.holes, chunks=tuple(text.chunks), reply=self._decided(text),
                    )  # fmt: skip
            made.append(mail)
        return made

    def _decided(self, text: _Text) -> Reply | None:
        """The reply to its end mark or last chunk; else the refusal of an earlier one, from which that follows."""
        told = [self.answers.get(ordinal) for ordinal in text.ordinals]
        refused = (each for each in told if each is not None and (each.code or 0) >= 400)
        return next(refused, told[-1] if told else None)

    def _opens(self, place: int) -> bool:
        """Not a MAIL inside of an open mail that was refused for that (503)."""
        reply = self.commands[place].reply
        if reply is None or reply.code != 503:
            return True
        for each in reversed(self.commands[:place]):
            if each.verb in ("RSET", "EHLO", "HELO", "LHLO", "QUIT"):
                return True
            if each.verb == "MAIL":
                over = any(text.complete and each.end <= text.at < self.commands[place].at for text in self.texts)
                return over or (each.reply is not None and (each.reply.code or 0) >= 400)
        return True


def script_of(source: Input, first_packet: int, *, ports: Sequence[int] = PORTS) -> Script | None:
    """The dialogue of the connection whose first frame is this one; None when there is no SMTP in it.

    A capture that ends too early gives what was read. Raises UsageError like Engine.run.
    """
    engine = Engine([], ports=ports)
    heard = _Listener(first_packet)
    run = Run(engine, source, TapeSink(engine.program, mails=False), heard)
    try:
        found = next((flow for flow in run.records() if flow.first_packet == first_packet), None)
    finally:
        run.close()
    if found is None:
        return None
    heard.finished()
    # a reply to no command is the greeting where it is the first
    greeting = heard.replies[0] if heard.replies and heard.replies[0] not in heard.answers.values() else None
    return Script(
        first_packet=first_packet,
        client=found.client,
        server=found.server,
        start_ns=found.start_ns,
        streams=(bytes(heard.sides[CLIENT].octets), bytes(heard.sides[SERVER].octets)),
        greeting=greeting,
        commands=tuple(heard.commands),
        replies=tuple(heard.replies),
        mails=tuple(heard.mails()),
        tls_at=heard.tls_at,
        gaps=tuple(heard.gaps),
        confidence=tuple(found.confidence),
        cut=heard.cut,
    )
