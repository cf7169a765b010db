"""`smtpinspect replay`: what happened to each mail, and what would behind each firewall."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, BinaryIO, Final

from smtpinspect.commands.arguments import (
    COMMANDS,
    nearest,
    openable,
    parser_of,
    source_of,
    sources,
)
from smtpinspect.commands.console import (
    PROG,
    STOPPED,
    UNREADABLE,
    check_output,
    complain,
    progress,
)
from smtpinspect.commands.reporting import (
    LOGS,
    Job,
    endings,
    engine_of,
    feed,
    formats,
    matched_page,
    print_page,
    report_eve,
    report_log,
    summary_of,
)
from smtpinspect.errors import UsageError

if TYPE_CHECKING:
    from smtpinspect.engine import Engine

PIECE: Final = 512  # octets of a file that tell what it is

REPLAY_HELP: Final = """\
INSPECTOR is NAME[:PROFILE][,key=value]...
  mailguard    pix-4.0 pix-4.4 pix-5 pix-6 fwsm-3 asa-7.0 asa-8 asa-9-tls
               (pix-6); RULE.action=pass|alarm|drop-flow...
  stormshield  low medium high internet (high); level=firewall|ids|ips;
               RULE.action=pass|block
  sonicwall    default (default);
               on_match=reply552-fin|reply552-rst|reset|drop|log-only
  inside=NETWORK+NETWORK tells stormshield and sonicwall what lies behind the
  firewall; without it every connection is taken for inbound
  off=RULE+RULE switches rules off; config=FILE reads what the firewall prints
  Others come with packages that you install. Without -i: all built in.

observed, in the capture:
  accepted   the server took the mail (2xx to the end of data)
  refused    the reply tells: 4xx, 5xx
  aborted    RSET, EHLO or QUIT before the text
  stalled    silence until the client gave up or the capture ends
  reset      an RST ended it       closed  a FIN ended it, without a reply
  encrypted  TLS                   unknown the capture does not show it

