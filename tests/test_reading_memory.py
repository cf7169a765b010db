"""Logs of any length: what a reader remembers of its lines has an end."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable

import pytest

from smtpinspect.diagnose.reading.dispatch import LogReader
from smtpinspect.grammar import limits

LINES = 4_500  # more than any table of phrases remembers
SPARE = 500_000  # octets: a line that were kept would take some hundred


def _sendmail(n: int) -> str:
    return (
        f"Mar  3 10:00:00 mx sm-mta[9]: 0AB{n:09d}: to=<u{n}@example.net>, delay=00:00:01, xdelay=00:00:01, "
        "mailer=esmtp, pri=120000, relay=mx.example.net. [203.0.113.9], dsn=2.0.0, "
        f"stat=Sent (ok qp {n} queued as {n:012x})"
    )


def _postfix(n: int) -> str:
    return (
        f"Mar  3 10:00:00 mx postfix/smtp[9]: {n:010X}: to=<u{n}@example.net>, relay=mx.example.net[203.0.113.9]:25, "
        "delay=1, delays=0/0/0/1, dsn=4.0.0, status=deferred (host mx.example.net[203.0.113.9] said: 451 later "
        f"{n:012x} (in reply to end of DATA command))"
    )


@pytest.mark.parametrize("line", [_sendmail, _postfix])
def test_a_log_that_goes_on_takes_no_more_memory(line: Callable[[int], str]) -> None:
    reader = LogReader()
    told = 0
    tracemalloc.start()
    try:
        for n in range(LINES):
            told += len(list(reader.feed(line(n))))
        before = tracemalloc.get_traced_memory()[0]
        for n in range(LINES, 2 * LINES):
            told += len(list(reader.feed(line(n))))
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert told == 2 * LINES
    assert grown < SPARE


def test_attempts_whose_last_line_never_comes_are_told_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several servers were tried in vain for each mail: it is the attempts that are counted, not the mails."""
    monkeypatch.setattr(limits, "MAIL_LOG_PENDING", 10)
    reader = LogReader()
    told = 0
    for n in range(30):
        mail = f"2026-03-03 10:00:00 1vN4Xk-{n // 3:011d}-2cde"
        told += len(list(reader.feed(f"{mail} H=mx{n % 3}.example.net [203.0.113.{n}]: SMTP timeout after DATA")))
        assert n + 1 - told <= 10
    assert told + len(list(reader.rest())) == 30
