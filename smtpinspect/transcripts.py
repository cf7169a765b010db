"""A capture as dialogues: streams, commands with their replies, messages and their parts.

The core's machine tells what it reads; MIME parts of a whole message are Python's email package's business.
"""

from __future__ import annotations

import email
import email.errors
import email.header
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from smtpinspect._core.views import TapeSink
from smtpinspect.engine import PORTS, Engine, Run
from smtpinspect.grammar import limits
from smtpinspect.grammar.verbs import hides
from smtpinspect.source import Input

ARG = 400  # octets of an argument that are shown
SUBJECT = 1_000  # characters of a raw subject that are shown
BLANK = b" \t\r"
REPLY = 4_000  # octets of a reply's text that are kept
UNREAD = 1 << 16  # octets of the server that wait to be told as a reply
HOLES = 1 << 30  # octets of holes that are hashed as zeros; a connection with more has no hash


@dataclass(slots=True)
class _Message:
    via: str
    command: int | None  # ordinal of the command whose reply is final
    terminated: bool = False
    wire: int = 0
    octets: int = 0
    hash: Any = field(default_factory=hashlib.sha256)
    kept: bytearray | None = field(default_factory=bytearray)
    line_start: bool = True

    def add(self, octets: bytes) -> None:
        self.wire += len(octets)
        plain = octets if self.via == "BDAT" else self._unstuffed(octets)
        self.octets += len(plain)
        self.hash.update(plain)
        if self.kept is not None:
            self.kept += plain
            if len(self.kept) > limits.TRANSCRIPT_MESSAGE:
                self.kept = None

    def _unstuffed(self, octets: bytes) -> bytes:
        """Without the dot that begins a line (RFC 5321 4.5.2); a line ends at LF here, bare or not."""
        if not octets:
            return octets
        first = octets[1:] if self.line_start and octets[:1] == b"." else octets
        self.line_start = octets[-1:] == b"\n"
        return re.sub(rb"\n\.", b"\n", first)


@dataclass(slots=True)
class _Talk:
    """What the tape has of one connection."""

    have: list[int] = field(default_factory=lambda: [0, 0])
    octets: list[int] = field(default_factory=lambda: [0, 0])
    hashes: list[Any] = field(default_factory=lambda: [hashlib.sha256(), hashlib.sha256()])
    commands: list[dict[str, Any]] = field(default_factory=list)
    by_ordinal: dict[int, dict[str, Any]] = field(default_factory=dict)
    replies: dict[int, int | None] = field(default_factory=dict)
    codes: list[int | None] = field(default_factory=list)
    unread: bytearray = field(default_factory=bytearray)  # of the server: what no reply has been made of
    said: list[tuple[str, int | None]] = field(default_factory=list)  # a text per reply, the command's ordinal
    messages: list[_Message] = field(default_factory=list)
    open: _Message | None = None
    gaps: list[dict[str, Any]] = field(default_factory=list)
    starttls: tuple[int, int] | None = None
    implicit: bool = False
    holes: int = 0


