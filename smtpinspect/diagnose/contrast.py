"""Accepted mails as the control group: what they refute, and what mails that were cut have that they have not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from smtpinspect.diagnose.measures import Measure, Seen, measured
from smtpinspect.diagnose.model import Against, Case, Cause, Contrast, Path, Sign, path_of
from smtpinspect.diagnose.properties import SEEN
from smtpinspect.diagnose.tally import PathMails, Tally, Trip
from smtpinspect.grammar import limits
from smtpinspect.grammar.phrases import count
from smtpinspect.mta.words import iso
from smtpinspect.simulate.clock import SECOND

if TYPE_CHECKING:
    from smtpinspect.diagnose.survey import Survey

SHOWN: Final = 6  # properties of a case
LEAST: Final = 0.3  # how much larger the share that is cut must be among those that have the property


class Contrasts:
    """What a tally says of each case."""

    def __init__(self, tally: Tally, cases: Sequence[Case] = ()) -> None:
        self.tally = tally
        self.arrived: dict[Path, list[Case]] = {}
        self.seen: dict[Path, Seen] = {}
        for case in cases:
            if case.mail is not None and case.observed.outcome == "accepted":
                self.arrived.setdefault(path_of(case.flow), []).append(case)

    def accepted(self, case: Case) -> Seen:
        """What the accepted mails of its path have at least; those on its own connection it tells of itself."""
        path = path_of(case.flow)
        if path not in self.seen:
            self.seen[path] = _measured(self.arrived.get(path, ()), self.tally.paths.get(path))
        return self.seen[path]

    def of_case(self, case: Case) -> list[Contrast]:
        """Properties of this mail that tell the cut mails of its path from the accepted ones, the sharpest first."""
        group = self.tally.paths.get(case.path)
        if group is None or case.mail is None:
            return []
        words = self.tally.cut.get((case.flow.flow_id, case.mail.tx_id), frozenset())
        told = [(_sharpness(each), each) for each in (self._crossed(group, word) for word in sorted(words))]
        told = [each for each in told if each[0] >= LEAST]
        told.sort(key=lambda each: -each[0])
        return [each for _, each in told[:SHOWN]]

    def refuted(self, case: Case) -> dict[tuple[str, str], Against]:
        """Rules that accepted mails of its path trip under the same settings, by inspector's label and full id."""
        group = self.tally.paths.get(case.path)
        if group is None:
            return {}
        return {key: _refuted(key[1], trip, group.last_cut_ns) for key, trip in group.trips.items()}

    def refutes(self, case: Case, cause: Cause) -> Against | None:
        """Is it a rule that accepted mails of the same path trip under the same settings?"""
        if cause.kind != "rule" or cause.alert is None:
            return None
        return self.refuted(case).get((cause.alert.inspector, cause.alert.rule))

    def _crossed(self, group: PathMails, word: str) -> Contrast:
        here, everywhere = group.having[word], self.tally.total.having[word]
        return Contrast(
            word, here.cut, here.accepted, group.all.cut - here.cut, group.all.accepted - here.accepted,
            everywhere.cut - here.cut, everywhere.accepted - here.accepted,
        )  # fmt: skip


def of(survey: Survey) -> Contrasts:
    """Of all mails of a survey."""
    return Contrasts(survey.tally, survey.cases)


# Properties (`header-998`) that prove of an accepted mail that a line has more than so many octets.
_LINES: Final[Mapping[str, Measure]] = {"header": "header-line", "body": "body-line", "command": "command-line"}


def _measured(cases: Sequence[Case], group: PathMails | None) -> Seen:
    made = Seen()
    for name, (told, _) in SEEN.items():
        line, _, limit = name.rpartition("-")
        counts = group.having.get(told) if group is not None else None
        if line in _LINES and limit.isdigit() and counts is not None and counts.accepted:
            made.number(_LINES[line], int(limit) + 1)
    for case in cases:
        assert case.mail is not None
        made.number("rcpt", len(case.mail.rcpt_to))
        made.number("sender", len(_octets(case.mail.mail_from)))
        for verb in ("MAIL", "RCPT", "BDAT" if case.mail.bdat else "DATA"):
            made.word("verb", verb.encode())
        made.word("sender-address", _octets(case.mail.mail_from))
        for address in (case.mail.mail_from or "", *case.mail.rcpt_to[: limits.MEASURED_WORDS]):
            made.word("address", _octets(address))
        for address in case.mail.rcpt_to[: limits.MEASURED_WORDS]:
            made.word("domain", _octets(address.rpartition("@")[2]))
    for case in [each for each in cases if each.account is not None][: limits.MEASURED_MAILS]:
        assert case.account is not None and case.mail is not None
        script = case.account.read()
        if script is not None and case.mail.tx_id < len(script.mails):
            end = script.mails[case.mail.tx_id].ends
            made.merge(measured(script, end, end)[0])
    return made


def _sharpness(one: Contrast) -> float:
    """How much more of those with it are cut than of those without; a few count less than many. 0: it tells nothing."""
    having, without = one.cut + one.accepted, one.cut_without + one.accepted_without
    if not without and not one.accepted_elsewhere:
        return 0.0
    base = one.cut_without / without if without else one.cut_elsewhere / (one.cut_elsewhere + one.accepted_elsewhere)
    # half a mail is taken off: 1 of 1 tells less than 20 of 20
    return one.cut / having - base - 0.5 / (having + 1) * (one.cut / having - base)


def _refuted(rule: str, trip: Trip, last_cut_ns: int) -> Against:
    one = trip.mails == 1
    at = f" at limit {trip.limit:,}" if trip.limit is not None else ""
    text = f"{count(trip.mails, 'mail')} that trip{'s' * one} it{at} {'was' if one else 'were'} accepted here"
    text += f", {'at' if one else 'the first at'} {_clock(trip.first_ns)}"
    text += "" if one else f", the last at {_clock(trip.last_ns)}"
    if trip.first_ns > last_cut_ns:
        text += "; only after the last one failed: a rule that was switched off meanwhile looks the same"
    signs = (Sign(None, f"the mail of {client} that ended at {_clock(ns)} was accepted") for client, ns in trip.named)
    return Against(rule, "refuted", text, tuple(signs))


def _clock(ns: int) -> str:
    return f"{iso(ns / SECOND)} UTC"


def _octets(text: str | None) -> bytes:
    return (text or "").encode("utf-8", "replace")
