"""`smtpinspect diagnose`: which rule of which firewall broke a mail, how sure, and what to change."""

from __future__ import annotations

import argparse
import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from smtpinspect.commands import exports, folders, impact
from smtpinspect.commands.arguments import PORTS, Parser, inspectors_of, outputs, parser_of, source_of
from smtpinspect.commands.console import (
    DONE,
    STOPPED,
    complain,
    text_out,
    unreadable,
    watched,
    write_json,
)
from smtpinspect.commands.kinds import holds_capture, holds_firewall_log, holds_message, sorted_out
from smtpinspect.errors import UsageError

if TYPE_CHECKING:
    from smtpinspect.diagnose.face import Told
    from smtpinspect.report.terminal import Style
    from smtpinspect.source.again import Place

DIAGNOSE_HELP: Final = """\
A capture, or several of one point in time order; a log line, a log or a bounce
(--log; also folded, quoted or packed); captures from several points of the path
(--outside and --inside, or --point in path order); the firewall's own log: or
any of these together. Lines about a mail of the capture stand with that mail.

examples:
  smtpinspect diagnose mail.pcap
  smtpinspect diagnose --log 'H=mx.example.net [203.0.113.9]: SMTP timeout
      after end of data (2350 bytes written)'
  smtpinspect diagnose --log /var/log/exim4/mainlog.1.gz
  smtpinspect diagnose --outside before.pcap --inside behind.pcap
  smtpinspect diagnose mail.pcap --firewall-log asa.log
  smtpinspect diagnose mail.pcap --format html -o diagnosis.html
  smtpinspect diagnose mail.pcap --evidence for-their-network-team
  smtpinspect diagnose mail.pcap --sweep stormshield.header_limit
  smtpinspect diagnose --impact week.pcap -i stormshield:high

exit status: 0 done; 2 wrong usage; 3 a capture or a log could not be read to
its end (what was read has been reported)
"""


def run(words: list[str]) -> int:
    """Run `smtpinspect diagnose` with these words; its exit status."""
    from smtpinspect.report import glossary
    from smtpinspect.report.diagnose_words import legend

    parser = parser_of(
        "diagnose",
        "Which rule of which firewall broke this mail, how sure, and what to change.",
        "\n".join([DIAGNOSE_HELP, *legend(), "", *glossary.lines()]).rstrip(),
    )
    _arguments(parser)
    given = parser.parse_intermixed_args(words)
    folders.refuse(given.captures)
    given.captures, logs, firewalls = sorted_out(given.captures)
    given.log += logs
    given.firewall_log += firewalls
    if given.impact:
        return impact.run(given)
    points = _points(given)
    _check(given, bool(points))
    _apart(given.captures)
    points, turned = _in_order(points, given.port or PORTS)
    files = given.captures or [file for _, file in points]
    own = files[:1] if points else files  # packets are counted in these
    exports.check(given, own, [*files, *given.log, *given.firewall_log])

    from smtpinspect.diagnose.face import Asked, diagnose
    from smtpinspect.diagnose.paths.points import Point

    told = diagnose(
        Asked(
            source=points[0][1] if points else source_of(given.captures) if given.captures else None,
            logs=tuple(given.log),
            inspectors=tuple(given.inspectors) if given.inspectors else None,
            taken=given.taken,
            ports=given.port or PORTS,
            points=tuple(Point(name, file) for name, file in points),
            firewall_logs=tuple(given.firewall_log),
            sweep=given.sweep,
            watch=lambda engine: watched(engine, files),
        )
    )
    told.diagnosis.notes += turned
    exports.write(given, own, told.diagnosis, points[0][0] if points else "")
    _report(given, told, files, [f"{name}={file}" for name, file in points])
    if told.diagnosis.stopped:
        return complain("stopped; what was read is reported", STOPPED)
    return DONE if told.fault is None else unreadable(told.fault)


def _arguments(parser: Parser) -> None:
    add = parser.add_argument
    add("captures", nargs="*", metavar="CAPTURE", help="pcap or pcapng, plain or packed")
    inspectors_of(parser)
    add("--log", action="append", default=[], metavar="LINE|FILE", help="a mail server's log line, a log, or a bounce")
    add(
        "--point", action="append", default=[], metavar="NAME=FILE",
        help="a capture of the path, may be repeated: from the sender's side to the receiver's",
    )  # fmt: skip
    add("--inside", metavar="FILE", help="with --outside: the capture behind the firewall")
    add("--outside", metavar="FILE", help="the capture before the firewall, on the sender's side")
    add(
        "--firewall-log", action="append", default=[], metavar="FILE",
        help="the firewall's own log (ASA, Stormshield, SonicWall), plain or packed",
    )  # fmt: skip
    add("--taken", choices=("sender", "receiver"), help="on which side the captures were taken")
    add(
        "--sweep", metavar="KEY", default="",
        help="how many mails each value of a limit would cut, as stormshield.header_limit, mailguard:asa-8.rcpt_count",
    )  # fmt: skip
    add("--impact", action="store_true", help="how many accepted mails each profile would cut")
    add("--format", choices=("text", "json", "html"), default="text", help="what to print (text)")
    exports.arguments(parser)
    outputs(parser)