class Tape:
    """Written by the core while it reads: every method gets the connection's first packet as its name."""

    def __init__(self, secrets: bool) -> None:
        self.secrets = secrets
        self.talks: dict[int, _Talk] = {}

    def of(self, conn: int) -> _Talk:
        return self.talks.setdefault(conn, _Talk())

    def stream(self, conn: int, side: int, at: int, octets: bytes, _: Any) -> None:
        talk = self.of(conn)
        octets = octets[talk.have[side] - at :] if at < talk.have[side] else octets
        talk.have[side] += len(octets)
        talk.octets[side] += len(octets)
        talk.hashes[side].update(octets)
        if side and talk.starttls is None:
            talk.unread += octets
            del talk.unread[:-UNREAD]

    def stream_gap(self, conn: int, side: int, at: int, n: int, _: Any) -> None:
        talk = self.of(conn)
        talk.gaps.append({"direction": "server" if side else "client", "offset": at, "length": n})
        talk.have[side] += n
        talk.holes += n
        if n > 1:  # a hole of one octet is a keep-alive or a probe more often than a loss
            talk.octets[side] += n
            if talk.holes <= HOLES:
                _zeros(talk.hashes[side], n)

    def command(self, conn: int, line: bytes, length: int, kind: int, ordinal: int | None) -> None:
        talk = self.of(conn)
        words = line.strip(BLANK).replace(b"\t", b" ").split(b" ", 1)
        at = line.find(words[0]) + len(words[0])
        verb = words[0].decode("latin-1").upper()
        arg = line[at:].strip(BLANK).decode("latin-1")[:ARG]
        if kind == 1:
            verb, arg = "(auth-response)", (line.decode("latin-1") if self.secrets else "")
        elif hides(verb) and not self.secrets:
            arg = arg.split(" ", 1)[0]
        made = {"verb": verb, "arg": arg, "length": length, "reply": None}
        talk.commands.append(made)
        if ordinal is not None:
            talk.by_ordinal[ordinal] = made
        if (
            talk.open is not None
            and talk.open.via == "BDAT"
            and verb in ("RSET", "MAIL", "EHLO", "HELO", "DATA", "QUIT")
        ):
            self._close(talk, False, None)

    def reply(self, conn: int, code: int | None, ordinal: int | None, *_: Any) -> None:
        talk = self.of(conn)
        talk.codes.append(code)
        talk.said.append((_text_of(talk.unread, code), ordinal))
        if ordinal is not None:
            talk.replies[ordinal] = code
            if (command := talk.by_ordinal.get(ordinal)) is not None:
                command["reply"] = code

    def text_begin(self, conn: int, via: str, *_: Any) -> None:
        talk = self.of(conn)
        if talk.open is not None:
            self._close(talk, False, None)
        talk.open = _Message(via, None)

    def text(self, conn: int, octets: bytes, via: str, *_: Any) -> None:
        talk = self.of(conn)
        if talk.open is None:
            talk.open = _Message(via, None)
        talk.open.add(octets)

    def text_gap(self, conn: int, n: int, via: str, *_: Any) -> None:
        if self.of(conn).holes > HOLES:
            return
        while n > 0:
            self.text(conn, bytes(min(n, 1 << 20)), via)
            n -= 1 << 20

    def text_end(self, conn: int, ordinal: int, *_: Any) -> None:
        talk = self.of(conn)
        if talk.open is None:
            talk.open = _Message("DATA", None)
        self._close(talk, True, ordinal)

    def chunk_done(self, conn: int, ordinal: int, last: bool, *_: Any) -> None:
        talk = self.of(conn)
        if talk.open is None:
            talk.open = _Message("BDAT", None)
        talk.open.command = ordinal
        if last:
            self._close(talk, True, ordinal)

    def starttls(self, conn: int, client_at: int, server_at: int, *_: Any) -> None:
        self.of(conn).starttls = (client_at, server_at)

    def implicit_tls(self, conn: int, *_: Any) -> None:
        self.of(conn).implicit = True

    def _close(self, talk: _Talk, terminated: bool, ordinal: int | None) -> None:
        message = talk.open
        talk.open = None
        if message is None or (not terminated and message.wire == 0):
            return
        message.terminated = terminated
        message.command = ordinal
        talk.messages.append(message)

    def finish(self, conn: int) -> _Talk:
        """The connection's talk, complete; it is forgotten here."""
        talk = self.talks.pop(conn, None) or _Talk()
        self._close(talk, False, None)
        return talk


def transcript(source: Input, *, ports: Sequence[int] = PORTS, secrets: bool = False) -> list[dict[str, Any]]:
    """One object per SMTP connection, in the order of their first frames, with the fields of the contract (8.3).

    Answers in an AUTH dialogue are left out unless `secrets`. Raises UsageError and CaptureError like Engine.run;
    the error then carries what was read as `partial`.
    """
    engine = Engine([], ports=ports)
    tape = Tape(secrets)
    run = Run(engine, source, TapeSink(engine.program, mails=False), tape)
    found: list[tuple[int, dict[str, Any]]] = []
    try:
        for flow in run.records():
            found.append((flow.first_packet, _object(flow.client, flow.server, tape.finish(flow.first_packet))))
    finally:
        run.close()
    result = [made for _, made in sorted(found, key=lambda pair: pair[0])]
    if run.replay.fault is not None:
        run.replay.fault.partial = result
        run.complain()
    return result


def _object(client: str, server: str, talk: _Talk) -> dict[str, Any]:
    commands, codes = talk.commands, talk.codes
    if talk.implicit:
        commands, codes = [], []
    made: dict[str, Any] = {
        "client": client,
        "server": server,
        "client_bytes": talk.octets[0],
        "server_bytes": talk.octets[1],
        "client_sha256": talk.hashes[0].hexdigest() if talk.holes <= HOLES else None,
        "server_sha256": talk.hashes[1].hexdigest() if talk.holes <= HOLES else None,
        "commands": commands,
        "reply_codes": codes,
        "mail_from": [_address(c["arg"], "FROM:") for c in commands if c["verb"] == "MAIL"],
        "rcpt_to": [_address(c["arg"], "TO:") for c in commands if c["verb"] == "RCPT"],
        "messages": [_message(m, talk) for m in talk.messages],
        "starttls": None,
        "gaps": talk.gaps,
        "replies": [] if talk.implicit else _replies(talk),
    }
    if talk.starttls is not None:
        made["starttls"] = {
            "accepted": True,
            "client_tls_bytes": max(0, talk.have[0] - talk.starttls[0]),
            "server_tls_bytes": max(0, talk.have[1] - talk.starttls[1]),
        }
    return made


