"""What a probe says, and to whom: at most twelve commands, at most one connection a second."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Final, NamedTuple

from smtpinspect.diagnose.paths.generations import styles_of
from smtpinspect.diagnose.probe.talk import Answer, NoServerError, Socket, Talk, Wire
from smtpinspect.errors import UsageError

WAIT: Final = 30.0  # seconds for a greeting or a reply; RFC 5321 4.5.3.2 allows 300
SPLIT_WAIT: Final = 10.0  # a box that discards one part of a command leaves no reply at all
SPLIT_PAUSE: Final = 1.0  # between the parts, so that no stack joins them
BETWEEN: Final = 1.0  # seconds between two connections
COMMANDS: Final = 12
FAKE: Final = b"some-fake-command"  # Cisco document 4733 types it
PORT: Final = 25


class Asked(NamedTuple):
    """Where to, from where, under which name (RFC 5321 4.1.1.1). `address`: one that HOST stands for."""

    host: str
    address: str
    port: int = PORT
    source: str | None = None
    helo: str = ""
    wait: float = WAIT


class Step(NamedTuple):
    """Commands that go out together, in parts; `why` is for the announcement."""

    name: str
    pieces: tuple[bytes, ...]
    why: str
    replies: int = 1


class Heard(NamedTuple):
    """A step, and what came back: as many answers as commands, fewer where nothing more came."""

    step: Step
    answers: tuple[Answer, ...]

    @property
    def answer(self) -> Answer:
        """The first one; silence where none came."""
        return self.answers[0] if self.answers else Answer(ended="silence")


class Talked(NamedTuple):
    """The whole dialogue."""

    asked: Asked
    greeting: Answer
    heard: tuple[Heard, ...]
    connections: int

    def of(self, name: str) -> Answer | None:
        """The first answer to this step; None: it was not asked."""
        return next((each.answer for each in self.heard if each.step.name == name), None)


def plan(helo: str) -> tuple[Step, ...]:
    """The steps in their order, one connection; the last but one may stand alone on a second one."""
    name = helo.encode("ascii", "replace")
    return (
        Step("ehlo", (b"EHLO " + name + b"\r\n",), "are keywords masked, is EHLO let through?"),
        Step("helo", (b"HELO " + name + b"\r\n",), "only where EHLO is refused, or answered without a name"),
        Step("fake", (FAKE + b"\r\n",), "a server refuses it; a MailGuard may say OK, or overwrite it"),
        Step("noop", (b"NOOP\r\n",), "the server's own OK, to compare with"),
        Step("pipelined", (b"NOOP\r\nNOOP\r\n",), "two commands in one segment", 2),
        Step("split", (b"NO", b"OP\r\n"), f"one command in two segments, {SPLIT_PAUSE:.0f} s apart"),
        Step("quit", (b"QUIT\r\n",), "the end"),
    )


def target(text: str) -> tuple[str, int]:
    """`HOST`, `HOST:PORT`, `[IPv6]:PORT` or an IPv6 address alone. Raises UsageError."""
    host, port = text, str(PORT)
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise UsageError(f"{text}: [ADDRESS]:PORT is wanted")
        port = rest[1:] or port
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
    if not host or not (port.isascii() and port.isdigit() and 0 < int(port) <= 65_535):
        raise UsageError(f"{text}: HOST or HOST:PORT is wanted, a port from 1 to 65,535")
    return host, int(port)


def resolved(host: str) -> tuple[str, ...]:
    """The addresses of this name. Raises UsageError: a name that is none is wrong usage."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UsageError(
            f"{host}: no address of this name ({reason}). A mail server is wanted, not a mail domain: "
            "its MX record names one"
        ) from None
    return tuple(dict.fromkeys(str(each[4][0]) for each in found))


def own_name(address: str = "") -> str:
    """How this machine calls itself; an address literal where its name is not a full one (RFC 5321 4.1.3)."""
    name = socket.gethostname()
    if "." in name.strip(".") and name.isascii():
        return name
    if not address:
        return "[this machine's address]"
    return f"[IPv6:{address}]" if ipaddress.ip_address(address).version == 6 else f"[{address}]"


