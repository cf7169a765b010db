"""`smtpinspect simulate CAPTURE`: the arguments of that form, and its report."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from smtpinspect.commands.arguments import PORTS, Parser, number, ports
from smtpinspect.commands.console import DONE, check_output, text_out, unreadable, write_json
from smtpinspect.errors import CaptureError, UsageError

if TYPE_CHECKING:
    import argparse

CAPTURE_HELP: Final = """\
With a CAPTURE and one INSPECTOR: its mail through that firewall. The first mail
that breaks is taken, or --mail N; where a rule breaks it, both mail servers go
on as models of themselves (--mta and --to, else guessed). --re-enact sends the
mail again from its first packet, so that refused commands and masked replies
have their consequences too. --break drop, rst or fin replaces the product's own
way to end a flow. JSON has these fields besides: mode inspector client server
mail mail_from rcpt_to guessed observed rule altered_by attempts copies
duplicates slot_seconds next_mx final_log packets notes.

  smtpinspect simulate mail.pcap -i stormshield:high
  smtpinspect simulate mail.pcap -i mailguard:pix-6 --re-enact --mta exim

Without a CAPTURE: a break at a PHASE, wherever it comes from.

"""


def arguments(parser: Parser) -> None:
    """What this form takes beside what both take."""
    parser.add_argument("capture", nargs="?", metavar="CAPTURE", help="pcap or pcapng, plain or packed")
    parser.add_argument(
        "-i", dest="inspectors", action="append", default=[], metavar="INSPECTOR", help="the firewall to emulate"
    )
    parser.add_argument(
        "--mail", type=number(1, 1_000_000_000), metavar="N", help="that mail of the capture, counted from 1"
    )
    parser.add_argument("--re-enact", action="store_true", help="send the mail again, from its first packet")
    parser.add_argument(
        "--require-tls", action="store_true", help="with --re-enact: the client sends nothing without TLS"
    )
    parser.add_argument(
        "--require-auth", action="store_true", help="with --re-enact: the client sends nothing without AUTH"
    )
    ports(parser)


def check_apart(given: argparse.Namespace) -> None:
    """Raises UsageError when two outputs are one file."""
    written = [os.path.realpath(path) for path in (given.out, given.write_client, given.write_server) if path]
    if len(set(written)) < len(written):
        raise UsageError("-o, --write-client and --write-server: each needs a file of its own")


def check_unused(given: argparse.Namespace) -> None:
    """Raises UsageError for what means something with a capture only."""
    given_for_nothing = [
        option
        for option, value in (
            ("--re-enact", given.re_enact),
            ("--require-tls", given.require_tls),
            ("--require-auth", given.require_auth),
            ("--mail", given.mail),
            ("--port", given.port),
        )
        if value
    ]
    if given_for_nothing:
        raise UsageError(f"{' and '.join(given_for_nothing)}: for the form with a CAPTURE and -i INSPECTOR")


def run(given: argparse.Namespace) -> int:
    """Simulate a capture's mail. Raises UsageError."""
    if len(given.inspectors) != 1:
        raise UsageError(f"simulate takes one -i INSPECTOR, not {len(given.inspectors)}: the flow passes one firewall")
    if not given.capture:
        raise UsageError("-i INSPECTOR goes with a CAPTURE; without one --mta, --at and --break are wanted")
    if given.size is not None or given.pipelining:
        raise UsageError("--size and --pipelining are for the form without a capture; here the capture says both")
    if given.at:
        raise UsageError("--at is for the form without a capture; here the rules of the firewall say where")
    for path in (given.out, given.write_client, given.write_server):
        check_output(path, [given.capture])
    check_apart(given)

    from smtpinspect.simulate import bench
    from smtpinspect.simulate.captures import Asked, simulate
    from smtpinspect.source.again import read_again, renamed

    asked = Asked(
        capture=given.capture,
        inspector=given.inspectors[0],
        mta=given.mta,
        receiver=given.to,
        mail=given.mail,
        broken=given.broken,
        re_enact=given.re_enact,
        timeouts=bench.timeouts_of(given.timeouts),
        ports=given.port or PORTS,
        write_client=given.write_client,
        write_server=given.write_server,
        require_tls=given.require_tls,
        require_auth=given.require_auth,
    )
    with read_again(asked.capture) as path:
        try:
            told = simulate(asked._replace(capture=str(path)))
        except CaptureError as error:
            return unreadable(renamed(error, path, asked.capture))
    with text_out(given.out) as (out, width, style):
        if told.story is None:
            print("{}" if given.format == "json" else "no SMTP in this capture. Other server ports: --port N", file=out)
        elif given.format == "json":
            write_json(out, told.story.record())
        else:
            from smtpinspect.report import story_page

            for line in story_page.page(told.story, asked, width, style):
                print(line, file=out)
    return DONE if told.fault is None else unreadable(renamed(told.fault, path, asked.capture))
