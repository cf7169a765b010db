"""What a reading means for whoever looks after the server: what the text cannot tell, whom to ask what, what to run."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Final, NamedTuple

from smtpinspect.diagnose.model import Cause, Reading
from smtpinspect.diagnose.reading.phrases import PHASES_OF
from smtpinspect.mta.registry import SENDERS

_HANDSHAKE: Final = frozenset({"connect", "greeting", "ehlo"})
_ENVELOPE: Final = frozenset({"mail", "rcpt", "datacmd", "reply354"})
_TEXT: Final = frozenset({"databody", "datamid"})
_END: Final = frozenset({"dot", "dotreply"})
_AFTER: Final = _END | {"quit"}  # a receiver has given its reply to the mail

UNPLACED: Final = "where it broke is not known: the text is none that is known here"
# Where the flow broke, in a person's words; the narrowest set that holds all phases counts.
BROKE_AT: Final[tuple[tuple[frozenset[str], str], ...]] = tuple(
    (frozenset(phases.split()), words)
    for phases, words in (
        ("connect", "the connection was not set up"),
        ("greeting", "the server's greeting did not come"),
        ("connect greeting ehlo datacmd reply354", "the connection, the greeting, EHLO, or DATA before its text"),
        ("connect greeting ehlo mail datacmd reply354",
         "the connection, the greeting, EHLO, MAIL, or DATA before its text"),
        ("connect greeting", "the SYN or the server's greeting got lost; EHLO was not reached"),
        ("ehlo", "EHLO, HELO, STARTTLS or AUTH, or the reply to it"),
        ("greeting ehlo", "the greeting, or EHLO"),
        ("mail", "MAIL, or its reply"),
        ("rcpt", "RCPT, or its reply"),
        ("datacmd reply354", "DATA, or the 354 to it"),
        ("mail rcpt datacmd", "MAIL, RCPT or DATA (with PIPELINING they travel in one segment)"),
        ("mail rcpt", "MAIL or RCPT"),
        ("mail rcpt datacmd databody datamid dot dotreply",
         "MAIL, RCPT or DATA; with CHUNKING also the text, which goes out before their replies are read"),
        ("rcpt datacmd databody datamid dot dotreply",
         "RCPT or its reply; with CHUNKING also the text, which goes out before that reply is read"),
        ("rcpt datacmd", "RCPT or DATA (they travel in one segment)"),
        ("databody datamid", "the text of the mail, before its end"),
        ("datacmd reply354 databody datamid", "DATA, the 354, or the text"),
        ("dot dotreply", "the end of the mail, or the reply to it"),
        ("databody datamid dot dotreply", "the text of the mail, its end mark, or the reply to it"),
        ("datacmd reply354 databody datamid dot", "DATA, or the text up to its end mark"),
        ("dot dotreply quit", "the reply to the mail, or what was to follow"),
        ("quit", "the end of the session; the mail's fate was decided"),
        ("mail rcpt datacmd reply354 databody datamid dot dotreply", "anything from MAIL to the last reply"),
        ("greeting ehlo mail rcpt datacmd reply354 databody datamid", "anything from the greeting to the text"),
        ("connect greeting ehlo mail rcpt datacmd reply354 databody datamid dot dotreply quit",
         "any place, from the connection to the last reply"),
    )
)
HOW: Final[Mapping[tuple[str, ...], str]] = {
    ("drop",): "silence: a packet, or the reply to it, got lost or was dropped",
    ("rst",): "a reset came",
    ("fin",): "the other side, or a box in its name, closed",
    ("rst", "fin"): "it was closed or reset; the text does not tell which",
    ("drop", "fin"): "silence; a lone FIN amid the text looks the same, for the sender writes on",
    ("drop", "rst"): "no answer, or a reset",
    ("drop", "rst", "fin"): "silence, a reset or a close",
    ("reply",): "a reply decided it",
    ("none",): "",
}
KINDS: Final[Mapping[str, str]] = {"drop": "silence", "rst": "a reset", "fin": "a close", "reply": "a reply"}
# What elapsed time tells with default settings (mta.md, section 11: rule of thumb), up to so many seconds, where the
# flow may have broken in one of these phases (all: in any).
_ALL: Final = ""
_SET_UP: Final = "connect"
_TIMES: Final = (
    (2.0, _ALL, "at once: an answer, a reset or a close, not a time-out"),
    (30.0, _SET_UP, "30 s: Postfix's time-out of connect"),
    (60.0, _SET_UP, "60 s: qmail's time-out of connect"),
    (120.0, "datacmd reply354", "120 s: Postfix's time-out of DATA"),
    (131.0, _SET_UP, "127 to 131 s: Linux gives up a SYN"),
    (180.0, "databody datamid dot", "180 s: Postfix's time-out of a stalled text"),
    (300.0, _ALL, "300 s: the usual time-out of a command, Exim's of a stalled text, all of OpenSMTPD's"),
    (600.0, _ALL, "600 s: Exim's and Postfix's wait for the last reply, Sendmail's for MAIL, Exchange's idle time"),
    (943.0, _ALL, "about 925 to 960 s: Linux gives up a connection whose bytes nobody acknowledges"),
    (1200.0, _ALL, "1,200 s: qmail's time-out"),
    (3600.0, _ALL, "3,600 s: Sendmail's time-out of RCPT and of the last reply"),
)
_SMALL: Final = 1_000  # octets of a mail that fit any packet, with what its header gains
_SLACK: Final = 0.03  # of the time, 3 s at least


class Told(NamedTuple):
    """What depends on where and how alone."""

    means: str
    cannot: tuple[str, ...]
    ask: tuple[str, ...]
    causes: tuple[Cause, ...]


def elapsed(told: Reading) -> str:
    """Which time-out this many seconds are: that MTA's own, else by the rule of thumb; "" where none fits."""
    seconds, model = told.seconds, SENDERS.get(told.mta)
    if seconds is None:
        return ""
    own = [
        timer for timer in (model.timers if model is not None and "drop" in told.broken else ())
        if any(phase in told.phases for step in timer.steps for phase in PHASES_OF[step])
        and timer.seconds and abs(seconds - timer.seconds) <= max(3.0, timer.seconds * _SLACK)
    ]  # fmt: skip
    if own:
        names = " or ".join(dict.fromkeys(timer.setting or "time-out" for timer in own))
        return f"its {names}, {own[0].seconds:,} s by default"
    for limit, places, words in _TIMES if told.broken != ("reply",) else _TIMES[:1]:
        if told.phases and places and not set(places.split()) & set(told.phases):
            continue
        slack = 2.0 if limit < 10 else 20.0 if limit == 943.0 else max(3.0, limit * _SLACK)
        if abs(seconds - limit) <= slack:
            return words
    return ""


