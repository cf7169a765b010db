"""`smtpinspect config`: what a firewall's own configuration says about SMTP."""

from __future__ import annotations

import sys
from typing import Final

from smtpinspect.commands.arguments import parser_of, text_or_json
from smtpinspect.commands.console import DONE, text_out, write_json
from smtpinspect.errors import UsageError

CONFIG_HELP: Final = """\
FILE is what the firewall prints:
  PIX, ASA, FTD, FWSM   show running-config (better: show running-config all);
                        indentation may be lost, several contexts may follow
                        one another
  Stormshield           commands and answers of serverd: ALARM SHOW, ALARM
                        UPDATE, IPS CONFIG, CONFIG FILTER RULE UPDATE
  SonicWall             REST JSON: GET /gateway-antivirus/base

It prints which generation this is, whether SMTP is inspected and on which
ports, each line that counts, the rules that differ from the defaults, what it
does not understand, and the command that replays a capture behind it.

examples:
  smtpinspect config fw.txt
  ssh fw show running-config | smtpinspect config -
  smtpinspect config --format json fw.txt | jq '.rules[]'
  smtpinspect replay mail.pcap -i mailguard,config=fw.txt

exit status: 0 done; 2 wrong usage, or no configuration that is known here
"""


def run(words: list[str]) -> int:
    """Run `smtpinspect config` with these words; its exit status."""
    parser = parser_of(
        "config", "Reads a firewall's configuration and tells what of SMTP it inspects.", CONFIG_HELP
    )
    parser.add_argument("file", metavar="FILE", help="the configuration as text; - reads standard input")
    text_or_json(parser, "one object")
    given = parser.parse_intermixed_args(words)

    from smtpinspect.inspectors import registry
    from smtpinspect.report import config_page

    name = "standard input" if given.file == "-" else given.file
    found = registry.recognise(_text(given.file))
    if not found:
        raise UsageError(
            f"{name}: no configuration that this version knows. Known: show running-config of PIX, ASA, FTD "
            "and FWSM; serverd commands and answers of Stormshield; REST JSON of SonicWall's gateway anti-virus"
        )
    made = found[0]
    inspector = plain = None
    if not made.beyond:
        product = registry.find(made.product)
        inspector = product(config=made)
        plain = product(inspector.profile)
    with text_out(None) as (out, width, style):
        if given.format == "json":
            write_json(out, config_page.record(made, given.file, inspector, plain))
            return DONE
        for line in config_page.page(made, given.file, inspector, plain, width, style):
            print(line, file=out)
        for other in found[1:]:
            print(f"Also in this text: {other.title} (-i {other.product},config=...)", file=out)
    return DONE


def _text(path: str) -> str:
    from smtpinspect.inspectors.configuration import decoded, text_of

    if path != "-":
        return text_of(path)
    if sys.stdin is None:
        raise UsageError("standard input (-) is closed")
    if sys.stdin.isatty():
        raise UsageError("standard input (-) is a terminal; send a configuration into it, or name a file")
    return decoded(sys.stdin.buffer, "standard input")
