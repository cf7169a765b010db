"""What the packets alone show of a mail: how far it came, and how and by whom its flow ended."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice, takewhile
from typing import Final

from smtpinspect._core.views import Mail
from smtpinspect.diagnose.account import Account
from smtpinspect.diagnose.account.habits import HOPS, forged, habits, off_by
from smtpinspect.diagnose.account.spoken import AUTHS, CLOSES, PHASES, TEXT, Answer, Dialogue, Step
from smtpinspect.diagnose.model import Break, BreakKind, By, Case, Moment, Observed, Sign, Where
from smtpinspect.diagnose.observe.ending import GAVE_UP, Ending, another_way, ending
from smtpinspect.diagnose.observe.place import Place, stage, unanswered
from smtpinspect.diagnose.observe.vantage import vantage
from smtpinspect.diagnose.trace import Packet
from smtpinspect.enforce.craft import RST, SYN
from smtpinspect.grammar import limits
from smtpinspect.grammar.phrases import count
from smtpinspect.grammar.verbs import NUMBER, hides
from smtpinspect.simulate.clock import SECOND

OUTCOMES: Final[Mapping[BreakKind, str]] = {"drop": "stalled", "rst": "reset", "fin": "closed", "reply": "refused"}
KINDS: Final[Mapping[str, BreakKind]] = {outcome: kind for kind, outcome in OUTCOMES.items()}
UNREAD: Final = ("unknown", "stalled", "reset", "closed")
GOOD: Final = ("accepted", "encrypted", "aborted")
SLOW: Final = 60.0  # seconds behind which a mail that was accepted in a large capture is looked at all the same
BESIDE: Final = 3  # delivered mails on the path of a failed one, looked at in a large capture
STEPS: Final = 64  # of what is no mail, in the timeline
QUOTED: Final = 60  # characters of a command or reply in the timeline


def closer_look(cases: Sequence[Case]) -> list[Case]:
    """Those whose packets tell more than their records: the failed ones, and the encrypted ones that nobody closed. Of
    a capture that is not large also the delivered ones, whose connections may have been broken behind the mail; of a
    large one a few beside each failed one, on its path, which show the same boxes at work."""
    failed = [case for case in cases if case.failed or case.observed.outcome == "aborted"]
    hidden = [case for case in cases if case.observed.outcome == "encrypted"]
    octets = sum(case.flow.bytes_toserver + case.flow.bytes_toclient for case in cases)
    if len(cases) > limits.LOOKED_AT or octets > limits.LOOKED_AT_OCTETS:
        hidden = [case for case in hidden if case.flow.state != "closed"]
        slow = (case for case in cases if not case.failed and _is_last(case) and _slow(case.mail))
        return [*failed, *hidden, *islice(slow, limits.LOOKED_AT), *_beside(failed, cases)]
    return [*failed, *(case for case in cases if case.observed.outcome == "accepted" and _is_last(case)), *hidden]


def _beside(failed: Sequence[Case], cases: Sequence[Case]) -> Iterator[Case]:
    """The first delivered ones of the paths of these, each path's a few; those that are slow come by themselves."""
    wanted = Counter({case.path: BESIDE for case in failed})
    for case in cases:
        if case.observed.outcome == "accepted" and _is_last(case) and not _slow(case.mail) and wanted[case.path] > 0:
            wanted[case.path] -= 1
            yield case


def _slow(mail: Mail | None) -> bool:
    """May its client have given up before the reply came?"""
    return mail is not None and mail.end_ns - mail.start_ns > SLOW * SECOND


def _is_last(case: Case) -> bool:
    return case.mail is None or case.mail.tx_id + 1 >= case.flow.mails


def observe(case: Case, taken: Where | None = None) -> Observed:
    """From the mail's record and, where there is one, the trace of its connection. `taken`: where that was captured."""
    account = case.account
    if account is None:
        return _recorded(case)
    packets, said = account.packets, account.said
    where = vantage(account, taken)
    steps = said.steps if case.mail is None else said.mail(_number(case, case.mail, said))
    base = _recorded(case)._replace(vantage=where, timeline=_timeline(said, steps, packets))
    if account.whole:  # by TCP's numbers; octets that were cut off are told by themselves
        base = base._replace(confidence=tuple(each for each in base.confidence if each != "gap"))
    base = _answered(base, steps, case.mail)
    refused = _refused(case, account, steps)
    open_ended = _is_last(case) or base.outcome not in (*GOOD, "refused")
    found = ending(account, where.where) if open_ended else None
    if refused is not None and not (found is not None and _earlier(found, refused, said)):
        if case.mail is None:
            base = base._replace(reply=_line(said, refused))
        return _with_text(base, refused, steps)
    late = _late(base, steps, account) if case.mail is not None else _late_greeting(account)
    if late is not None:
        return _with_text(base._replace(outcome="stalled"), late, steps)
    if found is None:
        return base
    if said.tls_at is not None:
        return _encrypted(base, found, account)
    if case.mail is not None:
        base, found = _taken_behind(base, found, steps, case.mail)
    if base.outcome in GOOD and case.mail is not None and not _behind(found):
        found = Ending(Break(), None, 0.0, found.acked)
    return _with_text(base, found, steps, case)