def place(phases: tuple[str, ...]) -> str:
    """The phases in words."""
    wanted = frozenset(phases)
    fits = [(len(each), words) for each, words in BROKE_AT if wanted <= each]
    return min(fits)[1] if fits and wanted else ""


def explained(told: Reading, *, file: str = "bounce.eml", local: bool = False) -> Reading:
    """With everything that is said about it; a delivered mail needs nothing.

    `file`: the bounce, if it is one. `local`: its time is without a zone.
    """
    told = told._replace(local=local and told.when is not None)
    if told.fate == "delivered":
        return told
    known = _told(told.phases, told.broken, told.side, told.mta, told.reply[:3])
    means = known.means
    if told.masked and not told.phases:
        means = "the greeting was all asterisks: a Cisco PIX, FWSM or ASA inspects SMTP on this path"
    elif told.waiting:
        means = "no attempt: this host's retry time had not come"
    elif told.gave_up and not told.phases:
        means = "given up: the mail had grown too old"
    elif told.unplaced:
        means = told.means or UNPLACED
    model = SENDERS.get(told.mta) if told.side == "sender" else None
    tries: tuple[int, ...] = ()
    if model is not None and told.fate == "deferred" and not told.waiting:
        tries = _tries(told.mta, round(told.seconds or 0))
    causes = tuple(_worded(each, told.reply) for each in known.causes)
    if told.size is not None and told.size < _SMALL:
        causes = tuple(each for each in causes if each.cause != "path-mtu")
    if told.masked:
        causes = (_MASKED, *(each for each in causes if each.cause != _MASKED.cause))
    return told._replace(
        means=means,
        cannot_tell=known.cannot,
        ask=tuple(_filled(question, told) for question in known.ask),
        causes=causes,
        tries=tries,
        gives_up_after=model.gives_up_after if model is not None else None,
        commands=commands(told, file),
    )


def _worded(cause: Cause, reply: str) -> Cause:
    """Of a refusal also what its enhanced code says."""
    code = _ENHANCED.match(reply) if cause is _REFUSED else None
    means = _STATUS.get(code[1], "") if code else ""
    return cause._replace(title=f"{cause.title}: {means}") if means else cause


@lru_cache(maxsize=256)
def _tries(mta: str, seconds: int) -> tuple[int, ...]:
    return tuple(SENDERS[mta].attempts(float(min(seconds, 7_200)))[1:])


