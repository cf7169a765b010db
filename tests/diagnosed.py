"""A diagnosis made by hand around a capture whose mail is cut: what every page must be able to show."""

from __future__ import annotations

from pathlib import Path

from smtpinspect import cli
from smtpinspect.diagnose.face import Asked, diagnose
from smtpinspect.diagnose.model import (
    Against,
    Break,
    Case,
    Cause,
    Contrast,
    Diagnosis,
    Fingerprint,
    Moment,
    Remedy,
    Sign,
    Vantage,
    WhatIf,
)
from smtpinspect.simulate.script import script_of

PCAPS = Path(__file__).resolve().parents[1] / "pcaps"
RULES = ("stormshield.smtp-231", "stormshield.smtp-122")
QUESTION = (
    "Please search your firewall log at 2026-11-22 20:42:11..20:42:17 UTC, src 198.51.100.7 dst 203.0.113.25:25: "
    "SNS l_alarm alarmid=231 or 122; ASA 108004 or 507003; SonicWall m=809"
)


def cut_capture(folder: Path, side: str = "client", inspector: str = "stormshield") -> Path:
    """What the sender's (or the server's) network card sees while a firewall cuts the 8-bit Subject."""
    path = folder / f"{side}.pcap"
    words = ["simulate", str(PCAPS / "subject-8bit.pcap"), "-i", inspector, f"--write-{side}", str(path)]
    assert cli.main([*words, "-o", str(folder / "simulated.txt")]) == 0
    return path


def looked_at(path: Path) -> Diagnosis:
    """The real diagnosis, with dialogue and transaction."""
    made = diagnose(Asked(source=str(path))).diagnosis
    for case in made.cases:
        case.script = case.script or script_of(str(path), case.flow.first_packet)
        if case.script is not None and case.mail is not None and case.mail.tx_id < len(case.script.mails):
            case.transaction = case.script.mails[case.mail.tx_id]
    return made


def by_hand(path: Path) -> Diagnosis:
    """Its one case with every field filled."""
    made = looked_at(path)
    (case,) = made.cases
    fill(case)
    return made


def fill(case: Case) -> None:
    trace, transaction = case.trace, case.transaction
    assert trace is not None and transaction is not None and transaction.text_at is not None
    at = transaction.text_at
    first = next(packet for packet in trace.packets if packet.by_client and packet.at == at and packet.length)
    (hit,) = [alert for alert in case.alerts if alert.rule == RULES[0]][:1] or [None]
    case.observed = case.observed._replace(
        outcome="stalled", phase="databody", stage="after-end-of-data", recipients=1, silence=605.2,
        broken=Break("drop", "middlebox", first.number, at),
        octets_acknowledged=at, text_acknowledged=0,
        timeline=(
            Moment("connect", trace.packets[0].ns, trace.packets[2].ns, 1, "connected"),
            Moment("databody", first.ns, trace.packets[-1].ns, first.number, "message, never acknowledged"),
        ),
        vantage=Vantage("sender", False, (Sign(2, "the server's answers come from 3 hops away"),)),
    )  # fmt: skip
    where = (Sign(first.number, "raw 8-bit byte 0xC3 in Subject"),)
    on_pass = Remedy(
        "firewall", "Let alarm 231 pass for this peer", ("CONFIG PROTOCOL SMTP ALARM 231 action=pass", "ENABLE"),
        "this check for this peer", "send the mail again: 250 after the final dot", "set it back to block",
    )  # fmt: skip
    case.fingerprints = (Fingerprint("stormshield", "ttl-step", "TTL steps by 3 at packet 9", (), (Sign(9, "TTL"),)),)
    case.causes = [
        Cause(rule, "rule", "likely", "8-bit byte in a header", where, (on_pass,), alert=hit) for rule in RULES
    ]
    case.causes += [
        Cause("unknown-filter", "unknown-filter", "possible", "a filter we do not know cut it", rank=1),
        Cause(RULES[0], "rule", "certain", "alarm 231 in the firewall's log at that second", degree="confirmed"),
    ]
    case.against = [
        Against("stormshield.smtp-217", "refuted", "at limit 1000: mails 4 and 9 trip it and were accepted here"),
        Against("zero-window", "ruled-out", "segments of 1,448 bytes were acknowledged before"),
        Against("path-mtu", "ruled-out", "segments of 1,448 bytes were acknowledged before"),
    ]
    case.contrast = [Contrast("raw 8-bit Subject", 3, 0, 0, 112, 0, 38)]
    encode = Remedy("sender", "Encode the Subject (RFC 2047)", (), "", "the Subject is pure ASCII on the wire")
    case.what_if = WhatIf(RULES, True, (encode,))
    case.questions = (QUESTION,)
