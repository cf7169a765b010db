"""Stormshield: alarms with their action, level and inspection level become rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, ClassVar, Final

from smtpinspect.actions import ALARM, DETACH, DROP, DROP_FLOW, PASS, RESET, Action
from smtpinspect.errors import UsageError
from smtpinspect.facts import (
    COMMAND,
    EMPTY_LINE,
    FIELD,
    LINE,
    PATH,
    REPLY,
    REPLY_LINE,
    Given,
    Octets,
    Pattern,
    Test,
    flags,
    gt,
    in_,
    ne,
    not_in,
)
from smtpinspect.inspectors.base import Evidence, Inspector, Remedy, Rule, Scope, Settings
from smtpinspect.inspectors.stormshield import profiles as p
from smtpinspect.inspectors.stormshield.pages import FAMILIES, PAGES
from smtpinspect.inspectors.stormshield.remedies import remedies

_TEARDOWN: Final = {"drop-flow": DROP_FLOW, "drop": DROP, "rst-both": RESET}
_SUBJECT: Final = b"Subject"


class Stormshield(Inspector):
    """The SMTP plugin of Stormshield's intrusion prevention: five alarms, and filters without an alarm id."""

    name = "stormshield"
    title = "Stormshield (Netasq) SMTP alarms"
    gid = 2002
    profiles = p.PROFILES
    default_profile = "high"
    knobs = p.KNOBS
    pages = PAGES
    families = FAMILIES
    sources = p.SOURCES
    hints = p.HINTS
    short = ("smtp-",)
    one_alarm = True
    # The alarm grammar has pass and block only; what block does to the connection is `teardown`.
    words: ClassVar[dict[str, str]] = {"block": "block", "pass": "pass"}

    @property
    def action_words(self) -> tuple[str, ...]:
        """An alarm passes or blocks."""
        return ("pass", "block")

    def derive(self, values: dict[str, Any]) -> dict[str, Any]:
        """The three line limits follow the preset."""
        made = dict(values)
        for key, limit in zip(p.LIMITS, p.PRESETS[made["preset"]], strict=True):
            if made[key] is None:
                made[key] = limit
        if made["template_alarm"] is None:
            made["template_alarm"] = self.profile
        if not made["reply_codes"]:
            raise UsageError("reply_codes for stormshield is empty")
        return made

    def rules(self, settings: Settings) -> Iterable[Rule]:
        """The rows of one inspection profile; none at inspection level firewall, or with the plugin off."""
        if settings.level == "firewall" or not settings.state:
            return
        yield from self._overflow(settings)
        yield from self._characters(settings)
        yield from self._subject(settings)
        yield from self._empty(settings)
        yield from self._unsupported(settings)
        yield from self._filters(settings)

    def notes(self) -> tuple[str, ...]:
        """Settings that are given and that no verdict depends on."""
        values = self.settings.values
        given = [(token, values[key], why) for key, (token, why) in p.WITHOUT_EFFECT.items()]
        return tuple(
            f"{token}={'On' if on else 'Off'}: in no verdict ({why})"
            for token, on, why in given
            if on is not None
        )

    def scope(self, settings: Settings) -> Scope:
        """A box has one inspection profile for incoming and one for outgoing traffic."""
        into, out = (direction in settings.directions for direction in p.DIRECTIONS)
        return Scope(inside=settings.inside, inbound=into, outbound=out)

    def remedies(self, rule: str) -> tuple[Remedy, ...]:
        """Menu and serverd commands."""
        return remedies(rule)

    def act(self, row: Rule, word: str, settings: Settings) -> Action:
        """What pass or block means here."""
        number = _number(row.id)
        if number is None:
            return _block(settings, DROP) if word == "block" else PASS
        return _alarm(number, word, settings)

    def _row(
        self, s: Settings, name: str, when: Pattern, detail: str = "", evidence: Evidence | None = None
    ) -> Rule:
        rule = f"stormshield.{name}"
        page = PAGES[rule]
        number = _number(rule)
        if number is None:
            evidence = evidence or p.FILTER
            return Rule(
                rule,
                when,
                _block(s, DROP),
                evidence.basis,
                evidence.source,
                page.signature_id,
                page.title,
                detail,
            )
        alarm = p.ALARMS[number]
        evidence = evidence or alarm.evidence
        action = _alarm(number, p.ACTIONS[s.template_alarm][number], s)
        return Rule(
            rule,
            when,
            action,
            evidence.basis,
            evidence.source,
            page.signature_id,
            page.title,
            detail,
            level=alarm.level,
        )

    def _overflow(self, s: Settings) -> Iterator[Rule]:
        where = in_("header", "part-header") if s.mime_headers else in_("header")
        lines: tuple[tuple[str, Test, int, str], ...] = (
            ("command", in_("command", "auth"), s.command_line_limit, "command line"),
            ("reply", in_("reply"), s.server_line_limit, "server response line"),
            ("header", where, s.header_line_limit, "header line"),
        )
        for name, place, limit, detail in lines:
            yield self._row(s, f"smtp-217.{name}", LINE(where=place, length=gt(limit)), detail)
        bdat = COMMAND(verb=b"BDAT", chunk=gt(s.bdat_size))
        yield self._row(s, "smtp-217.bdat", bdat, "BDAT extension")
        xexch50 = COMMAND(verb=b"XEXCH50", chunk=gt(s.xexch50_size))
        yield self._row(s, "smtp-217.xexch50", xexch50, "Exchange data")

    def _characters(self, s: Settings) -> Iterator[Rule]:
        always = Octets.BAD_NAME | Octets.NO_COLON | Octets.CONTROL | Octets.NUL | Octets.BARE_CR
        if s.bare_lf_is_invalid:
            always |= Octets.BARE_LF
        level = _levels(s)
        # 8-bit octets in the Subject are 231's. The rows exclude each other: the first bad octet decides.
        for octets, given in _eight_bit(s):
            other = FIELD(name=not_in(_SUBJECT), octets=flags(always | octets), **level, **given)
            yield self._row(s, "smtp-122", other)
        yield self._row(s, "smtp-122", FIELD(name=in_(_SUBJECT), octets=flags(always), **level))
        if s.scope == "message+envelope":
            for octets, given in _eight_bit(s):
                path = PATH(octets=flags(octets | Octets.CONTROL | Octets.NUL | Octets.BARE_CR), **given)
                yield self._row(s, "smtp-122", path, "envelope")

    def _subject(self, s: Settings) -> Iterator[Rule]:
        evidence = p.INTERNET_231 if s.template_alarm == "internet" else None
        for octets, given in _eight_bit(s):
            subject = FIELD(name=in_(_SUBJECT), octets=flags(octets), **_levels(s), **given)
            yield self._row(s, "smtp-231", subject, evidence=evidence)

    def _empty(self, s: Settings) -> Iterator[Rule]:
        empty = EMPTY_LINE() if s.blank_is_empty else EMPTY_LINE(blank=0)
        yield self._row(s, "smtp-219.command", empty, "command line")
        yield self._row(s, "smtp-219.reply", REPLY_LINE(form=in_("empty", "short")), "response")

    def _unsupported(self, s: Settings) -> Iterator[Rule]:
        if s.mode == "advertised":
            yield self._row(s, "smtp-223", COMMAND(advertised=0), "not advertised")
            return
        codes = in_(*(int(code) for code in s.reply_codes))
        # A reply without a command refuses none.
        yield self._row(s, "smtp-223", REPLY(code=codes, fits=ne("unsolicited")), "response")

    def _filters(self, s: Settings) -> Iterator[Rule]:
        if s.filter_chunked_extension:
            yield self._row(s, "filter-chunking", COMMAND(verb=b"BDAT"))
        if s.filter_exchange_extensions:
            yield self._row(s, "filter-exchange", COMMAND(verb=in_(*p.EXCHANGE)))
        if s.filter_turning_extensions:
            yield self._row(s, "filter-turning", COMMAND(verb=in_(*p.TURNING)))
        if s.filter_pipelining_extension:
            yield self._row(s, "filter-pipelining", COMMAND(outstanding=gt(0)))
        if s.outstanding_pipelined_request_limit:
            # The command itself waits too: with a limit of 3 the fourth one is too much.
            pending = gt(s.outstanding_pipelined_request_limit - 1)
            yield self._row(s, "pipelined-limit", COMMAND(outstanding=pending))
        if s.deny_op:
            denied = COMMAND(verb=in_(*_verbs(s.deny_op)))
            yield self._row(s, "command-denied", denied, "DenyOp", p.DENIED)
        if s.allow_op:
            # What DenyOp holds has its alert by the row above.
            listed = COMMAND(verb=not_in(*dict.fromkeys([*_verbs(s.allow_op), *_verbs(s.deny_op)])))
            yield self._row(s, "command-denied", listed, "AllowOp", p.DENIED)


def _number(rule: str) -> int | None:
    """The alarm's number; None for the filters, which have none."""
    family = rule.split(".")[1]
    return int(family[5:]) if family.startswith("smtp-") else None


def _block(s: Settings, action: Action) -> Action:
    """Level ids detects and blocks nothing."""
    return ALARM if s.level == "ids" else action


def _alarm(number: int, word: str, s: Settings) -> Action:
    if word == "block":
        return _block(s, _TEARDOWN[s.teardown])
    # pass on a sensitive alarm ends the scan of this connection.
    return DETACH if str(number) in s.sensitive else ALARM


def _levels(s: Settings) -> dict[str, Any]:
    return {} if s.mime_headers else {"level": 0}


def _eight_bit(s: Settings) -> list[tuple[Octets, dict[str, Any]]]:
    """Which octets of 128 and more are wrong, and for which mails."""
    if not s.allow_smtputf8:
        return [(Octets.EIGHT_BIT, {})]
    return [
        (Octets.EIGHT_BIT, {"not_given": Given.SMTPUTF8}),
        (Octets.BAD_UTF8, {"given": Given.SMTPUTF8}),
    ]


def _verbs(words: Iterable[str]) -> list[bytes]:
    return [word.upper().encode() for word in words]
