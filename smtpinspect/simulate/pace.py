"""When one end sends what, and when again: round-trip times, time-outs, the congestion window."""

from __future__ import annotations

from typing import Final, Literal

from smtpinspect.simulate.clock import MILLISECOND
from smtpinspect.simulate.stack import Stack

SLACK: Final = 2 * MILLISECOND  # TCP_TIMEOUT_MIN, on top of a probe's two round trips


class Pace:
    """RFC 6298 (time-outs), RFC 8985 7 (tail loss probe), slow start of RFC 5681; times in nanoseconds."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.window = stack.first_window  # congestion window, segments
        self.rto = stack.first_rto
        self.backoffs = 0  # time-outs in a row
        self.dupacks = 0
        self.recover = 0  # what is lost lies before this sequence number
        self.probe_end = 0  # a tail loss probe is out until this is acknowledged
        self.first_again = -1  # when the first retransmission was sent
        self.srtt = self.var = 0

    def sample(self, took: int) -> None:
        """A round trip (RFC 6298 2.2, 2.3)."""
        if self.srtt:
            self.var += (abs(self.srtt - took) - self.var) // 4
            self.srtt += (took - self.srtt) // 8
        else:
            self.srtt, self.var = max(took, 1), took // 2
        self.forgive()

    def forgive(self) -> None:
        """Something new was acknowledged: the time-out is what the round trips say."""
        self.backoffs = 0
        if self.srtt:
            self.rto = min(self.srtt + max(self.stack.min_rto, 4 * self.var), self.stack.max_rto)

    def next(self, segments: int, una: int, sack: bool) -> tuple[Literal["probe", "timeout"], int]:
        """What comes if nothing is acknowledged, and after how long."""
        calm = not self.backoffs and not self.probe_end and una >= self.recover
        if not (sack and calm and self.srtt):
            return "timeout", self.rto
        wait = 2 * self.srtt + (self.stack.min_rto if segments == 1 else SLACK)
        return "probe", min(wait, self.rto)

    def advanced(self, ack: int, acked: int) -> bool:
        """Acknowledged: so many segments. Is what was lost made good?"""
        self.dupacks = 0
        if ack >= self.probe_end:
            self.probe_end = 0
        whole = ack >= self.recover
        if whole:
            self.first_again = -1
        # Commands that were acknowledged one by one have opened it, too (measured: 10 + 4 at the text).
        self.window += acked
        return whole

    def duplicate(self, una: int, nxt: int) -> bool:
        """A duplicate acknowledgment; is it the one that tells of a loss? (RFC 5681 3.2)"""
        self.dupacks += 1
        if self.dupacks != 3 or una < self.recover:
            return False
        self.recover = nxt
        self.window = max(self.window // 2, 2)
        return True

    def expired(self, nxt: int) -> None:
        """A time-out: one segment, and twice the time until the next one."""
        self.backoffs += 1
        self.recover = nxt
        self.window = 1
        self.back_off()

    def back_off(self) -> None:
        self.rto = min(2 * self.rto, self.stack.max_rto)

    def hopeless(self, now: int, orphan: bool) -> bool:
        """Has it been sent again for so long that the kernel gives up?"""
        retries = self.stack.orphan_retries if orphan else self.stack.retries
        return self.first_again >= 0 and now - self.first_again >= self.stack.death(retries)
