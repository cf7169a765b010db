"""What log lines tell: one line in full, or a month of them by destination. No packet was seen: nothing is certain."""

from __future__ import annotations

import os
import shlex
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from smtpinspect.diagnose.model import Cause, Reading
from smtpinspect.diagnose.reading import read_line
from smtpinspect.diagnose.reading.means import CONTENT, HOW, elapsed, place
from smtpinspect.diagnose.reading.means import KINDS as BREAKS
from smtpinspect.diagnose.reading.month import Group, Month
from smtpinspect.grammar.words import IN_TEXT
from smtpinspect.mta.registry import RECEIVERS, SENDERS
from smtpinspect.mta.words import iso
from smtpinspect.report.simulate_page import DUPLICATES, SCOPES, span
from smtpinspect.report.terminal import Style, count, padded, pasted, program, safe, wide, wrapped

# So many failures are told one by one; of more, the month.
FULL: Final = 3
GROUPS: Final = 20
NEXT: Final = 3  # destinations for which the next commands are given
FINDS: Final[Mapping[str, str]] = {".gz": "zgrep", ".bz2": "bzgrep", ".xz": "xzgrep", ".zst": "zstdgrep"}
PASTED: Final = 600  # characters of a line that the next command repeats
FATES: Final[Mapping[str, str]] = {
    "deferred": "deferred",
    "bounced": "returned to its sender",
    "delivered": "delivered",
    "": "not told",
}
KINDS: Final[Mapping[str, str]] = {
    "content": "CONTENT",
    "path-mtu": "PATH MTU",
    "size": "SIZE OR CONTENT",
    "host": "PATH OR HOST",
    "address": "ONE SERVER",
    "requeue": "PASSES LATER",
    "greylisting": "PASSES LATER",
    "loss": "PASSES LATER",
    "began": "BEGAN",
    "refusal": "ANSWERED",
    "outage": "OUTAGE?",
    "few": "TOO FEW",
    "untried": "TRIED ONCE",
    "unknown": "NOT KNOWN",
}
RETURNED: Final = "RETURNED, YET MAY HAVE BEEN DELIVERED; sent once more it may come twice"
_LABEL: Final = 13
_WIDE: Final = 17


def page(
    readings: Sequence[Reading], month: Month, width: int | None, style: Style, logs: Sequence[str] = ()
) -> Iterator[str]:
    """The lines of the page; `width` None: as wide as they are. `readings`: failures, perhaps not all. `logs`: what
    was given as such."""
    failures = [each for each in readings if each.failed and (each.phases or not each.waiting)]
    if not failures and not month.groups:
        yield from _nothing(month, readings, width)
        return
    if month.groups and sum(group.attempts for group in month.groups) > FULL:
        yield from groups(month, width, style, logs)
        return
    mails: dict[tuple[str, str, str], list[Reading]] = {}
    for told in failures:
        # without a queue id a line is of a mail of its own
        mails.setdefault((told.queue_id or f"line {len(mails)}", told.recipient, told.side), []).append(told)
    for number, tries in enumerate(list(mails.values())[:FULL]):
        if number:
            yield ""
        yield from one(tries[-1], width, style, tries[:-1], _delivered(tries[-1], readings))


def joined(attempts: int, month: Month, width: int | None = None) -> Iterator[str]:
    """So many failed attempts of the log were told with their mails: what else is in it."""
    others = sum(group.attempts for group in month.groups)
    beside = [count(others, "failed attempt")] * bool(others) + [f"{count(month.delivered, 'mail')} delivered"] * bool(
        month.delivered
    )
    if beside:
        which = "1 failed attempt is told with its mail" if attempts == 1 else (
            f"{attempts:,} failed attempts are told with their mails"
        )
        told = f"The log: {which} above; beside it {' and '.join(beside)}{'.' if not others else ':'}"
        yield from wrapped(told, width)
        if others:
            yield ""


def _delivered(told: Reading, readings: Sequence[Reading]) -> Reading | None:
    """The attempt that this mail passed at later."""
    for each in readings:
        same = told.queue_id and (each.queue_id, each.recipient) == (told.queue_id, told.recipient)
        if same and each.fate == "delivered" and (each.when or 0) >= (told.when or 0):
            return each
    return None


