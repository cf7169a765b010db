"""What became of a mail, in a line: the headline of its page."""

from __future__ import annotations

from typing import Final, NamedTuple

from smtpinspect._core.views import excerpt
from smtpinspect.diagnose.model import Case
from smtpinspect.report.simulate_page import DUPLICATES, span
from smtpinspect.report.terminal import count
from smtpinspect.simulate.clock import SECOND

# Where the flow ended, behind "cut silently", "reset", "closed".
AT: Final = {
    "connect": "before the server answered the connection",
    "greeting": "at the server's greeting",
    "ehlo": "at EHLO",
    "mail": "at MAIL",
    "rcpt": "at RCPT",
    "datacmd": "at DATA",
    "reply354": "at the server's go-ahead (354) to DATA",
    "databody": "at the first segment of the message",
    "datamid": "inside the message",
    "dot": "at the final dot",
    "dotreply": "at the reply to the final dot",
    "quit": "at QUIT",
}
# What the sender still waited for, where nothing of its own was lost.
AWAITED: Final = {
    "greeting": "no greeting",
    "ehlo": "no reply to EHLO",
    "mail": "no reply to MAIL",
    "rcpt": "no reply to RCPT",
    "datacmd": "no reply to DATA",
    "reply354": "no go-ahead (354) to DATA",
    "datamid": "no reply to the message",
    "dotreply": "no reply to the final dot",
}
GATEWAY: Final = "gateway-virus"
ARRIVED: Final = "MAY HAVE BEEN DELIVERED"
LATE: Final = "ACCEPTED, TOO LATE"
UNLEARNT: Final = "the server took it, the sender never learnt; retries make duplicates"
SNAPPED: Final = "packets were cut when they were captured; capture with -s 0"
ENDED: Final = {"reset": "reset", "closed": "closed"}  # nobody knows by whom
SIDES: Final = {
    "client": "the sender",
    "server": "the server",
    "middlebox": "a box on the way",
    "unknown": "somebody (who cannot be told)",
}


class Headline(NamedTuple):
    """`word` in capitals, what happened in `text`; `bad` 0 delivered, 1 not known or duplicates, 2 not delivered."""

    word: str
    text: str
    bad: int

    def __str__(self) -> str:
        return f"{self.word}: {self.text}" if self.text else self.word


def headline(case: Case) -> Headline:
    """What became of this mail, and whether the firewall's own log says why."""
    head = _became(case)
    if _confirmed(case):
        return head._replace(text=f"{head.text}; CONFIRMED by the firewall's log".removeprefix("; "))
    return head


def _confirmed(case: Case) -> bool:
    return any(cause.degree == "confirmed" and cause.confidence == "certain" for cause in case.causes)


def _answers(case: Case) -> bool:
    """Does the firewall's own log say that it answered in the server's name? SonicWall's gateway anti-virus does; what
    the others do is to drop, to reset and to alter."""
    certain = (cause for cause in case.causes if cause.degree == "confirmed" and cause.confidence == "certain")
    return any(cause.cause.partition(".")[0] == "sonicwall" for cause in certain)


def _became(case: Case) -> Headline:
    """Only where the text cannot have arrived it says NOT DELIVERED."""
    seen, kind = case.observed, case.observed.broken.kind
    at = where(case)
    if seen.outcome == "accepted" and case.mail is not None:
        if case.failed:
            return Headline(ARRIVED, UNLEARNT, 1)
        some = seen.recipients and seen.accepted < seen.recipients
        partly = f" for {seen.accepted} of {count(seen.recipients, 'recipient')}" if some else ""
        return Headline("DELIVERED", f"the server took it{partly}", 0)
    if not has_mail(case):
        return Headline("NO MAIL SEEN", _how(case, at), 2 if kind in ("drop", "rst", "fin") else 1)
    if kind == "reply" or seen.outcome == "refused":
        for_good, for_now = refusals(case)
        if for_good and for_now:
            told = f"{count(for_good, 'recipient')} refused for good, {for_now:,} for now"
            return Headline("DEFERRED", told, 2)
        word = "REJECTED" if seen.reply.startswith("5") else "DEFERRED"
        name = box(case) or "a box on the way"
        code = excerpt(seen.reply[:3].encode())
        by_box = seen.broken.by == "middlebox" or _answers(case)
        if doubted(case) and not by_box:
            return Headline(word, f"a {code} came back {at}, from the server or a box in its name".rstrip(), 2)
        who = f"{name}, not the server," if by_box else "the server"
        return Headline(word, f"{who} answered {code} {at}".rstrip(), 2)
    if too_late(case):
        told = f"the server took it{_behind(case)}; the sender does not know: retries make duplicates"
        return Headline(LATE, told, 1)
    if case.unlearnt:
        return Headline(ARRIVED, f"{UNLEARNT}; {_how(case, at)}", 1)
    if may_have_arrived(case):
        return Headline(DUPLICATES, _how(case, at), 1)
    if kind == "drop" and seen.outcome == "unknown" and seen.broken.by == "unknown":
        return Headline("NOT KNOWN", f"the capture ends {at}".rstrip(), 1)
    if kind == "none" and seen.outcome in ("unknown", "encrypted", "aborted"):
        why = SNAPPED if "snaplen" in seen.confidence else "the capture does not show what became of it"
        return Headline("NOT KNOWN", why, 1)
    return Headline("NOT DELIVERED", _how(case, at), 2)


def refusals(case: Case) -> tuple[int, int]:
    """How many recipients were refused for good, and for now (RFC 5321 4.2.1), where that was the end of the mail."""
    if case.mail is None or case.observed.phase != "rcpt" or case.observed.outcome != "refused":
        return 0, 0
    codes = [code or 0 for code in case.mail.rcpt_replies]
    return sum(code >= 500 for code in codes), sum(400 <= code < 500 for code in codes)


