"""`simulate CAPTURE`: the mail that is meant, the two ways to simulate it, one story."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Final, Literal, NamedTuple

from smtpinspect._core.views import Alert, excerpt
from smtpinspect.enforce.at import ACTIONS, KINDS
from smtpinspect.enforce.firewall import Firewall
from smtpinspect.engine import PORTS
from smtpinspect.errors import CaptureError, UsageError
from smtpinspect.inspectors import registry as inspectors
from smtpinspect.inspectors.base import Inspector
from smtpinspect.inspectors.settings import unknown
from smtpinspect.mta import registry
from smtpinspect.mta.base import Receiver, Sender
from smtpinspect.simulate.again import DELAYED, PIX_AGE, PIX_DELAY
from smtpinspect.simulate.bench import RECEIVERS
from smtpinspect.simulate.flow import Chosen, choose, packets
from smtpinspect.simulate.guess import receiver_of, sender_of
from smtpinspect.simulate.observed import fate_of, refusal
from smtpinspect.simulate.recorded import Played, Recording
from smtpinspect.simulate.reenact import Enacted, enact
from smtpinspect.simulate.result import Happened
from smtpinspect.simulate.script import Script, Transaction, script_of
from smtpinspect.simulate.story import Days, Hit, Mail, Story, days_of, result_of
from smtpinspect.simulate.views import View

Break = Literal["", "drop", "rst", "fin"]
DEFAULT_SENDER: Final = "rfc5321"  # where neither the user nor the capture tells
DEFAULT_RECEIVER: Final = "postfix"

WHY: Final = {
    "asked": "the mail that was asked for",
    "breaks": "the first mail that would break",
    "alters": "the first mail that would be altered; none would break",
    "first": "the first mail; nothing fires that changes anything",
    "no-mail": "the first connection; no mail is in the capture",
}


class Asked(NamedTuple):
    """What is asked. `inspector` is a spec or an instance; `mta` and `receiver`: names, "" for what the capture tells;
    `mail` counts the capture's mails from 1; `broken` overrides the product's own teardown."""

    capture: str
    inspector: str | Inspector
    mta: str = ""
    receiver: str = ""
    mail: int | None = None
    broken: Break = ""
    re_enact: bool = False
    timeouts: Mapping[str, float] = {}
    ports: Sequence[int] = PORTS
    write_client: str | None = None
    write_server: str | None = None
    require_tls: bool = False
    require_auth: bool = False


class Told(NamedTuple):
    """A story, or None where the capture holds no SMTP; `fault`: why the capture could not be read to its end."""

    story: Story | None
    fault: CaptureError | None = None


def torn_down(inspector: Inspector, broken: Break) -> Inspector:
    """The same inspector, whose breaks end the flow in this way: silently, or with an RST or a FIN to both sides."""
    if not broken:
        return inspector
    made = copy.copy(inspector)
    made._rows = tuple(
        row._replace(action=ACTIONS[broken], breaks=False) if row.ends_flow and row.kind == "emulate" else row
        for row in inspector.table()
    )
    return made


def simulate(asked: Asked) -> Told:
    """Simulate the mail that is meant.

    Raises UsageError for what is not known, and for a capture or a view that cannot be opened; CaptureError for what
    is no capture at all.
    """
    if asked.broken not in ("", *KINDS):
        raise unknown("break", asked.broken, KINDS)
    if asked.mta and asked.mta not in registry.SENDERS:
        raise unknown("mail server", asked.mta, tuple(registry.SENDERS))
    if asked.receiver and asked.receiver not in RECEIVERS:
        raise unknown("receiving mail server", asked.receiver, tuple(RECEIVERS))
    inspector = torn_down(inspectors.load(asked.inspector), asked.broken)
    found = choose(asked.capture, inspector, ports=asked.ports, mail=asked.mail)
    if found is None:
        return Told(None)
    script = script_of(asked.capture, found.flow.first_packet, ports=asked.ports)
    if script is None:
        raise UsageError(f"{asked.capture}: changed while it was read")
    mail = script.mails[found.mail - 1] if found.mail and found.mail <= len(script.mails) else None
    if found.mail is None and script.mails:
        mail = script.mails[-1]  # the rule fires outside of mails, behind them all
    cast = _cast(asked, script, mail)
    with ExitStack() as stack:
        views = tuple(stack.enter_context(View(path)) for path in (asked.write_client, asked.write_server))
        if asked.re_enact:
            enacted = enact(
                script, mail, cast.sender, cast.receiver, partial(Firewall, inspector, ports=asked.ports),
                timeouts=asked.timeouts, require_tls=asked.require_tls, require_auth=asked.require_auth,
            )  # fmt: skip
            for view, tap in zip(views, (enacted.tried.client_tap, enacted.tried.server_tap), strict=True):
                for ns, ip in tap.packets:
                    view.add(ns, ip)
            told = _enacted(inspector, found, script, mail, cast, enacted, (views[0].packets, views[1].packets))
            return Told(told, found.fault)
        played = Recording(
            script, Firewall(inspector, ports=asked.ports), cast.sender, cast.receiver, mail=mail,
            record=found.record, asked=asked.mail is not None, timeouts=asked.timeouts,
            client_view=views[0], server_view=views[1],
        ).play(packets(asked.capture, found.flow))  # fmt: skip
    return Told(_recorded(asked, inspector, found, cast, played, (views[0].packets, views[1].packets)), found.fault)


class _Cast(NamedTuple):
    sender: Sender
    receiver: Receiver
    guessed: tuple[str, ...]
    notes: tuple[str, ...]


def _cast(asked: Asked, script: Script, mail: Transaction | None) -> _Cast:
    """Who plays the client and who the server."""
    guessed, notes = [], []
    name = asked.mta
    if not name and (told := sender_of(mail)) is not None:
        name = told
        guessed.append("mta")
    if not name:
        name = DEFAULT_SENDER
        notes.append("which mail server sends is not in the capture: a plain RFC 5321 client; --mta says another")
    to = asked.receiver
    if not to and (told := receiver_of(script)) is not None and told in RECEIVERS:
        to = told
        guessed.append("receiver")
    if not to:
        to = DEFAULT_RECEIVER
        notes.append("which mail server receives is not in the capture: Postfix is assumed; --to says another")
    return _Cast(registry.SENDERS[name], RECEIVERS[to], tuple(guessed), tuple(notes))


def _mail(found: Chosen, script: Script, mail: Transaction | None, cast: _Cast) -> Mail:
    return Mail(
        script.client,
        script.server,
        mail.number if mail is not None else None,
        mail.sender if mail is not None else None,
        mail.recipients if mail is not None else (),
        cast.guessed,
        WHY[found.why],
    )


def _recorded(
    asked: Asked, inspector: Inspector, found: Chosen, cast: _Cast, played: Played, views: tuple[int, int]
) -> Story:
    sender, script, mail = cast.sender, played.script, played.mail
    alert: Alert | None = played.alert
    ending, loss = played.ending, played.loss
    timeline = tuple(Happened(line.t, line.actor, line.event) for line in played.timeline)
    phase = alert.phase if alert is not None else found.record.phase if found.record is not None else None
    result = result_of(sender, cast.receiver, ending, loss, timeline, phase=phase or "", broken=played.kind)
    days = days_of(sender, ending, loss.accepted)
    fate = result.fate if played.parted else fate_of(script, mail, found.record)
    if fate is None or played.stopped:
        # what the tables would make of it is not what would happen
        result = result._replace(fate="", sender_log=(), receiver_log={}, retries=(), gives_up_after=None)
        days = Days(1, 0, ending.seconds, False, ())
    return Story(
        "recorded",
        _spec(inspector),
        _mail(found, script, mail, cast),
        _observed(found, mail),
        _hit(alert) if alert is not None else None,
        result,
        days,
        views,
        tuple(dict.fromkeys(each.rule for each in played.alerts if each is not alert and each.action in ALTERING)),
        (*cast.notes, *_notes(asked, script, mail, played)),
    )


def _enacted(
    inspector: Inspector,
    found: Chosen,
    script: Script,
    mail: Transaction | None,
    cast: _Cast,
    enacted: Enacted,
    views: tuple[int, int],
) -> Story:
    tried, alert = enacted.tried, enacted.alert
    ending, loss = tried.ending, tried.loss
    accepted = loss is not None and loss.accepted
    notes = list(cast.notes)
    result = result_of(
        cast.sender, cast.receiver, ending, None if enacted.unseen else loss, tried.timeline,
        phase=(alert.phase if alert is not None else None) or "", broken=enacted.kind,
    )  # fmt: skip
    days = days_of(cast.sender, ending, accepted, enacted.later.ending.seconds if enacted.later else None)
    if enacted.unseen:
        notes.append("the mail goes into TLS, where no rule reads it: taken as delivered")
    if enacted.placeholder and not enacted.unseen:
        notes.append("the text of the mail is not in the capture: another one of about its size is sent")
    if enacted.later is not None and any(DELAYED in each.event for each in enacted.later.timeline):
        later = enacted.later.ending
        notes.append(
            f"later attempts, with the mail older than {PIX_AGE} s, wait {PIX_DELAY} s before the dot ({DELAYED}), "
            f"and end {'in the same way' if later.cause == ending.cause else 'otherwise'}"
        )
    if mail is not None and mail.holes:
        notes.append(f"{mail.holes:,} bytes of the text are missing in the capture: sent as zeros")
    if mail is not None and mail.text_at is not None and not mail.complete:
        notes.append("the capture does not hold the end of the text: it is sent as far as it goes")
    return Story(
        "re-enacted",
        _spec(inspector),
        _mail(found, script, mail, cast),
        _observed(found, mail),
        _hit(alert)._replace(packet=None) if alert is not None else None,
        result,
        days,
        views,
        tuple(dict.fromkeys(each.rule for each in enacted.alerts if each is not alert and each.action in ALTERING)),
        tuple(notes),
    )


def _spec(inspector: Inspector) -> str:
    return f"{inspector.name}:{inspector.profile}" if len(inspector.profiles) > 1 else inspector.name


ALTERING: Final = frozenset({"rewrite", "answer"})


def _observed(found: Chosen, mail: Transaction | None) -> str:
    if found.record is not None:
        return found.record.outcome
    decided = refusal(mail)
    if decided is None:
        return "no mail" if mail is None else "unknown"
    return "accepted" if (decided[2].code or 0) // 100 == 2 else "refused"


def _hit(alert: Alert) -> Hit:
    return Hit(alert.rule, alert.action, alert.direction, alert.offset, excerpt(alert.octets), alert.packet)


def _notes(asked: Asked, script: Script, mail: Transaction | None, played: Played) -> list[str]:
    """What the capture cannot show, and what was done to it."""
    notes = []
    if played.stopped:
        notes.append(f"{played.stopped}; --re-enact sends the mail anew")
    if not played.parted and not played.alerts:
        notes.append("no rule fires on this connection: both sides see what the capture shows")
    elif not played.parted and played.edited:
        notes.append(
            "bytes are rewritten and the flow goes on; what client and server would make of them is not in the "
            "capture: --re-enact sends the mail anew"
        )
    if script.tls_at is not None:
        notes.append("the connection turns to TLS: no rule reads what lies behind")
    if played.cut:
        notes.append(f"{played.cut:,} packets were cut by the capture's snap length: what is missing was not judged")
    if played.filled:
        notes.append(f"{played.filled:,} packets had no right checksums (offloading): filled in")
    if "mid-stream" in script.confidence:
        notes.append("the capture begins in the midst of the connection: delays and TCP options are assumed")
    if "one-direction" in script.confidence:
        notes.append("the capture holds one direction only: what the other side said is not known")
    if any(side == 0 for side, _, _ in script.gaps):
        notes.append("bytes of the client are missing in the capture: sent again, they are zeros")
    if script.cut:
        notes.append("the connection is too long to be kept whole: its end is not simulated")
    return notes


__all__ = ["Asked", "Told", "simulate", "torn_down"]