def _nothing(month: Month, readings: Sequence[Reading], width: int | None) -> Iterator[str]:
    if month.delivered:
        received = f"{count(month.received, 'mail')} received, {month.delivered:,}" if month.received else ""
        failed = f"{_waiting(month)}, none other failed." if month.waiting else "none failed."
        yield from wrapped(f"{received or count(month.delivered, 'mail')} delivered, {failed}", width)
        listed = [told for told in readings if told.fate == "delivered"]
        for told in listed if len(listed) <= FULL else ():
            yield from wrapped(f"{'  '.join(_head(told))}: delivered to {safe(told.recipient)}", width, "  ")
    elif month.waiting:
        yield from wrapped(f"{_waiting(month)}.", width)
    elif month.received:
        yield f"{count(month.received, 'mail')} received, none failed."
    elif month.readings or month.idle:
        if month.idle:
            names = " and ".join(_known(mta) for mta, _ in month.idle[:3])
            which = count(sum(number for _, number in month.idle), "line")
            yield from wrapped(f"{which} of {names}: nothing in it that tells of a delivery.", width)
        else:
            yield "Nothing that tells of a failed delivery."


def _waiting(month: Month) -> str:
    wait = "waits" if month.waiting == 1 else "wait"
    return f"{count(month.waiting, 'mail')} {wait} for the next attempt: the host's retry time has not come"


def one(
    told: Reading,
    width: int | None,
    style: Style,
    before: Sequence[Reading] = (),
    passed: Reading | None = None,
) -> Iterator[str]:
    """A reading in full. `before`: attempts of the same mail; `passed`: the one that delivered it."""
    yield from wrapped("  ".join(_head(told)), width)
    text = told.text if sum(map(str.isalpha, told.text)) > 2 else told.line
    yield from wrapped(style(safe(text)[:2_000], "bold"), width, "  ")
    headline = _headline(told) if passed is None else f"DELIVERED at a later attempt, {_when(passed)}"
    if passed is not None and told.duplicate_risk:
        headline += "; this one may have been, too: look for duplicates"
    if headline:
        yield from (style(line, "red" if passed is None else "bold") for line in wrapped(headline, width))
    yield ""
    if before:
        times = ", ".join(_when(each) for each in before if each.when is not None)
        yield from _labelled("BEFORE", [f"{count(len(before), 'attempt')} of it failed{': ' if times else ''}{times}"],
                             width, style)  # fmt: skip
    if passed is not None and not told.reply:
        yield from _labelled("SO", ["not content: how the end of data fell into segments, loss, load or a restart"
                             if IN_TEXT & set(told.phases) else "loss, load or a restart"], width, style)  # fmt: skip
    elif passed is not None:
        yield from _labelled("SO", ["greylisting, or load"], width, style)
    yield from _facts(told, width, style)
    if told.cannot_tell:
        yield from _labelled("CANNOT TELL", told.cannot_tell, width, style)
    if told.causes:
        causes = told.causes if passed is None else [each for each in told.causes if each not in CONTENT]
        yield from _labelled("POSSIBLE", list(_possible(causes)), width, style)
        yield from wrapped("a line alone tells no product: ask, or capture", width, " " * _LABEL)
    if told.ask:
        yield from _labelled("ASK THEM", [safe(question) for question in told.ask], width, style)
    if told.commands:
        commands = [each.replace("smtpinspect ", f"{program()} ", 1) for each in told.commands]
        yield style("Next:", "bold")
        for command in commands:
            yield from pasted(safe(command), width)


def _when(told: Reading) -> str:
    return "" if told.when is None else f"{iso(told.when)}{_zone(told.local)}"


def _head(told: Reading) -> list[str]:
    head = [_when(told)] if told.when is not None else []
    head += [safe(told.queue_id)] if told.queue_id else []
    head += [_peer(told)] if told.host or told.ip else []
    return [*head, f"{_known(told.mta)}, {'sending' if told.side == 'sender' else 'receiving'}"]


