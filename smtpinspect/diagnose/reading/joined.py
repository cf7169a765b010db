"""Which lines of a mail server's log are about which mail of a capture."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from smtpinspect.diagnose.model import Case, Reading
from smtpinspect.simulate.clock import SECOND

ZONE: Final = 900  # seconds: a log without a zone is off by a multiple of a quarter of an hour
NEAR: Final = 30  # seconds that a line may come behind the end of its attempt


def join(cases: Iterable[Case], readings: Sequence[Reading]) -> None:
    """Fill in `case.log_lines`: lines with this server's address and, where they name one, this mail's recipient.

    Where a line has a time, it lies behind the beginning of the connection and near its end, or off by a time zone.
    """
    by_address: dict[str, list[Reading]] = {}
    for reading in readings:
        if reading.ip:
            by_address.setdefault(reading.ip, []).append(reading)
    for case in cases:
        address = case.path[1]
        recipients = {each.lower() for each in case.mail.rcpt_to} if case.mail is not None else set()
        found = [
            reading for reading in by_address.get(address, ())
            if (not reading.recipient or not recipients or reading.recipient.lower() in recipients)
            and _fits(case, reading)
        ]  # fmt: skip
        case.log_lines = tuple(found)


def _fits(case: Case, reading: Reading) -> bool:
    if reading.when is None:
        return True
    begin, end = case.flow.start_ns / SECOND, case.flow.end_ns / SECOND
    if begin - NEAR <= reading.when <= end + NEAR:
        return True
    off = (reading.when - end) % ZONE
    return abs(reading.when - end) <= 15 * 3600 and min(off, ZONE - off) <= NEAR
