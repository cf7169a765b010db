"""Look-alikes: what breaks a mail as a firewall's content rule does and is none. The packets judge; a row each."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Final, NamedTuple

from smtpinspect.diagnose.account import Account
from smtpinspect.diagnose.lookalikes.filled import filled
from smtpinspect.diagnose.lookalikes.table import TABLE
from smtpinspect.diagnose.lookalikes.view import Found, LookAlike, Out, Said, View
from smtpinspect.diagnose.model import CONFIDENCE, Against, Case, Cause, Path, Sign
from smtpinspect.diagnose.observe.outcome import observe
from smtpinspect.grammar import limits

if TYPE_CHECKING:
    from smtpinspect.diagnose.survey import Survey

__all__ = ["TABLE", "Around", "around", "judge"]

# What a box on the way that ends a connection in the server's name leaves open.
BESIDE: Final = ("port-filter", "idle-timeout", "capture-stopped", "capture-one-way", "capture-gaps")
# Whose tests ask what the server answered, and when.
WAITING: Final = ("slow-scanner", "sender-timeout")
ANSWERING: Final = (
    *WAITING, "full-disk", "milter", "filter-refuses", "busy", "greylisting", "refused", "gateway-virus", "tarpit",
    "idle-timeout", "loss", "outage",
)
ORDER: Final = tuple(CONFIDENCE)


def judge(case: Case, beside: Around) -> tuple[list[Cause], list[Against]]:
    """Every look-alike of a broken mail: causes, best first, and those that are ruled out.

    Needs `case.account`; without one nothing is said. Those of which the capture cannot tell are in neither list.
    """
    if case.account is None:
        return [], []
    view = view_of(case, case.account, beside)
    ended = case.observed.broken
    box = None
    if ended.by == "middlebox" and ended.kind != "drop":
        box = Out(f"a box on the way sent what ended it ({ended.kind})", (Sign(ended.packet, "not the server's"),))
    kept = case.kept_back
    if kept is not None and ended.kind == "drop":
        one, two = kept.between
        box = Out(f"a box between {one} and {two} acknowledged it and kept it back", (Sign(ended.packet, "left", one),))
    behind = _behind(view)
    causes: list[Cause] = []
    against: list[Against] = []
    for row in TABLE:
        said = box if box is not None and row.name not in BESIDE else _said(row, view, behind)
        if kept is not None and ended.kind == "drop" and row.name in WAITING:
            said = _scanned(row, view)
        if isinstance(said, Found):
            remedies = tuple(filled(each, case) for each in row.remedies)
            made = Cause(row.name, "look-alike", said.confidence, row.title, said.signs, remedies, said.degree)
            causes.append(made._replace(bare=said.bare))
        elif said is not None:
            against.append(Against(row.name, "ruled-out", said.why, said.signs))
    return sorted(causes, key=lambda cause: ORDER.index(cause.confidence)), against


def _scanned(row: LookAlike, view: View) -> Said:
    """A box that keeps a text back may still be reading it when the client gives up."""
    said = row.test(view) if row.name == "sender-timeout" else None
    return Found("possible", said.signs[:1]) if isinstance(said, Found) else said


def _behind(view: View) -> tuple[str, View] | None:
    """The same as the point saw it where an answer left that never came to the client; None: no such point is known.

    Not of an answer that left when the client had given up."""
    case, lost = view.case, view.case.answer_lost
    seen = case.elsewhere.get(lost.between[0]) if lost is not None else None
    if seen is None or lost is None:
        return None
    left = next((p.ns for p in seen.account.server.holding(lost.at)), None)
    if left is None or (view.account.closed is not None and view.account.closed.ns < left):
        return None
    moved = replace(case, account=seen.account)
    moved.observed = observe(moved)
    moved.script = seen.account.script
    if case.mail is not None and moved.script is not None and case.mail.tx_id < len(moved.script.mails):
        moved.transaction = moved.script.mails[case.mail.tx_id]
    return lost.between[0], replace(view, case=moved, account=seen.account, last_ns=seen.until_ns)


def _said(row: LookAlike, view: View, behind: tuple[str, View] | None) -> Said:
    """Of a lost answer the point tells that had it: how long it took, what it said, how often it was sent."""
    if behind is None or row.name not in ANSWERING:
        return row.test(view)
    point, there = behind
    if row.name in WAITING:
        return Out("the server did answer; its answer was lost", (Sign(None, "its answer left", point),))
    said = row.test(there)
    if isinstance(said, Found):
        return said._replace(signs=tuple(sign._replace(point=point) for sign in said.signs))
    if isinstance(said, Out):
        return Out(f"{said.why} (seen at {point})", tuple(sign._replace(point=point) for sign in said.signs))
    return said


class Around(NamedTuple):
    """What stands around each case of a survey: those of its path, the first ones where there are many; when the last
    packet of all came; whether the capture is damaged.
    """

    paths: dict[Path, list[Case]]
    last_ns: int
    damaged: bool


def around(survey: Survey) -> Around:
    """Once for all cases of a survey."""
    paths: dict[Path, list[Case]] = {}
    last = 0
    for case in survey.cases:
        last = max(last, case.flow.end_ns)
        beside = paths.setdefault(case.path, [])
        if len(beside) < limits.PATH_CASES:
            beside.append(case)
    return Around(paths, last, survey.fault is not None)


def view_of(case: Case, account: Account, beside: Around) -> View:
    """The case among the others of its path."""
    others = [each for each in beside.paths.get(case.path, ()) if each is not case]
    traced = (
        (each, each.account) for each in others
        if each.account is not None and each.flow.flow_id != case.flow.flow_id
    )  # fmt: skip
    last = max(beside.last_ns, case.flow.end_ns)
    return View(case, account, others, [*islice(traced, limits.PATH_TRACES)], last, beside.damaged)
