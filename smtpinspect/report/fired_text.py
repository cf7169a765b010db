"""What a firewall in the middle does, a line for each rule that fires, for people."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Final

from smtpinspect._core.views import Alert, excerpt
from smtpinspect.report.terminal import Style, cut, safe

_COLOURS: Final = {"rewrite": "yellow", "answer": "yellow", "drop": "red", "drop-flow": "red", "reset": "red"}
_SHOWN: Final = 160  # characters of a line that goes to no terminal


def line_of(alert: Alert, style: Style, width: int | None = None) -> str:
    """The alert: when, between whom, the rule, what is done, the octets."""
    when = datetime.fromtimestamp(alert.ns / 1e9).strftime("%H:%M:%S.%f")[:-3]
    arrow = ">" if alert.direction == "client" else "<"
    how = alert.row.action.how
    done = f"{alert.action} ({how})" if how and how != alert.action else alert.action
    told = " ".join(filter(None, (alert.rule, alert.detail and f"[{alert.detail}]")))
    text = safe(f"{when} {alert.client} {arrow} {alert.server}  {told}  {done}  {excerpt(alert.octets)}")
    text = cut(text, width or _SHOWN)
    return style(text, _COLOURS.get(alert.action, ""))


def counters(found: Mapping[str, int], alerts: Mapping[str, int]) -> list[str]:
    """What became of the packets, and which rules fired how often."""
    words = {
        "packets": "packets",
        "passed": "passed as they were",
        "edited": "changed",
        "dropped": "dropped",
        "held": "held until more was known",
        "released": "of these went on later",
        "injected": "made by the firewall",
        "unsent": "of these could not be sent",
        "errors": "met an error inside",
        "queue_full": "found the queue full",
    }
    out = [f"{found[key]:>12,}  {word}" for key, word in words.items() if key == "packets" or found.get(key)]
    return out + [f"{n:>12,}  {rule}" for rule, n in alerts.items()]