def _cause(cause: str, kind: str, title: str, product: str = "") -> Cause:
    return Cause(cause, kind, "possible", title, product=product)  # type: ignore[arg-type]


_FILTER: Final = _cause("unknown-filter", "unknown-filter", "a filter that we do not know")
_MASKED: Final = _cause(
    "mailguard.banner-masked", "rule", "the greeting is masked with asterisks: Cisco MailGuard", product="mailguard"
)
CONTENT: Final = (
    _cause("stormshield.smtp-231", "rule", "raw 8-bit bytes in Subject", product="stormshield"),
    _cause("stormshield.smtp-122", "rule", "bytes that a header may not hold", product="stormshield"),
    _cause("stormshield.smtp-217", "rule", "a header line longer than the box allows", product="stormshield"),
    _cause("mailguard.header-line-length", "rule", "a header line longer than the map allows", product="mailguard"),
    _cause("mailguard.mime-filename-length", "rule", "a long name of an attachment", product="mailguard"),
    _cause("mailguard.dkim-content-type", "rule", "h= of DKIM taken for a header field", product="mailguard"),
)
_COMMANDS: Final = (
    _cause("stormshield.smtp-223", "rule", "a command that the box does not let pass", product="stormshield"),
    _cause("stormshield.smtp-219", "rule", "an empty command line or reply", product="stormshield"),
    _cause("mailguard.command-split", "rule", "a command in more than one segment", product="mailguard"),
    _cause("mailguard.command-not-allowed", "rule", "a verb outside the allowed list", product="mailguard"),
)
_GREETING: Final = (
    _cause("mailguard.banner-multiline-broken", "rule", "a greeting of several lines hangs", product="mailguard"),
)
_EHLO: Final = (_cause("mailguard.ehlo-blocked", "rule", "EHLO does not pass", product="mailguard"),)
_SPOKEN: Final = frozenset({"ehlo"})
_UNOFFERED: Final = (
    _cause("mailguard.starttls-blocked", "rule", "STARTTLS taken out of the server's answer", product="mailguard"),
)
_ENDS: Final = (_cause("mailguard.eod-split", "rule", "the end mark over two segments", product="mailguard"),)
_ANSWERED: Final = (
    _cause("sonicwall.encrypted-zip", "rule", "552 for a kind of attachment", product="sonicwall"),
    _cause("sonicwall.office-macro", "rule", "552 for macros in an Office file", product="sonicwall"),
    _cause("sonicwall.packed-exe", "rule", "552 for a packed executable", product="sonicwall"),
)
_SILENT: Final = ("stormshield",)
_REFUSED: Final = _cause("refused", "look-alike", "the server itself refuses it")
# What a code says beside (RFC 5321 4.2.3); others say nothing more.
_CODES: Final[Mapping[str, Cause]] = {
    "421": _cause("busy", "look-alike", "the server is too busy, or is being stopped"),
    "450": _cause("greylisting", "look-alike", "greylisting: a later attempt passes"),
    "451": _cause("greylisting", "look-alike", "greylisting: a later attempt passes"),
    "452": _cause("full-disk", "look-alike", "no room at the receiver, or too many recipients"),
    "552": _cause("full-disk", "look-alike", "the mailbox is full, or the mail too large"),
}
_ENHANCED: Final = re.compile(r"\d{3}[ -][245]\.(\d{1,3}\.\d{1,3})\b")
# What subject and detail of an enhanced code say (RFC 3463 3).
_STATUS: Final[Mapping[str, str]] = {
    "1.1": "no such mailbox",
    "1.2": "no such domain",
    "1.8": "the sender's domain is not taken",
    "2.1": "the mailbox is closed",
    "2.2": "the mailbox is full",
    "3.1": "no room at the receiver",
    "3.2": "it takes no mail at present",
    "3.4": "the mail is too large",
    "5.3": "too many recipients",
    "7.0": "its policy forbids it",
    "7.1": "its policy forbids it: a block list, a spam filter, greylisting, relaying",
}
_FILTERED: Final = _cause("filter-refuses", "look-alike", "a filter refuses, at the receiver or before it")
_UNKNOWN_COMMAND: Final = ("500", "502")  # what a box that lets no such command pass says, or makes the server say
# What looks alike, seen by the sender. A receiver that waited for text, or saw the other side go, was neither slow nor
# down: of these it has its own.
_LOOKS: Final[tuple[tuple[Callable[[frozenset[str], tuple[str, ...]], bool], Cause], ...]] = (
    (lambda at, how: "connect" in at and "drop" in how,
     _cause("port-filter", "look-alike", "a port filter that drops it, or no host is there")),
    (lambda at, how: "connect" in at and "drop" not in how,
     _cause("port-filter", "look-alike", "nothing listens there, or a port filter says so")),
    (lambda at, how: "greeting" in at and "drop" in how,
     _cause("tarpit", "look-alike", "a delayed greeting: tarpit, or a slow look-up of the client's name")),
    (lambda at, how: bool(at & _TEXT) and "drop" in how,
     _cause("path-mtu", "look-alike", "large packets get lost: path MTU")),
    (lambda at, how: bool(at & _END) and "drop" in how,
     _cause("slow-scanner", "look-alike", "the receiver scans the mail for longer than the sender waits")),
    (lambda at, how: bool(at & _END) and "drop" in how,
     _cause("strict-end", "look-alike", "a receiver that waits on for an end mark")),
    (lambda at, how: "rst" in how or "fin" in how,
     _cause("server-gone", "look-alike", "the server crashed, was restarted, or closes on purpose")),
    (lambda at, how: how != ("reply",),
     _cause("loss", "look-alike", "loss on the path, or a NAT that has forgotten it")),
)  # fmt: skip
_PATH_LOOKS: Final = ("path-mtu", "loss")
_RECEIVED: Final[tuple[tuple[Callable[[frozenset[str], tuple[str, ...]], bool], Cause], ...]] = (
    (lambda at, how: at == _AFTER and how != ("drop",),
     _cause("slow-scanner", "look-alike", "its own scan took longer than the sender waits")),
    (lambda at, how: bool(at & _TEXT),
     _cause("strict-end", "look-alike", "an end mark that this receiver does not take for one")),
    (lambda at, how: "greeting" in at and "mail" not in at and how != ("drop",),
     _cause("scanner", "look-alike", "no mail server: a port scanner, or a monitor's health check")),
    (lambda at, how: "rst" in how or "fin" in how,
     _cause("sender-timeout", "look-alike", "the sender gave up, crashed or was restarted")),
    *((fits, cause) for fits, cause in _LOOKS if cause.cause in _PATH_LOOKS),
)  # fmt: skip

