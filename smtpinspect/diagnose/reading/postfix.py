"""Postfix's mail log: smtp(8), qmgr(8), cleanup(8). The phrases are smtpinspect.mta.postfix's."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

from smtpinspect.diagnose.model import Reading
from smtpinspect.diagnose.reading import phrases
from smtpinspect.diagnose.reading.lines import Line, duration
from smtpinspect.diagnose.reading.phrases import Meant, Sense
from smtpinspect.diagnose.reading.state import State, reading
from smtpinspect.mta.base import Step

NAME: Final = "postfix"
ID: Final = r"(?:[0-9A-F]{5,15}|[0-9B-DF-HJ-NP-TV-Zb-df-hj-np-tv-z]{10,20}|NOQUEUE)"
_LINE: Final = re.compile(rf"(?P<id>{ID}): (?P<rest>.*)", re.DOTALL)
_NAMED: Final = re.compile(r"(?P<id>\w{3,25}): (?P<rest>.*)", re.DOTALL)  # where syslog names the program
_STATUS: Final = re.compile(
    r"to=<(?P<rcpt>.*?)>, (?:orig_to=<.*?>, )?relay=(?P<relay>[^,]*), (?:conn_use=\d+, )?delay=(?P<delay>[\d.]+), "
    r"(?:delays=(?P<delays>[\d./]+), )?(?:dsn=(?P<dsn>[\d.]+), )?status=(?P<status>\w+) \((?P<text>.*)\)?",
    re.DOTALL,
)
_RELAY: Final = re.compile(r"(?P<host>[^\[\s]*)\[(?P<ip>[0-9a-fA-F.:]+)\]")
_QUEUED: Final = re.compile(r"from=<(?P<sender>.*?)>, size=(?P<size>\d{1,15})\b")
_EXPIRED: Final = re.compile(r"from=<(?P<sender>.*?)>, status=(?:expired|force-expired), returned to sender")
_NUMBER: Final = re.compile(r"message-id=<?(?P<id>[^>\s]*)>?")
_PIX: Final = re.compile(r"enabling PIX workarounds: (?P<what>.*?) for (?P<peer>\S+)")
_FATES: Final = {
    "sent": "delivered", "deferred": "deferred", "SOFTBOUNCE": "deferred", "bounced": "bounced",
    "undeliverable": "bounced", "expired": "bounced",
}  # fmt: skip
_ALIASES: Final = (
    # releases before 2.4: the port stood last
    (re.compile(r"(connect to [^\s\[]+\[[^\]]+\]): (.*?) \(port (\d+)\)"), r"\1:\3: \2"),
    (re.compile(r"\bOperation timed out\b"), "Connection timed out"),
    (re.compile(r"(?<=: )(?:Network is unreachable|Host is unreachable)\b"), "No route to host"),
    (re.compile(r"(?<=while )performing the LHLO handshake"), "performing the EHLO handshake"),
    (re.compile(r"(?<=while )performing the initial protocol handshake"), "receiving the initial server greeting"),
    (re.compile(r"(?<=while )sending XFORWARD [\w/]+"), "performing the EHLO handshake"),
    (re.compile(r"(?<=while )sending RSET probe"), "sending final RSET"),
    (re.compile(r"(?<=while )sending end of data$"), "sending end of data -- message may be sent more than once"),
)
# Before 2.3 smtp_helo() read the greeting and the replies to EHLO and HELO under one text.
_GREETED: Final[tuple[Step, ...]] = ("ehlo", "helo")
_HANDSHAKE: Final = "while performing the initial protocol handshake"
# Texts whose end is anything: an error of the system in any language, of the TLS library (smtp_connect.c, smtp_proto.c,
# smtp_sasl_glue.c). "unreachable" is of no kind: how it was broken is not told.
_BEGUN: Final = tuple(
    (re.compile(pattern, re.DOTALL), meant)
    for pattern, meant in (
        (r"connect to (?P<host>[^\s\[]+)\[(?P<ip>[0-9a-fA-F.:]+)\](?::\d+)?: Connection reset by peer.*",
         Meant("connect", "refused")),
        (r"connect to (?P<host>[^\s\[]+)\[(?P<ip>[0-9a-fA-F.:]+)\](?::\d+)?: .+",
         Meant("connect", "unreachable")),
        (r"(?:Cannot start TLS: |Server certificate not ).*", Meant("starttls", "unreachable")),
        (r"SASL authentication failed; server (?P<host>[^\s\[]+)\[(?P<ip>[0-9a-fA-F.:]+)\] said: (?P<reply>[45]\d\d.*)",
         Meant("auth", "reply")),
        (r"SASL authentication failed.*", Meant("auth", "unreachable")),
    )
)
_NONE: Final = "no connection was set up (relay=none); the text is none that is known here"
_SUSPENDED: Final = "delivery temporarily suspended: "


def normal(text: str) -> str:
    """Older wording as Postfix 3.7 says it."""
    for pattern, said in _ALIASES:
        text = pattern.sub(said, text)
    return text


def sense(text: str) -> Sense | None:
    """The meaning of what stands in the brackets of a status."""
    found = phrases.sense(NAME, text)
    if found is None and (found := phrases.sense(NAME, normal(text))) is not None:
        return refined(found, text)._replace(text=text)
    return found or _begun(text)


def refined(found: Sense, text: str) -> Sense:
    """With all that an older wording may stand for. `text`: as it was written."""
    if _HANDSHAKE not in text or any(each.step != "greeting" for each in found.meant):
        return found
    more = tuple(Meant(step, each.cause) for step in _GREETED for each in found.meant)
    return found._replace(meant=(*found.meant, *more))


def _begun(text: str) -> Sense | None:
    for pattern, meant in _BEGUN:
        if match := pattern.fullmatch(text):
            return Sense((meant,), text, phrases.held_by(match))
    return None


def read(line: Line, state: State) -> Iterator[Reading]:
    """A line of a Postfix program; smtpd's are read elsewhere."""
    match = (_NAMED if line.program else _LINE).match(line.text)
    if match is None:
        # `connect to ...` comes again in the status; alone it is of a host that was not the last one
        if line.text.startswith("connect to ") and (found := sense(line.text)) is not None:
            yield from state.hold(f"connect {found.held.get('ip', '')}", reading(line, NAME, found))
        return
    queue_id, rest = match["id"], match["rest"]
    if rest.startswith("to=<"):  # the most frequent ones first
        yield from _status(line, queue_id, rest, state)
    elif queued := _QUEUED.match(rest):
        state.know(queue_id, sender=queued["sender"], size=int(queued["size"]))
    elif number := _NUMBER.match(rest):
        state.know(queue_id, message_id=number["id"])
    elif expired := _EXPIRED.match(rest):
        yield reading(line, NAME, fate="bounced", queue_id=queue_id, gave_up=True, sender=expired["sender"])
    elif pix := _PIX.match(rest):
        state.know(queue_id, note="masked")
        peer = _RELAY.match(pix["peer"])
        host, ip = (peer["host"], peer["ip"]) if peer else ("", "")
        told = reading(line, NAME, queue_id=queue_id, host=host, ip=ip, masked=True, text=rest)
        yield from state.hold(f"masked {queue_id}", told)
    elif (found := sense(rest)) is not None:  # another server of this domain is left
        yield reading(line, NAME, found, queue_id=queue_id, **state.known(queue_id))


