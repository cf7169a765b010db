"""`smtpinspect probe`: is a MailGuard on the way to a mail server, and which generation of it?"""

from __future__ import annotations

import argparse
import ipaddress
import re
import sys
from typing import Final

from smtpinspect.commands.arguments import number, output, parser_of, text_or_json
from smtpinspect.commands.console import DONE, MATCHED, UNREADABLE, columns, complain, text_out, write_json
from smtpinspect.errors import UsageError

PROBE_HELP: Final = """\
The test of Cisco's document 4733, both parts of it: the greeting, and a command
that does not exist; then NOOP, pipelining, and a command in two segments. It
says first what it sends (--dry-run: nothing else), with --format json or -o on
standard error. Ask only servers whose owner has nothing against it. Filters of
headers, texts and attachments it cannot see. No command is sent before the
greeting is whole.

  smtpinspect probe mx.example.net
  smtpinspect probe 192.0.2.25:587 --helo relay.example.org --format json

exit status: 0 done, whatever was found; 1 a MailGuard was found, with
--fail-on masked; 2 wrong usage, or no such name; 3 no dialogue could be had
(nobody there, no whole greeting)
"""
_HELO: Final = re.compile(r"[A-Za-z0-9.-]{1,255}|\[[A-Za-z0-9.:]{1,64}\]")


def run(words: list[str]) -> int:
    """Run `smtpinspect probe` with these words; its exit status."""
    parser = parser_of("probe", "Is a MailGuard on the way to a mail server, and which generation of it?", PROBE_HELP)
    parser.add_argument("host", metavar="HOST[:PORT]", help="a mail server, by name or address (port 25)")
    parser.add_argument("--source", metavar="IP", help="send from this address of the machine")
    parser.add_argument("--helo", metavar="NAME", help="the name for EHLO and HELO (this machine's)")
    parser.add_argument("--wait", type=number(1, 300), default=30, metavar="SECONDS", help="for each reply (30)")
    parser.add_argument("--dry-run", action="store_true", help="only say what would be sent")
    parser.add_argument("--fail-on", choices=("masked",), help="exit status 1 when a MailGuard is found")
    text_or_json(parser)
    output(parser)
    parser.add_argument("--port", help=argparse.SUPPRESS)
    given = parser.parse_intermixed_args(words)
    if given.port is not None:
        raise UsageError(f"--port {given.port}: the port goes with the host: {given.host}:{given.port}")

    from smtpinspect.diagnose.probe import steps
    from smtpinspect.diagnose.probe.judge import judge
    from smtpinspect.diagnose.probe.talk import NoServerError
    from smtpinspect.report import probe_page

    if given.helo is not None and not _HELO.fullmatch(given.helo):
        raise UsageError(f"--helo {given.helo}: a host's name or an address in [brackets] is wanted (RFC 5321 4.1.3)")
    host, port = steps.target(given.host)
    source = _source(given.source)
    address = _address(host, steps.resolved(host), source)
    helo = given.helo or steps.own_name(steps.local(address, source))
    asked = steps.Asked(host, address, port, source, helo, float(given.wait))
    with text_out(given.out) as (out, width, style):
        told = given.format == "text"
        for line in probe_page.announcement(asked, helo, width):
            # to whoever starts it, before anything is sent; an object holds nothing else
            print(line, file=out if (told and given.out is None) or given.dry_run else sys.stderr)
        if given.dry_run:
            return DONE
        if told and given.out is None:
            print(file=out, flush=True)
        try:
            talked = steps.talk(asked)
        except NoServerError as error:
            return complain(f"{given.host}: {error}", UNREADABLE)
        judged = judge(talked)
        if told:
            for line in probe_page.page(talked, judged, width or columns(), style):
                print(line, file=out)
        else:
            write_json(out, probe_page.record(talked, judged))
    return MATCHED if given.fail_on and judged.mailguard == "yes" else DONE


def _source(text: str | None) -> str | None:
    try:
        return None if text is None else str(ipaddress.ip_address(text))
    except ValueError:
        raise UsageError(f"--source {text}: an address of this machine is wanted") from None


def _address(host: str, found: tuple[str, ...], source: str | None) -> str:
    """The first address, of the source's family where there is one."""
    fitting = [each for each in found if source is None or (":" in each) == (":" in source)]
    if not fitting:
        raise UsageError(f"--source {source}: {host} has no address of that family ({', '.join(found)})")
    return fitting[0].partition("%")[0]