def _encrypted(base: Observed, found: Ending, account: Account) -> Observed:
    """What lies behind STARTTLS has no phases, but octets that were lost, or an RST that was forged."""
    lost = found.acked < account.client.end or found.heard < account.server.end
    made = base._replace(octets_acknowledged=found.acked, phase=None, stage=None)
    if found.broken.by != "middlebox" or (found.broken.kind == "drop" and not lost):
        return made._replace(broken=Break())
    outcome = OUTCOMES.get(found.broken.kind, base.outcome)
    return made._replace(broken=found.broken, silence=found.silence, outcome=outcome)


def _number(case: Case, mail: Mail, said: Dialogue) -> int:
    """Which mail of the dialogue it is; of packets that were cut the dialogue may count more: then the last one."""
    cut = "snaplen" in mail.confidence and _is_last(case)
    return max(mail.tx_id, sum(step.verb == "MAIL" for step in said.steps) - 1) if cut else mail.tx_id


def _answered(base: Observed, steps: Sequence[Step], mail: Mail | None) -> Observed:
    """Of a mail whose text the record could not read to its end: what the reply to it says."""
    if mail is None or base.outcome not in UNREAD or not set(base.confidence) & {"snaplen", "gap"}:
        return base
    answer = next((step.answer for step in steps if step.verb == TEXT and step.last), None)
    if answer is None or not 200 <= (answer.code or 0) < 300:
        return base
    reply = answer.line.rstrip(b"\r\n").decode("latin-1")
    return base._replace(outcome="accepted", accepted=_accepted(mail), reply=reply, phase=None, stage=None)


def _taken_behind(base: Observed, found: Ending, steps: Sequence[Step], mail: Mail) -> tuple[Observed, Ending]:
    """Behind an RST or FIN that was made in its name the server took the mail; its client had closed by then."""
    answer = next((step.answer for step in steps if step.verb == TEXT and step.last), None)
    broken = found.broken
    if broken.by != "middlebox" or broken.kind not in ("rst", "fin") or broken.packet is None or answer is None:
        return base, found
    if not 200 <= (answer.code or 0) < 300 or answer.packet.number < broken.packet:
        return base, found
    sign = Sign(answer.packet.number, "behind it the server takes the mail")
    reply = answer.line.rstrip(b"\r\n").decode("latin-1")
    place = Place("dotreply", stage("dotreply"))
    taken = base._replace(outcome="accepted", accepted=_accepted(mail), reply=reply)
    return taken, found._replace(broken=broken._replace(at=None, signs=(*broken.signs, sign)), place=place)


def _accepted(mail: Mail) -> int:
    return sum(1 for code in mail.rcpt_replies if code is not None and 200 <= code < 300)


def _behind(found: Ending) -> bool:
    """Was the flow broken behind the mail: its last reply lost, or what comes after it?"""
    return found.broken.by == "middlebox" and found.place is not None and found.place.phase in ("dotreply", "quit")


def _earlier(found: Ending, refused: Ending, said: Dialogue) -> bool:
    """Was the flow broken before the server said no? It does so when it has waited too long, or lost the client."""
    if found.broken.kind not in ("drop", "rst", "fin") or found.broken.by not in ("middlebox", "unknown"):
        return False
    if said.unasked is not None and said.unasked.code == CLOSES:
        return True
    if found.broken.kind == "drop" and found.broken.by == "middlebox" and found.heard <= refused.heard:
        return True  # the client never got that reply
    broken, reply = found.broken.packet, refused.broken.packet
    return found.broken.kind != "drop" and broken is not None and reply is not None and broken < reply


