"""What `smtpinspect diagnose` writes beside its report: an annotated capture, a folder of evidence."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from smtpinspect.commands.arguments import Parser, source_of
from smtpinspect.commands.console import binary, check_output
from smtpinspect.commands.kinds import is_pipe
from smtpinspect.errors import UsageError

if TYPE_CHECKING:
    import argparse

    from smtpinspect.diagnose.model import Diagnosis


def arguments(parser: Parser) -> None:
    """What is written beside the report."""
    parser.add_argument(
        "--annotate", metavar="OUT.pcapng", help="write the capture with comments for Wireshark on packets that decide"
    )
    parser.add_argument(
        "--evidence", metavar="DIR", help="write a folder for the other side: a page, the connections, digests"
    )


def check(given: argparse.Namespace, files: Sequence[str], inputs: Sequence[str]) -> None:
    """Wrong usage is told before anything is read. `files`: the captures that packets are counted in, of several
    points that of the first; `inputs`: all that is read.
    """
    for option, path in (("--annotate", given.annotate), ("--evidence", given.evidence)):
        if path and (not files or any(file == "-" or (os.path.exists(file) and is_pipe(file)) for file in files)):
            raise UsageError(f"{option}: a capture in a file is wanted; it is read once more")
    check_output(given.annotate, inputs, "--annotate")
    check_output(given.out, inputs)
    if given.evidence:
        from smtpinspect.diagnose.export.cut import empty_folder

        empty_folder(given.evidence, "--evidence")


def write(given: argparse.Namespace, files: Sequence[str], diagnosis: Diagnosis, point: str = "") -> None:
    """What is written beside the report; said on standard error, which no reader of the report takes for it."""
    from smtpinspect.report.terminal import count

    failed = [case for case in diagnosis.cases if case.failed]
    if given.annotate:
        from smtpinspect.diagnose.export.annotate import annotate, comments

        with binary(given.annotate, "--annotate") as out:
            made = annotate(source_of(files), comments(diagnosis, point), out)
        told = f"{count(made.packets, 'packet')}, {count(made.comments, 'of them', 'of them')} with a comment"
        print(f"written: {given.annotate}, {told}; in Wireshark: frame.comment", file=sys.stderr)
    if given.evidence and failed:
        from smtpinspect.diagnose.export.evidence import evidence
        from smtpinspect.report.diagnose_words import shown
        from smtpinspect.report.evidence_page import pages

        exhibits = evidence(source_of(files), failed, given.evidence, lambda case: [*shown(case)], pages)
        told = count(len(exhibits), "connection")
        print(f"written: {given.evidence}, {told}; begin with README.txt. It holds the mails' text", file=sys.stderr)
    elif given.evidence:
        print(f"nothing written to {given.evidence}: nothing failed", file=sys.stderr)
