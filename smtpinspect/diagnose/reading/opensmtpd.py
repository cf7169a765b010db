"""OpenSMTPD's mta process: no line names a phase, but the lines of a session tell how far it came."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

from smtpinspect.diagnose.model import Reading
from smtpinspect.diagnose.reading import phrases
from smtpinspect.diagnose.reading.lines import Line, duration
from smtpinspect.diagnose.reading.phrases import Sense
from smtpinspect.diagnose.reading.state import State, reading
from smtpinspect.mta.base import HANDSHAKE, Step

NAME: Final = "opensmtpd"
_LINE: Final = re.compile(r"(?P<id>[0-9a-f]{16}) (?P<rest>(?:mta|smtp) .*)", re.DOTALL)
_CONNECTING: Final = re.compile(
    r"mta connecting address=\S*?//\[?(?P<ip>[0-9a-fA-F.:]+?)\]?(?::\d+)? host=(?P<host>\S+)"
)
_ERROR: Final = re.compile(r"mta (?P<word>error|disconnected) reason=(?P<text>.*)", re.DOTALL)
_DELIVERY: Final = re.compile(
    r'mta (?:event=)?delivery evpid=(?P<evpid>[0-9a-f]+) from=<(?P<sender>.*?)> to=<(?P<rcpt>.*?)> .*?'
    r'delay=(?P<delay>\S+) result="?(?P<result>\w+)"? stat="(?P<stat>.*)"?',
    re.DOTALL,
)
_RELAY: Final = re.compile(r'relay="(?P<ip>[0-9a-fA-F.:]+) \((?P<host>[^)]*)\)"')
_DISABLED: Final = re.compile(r"smtp-out: Disabling route \[.*?\] <-> (?P<ip>[0-9a-fA-F.:]+) \((?P<host>.*?)\) for ")
_COUNTED: Final = re.compile(r"smtp-out: Error on session (?P<id>[0-9a-f]{16}).*?: (?P<text>.*)")
_MESSAGE: Final = re.compile(r"smtp message msgid=(?P<id>[0-9a-f]{8}) size=(?P<size>\d{1,15})")
_FATES: Final = {"Ok": "delivered", "TempFail": "deferred", "PermFail": "bounced", "Expire": "bounced"}
_BEFORE: Final[tuple[Step, ...]] = (*HANDSHAKE, "starttls", "auth")


def read(line: Line, state: State) -> Iterator[Reading]:
    """A line of smtpd; those of a session are told once its fate is known."""
    match = _LINE.match(line.text)
    if match is None:
        yield from _route(line, state)
        return
    session, rest = match["id"], match["rest"]
    key = f"opensmtpd {session}"
    if connecting := _CONNECTING.match(rest):
        state.session(key, (connecting["host"], connecting["ip"], False, line.when))
    elif rest == "mta connected":
        host, ip, _, when = state.sessions.get(key) or ("", "", False, line.when)
        state.session(key, (host, ip, True, when))
    elif error := _ERROR.match(rest):
        yield from _error(line, session, error, state)
    elif delivery := _DELIVERY.match(rest):
        yield from _delivery(line, session, delivery, state)
    elif message := _MESSAGE.match(rest):
        state.know(message["id"], size=int(message["size"]))


def _error(line: Line, session: str, match: re.Match[str], state: State) -> Iterator[Reading]:
    text = match["text"].strip('"')
    found = phrases.sense(NAME, text)
    notes = state.sessions.get(f"opensmtpd {session}")
    if found is None:
        if match["word"] == "error":
            host, ip = notes[:2] if notes is not None else ("", "")
            yield from state.hold(session, reading(line, NAME, fate="deferred", host=host, ip=ip, text=text))
        return
    if notes is None:  # a line alone
        yield from state.hold(session, reading(line, NAME, found))
        return
    host, ip, connected, started = notes
    kept = [each for each in found.meant if (each.step == "connect") != connected] or list(found.meant)
    seconds = None if started is None or line.when is None else max(0.0, line.when - started)
    told = reading(line, NAME, found._replace(meant=tuple(kept)), host=host, ip=ip, seconds=seconds)
    yield from state.hold(session, told._replace(scope="host"))
    if ip:
        state.session(f"route {ip}", session)


def _delivery(line: Line, session: str, match: re.Match[str], state: State) -> Iterator[Reading]:
    fate, stat = _FATES.get(match["result"]), match["stat"].removesuffix('"')
    if fate is None:
        return
    mail = state.mail(match["evpid"][:8])
    relay = _RELAY.search(line.text)
    common: dict[str, Any] = {
        "fate": fate,
        "recipient": match["rcpt"],
        "sender": match["sender"],
        "queue_id": match["evpid"],
        "host": relay["host"] if relay else "",
        "ip": relay["ip"] if relay else "",
        "size": mail.size,
    }
    notes = state.sessions.pop(f"opensmtpd {session}", None)
    held = state.take(session)
    if match["result"] == "Expire":
        yield from held
        yield reading(line, NAME, gave_up=True, **common)
        return
    if fate == "delivered":
        yield from held
        yield reading(line, NAME, broken=("none",), **common)
        return
    found = phrases.sense(NAME, stat)
    if found is None:
        told = held[-1] if held else reading(line, NAME, text=stat)
        yield told._replace(**{key: value for key, value in common.items() if value})
        return
    # a task was in flight: MAIL or later
    kept = tuple(each for each in found.meant if each.step not in _BEFORE and each.cause != "sent")
    found = found._replace(meant=kept or found.meant)
    taken = held[-1].seconds if held else None
    if taken is None and notes and notes[3] is not None and line.when is not None:
        taken = max(0.0, line.when - notes[3])
    if taken is None:
        taken = duration(match["delay"])  # since the mail's arrival: of the first attempt alone its own
    yield reading(line, NAME, found, seconds=taken, scope=_scope(found), **common)


def _route(line: Line, state: State) -> Iterator[Reading]:
    """No task was in flight: the session has failed before MAIL."""
    if disabled := _DISABLED.match(line.text):
        session = state.sessions.pop(f"route {disabled['ip']}", None)
        for held in state.take(session) if session else []:
            before = [phase for phase in held.phases if phase in ("connect", "greeting", "ehlo")]
            told = held._replace(phases=tuple(before) or held.phases, duplicate_risk=False, scope="host")
            yield told._replace(stage="after-initial-connection")
        if session:
            state.sessions.pop(f"opensmtpd {session}", None)
        return
    counted = _COUNTED.match(line.text)
    if counted and counted["id"] not in state.pending and (found := phrases.sense(NAME, counted["text"])) is not None:
        yield reading(line, NAME, found)


def _scope(found: Sense) -> str:
    return "address" if {each.step for each in found.meant} == {"rcpt"} else "message"
