"""`smtpinspect diagnose --impact`: how many accepted mails each profile would cut."""

from __future__ import annotations

from typing import TYPE_CHECKING

from smtpinspect.commands.arguments import PORTS, source_of
from smtpinspect.commands.console import (
    DONE,
    STOPPED,
    check_output,
    complain,
    text_out,
    unreadable,
    watched,
    write_json,
)
from smtpinspect.errors import UsageError

if TYPE_CHECKING:
    import argparse


def run(given: argparse.Namespace) -> int:
    """Its exit status. Raises UsageError for what asks of single mails."""
    if not given.captures or given.format == "html":
        raise UsageError("--impact takes captures, and --format text or json")
    for option in ("log", "point", "inside", "outside", "firewall_log", "taken", "sweep", "annotate", "evidence"):
        if getattr(given, option):
            raise UsageError(f"--impact judges all mails of a capture; leave out --{option.replace('_', '-')}")
    check_output(given.out, given.captures)

    from smtpinspect.diagnose.impact import impact
    from smtpinspect.report import impact_page
    from smtpinspect.report.text import products
    from smtpinspect.source.again import places

    made = impact(
        source_of(given.captures), given.inspectors, ports=given.port or PORTS,
        watch=lambda engine: watched(engine, given.captures),
    )  # fmt: skip
    with text_out(given.out) as (out, width, style):
        if given.format == "json":
            write_json(out, made.record())
        else:
            judged = [one.inspector for one in made.profiles], [one.label for one in made.profiles]
            columns = products(*judged, given.inspectors or ())
            found = places(given.captures, impact_page.packets_of(made))
            for line in impact_page.page(made, columns, given.captures, width, style, found):
                print(line, file=out)
    if made.stopped:
        return complain("stopped; what was read is reported", STOPPED)
    return DONE if made.fault is None else unreadable(made.fault)