def _known(mta: str) -> str:
    known = SENDERS.get(mta) or RECEIVERS.get(mta)
    return known.title.split(",")[0].split()[0] if known else mta or "a mail server"


def _zone(local: bool) -> str:
    return " (log's clock)" if local else " UTC"


def _headline(told: Reading) -> str:
    """What became of the mail; "" where the line does not tell."""
    where = place(told.phases)
    if told.unplaced:
        return "NOT DELIVERED: where it broke is not known"
    if not where:
        return ""
    if told.side == "receiver":
        if told.phases[0] in ("dot", "dotreply", "quit"):
            return "BROKEN OFF behind the reply to the mail: the sender may not know its fate, and try again"
        if told.octets is not None:
            behind = f"behind {count(told.octets, 'byte')} of it" if told.octets else "before its first byte"
            return f"NOT RECEIVED: the text was cut off {behind}"
        return f"{'BROKEN OFF' if 'dotreply' in told.phases else 'NOT RECEIVED'}: {_off(told, where)}"
    if told.usual and told.duplicate_risk and "dot" not in told.usual:
        return f"NOT DELIVERED at default settings, where it broke before the end of the mail; else {DUPLICATES}"
    if told.duplicate_risk:
        return DUPLICATES if told.fate != "bounced" else RETURNED
    if told.reply:
        return f"NOT DELIVERED: answered with {safe(told.reply)[:3]}"
    return f"NOT DELIVERED: {_off(told, where)}"


def _off(told: Reading, where: str) -> str:
    """The place as a sentence, without what explains it; those before EHLO are one."""
    if _whole(told):
        return where
    at = where.partition(" (")[0].partition(";")[0].replace("anything", "any point")
    preposition = "in" if at.startswith("the text") else "at"
    return f"it {'may have broken' if at.startswith('any') else 'broke'} off {preposition} {at}"


def _whole(told: Reading) -> bool:
    """Is the place told by a whole sentence?"""
    return bool(told.phases) and set(told.phases) <= {"connect", "greeting"}


def _peer(told: Reading) -> str:
    host = told.host.strip("[]")
    if not told.ip or host == told.ip:
        return safe(host or told.ip)
    return safe(f"{host} [{told.ip}]" if host else told.ip)


def _facts(told: Reading, width: int | None, style: Style) -> Iterator[str]:
    lines = []
    where = place(told.phases)
    if told.phases:
        lines.append(where if _whole(told) else f"broken at: {where or ', '.join(told.phases)}")
        if told.usual:
            longer = told.assumes[-1] + (" and others" if len(told.assumes) > 1 else "")
            usual = place(told.usual) or " or ".join(told.usual)
            lines.append(f"at default settings: {usual}; {longer} would have waited longer")
        lines.append(f"how: {HOW.get(told.broken, '') or 'the text does not tell'}")
    elif told.means:
        lines.append(told.means)
    if told.reply:
        lines.append(f"the reply: {safe(told.reply)[:500]}")
    if told.octets is not None and told.phases:
        lines.append(_octets(told))
    if told.seconds is not None:
        rule = elapsed(told)
        lines.append(f"took {span(told.seconds)}" + (f" ({rule})" if rule else ""))
    yield from _labelled("THE LOG", lines or ["nothing of where it broke"], width, style)
    fate = FATES.get(told.fate, told.fate)
    if told.gave_up:
        fate += ", for it had grown too old"
    if told.scope in SCOPES and told.fate == "deferred":
        fate += f": {SCOPES[told.scope]}"
    after = [fate] if told.fate else []
    if told.tries:
        first = ", ".join(span(float(each)) for each in told.tries[:6])
        until = f"; returned after {span(float(told.gives_up_after))}" if told.gives_up_after else ""
        attempts = count(len(told.tries) + 1, "attempt")
        after.append(f"tries again {first}, … after the first (default rules){until}; about {attempts}")
    if after:
        yield from _labelled("FATE", after, width, style)


