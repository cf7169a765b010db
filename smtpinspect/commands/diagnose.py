"""`smtpinspect diagnose`: which rule of which firewall broke a mail, how sure, and what to change."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Final

from smtpinspect.commands.arguments import PORTS, inspectors_of, outputs, parser_of, source_of
from smtpinspect.commands.console import DONE, binary, check_output, text_out, unreadable
from smtpinspect.errors import UsageError

if TYPE_CHECKING:
    import argparse

    from smtpinspect.diagnose.model import Diagnosis

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
    parser.add_argument("--taken", choices=("sender", "receiver"), help="on which side the captures were taken")
    parser.add_argument("--format", choices=("text", "json", "html"), default="text", help="what to print (text)")
    parser.add_argument(
        "--annotate", metavar="OUT.pcapng", help="write the capture with a comment on each packet that decides"
    )
    parser.add_argument(
        "--evidence", metavar="DIR", help="write a folder for the other side: a page, the connections, digests"
    )
    outputs(parser)
    given = parser.parse_intermixed_args(words)
    if not given.captures and not given.log:
        raise UsageError("a capture or --log LINE|FILE is wanted")
    _check_written(given)

    from smtpinspect.diagnose.face import Asked, diagnose
    from smtpinspect.diagnose.record import record

    told = diagnose(
        Asked(
            source=source_of(given.captures) if given.captures else None,
            logs=tuple(given.log),
            inspectors=tuple(given.inspectors) if given.inspectors else None,
            taken=given.taken,
            ports=given.port or PORTS,
        )
    )
    _write(given, told.diagnosis)
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

            for line in diagnose_page.page(told.diagnosis, width, style, given.captures):
                print(line, file=out)
    return DONE if told.fault is None else unreadable(told.fault)


def _check_written(given: argparse.Namespace) -> None:
    """Wrong usage is told before anything is read."""
    for option, path in (("--annotate", given.annotate), ("--evidence", given.evidence)):
        if path and (not given.captures or "-" in given.captures):
            raise UsageError(f"{option}: a capture in a file is wanted; it is read once more")
    check_output(given.annotate, given.captures, "--annotate")
    check_output(given.out, given.captures)
    if given.evidence:
        from smtpinspect.diagnose.export.cut import empty_folder

        empty_folder(given.evidence, "--evidence")


def _write(given: argparse.Namespace, diagnosis: Diagnosis) -> None:
    """What is written beside the report; said on standard error, which no reader of the report takes for it."""
    from smtpinspect.report.terminal import count

    failed = [case for case in diagnosis.cases if case.failed]
    if given.annotate:
        from smtpinspect.diagnose.export.annotate import annotate, comments

        with binary(given.annotate, "--annotate") as out:
            made = annotate(source_of(given.captures), comments(diagnosis), out)
        told = f"{count(made.packets, 'packet')}, {count(made.comments, 'of them', 'of them')} with a comment"
        print(f"written: {given.annotate}, {told}; in Wireshark: frame.comment", file=sys.stderr)
    if given.evidence and failed:
        from smtpinspect.diagnose.export.evidence import evidence
        from smtpinspect.report.diagnose_words import shown
        from smtpinspect.report.evidence_page import pages

        exhibits = evidence(source_of(given.captures), failed, given.evidence, lambda case: [*shown(case)], pages)
        told = count(len(exhibits), "connection")
        print(f"written: {given.evidence}, {told}; begin with README.txt. It holds the mails' text", file=sys.stderr)
    elif given.evidence:
        print(f"nothing written to {given.evidence}: nothing failed", file=sys.stderr)
