"""Sendmail's mail log: a notice that names the phase, then a status line. Phrases: smtpinspect.mta.sendmail's."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Final

from smtpinspect.diagnose.model import Reading
from smtpinspect.diagnose.reading import phrases
from smtpinspect.diagnose.reading.lines import Line, duration
from smtpinspect.diagnose.reading.phrases import Meant, Sense
from smtpinspect.diagnose.reading.state import State, reading
from smtpinspect.mta.base import BREAKS, Ending, Envelope, Step
from smtpinspect.mta.registry import SENDERS
from smtpinspect.mta.sendmail import Sendmail

NAME: Final = "sendmail"
ID: Final = r"(?:[0-9A-Za-z]{8}\d{6,8}|NOQUEUE)"
_LINE: Final = re.compile(rf"(?P<id>{ID}): (?P<rest>.*)", re.DOTALL)
_NAMED: Final = re.compile(r"(?P<id>\w{3,25}): (?P<rest>.*)", re.DOTALL)  # where syslog names the program
_QUEUED: Final = re.compile(r"from=(?P<sender>[^,]*), size=(?P<size>\d{1,15}),.*?(?:msgid=(?P<number>[^,]*))?(?:,|$)")
_STATUS: Final = re.compile(
    r"to=(?P<rcpt>.*?), (?:ctladdr=.*?, )?delay=(?P<delay>[\d:+]+), (?:xdelay=(?P<xdelay>[\d:+]+), )?"
    r"mailer=(?P<mailer>\w+), (?:pri=\d+, )?(?:relay=(?P<relay>.*?), )?dsn=(?P<dsn>[\d.]+), "
    r"(?:reply=(?P<reply>.*?), )?stat=(?P<stat>.*)",
    re.DOTALL,
)
_RELAY: Final = re.compile(r"(?P<host>\S+?)\.? \[(?:IPv6:)?(?P<ip>[0-9a-fA-F.:]+)\]")
# Of another order of fields.
_RELAYED: Final = re.compile(rf"\brelay={_RELAY.pattern}")
_TAKEN: Final = re.compile(r"\bxdelay=([\d:+]+)")
_FAILED: Final = re.compile(r"to=(?P<rcpt>.*?), .*?\bdsn=(?P<dsn>[45]\.[\d.]+), .*?\bstat=(?P<stat>.*)", re.DOTALL)
# Its own code for a STARTTLS that has failed, by the ruleset tls_server (cf/m4/proto.m4): no reply of the server.
_NO_ROUTE: Final = re.compile(r"Deferred: \S+: (?:No route to host|Network is (?:unreachable|down)|Host is down)")
NO_TLS: Final = re.compile(r"\b403 (?:4\.7\.0 )?TLS handshake\b")
_NOTICE: Final = re.compile(r"timeout waiting for input from (?P<host>\S+) during (?P<phase>.+)")
_WRITING: Final = re.compile(r"(?:SYSERR\(.*?\): )?timeout writing message to (?P<host>.*?): (?P<why>.*)")
_LATE: Final = re.compile(r".*: return to sender: (?:Cannot send message (?:for|within) .*)")
_ROOT: Final = re.compile(r"\.(?=$|:)")  # a host's name ends in a dot
_LOCAL: Final = ("local", "prog", "*file*", "*include*", "cyrus", "cyrusv2", "procmail")
_CLOSED: Final = "421 4.4.1 Connection reset by "
# From so many seconds on the kernel may have given up, whatever Sendmail waits for (tcp_retries2 of Linux, 925 s).
_KERNEL: Final = 900.0
# The phases of the notice (usersmtp.c, SmtpPhase), by step.
_WAITED: Final[dict[str, Step]] = {
    "client greeting": "greeting",
    "client EHLO": "ehlo",
    "client HELO": "helo",
    "client LHLO": "ehlo",
    "client STARTTLS": "starttls",
    "client AUTH": "auth",
    "client MAIL": "mail",
    "client RCPT": "rcpt",
    "client DATA 354": "datacmd",
    "client DATA status": "dot",
    "client RSET": "rset",
    "client QUIT": "quit",
}
_TRIED: Final[tuple[Step, ...]] = ("greeting", "ehlo", "helo", "mail", "rcpt", "datacmd", "dot")


def read(line: Line, state: State) -> Iterator[Reading]:
    """A line of sendmail as a client."""
    match = (_NAMED if line.program else _LINE).match(line.text)
    if match is None:
        return
    queue_id, rest = match["id"], match["rest"]
    if rest.startswith("to="):
        yield from _status(line, queue_id, rest, state)
    elif queued := _QUEUED.match(rest):
        for held in state.take(f"receiver {queue_id}"):  # of a session that broke off: what had arrived
            yield held._replace(octets=int(queued["size"]) if "databody" in held.phases else None)
        state.know(
            queue_id,
            sender=queued["sender"].strip("<>"),
            size=int(queued["size"]),
            message_id=(queued["number"] or "").strip("<>"),
        )
    elif notice := _NOTICE.fullmatch(rest):
        step = _WAITED.get(notice["phase"].strip())
        if step is not None:
            found = Sense(_meant(step), rest, {"host": notice["host"]})
            told = reading(line, NAME, found, queue_id=queue_id)
            if step in ("quit", "rset"):  # the mail's fate is decided
                yield told._replace(fate="")
            else:
                yield from state.hold(queue_id, told)
    elif writing := _WRITING.fullmatch(rest):
        cause = "reset" if "reset" in writing["why"] else "timeout"
        found = Sense((Meant("body", cause),), rest, {"host": writing["host"]})  # type: ignore[arg-type]
        yield from state.hold(queue_id, reading(line, NAME, found, queue_id=queue_id))
    elif _LATE.fullmatch(rest):
        yield reading(line, NAME, fate="bounced", queue_id=queue_id, gave_up=True, text=rest)


def _meant(step: Step) -> tuple[Meant, ...]:
    # RCPT and DATA travel in one group; MAIL goes alone
    return (Meant(step, "timeout", Sendmail.pipelines[1:] if step == Sendmail.pipelines[0] else ()),)


def _status(line: Line, queue_id: str, rest: str, state: State) -> Iterator[Reading]:
    match = _STATUS.fullmatch(rest)
    local = match is not None and match["mailer"] in _LOCAL
    found = _sense(match["stat"], match["dsn"], match["reply"] or "") if match is not None and not local else None
    if match is None or found is None:
        yield from _failed(line, queue_id, rest, state)
        return
    held = state.take(queue_id)
    seconds = duration(match["xdelay"]) if match["xdelay"] else None
    usual, assumes = ((), ()) if held else _by_time(found, seconds)
    relay = _RELAY.match(match["relay"] or "")
    host, ip = (relay["host"], relay["ip"]) if relay else (found.held.get("host", ""), "")
    delivered = all(each.cause == "sent" for each in found.meant)
    told = reading(
        line, NAME, found,
        fate="delivered" if delivered else "bounced" if match["dsn"].startswith("5") else "deferred",
        recipient=_names(match["rcpt"]), host=host, ip=ip, queue_id=queue_id, seconds=seconds, scope=_scope(found),
        usual=usual, assumes=assumes, **state.known(queue_id),
    )  # fmt: skip
    yield _noticed(told, held[-1]) if held and not delivered and not told.reply else told


def _names(recipients: str) -> str:
    """`<u@x>,<v@x>` as `u@x,v@x`."""
    return recipients.replace(">,<", ",").strip("<>")


def _failed(line: Line, queue_id: str, rest: str, state: State) -> Iterator[Reading]:
    """By a text that is not known; `queued` is no attempt."""
    match = _FAILED.match(rest)
    if match is None or match["stat"].startswith(("queued", "Sent")):
        return
    held = state.take(queue_id)
    relay, taken = _RELAYED.search(rest), _TAKEN.search(rest)
    told = reading(
        line, NAME, fate="bounced" if match["dsn"].startswith("5") else "deferred", recipient=_names(match["rcpt"]),
        host=relay["host"] if relay else "", ip=relay["ip"] if relay else "", queue_id=queue_id, text=match["stat"],
        seconds=duration(taken[1]) if taken else None, **state.known(queue_id),
    )  # fmt: skip
    yield _noticed(told, held[-1]) if held else told


def _noticed(told: Reading, notice: Reading) -> Reading:
    """What the notice has named is this attempt's."""
    return told._replace(
        phases=notice.phases, broken=notice.broken, stage=notice.stage, text=f"{notice.text}; {told.text}",
        duplicate_risk="dot" in notice.phases,
    )  # fmt: skip


