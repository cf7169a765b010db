"""`smtpinspect compare`: two captures, before and after a change."""

from __future__ import annotations

from typing import Final

from smtpinspect.commands.arguments import PORTS, outputs, parser_of, text_or_json
from smtpinspect.commands.console import DONE, MATCHED, check_output, text_out, unreadable, write_json
from smtpinspect.errors import UsageError

COMPARE_HELP: Final = """\
worse is, and nothing else:
{worse}
Shares count when chance explains the difference less often than once in 100
(Fisher's exact test, one-sided; of properties, divided by their number).
TOO FEW TO TELL: of so few mails no difference counts, even if none of those
after the change went through (5 before and 5 after are enough). Servers are
compared by address and port.

--format json prints {{worse, too_few, differences: [{{what, before, after,
worse}}], before, after}}; the last two hold connections, tls, mails, outcomes,
properties, servers.

examples:
  smtpinspect compare monday.pcap tuesday.pcap
  smtpinspect compare --fail-on worse before.pcap after.pcap || echo undo it

exit status: 0 done; 1 --fail-on worse, and it is (too few is not);
2 wrong usage; 3 a capture could not be read to its end
"""


def run(words: list[str]) -> int:
    """Run `smtpinspect compare` with these words; its exit status."""
    from smtpinspect.diagnose.compare import WORSE, compare
    from smtpinspect.report.terminal import wrapped

    told = "\n".join(line for text in WORSE for line in wrapped(f"- {text}", 78, "  "))
    parser = parser_of(
        "compare",
        "What a change did: greetings, EHLO keywords, TLS and outcomes before and after.",
        COMPARE_HELP.format(worse=told),
    )
    parser.add_argument("before", metavar="BEFORE", help="pcap or pcapng, plain or packed")
    parser.add_argument("after", metavar="AFTER", help="the same after the change")
    parser.add_argument("--fail-on", choices=("worse",), help="exit status 1 when it is worse")
    text_or_json(parser)
    outputs(parser, secrets=False)
    given = parser.parse_intermixed_args(words)
    if given.before == given.after == "-":
        raise UsageError("standard input (-) can be read once only")
    check_output(given.out, (given.before, given.after))

    made = compare(given.before, given.after, ports=given.port or PORTS)
    with text_out(given.out) as (out, width, style):
        if given.format == "json":
            write_json(out, made.record())
        else:
            from smtpinspect.report.compare_page import page

            for line in page(made, (given.before, given.after), width, style):
                print(line, file=out)
    status = DONE
    for side in (made.before, made.after):
        if side.fault is not None:
            status = unreadable(side.fault)
    return status or (MATCHED if given.fail_on and made.worse else DONE)
