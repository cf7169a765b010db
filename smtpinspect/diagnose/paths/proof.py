"""What the differences between points prove: in words, as a break, as signs of a product, as causes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, cast

from smtpinspect._core.views import Alert, excerpt
from smtpinspect.diagnose.model import Break, BreakKind, Case, Cause, Difference, Fingerprint, Moment, Observed, Sign
from smtpinspect.diagnose.observe.place import at_octet, stage
from smtpinspect.diagnose.paths import generations
from smtpinspect.diagnose.paths.generations import PRODUCT
from smtpinspect.enforce.plan import deed_of
from smtpinspect.grammar import limits
from smtpinspect.grammar.phrases import count
from smtpinspect.grammar.verbs import NUMBER
from smtpinspect.inspectors.base import Rule
from smtpinspect.inspectors.mailguard import masks
from smtpinspect.simulate.spoken import in_message

SHOWN: Final = 48  # octets of a difference that a line shows
_AUTH: Final = re.compile(rb"^((?:AUTH|X-EXPS|NOOP|XXXX\S*)[ \t]+\S+)[ \t]+\S", re.I)


def of(cases: Iterable[Case]) -> None:
    """Fill `proved`, the break and the fingerprints of cases that have differences."""
    for case in cases:
        behind = _came_through(case)
        if behind is not None:
            case.proved = (behind,)
            by = "unknown" if case.observed.broken.by == "middlebox" else case.observed.broken.by
            case.observed = case.observed._replace(broken=case.observed.broken._replace(by=by))
        if not case.differences:
            continue
        case.proved = case.proved + tuple(_sign(case, each) for each in told(case))
        timeline = sorted([*case.observed.timeline, *_moments(case)], key=lambda moment: moment.begin_ns)
        case.observed = case.observed._replace(timeline=tuple(timeline))
        case.fingerprints = (*case.fingerprints, *fingerprints(case.differences))
        broken = break_of(case)
        refusal = _refusal(case)
        if case.failed and refusal is not None:
            case.observed = case.observed._replace(
                outcome="refused",
                reply=refusal.after.partition(b"\r\n")[0].decode("latin-1"),
                broken=Break(
                    "reply", "middlebox", next(iter(refusal.far), None),
                    signs=_here(refusal, next(iter(refusal.far), None)),
                ),
            )
        elif case.failed and broken is not None and not _answered_for(case):
            case.observed = _replied(case)._replace(broken=broken, reply=_unheard(case) or case.observed.reply)
            case.observed = _kept_back(case)


def _came_through(case: Case) -> Sign | None:
    """Where what nobody answered came to the last point, and nothing answered it there: then it was not lost between
    these points, and neither were answers."""
    here, broken = case.account, case.observed.broken
    if not case.failed or broken.kind != "drop" or here is None or not case.elsewhere:
        return None
    if any(each.kind != "rewritten" and each.what not in ("FIN", "RST") for each in case.differences):
        return None
    point, there = [*case.elsewhere.items()][-1]
    if not here.client.sent and not any(not p.by_client for p in here.packets):
        came, sent = there.account.syns, [p for p in here.syns if p.ns <= there.until_ns]
        if not sent or len(came) < len(sent) or any(not p.by_client for p in there.account.packets):
            return None
        what = f"all {count(len(came), 'SYN')}" if len(came) > 1 else "the SYN"
    else:
        owed = here.client.owed
        if owed is None or not owed.repeated or not owed.copies[0].length:
            return None
        came = there.account.client.holding(owed.at)
        sent = [p for p in owed.copies if p.ns <= there.until_ns and p.at == owed.copies[0].at]
        if not sent or len(came) < len(sent) or there.account.client.acked > owed.at:
            return None
        what = f"the sender's bytes from {owed.at:,} on"
    text = f"{what} came to {point} too, and no answer came by there: no box before {point} stopped them; "
    text += "the server itself may not answer (a full queue, a packet filter of its own, a host that died), or a box "
    text += f"behind {point} stops them"
    return Sign(came[0].number, text, point)


def _kept_back(case: Case) -> Observed:
    """Where octets of the client were kept back it broke there, acknowledged though they are."""
    seen, account = case.observed, case.account
    at = seen.broken.at
    if at is None or account is None or at >= account.client.acknowledged:
        return seen
    place = at_octet(account, at)
    return seen._replace(phase=place.phase, stage=place.stage)


def _replied(case: Case) -> Observed:
    """Where it is the reply that was lost: seen from before the box it took the acknowledgement of the command with it,
    or of the text, which had come through."""
    seen, mail = case.observed, case.transaction
    if not case.reply_lost:
        return seen
    whole = mail is not None and mail.complete and seen.phase in ("databody", "datamid", "dot")
    phase = "dotreply" if whole else "reply354" if seen.phase == "datacmd" else seen.phase
    return seen if phase == seen.phase else seen._replace(phase=phase, stage=stage(phase or ""))


def _refusal(case: Case) -> Difference | None:
    """The reply, which the server never sent, that refused it, while octets of its text were kept back. What it did
    not get whole it has not taken; FIN and RST behind that reply are no more than its end."""
    mail = case.transaction
    first, last = (mail.text_at or 0, mail.text_end) if mail is not None else (0, None)
    gone = [one for one in case.differences if one.kind in ("dropped", "withheld") and one.direction == "client"]
    if not any(first < one.at + one.length and (last is None or one.at < last) for one in gone):
        return None
    said = (one for one in case.differences if _put_in(one) and re.match(rb"[45]\d\d", one.after))
    return next((one for one in said if not _goes_on(case, one)), None)


def _goes_on(case: Case, reply: Difference) -> bool:
    """Does the server say more behind this reply? Then it was one to a command that a box kept back."""
    end = reply.at + reply.length
    return case.account is not None and any((p.at or 0) >= end for p in case.account.server.sent)


def _unheard(case: Case) -> str:
    """The reply that took the mail, where its client never got it."""
    took = case.observed.outcome == "accepted" and case.observed.phase == "dotreply"
    gone = (one for one in case.differences if one.kind == "dropped" and one.direction == "server" and one.here)
    said = (one.before for one in gone if took and re.match(rb"2\d\d[ -]", one.before))
    return next((line.partition(b"\r\n")[0].decode("latin-1") for line in said), "")


def _put_in(one: Difference) -> bool:
    return one.kind == "injected" and one.what == "octets" and one.direction == "server"


def _answered_for(case: Case) -> bool:
    """Was it refused by a reply that the server never sent?"""
    return any(_put_in(one) for one in case.differences) and case.observed.broken.kind == "reply"


def told(case: Case) -> list[Difference]:
    """Those worth a line: without the last farewells of ends that were cut off."""
    first = any(each.kind != "lost" and each.what in ("octets", "connection") for each in case.differences)
    late = [each for each in case.differences if each.kind == "dropped" and each.what in ("FIN", "RST")]
    skipped = late if first or not case.failed else []
    return [each for each in case.differences if each not in skipped]


def break_of(case: Case) -> Break | None:
    """The break that happened between two points; None where octets and packets arrived."""
    found: dict[tuple[str, str], Difference] = {(one.kind, one.what): one for one in reversed(case.differences)}
    ways: tuple[tuple[str, str, BreakKind], ...] = (
        ("injected", "RST", "rst"),
        ("injected", "FIN", "fin"),
        ("withheld", "octets", "drop"),
        ("dropped", "octets", "drop"),
        ("dropped", "SYN", "drop"),
        ("dropped", "connection", "drop"),
    )
    for kind, what, how in ways:
        each = found.get((kind, what))
        if each is None or (kind == "withheld" and not _ends(case, each)):
            continue
        gone = [one for one in case.differences if one.kind in ("dropped", "withheld") and one.direction == "client"]
        at = min((one.at for one in gone if one.what in ("octets", "connection")), default=None)
        packet = next(iter(each.near or each.far), None)
        return Break(how, "middlebox", packet, at, _here(each, packet))
    return None


def _here(each: Difference, packet: int | None) -> tuple[Sign, ...]:
    """Where it was, if one capture shows both sides of that."""
    if not each.here:
        return ()
    deed = {"injected": "made", "withheld": "kept back"}.get(each.kind, each.kind)
    return (Sign(packet, f"{deed} on {each.here}, between {each.between[0]} and {each.between[1]}"),)


def _ends(case: Case, withheld: Difference) -> bool:
    """Was it the last of its side that came so far? A command that a box answers itself breaks nothing."""
    mine = case.account.stream(withheld.direction == "client").sent if case.account is not None else ()
    return not any((p.at or 0) >= withheld.at + withheld.length for p in mine)


# --- words


def _sign(case: Case, each: Difference) -> Sign:
    numbers = each.near or each.far
    return Sign(numbers[0] if numbers else None, line(case, each), _point(each, 0 if each.near else 1))


def _moments(case: Case) -> Iterator[Moment]:
    """What one capture shows on both sides of a machine has its place in time."""
    for each in [one for one in told(case) if one.here][:limits.DIFFERENCE_PACKETS]:
        came, went, never = _ways(each)
        text = {
            "dropped": f"{came}{_often(each)} and {never}",
            "withheld": f"{came} and was kept back",
            "rewritten": f"{came}, {went} with other bytes",
            "injected": f"{went}, and had not come in on {each.between[0]}",
            "lost": f"{each.length:,} that {came} {never}",
        }[each.kind]
        what = "" if each.what == "octets" else f"{each.what}: "
        yield Moment(each.kind, *each.ns, (each.near or each.far)[0], f"{what}{text}")


def _often(each: Difference) -> str:
    times = len(each.near) if each.what != "octets" else each.times
    return f" {times} times" if times > 1 else ""


def _point(each: Difference, n: int) -> str:
    """Whose packets are named; one capture needs no name."""
    return "" if each.here else each.between[n]


def _ways(each: Difference) -> tuple[str, str, str]:
    """How a sentence says that something was at the first point, and that it came, or did not come, to the second."""
    one, two = each.between
    if each.here:
        return f"came in on {one}", f"went out on {two}", f"never went out on {two}"
    return f"left {one}", f"reached {two}", f"never reached {two}"


def line(case: Case, each: Difference) -> str:
    """One difference as a sentence."""
    return _LINES[each.kind](case, each) + _packets(each)


def _rewrote(case: Case, each: Difference) -> str:
    came, went, _ = _ways(each)
    before, after = (quoted(case, each, octets) for octets in (each.before, each.after))
    return f"{_octets(case, each, each.length)} {came} as {before} and {went} as {after}"


def _withheld(case: Case, each: Difference) -> str:
    came, _, _ = _ways(each)
    why = "somebody acknowledged them, or what follows went on without them"
    quote = quoted(case, each, each.before)
    return f"{_octets(case, each, each.length)} {came} and were kept back before {each.between[1]} ({why}): {quote}"


def _dropped(case: Case, each: Difference) -> str:
    one, two = each.between
    if each.what == "connection":
        return f"the connection is in the capture of {one}, and nothing of it in that of {two}"
    often = _often(each)
    came, _, never = _ways(each)
    if each.what != "octets":
        return f"the {each.direction}'s {each.what} {came}{often} and {never}"
    more = each.length - each.first
    behind = f", nor did the {more:,} bytes behind {'it' if each.first else 'them'}" if more > 0 else ""
    which, quote = _octets(case, each, each.first or each.length), quoted(case, each, each.before)
    return f"{which} {came}{often} and {never}{behind}: {quote}"


def _injected(case: Case, each: Difference) -> str:
    one, two = each.between
    quote = quoted(case, each, each.after)
    if each.here:
        what = quote if each.what == "octets" else f"a{'n' if each.what == 'RST' else ''} {each.what}"
        return f"{what} in the {each.direction}'s name went out on {two} and had not come in on {one}"
    if each.what != "octets":
        return f"a {each.what} in the {each.direction}'s name reached {two}; none like it passed {one}"
    return f"{two} got {quote} in the {each.direction}'s name; it never passed {one}"


def _lost(case: Case, each: Difference) -> str:
    one, two = each.between
    packets = "1 packet" if each.length == 1 else f"{each.length:,} packets"
    return f"{packets} of the {each.direction} got lost between {one} and {two}; later copies arrived"


_LINES: Final = {
    "rewritten": _rewrote,
    "withheld": _withheld,
    "dropped": _dropped,
    "injected": _injected,
    "lost": _lost,
}


def _octets(case: Case, each: Difference, length: int) -> str:
    """Which octets: counted in the text where they are part of it."""
    mail = case.transaction
    if each.direction == "client" and mail is not None and mail.holds(each.at):
        span = in_message(case.script, mail, each.at, length)
        segment = "the first segment of the message" if each.at == mail.text_at else "a segment of the message"
        return f"{segment if each.kind == 'dropped' else 'bytes of the message'} ({span})"
    return f"the {each.direction}'s bytes {each.at:,}-{each.at + max(length, 1) - 1:,}"


def _packets(each: Difference) -> str:
    """Its packet at the second point; that at the first is the sign's."""
    if not each.near or not each.far:
        return ""
    return f" as packet {each.far[0]:,}" + ("" if each.here else f" at {each.between[1]}")