_ASK_TEXT: Final = (
    'is {message} logged as accepted? yes: b or c. "timeout after DATA (n bytes)" or "lost connection after DATA (n '
    'bytes)": a, cut near byte n'
)
_ASK_COUNT: Final = (
    'do you log "timeout after DATA (n bytes)" or "lost connection after DATA (n bytes)"? it was cut near byte n'
)


@lru_cache(maxsize=1024)
def _told(phases: tuple[str, ...], broken: tuple[str, ...], side: str, mta: str, code: str) -> Told:
    at = frozenset(phases)
    if not at:
        return Told("", (), (), ())
    where, how = place(phases), HOW.get(broken, "")
    means = f"{where}: {how}" if where and how else where or how
    rules: tuple[Cause, ...] = ()
    cannot: list[str] = []
    ask: list[str] = []
    if broken == ("reply",):
        cannot.append("whether the server itself gave this reply, or a box in its place")
        ask.append("is this reply in your log for {message}? no: a box between us gave it")
        known = [_REFUSED] + ([_CODES[code]] if code in _CODES else []) + ([_FILTERED] if at & _END else [])
        if at & _END and code == "552":
            rules = _ANSWERED
        elif at & (_HANDSHAKE | _ENVELOPE) and code in _UNKNOWN_COMMAND:
            rules = _COMMANDS[:1] + _COMMANDS[3:]
        elif at == _SPOKEN and not code:  # no reply's code: TLS is a must, and the server did not offer it
            rules = _UNOFFERED
        return Told(means, tuple(cannot), tuple(ask), (*known, *rules, _FILTER))
    if at & _TEXT or at & _END:
        if side == "sender" or not at <= _AFTER:  # else all of it has arrived
            rules += CONTENT + (_ENDS if at & _END else ())
        if side == "receiver":
            cannot.append("whether the sender stopped, or something between cut off what followed")
        elif at & _END:
            cannot += ["(a) the text was cut on the way"] if at & _TEXT else []
            cannot.append("(b) the reply was lost: the mail may have ARRIVED")
            cannot += ["(c) a receiver that scans for longer than the sender waits"] if "drop" in broken else []
            cannot += ["(d) a command before the text, or its reply, was lost"] if at & _ENVELOPE else []
            ask.append(_ASK_TEXT if "drop" in broken else _ASK_TEXT.replace("b or c", "b"))
        else:
            cannot.append("where in the text: only a capture, or the receiver's count, tells")
            ask.append(_ASK_COUNT)
    if at & _ENVELOPE:
        rules += _COMMANDS
        if len(at & _ENVELOPE) > 2 and mta in ("exim", "postfix", "rfc5321"):
            cannot.append("which of MAIL, RCPT and DATA it was, nor whether the replies to them were lost")
        elif not at & (_TEXT | _HANDSHAKE):
            cannot.append("whether the command or the reply to it was lost")
    if at & _HANDSHAKE:
        rules += (_GREETING if "greeting" in at else ()) + (_EHLO if "ehlo" in at else ())
        if {"connect", "greeting"} <= at:
            cannot.append("whether a connection was set up at all (with TCP Fast Open both look the same)")
    if side == "sender" and not at & (_TEXT | _END):
        ask.append("do you see our connection at {when}, and after which command does it end?")
    if len(broken) > 1:
        cannot.append(f"whether it was {' or '.join(KINDS[kind] for kind in broken)}: a capture does")
    if side == "receiver" and "drop" in broken:
        ask.append("what do you log for your mail to us at {when}? a time-out on both sides: something between us")
    elif side == "receiver":
        ask.append("what do you log for your mail to us at {when}? lost or reset there too: a box between us did it")
    if "drop" not in broken:  # what drops in silence closes nothing
        rules = tuple(rule for rule in rules if rule.product not in _SILENT)
    looks = tuple(cause for fits, cause in (_LOOKS if side == "sender" else _RECEIVED) if fits(at, broken))
    listed = (*looks, *rules) if side == "receiver" and at <= _HANDSHAKE else (*rules, *looks)
    return Told(means, tuple(cannot), tuple(ask), (*listed, _FILTER))