def _late(base: Observed, steps: Sequence[Step], account: Account) -> Ending | None:
    """The server took the mail when its client had given up, who does not know of it and sends it again."""
    text = next((step for step in steps if step.verb == TEXT and step.last and step.answer), None)
    closed = next(iter(account.client.closing), None)
    if base.outcome != "accepted" or text is None or text.answer is None or closed is None:
        return None
    said = max((p.ns for p in account.client.sent if p.number <= closed.number), default=closed.ns)
    if text.answer.packet.number < closed.number or closed.ns - said < GAVE_UP * SECOND:
        return None  # whoever closes with the last octets still listens
    sign = Sign(text.answer.packet.number, "the reply comes after the client has closed")
    broken = Break("rst" if closed.flags & RST else "fin", "client", closed.number, None, (sign,))
    heard = [p.ns for p in account.packets if not p.by_client and p.number < closed.number]
    silence = (closed.ns - max(heard, default=text.packet.ns)) / SECOND
    return Ending(broken, Place("dotreply", stage("dotreply")), silence, min(account.client.acknowledged, text.end))


def _late_greeting(account: Account) -> Ending | None:
    """The server greets a client that has given up."""
    closed, greeting = next(iter(account.client.closing), None), account.said.greeting
    if closed is None or greeting is None or greeting.packet.number < closed.number:
        return None
    silence = (closed.ns - account.packets[0].ns) / SECOND
    if silence < GAVE_UP:
        return None
    sign = Sign(greeting.packet.number, "the greeting comes after the client has closed")
    broken = Break("rst" if closed.flags & RST else "fin", "client", closed.number, None, (sign,))
    return Ending(broken, Place("greeting", stage("greeting")), silence, 0)


def _recorded(case: Case) -> Observed:
    """What the engine wrote down."""
    mail, flow = case.mail, case.flow
    if mail is None:
        return Observed(confidence=tuple(flow.confidence))
    return Observed(
        outcome=mail.outcome,
        accepted=_accepted(mail) if mail.outcome == "accepted" else 0,
        recipients=len(mail.rcpt_to),
        reply="" if mail.reply is None else str(mail.reply),
        phase=mail.phase,
        stage=mail.stage or (stage(mail.phase) if mail.phase else None),
        broken=_as_recorded(mail),
        silence=mail.silence,
        confidence=tuple(mail.confidence),
    )


def _as_recorded(mail: Mail) -> Break:
    """What the record alone tells: a client that closes may have given up."""
    kind = KINDS.get(mail.outcome)
    if kind is None:
        return Break()
    if kind == "reply":
        return Break("reply", "server")
    told: By = "unknown" if kind == "drop" or mail.closer == "none" else mail.closer
    return Break(kind, told)


def _with_text(base: Observed, found: Ending, steps: Sequence[Step], case: Case | None = None) -> Observed:
    text = [step for step in steps if step.verb == TEXT]
    made = base._replace(
        broken=found.broken,
        silence=found.silence or base.silence,
        octets_acknowledged=found.acked,
        text_acknowledged=sum(max(0, min(found.acked, each.end) - each.begin) for each in text) if text else None,
    )
    if found.place is None:
        if case is not None and case.mail is None:
            hidden = "one-direction" in base.confidence or "mid-stream" in base.confidence
            made = made._replace(outcome="unknown" if hidden else "aborted")
        elif "snaplen" in base.confidence and base.outcome in KINDS and found.broken.kind == "none":
            made = made._replace(outcome="unknown", phase=None, stage=None)  # its text's end is hidden
        return made
    outcome = base.outcome if base.outcome in GOOD else OUTCOMES.get(found.broken.kind, base.outcome)
    if found.broken.by == "unknown" and found.silence < 1 and base.outcome == "unknown":
        outcome = "unknown"
    return made._replace(phase=found.place.phase, stage=found.place.stage, outcome=outcome)


