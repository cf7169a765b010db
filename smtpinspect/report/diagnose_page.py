"""A diagnosis on a page that a mail administrator can act on."""

from __future__ import annotations

from collections.abc import Iterator

from smtpinspect.diagnose.model import Case, Diagnosis
from smtpinspect.report.terminal import Style, safe


def page(diagnosis: Diagnosis, width: int | None, style: Style) -> Iterator[str]:
    """The lines of the page; `width` None: as wide as they are."""
    for case in diagnosis.cases:
        if case.failed:
            yield from _case(case)
    yield f"{sum(not case.failed for case in diagnosis.cases)} without a failure"


def _case(case: Case) -> Iterator[str]:
    mail, seen = case.mail, case.observed
    who = "no mail" if mail is None else f"{safe(mail.mail_from or '')} to {safe(', '.join(mail.rcpt_to))}"
    yield f"Mail {who}   {case.flow.client} to {case.flow.server}"
    yield f"{seen.outcome} at {seen.phase}: {seen.broken.kind} by {seen.broken.by}"
    for cause in case.causes:
        yield f"  {cause.confidence:9} {cause.cause}: {cause.title}"
