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
    mail = model.example._replace(host=host, ip=ip, size=size, recipients=(f"u@{host}",))
    identity = f"{number:011X}"
    waits = model.attempts(600.0)
    for attempt in range(tries + at_last):
        sent = attempt == tries
        ending = Ending(
            "dot" if sent else step, "sent" if sent else cause, mail, 1.0 if sent or reply else 600.0,
            reply=_OK if sent else reply, written=size, started=when + waits[attempt], more_hosts=False,
        )  # fmt: skip
        head = model.log(ending)[0].split(" postfix/")[0]
        queued = f"from=<a@example.org>, size={size}, nrcpt=1 (queue active)"
        yield ending.ended, f"{head} postfix/qmgr[3199]: {identity}: {queued}"
        for line in model.log(ending):
            yield ending.ended, re.sub(r"5012B21C62A", identity, line)


def lines(days: int = 28, a_day: int = 20) -> list[str]:
    """Destinations with a trouble of their own each, one with none."""
    found: list[tuple[float, str]] = []

    def mail(host: str, ip: int, when: float, size: int, tries: int, step: Step, cause: Cause, at_last: bool) -> None:
        number = len(found) + 1
        reply = "451 4.7.1 try later" if cause == "reply" else ""
        address = f"192.0.2.{ip}"
        found.extend(postfix(number, host, address, when, size, tries, step, cause, at_last=at_last, reply=reply))

    for day in range(days):
        start = BEGIN + day * _DAY
        for each in range(a_day):
            when, size = start + each * 1_800.0, 500 + 977 * (each % 20)
            for ip, host in enumerate(("fine.example", "content.example", "later.example"), 1):
                mail(host, ip, when, size, 0, "dot", "sent", True)
            small, second = size < 1_400, each % 2
            mail("mtu.example", 4, when, size, 0 if small else 2, "dot", "timeout", small)
            mail("two.example", 5 + second, when, size, second, "greeting", "timeout", not second)
        mail("content.example", 2, start, 4_000, 5, "dot", "timeout", False)
        mail("later.example", 3, start, 4_000, 2, "dot", "closed", True)
        mail("dead.example", 7, start, 4_000, 4, "connect", "timeout", False)
        mail("grey.example", 8, start, 4_000, 1, "rcpt", "reply", True)
        mail("began.example", 9, start, 9_000, 0, "dot", "sent", True)
        if day >= days // 2:
            mail("began.example", 9, start, 9_000, 3, "body", "timeout", False)
    found.sort(key=lambda pair: pair[0])
    return [line for _, line in found]
