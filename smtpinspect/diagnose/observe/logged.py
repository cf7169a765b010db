"""A capture that ends too early, and the sender's own log of the same mail, which tells how it went on."""

from __future__ import annotations

from typing import Final

from smtpinspect.diagnose.account import Account
from smtpinspect.diagnose.model import Break, BreakKind, Case, Observed, Reading
from smtpinspect.diagnose.observe.outcome import OUTCOMES
from smtpinspect.grammar import limits
from smtpinspect.mta import registry
from smtpinspect.simulate.clock import SECOND
from smtpinspect.simulate.observed import STEPS

OTHERS: Final[tuple[BreakKind, ...]] = ("rst", "fin", "reply")
SHOWN: Final = limits.STALL_NS / SECOND  # seconds: a silence that the capture shows itself
LONGEST: Final = 3_660.0  # no sender waits longer (Sendmail's Timeout.datafinal); more is another time zone
RAISED: Final = 2  # times its default, to which an administrator may have raised a timer; more is another attempt


def logged(case: Case) -> Observed | None:
    """What was observed, with the end that the log tells; None where the capture holds the end, or the log is about
    another place.

    Nobody closes in the capture, and a reply is waited for; who kept silent stays as it was.
    """
    seen = case.observed
    account = case.account
    if account is None or seen.broken.kind != "drop" or seen.phase is None or account.closed is not None:
        return None
    for reading in case.log_lines:
        if reading.side != "sender" or not reading.failed or seen.phase not in reading.phases:
            continue
        kind = reading.break_kind
        silence = _silence(account, reading, seen.phase)
        if kind == "drop" and silence is not None and seen.silence < SHOWN:
            return seen._replace(outcome="stalled", silence=silence, by_log=True)
        ended = next((each for each in OTHERS if each == kind), None)
        if ended is not None and seen.broken.by == "unknown":
            broken = Break(ended, "unknown", None, seen.broken.at, seen.broken.signs)
            reply = reading.reply if ended == "reply" else ""
            return seen._replace(outcome=OUTCOMES[ended], broken=broken, reply=reply or seen.reply, by_log=True)
    return None


def _silence(account: Account, reading: Reading, phase: str) -> float | None:
    """Seconds between the last packet that came from the server and the end that the log tells."""
    packets = account.packets
    heard = max((p.ns for p in packets if not p.by_client), default=packets[0].ns) / SECOND
    begun = packets[0].ns / SECOND
    told = []
    if reading.seconds is not None:
        told.append(reading.seconds - (heard - begun))
    if reading.when is not None:
        told.append(reading.when - heard)
    fitting = [each for each in told if 1 <= each <= _longest(reading, phase)]  # a log counts whole seconds
    return float(round(fitting[0])) if fitting else None


def _longest(reading: Reading, phase: str) -> float:
    """Seconds that this server may have waited there."""
    sender, step = registry.SENDERS.get(reading.mta), STEPS.get(phase)
    timers = sender.timers if sender is not None else ()
    defaults = [timer.seconds for timer in timers if step in timer.steps]
    return min(LONGEST, RAISED * max(defaults)) if defaults else LONGEST