def local(address: str, source: str | None = None) -> str:
    """The address of this machine from which that one is reached; "" when there is no way. Nothing is sent."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as one, suppress(OSError):
        if source:
            one.bind((source, 0))
        one.connect((address, PORT))
        return str(one.getsockname()[0])
    return ""


def talk(asked: Asked, connect: Callable[[], Wire] | None = None) -> Talked:
    """Hold the dialogue. Raises NoServerError when there is no server, or what answers speaks no SMTP."""
    wire = connect() if connect else Socket(asked.address, asked.port, asked.source)
    try:
        helo = asked.helo or own_name(wire.local if isinstance(wire, Socket) else "")
        line = Talk(wire)
        greeting = line.read(asked.wait)
        _greeted(greeting, asked)
        heard, rest = _steps(line, list(plan(helo)), asked)
    finally:
        wire.close()
    if not rest:
        return Talked(asked, greeting, tuple(heard), 1)
    # somebody ended the connection: what is left is asked on another one
    wire.pause(BETWEEN)
    again = connect() if connect else Socket(asked.address, asked.port, asked.source)
    try:
        line = Talk(again)
        anew = line.read(asked.wait)
        if anew.octets.startswith(b"220") and whole(anew):
            hello = next(step for step in plan(helo) if step.name == _greeting_of(heard))
            line.ask(*hello.pieces, seconds=asked.wait)
            heard += _steps(line, rest, asked)[0]
    finally:
        again.close()
    return Talked(asked, greeting, tuple(heard), 2)


def _greeting_of(heard: list[Heard]) -> str:
    return "helo" if any(each.step.name == "helo" for each in heard) else "ehlo"


def _steps(line: Talk, left: list[Step], asked: Asked) -> tuple[list[Heard], list[Step]]:
    """The steps that were made, and those that were not since the connection ended."""
    heard: list[Heard] = []
    while left:
        step = left.pop(0)
        if step.name == "helo" and heard and _extended(heard[-1].answer):
            continue
        seconds = min(asked.wait, SPLIT_WAIT) if step.name == "split" else asked.wait
        answers = [line.ask(*step.pieces, seconds=seconds, pause=SPLIT_PAUSE)]
        while len(answers) < step.replies and not answers[-1].ended:
            answers.append(line.read(seconds))
        heard.append(Heard(step, tuple(answers)))
        if answers[-1].ended:
            # behind half a command nothing can be said any more
            return heard, [] if step.name in ("split", "quit", "ehlo", "helo") else left
    return heard, []


def _extended(answer: Answer) -> bool:
    """Did EHLO get a server's own 250, with its name?"""
    words = answer.text.split("\n")[0][4:].split()
    return answer.code == 250 and bool(words) and ("." in words[0].strip(".") or "\n" in answer.text)


def _greeted(greeting: Answer, asked: Asked) -> None:
    """Raises NoServerError for what is no greeting of an SMTP server that serves us."""
    octets = greeting.octets
    if octets[:1] in (b"\x15", b"\x16") and octets[1:2] == b"\x03":
        raise NoServerError("the port speaks TLS from the start: no MailGuard can read or change anything there")
    if not octets:
        what = {"closed": "closed the connection", "reset": "reset the connection"}.get(greeting.ended, "")
        if what:
            raise NoServerError(f"the other end {what} without a greeting")
        tls = " A port that expects TLS from the start is silent like this (465 does)." if asked.port != PORT else ""
        raise NoServerError(f"no greeting within {asked.wait:.0f} s: a slow server, a tarpit, or no SMTP.{tls}")
    code = octets[:3]
    if not code.isdigit():
        raise NoServerError(f"what answers speaks no SMTP: {octets[:48]!r}")
    if not code.startswith(b"2"):
        raise NoServerError(f"the server does not want us: {greeting.text[:200]}")
    if greeting.ended == "too long":
        raise NoServerError("the greeting has no end: more than 64 kB")
    if not whole(greeting):
        raise NoServerError(
            f"no whole greeting within {asked.wait:.0f} s, only {octets[:48]!r}: a slow server or a tarpit. Nothing "
            "was sent to it (RFC 5321 4.3.1 waits for the greeting); --wait N waits longer, up to 300 s"
            if greeting.ended == "silence"
            else f"the other end ended the connection within its greeting: {octets[:48]!r}"
        )


def whole(greeting: Answer) -> bool:
    """Has it come to its end? A mask may have taken the code of its last line: then nothing tells but silence."""
    if not greeting.ended:
        return True
    lines = greeting.octets.splitlines()
    lost = bool(lines) and not lines[-1][:3].isdigit() and bool(styles_of(greeting.octets))
    return greeting.ended == "silence" and greeting.octets.endswith(b"\n") and lost
