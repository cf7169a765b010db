"""What the commands that run inspectors share: their formats, and how a run ends."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, BinaryIO, Final

from smtpinspect.commands.arguments import PORTS, Parser, inspectors_of, number
from smtpinspect.commands.console import (
    DONE,
    MATCHED,
    PROG,
    STOPPED,
    binary,
    complain,
    interruptible,
    text_out,
    unreadable,
)
from smtpinspect.errors import CaptureError
from smtpinspect.grammar.limits import THREADS

if TYPE_CHECKING:
    from smtpinspect.engine import Engine, Stats
    from smtpinspect.report.summary import Summary
    from smtpinspect.source import Input

RECORDS: Final = ("mail", "alert", "flow")
LOGS: Final = ("asa", "stormshield", "sonicwall")


class Job:
    """A source that is read once, and who looks on meanwhile."""

    name: str  # in messages
    tick: Callable[[Engine], None] | None = None  # called between two steps, several times a second

    def source(self) -> Input:
        """Opened when the output is there."""
        raise NotImplementedError  # the one method that a job must have; this class is none

    def line(self, engine: Engine, out: BinaryIO | None) -> AbstractContextManager[object]:
        """Shows a person how far it is."""
        return nullcontext()

    def interruptible(self, engine: Engine) -> AbstractContextManager[None]:
        return interruptible(engine)


def formats(parser: Parser, records: Iterable[str] = RECORDS) -> None:
    """Inspectors, the format of the report, and which records it has."""
    inspectors_of(parser)
    parser.add_argument(
        "--format",
        choices=("text", "eve", *LOGS),
        default="text",
        help="text for people (default); eve: a JSON object per line, with Suricata's field names; asa, stormshield, "
        "sonicwall: the lines that the product would log",
    )
    parser.add_argument(
        "--records",
        type=_records,
        default=frozenset(records),
        metavar="LIST",
        help="of mail,alert,flow (default: all)",
    )


def endings(parser: Parser, long: str = "a long capture") -> None:
    """--fail-on, and how many threads share `long`."""
    parser.add_argument(
        "--fail-on",
        choices=("alert", "break"),
        help="exit status 1 when a rule fired; when one that breaks the flow did",
    )
    parser.add_argument(
        "--threads",
        type=number(1, THREADS),
        default=1,
        metavar="N",
        help=f"threads that share the connections of {long} (1): faster on idle cores that share a cache,"
        " else it may be slower; the records are the same",
    )


def _records(text: str) -> frozenset[str]:
    words = frozenset(text.split(","))
    if unknown := sorted(words - set(RECORDS)):
        raise argparse.ArgumentTypeError(f"no such records: {', '.join(unknown)}. Known: {' '.join(RECORDS)}")
    return words


def engine_of(given: argparse.Namespace) -> Engine:
    """The engine that these arguments ask for. Raises UsageError for an inspector that is not known."""
    from smtpinspect.engine import Engine

    inspectors = given.inspectors
    if given.format in LOGS:
        from smtpinspect.report.vendor_logs import specs

        inspectors = specs(given.format, inspectors)
    return Engine(inspectors, ports=given.port or PORTS, secrets=given.show_secrets, threads=given.threads)


def report_eve(engine: Engine, given: argparse.Namespace, job: Job) -> int:
    """Run the job, its records as EVE; the exit status."""
    status = DONE
    stats: Stats | None = None
    with binary(given.out) as out, job.line(engine, out):
        try:
            with job.interruptible(engine):
                stats = engine.write_eve(job.source(), out, set(given.records), progress=_ticking(job, out))
            unread(stats, job.name)
        except CaptureError as error:
            status = unreadable(error)
            stats = getattr(error, "stats", None)
        except KeyboardInterrupt:
            status = _stopped(engine)
    return status or matched(engine, stats, given.fail_on)


def report_log(engine: Engine, given: argparse.Namespace, job: Job) -> int:
    """Run the job, its alerts as the lines that the product would log; the exit status."""
    from smtpinspect.engine import Stats
    from smtpinspect.report.vendor_logs import VendorLog

    log = VendorLog(engine, given.format)
    status, written = DONE, False
    if not given.inspectors and given.format == "asa":
        (made,) = engine.inspectors
        print(
            f"{PROG}: no -i: {made.name}:{made.profile}, which logs as %PIX-. An ASA: -i mailguard:asa-8",
            file=sys.stderr,
        )
    stats: Stats | None = None
    with binary(given.out) as out, job.line(engine, out):
        try:
            with job.interruptible(engine):
                for record in engine.run(job.source(), progress=_ticking(job, out)):
                    for line in log.take(record):
                        if "alert" in given.records:
                            written = True
                            out.write(line.encode("ascii", "backslashreplace"))
                    if isinstance(record, Stats):
                        stats = record
                        unread(stats, job.name)
        except CaptureError as error:
            status = unreadable(error)
        except KeyboardInterrupt:
            status = _stopped(engine)
    if not (written or status) and sys.stderr is not None:
        print(f"{PROG}: nothing that {', '.join(log.inspectors)} would log", file=sys.stderr)
    return status or matched(engine, stats, given.fail_on)


def summary_of(engine: Engine, given: argparse.Namespace, *, each: bool = False) -> Summary:
    """A summary without records yet; `each`: one for each capture."""
    from smtpinspect.report.summary import Summary

    return Summary(engine.labels, each=each, records=given.records, looks_at=engine.looks_at)


def feed(engine: Engine, job: Job, summary: Summary) -> int:
    """Run the job into a summary; the exit status."""
    from smtpinspect.engine import Stats

    try:
        with job.interruptible(engine):
            for record in engine.run(job.source(), progress=job.tick):
                summary.take(record)
                if isinstance(record, Stats):
                    unread(record, job.name)
    except CaptureError as error:
        summary.fault(error)
        return unreadable(error)
    except KeyboardInterrupt:
        summary.stop(engine.progress[2])
        return complain("stopped; what was read is reported", STOPPED)
    return DONE


def print_page(engine: Engine, given: argparse.Namespace, summary: Summary) -> None:
    """The summary as text for people."""
    from smtpinspect.report.text import Text, products

    columns = products(engine.inspectors, engine.labels, given.inspectors or ())
    with text_out(given.out) as (out, width, style):
        text = Text(summary, columns, width=width, style=style, ports=engine.ports)
        for line in text.lines():
            print(line, file=out)


def matched_page(summary: Summary, fail_on: str | None) -> int:
    """The status that --fail-on asks for, by what a page has counted."""
    return MATCHED if {"alert": summary.alerts, "break": summary.breaks, None: 0}[fail_on] else DONE


def matched(engine: Engine, stats: Stats | None, fail_on: str | None) -> int:
    """The status that --fail-on asks for, by the counts of a run; `stats` None: it did not end."""
    if not fail_on or stats is None:
        return DONE
    if fail_on == "alert":
        return MATCHED if stats.alerts else DONE
    breaking = {row.id for made in engine.inspectors for row in made.table() if row.ends_flow}
    return MATCHED if breaking & stats.alerts.keys() else DONE


def unread(stats: Stats, name: str) -> None:
    """Packets of which nothing is known look like none: say so."""
    if not stats.unknown_links:
        return
    from smtpinspect.grammar import linktypes

    links = ", ".join(linktypes.named(number) for number in sorted(stats.unknown_links))
    print(f"{PROG}: {name}: packets of {links} were not read.", file=sys.stderr)
    print(f"{' ' * len(PROG)}  Read are: {linktypes.readable()}.", file=sys.stderr)


def _stopped(engine: Engine) -> int:
    told = f"stopped after {engine.progress[2]:,} packets; what was read has been reported"
    return complain(told, STOPPED)


def _ticking(job: Job, out: BinaryIO) -> Callable[[Engine], None] | None:
    """Whoever reads the output has each record soon."""
    tick = job.tick
    if tick is None:
        return None

    def ticking(engine: Engine) -> None:
        out.flush()
        tick(engine)

    return ticking
