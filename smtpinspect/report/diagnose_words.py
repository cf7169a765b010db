"""What a diagnosis says, as sentences: the same on a terminal, in HTML, and on the page for the other side."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Final, NamedTuple

from smtpinspect._core.views import excerpt
from smtpinspect.diagnose import copies
from smtpinspect.diagnose.model import CONFIDENCE, DEGREES, Case, Cause, Diagnosis, Remedy, Sign, Where
from smtpinspect.grammar import limits
from smtpinspect.report.diagnose_places import Place
from smtpinspect.report.headline import SIDES, box, doubted, headline, refusals, tls, too_late
from smtpinspect.report.simulate_page import span
from smtpinspect.report.terminal import count, program
from smtpinspect.report.words import DOUBTS, evidence
from smtpinspect.source.again import Place as FilePlace

TAKEN: Final[dict[Where, str]] = {
    "sender": "taken on the sender's side",
    "receiver": "taken on the receiver's side",
    "between": "taken on the way between the two",
    "unknown": "where it was taken cannot be told",
}
PLACES: Final = {
    "sender": "at the sender",
    "receiver": "at the receiver",
    "firewall": "on the firewall",
    "network": "in the network",
}
_DEGREES: Final = {degree.upper(): means for degree, means in DEGREES.items()}
GOES_ON: Final = (
    "how it went on is in the log only, for the capture ends before: who fell silent, or closed, it cannot show. A "
    "capture until the sender gives up tells it, best on both sides of the firewall (--outside, --inside): "
    "tcpdump -U -i any -s0 -w mail.pcap 'host {} and port 25 or icmp or icmp6'"
)
BEHIND: Final = "the bytes that tripped the rule are not in this capture; get the sender's, or the .eml"
RECIPIENTS: Final = 8  # whose answers stand in a line
LEFT: Final = "segment sizes (MTU), time-outs, the server itself, rules on what is said before TLS"


class Block(NamedTuple):
    """Cases that one explanation fits: same server, same end, same causes. The first one stands for all."""

    cases: tuple[Case, ...]

    @property
    def first(self) -> Case:
        return self.cases[0]


class Given(NamedTuple):
    """What the command was given, as far as it is told with a block: what is not matched, the capture
    as a shell takes it, where of several captures packets lie."""

    unmatched: Sequence[str]
    capture: str
    files: Mapping[int, FilePlace]


def folded(diagnosis: Diagnosis) -> list[Block]:
    """The failed cases, alike ones together: mails before connections without one, the largest block first, then in
    the order of the capture.
    """
    found: dict[tuple[object, ...], list[Case]] = {}
    for case in diagnosis.cases:
        if case.failed:
            found.setdefault(_alike(case), []).append(case)
    ordered = sorted(found.values(), key=lambda cases: (cases[0].mail is None, -len(cases)))
    return [Block(tuple(cases)) for cases in ordered]


def _alike(case: Case) -> tuple[object, ...]:
    seen = case.observed
    host = case.flow.server
    best = tuple(cause.cause for cause in case.causes if cause.rank == 0)
    how = (seen.outcome, seen.phase, seen.broken.kind, seen.broken.by, seen.reply[:3])
    return host, case.mail is None, how, best, case.what_if.relax


def title(case: Case) -> str:
    """Who to whom; "A connection without a mail" where there was none."""
    mail = case.mail
    if mail is not None and mail.mail_from is None and not mail.rcpt_to:
        if tls(case) == "TLS":
            return "A connection with TLS: its mails cannot be seen"
        return "A mail without an envelope in the capture"
    if mail is None:
        return "A connection without a mail"
    to = mail.rcpt_to
    whom = f"{to[0]} and {len(to) - 1:,} more" if len(to) > 1 else to[0] if to else "nobody yet"
    return f"Mail {mail.mail_from or '<>'} to {whom}"


def nothing(diagnosis: Diagnosis) -> str:
    """What is said where there is nothing to explain."""
    if not diagnosis.cases:
        return "no SMTP found: nothing to diagnose"
    if len(diagnosis.cases) > 1:
        return "Nothing failed: nothing to explain."
    (case,) = diagnosis.cases
    return f"{title(case)}: {case.observed.outcome}{recipients(case)}, nothing to explain"


def recipients(case: Case) -> str:
    """For how many recipients an accepted mail was, where it has any."""
    seen = case.observed
    known = seen.outcome == "accepted" and seen.accepted
    return f" ({seen.accepted:,} of {count(seen.recipients, 'recipient')})" if known else ""


def partly(diagnosis: Diagnosis, most: int = 8) -> Iterator[str]:
    """Of several mails: those that were accepted, but not for all of their recipients."""
    taken = [case for case in diagnosis.cases if case.observed.outcome == "accepted" and not case.failed]
    some = [case for case in taken if case.observed.accepted < case.observed.recipients]
    if len(diagnosis.cases) > 1:
        yield from (f"{title(case)}: accepted{recipients(case)}" for case in some[:most])
        if len(some) > most:
            yield f"and {len(some) - most:,} more that were not accepted for all of their recipients"


def placed(sign: Sign) -> str:
    """A sign with its packet."""
    behind = f" (packet {sign.packet:,}{', ' + sign.point if sign.point else ''})" if sign.packet else ""
    return f"{sign.text}{behind}"


def proved(case: Case) -> Iterator[str]:
    """What the packets themselves show; nothing here is an opinion."""
    yield from shown(case)
    yield from (f"{cause.title}: {'; '.join(_why(cause))}" for cause in case.causes if cause.degree == "proved")
    yield from (f"{print_.text} ({_pointed(print_.signs)})" for print_ in case.fingerprints if print_.signs)

def shown(case: Case) -> Iterator[str]:
    """The course of the connection, without a word on any product."""
    seen, broken = case.observed, case.observed.broken
    if seen.reply and not (seen.by_log and broken.kind == "reply"):
        which = "that came too late" if too_late(case) else "that decided"
        yield f'the answer {which}: "{_reply(case)}"'
    if all(refusals(case)) and case.mail is not None:
        told = zip(case.mail.rcpt_to, case.mail.rcpt_replies, strict=False)
        yield f"recipients were answered: {', '.join(f'{to} {code}' for to, code in islice(told, RECIPIENTS))}"
    if broken.at is not None and case.kept_back is None:
        times, end = _sent_again(case, broken.at)
        what = f"the sender's bytes {broken.at:,}-{end - 1:,}" if end else f"the sender's bytes from {broken.at:,} on"
        often = f" left {times} times and" if times > 1 and not broken.signs else ""
        packet = f" (first in packet {broken.packet:,})" if broken.packet and broken.kind == "drop" else ""
        yield f"{what}{often} were never acknowledged{packet}"
    if broken.kind in ("rst", "fin") and broken.packet:
        word = "RST" if broken.kind == "rst" else "FIN"
        yield f"{'an' if word == 'RST' else 'a'} {word} ended the connection (packet {broken.packet:,})"
    yield from (placed(sign) for sign in broken.signs)
    yield from (placed(sign) for sign in case.proved)
    if seen.octets_acknowledged or broken.kind == "drop":
        text = "" if seen.text_acknowledged is None else f", {seen.text_acknowledged:,} of the message among them"
        kept = any(one.kind == "withheld" and one.direction == "client" for one in case.differences)
        who = "the server, or a box in its name," if doubted(case) else "the server"
        who = f"{box(case)}, in the server's name," if kept else who
        yield f"{who} acknowledged {count(seen.octets_acknowledged, 'byte')} of the sender's{text}"
    if seen.silence >= 1 and not seen.by_log:
        yield f"silence at the end: {span(seen.silence)}"
    if seen.recipients > 1 and seen.accepted:
        yield f"{seen.accepted} of {seen.recipients} recipients were accepted"


def _reply(case: Case) -> str:
    """Its text where only the code was told and the dialogue has it."""
    reply = case.observed.reply
    if len(reply) == 3 and case.script is not None:
        own = [one for one in case.script.replies if one.code == int(reply)] if reply.isdecimal() else []
        return excerpt(own[-1].octets.rstrip(b"\r\n")) if own else reply
    return excerpt(reply.encode())


def _pointed(signs: Sequence[Sign]) -> str:
    packets = [f"{sign.packet:,}" for sign in signs if sign.packet][:3]
    return f"packet{'s' if len(packets) > 1 else ''} {', '.join(packets)}" if packets else "in many packets"


def _why(cause: Cause) -> list[str]:
    return [placed(sign) for sign in cause.evidence] or [CONFIDENCE[cause.confidence]]


def vantage(case: Case) -> str:
    """Where the capture was taken, and why we say so."""
    taken = case.observed.vantage
    if taken.told:
        return f"{TAKEN[taken.where]} (you said so)"
    if case.trace is not None and case.trace.sides:
        one, two = case.trace.sides
        which = "" if "side" in one else f": {one} is the client's, {two} the server's"
        return f"the capture shows both sides of a machine on the way{which}"
    if taken.point and taken.where != "receiver":
        return f"packets and bytes are those of {taken.point}, of these captures the one nearest to the sender"
    why = "; ".join(sign.text for sign in taken.signs)
    if taken.where == "unknown":
        return f"{TAKEN['unknown']}: {why}" if why else TAKEN["unknown"]
    return f"{TAKEN[taken.where]} (guessed: {why})" if why else TAKEN[taken.where]


def _sent_again(case: Case, at: int) -> tuple[int, int]:
    """How often the octet at this offset was sent, and where its first segment ends; (0, 0): not known."""
    copies = case.account.client.holding(at) if case.account is not None else []
    return len(copies), (copies[0].end or 0) if copies else 0


def told(place: Place, shown: int = 3) -> Iterator[str]:
    """The evidence of a place, each sign once."""
    signs = dict.fromkeys(placed(sign) for cause in place.causes for sign in cause.evidence)
    for alert in (cause.alert for cause in place.causes if cause.alert is not None and not cause.evidence):
        side = SIDES[alert.direction]
        signs[f'{side}\'s byte {alert.offset:,} (packet {alert.packet:,}): "{evidence(alert)}"'] = None
    yield from list(signs)[:shown]


def against(case: Case, kind: str) -> list[str]:
    """What is out in this way, and why; what one reason rules out stands together."""
    found: dict[str, list[str]] = {}
    for one in case.against:
        if one.kind == kind:
            found.setdefault(one.text, []).append(one.cause)
    return [f"{', '.join(dict.fromkeys(names))}: {why}" for why, names in found.items()]


def contrasts(case: Case) -> Iterator[str]:
    """Properties and outcomes, on this path and elsewhere."""
    for one in case.contrast:
        here = f"{one.property} {one.cut:,} of {one.cut + one.accepted:,} failed"
        without = one.cut_without + one.accepted_without
        if without:
            here += f", without it {one.accepted_without:,} of {without:,} accepted"
        away = one.cut_elsewhere + one.accepted_elsewhere
        if away:
            here += f"; elsewhere with it {one.accepted_elsewhere:,} of {away:,} accepted"
        yield f"on this path {here}"


def what_if(case: Case, capture: str = "CAPTURE") -> Iterator[str]:
    """What would let it pass, as far as that is known. `capture`: its file, as a shell takes it."""
    one = case.what_if
    rules = " and ".join(one.relax)
    if not one.relax:
        return
    which = "it is one of these" if len(one.relax) > 1 else "it is this one"
    if one.assumes and one.doubt != "unseen":
        rules = f"if {'it is one of these' if len(one.relax) > 1 else 'it is this rule'}, {rules}"
    if one.doubt == "unseen":
        yield f"if {which}: switch off {rules} to find out; what they would have seen is not in the capture"
    elif not one.passes:
        yield f"{rules} on pass: this mail is still cut"
    elif one.doubt == "altered":
        spec = f"-i '{one.spec}' " if one.spec else ""
        then = f"{program()} simulate {capture} {spec}--re-enact"
        yield f"{rules} on pass: nothing of what was seen would be cut; what the altered dialogue leads to: {then}"
    elif one.doubt == "unanswered":
        yield f"{rules} on pass: it would not be cut there; whether it arrives is not known, nothing answers any more"
    else:
        yield f"{rules} on pass: this mail goes through"


def sweep(diagnosis: Diagnosis) -> Iterator[str]:
    """Mails that each value of a limit cuts."""
    found = diagnosis.sweep
    if found is None:
        return
    mails = found.rows[0][2] if found.rows else 0
    yield f"SWEEP of {found.key}: mails that each limit would cut, of {count(mails, 'mail')}"
    width = max((len(value) for value, _, _ in found.rows), default=0)
    for value, cut, _ in found.rows:
        share = f"{cut / mails:>7.1%}" if mails else ""
        yield f"  {value:>{width}}  {cut:>9,}  {share}".rstrip()
    yield ""


def remedies(case: Case) -> list[Remedy]:
    """What to do, each once: the sender's side first, then by place, from the smallest to the whole inspection."""
    best = [cause for cause in case.causes if cause.rank == 0] or case.causes[:1]
    wanted = [*case.what_if.changes, *(remedy for cause in best for remedy in cause.remedies)]
    once = dict.fromkeys(wanted)
    return sorted(once, key=lambda remedy: tuple(PLACES).index(remedy.where))


