"""Stormshield (SNS, Netasq) SMTP alarms as tables.

No source tells the exact triggers, the shipped limits or the shipped actions of the five alarms: what
stands here as `project` is this project's choice, not the vendor's default.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from smtpinspect.actions import CONFIRMED, INFERRED, PROJECT
from smtpinspect.inspectors.base import Evidence, Level
from smtpinspect.inspectors.settings import Knob

SOURCES: Final = {
    "Altospam": "Configuring firewalls to avoid mail blocking",
    "SNS manual, SMTP IPS tab": "v4, Protocols > SMTP",
    "SNS manual, SMTP commands": "v4, Protocols > SMTP, SMTP commands tab",
    "SNS manual, applications": "v4, Applications and protections",
    "SNS manual, filtering": "v4, Filtering and NAT, Action column",
    "SNS manual, IPS profiles": "v4, Inspection profiles: one for incoming traffic (from an "
    "unprotected to a protected interface), one for outgoing",
    "SNS manual, dashboard": "v4, Dashboard, Protections",
    "SN series manual": "page 44: columns of an alarm, sensitive alarms",
    "SNS CLI": "Serverd commands reference",
    "SNS logs": "Description of audit logs, l_alarm",
    "RFC 5321": "Simple Mail Transfer Protocol, 4.5.3.1",
    "RFC 5322": "Internet Message Format, 2.1.1 and 2.2",
    "RFC 6532": "Internationalized Email Headers",
    "project": "no source decides: our choice",
}


class Alarm(NamedTuple):
    """One of the five: its name is the vendor's; level and sensible are our choice."""

    number: int
    title: str
    level: Level
    sensible: bool
    evidence: Evidence


_TRIGGER: Final = Evidence(PROJECT, "Altospam; project")
ALARMS: Final = {
    122: Alarm(122, "Invalid characters in SMTP header", "minor", True, _TRIGGER),
    217: Alarm(
        217,
        "SMTP protocol overflow",
        "major",
        True,
        Evidence(PROJECT, "Altospam; SNS manual, SMTP IPS tab; project"),
    ),
    219: Alarm(219, "Empty SMTP command line or response", "minor", True, _TRIGGER),
    223: Alarm(223, "SMTP command not supported by the server", "minor", True, _TRIGGER),
    231: Alarm(231, "Subject SMTP header contains non-ASCII characters", "minor", False, _TRIGGER),
}
FILTER: Final = Evidence(PROJECT, "SNS manual, SMTP IPS tab; SNS CLI; project")
DENIED: Final = Evidence(PROJECT, "SNS manual, SMTP commands; SNS CLI; project")

# Extension verbs of Exchange servers.
EXCHANGE: Final = (b"XEXCH50", b"X-EXPS", b"X-LINK2STATE", b"X-ANONYMOUSTLS")
TURNING: Final = (b"ATRN", b"ETRN")

LIMITS: Final = ("command_line_limit", "server_line_limit", "header_line_limit")
PRESETS: Final = {
    "widest": (4096, 4096, 4096),  # the top of the range
    "rfc5321": (512, 512, 1000),  # RFC 5321 4.5.3.1.4 to 4.5.3.1.6, line ends counted
}


def _line(what: str) -> Knob:
    return Knob(
        "int",
        None,
        f"{what}, bytes without CR LF; unset follows `preset`",
        low=64,
        high=4096,
        source="SNS CLI",
    )


def _filter(what: str) -> Knob:
    return Knob("bool", False, what, source="SNS manual, SMTP IPS tab; SNS CLI")


DIRECTIONS: Final = ("inbound", "outbound")

