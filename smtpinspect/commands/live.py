"""`smtpinspect live`: what happens to each mail on an interface, and what would behind each firewall."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from smtpinspect.commands.arguments import number, outputs, parser_of
from smtpinspect.commands.console import PROG
from smtpinspect.commands.reporting import (
    LOGS,
    Job,
    endings,
    engine_of,
    feed,
    formats,
    matched_page,
    print_page,
    report_eve,
    report_log,
    summary_of,
)
from smtpinspect.errors import UsageError
from smtpinspect.grammar import limits

if TYPE_CHECKING:
    from smtpinspect._core.keep import Kept
    from smtpinspect._core.ring import Ring
    from smtpinspect.engine import Engine

MOST_BLOCKS: Final = 4096  # MiB of a ring
DRAWN: Final = 0.5  # seconds between two status lines
SIGNALS: Final = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)

LIVE_HELP: Final = """\
IFACE is an interface's name, or any: all of them. Formats, inspectors and the
words of the reports are those of `smtpinspect replay --help`. With text, the
report is printed at the end; with the others, each record is written within a
second. It sends nothing. Linux only.

What is let in: TCP of the server ports (25, 587, 465, 2525, those of --port and
of configurations), IP fragments, and frames with two VLAN tags; VLAN tags do
not matter. --filter takes another choice in tcpdump's language (man
pcap-filter), which libpcap compiles: let fragments in, too, where there are
any ("port 25 or (ip[6:2] & 0x1fff != 0)"), and tagged frames where the
interface does not take the tags out ("port 25 or (vlan and port 25)").
--filter '' lets everything in; SMTP is then found on any port.

--write FILE keeps the packets of connections that a chosen inspector would
break, each when it is over, one after the other: `smtpinspect replay FILE`
gives the same verdicts. Kept in memory meanwhile: 64 MiB of a connection,
256 MiB in all; what was not kept whole is told at the end.

Capturing needs root, or CAP_NET_RAW. Frames that the kernel dropped, since
nobody read fast enough, are told at the end, in the stats of eve, and once
while it happens; --buffer makes room for bursts. A mail with dropped frames has
`gap` among its confidence.

Ctrl-C, SIGTERM, SIGHUP, --count and --seconds end it: what is in the ring is
read, what is open ends there, all is written, and the exit status is 0.

examples:
  smtpinspect live eth0
  smtpinspect live any --format eve -i mailguard:asa-8 | jq .
  smtpinspect live eth0 -i stormshield --write broken.pcap --seconds 3600
  smtpinspect live eth0 --filter 'host 192.0.2.25 and port 25'

