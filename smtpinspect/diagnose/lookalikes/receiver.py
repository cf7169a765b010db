"""What the receiving server does: full, slow, gone, unwilling."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Final

from smtpinspect.diagnose.account import Account
from smtpinspect.diagnose.account.spoken import REFUSES
from smtpinspect.diagnose.lookalikes.network import answered_beside
from smtpinspect.diagnose.lookalikes.silence import dead
from smtpinspect.diagnose.lookalikes.view import STALLED_NS, Found, Out, Said, View, plural, seconds
from smtpinspect.diagnose.model import Sign
from smtpinspect.diagnose.trace import Packet
from smtpinspect.enforce.craft import ACK, FIN, RST, SYN
from smtpinspect.grammar.words import IN_TEXT
from smtpinspect.simulate.clock import SECOND
from smtpinspect.simulate.observed import refusal

LONG_NS: Final = 30 * SECOND
SLOW_NS: Final = 4 * SECOND  # a reply that takes longer is slow on purpose, or by overload
SOON_NS: Final = 60 * SECOND

# A reply's text tells what the server says, and proves no more. As receivers write it when they are full (RFC 3463 3.3,
# 3.4: X.2.2, X.3.1; RFC 5321 4.2.3: 552 is "exceeded storage allocation"; Exim: space shortage).
FULL: Final = re.compile(
    r"^(?:4\d\d|552)[ -][45]\.(?:2\.2|3\.1)\b|insufficient (?:system |disk )?(?:storage|space)|"
    r"space shortage|no space left|exceed\w* storage|disk (?:is )?full|mail ?box (?:is )?full\b(?! name)|\bover quota|"
    r"quota exceeded",
    re.I | re.S,
)
# Postfix's and Sendmail's words for a milter or content filter that fails.
MILTER: Final = re.compile(
    r"^4\d\d.*\bmilter|^451 4\.7\.1 service unavailable|^4\d\d.*\bscann(?:er|ing)\b", re.I | re.S
)
# What filters say that refuse, wherever they stand. X.1 and X.2 are about the address and the mailbox (RFC 3463 3.2,
# 3.3), whose name may be anything.
FILTER: Final = re.compile(
    r"^(?![45]\d\d[ -][45]\.[12]\.)(?!.*(?:\bno such\b|\bunknown\b|not found|(?:not|n't) exist))(?:5\d\d.*\bmilter|"
    r"[45]\d\d.*\b(?:virus(?:es)?|spam|malware|infected|banned|content|policy)\b|"
    r"5\d\d.*\b5\.7\.1\b.*(?:reject|blocked))",
    re.I | re.S,
)
BUSY: Final = re.compile(
    r"^4\d\d.*(?:\bbusy\b|too much mail|too many (?!recipients)|over ?load|\bload\b|connections? limit|\brate\b|"
    r"resources|\b4\.7\.28\b)",
    re.I | re.S,
)
GREY: Final = re.compile(r"^4\d\d.*\bgr[ae]y[ -]?list", re.I | re.S)
# It goes; any other 421 refuses for now (RFC 5321 3.8).
CLOSING: Final = re.compile(
    r"^421\b.*\b(?:shut(?:ting)? ?down|going down|being shut|restart(?:ing|ed)?|maintenance)\b", re.I | re.S
)
# It has waited too long for the client, or lost it.
WAITED: Final = re.compile(r"^421\b.*(?:time-?d? ?-?out|\blost\b|inactiv|idle|4\.4\.[12])", re.I | re.S)
# A refusal that a box in the path may have written itself: SonicWall's, and whatever names a firewall.
GATEWAY: Final = re.compile(r"gateway anti-?virus|firewall|fortigate|sophos|sonicwall", re.I | re.S)
BOX: Final = re.compile(
    rf"^552\b(?!.*(?:\b5\.2\.2\b|\b5\.3\.4\b|full|quota|size|exceed|storage))|{GATEWAY.pattern}", re.I | re.S
)

# What a reply quotes: addresses, and pages to read.
QUOTED: Final = re.compile(r"<[^<>]*>|[^\s<>()]+@[^\s<>()]+|https?://\S+|\S+\.html?\b", re.I)

SAID: Final = (FULL, MILTER, FILTER, BUSY, GREY, BOX, CLOSING, WAITED)  # what has a row of its own, or none


def zero_window(view: View) -> Said:
    """The server says that it has no room, and the client may not send (RFC 9293 3.8.6)."""
    account = view.account
    told = view.windows
    if not told:
        return None
    shut = [view.shut(p) for p in told]
    if shut[-1]:
        run = told[len(told) - next((n for n, each in enumerate(reversed(shut)) if not each), len(told)) :]
        first, lasted = run[0], account.packets[-1].ns - run[0].ns
        if lasted >= STALLED_NS and view.phase not in ("", "quit"):
            zero = told[-1].window == 0
            text = f"the server's window is {told[-1].window} from here to the end ({seconds(lasted)}, "
            text += f"{plural(len(run), 'packet')})"
            return Found("certain" if zero else "likely", (Sign(first.number, text),), "proved" if zero else "fits")
    least = min(told, key=lambda p: p.window)
    if not any(shut):
        return Out(f"the server's window was never below {least.window:,} bytes") if account.scaled else None
    closed = sum(b.ns - a.ns for (a, b), each in zip(pairwise(told), shut, strict=False) if each)
    if closed >= LONG_NS:
        text = f"the server's window was nearly closed for {seconds(closed)}"
        return Found("possible", (Sign(least.number, text),))
    return Out(f"the server's window was closed for {seconds(closed)} and opened again")


def slow_scanner(view: View) -> Said:
    """It takes the text, looks at it for longer than the sender waits, and answers too late."""
    account, end = view.account, view.text_end
    if view.phase not in IN_TEXT:
        return None
    if end is None and view.phase == "dotreply" and view.tail(5) is None:
        end = account.client.end  # its last octets are not in the capture, and were sent
    taken = account.acknowledging(True, end) if end is not None else None
    if taken is None:
        return Out("the server never acknowledged the end of the text")
    told = view.case.transaction.reply if view.case.transaction is not None else None
    if told is not None and told.octets and not told.whole:
        return None  # some tell line by line that they are at work
    if view.answered is not None:
        return view.answered
    closed = view.gave_up
    if closed is None and view.case.observed.broken.kind == "reply":
        return Out("a reply came")
    if _half(view) is not None:
        return None  # it had begun to answer
    if account.server.lost and (closed is None or account.server.lost[0].ns < closed.ns):
        reply = account.server.lost[0]
        text = f"the server did answer, {seconds(reply.ns - taken.ns)} after the end of the text; its answer was lost"
        return Out(text, (Sign(reply.number, text),))
    unheard = account.unheard
    waited = seconds((view.until_ns if closed is None else closed.ns) - taken.ns)
    if unheard and unheard[0].by_client:
        text = f"all of the text is acknowledged, and no reply within {waited}; against it: "
        text += f"{plural(len(unheard), 'keep-alive')} of the client had no answer either"
        return Found("unlikely", (Sign(unheard[0].number, text),))
    if closed is None:
        if account.closed is not None:
            return None if account.closed.by_client else Out("the connection was closed before the sender gave up")
        silent = view.until_ns - taken.ns
        text = f"all of the text is acknowledged; {seconds(silent)} later there is no reply"
        return Found("possible", (Sign(taken.number, text),)) if silent >= STALLED_NS else None
    if closed.ns - taken.ns < STALLED_NS:
        return None  # it was the acknowledgement that was waited for
    late = [p for p in view.answers(closed.ns) if p.length and p.payload[:1].isdigit()]
    if late:
        text = f"the reply comes {seconds(late[0].ns - taken.ns)} after the end of the text, "
        text += f"{seconds(late[0].ns - closed.ns)} after the client has closed"
        return Found("certain", (Sign(late[0].number, text),), "proved")
    heard = [p for p in view.answers(closed.ns) if not p.flags & RST]
    if heard:
        text = f"all of the text is acknowledged, no reply within {waited}, and the server's TCP is still there"
        return Found("likely", (Sign(heard[0].number, text),))
    if sum(p.flags & FIN for p in account.client.closing) > 1:
        return Out("the server's TCP did not answer the client's FIN either: the path was dead")
    return Found("possible", (Sign(taken.number, f"all of the text is acknowledged, and no reply within {waited}"),))


def server_gone(view: View) -> Said:
    """The server's program or machine ends in the middle: RST or FIN of its own, or refused connections behind it."""
    account, seen = view.account, view.case.observed
    words = _reply(view)
    if _says(CLOSING, words):
        return Found("likely", (Sign(_said_in(view, words), f"the server says so: {words[:80]}"),))
    if seen.broken.kind == "reply":
        return Out("a reply ended it")
    ended = account.ended
    if ended is None or ended.by_client:
        return _silent(view)
    if not account.greeted:
        return None
    if ended.flags & FIN and seen.broken.packet != ended.number and seen.broken.kind == "drop":
        return Out("it closed when it had waited")
    if seen.broken.by != "server" and (seen.broken.by == "middlebox" or _foreign(account, ended)):
        why = seen.broken.signs or (Sign(ended.number, f"its TTL is {ended.ttl}, unlike the server's"),)
        return Out("the packet that ended it is not the server's", why)
    refused = _refused_soon(view, ended.ns)
    what = "RST" if ended.flags & RST else "FIN"
    where = "behind the text, before the reply to it" if view.phase in ("dot", "dotreply") else "before the mail's end"
    signs = [Sign(ended.number, f"{what} in the server's name {where}")]
    if refused is not None:
        return Found("likely", (*signs, refused))
    return Found("possible", tuple(signs))