def _octets(told: Reading) -> str:
    if told.side == "receiver":
        return f"{told.octets:,} bytes of the text had arrived: it was cut behind them"
    if "dotreply" in told.phases:
        return f"{told.octets:,} bytes, all of the mail, were handed to the kernel; how much of it arrived is not told"
    return f"{told.octets:,} bytes were handed to the kernel; the break lies before them, by up to its buffer (4 MiB)"


def _possible(causes: Iterable[Cause]) -> Iterator[str]:
    """In the order of the causes; the rules of a product in one line."""
    by_product: dict[str, list[str]] = {}
    lines: list[str] = []
    for cause in causes:
        if cause.kind != "rule":
            lines.append(cause.title)
            continue
        if cause.product not in by_product:
            lines.append(cause.product)
        by_product.setdefault(cause.product, []).append(cause.cause.partition(".")[2])
    for line in lines:
        yield f"{line}: {', '.join(by_product[line])}" if line in by_product else line
    for product, rules in list(by_product.items())[:1]:
        yield f"what a rule is: {program()} rules {product}.{rules[0]}"


def _labelled(
    label: str, lines: Iterable[str], width: int | None, style: Style, column: int = _LABEL
) -> Iterator[str]:
    lead = style(label, "bold") + " " * (column - len(label))
    for line in lines:
        first, *rest = wrapped(line, None if width is None else max(width - column, 20))
        yield lead + first
        lead = " " * column
        yield from (lead + each for each in rest)


def groups(month: Month, width: int | None, style: Style, logs: Sequence[str] = ()) -> Iterator[str]:
    """A month by destination, the worst first."""
    never = sum(group.never for group in month.groups)
    told = f"{count(never, 'mail')} never delivered, {month.delivered:,} delivered"
    yield from (style(line, "bold") for line in wrapped(told, width))
    if month.begin is not None and month.end is not None:
        yield from wrapped(f"{iso(month.begin)} to {iso(month.end)}{_zone(month.local)}", width)
    doubtful = sum(group.doubtful for group in month.groups)
    if doubtful:
        told = f"{count(doubtful, 'mail')} of these {DUPLICATES}"
        yield from (style(line, "red") for line in wrapped(told, width))
    yield ""
    for group in month.groups[:GROUPS]:
        yield from _group(group, width, style)
        yield ""
    left = month.groups[GROUPS:]
    if left:
        some = sum(group.never for group in left)
        more = f"and {count(len(left), 'destination')} more with {count(some, 'mail')} never delivered"
        yield from wrapped(more, width)
    if month.waiting:
        yield from wrapped(f"and {_waiting(month)}", width)
    if month.fine:
        yield f"{count(month.fine, 'destination')} without a failure"
    if month.receiving:
        yield from _received(month, width, style)
    yield from _next(month, width, style, logs)


def _next(month: Month, width: int | None, style: Style, logs: Sequence[str]) -> Iterator[str]:
    """For the first destinations one mail each that failed: what explains it, and what captures its next attempt."""
    found = [
        (group, example) for group in month.groups[:GROUPS]
        if group.never and (example := next(iter(group.examples.values()), None)) is not None
    ]  # fmt: skip
    if not found:
        yield from wrapped(f"Next: {program()} diagnose --log LINE   for one line of these", width)
        return
    head, *rest = wrapped("Next:  a mail that failed, of each of the first destinations", width)
    yield head.replace("Next:", style("Next:", "bold"), 1)
    yield from rest
    for group, example in found[:NEXT]:
        yield f"  {style(safe(group.destination), 'bold')}"
        yield from _explained(example, width, logs)
        for command in example.commands:
            yield from pasted(safe(command.replace("smtpinspect ", f"{program()} ", 1)), width, "    ")
        for question in example.ask:
            yield from pasted(f"# ask them: {safe(question)}", width, "    ")