def quoted(case: Case, each: Difference, octets: bytes) -> str:
    """The head of these octets; what AUTH carries is masked."""
    if not octets:
        return ""
    octets = octets.rstrip(b"\r\n") or octets
    shown = octets[:SHOWN]
    if each.direction == "client" and not set(octets) <= set(b"X \r\n"):
        if _answers(case, each.at, octets):
            return "(not shown)"
        found = _AUTH.match(octets)
        shown = found[1] + b" (masked)" if found else shown
    return f'"{excerpt(shown)}"' + ("..." if len(octets) > len(shown) else "")


def _answers(case: Case, at: int, octets: bytes) -> bool:
    """Is this the answer to a 334, or what AUTH carries? Without its dialogue only what begins with a verb is none."""
    if case.script is None:
        return not _verb(octets) or octets[:4].upper() == b"AUTH"
    for command in case.script.commands:
        if command.at <= at < command.end:
            return command.answer or (command.verb == "AUTH" and at > command.at)
    return False


# --- signs of a product


def fingerprints(found: Sequence[Difference]) -> Iterator[Fingerprint]:
    """What a box did to octets, where a product is known to do just that."""
    for each in found:
        signs = (Sign(next(iter(each.far or each.near), None), _short(each), _point(each, 1)),)
        if each.kind == "rewritten" and each.before and len(each.before) == len(each.after):
            yield from _rewritten(each, signs)
        elif each.kind == "injected" and each.direction == "server" and each.what == "octets":
            if each.after.startswith(b"552"):
                text = "a 552 in the server's name, which the server never sent"
                yield Fingerprint("sonicwall", "answer-552", text, (), signs)
            elif each.after.strip().upper() in (b"OK", b"250 OK") and any(one.kind == "withheld" for one in found):
                text = "a command was kept back, and answered with OK in the server's name"
                yield Fingerprint(PRODUCT, "ok-to-nonsense", text, generations.denying("local-ok"), signs)


