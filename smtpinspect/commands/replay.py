"""`smtpinspect replay`: what happened to each mail, and what would behind each firewall."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from smtpinspect.commands.arguments import (
    COMMANDS,
    PORTS,
    inspectors_of,
    nearest,
    number,
    openable,
    parser_of,
    source_of,
    sources,
)
from smtpinspect.commands.console import (
    DONE,
    MATCHED,
    PROG,
    STOPPED,
    UNREADABLE,
    binary,
    check_output,
    complain,
    interruptible,
    progress,
    text_out,
    unreadable,
)
from smtpinspect.errors import CaptureError, UsageError
from smtpinspect.grammar.limits import THREADS

if TYPE_CHECKING:
    from smtpinspect.engine import Engine, Stats
    from smtpinspect.report.summary import Summary

RECORDS: Final = ("mail", "alert", "flow")
LOGS: Final = ("asa", "stormshield", "sonicwall")
PIECE: Final = 512  # octets of a file that tell what it is
MAGICS: Final = tuple(bytes.fromhex(magic) for magic in ("a1b2c3d4", "d4c3b2a1", "a1b23c4d", "4d3cb2a1", "0a0d0d0a"))

REPLAY_HELP: Final = """\
INSPECTOR is NAME[:PROFILE][,key=value]...
  mailguard    pix-4.0 pix-4.4 pix-5 pix-6 fwsm-3 asa-7.0 asa-8 asa-9-tls
               (pix-6); RULE.action=pass|alarm|drop-flow...
  stormshield  low medium high internet (high); level=firewall|ids|ips;
               RULE.action=pass|block
  sonicwall    default (default);
               on_match=reply552-fin|reply552-rst|reset|drop|log-only
  inside=NETWORK+NETWORK tells stormshield and sonicwall what lies behind the
  firewall; without it every connection is taken for inbound
  off=RULE+RULE switches rules off; config=FILE reads what the firewall prints
  Others come with packages that you install. Without -i: all built in.

observed, in the capture:
  accepted   the server took the mail (2xx to the end of data)
  refused    the reply tells: 4xx, 5xx
  aborted    RSET, EHLO or QUIT before the text
  stalled    silence until the client gave up or the capture ends
  reset      an RST ended it       closed  a FIN ended it, without a reply
  encrypted  TLS                   unknown the capture does not show it