def _filled(question: str, told: Reading) -> str:
    from smtpinspect.mta.words import iso

    when = "that time"
    if told.when is not None:
        when = iso(told.when) + (" (our clock; say its zone)" if told.local else " UTC")
    message = f"<{told.message_id}>" if told.message_id else "the mail's Message-ID"
    return question.replace("{when}", when).replace("{message}", message)


# How a mail is tried at once: the sender's manual pages. {id}: as its log has it.
REQUEUE: Final[Mapping[str, str]] = {
    "exim": "exim -M {id}",
    "postfix": "postqueue -i {id}",
    "sendmail": "sendmail -qI{id} -v",
    "opensmtpd": "smtpctl schedule {id}",
    "qmail": "qmail-tcpok; kill -ALRM $(pidof qmail-send)",
    "exchange": "Retry-Queue -Filter \"NextHopDomain -eq '{domain}'\" -Resubmit $false",
}


# The same for all that waits for its domain, where the text has no id; {domain} as above.
RESEND: Final[Mapping[str, str]] = {
    "exim": "exim -Rf {domain}",
    "postfix": "postqueue -f",
    "sendmail": "sendmail -qR{domain} -v",
    "opensmtpd": "smtpctl schedule all",
}


def commands(told: Reading, file: str) -> tuple[str, ...]:
    """To look into the mail that came back, to capture the next attempt, and to bring it about."""
    peer = told.ip or ("" if told.host.startswith("[") else told.host)
    if not (told.phases or told.unplaced):
        return ()
    host = f"host {peer.rstrip('.')} and " if peer and peer != "unknown" else ""
    made = [f"smtpinspect check {shlex.quote(file)}"] if told.bounce else []
    made.append(f"tcpdump -U -i any -s0 -w m.pcap {shlex.join(f'{host}port 25 or icmp or icmp6'.split())} &")
    if told.side == "receiver":
        return (*made, "# when they have tried again:", "kill %1; smtpinspect diagnose m.pcap --taken receiver")
    if told.fate == "bounced":  # it is in no queue
        return (*made, "# send the mail once more; when the log has it:", "kill %1; smtpinspect diagnose m.pcap")
    again = requeue(told)
    return (*made, *([again] if again else []), "# when the log has it again:", "kill %1; smtpinspect diagnose m.pcap")


def requeue(told: Reading) -> str:
    """What has this mail tried at once; "" where nothing is known that does."""
    again = REQUEUE.get(told.mta, "")
    domain = told.recipient.rpartition("@")[2].strip("<>")
    if "{id}" in again and not told.queue_id:
        again = RESEND.get(told.mta, "") if domain or "{domain}" not in RESEND.get(told.mta, "") else ""
    name = domain.replace("'", "") if told.mta == "exchange" else shlex.quote(domain)
    return again.replace("{id}", shlex.quote(told.queue_id)).replace("{domain}", name)