def _explained(example: Reading, width: int | None, logs: Sequence[str]) -> Iterator[str]:
    """What tells of this line alone; where it is too wide for that, of all that the log has of its mail."""
    whole = f"    {program()} diagnose --log {shlex.quote(example.line)}"
    files = [log for log in logs if os.path.isfile(log)]
    named = " ".join(map(shlex.quote, files)) or "LOG"
    finds = {FINDS.get(os.path.splitext(log)[1], "grep") for log in files}
    search = f"{finds.pop() if len(finds) == 1 else 'grep'} -h {shlex.quote(example.queue_id)} {named}"
    if example.queue_id and files and not finds and width is not None and len(whole) > width:
        yield from pasted(f"{search} | {program()} diagnose --log -", width, "    ")
    elif _pasted(example.line):
        yield whole
    elif example.queue_id:
        yield from pasted(search, width, "    ")


def _pasted(line: str) -> bool:
    """Can it be pasted, and does it tell something alone?"""
    if len(line) > PASTED or not line.isprintable():
        return False
    told = read_line(line)
    return told is not None and (bool(told.phases) or told.unplaced)


def _group(group: Group, width: int | None, style: Style) -> Iterator[str]:
    fine = group.delivered + group.requeued
    name = safe(group.destination)
    told = f"{group.never:,} never delivered, {fine:,} fine"
    told += f" ({group.requeued:,} of them later)" if group.requeued else ""
    lead = f"{padded(name, 24)}  "
    if width is not None and wide(lead + told) > width:
        yield style(name, "bold")
        yield from wrapped(told, width, "  ")
    else:
        yield style(padded(name, 24), "bold") + f"  {told}"
    held = f", which held connections for {span(group.seconds)} in all" if group.seconds >= 1 else ""
    details = [f"{count(group.attempts, 'failed attempt')}{held}"]
    if group.returned:
        details.append(f"{group.returned:,} returned to their senders")
    if group.doubtful:
        details.append(f"{group.doubtful:,} may have arrived")
    yield from wrapped("; ".join(details), width, "  ")
    places: Counter[str] = Counter()
    for phases, number in group.phases.items():
        places[place(phases) or "not told"] += number
    for where, number in places.most_common(3):
        yield from _row("where", f"{where}: {count(number, 'time')}", width)
    how = ", ".join(f"{_kinds(kinds)} {number:,}" for kinds, number in group.breaks.most_common(4))
    yield from _row("how", how, width)
    smallest, largest = group.sizes_failed.smallest, group.sizes_fine.largest
    if smallest is not None:
        passed = f"; the largest that passed: {largest:,} bytes" if largest is not None else ""
        yield from _row("size", f"{smallest:,} bytes the smallest that failed{passed}", width)
    yield from _row("days", _days(group), width)
    if group.masked:
        yield from _row("seen", "its greeting is masked: a Cisco PIX, FWSM or ASA inspects SMTP there", width)
    for conclusion in group.conclusions:
        lines = [safe(conclusion.text)]
        labelled = _labelled(KINDS[conclusion.kind], lines, width and width - 2, style, _WIDE)
        yield from (f"  {line}" for line in labelled)


def _row(label: str, text: str, width: int | None) -> Iterator[str]:
    lead = f"  {label:<7}"
    for line in wrapped(text, None if width is None else max(width - 9, 20)):
        yield lead + line
        lead = " " * 9


def _kinds(broken: str) -> str:
    return " or ".join(BREAKS.get(kind, kind) for kind in broken.split(" or "))


def _days(group: Group) -> str:
    days = sorted(day for day in group.days if group.days[day][1])
    if not days:
        return "not told"
    shown: list[str] = []
    chosen = days if len(days) <= 8 else [*days[:4], "", *days[-3:]]
    year = ""
    for day in chosen:
        if not day:
            shown.append(f"… {len(days) - 7} more …")
            continue
        date = day if day[:4] != year else day[5:]
        year = day[:4]
        shown.append(f"{date} {group.days[day][1]:,}/{sum(group.days[day]):,}")
    return f"failed of all attempts: {', '.join(shown)}"


def _received(month: Month, width: int | None, style: Style) -> Iterator[str]:
    yield style("AS A RECEIVER", "bold") + "  sessions that broke off"
    for (mta, phases), number in month.receiving.most_common(6):
        yield from wrapped(f"{mta}  {number:,} times {place(phases) or ', '.join(phases)}", width, "  ")