def notes(case: Case) -> Iterator[str]:
    """What this capture cannot tell, and what would; what is a guess only, or was told by the user."""
    seen = case.observed
    if seen.vantage.where != "unknown" or seen.vantage.signs or seen.vantage.point:
        yield vantage(case)
    if seen.vantage.where == "receiver" and seen.broken.kind != "reply" and seen.outcome != "accepted" and case.mail:
        yield BEHIND
    if seen.by_log:
        yield GOES_ON.format(case.path[1])
    if tls(case) == "TLS":
        begins = _tls_packet(case)
        from_packet = f" from packet {begins:,}" if begins else ""
        yield f"TLS{from_packet}: no content rule can be the cause unless the box decrypts. What is left: {LEFT}"
    if case.trace is not None and case.trace.copies:
        yield copies.told(case.trace.copies, len(case.trace.packets), both=bool(case.trace.sides))
    if "super-segments" in seen.confidence:
        longest = max((packet.length for packet in case.trace.packets), default=0) if case.trace else 0
        size = f"segments up to {longest:,} bytes" if longest > limits.WIRE_SEGMENT else "merged segments"
        yield f"offload: {size}: packet borders worked out from the MSS; split rules not judged"
    for doubt in seen.confidence:
        if doubt not in ("encrypted", "super-segments"):
            yield DOUBTS.get(doubt, doubt)