verdict, what the emulated firewall would do, weakest first:
  pass, alarm, detach (looks no further), rewrite (octets overwritten),
  answer (replies in the server's place), drop (this packet), drop-flow
  (nothing passes any more), reset. From drop on the flow breaks without an
  SMTP code.

confidence, what the capture cannot show:
  one-direction gap snaplen super-segments mid-stream cut-off encrypted
  overlap cap end-mark-disputed     (the report explains those that it uses)

--format asa, stormshield and sonicwall write the log of mailguard, stormshield
and sonicwall, each in its own syntax, one event a line, times in UTC: one
alarm per segment, none behind a break. Without -i: that product at its default
profile (mailguard:pix-6 logs as %PIX-; -i mailguard:asa-8 as %ASA-).

examples:
  smtpinspect replay mail.pcap
  smtpinspect replay --each *.pcap
  smtpinspect replay mail.pcap -i mailguard:pix-6,deny_style=noop
  smtpinspect replay mail.pcap -i stormshield,off=smtp-231
  smtpinspect replay --format eve --records mail -o mails.json big.pcap.gz
  smtpinspect replay --format asa -i mailguard:asa-8 -o asa.log mail.pcap
  smtpinspect replay mail.pcap -i stormshield --fail-on break

exit status: 0 done; 1 --fail-on matched; 2 wrong usage or configuration;
3 a capture could not be read to its end, or is none (what was read has been
reported); 130 stopped by Ctrl-C (likewise)
"""


def run(words: list[str], prog: str = "") -> int:
    parser = parser_of(
        "replay",
        "Reads captures and reports; sends nothing. Several captures are one stream.",
        REPLAY_HELP,
        prog,
    )
    sources(parser)
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
        default=frozenset(RECORDS),
        metavar="LIST",
        help="of mail,alert,flow (default: all)",
    )
    parser.add_argument(
        "--each", action="store_true", help="text: each capture by itself, its name in the first column"
    )
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
        help="threads that share the connections of a long capture (1): faster on idle cores that share a cache,"
        " else it may be slower; the records are the same",
    )
    given = parser.parse_intermixed_args(words)
    if given.each and given.format != "text":
        raise UsageError("--each is for --format text; of the others, several captures are one stream")
    if prog:
        _look_at(given.captures)
    check_output(given.out, given.captures)

    from smtpinspect.engine import Engine

    inspectors = given.inspectors
    if given.format in LOGS:
        from smtpinspect.report.vendor_logs import specs

        inspectors = specs(given.format, inspectors)
    engine = Engine(
        inspectors,
        ports=given.port or PORTS,
        secrets=given.show_secrets,
        threads=given.threads,
    )
    if given.format in LOGS:
        return _replay_log(engine, given)
    return _replay_eve(engine, given) if given.format == "eve" else _replay_text(engine, given)


def _records(text: str) -> frozenset[str]:
    words = frozenset(text.split(","))
    if unknown := sorted(words - set(RECORDS)):
        raise argparse.ArgumentTypeError(f"no such records: {', '.join(unknown)}. Known: {' '.join(RECORDS)}")
    return words


def _look_at(captures: Sequence[str]) -> None:
    """`smtpinspect FILE...`: what is it? Anything but a capture is told by its name."""
    from smtpinspect.source.unpack import packing_of

    for path in captures:
        if path == "-" or os.path.isdir(path):
            continue
        if not os.path.lexists(path) and os.sep not in path and "." not in path:
            near = nearest(path, COMMANDS)
            guess = f" Did you mean {near}?" if near else ""
            raise UsageError(f"{path}: neither a command nor a file.{guess} Commands: {' '.join(COMMANDS)}")
        try:
            if not os.path.isfile(path):
                continue
            with open(path, "rb") as file:
                head = file.read(PIECE)
        except OSError:
            continue  # the reader tells why
        if not head.startswith(MAGICS) and packing_of(head) is None:
            from smtpinspect._core.pcapfile import looks_like

            why = f"{path}: not a capture: {looks_like(head)}."
            more = "This version reads captures: pcap and pcapng, plain or packed."
            if title := _configuration(path):
                import shlex

                more = f"It is a configuration ({title}): {PROG} config {shlex.quote(path)}"
            raise SystemExit(complain(why, UNREADABLE, more))


def _configuration(path: str) -> str:
    """What configuration this file is; empty when it is none."""
    from smtpinspect.inspectors import registry
    from smtpinspect.inspectors.configuration import text_of

    try:
        found = registry.recognise(text_of(path))
    except UsageError:
        return ""
    return found[0].title if found else ""


def _replay_eve(engine: Engine, given: argparse.Namespace) -> int:
    status = DONE
    stats: Stats | None = None
    with binary(given.out) as out, progress(engine, given.captures, out):
        try:
            with interruptible(engine):
                stats = engine.write_eve(source_of(given.captures), out, set(given.records))
            _unread(stats, source_of(given.captures))
        except CaptureError as error:
            status = unreadable(error)
            stats = getattr(error, "stats", None)
        except KeyboardInterrupt:
            told = f"stopped after {engine.progress[2]:,} packets; what was read has been reported"
            status = complain(told, STOPPED)
    return status or _matched(engine, stats, given.fail_on)


def _replay_log(engine: Engine, given: argparse.Namespace) -> int:
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
    with binary(given.out) as out, progress(engine, given.captures, out):
        try:
            with interruptible(engine):
                for record in engine.run(source_of(given.captures)):
                    for line in log.take(record):
                        if "alert" in given.records:
                            written = True
                            out.write(line.encode("ascii", "backslashreplace"))
                    if isinstance(record, Stats):
                        stats = record
                        _unread(stats, source_of(given.captures))
        except CaptureError as error:
            status = unreadable(error)
        except KeyboardInterrupt:
            told = f"stopped after {engine.progress[2]:,} packets; what was read has been reported"
            status = complain(told, STOPPED)
    if not (written or status) and sys.stderr is not None and sys.stderr.isatty():
        print(f"{PROG}: nothing that {', '.join(log.inspectors)} would log", file=sys.stderr)
    return status or _matched(engine, stats, given.fail_on)


def _matched(engine: Engine, stats: Stats | None, fail_on: str | None) -> int:
    if not fail_on or stats is None:
        return DONE
    if fail_on == "alert":
        return MATCHED if stats.alerts else DONE
    breaking = {row.id for made in engine.inspectors for row in made.table() if row.ends_flow}
    return MATCHED if breaking & stats.alerts.keys() else DONE


def _replay_text(engine: Engine, given: argparse.Namespace) -> int:
    from smtpinspect.report.summary import Summary
    from smtpinspect.report.text import Text, products

    summary = Summary(engine.labels, each=given.each, records=given.records, looks_at=engine.looks_at)
    captures = given.captures
    status = DONE
    with progress(engine, captures, None):
        if given.each:
            for path in captures:
                openable(path)
            for path, name in zip(captures, _names(captures), strict=True):
                summary.begin(name, path)
                status = max(status, _feed(engine, path, summary))
                if status == STOPPED:
                    break
        else:
            summary.begin("", captures[0] if len(captures) == 1 else "", len(captures))
            status = _feed(engine, source_of(captures), summary)
    columns = products(engine.inspectors, engine.labels, given.inspectors or ())
    with text_out(given.out) as (out, width, style):
        text = Text(summary, columns, width=width, style=style, ports=engine.ports)
        for line in text.lines():
            print(line, file=out)
    if status:
        return status
    matched = {"alert": summary.alerts, "break": summary.breaks, None: 0}[given.fail_on]
    return MATCHED if matched else DONE


def _feed(engine: Engine, source: str | list[str], summary: Summary) -> int:
    from smtpinspect.engine import Stats

    try:
        with interruptible(engine):
            for record in engine.run(source):
                summary.take(record)
                if isinstance(record, Stats):
                    _unread(record, source)
    except CaptureError as error:
        summary.fault(error)
        return unreadable(error)
    except KeyboardInterrupt:
        summary.stop(engine.progress[2])
        return complain("stopped; what was read is reported", STOPPED)
    return DONE


def _unread(stats: Stats, source: str | list[str]) -> None:
    """Packets of which nothing is known look like none: say so."""
    if not stats.unknown_links:
        return
    from smtpinspect.grammar import linktypes

    name = source if isinstance(source, str) else "the captures"
    links = ", ".join(linktypes.named(number) for number in sorted(stats.unknown_links))
    print(f"{PROG}: {name}: packets of {links} were not read.", file=sys.stderr)
    print(f"{' ' * len(PROG)}  Read are: {linktypes.readable()}.", file=sys.stderr)


def _names(captures: Sequence[str]) -> list[str]:
    """The captures' names as a column; with their folders where names alone are not enough."""
    names = []
    for path in captures:
        name = "standard input" if path == "-" else os.path.basename(path)
        for suffix in (".gz", ".zst", ".xz", ".bz2", ".lz4", ".pcap", ".pcapng", ".cap"):
            name = name.removesuffix(suffix) or name
        names.append(name)
    from smtpinspect.report.terminal import safe

    return [safe(name) for name in (names if len(set(names)) == len(names) else captures)]