def _text_of(unread: bytearray, code: int | None) -> str:
    """The next reply's lines, joined by LF; they are taken out. Lines of other codes in front of it are no replies."""
    lines: list[bytes] = []
    last = b"" if code is None else b"%03d" % code
    while (end := unread.find(b"\n")) >= 0:
        line = bytes(unread[:end]).rstrip(b"\r")
        del unread[: end + 1]
        lines.append(line)
        if not last or (line.startswith(last) and line[3:4] != b"-"):
            break
    return b"\n".join(lines)[:REPLY].decode("latin-1")


def _replies(talk: _Talk) -> list[dict[str, Any]]:
    """The replies in order: code, text, and the place of the command or message that it answers."""
    commands = {id(made): place for place, made in enumerate(talk.commands)}
    messages = {message.command: place for place, message in enumerate(talk.messages) if message.command is not None}
    made = []
    for code, (text, ordinal) in zip(talk.codes, talk.said, strict=True):
        command = None if ordinal is None else talk.by_ordinal.get(ordinal)
        place = None if command is None else commands[id(command)]
        message = None if ordinal is None else messages.get(ordinal)
        made.append({"code": code, "text": text, "command": place, "message": message})
    return made


def _address(arg: str, word: str) -> str:
    return arg[len(word) :].strip() if arg[: len(word)].upper() == word else arg


def _message(message: _Message, talk: _Talk) -> dict[str, Any]:
    made: dict[str, Any] = {
        "via": message.via,
        "terminated": message.terminated,
        "bytes_wire": message.wire,
        "bytes_message": message.octets,
        "sha256": message.hash.hexdigest(),
        "final_reply": talk.replies.get(message.command) if message.command is not None else None,
        "subject_raw": None,
        "subject_decoded": None,
        "parts": None,
    }
    if message.kept is not None:
        octets = bytes(message.kept)
        raw = _subject(octets)
        if raw is not None:
            made["subject_raw"] = raw[:SUBJECT]
            made["subject_decoded"] = decoded(raw)
        try:
            made["parts"] = [
                _part(p) for p in email.message_from_bytes(octets).walk() if not p.is_multipart()
            ]
        except Exception:  # what the package makes of hostile octets is not ours to list
            made["parts"] = None
    return made


def _subject(octets: bytes) -> str | None:
    """The first Subject field of the outer header, its folds kept as LF."""
    value: str | None = None
    at = 0
    while at < len(octets):
        end = octets.find(b"\n", at)
        line = octets[at : end if end >= 0 else len(octets)].removesuffix(b"\r").decode("latin-1")
        at = end + 1 if end >= 0 else len(octets)
        if not line:
            break
        if value is not None:
            if line[0] not in " \t":
                break
            value += "\n" + line
        elif line[:7].lower() == "subject" and line[7:].lstrip(" \t")[:1] == ":":
            value = line.split(":", 1)[1]
    return None if value is None else value.strip(" \t")


def decoded(raw: str) -> str:
    """A field's value for people: unfolded, encoded-words decoded (RFC 2047), other octets as Latin-1."""
    unfolded = raw.replace("\n", "")
    try:
        words = email.header.decode_header(unfolded)
    except (email.errors.HeaderParseError, ValueError):
        return unfolded
    text = ""
    for word, charset in words:
        if isinstance(word, str):
            text += word
            continue
        try:
            text += word.decode(charset or "latin-1", "replace")
        except (LookupError, ValueError):  # a charset that nobody knows, or none for text
            text += word.decode("latin-1")
    return text


def _part(part: Any) -> dict[str, Any]:
    payload = part.get_payload(decode=True) or b""
    encoding = part.get("Content-Transfer-Encoding")
    name = part.get_filename()
    return {
        "type": part.get_content_type(),
        "filename": None if name is None else decoded(str(name)),
        "encoding": None if encoding is None else str(encoding),
        "bytes": len(payload),
        "md5": hashlib.md5(payload, usedforsecurity=False).hexdigest(),
    }


def _zeros(hash_: Any, n: int) -> None:
    block = bytes(1 << 16)
    while n > 0:
        hash_.update(block[: min(n, len(block))])
        n -= len(block)
