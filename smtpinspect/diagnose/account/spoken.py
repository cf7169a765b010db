"""A dialogue as the packets of a connection show it, by lengths where a snap length hides the octets."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Final, NamedTuple

from smtpinspect.diagnose.account.stream import Stream
from smtpinspect.diagnose.trace import Packet, options
from smtpinspect.enforce.craft import FIN, PSH, SYN
from smtpinspect.grammar import limits
from smtpinspect.grammar.verbs import NUMBER, hides

TEXT: Final = "text"
REFUSES: Final = 400  # reply codes from here on (RFC 5321 4.2.1)
CLOSES: Final = 421  # RFC 5321 3.8: the server closes, whatever the client was about to say
# Where a flow stands while this command, or its reply, is under way. What is not here belongs to the step before it.
PHASES: Final[Mapping[str, str]] = {
    "EHLO": "ehlo", "HELO": "ehlo", "LHLO": "ehlo", "STARTTLS": "ehlo", "AUTH": "ehlo", "MAIL": "mail",
    "RCPT": "rcpt", "DATA": "datacmd", "QUIT": "quit",
}  # fmt: skip
# What a client does next that got its reply.
NEXT: Final[Mapping[str, str]] = {
    "greeting": "ehlo", "ehlo": "mail", "mail": "rcpt", "rcpt": "datacmd", "datacmd": "databody", "text": "quit",
    "quit": "quit",
}  # fmt: skip
_COMMAND: Final = re.compile(rb"(?:QUIT|RSET|NOOP|MAIL FROM:|EHLO |HELO |STARTTLS|DATA\r)", re.I)
_CODE: Final = re.compile(rb"([2-5]\d\d)(?: |\r|\n|$)")
AUTHS: Final = ("AUTH", "X-EXPS")  # RFC 4954 4; Exchange's own
_MECHANISM: Final = re.compile(rb"[ \t]*\S+[ \t]+\S+[ \t]+")
_GOES_ON: Final = 334  # RFC 4954 4: the client's next line answers it
_OF_AUTH: Final = (235, _GOES_ON, 535)  # replies that nothing but AUTH gets


class Answer(NamedTuple):
    """A reply, whole or not: `code` is None where its last line is not there. `at`, `end`: the server's offsets."""

    code: int | None
    at: int
    end: int
    packet: Packet
    line: bytes


class Step(NamedTuple):
    """A command, a mail's text (`verb` TEXT), or what answers a 334 (""): the client's offsets, its packet, its reply.

    `sure`: `end` is known; else it is where the client stopped sending.
    """

    phase: str
    verb: str
    at: int
    end: int
    packet: Packet
    line: bytes = b""
    answer: Answer | None = None
    sure: bool = True
    last: bool = True  # of a chunk: is it the last one

    @property
    def begin(self) -> int:
        """Of a text, or a chunk of it, where its first octet lies: behind the line of BDAT (RFC 3030 2)."""
        return min(self.at + len(self.line), self.end)


class Dialogue(NamedTuple):
    """`mss`: octets of a full segment; `unasked`: a reply to nothing, as of a server that waited too long."""

    greeting: Answer | None
    steps: tuple[Step, ...]
    mss: int
    tls_at: int | None = None  # the client's offset from which on it is TLS
    unasked: Answer | None = None

    @property
    def replies(self) -> list[Answer]:
        """The greeting and all that follow, as far as they are no TLS."""
        answers = (self.greeting, *(step.answer for step in self.steps), self.unasked)
        return [each for each in answers if each is not None]

    def mail(self, number: int) -> tuple[Step, ...]:
        """The steps of a mail (from 0), of its connection before it none."""
        begins = [n for n, step in enumerate(self.steps) if step.verb == "MAIL"]
        if not 0 <= number < len(begins):
            return ()
        return self.steps[begins[number] : begins[number + 1] if number + 1 < len(begins) else None]


class _Run(NamedTuple):
    """Octets that came together; of `length` some may be missing at the end."""

    at: int
    octets: bytes
    length: int
    packet: Packet

    @property
    def end(self) -> int:
        return self.at + self.length


