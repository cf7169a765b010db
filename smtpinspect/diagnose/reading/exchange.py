"""Exchange and Exchange Online: a queue's LastError, status codes of theirs, and the SMTP protocol logs.

LastError names no phase; the protocol log's last commands do (mta.md, section 7). Its fields: date-time, connector-id,
session-id, sequence-number, local-endpoint, remote-endpoint, event, data, context (Microsoft, Protocol logging).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from smtpinspect.diagnose.model import Reading
from smtpinspect.diagnose.reading.lines import Line
from smtpinspect.diagnose.reading.phrases import Meant, Sense
from smtpinspect.diagnose.reading.state import State, reading
from smtpinspect.mta.base import Cause, Step

NAME: Final = "exchange"
_SESSION: Final[tuple[Step, ...]] = ("greeting", "ehlo", "helo", "mail", "rcpt", "datacmd", "body", "dot")
_WRAPPED: Final = re.compile(
    r'(?:Primary target IP address responded with|communicating with primary target IP address): "{0,2}(?P<inner>.*?)'
    r'"{0,2}\.?(?= Attempted failover|"|$)',
    re.IGNORECASE,
)
_LAST: Final = re.compile(
    r"(?:last endpoint attempted was |LastAttemptedIP=)\[?(?P<ip>[0-9a-fA-F.:]+?)\]?(?::\d+)?(?=\]|\s|$)"
)
_SERVER: Final = re.compile(r"LastAttemptedServerName=(?P<host>[^\]\s]+)")


class _Row(NamedTuple):
    """Words of an error, and what they stand for."""

    pattern: re.Pattern[str]
    steps: tuple[Step, ...]
    causes: tuple[Cause, ...]
    gave_up: bool = False


def _row(pattern: str, steps: tuple[Step, ...], *causes: Cause, gave_up: bool = False) -> _Row:
    return _Row(re.compile(pattern, re.IGNORECASE), steps, causes, gave_up)


# Of Winsock (Microsoft, Windows Sockets Error Codes), where no connection was set up.
_WINSOCK: Final = tuple(
    _row(rf"Failed to connect\. Winsock error code: {codes}\b", ("connect",), *causes)
    for codes, causes in (
        ("10060", ("timeout",)),
        ("10061", ("refused",)),
        ("(?:10051|10065)", ("unreachable",)),
        (r"\d+", ("timeout", "refused", "unreachable")),
    )
)
# mta.md, section 7; what smtpinspect.mta.exchange writes is among it (a test holds that).
ERRORS: Final = (
    *_WINSOCK,
    _row(r"QUEUE\.Expired|\b5\.4\.300 Message expired", (), gave_up=True),
    _row(r"\b5\.4\.316 ", ("connect",), "refused", gave_up=True),
    _row(r"\b5\.4\.315 ", ("connect",), "timeout", gave_up=True),
    _row(r"\b5\.4\.317 ", ("connect", "greeting", "ehlo"), "reply", gave_up=True),
    _row(r"\b5\.4\.318 ", _SESSION, "closed", "reset", gave_up=True),
    _row(r"\b4\.4\.315 |\b4\.4\.1 connection timed out", ("connect",), "timeout"),
    _row(r"\b4\.4\.316 ", ("connect",), "refused"),
    _row(r"\b4\.4\.317 Cannot establish session", ("starttls",), "lacking"),
    _row(r"\b4\.4\.317 ", ("greeting", "ehlo", "starttls"), "reply"),
    _row(r"\b4\.4\.318 |SuspiciousRemoteServerError|disconnected abruptly", _SESSION, "closed", "reset"),
    _row(r"Unable to connect", ("connect",), "timeout", "refused", "unreachable"),
    _row(r"Connection dropped due to (?:TimedOut|timeout)", _SESSION, "timeout"),
    _row(r"Connection dropped due to ConnectionReset", _SESSION, "reset"),
    _row(r"Connection dropped due to SocketError", _SESSION, "closed", "reset"),
    _row(r"Connection dropped due to ", _SESSION, "timeout", "closed", "reset"),
    _row(r"response was not RFC conformant", _SESSION, "malformed"),
    _row(r"Cannot achieve Exchange Server authentication", ("auth", "ehlo"), "lacking"),
)
_REPLY: Final = re.compile(r"[245]\d\d[ -](?:.*)")
_GOOD: Final = re.compile(r"2\d\d[ -]")
_PATH: Final = re.compile(r"<([^>]*)>")
# A line of a protocol log.
_CSV: Final = re.compile(
    r"(?:(?P<connector>\"[^\"]*\"|[^,]*),)(?P<session>[0-9A-F]{12,16}),(?P<sequence>\d+),(?P<local>[^,]*),(?P<remote>[^,]*),"
    r"(?P<event>[-+<>*]),(?P<data>\"(?:[^\"]|\"\")*\"|[^,]*)?(?:,(?P<context>.*))?",
    re.DOTALL,
)
_ENDPOINT: Final = re.compile(r"\[?(?P<ip>[0-9a-fA-F.:]+?)\]?:(?P<port>\d+)$")
_VERBS: Final[dict[str, Step]] = {
    "EHLO": "ehlo",
    "HELO": "helo",
    "STARTTLS": "starttls",
    "X-ANONYMOUSTLS": "starttls",
    "AUTH": "auth",
    "X-EXPS": "auth",
    "MAIL": "mail",
    "RCPT": "rcpt",
    "DATA": "datacmd",
    "BDAT": "dot",
    "RSET": "rset",
    "QUIT": "quit",
}
_ENDS: Final[dict[str, tuple[Cause, ...]]] = {
    "Local": ("timeout",),
    "Timeout": ("timeout",),
    "Remote": ("closed", "reset"),
    "Remote(ConnectionReset)": ("reset",),
    "Remote(SocketError)": ("closed", "reset"),
    "Remote(TimedOut)": ("timeout",),
}


class Session(NamedTuple):
    """What a protocol log has told of a session."""

    server: bool = False  # a receive log: its commands are the other side's
    waits: tuple[Step, ...] = ("greeting",)  # commands without a reply
    texted: bool = False  # 354 has come
    settled: bool = False  # the mail has had its reply, or none was begun
    begun: float | None = None
    refused: str = ""
    sender: str = ""
    recipient: str = ""


def sense(text: str) -> tuple[Sense, bool] | None:
    """The meaning of an error text, and whether it says that the mail is given up."""
    wrapped = _WRAPPED.search(text)
    inner = wrapped["inner"] if wrapped else text
    last = _LAST.search(text)
    held = {"ip": last["ip"]} if last else {}
    if server := _SERVER.search(text):
        held["host"] = server["host"]
    for row in ERRORS:
        if row.pattern.search(inner) or (row.gave_up and row.pattern.search(text)):
            meant = tuple(Meant(step, cause) for step in row.steps for cause in row.causes)
            return Sense(meant, inner, held), row.gave_up
    if wrapped and _REPLY.fullmatch(inner):
        held["reply"] = inner
        cause: Cause = "sent" if inner.startswith("2") else "reply"
        return Sense(tuple(Meant(step, cause) for step in _SESSION), inner, held), False
    return None


def read(line: Line, state: State) -> Iterator[Reading]:
    """A line of a protocol log, or an error text."""
    if match := _CSV.fullmatch(line.text):
        yield from _event(line, match, state)
        return
    if line.text.startswith("#"):
        return
    if (told := sense(line.text)) is not None:
        found, late = told
        if found.meant and all(each.cause == "sent" for each in found.meant):
            return
        fate = "bounced" if late else "deferred"
        yield reading(line, NAME, found, fate=fate, gave_up=late, scope="host", duplicate_risk=_risk(found))


def _risk(found: Sense) -> bool:
    return any(each.step == "dot" and each.cause in ("timeout", "closed", "reset") for each in found.meant)


def _event(line: Line, match: re.Match[str], state: State) -> Iterator[Reading]:
    key, event = f"exchange {match['session']}", match["event"]
    data = (match["data"] or "").strip('"')
    known = state.sessions.get(key)
    session: Session = known or Session(begun=line.when)
    if event == "+":
        session = Session(begun=line.when)
    elif event in "<>":
        if not known and event == ">" and _GOOD.match(data):
            session = session._replace(server=True)
        replied = (event == "<") != session.server
        if replied and session.texted and _GOOD.match(data) and data[3] == " ":
            found = Sense((Meant("dot", "sent"),), data, {"reply": data})
            yield _of_session(line, match, session, found)
        session = _replied(session, data) if replied else _commanded(session, data)
        if not known and replied and not data.startswith(("2", "3")):
            session = session._replace(waits=_SESSION, refused=data)  # a line alone
    failed = _unconnected(f"{data} {match['context'] or ''}") if event == "*" else None
    if event != "-" and failed is None:
        state.session(key, session)
        if event == "<" and session.refused and not session.server:
            yield from _refused(line, match, session, state)
        return
    state.sessions.pop(key, None)
    if failed is not None:
        yield _of_session(line, match, session, failed)
        return
    causes = _ENDS.get(data or (match["context"] or ""), ("closed", "reset"))
    if known is None and causes == ("timeout",):
        return  # a plain end looks the same
    if known is not None and (session.settled or session.waits in (("quit",), ("rset",))):
        return
    steps = _SESSION if known is None else _waited(session)
    found = Sense(tuple(Meant(step, cause) for step in steps for cause in causes), f"-,{data}", {})
    yield _of_session(line, match, session, found)


def _unconnected(text: str) -> Sense | None:
    """Of a line of information: that there was no connection; no `-` follows it."""
    told = next((row for row in _WINSOCK if row.pattern.search(text)), None)
    if told is None:
        return None
    said = text.strip().strip('"')
    return Sense(tuple(Meant(step, cause) for step in told.steps for cause in told.causes), said, {})


def _waited(session: Session) -> tuple[Step, ...]:
    return ("body", "dot") if session.texted else session.waits or ("mail",)


def _commanded(session: Session, data: str) -> Session:
    verb, _, rest = data.partition(" ")
    step = _VERBS.get(verb.upper().partition(":")[0])
    if step is None:
        return session
    waits = (*(each for each in session.waits if each != "greeting"), step)[-100:]
    told = session._replace(waits=waits, settled=session.settled and step in ("quit", "rset"), refused="")
    address = _PATH.search(rest)
    if step == "mail" and address:
        return told._replace(sender=address[1])
    if step == "rcpt" and address:
        return told._replace(recipient=address[1])
    return told._replace(texted=True) if step == "dot" else told


def _replied(session: Session, data: str) -> Session:
    if data[3:4] == "-" or not data[:3].isdigit():
        return session
    step = session.waits[0] if session.waits else None
    waits = session.waits[1:]
    if session.texted and not data.startswith("3"):  # to the end of data
        return session._replace(waits=(), texted=False, settled=True, refused="" if data.startswith("2") else data)
    if data.startswith("354"):
        return session._replace(waits=(), texted=True)
    if data[:1] in "45":
        return session._replace(waits=waits or ((step,) if step else ()), refused=data)
    return session._replace(waits=waits, settled=step == "quit", refused="")


def _refused(line: Line, match: re.Match[str], session: Session, state: State) -> Iterator[Reading]:
    data = (match["data"] or "").strip('"')
    steps: tuple[Step, ...] = ("dot",) if session.settled else session.waits[:1] or _SESSION
    if len(session.waits) > 3:
        steps = _SESSION
    found = Sense(tuple(Meant(step, "reply") for step in steps), data, {"reply": data})
    told = _of_session(line, match, session, found)
    state.session(f"exchange {match['session']}", session._replace(waits=(), settled=True, refused=""))
    if set(steps) != {"quit"} and set(steps) != {"rset"}:
        yield told


def _of_session(line: Line, match: re.Match[str], session: Session, found: Sense) -> Reading:
    remote = _ENDPOINT.match(match["remote"])
    seconds = None
    if session.begun is not None and line.when is not None:
        seconds = max(0.0, line.when - session.begun)
    return reading(
        line, NAME, found, ip=remote["ip"] if remote else "", queue_id=match["session"], sender=session.sender,
        recipient=session.recipient, seconds=seconds, side="receiver" if session.server else "sender", scope="host",
    )  # fmt: skip
