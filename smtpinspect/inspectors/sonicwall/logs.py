"""The syslog of SonicOS: event 809, Gateway Anti-Virus Alert, and how SonicWall lines are read.

No line with m=809 is public. The form is that of its sister event 609, the shape of the text that of a record of 809,
`<signature> (<class>) blocked.`; the signatures of the restrictions are our words, and so is `detected.` where nothing
is blocked. Category 32 (attacks) is inferred; gcat=3 is that of security services on SonicOS 7. The serial number, the
firewall's address and the interfaces are ours: X1 outside, where the client is unless `inside` says otherwise, and X0.
Times are UTC. IPv6 addresses stand in srcV6 and dstV6, as in the line of 609.
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

if TYPE_CHECKING:
    from smtpinspect._core.views import Alert

END: Final = "\n"
GATEWAY_AV: Final = "809"
_LEAD: Final = "Gateway Anti-Virus Alert: "
_BLOCKS: Final = {strength.word for strength in Strength if strength >= Strength.ANSWER}
_TEXTS: Final = {
    "encrypted-zip": "Password-protected ZIP file",
    "office-macro": "MS-Office file with macros",
    "packed-exe": "Packed executable",
    "packed-exe-extended": "Packed executable",
    "nested-archive": "File with multiple levels of zip/gzip compression",
}
# The packer is part of the signature; of the other restrictions the detail is ours only.
_DETAILED: Final = ("packed-exe", "packed-exe-extended")


def write(event: Event) -> list[str]:
    """The line about this alert, without its line end; none for what the product has no restriction for."""
    alert = event.alert
    rule = alert.rule.partition(".")[2]
    text = _TEXTS.get(rule)
    if text is None or alert.row.kind == "seen" or alert.action == "pass":
        return []
    if rule in _DETAILED and alert.detail:
        text += f", {clean(alert.detail)}"
    blocks = alert.action in _BLOCKS
    ends = [endpoint(alert.client), endpoint(alert.server)]
    interfaces = ["X0", "X1"] if outbound(event) else ["X1", "X0"]
    if alert.direction == "server":
        ends.reverse()
        interfaces.reverse()
    (src, srcport), (dst, dstport) = ends
    wide = ":" in src
    fields = {
        "id": "firewall",
        "sn": "SMTPINSPECT",
        "time": f'"{when(alert.ns):%Y-%m-%d %H:%M:%S} UTC"',
        "fw": "203.0.113.1",
        "pri": 1,
        "c": 32,
        "gcat": 3,
        "m": GATEWAY_AV,
        "msg": f'"{_LEAD}{text} (Restricted) {"blocked" if blocks else "detected"}."',
        "n": event.number,
        "src": f"{'' if wide else src}:{srcport}:{interfaces[0]}",
        "srcV6": src if wide else "",
        "dst": f"{'' if wide else dst}:{dstport}:{interfaces[1]}",
        "dstV6": dst if wide else "",
        "proto": "tcp/smtp",
        "fw_action": '"drop"' if blocks else '"NA"',
    }
    line = " ".join(f"{key}={value}" for key, value in fields.items() if value != "")
    return [bounded(f"<129> {line}")]


def choose(alerts: Sequence[Alert], event_of: Callable[[Alert], Event]) -> Alert | None:
    """Of the alerts of one segment the first that leaves a line; what lies behind a block is never seen."""
    told = [alert for alert in alerts if not alert.after_break and write(event_of(alert))]
    return min(told, key=lambda a: a.offset, default=None)


def ends(alert: Alert) -> bool:
    """Any block does: the 552 too is followed by the end of the connection."""
    return alert.action in _BLOCKS


# --- reading

_CEF: Final = re.compile(
    r"CEF:\d\|SonicWall\|(?P<device>[^|]*)\|(?P<version>[^|]*)\|(?P<id>\d{1,6})\|(?P<name>[^|]*)\|"
    r"(?P<severity>\d{1,2})\|(?P<rest>.*)",
    re.DOTALL,
)
_SAID: Final = re.compile(r"Gateway Anti-Virus Alert: (?P<signature>.+?)(?: \((?P<class>[^()]*)\))? (?P<done>\w+)\.?")


def parse(line: str) -> LogLine | None:
    """A SonicWall line (`id=... m=...`, or CEF), behind any syslog header; None for any other line."""
    if len(line) > limits.LOG_READ:
        return None
    text = line.rstrip("\r\n")
    if cef := _CEF.search(text):
        return _made(cef["id"], number(cef["severity"]), pairs(cef["rest"]), "spt", "dpt")
    fields = pairs(text)
    if not {"id", "m", "fw"} <= fields.keys() or number(fields["m"]) is None:
        return None
    return _made(fields["m"], number(fields.get("pri")), fields, "", "")


def _made(code: str, severity: int | None, fields: dict[str, str], spt: str, dpt: str) -> LogLine:
    said = _SAID.fullmatch(fields.get("msg", ""))
    if said:
        fields |= {name: value for name, value in said.groupdict().items() if value is not None}
    time = fields.get("time", "")
    return LogLine(
        product="sonicwall",
        id=code,
        text=fields.get("msg", ""),
        severity=severity,
        time=stamp(time),
        action=_action(fields),
        rule=_rule(fields.get("signature", "")) if code == GATEWAY_AV else "",
        source=_end(fields, "src", spt, "deviceInboundInterface"),
        destination=_end(fields, "dst", dpt, "deviceOutboundInterface"),
        fields=fields,
    )


def _action(fields: dict[str, str]) -> str:
    told = fields.get("fw_action", "").lower()
    if told in ("drop", "reset"):
        return told
    return "drop" if fields.get("done") == "blocked" else "log" if told == "na" else ""


def _rule(signature: str) -> str:
    for rule, text in _TEXTS.items():
        if signature.startswith(text):
            return f"sonicwall.{rule}"
    return ""


def _end(fields: dict[str, str], side: str, port: str, interface: str) -> End | None:
    """`address:port:interface[:name]`, the address in `srcV6` where it is missing; in CEF each by itself."""
    if side not in fields:
        return None
    if port:
        return End(fields.get(interface, ""), fields[side], number(fields.get(port)) or 0)
    address, _, rest = fields[side].partition(":")
    told, _, more = rest.partition(":")
    return End(more.partition(":")[0], address or fields.get(f"{side}V6", ""), number(told) or 0)