def _short(each: Difference) -> str:
    after = excerpt(each.after[:SHOWN].rstrip())
    if not each.before:
        return after
    if each.direction == "client" and not _verb(each.before):
        return f"the client's bytes from {each.at:,} on became {after}"
    return f"{excerpt(each.before.split(None, 1)[0] if _verb(each.before) else each.before[:SHOWN])} became {after}"


def _verb(octets: bytes) -> bool:
    """Does it begin with a verb? All else that a client says may be a secret."""
    words = octets.split(None, 1)
    return bool(words) and words[0].upper() in NUMBER


def _rewritten(each: Difference, signs: tuple[Sign, ...]) -> Iterator[Fingerprint]:
    before, after = each.before, each.after
    if each.direction == "server":
        # only what differs is here: behind the code for a greeting, inside of a line for a keyword
        full = b"220 " + before
        styles = [
            style for style in ("first4", "keep20", "per-line") if masks.banner(full, style)[4:] == after
        ]
        if styles:
            text = "the greeting was overwritten with stars between two points"
            yield Fingerprint(PRODUCT, "banner-starred", text, generations.greeting_of(styles), signs)
        elif re.fullmatch(rb"X+[A-Z]?", after):
            text = "an EHLO keyword was overwritten with X between two points"
            tls = before.upper().startswith(b"STARTTLS"[: len(before)])
            profiles = generations.having(_masks_tls) if tls else generations.masking_keywords(False)
            yield Fingerprint(PRODUCT, "keyword-xed", text, profiles, signs)
        return
    if re.fullmatch(rb"X+", after):
        # of EHLO, and of the head of a longer verb, more would be overwritten by one that overwrites all
        part = before.upper() == b"EHLO" or before.upper() not in NUMBER
        styles = ["xxxx-all"] if len(after) > 4 else ["xxxx-verb"] if part else ["xxxx-verb", "xxxx-all"]
        text = "a command was overwritten with X between two points"
        yield Fingerprint(PRODUCT, "verb-xed", text, generations.denying(*styles), signs)
    elif after.startswith(b"NOOP") and before.split(None, 1)[0].upper() != b"NOOP":
        text = "a verb was overwritten with NOOP between two points"
        yield Fingerprint(PRODUCT, "verb-nooped", text, generations.denying("noop"), signs)
    elif set(before) <= set(b"|<>") and set(after) <= {0x20}:
        text = "a character of an address was overwritten with a blank between two points"
        yield Fingerprint(PRODUCT, "address-blanked", text, (), signs)


