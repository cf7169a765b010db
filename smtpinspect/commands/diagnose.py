"""`smtpinspect diagnose`: which rule of which firewall broke a mail, how sure, and what to change."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from smtpinspect.commands import exports
from smtpinspect.commands.arguments import PORTS, inspectors_of, outputs, parser_of, source_of
from smtpinspect.commands.console import DONE, text_out, unreadable
from smtpinspect.errors import UsageError

if TYPE_CHECKING:
    import argparse

DIAGNOSE_HELP: Final = """\
exit status: 0 done; 2 wrong usage; 3 a capture could not be read to its end
"""


def run(words: list[str]) -> int:
    """Run `smtpinspect diagnose` with these words; its exit status."""
    from smtpinspect.report.diagnose_words import legend

    parser = parser_of(
        "diagnose",
        "Which rule of which firewall broke this mail, how sure, and what to change.",
        "\n".join([*legend(), "", DIAGNOSE_HELP]),
    )
    parser.add_argument("captures", nargs="*", metavar="CAPTURE", help="pcap or pcapng, plain or packed")
    inspectors_of(parser)
    parser.add_argument("--log", action="append", default=[], metavar="LINE|FILE", help="a log line, or a file of them")
    parser.add_argument(
        "--point", action="append", default=[], metavar="NAME=FILE",
        help="a capture of the path, may be repeated: from the sender's side to the receiver's",
    )  # fmt: skip
    parser.add_argument("--inside", metavar="FILE", help="with --outside: the capture behind the firewall")
    parser.add_argument("--outside", metavar="FILE", help="the capture before the firewall, on the sender's side")
    parser.add_argument(
        "--firewall-log", action="append", default=[], metavar="FILE",
        help="the firewall's own log (ASA, Stormshield, SonicWall), plain or gzipped",
    )  # fmt: skip
    parser.add_argument("--taken", choices=("sender", "receiver"), help="on which side the captures were taken")
    parser.add_argument(
        "--sweep", metavar="KEY", default="",
        help="how many mails each value of a limit would cut, as stormshield.header_limit, mailguard:asa-8.rcpt_count",
    )  # fmt: skip
    parser.add_argument("--format", choices=("text", "json", "html"), default="text", help="what to print (text)")
    exports.arguments(parser)
    outputs(parser)
    given = parser.parse_intermixed_args(words)
    points = _points(given)
    if points and given.captures:
        raise UsageError("--point, --inside and --outside name all captures; leave out CAPTURE")
    if not given.captures and not given.log and not points:
        raise UsageError("a capture or --log LINE|FILE is wanted")
    if given.firewall_log and not given.captures and not points:
        raise UsageError("--firewall-log is joined with the connections of a capture; name one")
    if given.sweep and not given.captures and not points:
        raise UsageError("--sweep counts the mails of a capture; name one")
    exports.check(given)

    from smtpinspect.diagnose.face import Asked, diagnose
    from smtpinspect.diagnose.paths.points import Point
    from smtpinspect.diagnose.record import record

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
        )
    )
    exports.write(given, told.diagnosis)
    with text_out(given.out) as (out, width, style):
        if given.format == "json":
            json.dump(record(told.diagnosis), out, indent=1)
            out.write("\n")
        elif given.format == "html":
            from smtpinspect.report.html.document import document

            for line in document(told.diagnosis, given.captures, secrets=given.show_secrets):
                print(line, file=out)
        else:
            from smtpinspect.report import diagnose_page

            files = given.captures or [file for _, file in points]
            for line in diagnose_page.page(told.diagnosis, width, style, files):
                print(line, file=out)
    return DONE if told.fault is None else unreadable(told.fault)


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