verdict, what the emulated firewall would do, weakest first:
  pass, alarm, detach (looks no further), rewrite (bytes overwritten),
  answer (replies in the server's place), drop (this packet), drop-flow
  (nothing passes any more), reset. From drop on the flow breaks without an
  SMTP code.

confidence, what the capture cannot show:
  one-direction gap snaplen super-segments mid-stream cut-off encrypted
  overlap cap end-mark-disputed     (the report explains those that it uses)

--format asa, stormshield and sonicwall write the log of mailguard, stormshield
and sonicwall, each in its own syntax, one event a line, times in UTC: one
alarm per segment, none behind a break. Without -i: that product at its default
profile (mailguard:pix-6 logs as %PIX-; -i mailguard:asa-8 as %ASA-).

examples:
  smtpinspect replay mail.pcap
  smtpinspect replay --each *.pcap
  smtpinspect replay mail.pcap -i mailguard:pix-6,deny_style=noop
  smtpinspect replay mail.pcap -i stormshield,off=smtp-231
  smtpinspect replay --format eve --records mail -o mails.json big.pcap.gz
  smtpinspect replay --format asa -i mailguard:asa-8 -o asa.log mail.pcap
  smtpinspect replay mail.pcap -i stormshield --fail-on break

exit status: 0 done; 1 --fail-on matched; 2 wrong usage or configuration;
3 a capture could not be read to its end, or is none (what was read has been
reported); 130 stopped by Ctrl-C (likewise)
"""


def run(words: list[str], prog: str = "") -> int:
    """Run `smtpinspect replay` with these words; its exit status. `prog`: how it was called."""
    parser = parser_of(
        "replay",
        "Reads captures and reports; sends nothing. Several captures are one stream.",
        REPLAY_HELP,
        prog,
    )
    sources(parser)
    formats(parser)
    parser.add_argument(
        "--each", action="store_true", help="text: each capture by itself, its name in the first column"
    )
    parser.add_argument(
        "--extract", metavar="DIR", help="write a capture of each mail that would be cut there (an empty directory)"
    )
    endings(parser)
    given = parser.parse_intermixed_args(words)
    if given.each and given.format != "text":
        raise UsageError("--each is for --format text; of the others, several captures are one stream")
    if prog:
        _look_at(given.captures)
    check_output(given.out, given.captures)

    if given.extract:
        _check_extract(given)
    engine = engine_of(given)
    if given.format == "text":
        status = _report_text(engine, given)
    else:
        status = (report_log if given.format in LOGS else report_eve)(engine, given, Captures(given.captures))
    if given.extract and status != STOPPED:
        _extract(engine_of(given), given)
    return status


def _check_extract(given: argparse.Namespace) -> None:
    from smtpinspect.diagnose.export.cut import empty_folder

    if "-" in given.captures:
        raise UsageError("--extract: a capture in a file is wanted; it is read once more")
    empty_folder(given.extract, "--extract")


def _extract(engine: Engine, given: argparse.Namespace) -> None:
    from smtpinspect.diagnose.export.extract import extract
    from smtpinspect.report.terminal import count

    made = extract(engine, source_of(given.captures), given.extract)
    more = f"; {made.left_out:,} more were not, one directory holds no more" if made.left_out else ""
    print(f"written: {count(len(made.captures), 'capture')} to {given.extract}{more}", file=sys.stderr)


class Captures(Job):
    """Captures as one stream."""

    def __init__(self, captures: Sequence[str]) -> None:
        self.captures = captures
        self.name = captures[0] if len(captures) == 1 else "the captures"

    def source(self) -> str | list[str]:
        return source_of(self.captures)

    def line(self, engine: Engine, out: BinaryIO | None) -> AbstractContextManager[object]:
        return progress(engine, self.captures, out)


def _look_at(captures: Sequence[str]) -> None:
    """`smtpinspect FILE...`: what is it? Anything but a capture is told by its name."""
    from smtpinspect.grammar.magics import CAPTURES, looks_like
    from smtpinspect.source.unpack import packing_of

    for path in captures:
        if path == "-" or os.path.isdir(path):
            continue
        if not os.path.lexists(path) and os.sep not in path and "." not in path:
            near = nearest(path, COMMANDS)
            guess = f" Did you mean {near}?" if near else ""
            raise UsageError(f"{path}: neither a command nor a file.{guess} Commands: {' '.join(COMMANDS)}")
        try:
            if not os.path.isfile(path):
                continue
            with open(path, "rb") as file:
                head = file.read(PIECE)
        except OSError:
            continue  # the reader tells why
        if not head.startswith(CAPTURES) and packing_of(head) is None:
            why = f"{path}: not a capture: {looks_like(head)}."
            more = "Read are captures (pcap and pcapng), messages and mail logs, plain or packed, each kind by itself."
            if title := _configuration(path):
                import shlex

                more = f"It is a configuration ({title}): {PROG} config {shlex.quote(path)}"
            raise SystemExit(complain(why, UNREADABLE, more))


def _configuration(path: str) -> str:
    """What configuration this file is; empty when it is none."""
    from smtpinspect.inspectors import registry
    from smtpinspect.inspectors.configuration import text_of

    try:
        found = registry.recognise(text_of(path))
    except UsageError:
        return ""
    return found[0].title if found else ""


def _report_text(engine: Engine, given: argparse.Namespace) -> int:
    summary = summary_of(engine, given, each=given.each)
    captures = given.captures
    status = 0
    with Captures(captures).line(engine, None):
        if given.each:
            for path in captures:
                openable(path)
            for path, name in zip(captures, _names(captures), strict=True):
                summary.begin(name, path)
                status = max(status, feed(engine, Captures([path]), summary))
                if status == STOPPED:
                    break
        else:
            summary.begin("", captures[0] if len(captures) == 1 else "", len(captures))
            status = feed(engine, Captures(captures), summary)
    print_page(engine, given, summary)
    return status or matched_page(summary, given.fail_on)


def _names(captures: Sequence[str]) -> list[str]:
    """The captures' names as a column; with their folders where names alone are not enough."""
    names = []
    for path in captures:
        name = "standard input" if path == "-" else os.path.basename(path)
        for suffix in (".gz", ".zst", ".xz", ".bz2", ".lz4", ".pcap", ".pcapng", ".cap"):
            name = name.removesuffix(suffix) or name
        names.append(name)
    from smtpinspect.report.terminal import safe

    return [safe(name) for name in (names if len(set(names)) == len(names) else captures)]
