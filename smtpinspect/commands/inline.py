"""`smtpinspect inline`: the rules of one firewall, enforced upon what passes this machine."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, BinaryIO, Final, TextIO

from smtpinspect.commands.arguments import PORTS, number, parser_of
from smtpinspect.commands.console import DONE, PROG, binary, columns, complain
from smtpinspect.errors import UsageError

if TYPE_CHECKING:
    from smtpinspect.enforce.firewall import Fate
    from smtpinspect.enforce.inline import Inline

LOGS: Final = ("asa", "stormshield", "sonicwall")
INLINE_HELP: Final = """\
INSPECTOR is NAME[:PROFILE][,key=value]... as for replay (smtpinspect replay
--help); exactly one. A laboratory firewall: it drops, rewrites, answers and
resets for real what passes this machine. Linux, root, and the Python package
NetfilterQueue (pip install 'smtpinspect[inline]'; on Debian it needs
apt install build-essential python3-dev libnetfilter-queue-dev).

The kernel must send the packets here: --print-rules prints the commands for
iptables and nft, to begin and to end; they are printed at start, too. Packets
of other ports, and what is no TCP, better stay out of the queue; they pass.

--fail open (default): packets pass as they are where the program cannot decide:
an error in a rule, the kernel's queue full, and, by --queue-bypass in the
rules, no program at the queue. --fail closed: they are dropped; then nothing
passes while the program is not running, either.

What the firewall sends by itself leaves this machine marked (--mark), so that
rules in OUTPUT do not queue it again. After `local-ok` the two ends count
differently: where connection tracking drops INVALID packets, set
net.netfilter.nf_conntrack_tcp_be_liberal=1. The kernel cuts packets that were
merged (GRO, TSO) before it queues them, so offloads may stay on; of packets
above 4,016 bytes (jumbo frames) the queue gives a part only, and they pass
unread: keep the MTU at 1500.

--at PHASE --break KIND breaks each flow at a phase, instead of -i.

examples:
  smtpinspect inline --queue 5 --print-rules
  smtpinspect inline --queue 5 -i mailguard:pix-6
  smtpinspect inline --queue 5 -i stormshield,217.action=pass --format eve
  smtpinspect inline --queue 5 -i sonicwall --fail closed -o fired.log
  smtpinspect inline --queue 5 --at dot --break rst