KNOBS: Final[dict[str, Knob]] = {
    "inside": Knob(
        "networks", (), "networks behind the firewall; unset: every connection is taken for inbound"
    ),
    "directions": Knob(
        "list",
        DIRECTIONS,
        "which traffic this inspection profile is used for",
        DIRECTIONS,
        basis=CONFIRMED,
        source="SNS manual, IPS profiles",
    ),
    "level": Knob(
        "word",
        "ips",
        "the inspection level of the filter rule",
        ("firewall", "ids", "ips"),
        basis=CONFIRMED,
        source="SNS CLI",
    ),
    "template_alarm": Knob(
        "word",
        None,
        "TemplateAlarm: whose actions the alarms have; unset: that of the profile's name",
        ("low", "medium", "high", "internet"),
        source="SNS CLI",
    ),
    "state": Knob("bool", True, "off: `disable intrusion prevention`", source="SNS manual, SMTP IPS tab"),
    "teardown": Knob(
        "word",
        "drop-flow",
        "what a blocked packet means for its connection",
        ("drop-flow", "drop", "rst-both"),
        source="Altospam; SNS manual, dashboard",
    ),
    "preset": Knob(
        "word",
        "widest",
        "both presets are ours, not the vendor's",
        tuple(PRESETS),
        aliases={"default": "widest"},
    ),
    "command_line_limit": _line("longest command line"),
    "server_line_limit": _line("longest line of a server's reply"),
    "header_line_limit": _line("longest header line"),
    "bdat_size": Knob(
        "int", 10_485_760, "largest BDAT chunk", low=102_400, high=10_485_760, source="SNS CLI"
    ),
    "xexch50_size": Knob(
        "int", 1_073_741_824, "largest XEXCH50 block", low=102_400, high=1_073_741_824, source="SNS CLI"
    ),
    "mode": Knob(
        "word", "reply", "smtp:223: the server says so, or did not advertise it", ("reply", "advertised")
    ),
    "reply_codes": Knob(
        "list",
        ("500", "502"),
        "smtp:223 in mode reply",
        ("500", "502", "504", "555"),
    ),
    "allow_smtputf8": Knob(
        "bool", False, "valid UTF-8 is in order where MAIL carried SMTPUTF8", source="RFC 6532"
    ),
    "bare_lf_is_invalid": Knob("bool", False, "smtp:122 for a bare LF in the header"),
    "mime_headers": Knob("bool", False, "look at the headers of parts too"),
    "scope": Knob(
        "word",
        "message",
        "what smtp:122 takes for a header",
        ("message", "message+envelope"),
    ),
    "blank_is_empty": Knob("bool", False, "smtp:219 for a command line of blanks only"),
    "sensitive": Knob(
        "list",
        tuple(str(a.number) for a in ALARMS.values() if a.sensible),
        "alarms whose pass ends the scan of the connection",
        tuple(str(number) for number in ALARMS),
        source="SN series manual; SNS CLI",
    ),
    "filter_chunked_extension": _filter("FilterChunkedExtension: BDAT"),
    "filter_exchange_extensions": _filter("FilterExchangeExtensions: XEXCH50, X-EXPS and the like"),
    "filter_turning_extensions": _filter("FilterTurningExtensions: ATRN and ETRN"),
    "filter_pipelining_extension": _filter(
        "FilterPipeliningExtension: a command before the last one's reply"
    ),
    "outstanding_pipelined_request_limit": Knob(
        "int", 0, "OutstandingPipelinedRequestLimit, 0 is unlimited", low=0, high=1024, source="SNS CLI"
    ),
    "allow_op": Knob(
        "list", (), "AllowOp: when it is not empty, every other verb is denied", source="SNS CLI"
    ),
    "deny_op": Knob("list", (), "DenyOp: verbs that are denied", source="SNS CLI"),
}
# Settings of the IPS tab that no verdict depends on; they are taken, so that a profile can be given as it is.
WITHOUT_EFFECT: Final = {
    "probe": ("Probe", "SMTP is told here by its port or its first bytes"),
    "log": ("Log", "a line for each SMTP query, in another log"),
    "allow_tcp_urg": ("AllowTCPUrg", "urgent bytes are read as the others"),
}
KNOBS.update(
    {
        key: Knob("bool", None, f"{token}: read, in no verdict ({why})", source="SNS CLI")
        for key, (token, why) in WITHOUT_EFFECT.items()
    }
)

# The action of each alarm by template. They block in the field (Altospam). That template internet lets 231
# pass is inferred from what that template is for: it switches off what widespread bad practice trips.
_ALL_BLOCK: Final = dict.fromkeys(ALARMS, "block")
ACTIONS: Final = {
    "low": _ALL_BLOCK,
    "medium": _ALL_BLOCK,
    "high": _ALL_BLOCK,
    "internet": {**_ALL_BLOCK, 231: "pass"},
}
INTERNET_231: Final = Evidence(INFERRED, "SNS manual, applications")

PROFILES: Final[dict[str, dict[str, Any]]] = {template: {} for template in ACTIONS}
HINTS: Final = {"default": "high", "ips_00": "high", "ips_01": "internet", "strict": "high"}

# CONFIG PROTOCOL SMTP PROFILE IPS CONFIG: its tokens, and our key for each; None: no rule here depends on it.
TOKENS: Final[dict[str, str | None]] = {
    "HeaderLineLimit": "header_line_limit",
    "ServerLineLimit": "server_line_limit",
    "CommandLineLimit": "command_line_limit",
    "Xexch50Size": "xexch50_size",
    "BdatSize": "bdat_size",
    "FilterChunkedExtension": "filter_chunked_extension",
    "FilterExchangeExtensions": "filter_exchange_extensions",
    "FilterTurningExtensions": "filter_turning_extensions",
    "FilterPipeliningExtension": "filter_pipelining_extension",
    "OutstandingPipelinedRequestLimit": "outstanding_pipelined_request_limit",
    "AllowOp": "allow_op",
    "DenyOp": "deny_op",
    "State": "state",
    "Probe": None,
    "Log": None,
    "AllowTCPUrg": None,
}
