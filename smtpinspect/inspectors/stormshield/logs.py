"""The l_alarm log of Stormshield (WELF): the line of an alarm, and how such lines are read.

Fields, their order and what is quoted are those of the vendor's guide and of public lines; a line ends with CR LF. The
guide names no line with proto=smtp, so the values are ours: firewall SMTPINSPECT, its interface out towards the client
and in towards the server (the other way round where `inside` says so), rule 1 of the local policy, inspection
configuration 01 for profile internet and 00 for the others, time zone +0000. `target` is dst in every line seen. pri is
1 for level major and 4 for minor (inferred); level ignore leaves no line. The filters have no alarm id and no
documented line: they block in silence here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from smtpinspect.actions import Strength
from smtpinspect.grammar import limits
from smtpinspect.inspectors.logline import (
    End,
    Event,
    LogLine,
    bounded,
    clean,
    endpoint,
    number,
    outbound,
    pairs,
    stamp,
    when,
)
from smtpinspect.inspectors.stormshield.profiles import ALARMS

if TYPE_CHECKING:
    from smtpinspect._core.views import Alert

END: Final = "\r\n"
_BLOCKS: Final = {strength.word for strength in Strength if strength >= Strength.DROP}
_PRI: Final = {"major": 1, "minor": 4}
# Of the alarms of one segment the first of these is raised.
_ORDER: Final = (217, 122, 231, 219, 223)
_NAMES: Final = {25: "smtp"}
_EPHEMERAL: Final = 1_024
# Device and name of the interfaces.
_OUT: Final = ("Ethernet0", "out")
_IN: Final = ("Ethernet1", "in")
_FAMILY: Final = re.compile(r"stormshield\.smtp-(\d+)(?:\.|$)")


def write(event: Event) -> list[str]:
    """The line of this alarm, without its line end; none for level ignore and for what has no alarm id."""
    alert = event.alert
    alarm = _alarm(alert)
    level = getattr(alert.row, "level", "minor")
    if alarm is None or level not in _PRI:
        return []
    time = f'"{when(alert.ns):%Y-%m-%d %H:%M:%S}"'
    ends = [endpoint(alert.client), endpoint(alert.server)]
    interfaces = [_IN, _OUT] if outbound(event) else [_OUT, _IN]
    if alert.direction == "server":
        ends.reverse()
        interfaces.reverse()
    device, name = interfaces[0]
    (src, srcport), (dst, dstport) = ends
    detail = f" ({clean(alert.detail)})" if alarm == 217 and alert.detail else ""
    fields = {
        "id": "firewall",
        "time": time,
        "fw": '"SMTPINSPECT"',
        "tz": "+0000",
        "startime": time,
        "pri": _PRI[level],
        "confid": "01" if event.inspector.profile == "internet" else "00",
        "slotlevel": 2,
        "ruleid": 1,
        "srcif": f'"{device}"',
        "srcifname": f'"{name}"',
        "ipproto": "tcp",
        "proto": "smtp",
        "src": src,
        "srcport": srcport,
        "srcportname": _port_name(srcport),
        "dst": dst,
        "dstport": dstport,
        "dstportname": _port_name(dstport),
        "ipv": 6 if ":" in src else 4,
        "action": "block" if alert.action in _BLOCKS else "pass",
        "msg": f'"{clean(alert.title)}{detail}"',
        "class": "protocol",
        "classification": 0,
        "alarmid": alarm,
        "target": "dst",
        "sensible": "1" if str(alarm) in event.inspector.settings.sensitive else "",
        "logtype": '"alarm"',
    }
    return [bounded(" ".join(f"{key}={value}" for key, value in fields.items() if value != ""))]


def choose(alerts: Sequence[Alert], event_of: Callable[[Alert], Event]) -> Alert | None:
    """Of the alerts of one segment the one that is raised: 217, 122, 231, then the others; None when the flow was cut
    before this segment."""
    if all(alert.after_break for alert in alerts):
        return None
    raised = min(alerts, key=lambda a: (_rank(a), a.offset))
    return raised if write(event_of(raised)) else None


def ends(alert: Alert) -> bool:
    """A blocked packet: the connection stands still, or is cut."""
    return alert.breaks


def _alarm(alert: Alert) -> int | None:
    found = _FAMILY.match(alert.rule)
    return int(found[1]) if found else None


def _rank(alert: Alert) -> int:
    alarm = _alarm(alert)
    return _ORDER.index(alarm) if alarm in _ORDER else len(_ORDER)


def _port_name(port: int) -> str:
    return _NAMES.get(port) or ("ephemeral_fw_tcp" if port >= _EPHEMERAL else "")


def parse(line: str) -> LogLine | None:
    """A line of l_alarm, behind any syslog header; None for any other line."""
    if len(line) > limits.LOG_READ:
        return None
    fields = pairs(line.rstrip("\r\n"))
    if "alarmid" not in fields or "msg" not in fields or fields.get("logtype", "alarm") != "alarm":
        return None
    alarm = number(fields["alarmid"])
    ours = alarm in ALARMS and fields.get("proto", "smtp") == "smtp"
    return LogLine(
        product="stormshield",
        id=fields["alarmid"],
        text=fields["msg"],
        severity=number(fields.get("pri")),
        time=stamp(fields.get("time", ""), fields.get("tz", "")),
        action={"block": "drop", "pass": "pass"}.get(fields.get("action", ""), ""),
        rule=f"stormshield.smtp-{alarm}" if ours else "",
        source=_end(fields, "src", fields.get("srcifname", "")),
        destination=_end(fields, "dst", fields.get("dstifname", "")),
        fields=fields,
    )


def _end(fields: dict[str, str], side: str, interface: str) -> End | None:
    if side not in fields:
        return None
    return End(interface, fields[side], number(fields.get(f"{side}port")) or 0)