def _check(given: argparse.Namespace, points: bool) -> None:
    """Raises UsageError for what makes no sense together."""
    for file in given.log:
        if holds_capture(file):
            raise UsageError(f"--log {file}: this is a capture; give it without --log")
        if holds_firewall_log(file):
            raise UsageError(f"--log {file} is a firewall's log: smtpinspect diagnose CAPTURE --firewall-log {file}")
        if holds_message(file):
            raise UsageError(f"--log {file} holds a message, no log: smtpinspect check {shlex.quote(file)}")
    for file in given.firewall_log:
        if holds_capture(file):
            raise UsageError(f"--firewall-log {file}: this is a capture; give it without --firewall-log")
    if [*given.captures, *given.log, *given.firewall_log].count("-") > 1:
        raise UsageError("standard input (-) can be read once only")
    if points and given.captures:
        raise UsageError("--point, --inside and --outside name all captures; leave out CAPTURE")
    if not given.captures and not given.log and not points and not given.firewall_log:
        raise UsageError("a capture or --log LINE|FILE is wanted")
    if given.firewall_log and not given.captures and not points:
        raise UsageError("--firewall-log is joined with the connections of a capture; name one")
    if given.sweep and not given.captures and not points:
        raise UsageError("--sweep counts the mails of a capture; name one")


def _apart(captures: Sequence[str]) -> None:
    """Raises UsageError for captures that hold the same connection: read as one, they would tell of losses."""
    from smtpinspect.diagnose.paths.handshakes import shared

    found = shared(captures)
    if found is None:
        return
    one, two, whose = found
    if os.path.samefile(one, two):
        raise UsageError(f"{one} is named twice")
    outside, inside = (shlex.quote(file) for file in (one, two))
    raise UsageError(
        f"both hold the same connection, {whose}: {one}, {two}. Two points of its path: "
        f"smtpinspect diagnose --outside {outside} --inside {inside}; the same point twice: name one"
    )


def _points(given: argparse.Namespace) -> list[tuple[str, str]]:
    """Names and files in path order. Raises UsageError where they make no path."""
    made = []
    for text in given.point:
        name, equals, file = text.partition("=")
        if not (name and equals and file):
            raise UsageError(f"--point {text}: NAME=FILE is wanted, as in --point dmz=dmz.pcap")
        made.append((name, file))
    if given.outside or given.inside:
        if made or not (given.outside and given.inside):
            raise UsageError("--outside and --inside go together; for more points: --point NAME=FILE in path order")
        made = [("outside", given.outside), ("inside", given.inside)]
    if len(made) == 1:
        raise UsageError("one --point shows no path: name at least two, from the sender's side to the receiver's")
    names = [name for name, _ in made]
    if len(set(names)) < len(names):
        raise UsageError("--point: each NAME once")
    if any(file == "-" for _, file in made):
        raise UsageError("--point: standard input (-) can be read once only; name files")
    return made


def _in_order(points: list[tuple[str, str]], ports: Sequence[int]) -> tuple[list[tuple[str, str]], list[str]]:
    """From the sender's side to the receiver's, whatever they are called; and a word where that is not as given."""
    from smtpinspect.diagnose.paths.points import Point, turned

    if not points or not turned([Point(name, file) for name, file in points], ports=ports):
        return points, []
    points = points[::-1]
    (first, _), (last, _) = points[0], points[-1]
    told = f"{first} was taken nearer to the sender than {last}, by hops or delays: they are read in that order"
    return points, [told]


def _report(given: argparse.Namespace, told: Told, files: list[str], points: list[str]) -> None:
    with text_out(given.out) as (out, width, style):
        if given.format == "json":
            from smtpinspect.diagnose.record import record

            write_json(out, record(told.diagnosis))
            return
        from smtpinspect.report.terminal import Style, safe

        where = _files(told, [] if points else files)
        if given.format == "html":
            from smtpinspect.report.html.document import document

            style = Style(False)

            logs = [*_logs(told, None, style, given.log)]
            for line in document(told.diagnosis, files, secrets=given.show_secrets, logs=logs, files=where):
                print(line, file=out)
            return
        if files:
            from smtpinspect.report import diagnose_page

            for line in diagnose_page.page(told.diagnosis, width, style, files, points, where):
                print(line, file=out)
        for note in told.diagnosis.notes if not files else ():
            print(safe(note), file=out)
        for number, line in enumerate(_logs(told, width, style, given.log)):
            print(end="\n" if files and not number else "", file=out)
            print(line, file=out)


def _files(told: Told, captures: Sequence[str]) -> Mapping[int, Place]:
    """Where of several captures, read as one, the packets lie that cases are looked up by."""
    from smtpinspect.report.diagnose_words import folded, packet_of
    from smtpinspect.source.again import places

    wanted = {packet_of(block.first) for block in folded(told.diagnosis)} if len(captures) > 1 else set()
    return places(captures, wanted)


def _logs(told: Told, width: int | None, style: Style, logs: Sequence[str]) -> Iterator[str]:
    """The page of the logs; of lines that stand with their mail only how many they are. `logs`: as given."""
    from smtpinspect.report import readings_page

    if told.month is None:
        return
    if told.joined:
        yield from readings_page.joined(told.joined, told.month, width)
    if not told.joined or told.month.groups or told.month.receiving:
        yield from readings_page.page(told.apart, told.month, width, style, logs)
