"""The report's words: for outcomes, actions, what an action comes to, what a sender would log."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

from smtpinspect._core.views import Alert, Mail, excerpt
from smtpinspect.actions import Strength
from smtpinspect.grammar.limits import EXCERPT
from smtpinspect.grammar.words import BROKEN
from smtpinspect.report.terminal import safe

if TYPE_CHECKING:
    from smtpinspect.mta.base import Cause, Step

STRENGTH: Final = {strength.word: strength for strength in Strength}
# What an alert does, after its rule's name.
DOES: Final = {
    "pass": "seen",
    "alarm": "alarm only",
    "detach": "stops inspecting",
    "rewrite": "alters",
    "answer": "answers itself",
    "drop": "cuts",
    "drop-flow": "cuts",
    "reset": "resets",
}
_NO_ESMTP: Final = "without ESMTP and TLS"
# What a rewrite comes to for the mail, the most important first: (in a sum, in a cell).
EFFECTS: Final = {
    "mailguard.address-pipe": ("with an altered address", "address altered"),
    "mailguard.address-angle": ("with an altered address", "address altered"),
    "mailguard.ehlo-blocked": (_NO_ESMTP, "no ESMTP, no TLS"),
    "mailguard.starttls-blocked": ("without TLS", "no TLS"),
    "mailguard.command-not-allowed": ("with a command denied", "command denied"),
    "mailguard.command-split": ("with a command overwritten", "command masked"),
    "mailguard.command-termination": ("with a command overwritten", "command masked"),
    "mailguard.ehlo-param-masked": ("without some extensions", "extensions masked"),
    "mailguard.banner-masked": ("with a masked greeting", "greeting masked"),
}
PHASES: Final = {
    "connect": "connecting",
    "greeting": "greeting",
    "ehlo": "EHLO",
    "mail": "MAIL",
    "rcpt": "RCPT",
    "datacmd": "DATA",
    "reply354": "354",
    "databody": "message text",
    "datamid": "message text",
    "dot": "final dot",
    "dotreply": "final dot",
    "quit": "QUIT",
}
TEXT: Final = frozenset({"databody", "datamid", "dot"})
# Where the sender's Exim stands at a break: by the stage, else by the phase; (step, the command that it names).
_AT_STAGE: Final[dict[str, tuple[Step, str]]] = {
    "after-end-of-data": ("dot", ""),
    "after-sending-data-block": ("body", ""),
}
_AT_PHASE: Final[dict[str, tuple[Step, str]]] = {
    "connect": ("greeting", ""),
    "greeting": ("greeting", ""),
    "ehlo": ("ehlo", ""),
    "mail": ("mail", "MAIL FROM"),
    "rcpt": ("rcpt", "RCPT TO"),
    "datacmd": ("datacmd", ""),
    "reply354": ("datacmd", ""),
}
BASIS: Final = {"confirmed": "confirmed", "inferred": "inferred", "project": "our assumption"}
DOUBTS: Final = {
    "one-direction": "only one direction is in the capture",
    "gap": "bytes are missing that the two sides had: the capture lost packets",
    "snaplen": "packets were cut when they were captured: capture with -s 0",
    "super-segments": "offload merged segments: rules about packet borders are not judged "
    "(before capturing: ethtool -K IFACE gro off gso off tso off)",
    "mid-stream": "the capture begins inside the connection",
    "cut-off": "the capture ends before the connection does",
    "encrypted": "TLS: what follows cannot be judged",
    "overlap": "a retransmission carried other bytes than the first copy; the first one was judged",
    "cap": "a limit of this program was reached: not everything was kept",
    "end-mark-disputed": "the server replied in the middle of the text: it may see another end mark",
}
_AUTH: Final = re.compile(rb"(?i)(?:AUTH|X-EXPS|NOOP|XXXX\S*)\s+\S+")


def short(rule: str) -> str:
    """`smtp-217` for `stormshield.smtp-217.header`: what fits in a cell."""
    return ".".join(rule.split(".")[1:2]) or rule


def evidence(alert: Alert) -> str:
    """The octets of an alert as text, with a mark for what is not shown of them."""
    text = excerpt(alert.octets)
    # Of some lines the end counts in the length, and is not quoted.
    if _AUTH.fullmatch(alert.octets) and alert.length > len(alert.octets) + 2:
        return f"{text} ***"
    return f"{text}…" if len(alert.octets) == EXCERPT < alert.length else text


def refuses(alert: Alert) -> bool:
    """Does the firewall itself refuse the mail, in the middle of its text or behind it?"""
    return alert.action == "answer" and alert.phase in TEXT


def does(alert: Alert) -> str:
    """What follows the rule's name."""
    if alert.row.kind == "seen":
        return "seen"
    if refuses(alert):
        return "refuses"
    if alert.breaks and STRENGTH[alert.action] < Strength.DROP:
        return "hangs the client"
    return DOES[alert.action]