def _silent(view: View) -> Said:
    """Nothing from the server: a machine that has gone does not answer, one that comes back says RST."""
    account = view.account
    closed = view.closed_by_client
    if closed is not None and any(not p.flags & RST for p in view.answers(closed.ns)):
        return Out("the server's TCP answered to the end")
    resets = [p for p in account.packets if not p.by_client and p.flags & RST and not p.flags & ACK]
    if resets and account.client.lost and not _foreign(account, resets[0]):
        text = "after a silence the server's machine no longer knows the connection: it has been started anew"
        return Found("likely", (Sign(resets[0].number, text),))
    said = dead(view, host=True)
    if isinstance(said, Out) or said is None:
        return said
    refused = _refused_soon(view, min((p.ns for p in account.client.lost), default=account.packets[-1].ns))
    return Found("likely", (refused,)) if refused is not None else said


def _foreign(account: Account, p: Packet) -> bool:
    """Did a box send it?"""
    return all(p.number != each.number for each in account.own)


def _refused_soon(view: View, ns: int) -> Sign | None:
    for case, account in view.accounts:
        for p in account.packets if account.syns and not account.greeted else ():
            if not p.by_client and p.flags & RST and 0 < p.ns - ns < SOON_NS:
                text = f"{seconds(p.ns - ns)} later the server refuses a new connection ({case.flow.client})"
                return Sign(p.number, text)
    return None