class _Side:
    """One side's stream, first copy wins."""

    def __init__(self, sent: Sequence[Packet]) -> None:
        self.runs: list[_Run] = []
        have = 0
        for packet in sorted(sent, key=lambda p: p.at or 0):
            at = packet.at or 0
            skip = max(0, have - at)
            if skip < packet.length:
                self.runs.append(_Run(at + skip, packet.payload[skip:], packet.length - skip, packet))
                have = at + packet.length
        self.sent = have
        self._starts = [run.at for run in self.runs]

    def at(self, offset: int) -> int:
        """The run that holds this offset, or the next one behind it."""
        n = bisect_right(self._starts, offset) - 1
        return n if n >= 0 and offset < self.runs[n].end else n + 1

    def snapped(self, end: int) -> bool:
        """Does the segment that ends here lack its last octets?"""
        n = self.at(end - 1)
        return n < len(self.runs) and self.runs[n].end == end and len(self.runs[n].octets) < self.runs[n].length

    def line(self, offset: int) -> tuple[bytes, int, Packet] | None:
        """The line from here: its octets, the offset behind it, the packet where it begins. A line that a snap length
        cut is taken to end with its segment."""
        n = self.at(offset)
        if n >= len(self.runs):
            return None
        first, found = self.runs[n], bytearray()
        while n < len(self.runs) and len(found) < limits.TRACE_OCTETS:
            run = self.runs[n]
            if found and run.at > offset:
                break  # a gap
            offset = max(offset, run.at)
            begin = offset - run.at
            newline = run.octets.find(b"\n", begin)
            if newline >= 0:
                found += run.octets[begin : newline + 1]
                return bytes(found), run.at + newline + 1, first.packet
            found += run.octets[begin:]
            offset = run.end
            if len(run.octets) < run.length:
                break
            n += 1
        return bytes(found), offset, first.packet


def secrets(said: Dialogue) -> tuple[tuple[int, int], ...]:
    """What AUTH carries: [from, to) of the client's stream, line ends included."""
    found = []
    for step in said.steps:
        if not step.verb:
            found.append((step.at, step.end))
        elif hides(step.verb) and (head := _MECHANISM.match(step.line)):
            found.append((step.at + head.end(), step.end))
    return tuple(found)


def dialogue(packets: Sequence[Packet], by_client: Stream, by_server: Stream) -> Dialogue:
    """What both sides said, with these packets."""
    client, server = _Side(by_client.sent), _Side(by_server.sent)
    mss = _mss(packets)
    answers = _answers(server)
    greeting = first = next(answers, None)
    if first is not None and first.code != 220 and not any(packet.flags & SYN for packet in packets):
        greeting, answers = None, chain((first,), answers)  # it began in the middle
    reader = _Reader(client, answers, mss)
    reader.read()
    unasked = reader.unasked if reader.unasked is not None or reader.tls_at is not None else next(answers, None)
    return Dialogue(greeting, tuple(reader.steps), mss, reader.tls_at, unasked)


def _mss(packets: Sequence[Packet]) -> int:
    """Octets of a full segment: what both ends announced, less the timestamps; else the longest that is seen."""
    told, stamps = [], True
    for packet in packets:
        if packet.flags & SYN:
            each = dict(options(packet.options))
            told += [int.from_bytes(each[2], "big")] if len(each.get(2, b"")) == 2 else []
            stamps = stamps and 8 in each
    if told and min(told) > 64:
        return min(told) - (12 if stamps else 0)
    return min(max([packet.length for packet in packets], default=0) or 1460, 1460)


def _answers(server: _Side) -> Iterator[Answer]:
    at = 0
    while True:
        begin, line = at, server.line(at)
        if line is None:
            return
        first = line
        while line is not None:
            octets, at, _ = line
            code = _CODE.match(octets)
            if code is not None or not octets.endswith(b"\n"):
                break
            line = server.line(at)
        if line is not None and code is None and server.snapped(at):
            code = re.match(rb"([2-5]\d\d)", first[0])
        told = int(code[1]) if line is not None and code is not None else None
        yield Answer(told, begin, at, line[2] if line else first[2], first[0])