def _masks_tls(each: generations.Traits) -> bool:
    return each.ehlo_mask != "none" and not each.allow_tls


# --- causes


def causes(case: Case) -> list[Cause]:
    """Rules that would have done just what was done between two points: proved, since the octets are there."""
    made: dict[str, Cause] = {}
    for each in case.differences if case.failed else ():
        for alert in case.alerts:
            if alert.rule not in made and (_rewrites(alert, each) or _answered(alert, each)):
                numbers = each.far or each.near
                sign = Sign(numbers[0] if numbers else None, line(case, each), _point(each, 1))
                made[alert.rule] = Cause(
                    alert.rule, "rule", "certain", alert.title, (sign,), degree="proved", alert=alert,
                    inspector=alert.inspector, product=alert.rule.partition(".")[0],
                )  # fmt: skip
    return list(made.values())


def _answered(alert: Alert, each: Difference) -> bool:
    """Are these octets, which the server never sent, the words of this rule?"""
    if alert.action != "answer" or each.kind != "injected" or each.direction != "server" or not each.after:
        return False
    deed = deed_of(cast(Rule, alert.row))
    return each.after in {reply for reply in (deed.reply, deed.ending.reply if deed.ending else b"") if reply}


def _rewrites(alert: Alert, each: Difference) -> bool:
    """The same side, an octet in common, and what a product of that name does."""
    if alert.action != "rewrite" or each.kind != "rewritten":
        return False
    end = alert.offset + max(alert.length, 1)
    same = alert.direction == each.direction and alert.offset < each.at + max(each.length, 1) and each.at < end
    product = alert.rule.partition(".")[0]
    return same and any(found.product == product for found in fingerprints([each]))


def firm(case: Case, found: Iterable[Cause]) -> None:
    """Put proved and confirmed causes before all others; what says the same of that rule goes.

    What is proved to have been rewritten is a cause only where the mail ended of it, as its causes tell.
    """
    ranked = {cause.cause for cause in case.causes}
    first = [cause for cause in found if cause.degree == "confirmed" or cause.cause in ranked]
    if not first:
        return
    names = {cause.cause for cause in first}
    others = [cause for cause in case.causes if cause.cause not in names]
    # another name of the same octets shares the place
    same = [cause for cause in others if cause.alert is not None and cause.alert.rule in names]
    rest = [cause._replace(rank=0) for cause in same]
    rest += [cause._replace(rank=cause.rank + 1) for cause in others if cause not in same]
    known = {cause.cause: cause for cause in case.causes}
    case.causes = [
        cause._replace(remedies=cause.remedies or (known[cause.cause].remedies if cause.cause in known else ()))
        for cause in first
    ] + rest