def _reply(view: View) -> str:
    """The reply that decided the mail, or the last one of the server."""
    found = refusal(view.case.transaction)
    if found is not None:
        return found[2].text
    mail = view.case.transaction
    if mail is not None and mail.reply is not None and (mail.reply.code or 0) < REFUSES:
        return ""  # it began, and was no refusal
    script = view.case.script
    if script is not None and script.replies and (script.replies[-1].code or 0) >= 400:
        return script.replies[-1].text
    return view.case.observed.reply if view.case.observed.reply[:1] in ("4", "5") else ""


def _says(words: re.Pattern[str], reply: str) -> bool:
    """Does the reply say so itself, and not what it quotes?"""
    return bool(words.search(QUOTED.sub("", reply)))


def full_disk(view: View) -> Said:
    """No room for the mail: 452, 431, 4.3.1."""
    return _by_text(view, FULL)


def milter(view: View) -> Said:
    """A milter or content filter of the receiver fails."""
    return _by_text(view, MILTER)


def filter_refuses(view: View) -> Said:
    """A filter refuses; its words do not prove where it stands."""
    reply = _reply(view)
    if reply and _says(BOX, reply):
        text = f"it was refused; by the server, or by a box in its name: {reply[:80]}"
        return Found("possible", (Sign(_said_in(view, reply), text),))
    return _by_text(view, FILTER)


def busy(view: View) -> Said:
    """Refused for now: too many connections, or too much load; a full queue of connections drops SYNs."""
    account = view.account
    if len(account.syns) > 1 and len(account.packets) == len(account.syns):
        beside = answered_beside(view)
        text = f"{plural(len(account.syns), 'SYN')} unanswered: so does a server whose queue of connections is full"
        if beside is None:
            return Found("possible", (Sign(account.syns[0].number, text),), bare=True)
        signs = Sign(account.syns[0].number, text), Sign(beside.number, "another connection to this port was answered")
        return Found("possible", signs)
    return _by_text(view, BUSY)


def greylisting(view: View) -> Said:
    """Refused for now, on purpose (RFC 6647)."""
    return _by_text(view, GREY)


def _by_text(view: View, words: re.Pattern[str]) -> Said:
    """What the server says; a 4xx without words that any row knows leaves open what it means."""
    reply = _reply(view)
    if not reply:
        return Out("the server never said 4xx or 5xx")
    if _says(BOX, reply):
        return None
    if _says(words, reply):
        return Found("likely", (Sign(_said_in(view, reply), f"the reply says so: {reply[:80]}"),))
    if reply[:1] == "4" and not any(_says(others, reply) for others in SAID):
        return None
    return Out(f"the reply says something else: {reply[:60]}")