class _Reader:
    """Reads the client's side, and asks for a reply whenever one is due."""

    def __init__(self, client: _Side, answers: Iterator[Answer], mss: int) -> None:
        self.client, self.answers, self.mss = client, answers, mss
        self.steps: list[Step] = []
        self.tls_at: int | None = None
        self.unasked: Answer | None = None

    def read(self) -> None:
        at, phase = 0, "ehlo"
        answers = perhaps = False  # is this line what AUTH asked for? perhaps: no reply to AUTH is in the capture
        while self.tls_at is None and len(self.steps) < limits.TRACE_STEPS:
            line = self.client.line(at)
            if line is None:
                return
            octets, end, packet = line
            if octets[:1] == b"\x16" and not at:
                self.tls_at = 0
                return
            words = octets.split(None, 1)
            known = bool(words) and words[0].upper() in NUMBER
            verb = "" if answers or not words or (perhaps and not known) else words[0].upper().decode("latin-1")
            phase = PHASES.get(verb, phase)
            if verb == "BDAT":
                at, phase = self._chunk(octets, at, end, packet), "mail"
                continue
            step = Step(phase, verb, at, end, packet, octets, next(self.answers, None))
            code = step.answer.code if step.answer is not None else None
            if code in _OF_AUTH and not known and verb not in AUTHS:
                step = step._replace(verb="")
            self.steps.append(step)
            answers, perhaps = code == _GOES_ON, code is None and (verb in AUTHS or (perhaps and not known))
            at = end
            if verb == "STARTTLS" and code == 220:
                self.tls_at = end
            elif verb == "DATA" and (code == 354 or (step.answer is None and self._goes_on(end))):
                at = self._text(end)
                phase = "mail"
            elif verb == "QUIT":
                phase = "quit"

    def _goes_on(self, at: int) -> bool:
        line = self.client.line(at)
        return line is not None and not _COMMAND.match(line[0])

    def _chunk(self, octets: bytes, at: int, end: int, packet: Packet) -> int:
        words = octets.split()
        size = int(words[1]) if len(words) > 1 and words[1].isdigit() and len(words[1]) < 16 else 0
        last = len(words) > 2 and words[2].upper() == b"LAST"
        behind = end + size
        step = Step("datacmd", TEXT, at, behind, packet, octets, next(self.answers, None), True, last)
        self.steps.append(step)
        return behind

    def _text(self, at: int) -> int:
        n = self.client.at(at)
        if n >= len(self.client.runs):
            return at
        packet = self.client.runs[n].packet
        end = self._end_mark(at, n)
        answer = next(self.answers, None)
        seen = self._visible(at)
        if end is None and answer is not None and answer.code == CLOSES and seen:
            self.unasked, answer = answer, None
        sure = end is not None
        if end is None and answer is not None and answer.packet.acks is not None and not seen:
            end, sure = min(max(answer.packet.acks, at), self.client.sent), True
        elif end is not None and answer is not None and (answer.packet.acks or end) < end:
            self._again(end)
        if end is None:
            end = self.client.sent
            sure = self._ran_out()
        self.steps.append(Step("databody", TEXT, at, end, packet, b"", answer, sure))
        return end

    def _end_mark(self, at: int, n: int) -> int | None:
        """The offset behind CRLF.CRLF, or that of the command behind it, where that begins a segment.

        Behind a hole a segment with the dot alone is one.
        """
        behind = b"\r\n"  # the last octets before the run; of a hole none
        expected = at
        for run in self.client.runs[n:]:
            begin = max(run.at, at)
            octets = run.octets[begin - run.at :]
            if run.at > expected:
                behind = b""
            if not behind and _COMMAND.match(octets):
                return begin
            if not behind and octets == b".\r\n":
                return run.end
            joined = behind + octets
            found = joined.find(b"\r\n.\r\n")
            if found >= 0:
                return begin - len(behind) + found + 5
            behind = joined[-4:] if len(run.octets) == run.length else b""
            expected = run.end
        return None

    def _again(self, end: int) -> None:
        """Behind a reply inside of a text what else comes before the next command answers nothing."""
        n = self.client.at(end)
        if n == len(self.client.runs):
            return
        until = self.client.runs[n].packet.number
        for answer in self.answers:
            if answer.packet.number > until:
                self.answers = chain((answer,), self.answers)
                return

    def _visible(self, at: int) -> bool:
        """Is no octet from here on hidden? Then an end mark would be seen."""
        return all(len(run.octets) == run.length for run in self.client.runs[self.client.at(at) :])

    def _ran_out(self) -> bool:
        """Had the client no more to send? Its last segment is short, and pushed or the last at all."""
        run = self.client.runs[-1]
        if len(run.octets) == run.length:
            return False  # the end mark would be seen
        return bool(run.packet.length % self.mss and run.packet.flags & (PSH | FIN))
