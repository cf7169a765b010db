"""SonicWall: switches become rows on what the scanners find in attachments."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any, ClassVar, Final

from smtpinspect.actions import PASS, PROJECT, Action, Basis
from smtpinspect.errors import UsageError
from smtpinspect.facts import CONTENT
from smtpinspect.inspectors.base import Inspector, Remedy, Rule, Scope, Settings
from smtpinspect.inspectors.sonicwall import profiles as p
from smtpinspect.inspectors.sonicwall.pages import PAGES
from smtpinspect.inspectors.sonicwall.remedies import remedies

_REPLY: Final = re.compile(rb"[45][0-9]{2} [\x20-\x7e]{0,507}")


class SonicWall(Inspector):
    """The file restrictions of SonicOS gateway anti-virus."""

    name = "sonicwall"
    title = "SonicWall gateway anti-virus, file restrictions on SMTP"
    gid = 2003
    profiles = p.PROFILES
    knobs = p.KNOBS
    pages = PAGES
    sources = p.SOURCES
    hints = p.HINTS
    words: ClassVar[dict[str, str]] = {"block": "block", **{word: word for word in p.ENDS}}

    def derive(self, values: dict[str, Any]) -> dict[str, Any]:
        """`on_match` follows the two switches."""
        made = dict(values)
        if made["on_match"] is None:
            answers = "reply552-fin" if made["smtp_responses"] else "reset"
            made["on_match"] = "log-only" if made["detection_only"] else answers
        if not _REPLY.fullmatch(made["reply"]):
            raise UsageError("reply for sonicwall: one line is wanted, a code of 4xx or 5xx, a space, a text")
        return made

    def rules(self, settings: Settings) -> Iterable[Rule]:
        """The rows of what is switched on; none when SMTP is inspected in no direction."""
        scope = self.scope(settings)
        if not (scope.inbound or (scope.outbound and scope.inside)):
            return
        if settings.password_protected_zip:
            yield from _rows(settings, "encrypted-zip")
        if settings.ms_office_macros:
            yield from _rows(settings, "office-macro")
        if settings.packed_executables:
            yield from _rows(settings, "packed-exe", settings.packers)
            if settings.extended_packers:
                yield from _rows(settings, "packed-exe-extended")
        if settings.block_multiple_compress_files:
            yield from _rows(settings, "nested-archive")
        for limit in p.LIMITS:
            yield _row(
                "scan-limit", "scan-limit", limit, PASS, p.LIMIT.basis, p.LIMIT.source, seen=True
            )

    def scope(self, settings: Settings) -> Scope:
        """By zones, as far as `inside` tells them, and by the exclusion object."""
        return Scope(
            inside=settings.inside,
            inbound=settings.inbound_inspection,
            outbound=settings.outbound_inspection,
            excluded=settings.exclusions,
        )

    def notes(self) -> tuple[str, ...]:
        """Switches that are on and change no verdict."""
        s = self.settings
        told = []
        if s.scan_high_compression:
            told.append("scan_high_compression=on: in no verdict (what the box leaves out is not published)")
        if s.outbound_inspection and not s.inside:
            told.append("outbound_inspection=on: in no verdict without inside= (every connection is inbound)")
        return tuple(told)

    def remedies(self, rule: str) -> tuple[Remedy, ...]:
        """Menus of SonicOS 5.8 to 7, and the REST API."""
        return remedies(rule)

    def act(self, row: Rule, word: str, settings: Settings) -> Action:
        """Block is what `on_match` says, answer a 552 with a FIN; the words of `on_match` serve too."""
        word = {"block": settings.on_match, "answer": "reply552-fin"}.get(word, word)
        return p.ending(word, settings.reply) if word in p.ENDS else super().act(row, word, settings)


def _rows(s: Settings, name: str, only: tuple[str, ...] | None = None) -> Iterator[Rule]:
    """A row for each thing that trips the restriction, so that an alert tells which it was."""
    found, (basis, source) = p.RESTRICTIONS[name]
    basis = PROJECT if p.ENDS[s.on_match][1] == PROJECT else basis
    action = p.ending(s.on_match, s.reply)
    for kind, details in found:
        for detail in details:
            if only is None or detail in only:
                yield _row(name, kind, detail, action, basis, source)


def _row(
    name: str, kind: str, detail: str, action: Action, basis: Basis, source: str, seen: bool = False
) -> Rule:
    page = PAGES[f"sonicwall.{name}"]
    return Rule(
        f"sonicwall.{name}",
        CONTENT(kind=kind, detail=detail),
        action,
        basis,
        source,
        page.signature_id,
        page.title,
        detail or "method not told",
        kind="seen" if seen else "emulate",
        level="major",
    )