@lru_cache(maxsize=4_096)  # a receiver's words hold its queue id: they are never all known
def _sense(stat: str, dsn: str, reply: str) -> Sense | None:
    # "unreachable" is of no kind: how it was broken is not told
    if stat.startswith("Deferred: 403") and NO_TLS.search(stat):
        return Sense((Meant("starttls", "unreachable"),), stat, {})
    if _NO_ROUTE.fullmatch(stat):
        return Sense((Meant("connect", "unreachable"),), stat, {})
    found = phrases.sense(NAME, _ROOT.sub("", stat))
    if found is None:
        if stat.startswith("Sent"):
            return Sense((Meant("dot", "sent"),), stat, {})
        if dsn[:1] not in "45" or not (reply[:1] in "45" and reply[:1]):
            return None
        # a status of its own, as `Mailbox full`: it is the reply that decides
        found = Sense(tuple(Meant(step, "reply") for step in _TRIED), stat, {"reply": reply})
    kept = found.meant
    if any(each.cause in ("reply", "sent") for each in kept):
        said = found.reply or reply
        return found._replace(meant=_answered(kept, dsn, said), held={**found.held, "reply": said})
    if dsn == "4.4.1":
        kept = tuple(each for each in kept if each.step == "connect")
    elif dsn.startswith("4.4.2"):
        kept = tuple(each for each in kept if each.step != "connect")
    if reply.startswith(_CLOSED):  # written for an end of file that RCPT, or DATA with it, has met
        kept = (Meant("rcpt", "closed", Sendmail.pipelines[1:]),)
    elif stat == "Deferred":
        kept = tuple(each for each in kept if each.step != "rcpt")
        if not dsn.startswith("4.4."):  # no code of a connection: a STARTTLS that has failed may have none
            kept = tuple(Meant("starttls", cause) for cause in BREAKS) + kept
    return found._replace(meant=kept or found.meant)