def doubted(case: Case) -> bool:
    """May the reply that decided be a box's? A 421 is that of a server that waited."""
    boxes = (cause.alert is not None or cause.cause == GATEWAY for cause in case.causes)
    if case.observed.broken.kind == "reply" and case.observed.broken.by == "unknown" and not case.observed.by_log:
        return True
    return case.observed.broken.kind == "reply" and any(boxes) and not case.observed.reply.startswith("421")


def too_late(case: Case) -> bool:
    """Did the server take the mail when its sender had given up?"""
    seen = case.observed
    gave_up = seen.broken.by == "client" and seen.broken.kind in ("rst", "fin")
    return gave_up and seen.outcome != "accepted" and seen.phase == "dotreply" and seen.reply.startswith("2")


def _behind(case: Case) -> str:
    """How long after the sender had closed."""
    seen = case.observed.broken
    at = {packet.number: packet.ns for packet in case.trace.packets} if case.trace is not None else {}
    closed = at.get(seen.packet or 0)
    came = next((at[sign.packet] for sign in seen.signs if sign.packet in at), None)
    return f" {span((came - closed) / SECOND)} after the sender had closed" if closed and came else ""


def has_mail(case: Case) -> bool:
    """Is anything of a mail in the capture? Of a connection with TLS nothing is."""
    mail = case.mail
    return mail is not None and (mail.mail_from is not None or bool(mail.rcpt_to) or tls(case) != "TLS")


def may_have_arrived(case: Case) -> bool:
    """From the final dot on the server may have the mail although the sender never heard of it."""
    if case.observed.phase not in ("dot", "dotreply") or case.observed.outcome in ("accepted", "refused"):
        return False
    if case.observed.phase == "dotreply" and case.kept_back is not None:
        return False
    lost = (one for one in case.differences if one.kind in ("dropped", "withheld") and one.direction == "server")
    return not any(one.before[:1] in (b"4", b"5") and one.before[:3].isdigit() for one in lost)  # it said no


def _how(case: Case, at: str) -> str:
    seen = case.observed
    by = _whose(case)
    match seen.broken.kind:
        case "drop":
            points = between(case)
            how = f"{points}," if points and at else points or "silently"
            return _unheard(case) or f"cut {how} {at}".rstrip()
        case "rst":
            return f"reset by {by} {at}".rstrip()
        case "fin":
            return f"closed by {by} {at}".rstrip()
        case "reply" if seen.reply:
            return f"{by} answered {excerpt(seen.reply[:3].encode())} {at}".rstrip()
        case _:
            silent = f"silence of {span(seen.silence)}" if seen.silence >= 1 else "it ended"
            return f"{ENDED.get(seen.outcome, silent)} {at}".rstrip()


def _unheard(case: Case) -> str:
    """Of a reply that never came, where nobody is seen to cut anything."""
    seen = case.observed
    hidden = "after STARTTLS" if case.script is not None and case.script.tls_at else "inside TLS"
    if seen.phase is None and tls(case) == "TLS":
        return f"silent {hidden}{between(case, ': cut ')}: {span(seen.silence)} without an answer"
    if seen.broken.by == "middlebox" or seen.broken.at is not None or seen.phase not in AWAITED:
        return ""
    if seen.by_log:
        return f"{AWAITED[seen.phase]}; by its log the sender gave up after {span(seen.silence)}"
    gave_up = case.account is not None and bool(case.account.client.closing)
    if seen.silence < 1:
        return f"{AWAITED[seen.phase]} before the capture ends"
    then = "the sender closed after" if gave_up else "the capture ends after"
    return f"{AWAITED[seen.phase]}; {then} {span(seen.silence)}"


def between(case: Case, before: str = "") -> str:
    """The two points between which something was lost, withheld or put in, "" where that is not known."""
    told = [one for one in case.differences if one.kind in ("dropped", "withheld", "injected")]
    last = [one for one in told if one.kind == "dropped" and one.what in ("FIN", "RST")]  # farewells of ends cut off
    found = next((one for one in told if one not in last), None) or next(iter(last), None)
    if found is None:
        return ""
    return before + (f"on {found.here}" if found.here else f"between {found.between[0]} and {found.between[1]}")


def _whose(case: Case) -> str:
    by = case.observed.broken.by
    name = "" if by == "client" else box(case)
    return f"{name}," if name.startswith("the ") else name or SIDES[by]


def box(case: Case) -> str:
    """What did it, "" where that is not known."""
    where = between(case)
    return where.removeprefix("on ") if where.startswith("on ") else where and f"a box {where}"


def where(case: Case) -> str:
    """The place in the dialogue, and in the message as far as it is known."""
    seen, mail = case.observed, case.transaction
    at = AT.get(seen.phase or "", "inside TLS" if tls(case) == "TLS" and seen.broken.kind != "none" else "")
    if seen.phase in ("databody", "datamid") and mail is not None and mail.text_at is not None:
        lost = seen.broken.at if seen.broken.at is not None else seen.octets_acknowledged
        into = lost - mail.text_at
        if into > 0 or (into == 0 and seen.broken.at is not None):
            blank = mail.text.find(b"\r\n\r\n")
            part = "headers" if blank < 0 or into < blank else "body"
            at = f"inside the message {part}, from its byte {into:,} on"
    if seen.outcome == "refused" and seen.phase == "dotreply" and "end-mark-disputed" in seen.confidence:
        at = "in the middle of the message"
    return at


def tls(case: Case) -> str:
    """In a word, whether anybody on the way could read it."""
    if case.script is not None:
        return "no TLS" if case.script.tls_at is None else "TLS"
    return "TLS" if "encrypted" in case.observed.confidence else "no TLS"
