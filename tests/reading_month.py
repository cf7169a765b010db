"""A month of a provider's log: what it holds is known, the lines are the models'."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from smtpinspect.mta.base import Cause, Ending, Step
from smtpinspect.mta.registry import SENDERS

BEGIN: Final = 1_767_225_600.0  # 2026-01-01
_DAY: Final = 86_400
_OK: Final = "250 2.0.0 Ok: queued as ABC123"


def postfix(number: int, host: str, ip: str, when: float, size: int, tries: int, step: Step, cause: Cause,
            *, at_last: bool = False, reply: str = "") -> Iterator[tuple[float, str]]:
    """A mail that fails so often, and passes `at_last` or, without tries, at once."""
    model = SENDERS["postfix"]
    mail = model.example._replace(host=host, ip=ip, size=size)
    identity = f"{number:011X}"
    waits = model.attempts(600.0)
    for attempt in range(tries + at_last):
        sent = attempt == tries
        ending = Ending(
            "dot" if sent else step, "sent" if sent else cause, mail, 1.0 if sent or reply else 600.0,
            reply=_OK if sent else reply, written=size, started=when + waits[attempt], more_hosts=False,
        )  # fmt: skip
        head = model.log(ending)[0].split(" postfix/")[0]
        yield ending.ended, f"{head} postfix/qmgr[3199]: {identity}: from=<a@example.org>, size={size}, nrcpt=1 (queue active)"
        for line in model.log(ending):
            yield ending.ended, re.sub(r"5012B21C62A", identity, line)


def lines(days: int = 28, a_day: int = 20) -> list[str]:
    """Six destinations with a trouble of their own each, one with none."""
    found: list[tuple[float, str]] = []
    number = 0
    for day in range(days):
        for each in range(a_day):
            number += 1
            when = BEGIN + day * _DAY + each * 1_800.0
            size = 500 + 977 * (each % 20)
            for host, ip in (("fine.example", "192.0.2.1"), ("content.example", "192.0.2.2"), ("later.example", "192.0.2.4")):
                number += 1
                found += postfix(number, host, ip, when, size, 0, "dot", "sent", at_last=True)
            number += 1
            small = size < 1_400
            found += postfix(number, "mtu.example", "192.0.2.3", when, size, 0 if small else 2, "dot", "timeout", at_last=small)
            number += 1
            second = each % 2
            found += postfix(
                number, "two.example", f"192.0.2.{6 + second}", when, size, second, "greeting", "timeout", at_last=not second
            )
        number += 1
        found += postfix(number, "content.example", "192.0.2.2", BEGIN + day * _DAY, 4_000, 5, "dot", "timeout")
        number += 1
        found += postfix(number, "later.example", "192.0.2.4", BEGIN + day * _DAY, 4_000, 2, "dot", "closed", at_last=True)
        number += 1
        found += postfix(number, "dead.example", "192.0.2.5", BEGIN + day * _DAY, 4_000, 4, "connect", "timeout")
        number += 1
        found += postfix(
            number, "grey.example", "192.0.2.8", BEGIN + day * _DAY, 4_000, 1, "rcpt", "reply", at_last=True,
            reply="451 4.7.1 try later",
        )  # fmt: skip
        if day >= days // 2:
            number += 1
            found += postfix(number, "began.example", "192.0.2.9", BEGIN + day * _DAY, 9_000, 3, "body", "timeout")
        number += 1
        found += postfix(number, "began.example", "192.0.2.9", BEGIN + day * _DAY, 9_000, 0, "dot", "sent", at_last=True)
    found.sort(key=lambda pair: pair[0])
    return [line for _, line in found]