def _by_time(found: Sense, seconds: float | None) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The phases without the steps whose time-out is longer than it took, and the settings that this rests on."""
    if seconds is None or seconds >= _KERNEL or not any(each.cause == "timeout" for each in found.meant):
        return (), ()
    longer = {
        step: timer.setting for timer in Sendmail.timers for step in timer.steps
        if timer.seconds > seconds + max(3.0, seconds * 0.03)
    }  # fmt: skip
    kept = tuple(each for each in found.meant if each.step not in longer)
    out = {each.step for each in found.meant} & longer.keys()
    if not kept or not out:
        return (), ()
    settings = dict.fromkeys(timer.setting for timer in Sendmail.timers if out & set(timer.steps))
    return phrases.phases(kept), tuple(settings)


def _answered(meant: tuple[Meant, ...], dsn: str, said: str) -> tuple[Meant, ...]:
    """The steps at which this reply makes this status code: the model is asked for each."""
    model, mail = SENDERS[NAME], Envelope("", ("",), "", "", "", "")
    assert isinstance(model, Sendmail)
    if not said[:3].isdigit() or all(each.cause == "sent" for each in meant):
        return meant
    steps = {each.step for each in meant}
    fits = tuple(
        Meant(step, "reply")
        for step in _TRIED
        if step in steps
        and dsn in {model.dsn(Ending(step, "reply", mail, reply=said, enhanced=offered)) for offered in (False, True)}
    )
    # at DATA the reply that is shown may be the one to RSET
    if dsn in ("5.0.0", "4.0.0") and "datacmd" in steps and not any(each.step == "datacmd" for each in fits):
        fits += (Meant("datacmd", "reply"),)
    return fits or meant


def _scope(found: Sense) -> str:
    first = found.meant[0]
    if first.cause != "reply":
        return "host"
    steps = {each.step for each in found.meant}
    return "host" if steps <= {"greeting", "ehlo", "helo"} else "address" if steps == {"rcpt"} else "message"