def packet_of(case: Case) -> int:
    """The one that this case is looked up by: what broke it, or its connection's first."""
    return case.observed.broken.packet or case.flow.first_packet


def numbered(case: Case, places: Mapping[int, FilePlace]) -> Iterator[str]:
    """Of several captures read as one: where to look its packet up."""
    number = packet_of(case)
    if number in places:
        path, own = places[number]
        yield (
            f"packets are numbered through all captures: packet {number:,} is packet {own:,} of "
            f"{os.path.basename(path)}"
        )


def _tls_packet(case: Case) -> int | None:
    if case.script is None or case.script.tls_at is None or case.account is None:
        return None
    first = case.account.client.firsts.get(case.script.tls_at)
    return first.number if first is not None else None


def sums(diagnosis: Diagnosis) -> str:
    """All cases in a line; connections without a mail are no mails."""
    mails = [case for case in diagnosis.cases if case.mail is not None]
    others = len(diagnosis.cases) - len(mails)
    text = f"{_counted(mails)}; and {count(others, 'connection')} without a mail" if others else _counted(mails)
    accepted, failed = diagnosis.left_out
    more = [f"{accepted:,} more accepted"] if accepted else []
    more += [f"{failed:,} more that failed or had no mail"] if failed else []
    return f"{text}; only counted: {', '.join(more)}" if more else text


def _counted(cases: Sequence[Case]) -> str:
    found: dict[str, int] = {}
    for case in cases:
        word = headline(case).word.partition(";")[0].lower() if case.failed else case.observed.outcome
        found[word] = found.get(word, 0) + 1
    parts = ", ".join(f"{n:,} {word}" for word, n in sorted(found.items(), key=lambda item: -item[1]))
    return f"{count(len(cases), 'mail')}{': ' if parts else ''}{parts}"


def legend(width: int = 79) -> Iterator[str]:
    """The words of confidence and the three degrees of truth, as `--help` explains them."""
    import textwrap

    for head, table in (("three degrees of truth, which never mix:", _DEGREES), ("words of confidence:", CONFIDENCE)):
        yield head
        for word, means in table.items():
            yield from textwrap.wrap(means, width, initial_indent=f"  {word:<10} ", subsequent_indent=" " * 13)


def other_lines(case: Case) -> Iterator[Sign]:
    """Of the firewall's log: the lines that no cause has for its evidence."""
    told = {sign for cause in case.causes for sign in cause.evidence}
    yield from (sign for sign in case.logged if sign not in told)
