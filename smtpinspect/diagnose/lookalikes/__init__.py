"""Look-alikes: what breaks a mail as a firewall's content rule does and is none. The packets judge; a row each."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, Final, NamedTuple

from smtpinspect.diagnose.account import Account
from smtpinspect.diagnose.lookalikes.table import TABLE
from smtpinspect.diagnose.lookalikes.view import Found, Out, View
from smtpinspect.diagnose.model import CONFIDENCE, Against, Case, Cause, Path, Remedy, Sign
from smtpinspect.grammar import limits
from smtpinspect.simulate.clock import SECOND

if TYPE_CHECKING:
    from smtpinspect.diagnose.survey import Survey

__all__ = ["TABLE", "Around", "around", "judge"]

# What a box on the way that ends a connection in the server's name leaves open.
BESIDE: Final = ("port-filter", "idle-timeout", "capture-stopped", "capture-one-way", "capture-gaps")
ORDER: Final = tuple(CONFIDENCE)
_PLACES: Final = re.compile(r"\b(?:SERVER|PORT|TIME)\b")


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
    causes: list[Cause] = []
    against: list[Against] = []
    for row in TABLE:
        said = box if box is not None and row.name not in BESIDE else row.test(view)
        if isinstance(said, Found):
            remedies = tuple(_addressed(each, case) for each in row.remedies)
            made = Cause(row.name, "look-alike", said.confidence, row.title, said.signs, remedies, said.degree)
            causes.append(made._replace(bare=said.bare))
        elif said is not None:
            against.append(Against(row.name, "ruled-out", said.why, said.signs))
    return sorted(causes, key=lambda cause: ORDER.index(cause.confidence)), against


def _addressed(remedy: Remedy, case: Case) -> Remedy:
    """Commands are to be pasted: they name this server, its port, and when the mail began."""
    begun = case.flow.start_ns if case.mail is None else case.mail.start_ns
    known = {
        "SERVER": case.path[1].strip("[]"), "PORT": case.flow.server.rpartition(":")[2],
        "TIME": f"{datetime.fromtimestamp(begun // SECOND, UTC):%F %T} UTC",
    }  # fmt: skip

    def filled(text: str) -> str:
        return _PLACES.sub(lambda found: known[found[0]], text)

    title, check, undo = map(filled, (remedy.title, remedy.check, remedy.undo))
    return remedy._replace(title=title, commands=tuple(map(filled, remedy.commands)), check=check, undo=undo)


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
