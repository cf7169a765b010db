"""`smtpinspect anonymise` for people: what was written, and which verdicts stayed the same."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import Final

from smtpinspect.diagnose.anonymise.face import Anonymised
from smtpinspect.report.terminal import Style, count, program, safe, wrapped

SHOWN: Final = 20  # connections whose verdicts differ


def page(
    done: Anonymised, before: str, out: str, width: int | None, style: Style, *, overwritten: bool = False
) -> Iterator[str]:
    """The lines of the page. `overwritten`: there was a file of this name."""
    compared = done.compared
    if not compared.connections:
        if done.fault is None:
            yield f"Nothing in {safe(before)} is SMTP: {safe(out)} is not written. Other server ports: --port N"
        return
    was = " (the file that was there is overwritten)" if overwritten else ""
    yield f"{safe(out)}: {count(done.packets, 'packet')} of {count(compared.connections, 'SMTP connection')}{was}"
    if done.left_out:
        yield f"  {count(done.left_out, 'frame')} of {safe(before)} that belong to no SMTP connection are not in it"
    if done.encrypted:
        yield f"  TLS in {count(done.encrypted, 'connection')}: what it carries is zeros"
    yield ""
    mails = count(compared.mails, "mail")
    if compared.same:
        yield style(f"VERDICTS: all the same, in {count(compared.connections, 'connection')} with {mails}", "bold")
    else:
        all_of = count(compared.connections, "connection")
        yield style(f"VERDICTS: not the same in {compared.changed:,} of {all_of} ({mails})", "red")
        for change in compared.changes[:SHOWN]:
            parts = [f"no longer {', '.join(change.lost)}"] if change.lost else []
            parts += [f"new {', '.join(change.new)}"] if change.new else []
            more = "; ".join(parts) or "the same rules, elsewhere or with another outcome"
            yield from wrapped(f"{change.client} to {change.server}: {more}", width, "  ")
        if compared.changed > SHOWN:
            yield f"  … and {compared.changed - SHOWN:,} more"
    if not compared.same:
        yield "  (addresses as they are in the new capture)"
    yield from wrapped(
        "Replaced: names, texts, addresses. As they were: times, ports, sizes, and the words of SMTP and MIME. "
        "Look at it before you send it:",
        width,
    )
    yield f"Next: {program()} transcript {shlex.quote(out)}"