def _status(line: Line, queue_id: str, rest: str, state: State) -> Iterator[Reading]:
    match = _STATUS.fullmatch(rest)
    if match is None or match["status"] not in _FATES:
        return
    fate, text = _FATES[match["status"]], match["text"]
    if text.endswith(")"):
        text = text[:-1]
    relay = _RELAY.match(match["relay"])
    masked = bool(state.take(f"masked {queue_id}"))
    common: dict[str, Any] = {
        "fate": fate,
        "recipient": match["rcpt"],
        "queue_id": queue_id,
        "masked": masked,
        **state.known(queue_id),
    }
    if fate == "delivered":
        if relay:
            yield reading(
                line, NAME, host=relay["host"], ip=relay["ip"], seconds=_taken(match), broken=("none",), **common
            )
        return
    waiting = text.startswith(_SUSPENDED)
    found = sense(text.removeprefix(_SUSPENDED))
    if found is None:
        host, ip = (relay["host"], relay["ip"]) if relay else ("", "")
        taken = None if waiting else _taken(match)  # why it waits is not known: no less a failure
        means = _NONE if match["relay"] == "none" else ""
        yield reading(line, NAME, host=host, ip=ip, seconds=taken, text=text, means=means, **common)
        return
    state.take(f"connect {found.held.get('ip', '')}")
    host, ip = (relay["host"], relay["ip"]) if relay else (found.held.get("host", ""), found.held.get("ip", ""))
    yield reading(
        line, NAME, found, host=host, ip=ip, seconds=None if waiting else _taken(match), waiting=waiting,
        scope=_scope(found), **common,
    )  # fmt: skip


def _taken(match: re.Match[str]) -> float | None:
    """Of this attempt: setting up the connection, and the transmission; `delay=` counts from the mail's arrival."""
    parts = (match["delays"] or "").split("/")
    if len(parts) != 4:
        return None
    return (duration(parts[2]) or 0.0) + (duration(parts[3]) or 0.0)


def _scope(found: Sense) -> str:
    each = found.meant[0]
    if each.cause == "reply" and each.step not in ("greeting", "ehlo", "helo", "starttls", "auth"):
        return "address" if each.step == "rcpt" else "message"
    return "host"
