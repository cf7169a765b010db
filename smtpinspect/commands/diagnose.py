"""`smtpinspect diagnose`: which rule of which firewall broke a mail, how sure, and what to change."""

from __future__ import annotations

import argparse
import json
from typing import Final

from smtpinspect.commands.arguments import PORTS, inspectors_of, outputs, parser_of, source_of
from smtpinspect.commands.console import DONE, text_out, unreadable
from smtpinspect.errors import UsageError

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
    parser.add_argument("--impact", action="store_true", help="how many accepted mails each profile would cut")
    outputs(parser)
    given = parser.parse_intermixed_args(words)
    if given.impact:
        return _impact(given)
    if not given.captures and not given.log:
        raise UsageError("a capture or --log LINE|FILE is wanted")

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
    with text_out(given.out) as (out, width, style):
        if given.format == "json":
            json.dump(record(told.diagnosis), out, indent=1)
            out.write("\n")
        else:
            from smtpinspect.report import diagnose_page

            for line in diagnose_page.page(told.diagnosis, width, style, given.captures):
                print(line, file=out)
    return DONE if told.fault is None else unreadable(told.fault)


def _impact(given: argparse.Namespace) -> int:
    if not given.captures or given.log or given.format == "html":
        raise UsageError("--impact takes captures, and --format text or json")

    from smtpinspect.diagnose.impact import impact
    from smtpinspect.engine import Engine
    from smtpinspect.report import impact_page
    from smtpinspect.report.text import products

    made = impact(source_of(given.captures), given.inspectors, ports=given.port or PORTS)
    with text_out(given.out) as (out, width, style):
        if given.format == "json":
            json.dump(made.record(), out, indent=1)
            out.write("\n")
        else:
            engine = Engine(given.inspectors)
            columns = products(engine.inspectors, engine.labels, given.inspectors or ())
            for line in impact_page.page(made, columns, given.captures, width, style):
                print(line, file=out)
    return DONE if made.fault is None else unreadable(made.fault)