exit status: 0 done; 1 --fail-on matched; 2 wrong usage, or no permission;
3 the interface vanished (what was read has been reported); 130 stopped by a
second Ctrl-C, while it was ending
"""


def run(words: list[str]) -> int:
    """Run `smtpinspect live` with these words; its exit status."""
    parser = parser_of("live", "Reads what passes an interface and reports; sends nothing.", LIVE_HELP)
    parser.add_argument("interface", metavar="IFACE", help="an interface, or any")
    outputs(parser)
    formats(parser)
    parser.add_argument("--filter", metavar="BPF", help="what to let in (default: the server ports)")
    parser.add_argument("--write", metavar="FILE", help="keep the packets of mails that would break (pcap)")
    parser.add_argument("--count", "-c", type=number(1, 1 << 62), metavar="N", help="end after so many packets")
    parser.add_argument("--seconds", type=number(1, 1 << 31), metavar="N", help="end after so many seconds")
    parser.add_argument(
        "--buffer",
        type=number(1, MOST_BLOCKS),
        default=limits.LIVE_RING,
        metavar="MIB",
        help=f"room for packets that were not read yet ({limits.LIVE_RING})",
    )
    parser.add_argument(
        "--no-promiscuous", "-p", action="store_true", help="only what is sent to this machine, or by it"
    )
    endings(parser, "many mails at once")
    given = parser.parse_intermixed_args(words)
    if given.write and given.out and os.path.realpath(given.write) == os.path.realpath(given.out):
        raise UsageError(f"--write {given.write}: that is where -o writes")
    engine = engine_of(given)
    live = Live(engine, given)
    with live:
        if given.format == "text":
            summary = summary_of(engine, given)
            summary.begin("", "")
            with live.line(engine, None):
                status = feed(engine, live, summary)
            print_page(engine, given, summary)
            status = status or matched_page(summary, given.fail_on)
        else:
            status = (report_log if given.format in LOGS else report_eve)(engine, given, live)
    live.tell()
    return status


class Live(Job):
    """An interface while it is read: its end, its warnings, its status line and the packets that are kept."""

    def __init__(self, engine: Engine, given: argparse.Namespace) -> None:
        """Opens it: what is wrong is told before anything is written. Raises UsageError."""
        from smtpinspect.source.live import open_live

        self.name = given.interface
        self.given = given
        self.warned: set[str] = set()
        self.handlers: dict[signal.Signals, Any] = {}
        self.opened: Ring | None = None
        self.kept: Kept | None = None
        self.file: BinaryIO | None = None
        self.begun = time.monotonic()
        self.down = False
        self.status: Status | None = None
        self._listen()
        try:
            self.opened = open_live(
                given.interface,
                engine.ports,
                expression=given.filter,
                mebibytes=given.buffer,
                promiscuous=not given.no_promiscuous,
                most=given.count or 0,
            )
            if "signal" in self.warned:
                self.opened.stop()
            self._keep()
        except BaseException:
            self._listen_no_more()
            raise

    @property
    def ring(self) -> Ring:
        assert self.opened is not None
        return self.opened

    def _keep(self) -> None:
        given = self.given
        if given.write:
            from smtpinspect._core.keep import Kept, file_header

            self.file = _opened(given.write)
            self.kept = Kept(self.ring)
            self.file.write(file_header(self.ring.linktype))
            self.file.flush()

    def source(self) -> Ring | Kept:
        return self.kept or self.ring

    def __enter__(self) -> None:
        pass

    def __exit__(self, *failure: object) -> None:
        self._listen_no_more()
        self.ring.close()
        if self.file is not None:
            with self.file:
                self._write()

    def _listen(self) -> None:
        """The first signal ends the capture, Ctrl-C behind one everything. From before the first frame can come."""

        def stop(signal_number: int, frame: object) -> None:
            if "signal" in self.warned and signal_number == signal.SIGINT:
                raise KeyboardInterrupt
            self.warned.add("signal")
            if self.opened is not None:
                self.opened.stop()

        with suppress(ValueError):  # not the main thread: nobody interrupts this one
            for each in SIGNALS:
                self.handlers[each] = signal.signal(each, stop)

    def _listen_no_more(self) -> None:
        for each, handler in self.handlers.items():
            signal.signal(each, handler)
        self.handlers.clear()

    def interruptible(self, engine: Engine) -> AbstractContextManager[None]:
        return nullcontext()

    @contextmanager
    def _shown(self, engine: Engine) -> Iterator[None]:
        self.status = Status(self.name)
        try:
            yield
        finally:
            self.status.clear()
            self.status = None

    def line(self, engine: Engine, out: BinaryIO | None) -> AbstractContextManager[object]:
        if sys.stderr is None or not sys.stderr.isatty() or (out is not None and out.isatty()):
            return super().line(engine, out)
        return self._shown(engine)

    def tick(self, engine: Engine) -> None:
        self._write()
        if self.given.seconds and time.monotonic() - self.begun >= self.given.seconds:
            self.ring.stop()
        if self.ring.down != self.down:
            self.down = self.ring.down
            self.say(f"{self.name} is down; waiting until it is up" if self.down else f"{self.name} is up again")
        dropped = self.ring.counts[1]
        if dropped and "dropped" not in self.warned:
            self.warned.add("dropped")
            self.say(f"{self.name}: the kernel drops packets, since they come faster than they are read; mails with "
                     "holes say so. --buffer, --filter and fewer inspectors help")
        if self.ring.merged and "merged" not in self.warned:
            self.warned.add("merged")
            self.say(f"{self.name}: packets larger than it sends: they were put together before the capture. Rules "
                     f"about segments then see others than the wire had: {_ethtool(self.name)}")
        if self.status is not None:
            self.status.draw(engine, dropped)

    def _write(self) -> None:
        if self.kept is not None and self.file is not None and (records := self.kept.taken()):
            self.file.write(records)
            self.file.flush()

    def say(self, text: str) -> None:
        if self.status is not None:
            self.status.clear()
        if sys.stderr is not None:
            print(f"{PROG}: {text}", file=sys.stderr)

    def tell(self) -> None:
        """What the packets came to, for a person."""
        received, dropped, freezes = self.ring.counts
        text = f"{self.name}: {received:,} packets received, {dropped:,} dropped by the kernel"
        self.say(text + (f" ({freezes:,} times nothing was free)" if freezes else ""))
        if self.kept is not None:
            n, cut = self.kept.connections, self.kept.cut
            more = f", {cut:,} of them not whole (limits: smtpinspect live --help)" if cut else ""
            self.say(f"{self.given.write}: {n:,} connection{'' if n == 1 else 's'} that would break{more}")


class Status:
    """One line on standard error that is drawn over itself."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.at = time.monotonic()
        self.packets = 0
        self.drawn = False

    def draw(self, engine: Engine, dropped: int) -> None:
        now = time.monotonic()
        if self.drawn and now - self.at < DRAWN:
            return
        _, _, packets, mails, alerts = engine.progress
        rate = (packets - self.packets) / max(now - self.at, 0.001)
        self.at, self.packets, self.drawn = now, packets, True
        text = f"{self.name}  {rate:,.0f} packets/s  {mails:,} mails  {alerts:,} alerts  {dropped:,} dropped"
        print(f"\r{text}\x1b[K", end="", file=sys.stderr, flush=True)

    def clear(self) -> None:
        if self.drawn:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
            self.drawn = False


def _opened(path: str) -> BinaryIO:
    try:
        return open(path, "wb")
    except OSError as error:
        raise UsageError(f"--write {path}: cannot be written: {error.strerror}") from None


def _ethtool(name: str) -> str:
    from smtpinspect.source.live import ANY

    return f"ethtool -K {'IFACE' if name == ANY else name} gro off lro off gso off tso off"