def cell(
    word: str, broken_by: str | None, by: Alert | None, alerts: Sequence[Alert]
) -> tuple[list[str], str]:
    """What would become of the mail: (what it counts for in a sum, the cell's text)."""
    strength = STRENGTH.get(word, Strength.PASS)
    if broken_by and by is not None and by.phase == "quit":
        return ["cut after delivery"], "cut at QUIT"
    if broken_by:
        how = "reset" if strength == Strength.RESET else "cut" if strength >= Strength.DROP else "hang"
        return [f"would be {how}" if how != "hang" else "would hang"], f"{how}: {short(broken_by)}"
    if strength == Strength.ANSWER:
        for alert in alerts:
            if refuses(alert):
                return ["would be refused"], f"refused: {short(alert.rule)}"
        return ["with a command answered by it"], "answers itself"
    if strength == Strength.REWRITE:
        fired = {alert.rule for alert in alerts if alert.action == "rewrite"}
        if effects := [effect for rule, effect in EFFECTS.items() if rule in fired]:
            # A masked greeting comes with all the others: alone it is worth telling.
            counted = effects[:-1] if len(effects) > 1 and "mailguard.banner-masked" in fired else effects
            kinds = list(dict.fromkeys(kind for kind, _ in counted))
            if _NO_ESMTP in kinds:
                kinds = [kind for kind in kinds if kind not in ("without TLS", "without some extensions")]
            return kinds, effects[0][1]
        changed = next(iter(sorted(fired)), "")
        return ["would be altered"], f"altered: {short(changed)}" if changed else "altered"
    if strength == Strength.DETACH:
        return ["inspected in part"], "passes, in part unseen"
    if strength == Strength.ALARM:
        return ["with an alarm only"], "passes, alarm"
    return [], "passes"


def ordered(kinds: Counter[str]) -> list[tuple[str, int]]:
    """What the cells of a product come to: breaks first, then by number."""
    return sorted(kinds.items(), key=lambda item: (not item[0].startswith("would"), -item[1]))


def colour(word: str) -> str:
    """Of an outcome, or of a cell by what it counts for in a sum."""
    if word in BROKEN or word.startswith("would "):
        return "red"
    if word in ("refused", "aborted", "unknown", "cut after delivery") or word.startswith("with"):
        return "yellow"
    return "green" if word == "accepted" else ""


def consequences(alert: Alert) -> Iterator[str]:
    """What a break, or the firewall's own refusal, would mean for the two sides."""
    if refuses(alert):
        reply = alert.row.action.params.get("reply", b"")
        stage = f"   [{alert.stage}]" if alert.stage else ""
        if isinstance(reply, bytes):
            yield f"the sender would log: {excerpt(reply)}{stage}"
        if alert.row.action.params.get("client") == "rst":
            yield "or a lost connection: the reset may come before the reply is read"
        return
    if alert.phase == "quit":
        yield "the server has answered for the mail by then"
        return
    if alert.direction == "server" and alert.phase == "dotreply":
        yield "the server has the mail by then: retries make duplicates"
    stage = f"   [{alert.stage}]" if alert.stage else ""
    if said := _logged(alert):
        yield f"the sender would log: {said}{stage}"


def _logged(alert: Alert) -> str:
    """Exim's phrase without what a replay cannot know, the octets written; "" where no phrase fits."""
    from smtpinspect.mta.base import Ending  # most replays tell of no break
    from smtpinspect.mta.exim import Exim

    at = _AT_STAGE.get(alert.stage or "") or _AT_PHASE.get(alert.phase or "")
    if at is None:
        return ""
    step, command = at
    cause: Cause = "reset" if alert.action == "reset" else "timeout"
    exim = Exim()
    end = Ending(step, cause, exim.example, command=command or _before_mail(alert))
    return exim.text(end).partition(" (")[0]


def _before_mail(alert: Alert) -> str:
    """The command that was waited for: EHLO, or any other before MAIL."""
    if alert.direction == "server":
        return "the command whose reply was cut"
    verb = bytes(alert.octets[:4]).upper()
    return verb.decode() if verb in (b"EHLO", b"HELO") else "the command that was cut"


def sender(mail: Mail) -> str:
    """The address of MAIL."""
    if mail.mail_from is None:
        return "(encrypted)" if mail.outcome == "encrypted" else "(not seen)"
    return safe(mail.mail_from) or "<>"


def recipients(mail: Mail) -> str:
    """The first address of RCPT, and how many more."""
    to = mail.rcpt_to
    if not to:
        return mail.server if mail.outcome == "encrypted" else ""
    return safe(to[0]) + (f" +{len(to) - 1}" if len(to) > 1 else "")


def observed(mail: Mail) -> str:
    """The outcome, and what the packets show of it."""
    match mail.outcome:
        case "refused":
            return f"refused {mail.reply}" if mail.reply else "refused"
        case "stalled" | "reset" | "closed":
            at = f" at {PHASES[mail.phase]}" if mail.phase in PHASES else ""
            waited = f", {mail.silence:,.0f} s" if mail.outcome == "stalled" and mail.silence >= 1 else ""
            told = mail.outcome != "stalled" and mail.closer in ("client", "server")
            by = f" by {mail.closer}" if told else ""
            return f"{mail.outcome}{by}{at}{waited}"
        case _:
            return mail.outcome


def domain(address: str) -> str:
    """Of a sender; bounces have none."""
    return safe(address.rpartition("@")[2].lower()) or "<>"
