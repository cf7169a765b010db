"""What a rule's action looks like on the wire, on each side of the box, and whether that is what was seen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, NamedTuple, cast

from smtpinspect.actions import DROP_FLOW, RESET, Action, Strength
from smtpinspect.diagnose.causes.scene import Scene, Side
from smtpinspect.diagnose.model import BreakKind
from smtpinspect.enforce.plan import Ending, deed_of
from smtpinspect.inspectors.base import Rule

if TYPE_CHECKING:
    from smtpinspect._core.rows import _Rule


class Look(NamedTuple):
    """What each end is told when a rule fires: drop (nothing at all), rst, fin, reply, or `pass`: the dialogue goes
    on. `setting`: the setting under which it does so; "" for the one that was judged. `alone`: only that segment is
    lost, with its repetitions."""

    client: str
    server: str
    setting: str = ""
    alone: bool = False

    def on(self, side: Side) -> tuple[str, ...]:
        return {"sender": (self.client,), "receiver": (self.server,)}.get(side, (self.client, self.server))


# How else each product can be told to end a flow.
_SONICWALL: Final = (
    Look("reply", "rst", "smtp_responses=on"),
    Look("rst", "rst", "smtp_responses=off"),
    Look("drop", "drop", "on_match=drop"),
)
_STORMSHIELD: Final = (
    Look("drop", "drop", "teardown=drop-flow"),
    Look("drop", "drop", "teardown=drop", alone=True),
    Look("rst", "rst", "teardown=rst-both"),
)
_MAILGUARD: Final = (
    Look("drop", "rst", "drop_rst=server"),
    Look("rst", "rst", "drop_rst=client+server"),
    Look("rst", "drop", "drop_rst=client"),
)
SETTINGS: Final[Mapping[str, tuple[Look, ...]]] = {
    "sonicwall": _SONICWALL,
    "stormshield": _STORMSHIELD,
    "mailguard": _MAILGUARD,
}


def looks(row: Rule | _Rule) -> tuple[Look, ...]:
    """As judged first, then under the product's other settings; none for what leaves the flow alone."""
    own = _own(row, row.action)
    if own is None:
        return ()
    others: tuple[Look, ...] = ()
    ends = row.action.strength in (Strength.DROP_FLOW, Strength.RESET) or own.client == "reply"
    if ends or row.id.startswith("stormshield.smtp-"):
        others = SETTINGS.get(row.id.partition(".")[0], ())
    return (own, *(look for look in others if (look[:2], look.alone) != (own[:2], own.alone)))


def _own(row: Rule | _Rule, action: Action) -> Look | None:
    deed = deed_of(cast(Rule, row))
    if deed.ending is not None:
        return Look(_told(deed.ending, True), _told(deed.ending, False))
    if deed.lost:
        return Look("drop", "drop", alone=True)
    if deed.rewrite is not None:
        return Look("drop", "drop") if row.breaks else Look("pass", "pass")
    if deed.reply:
        return Look("pass", "pass")
    if action.strength in (DROP_FLOW.strength, RESET.strength):
        return Look("drop", "drop")
    return None


def _told(ending: Ending, client: bool) -> str:
    if client and ending.reply:
        return "reply"
    return (ending.client if client else ending.server) or "drop"


# What the ends do with a break shows, too: an end that hears nothing closes in the end, and the others hear that.
_SEEN: Final[Mapping[str, frozenset[BreakKind]]] = {
    "drop": frozenset({"drop", "fin", "none"}),
    "rst": frozenset({"rst"}),
    "fin": frozenset({"fin"}),
    "reply": frozenset({"reply", "fin", "rst"}),
}


def fit(row: Rule | _Rule, scene: Scene) -> Look | None:
    """The look of this row that was seen here, or None."""
    for look in looks(row):
        told = look.on(scene.side)
        if "drop" in told and scene.goes_on is not None and look.alone != scene.goes_on:
            continue
        if any(scene.kind in _SEEN.get(each, frozenset()) for each in told):
            return look
    return None
