"""`smtpinspect check`: which rules a stored message would trip."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Final

from smtpinspect.commands import folders
from smtpinspect.commands.arguments import inspectors_of, output, parser_of, text_or_json
from smtpinspect.commands.console import DONE, MATCHED, check_output, text_out, watched

if TYPE_CHECKING:
    from smtpinspect.engine import Engine

CHECK_HELP: Final = """\
MESSAGE is a message (.eml), an mbox, a Maildir (its cur and new), another
folder (what is a message in it; the rest is counted and named) or - for
standard input; packed files are unpacked. Each message goes through the rules
as a capture of its sending would: LF becomes CR LF, dots are stuffed, an
mbox's >From is From again. A file whose first line ends in CR LF is taken as
it stands, so that a bare LF in it is one on the wire.

A stored message tells nothing about commands, replies and the borders of
segments, and the mail servers on the way change it: check the copy that the
last one before the firewall holds, or one from the receiver's mailbox.

--format json prints {messages: [{file, number (in an mbox), subject, alerts:
[{rule, where, line, octets, action, inspector, detail, breaks}], not_judged:
[TEXT...]}]}; `line` is that of the file, from 1; `octets` is the evidence,
escaped, 64 bytes at most; 16 alerts of a rule at most.

examples:
  smtpinspect check invoice.eml
  smtpinspect check -i stormshield:high -i mailguard:asa-8 ~/Maildir
  exim -Mvc 1vN4Xk-000000001Ab-2cde | smtpinspect check -
  postcat -qbh 4cQ8Xk2Zbqz1 | smtpinspect check -

exit status: 0 done; 1 --fail-on matched; 2 wrong usage, or a file that is no
message or cannot be read
"""


def run(words: list[str]) -> int:
    """Run `smtpinspect check` with these words; its exit status."""
    parser = parser_of(
        "check", "Which rules of which firewall a stored message would trip. Nothing is sent.", CHECK_HELP
    )
    parser.add_argument("messages", nargs="+", metavar="MESSAGE", help="a message, an mbox, a Maildir; - reads one")
    inspectors_of(parser)
    parser.add_argument("--smtputf8", action="store_true", help="it is sent with SMTPUTF8 (default: without)")
    text_or_json(parser)
    output(parser)
    parser.add_argument(
        "--fail-on",
        choices=("alert", "break"),
        help="exit status 1 when a rule fired; when one that breaks the flow did",
    )
    given = parser.parse_intermixed_args(words)
    given.messages, left = folders.mails(given.messages)
    check_output(given.out, given.messages)
    for told in left:
        print(f"smtpinspect: {told}", file=sys.stderr)

    from smtpinspect.engine import Engine

    engine = Engine(given.inspectors)
    with watched(engine, given.messages):
        fired, broke = (_json if given.format == "json" else _text)(engine, given)
    return MATCHED if {"alert": fired, "break": broke, None: False}[given.fail_on] else DONE


def _text(engine: Engine, given: argparse.Namespace) -> tuple[bool, bool]:
    from smtpinspect.diagnose.stored.check import check, unjudged
    from smtpinspect.report.check_page import CheckPage
    from smtpinspect.report.text import products

    columns = products(engine.inspectors, engine.labels, given.inspectors or ())
    with text_out(given.out) as (out, width, style):
        page = CheckPage(engine.inspectors, columns, width, style)
        # nothing is said of what cannot be read, but that
        for checked in check(given.messages, engine, utf8=given.smtputf8):
            for line in page.message(checked):
                print(line, file=out)
        for line in page.end(unjudged(engine)):
            print(line, file=out)
    return page.tripped > 0, page.cut > 0


def _json(engine: Engine, given: argparse.Namespace) -> tuple[bool, bool]:
    import json

    from smtpinspect.diagnose.stored.check import check, unjudged

    fired = broke = False
    not_judged = unjudged(engine)
    with text_out(given.out) as (out, _, _):
        lead = '{"messages": ['
        for checked in check(given.messages, engine, utf8=given.smtputf8):
            fired = fired or bool(checked.fired)
            broke = broke or any(one.alert.breaks for one in checked.fired)
            out.write(lead + "\n" + json.dumps(checked.record(not_judged)))
            lead = ","
        out.write(("" if lead == "," else lead) + "\n]}\n")
    return fired, broke
