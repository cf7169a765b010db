"""What a receiving server logs when a session breaks off. Texts: mta.md, section 9; smtpinspect.mta.receivers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from smtpinspect.diagnose.model import Reading
from smtpinspect.diagnose.reading.lines import Line, duration
from smtpinspect.diagnose.reading.phrases import held_by, ordered
from smtpinspect.diagnose.reading.state import STAGES, State, narrowed

_COMMANDS: Final = ("greeting", "ehlo", "mail", "rcpt", "datacmd", "dot", "dotreply", "quit")
_ENDED: Final = ("dot", "dotreply", "quit")  # the mail has had its reply
_TEXT: Final = ("datacmd", "reply354", "databody", "datamid", "dot")
_CLOSED: Final = ("rst", "fin")
# Where a server waits when it has answered this command: the next one is missing, or its own reply was lost, in which
# case the sender stops at this very command.
_BEHIND: Final[dict[str, tuple[str, ...]]] = {
    "CONNECT": ("greeting", "ehlo"),
    "HELO": ("ehlo", "mail"),
    "EHLO": ("ehlo", "mail"),
    "STARTTLS": ("ehlo", "mail"),
    "AUTH": ("ehlo", "mail"),
    "MAIL": ("mail", "rcpt"),
    "RCPT": ("rcpt", "datacmd"),
    "DATA": _TEXT,
    "BDAT": _TEXT,
    "END-OF-MESSAGE": _ENDED,
    "RSET": ("mail",),
    "NOOP": _COMMANDS,
    "VRFY": ("mail",),
    "QUIT": ("quit",),
    "UNKNOWN": _COMMANDS,
}


class _Row(NamedTuple):
    """A text of a server. Groups: peer or ip, n, where, why, taken."""

    mta: str
    pattern: re.Pattern[str]
    phases: tuple[str, ...]
    broken: tuple[str, ...]
    means: str = ""


def _row(mta: str, pattern: str, phases: tuple[str, ...], *broken: str) -> _Row:
    return _Row(mta, re.compile(pattern, re.DOTALL), phases, broken)


_PEER: Final = r"(?P<host>[^\s\[\]]*)\[(?P<ip>[0-9a-fA-F.:]+)\]"
_EXIM: Final = r"(?:(?P<host>[^\s\[\]()]+) )?(?:\((?P<helo>[^)\s]*)\) )?\[(?P<ip>[0-9a-fA-F.:]+)\](?::\d+)?"
_ROWS: Final = (
    _row("postfix", rf"(?P<why>timeout|lost connection|too many errors) after (?P<where>[A-Z-]+)"
         rf"(?: \((?P<n>\d{{1,15}}) bytes\))? from {_PEER}.*", ()),
    _row("exim", rf"SMTP command timeout on (?:TLS )?connection from {_EXIM}.*", _COMMANDS, "drop"),
    _row("exim", rf"SMTP data timeout \(message abandoned\) on (?:TLS )?connection from {_EXIM}.*", _TEXT, "drop"),
    _row("exim", rf"SMTP connection from {_EXIM} lost while reading message data \(header\).*",
         ("datacmd", "reply354", "databody"), *_CLOSED),
    _row("exim", rf"SMTP connection from {_EXIM} lost while reading message data.*", _TEXT, *_CLOSED),
    _row("exim", rf"SMTP connection lost after final dot(?: H={_EXIM})?.*", ("dot", "dotreply"), *_CLOSED),
    _row("exim", rf"unexpected disconnection while reading SMTP command from {_EXIM}(?P<why> \(error: .*?\))?.*",
         ("mail", "rcpt", "datacmd"), *_CLOSED),
    _row("exim", rf"SMTP connection from {_EXIM} lost(?P<why> \(error: .*?\))?(?: D=(?P<taken>\S+))?.*",
         ("greeting", "ehlo", "mail", *_ENDED), *_CLOSED),
    _row("sendmail", r"timeout waiting for input from (?P<host>\S+) during server cmd read", _COMMANDS, "drop"),
    _row("sendmail", r"timeout waiting for input from (?P<host>\S+) during message collect", _TEXT, "drop"),
    _row("sendmail", r"(?P<host>\S+) \[(?P<ip>[0-9a-fA-F.:]+)\] did not issue MAIL/EXPN/VRFY/ETRN during connection .*",
         ("greeting", "ehlo", "mail"), "drop", *_CLOSED),
    _row("sendmail", r"lost input channel from (?P<host>\S+) \[(?P<ip>[0-9a-fA-F.:]+)\].*? after (?P<where>[a-z]+)", (),
         "drop", *_CLOSED),
    _row("sendmail", r"(?:SYSERR\(.*?\): )?collect: relay=(?P<host>[^,]+), from=.*?, info=(?P<why>.*)", _TEXT),
    _row("sendmail", r"collect: premature EOM: (?P<why>.*)", _TEXT),
    _row("sendmail", r"(?:SYSERR\(.*?\): )?collect: (?P<why>.*?) on connection from (?P<host>[^,]+), sender=.*", _TEXT),
    _row("opensmtpd", r"[0-9a-f]{16} smtp disconnected reason=(?P<why>timeout|disconnect|\"io-error: .*\")",
         (*_COMMANDS, *_TEXT)),
)  # fmt: skip
_WHY: Final = (
    (re.compile(r"reset by|I/O error", re.IGNORECASE), ("rst",)),
    (re.compile(r"timeout", re.IGNORECASE), ("drop",)),
    (re.compile(r"unexpected close|disconnect"), ("fin",)),
    (re.compile(r"lost connection|too many errors"), _CLOSED),
)
_ID: Final = re.compile(
    r"(?P<id>[0-9A-Za-z]{6}-[0-9A-Za-z]{6,11}-[0-9A-Za-z]{2,4}|[0-9A-Za-z]{8}\d{6,8}|[0-9A-F]{5,15}|NOQUEUE):? "
)
_QUICK: Final = re.compile(
    r" after |command timeout|data timeout|lost|disconnect|server cmd read|message collect|did not issue|collect: "
    r"|message msgid="
)
_ACCEPTED: Final = re.compile(r"(?P<id>[0-9a-f]{16}) smtp message msgid=")


def read(line: Line, state: State) -> Iterator[Reading]:
    """A line that tells of the end of a session."""
    text = line.text
    if _QUICK.search(text) is None:
        return
    if accepted := _ACCEPTED.match(text):
        state.session(f"accepted {accepted['id']}", True)
        return
    number = _ID.match(text)
    bare = text[number.end() :] if number else text
    for row in _ROWS:
        match = row.pattern.fullmatch(bare)
        if match is not None:
            made = _made(line, row, match, number["id"] if number else "", state)
            if row.mta == "sendmail" and made.queue_id:
                yield from _joined(made, state)
            else:
                yield made
            return


def _joined(made: Reading, state: State) -> Iterator[Reading]:
    """Sendmail tells the end of one session in up to three lines: what remains possible is what fits them all."""
    key = f"receiver {made.queue_id}"
    for earlier in state.take(key):
        phases = tuple(phase for phase in earlier.phases if phase in made.phases)
        broken = tuple(kind for kind in earlier.broken if kind in made.broken)
        made = earlier._replace(
            phases=phases or earlier.phases, broken=broken or earlier.broken, text=f"{earlier.text}; {made.text}",
            ip=earlier.ip or made.ip,
        )  # fmt: skip
        made = made._replace(stage=_stage(made.phases))
    yield from state.hold(key, made)


def _made(line: Line, row: _Row, match: re.Match[str], number: str, state: State) -> Reading:
    held = held_by(match)
    octets = int(held["n"]) if "n" in held else None
    phases, broken, where = row.phases, row.broken, held.get("where", "").upper()
    if where:
        phases = _BEHIND.get(where, _COMMANDS)
    if octets is not None:
        phases = _TEXT if octets == 0 else narrowed(("databody", "datamid", "dot"), octets)
    for pattern, kinds in _WHY:
        if pattern.search(held.get("why", "")):
            broken = kinds
            break
    if row.mta == "opensmtpd" and f"accepted {line.text[:16]}" in state.sessions:
        phases = _ENDED
    found = ordered(phases)
    return Reading(
        line.whole, row.mta, found, tuple(kind for kind in ("drop", "rst", "fin") if kind in broken), _stage(found),
        when=line.when, side="receiver", host=held.get("host", ""), ip=held.get("ip", ""), octets=octets,
        queue_id="" if number == "NOQUEUE" else number, text=match[0],
        seconds=duration(held["taken"]) if "taken" in held else None,
    )  # fmt: skip


def _stage(found: tuple[str, ...]) -> str | None:
    """In the sender's words, where all of it has one."""
    if set(found) <= {"connect", "greeting", "ehlo", "mail", "rcpt", "datacmd", "reply354"}:
        return "after-initial-connection"
    return STAGES["dot"] if set(found) <= {"dot", "dotreply"} else None
