"""`smtpinspect simulate`: what both mail servers see, log and do next when a firewall breaks the flow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from smtpinspect.commands import captured
from smtpinspect.commands.arguments import Parser, number, output, parser_of, text_or_json
from smtpinspect.commands.console import DONE, text_out, write_json
from smtpinspect.errors import UsageError

if TYPE_CHECKING:
    import argparse

    from smtpinspect.simulate.attempt import Attempt

SIMULATE_HELP: Final = """\
MTA is the sender: exim postfix sendmail opensmtpd qmail exchange rfc5321.
PHASE is where the flow breaks: connect greeting ehlo mail rcpt datacmd
reply354 databody datamid (20,000 bytes into the body, half of a smaller one)
dot dotreply quit.
BREAK is how:
  drop          nothing passes any more, either way; nobody is told
  rst, fin      both sides get an RST, or a FIN; then nothing passes any more
  reply="TEXT"  no break: the server replies this to the command of PHASE
                (datacmd: to DATA; dot: to the end of data; greeting: the
                greeting itself)

Time-outs are the MTA's defaults unless --timeouts says others; TCP is that of
Linux. Nothing is sent, and no time passes: the clock is simulated.

--format json prints one object: mta phase break stage sender_log receiver_log
fate (deferred bounced delivered) scope (message host address) seconds
duplicate_risk retries gives_up_after timeline [{t actor event}].

examples:
  smtpinspect simulate --mta exim --at dot --break drop
  smtpinspect simulate --mta postfix --at datamid --break rst --size 3000000
  smtpinspect simulate --mta sendmail --at rcpt --break reply="451 4.7.1 later"
  smtpinspect simulate --mta exim --at mail --break drop --pipelining \\
      --timeouts connect=5,command=5,data=5,final=7 --format json | jq .fate

exit status: 0 done; 2 wrong usage
"""


def run(words: list[str]) -> int:
    """Run `smtpinspect simulate` with these words; its exit status."""
    parser = parser_of(
        "simulate",
        "What sender and receiver see, log and do next when a firewall breaks the flow.",
        captured.CAPTURE_HELP + SIMULATE_HELP,
    )
    _arguments(parser)
    captured.arguments(parser)
    given = parser.parse_intermixed_args(words)
    if given.capture or given.inspectors:
        return captured.run(given)
    return _without_capture(given)


def _arguments(parser: Parser) -> None:
    parser.add_argument("--mta", default="", metavar="MTA", help="the mail server that sends")
    parser.add_argument("--at", default="", metavar="PHASE", help="where the flow breaks")
    parser.add_argument("--break", dest="broken", default="", metavar="BREAK", help="drop, rst, fin or reply=TEXT")
    parser.add_argument(
        "--size", type=number(0, 100_000_000), metavar="OCTETS", help="of the body (2000)"
    )
    parser.add_argument("--pipelining", action="store_true", help="the server offers PIPELINING")
    parser.add_argument(
        "--timeouts",
        default="",
        metavar="WORD=SECONDS,...",
        help="of the sender: connect command data final; a setting that it does not have is ignored",
    )
    parser.add_argument(
        "--to",
        default="",
        metavar="MTA",
        help="who receives: postfix exim sendmail opensmtpd qmail (default: a scripted server, and all logs)",
    )
    parser.add_argument("--write-client", metavar="FILE", help="write what the client's network card sees, a pcap")
    parser.add_argument("--write-server", metavar="FILE", help="the same of the server's")
    text_or_json(parser, "one object")
    output(parser)


def _without_capture(given: argparse.Namespace) -> int:
    from smtpinspect.simulate import bench

    missing = [
        option
        for option, value in (("--mta", given.mta), ("--at", given.at), ("--break", given.broken))
        if not value
    ]
    if missing:
        raise UsageError(f"without a capture {' and '.join(missing)} must be given. Help: smtpinspect simulate --help")
    captured.check_unused(given)
    captured.check_apart(given)
    timeouts = bench.timeouts_of(given.timeouts)
    size = bench.SIZE if given.size is None else given.size
    asked = bench.question(given.mta, given.at, given.broken, size, given.pipelining, timeouts, given.to)
    tried = bench.simulate(asked)
    _write(tried.attempt, given)
    with text_out(given.out) as (out, width, style):
        if given.format == "json":
            write_json(out, tried.result.record())
        else:
            from smtpinspect.report import simulate_page

            for line in simulate_page.page(tried.result, asked, width, style):
                print(line, file=out)
    return DONE


def _write(attempt: Attempt, given: argparse.Namespace) -> None:
    for option, path, tap in (
        ("--write-client", given.write_client, attempt.client_tap),
        ("--write-server", given.write_server, attempt.server_tap),
    ):
        if path:
            try:
                tap.write(path)
            except OSError as error:
                raise UsageError(f"{option} {path}: cannot be written: {error.strerror}") from None