exit status: 0 ended by Ctrl-C or SIGTERM; 2 wrong usage, no permission, or no
queue; 130 stopped by a second Ctrl-C
"""


def run(words: list[str]) -> int:
    """Run `smtpinspect inline` with these words; its exit status."""
    from smtpinspect.enforce import inline

    parser = parser_of("inline", "Enforces one firewall's rules upon packets of an NFQUEUE.", INLINE_HELP)
    parser.add_argument(
        "--queue", type=number(0, 65_535), required=True, metavar="N", help="the queue of the kernel's rules"
    )
    parser.add_argument("-i", dest="inspector", metavar="INSPECTOR", action="append", help="the firewall to emulate")
    parser.add_argument(
        "--at",
        metavar="PHASE",
        help="break each flow there: connect, greeting, ehlo, mail, rcpt, datacmd, reply354, databody, datamid, dot, "
        "dotreply, quit",
    )
    parser.add_argument(
        "--break", dest="kind", choices=("drop", "rst", "fin"), help="how to break it: silence, RSTs or FINs"
    )
    parser.add_argument(
        "--octets", type=number(0, 1 << 40), metavar="N", help="of the text, before --at datamid breaks"
    )
    parser.add_argument(
        "--fail",
        choices=("open", "closed"),
        default="open",
        help="what happens to packets that cannot be judged (open)",
    )
    parser.add_argument(
        "--max-held",
        type=number(0, 1 << 30),
        metavar="OCTETS",
        help="of one side of a connection, that wait for a decision (262144)",
    )
    parser.add_argument(
        "--queue-length",
        type=number(1, 1 << 20),
        default=inline.QUEUE,
        metavar="N",
        help=f"packets that the kernel keeps ({inline.QUEUE})",
    )
    parser.add_argument(
        "--chain",
        choices=("FORWARD", "INPUT", "OUTPUT"),
        action="append",
        help="for the printed rules, may be repeated (FORWARD): INPUT and OUTPUT for a mail server on this machine",
    )
    parser.add_argument("--mark", type=_mark, metavar="N", help="of packets that the firewall makes (0x534d5450)")
    parser.add_argument("--print-rules", action="store_true", help="print the commands for iptables and nft, and end")
    parser.add_argument(
        "--format",
        choices=("text", "eve", *LOGS),
        default="text",
        help="what fires, at once: lines for people; eve, with mails and flows when they are over; the product's log",
    )
    parser.add_argument("-o", dest="out", metavar="FILE", help="write it there, not to standard output")
    parser.add_argument(
        "--port", type=number(1, 65_535), action="append", metavar="N", help="server port, may be repeated"
    )
    parser.add_argument("--show-secrets", action="store_true", help="do not mask what AUTH carries")
    given = parser.parse_args(words)

    mark = inline.MARK if given.mark is None else given.mark
    ports = tuple(given.port or PORTS)
    commands = inline.rules(given.queue, ports, given.fail, given.chain or ("FORWARD",), mark)
    if given.print_rules:
        print(commands)
        return DONE
    box = _box(given, ports)
    with binary(given.out) as out:
        fired = Fired(given, box, out)
        made = inline.Inline(box, given.queue, fail=given.fail, length=given.queue_length, mark=mark, told=fired.take)
        try:
            with _signals(made), Status(given, out) as status:
                _say(f"queue {given.queue}: {_named(given)}, fail {given.fail}", commands)
                if given.fail == "open" and not made.fails_open:
                    _say("the kernel does not let packets pass that find the queue full; they are dropped")
                made.run(lambda each: _tick(each, fired, status))
        finally:
            made.close()
        fired.finish()
        _report(made, fired)
    return DONE


def _tick(made: Inline, fired: Fired, status: Status) -> None:
    fired.tick()
    status.draw(made, fired.alerts)


def _mark(text: str) -> int:
    with suppress(ValueError):
        if 0 < int(text, 0) < 1 << 32:
            return int(text, 0)
    raise argparse.ArgumentTypeError(f"{text!r} is no mark: a number from 1 to 0xffffffff")


def _named(given: argparse.Namespace) -> str:
    return f"break at {given.at} by {given.kind}" if given.at else str(given.inspector[0])


def _box(given: argparse.Namespace, ports: tuple[int, ...]) -> Any:
    """The firewall, or what breaks at a phase. Raises UsageError."""
    if bool(given.at) == bool(given.inspector):
        raise UsageError("one of -i INSPECTOR and --at PHASE --break KIND is wanted")
    if bool(given.at) != bool(given.kind):
        raise UsageError("--at and --break belong together")
    if given.at:
        from smtpinspect.enforce.at import box_at

        more = {} if given.octets is None else {"octets": given.octets}
        return box_at(given.at, given.kind, **more)
    if len(given.inspector) > 1:
        raise UsageError("inline takes one -i: a flow passes one firewall")
    from smtpinspect.enforce.firewall import Firewall
    from smtpinspect.enforce.flow import HELD

    held = HELD if given.max_held is None else given.max_held
    return Firewall(given.inspector[0], ports=ports, secrets=given.show_secrets, held=held)


class Fired:
    """What fires, written at once in the form that was asked for."""

    def __init__(self, given: argparse.Namespace, box: Any, out: BinaryIO) -> None:
        self.form = given.format
        self.out = out
        self.alerts = 0
        self.begun = time.monotonic()
        self.watch = getattr(box, "watch", None)
        self._line: Callable[[Any], str] | None = None
        self._log: Any = None
        self._eve: Any = None
        if self.form == "text":
            from smtpinspect.report.fired_text import line_of
            from smtpinspect.report.terminal import Style

            terminal = given.out is None and sys.stdout is not None and sys.stdout.isatty()
            style = Style(terminal and _colour(sys.stdout))
            self._line = lambda alert: line_of(alert, style, columns() if terminal else None) + "\n"
        elif self.watch is None:
            raise UsageError(f"--format {self.form}: --at connect fires no rule")
        elif self.form == "eve":
            from smtpinspect._core.eve import EveSink

            self._eve = EveSink(self.watch.program, out)
            self.watch.tell(self._eve)
        else:
            from smtpinspect.engine import Engine
            from smtpinspect.report.vendor_logs import PRODUCTS, VendorLog

            if PRODUCTS[self.form] != self.watch.inspector.name:
                raise UsageError(f"--format {self.form} writes the log of {PRODUCTS[self.form]}")
            self._log = VendorLog(Engine([self.watch.inspector]), self.form)

    def take(self, fate: Fate) -> None:
        """Write what a packet fired."""
        if fate.alerts:
            self.write(fate.alerts)

    def write(self, alerts: tuple[Any, ...]) -> None:
        """Write these alerts."""
        self.alerts += len(alerts)
        if self._line:
            for alert in alerts:
                self.out.write(self._line(alert).encode("utf-8", "backslashreplace"))
        elif self._log:
            for line in self._log.at_once(alerts):
                self.out.write(line.encode("ascii", "backslashreplace"))
        self.tick()

    def tick(self) -> None:
        """What is written, is there."""
        if self._eve:
            self._eve.drain()
        self.out.flush()

    def finish(self) -> None:
        """What only the end tells."""
        if self.watch is None:
            return
        self.watch.finish()
        if late := self.watch.fired():
            self.write(late)
        if self._eve:
            from smtpinspect.engine import Stats

            watch = self.watch
            seconds = round(time.monotonic() - self.begun, 6)
            self._eve.stats(
                Stats(watch.packets, watch.octets, watch.connections, watch.mails, watch.counts, seconds, None)
            )
        self.out.flush()


def _colour(out: TextIO) -> bool:
    from smtpinspect.report.terminal import wants_colour

    return wants_colour(out)


class Status:
    """One line on standard error that is drawn over itself, for a person only."""

    def __init__(self, given: argparse.Namespace, out: BinaryIO) -> None:
        self.name = f"queue {given.queue}"
        # where lines of text go to the same terminal, they tell enough
        own = given.out is None and sys.stdout is not None and sys.stdout.isatty()
        self.on = sys.stderr is not None and sys.stderr.isatty() and not own
        self.drawn = 0

    def __enter__(self) -> Status:
        return self

    def __exit__(self, *failure: object) -> None:
        if self.drawn:
            print("\r" + " " * self.drawn + "\r", end="", file=sys.stderr, flush=True)

    def draw(self, made: Inline, alerts: int) -> None:
        """Draw it anew."""
        if not self.on:
            return
        counts = made.counts
        text = f"{self.name}: {counts.seen:,} packets, {alerts:,} alerts, {counts.edited:,} changed, "
        text += f"{counts.dropped:,} dropped"
        if counts.errors:
            text += f", {counts.errors:,} errors"
        text = text[: columns() - 1]
        print("\r" + text.ljust(self.drawn), end="", file=sys.stderr, flush=True)
        self.drawn = len(text)


@contextmanager
def _signals(made: Inline) -> Iterator[None]:
    """The first Ctrl-C or SIGTERM ends the queue, a second Ctrl-C everything."""
    seen: list[int] = []

    def stop(signal_number: int, frame: object) -> None:
        if seen and signal_number == signal.SIGINT:
            raise KeyboardInterrupt
        seen.append(signal_number)
        made.stop()

    before = {}
    with suppress(ValueError):  # not the main thread: nobody interrupts this one
        for each in (signal.SIGINT, signal.SIGTERM):
            before[each] = signal.signal(each, stop)
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def _say(text: str, more: str = "") -> None:
    if sys.stderr is not None:
        print(f"{PROG}: {text}" + (f"\n{more}" if more else ""), file=sys.stderr, flush=True)


def _report(made: Inline, fired: Fired) -> None:
    from smtpinspect.enforce.inline import described
    from smtpinspect.report.fired_text import counters

    counts = fired.watch.counts if fired.watch else {}
    _say(f"queue {made.queue} is over", "\n".join(counters(described(made), counts)))
    if not made.counts.seen:
        _say("no packet came: are the rules in force? --print-rules prints them")
    if made.error is not None:
        complain(f"the first error: {made.error!r}", DONE)
