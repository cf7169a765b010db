"""Look-alikes: what breaks a mail as a firewall's content rule does and is none. The packets judge; a row each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from smtpinspect.diagnose.lookalikes.table import TABLE
from smtpinspect.diagnose.lookalikes.view import Found, Out, View, path_of
from smtpinspect.diagnose.lookalikes.wire import measure
from smtpinspect.diagnose.model import Against, Case, Cause, Confidence, Sign

if TYPE_CHECKING:
    from smtpinspect.diagnose.survey import Survey

__all__ = ["TABLE", "judge"]

NEIGHBOURS: Final = 32  # connections of the same path whose packets are compared
# What a box on the way that ends a connection in the server's name leaves open.
BESIDE: Final = ("port-filter", "idle-timeout", "capture-stopped", "capture-one-way", "capture-gaps")
ORDER: Final[tuple[Confidence, ...]] = ("certain", "likely", "possible", "unlikely")


def judge(case: Case, survey: Survey) -> tuple[list[Cause], list[Against]]:
    """Every look-alike of a broken mail: causes, best first, and those that are ruled out.

    Needs `case.trace`; without one nothing is said. Those of which the capture cannot tell are in neither list.
    """
    if case.trace is None or not case.trace.packets:
        return [], []
    view = view_of(case, survey)
    ended = case.observed.broken
    box = None
    if ended.by == "middlebox" and ended.kind != "drop":
        box = Out(f"a box on the way sent what ended it ({ended.kind})", (Sign(ended.packet, "not the server's"),))
    causes: list[Cause] = []
    against: list[Against] = []
    for row in TABLE:
        said = box if box is not None and row.name not in BESIDE else row.test(view)
        if isinstance(said, Found):
            made = Cause(row.name, "look-alike", said.confidence, row.title, said.signs, row.remedies, said.degree)
            causes.append(made)
        elif said is not None:
            against.append(Against(row.name, "ruled-out", said.why, said.signs))
    return sorted(causes, key=lambda cause: ORDER.index(cause.confidence)), against


def view_of(case: Case, survey: Survey) -> View:
    """The case among the others of its path."""
    assert case.trace is not None
    path = path_of(case)
    others = [each for each in survey.cases if each is not case and path_of(each) == path]
    traced = [
        (each, measure(each.trace)) for each in others
        if each.trace is not None and each.flow.flow_id != case.flow.flow_id
    ]  # fmt: skip
    last = max((each.flow.end_ns for each in survey.cases), default=case.flow.end_ns)
    return View(case, measure(case.trace), others, traced[:NEIGHBOURS], last, survey.fault is not None)