def _refused(case: Case, account: Account, steps: Sequence[Step]) -> Ending | None:
    """A 4xx or 5xx that decided it."""
    if case.mail is not None:
        if case.mail.outcome != "refused":
            return None
        phase: str = case.mail.phase or "mail"
        answer = next((s.answer for s in reversed(steps) if s.answer and s.answer.code == case.mail.reply), None)
        waited = account.said.unasked
        if answer is None and waited is not None and waited.code == case.mail.reply == CLOSES and _is_last(case):
            answer, phase = waited, unanswered(account.said).phase  # it was the client's turn
    else:
        tried = (each for each in steps if each.verb in PHASES and each.verb != "QUIT")
        answers = [("greeting", account.said.greeting), *((each.phase, each.answer) for each in tried)]
        told = [(at, reply) for at, reply in answers if reply is not None and reply.code is not None]
        if not told or (told[-1][1].code or 0) < 400:
            return None
        phase, answer = told[-1]
    place = Place(phase, stage(phase))
    if answer is None:
        return Ending(Break("reply", "server"), place, 0.0, account.client.acknowledged, -1)
    before = [p for p in account.packets if not p.by_client and p.number < answer.packet.number]
    behind = [p for p in account.packets if not p.by_client and p.number > answer.packet.number]
    signs = forged(answer.packet, habits(before), behind=behind) if before else ()
    by: By = "middlebox" if signs else "server"
    acked = (account.without(answer.packet) if signs else account).client.acknowledged
    if before and not signs and off_by(answer.packet, habits(before)) > HOPS:
        by, signs = "unknown", (another_way(answer.packet, before),)
    if answer is account.said.unasked:
        signs = (*signs, *_waited(account, answer))
    return Ending(Break("reply", by, answer.packet.number, None, signs), place, 0.0, acked, answer.at)


def _waited(account: Account, answer: Answer) -> Iterator[Sign]:
    """What tells that a reply to nothing ends a wait for the client."""
    asked = max((p.ns for p in account.packets if p.number < answer.packet.number and p.length), default=None)
    waited = 0.0 if asked is None else (answer.packet.ns - asked) / SECOND
    if waited >= GAVE_UP:
        yield Sign(answer.packet.number, f"it answers no command: the server had waited {waited:.0f} s for the client")


def _line(said: Dialogue, refused: Ending) -> str:
    """The reply that decided, as it stands in the dialogue."""
    found = next((one for one in said.replies if one.packet.number == refused.broken.packet), None)
    return found.line.rstrip(b"\r\n").decode("latin-1") if found is not None else ""


def _timeline(said: Dialogue, steps: Sequence[Step], packets: Sequence[Packet]) -> tuple[Moment, ...]:
    """The handshake, what was said before the first mail, and these steps; of a connection without a mail the last
    `STEPS` are told."""
    opening = [*takewhile(lambda step: step.verb != "MAIL", said.steps)]
    told = [*opening[:STEPS], *steps] if steps and steps[0].verb == "MAIL" else said.steps[-STEPS:]
    first, last = packets[0], packets[-1]
    ack = next((p for p in packets if p.by_client and p.number > first.number and not p.flags & SYN), last)
    made = [_moment("connect", first, ack, "handshake")]
    if said.greeting is not None:
        made.append(_moment("greeting", said.greeting.packet, said.greeting.packet, _short(said.greeting), ack.ns))
    begun = 0 if any(packet.flags & SYN for packet in packets) else _amid(told)
    if begun:
        lines = f"{count(begun, 'line')} of what began before the capture"
        made = [_moment("?", told[0].packet, told[begun - 1].packet, lines)]
    for step in told[begun:]:
        made.append(_moment(_row(step), step.packet, step.answer.packet if step.answer else last, _told(step)))
    return tuple(made)


def _amid(steps: Sequence[Step]) -> int:
    """Of a capture that begins in the middle: how many of its first lines are no commands."""
    return sum(1 for _ in takewhile(lambda step: step.verb.encode("latin-1") not in NUMBER, steps))


def _row(step: Step) -> str:
    """Its phase; of a command that may come in any the command."""
    own = step.verb not in (*PHASES, *AUTHS) and step.verb.encode("latin-1") in NUMBER
    return step.verb.lower() if own else step.phase


def _moment(phase: str, first: Packet, last: Packet, told: str, begin_ns: int | None = None) -> Moment:
    begin_ns = first.ns if begin_ns is None else min(begin_ns, first.ns)
    return Moment(phase, begin_ns, max(begin_ns, last.ns), first.number, told)


def _told(step: Step) -> str:
    if step.verb == TEXT:
        dot = " with the final dot" if step.sure and not step.line else ""
        text = f"{step.end - step.begin:,} bytes of text{dot}"
    elif hides(step.verb):
        text = " ".join(step.line.decode("latin-1").split()[:2])
    elif not step.verb:
        text = "(what AUTH carries)" if step.line.strip() else "(an empty line)"
    else:
        text = step.line.rstrip(b"\r\n").decode("latin-1")[:QUOTED]
    return f"{text}: {_short(step.answer)}"


def _short(answer: Answer | None) -> str:
    if answer is None:
        return "no reply"
    return answer.line.rstrip(b"\r\n").decode("latin-1")[:QUOTED]
