"""`smtpinspect bench`: how fast a capture is read, and what each inspector and rule costs."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

import smtpinspect
from smtpinspect.commands.arguments import PORTS, inspectors_of, number, openable, parser_of, sources
from smtpinspect.commands.console import DONE, STOPPED, check_output, complain, text_out, unreadable, write_json
from smtpinspect.errors import UsageError
from smtpinspect.grammar.limits import THREADS

if TYPE_CHECKING:
    from smtpinspect.measure import Bench

HELD: Final = 320_000_000  # octets of what can be read only once: more than measure.PART with the records' headers

BENCH_HELP: Final = """\
How it is measured: the capture is read again and again, with and without what
is to be told; a cost is the difference. All take short turns, so that a slow
spell of the machine meets all, and medians of processor time count. Each
inspector and each rule runs alone; those that share work are each charged with
all of it, so that they do not add up. What is smaller than the noise, which is
measured too, is told as less than that.

Of a long capture the first part is measured (what 0.05 s of one pass read), so
that all takes about a minute. Standard input, which cannot be read twice, is
kept in memory: its first 320 MB.

--json prints one object. Its keys:
  smtpinspect    the version
  gb_per_second, packets_per_second, mails_per_second
                 all rules, records written; clock on the wall; GB are 10^9
                 bytes of packets
  gb_per_second_without_rules    nor records
  packets octets connections mails whole    of what was measured; is it all?
  seconds cpu_seconds            of one pass; medians of so many `runs`
  stages         [{stage, share, ns_per_kb, ns_per_mail}], shares of 1:
                 reading frames dialogue attachments rules records
  inspectors     [{inspector, profile, rules, alerts, ns_per_kb, ns_per_mail}]
  together       {alerts, ns_per_kb, ns_per_mail} of all inspectors
  rules          [{rule, inspector, alerts, ns_per_kb, ns_per_mail}]
  noise          {ns_per_kb, ns_per_mail}: a smaller cost is told as 0
  captures truncated             as given; why not read to the end, or null
null: not measured, or without mails.

examples:
  smtpinspect bench mail.pcap
  smtpinspect bench mail.pcap -i sonicwall -i stormshield:high --all
  smtpinspect bench --whole --runs 5 mail.pcap
  smtpinspect bench --json mail.pcap | jq '.rules[:5]'

exit status: 0 done; 2 wrong usage or configuration; 3 a capture could not be
read to its end, or is none (what was read has been measured); 130 stopped by
Ctrl-C (what was measured is told)
"""


def run(words: list[str]) -> int:
    """Run `smtpinspect bench` with these words; its exit status."""
    parser = parser_of(
        "bench", "How fast a capture is read, and what each inspector and each rule costs.", BENCH_HELP
    )
    sources(parser, secrets=False)
    inspectors_of(parser)
    parser.add_argument("--json", action="store_true", help="one object, not a page")
    parser.add_argument("--all", action="store_true", help="list all rules, those too small to be measured, too")
    parser.add_argument(
        "--runs",
        type=number(1, 10_000),
        metavar="N",
        help="runs of which medians count (15; fewer on a machine that is busy)",
    )
    parser.add_argument("--whole", action="store_true", help="measure all of a long capture")
    parser.add_argument("--threads", type=number(1, THREADS), default=1, metavar="N", help="as replay has them (1)")
    given = parser.parse_intermixed_args(words)
    check_output(given.out, given.captures)

    from smtpinspect.engine import Engine
    from smtpinspect.measure import Bench

    engine = Engine(given.inspectors, ports=given.port or PORTS, threads=given.threads)
    again, size = _again(given.captures, given.whole)
    bench = Bench(engine, again, whole=given.whole)
    status = DONE
    # A file that cannot be written is told before a minute's work.
    with text_out(given.out) as (out, width, style):
        stopped = _run(bench, given.runs)
        measured = bench.measured()
        if measured.fault is not None:
            status = unreadable(measured.fault)
        if stopped:
            some = "; what was measured is told" if measured.packets else " before anything was measured"
            status = complain(f"stopped{some}", STOPPED)
        from smtpinspect.report import bench_page

        profiles = {label: made.profile for label, made in zip(engine.labels, engine.inspectors, strict=True)}
        if given.json:
            found = bench_page.record(measured, given.captures, profiles)
            write_json(out, {"smtpinspect": smtpinspect.__version__, **found})
        elif measured.packets or not status:
            name = given.captures[0] if len(given.captures) == 1 else f"{len(given.captures)} captures"
            name = "standard input" if name == "-" else name
            for line in bench_page.page(measured, name, size, profiles, every=given.all, width=width, style=style):
                print(line, file=out)
    return status


def _run(bench: Bench, runs: int | None) -> bool:
    """Measure; was it stopped?"""
    turns = bench.turns(runs)
    try:
        if sys.stderr is None or not sys.stderr.isatty():
            for _ in turns:
                pass
            return False
        from smtpinspect.report.progress import steps

        with steps() as line:
            task = line.add_task("", total=None)
            for done, total, what in turns:
                line.update(task, completed=done, total=total or None, description=what, refresh=True)
    except KeyboardInterrupt:
        return True
    return False


def _again(captures: Sequence[str], whole: bool) -> tuple[Callable[[], Any], int]:
    """What gives the captures again and again, and their size (0: not known)."""
    held: dict[str, bytes] = {}
    for path in captures:
        if path != "-" and (os.path.isfile(path) or os.path.isdir(path) or not os.path.exists(path)):
            openable(path)  # tells what is wrong
            continue
        if whole:
            raise UsageError(f"--whole: {'standard input' if path == '-' else path} can be read only once")
        if path in held:
            raise UsageError("standard input (-) can be read once only")
        held[path] = _held(path)
    size = 0 if held else sum(os.path.getsize(path) for path in captures)

    def again() -> Any:
        parts = [_Held(held[path], path) if path in held else path for path in captures]
        return parts[0] if len(parts) == 1 else parts

    return again, size


class _Held(io.BytesIO):
    """Octets that messages call by the name of where they came from."""

    def __init__(self, octets: bytes, path: str) -> None:
        super().__init__(octets)
        self.name = "standard input" if path == "-" else path


def _held(path: str) -> bytes:
    from smtpinspect.source import open_source

    if path == "-":
        open_source(path).close()  # a terminal is none, and says so
        return sys.stdin.buffer.read(HELD)
    try:
        with open(path, "rb") as file:
            return file.read(HELD)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from None