def refused(view: View) -> Said:
    """Some other reply of the server."""
    reply = _reply(view)
    greeted = view.phase in ("connect", "greeting")
    if view.phase == "ehlo" or not (greeted or view.case.observed.broken.kind == "reply"):
        return None  # a client goes on with HELO
    if not reply or any(_says(words, reply) for words in SAID):
        return None
    return Found("likely", (Sign(_said_in(view, reply), f"the server refuses: {reply[:80]}"),))


def gateway(view: View) -> Said:
    """A firewall that reads along answers in the server's name, by its words."""
    reply = _reply(view)
    if not reply:
        return Out("the server never said 4xx or 5xx")
    if not _says(GATEWAY, reply):
        return Out(f"the reply says something else: {reply[:60]}")
    return Found("possible", (Sign(_said_in(view, reply), f"the reply's words are a gateway's: {reply[:80]}"),))


def _said_in(view: View, reply: str) -> int | None:
    told = reversed(view.account.said.replies)
    return next((each.packet.number for each in told if str(each.code) == reply[:3]), None)


def tarpit(view: View) -> Said:
    """It answers slowly on purpose, or is too busy: a late greeting, or every reply late."""
    account = view.account
    if not account.greeted:
        return None
    took = _delays(view)
    slow = [each for each in took if each[0] >= SLOW_NS]
    closed = view.gave_up
    if not account.server.sent:
        if closed is not None and view.answers(closed.ns) and closed.ns - account.greeted[0].ns >= STALLED_NS:
            text = f"no greeting within {seconds(closed.ns - account.greeted[0].ns)}, though the server's TCP answers"
            return Found("likely", (Sign(closed.number, text),))
        return None
    if took and 2 * len(slow) >= len(took) and (len(slow) > 1 or slow[0][1].at == 0):
        longest = max(slow, key=lambda each: each[0])
        text = f"{len(slow)} of {len(took)} replies took {seconds(SLOW_NS)} or longer, "
        text += f"the slowest {seconds(longest[0])}"
        return Found("likely" if closed is not None else "possible", (Sign(longest[1].number, text),))
    late = [each for each in took if closed is not None and each[1].ns > closed.ns and each[0] >= SLOW_NS]
    if late:
        text = f"the reply that was waited for came {seconds(late[0][0])} after it was asked for"
        return Found("likely", (Sign(late[0][1].number, text),))
    vain = _in_vain(view)
    if vain is not None:
        asked, waited = vain
        alive = [p for p in account.after(asked.ns + waited, by_client=False) if not p.flags & RST]
        if not alive or view.phase in IN_TEXT:
            return None
        text = f"the reply that was waited for did not come within {seconds(waited)}, though the server's TCP answers"
        return Found("possible", (Sign(asked.number, text),))
    if not took or slow:
        return None
    return Out(f"the server's replies took {seconds(max(took, key=lambda each: each[0])[0])} at most")


def _in_vain(view: View) -> tuple[Packet, int] | None:
    """What has all come to the server and got no reply, and how long its sender waited for that."""
    way, closed = view.account.client, view.closed_by_client
    if not view.waiting or way.lost or way.hole is not None or view.amid_text:
        return None
    last = _half(view) or view.waiting[-1]
    until = closed.ns if closed is not None else view.until_ns
    heard = any(last.ns < p.ns <= until for p in view.account.server.sent)
    return (last, until - last.ns) if not heard and until - last.ns >= STALLED_NS else None


def _half(view: View) -> Packet | None:
    """The last reply's packet, where its last line never came."""
    told = view.account.said.replies
    return told[-1].packet if told and told[-1].code is None else None


def _delays(view: View) -> list[tuple[int, Packet]]:
    """How long each reply was waited for; the greeting counts from the handshake."""
    made: list[tuple[int, Packet]] = []
    asked: int | None = None
    octets = {p.number for way in (view.account.client, view.account.server) for p in way.sent}  # no keep-alives
    for p in view.account.packets:
        if p.flags & SYN:
            asked = p.ns if p.flags & ACK else asked
        elif p.number not in octets:
            continue
        elif p.by_client:
            asked = p.ns if asked is None else asked
        elif p.payload[:3] == b"421":
            asked = None  # no reply: it has waited
        elif asked is not None:
            made.append((p.ns - asked, p))
            asked = None
    return made
