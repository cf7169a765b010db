"""The syslog of PIX, FWSM and ASA: what inspection writes about SMTP, and how its lines are read.

Texts and severities are those of the Cisco syslog manual, but for 108001 (recalled) and for the severity of 507003:
the manual says 3, every line from the field 4, and 4 is written. The header is that of an ASA with `logging timestamp`
and without `device-id`: `<PRI>Mon DD YYYY HH:MM:SS: %ASA-...`, facility local4. Logstash's CISCO_TAGGED_SYSLOG takes it
in its old form and its new one; the old one refuses a host and a blank before the colon. Times are UTC. The client is
on interface outside, the server on inside.

What a policy map does is logged where its `log` says so: the `mask` of the default map leaves no line. Of a connection
that inspection ends, 302014 comes at once, as on the firewall: duration from the connection's first frame to the
deciding one, bytes the payload of both sides until then, the dropped segment included. PIX before 7.0 has neither
507003 nor this 302014.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, NamedTuple

from smtpinspect.actions import CONFIRMED, INFERRED, PROJECT, Basis, Strength
from smtpinspect.grammar import limits
from smtpinspect.inspectors.logline import End, Event, LogLine, bounded, clean, endpoint, number, quote, when
from smtpinspect.inspectors.mailguard.profiles import DEFAULT_MAP

if TYPE_CHECKING:
    from smtpinspect._core.views import Alert

END: Final = "\n"
_LOCAL4: Final = 160  # facility 20, times 8
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_STRENGTH: Final = {strength.word: strength for strength in Strength}
_DROPS: Final = {
    Strength.DROP: "Dropped",
    Strength.DROP_FLOW: "Dropped connection for",
    Strength.RESET: "Reset connection for",
    Strength.REWRITE: "Masked header flags for",
}
_REASONS: Final = {
    Strength.DROP_FLOW: "inspector disconnected, dropped packet",
    Strength.RESET: "inspector drop reset",
}


class Counters(NamedTuple):
    """The line of `show service-policy` about ESMTP inspection."""

    map: str
    packet: int
    lock_fail: int
    drop: int
    reset_drop: int


# --- which rule leaves which line


class Logged(NamedTuple):
    """A message that a rule may leave, and what says so."""

    id: int
    basis: Basis
    source: str


_MANUAL: Final = "Cisco syslog manual"
_NOOP: Final = Logged(108001, PROJECT, "recalled, in no source: a verb overwritten with NOOP")
_MAP: Final = Logged(108004, CONFIRMED, f"{_MANUAL}; 108005 where the action is log alone")
_MATCHES: Final = (
    "cmd-line-length", "rcpt-count", "body-line-length", "header-line-length", "sender-length", "mime-filename-length",
    "body-length", "header-length", "to-fields-count", "invalid-recipients", "mime-filetype", "mime-encoding",
    "sender-regex", "cmd-verb", "ehlo-param-masked",
)  # fmt: skip
# Of each rule, the messages in the order in which they are tried. 507003 and 302014 follow every connection that ends.
LOGGED: Final[dict[str, tuple[Logged, ...]]] = {
    "command-not-allowed": (_NOOP,),
    "ehlo-blocked": (_NOOP,),
    "starttls-blocked": (_NOOP, _MAP),
    "address-pipe": (Logged(108002, CONFIRMED, _MANUAL),),
    "address-angle": (Logged(108002, INFERRED, f"{_MANUAL}: an invalid character in an address"),),
    "address-malicious": (Logged(108003, CONFIRMED, _MANUAL),),
    "special-character": (Logged(108004, INFERRED, f"{_MANUAL}: class ESMTP Parameter; the text is ours"),),
    "mail-relay": (Logged(108004, CONFIRMED, _MANUAL),),
    **dict.fromkeys(_MATCHES, (_MAP,)),
    "size-violation": (Logged(108006, CONFIRMED, f"{_MANUAL}; the sizes are those of the whole message"),),
    "tls-started": (Logged(108007, CONFIRMED, f"{_MANUAL}: with allow-tls action log"),),
}
# No source has a message for these.
SILENT: Final = (
    "banner-masked", "banner-multiline-broken", "command-split", "command-termination", "pipelining",
    "server-transition", "eod-split", "dkim-content-type", "bypass-early-data", "command-answered-ok",
    "postfix-workaround-seen", "rate-limit",
)  # fmt: skip


# --- writing


def write(event: Event) -> list[str]:
    """The lines about this alert, in their order; none when the product has no message for it."""
    alert = event.alert
    how = _writer(alert, event)
    strength = _STRENGTH[alert.action]
    lines = [] if how is None else [how(event)]
    if strength in _REASONS and alert.breaks and not event.inspector.profile.startswith("pix"):
        lines += [_terminated(event), _teardown(event)]
    return [bounded(line) for line in lines]


def choose(alerts: Sequence[Alert], event_of: Callable[[Alert], Event]) -> Alert | None:
    """Of the alerts of one segment the one that leaves a line: a break before all else, then the strongest, then the
    first octet. What lies behind a break is never seen."""
    told = [alert for alert in alerts if not alert.after_break and write(event_of(alert))]
    return min(told, key=lambda a: (not a.breaks, -_STRENGTH[a.action], a.offset), default=None)


def ends(alert: Alert) -> bool:
    """A break: what came later was never seen."""
    return alert.breaks


def _writer(alert: Alert, event: Event) -> Callable[[Event], str] | None:
    """Which message, if any."""
    logged = LOGGED.get(alert.rule.partition(".")[2], ())
    return next((_WRITERS[code] for code, *_ in logged if _CONDITIONS[code](event)), None)


def _noop_made(event: Event) -> bool:
    return event.alert.action == "rewrite" and event.alert.row.action.how == "noop"


def _configured(event: Event) -> bool:
    """A criterion of a map or a parameter, whose action has `log`; mail-relay has no form without."""
    rule, params = event.alert.rule.partition(".")[2], event.alert.row.action.params
    named = rule in _PARAMETERS or "criterion" in params
    return named and (rule == "mail-relay" or bool(params.get("log", True)))


def _rewritten(event: Event) -> bool:
    return event.alert.action == "rewrite"


def _broken(event: Event) -> bool:
    return event.alert.breaks


def _allowed_with_log(event: Event) -> bool:
    return bool(event.inspector.settings.allow_tls == "log")


def _always(event: Event) -> bool:
    return True


_PARAMETERS: Final = {
    "mail-relay": "mail-relay: No Mail Relay allowed",  # the manual's example
    "special-character": "special-character: special character in the address",  # our words
}


def _noop(event: Event) -> str:
    client, server = _addresses(event.alert)
    return _line(event, 2, 108001, f"SMTP made noop: out {client} in {server} data: {quote(event.alert.octets)}")


def _replaced(event: Event) -> str:
    client, server = _addresses(event.alert)
    data = event.alert.octets
    what = "|" if event.alert.rule.endswith("pipe") else _stray(data)
    text = f"SMTP replaced {what}: out {client} in {server} data: {quote(data)}"
    return _line(event, 2, 108002, text)


def _malicious(event: Event) -> str:
    kind, data = ("ESMTP", "Mail Address") if _tag(event) == "ASA" else ("ESMTP/SMTP", "Data")
    text = f"Terminating {kind} connection; malicious pattern detected in the mail address {_from_to(event.alert)}."
    return _line(event, 2, 108003, f"{text} {data}:{quote(event.alert.octets)}")


def _classified(event: Event) -> str:
    alert = event.alert
    rule = alert.rule.partition(".")[2]
    kind = "Response" if alert.direction == "server" else "Request"
    criterion = clean(str(alert.row.action.params.get("criterion", "")))
    info = _PARAMETERS.get(rule) or f"matched {alert.detail}: {criterion}"
    family = "ESMTP Parameter" if rule in _PARAMETERS else "ESMTP Classification"
    done = _DROPS.get(_STRENGTH[alert.action])
    severity, code = (4, 108004) if done else (6, 108005)
    return _line(event, severity, code, f"{family}: {done or 'Received'} ESMTP {kind} {_from_to(alert)}; {info}")


def _size(event: Event) -> str:
    mail = event.mail
    declared = mail.declared if mail is not None and mail.declared is not None else 0
    actual = max(mail.plain, declared + 1) if mail is not None else declared + 1
    text = f"Detected ESMTP size violation {_from_to(event.alert)}; "
    return _line(event, 7, 108006, f"{text}declared size is: {declared}, actual size is {actual}")


def _tls(event: Event) -> str:
    client, server = _ends(event.alert)
    return _line(event, 6, 108007, f"TLS started on ESMTP session between client {client} and server {server}")


def _terminated(event: Event) -> str:
    client, server = _ends(event.alert)
    reason = _REASONS[_STRENGTH[event.alert.action]]
    text = f"tcp flow from {client} to {server} terminated by inspection engine, reason - {reason}."
    return _line(event, 4, 507003, text)


def _teardown(event: Event) -> str:
    alert = event.alert
    client, server = _ends(alert)
    seconds = max(alert.ns - alert.start_ns, 0) // 1_000_000_000
    lasted = f"{seconds // 3600}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
    connection = alert.flow_id & 0xFFFFFFFF
    text = f"Teardown TCP connection {connection} for {client} to {server} duration {lasted} bytes {alert.moved}"
    return _line(event, 6, 302014, f"{text} Flow closed by inspection")


def _line(event: Event, severity: int, code: int, text: str) -> str:
    at = when(event.alert.ns)
    stamp = f"{_MONTHS[at.month - 1]} {at.day:02d} {at.year} {at:%H:%M:%S}"
    return f"<{_LOCAL4 + severity}>{stamp}: %{_tag(event)}-{severity}-{code}: {text}"


def _tag(event: Event) -> str:
    family = event.inspector.profile.partition("-")[0]
    return {"pix": "PIX", "fwsm": "FWSM"}.get(family, "ASA")


def _addresses(alert: Alert) -> tuple[str, str]:
    return endpoint(alert.client)[0], endpoint(alert.server)[0]


def _ends(alert: Alert) -> tuple[str, str]:
    client, server = endpoint(alert.client), endpoint(alert.server)
    return f"outside:{client[0]}/{client[1]}", f"inside:{server[0]}/{server[1]}"


def _from_to(alert: Alert) -> str:
    client, server = _ends(alert)
    source, target = (server, client) if alert.direction == "server" else (client, server)
    return f"from {source} to {target}"


def _stray(data: bytes) -> str:
    """The first bracket that does not delimit the path; both where the excerpt ends before it."""
    path = data.partition(b":")[2].lstrip(b" \t")
    if path.startswith(b"<"):
        head, closing, tail = path[1:].rpartition(b">")
        path = head + tail if closing else path[1:]
    found = re.search(rb"[<>]", path)
    return found[0].decode() if found else "<>"


_WRITERS: Final[dict[int, Callable[[Event], str]]] = {
    108001: _noop,
    108002: _replaced,
    108003: _malicious,
    108004: _classified,
    108006: _size,
    108007: _tls,
}
_CONDITIONS: Final[dict[int, Callable[[Event], bool]]] = {
    108001: _noop_made,
    108002: _rewritten,
    108003: _broken,
    108004: _configured,
    108006: _always,
    108007: _allowed_with_log,
}


# --- reading

_TAGGED: Final = re.compile(
    r"%(?P<tag>PIX|ASA|FWSM|FTD)-(?P<severity>[0-7])-(?P<id>10800[1-7]|507003|302014): ?(?P<text>.*)", re.DOTALL
)
_TIME: Final = re.compile(
    rf"(?P<month>{'|'.join(_MONTHS)}) +(?P<day>\d\d?)(?: (?P<year>\d{{4}}))? (?P<clock>\d\d:\d\d:\d\d)"
)
_PLACE: Final = r"(?P<{0}_if>[^\s:]+):(?P<{0}_ip>[0-9A-Fa-f.:]+)/(?P<{0}_port>\d{{1,5}})"
_BETWEEN: Final = re.compile(
    rf"(?:from|for|client) {_PLACE.format('src')}(?: ?\([^)]*\))? (?:to|and server) {_PLACE.format('dst')}"
)
_ACTIONS: Final = {
    "Dropped connection for": "drop",
    "Dropped": "drop",
    "Reset connection for": "reset",
    "Masked header flags for": "rewrite",
    "Received": "log",
}
_TEXTS: Final = {
    "108001": r"SMTP made noop: out (?P<out>\S+) in (?P<in>\S+) data: ?(?P<data>.*)",
    "108002": r"SMTP replaced (?P<replaced>.+?): out (?P<out>\S+) in (?P<in>\S+) data: ?(?P<data>.*)",
    "108003": r"Terminating (?P<kind>ESMTP/SMTP|ESMTP|SMTP) connection; .*?(?:Mail Address|Data): ?(?P<data>.*)",
    "108004": r"(?P<class>ESMTP (?:Classification|Parameter)): "
    r"(?P<action>Dropped connection for|Dropped|Reset connection for|Masked header flags for) "
    r"ESMTP (?P<what>Request|Response) .*?; (?P<info>.*)",
    "108005": r"(?P<class>ESMTP (?:Classification|Parameter)): (?P<action>Received) "
    r"ESMTP (?P<what>Request|Response) .*?; (?P<info>.*)",
    "108006": r"Detected ESMTP size violation .*?; declared size is: ?(?P<declared>\d+), "
    r"actual size is:? ?(?P<actual>\d+)",
    "108007": r"TLS started on ESMTP session between client .*? and server .*",
    "507003": r"(?P<proto>\w+) flow from .*? terminated by inspection engine, reason ?- ?(?P<reason>.*)",
    "302014": r"Teardown TCP connection (?P<connection>\d+) for .*? duration (?P<duration>\d+:\d\d:\d\d) "
    r"bytes (?P<bytes>\d+)(?: (?P<reason>.*))?",
}
_READERS: Final = {code: re.compile(text, re.DOTALL) for code, text in _TEXTS.items()}
_CLASS: Final = re.compile(r"match(?:ed)? Class (?P<number>\d+) ?: (?:match )?(?P<criterion>.*)", re.IGNORECASE)
_PARAMETER: Final = re.compile(r"(?P<parameter>[\w-]+) ?: (?P<message>.*)")
_COUNTERS: Final = re.compile(
    r"Inspect: esmtp (\S+), packet (\d{1,18}), lock fail (\d{1,18}), drop (\d{1,18}), reset-drop (\d{1,18})"
)
# The words of a criterion and the rule that enforces it.
_CRITERIA: Final = (
    *((limit.criterion, limit.rule) for limit in DEFAULT_MAP),
    ("body length", "body-length"),
    ("header length", "header-length"),
    ("header to-fields count", "to-fields-count"),
    ("invalid-recipients count", "invalid-recipients"),
    ("MIME filetype", "mime-filetype"),
    ("MIME encoding", "mime-encoding"),
    ("sender-address regex", "sender-regex"),
    ("cmd verb", "cmd-verb"),
    ("ehlo-reply-parameter", "ehlo-param-masked"),
)
_RULES: Final = {
    "108001": "command-not-allowed",
    "108003": "address-malicious",
    "108006": "size-violation",
    "108007": "tls-started",
}


def parse(line: str) -> LogLine | None:
    """A line with id 108001 to 108007, 507003 or 302014, with any syslog header or none; None for any other."""
    if len(line) > limits.LOG_READ or not (tagged := _TAGGED.search(line.rstrip("\r\n"))):
        return None
    code, text = tagged["id"], tagged["text"].rstrip()
    if not (found := _READERS[code].fullmatch(text)):
        return None
    fields = {name: value for name, value in found.groupdict().items() if value is not None}
    fields["tag"] = tagged["tag"]
    for info in (_CLASS, _PARAMETER):
        if "info" in fields and (told := info.fullmatch(fields["info"])):
            fields |= told.groupdict()
            break
    head = line[: tagged.start()]
    stamp = _TIME.search(head)
    if stamp and (host := head[stamp.end() :].strip(" :")):
        fields["host"] = host
    source, destination = _between(code, text, fields)
    return LogLine(
        product="mailguard",
        id=code,
        text=text,
        severity=number(tagged["severity"]),
        time=_time(stamp),
        action=_action(code, fields),
        rule=_rule(code, fields),
        source=source,
        destination=destination,
        fields=fields,
    )


def counters(line: str) -> Counters | None:
    """`Inspect: esmtp MAP, packet N, lock fail N, drop N, reset-drop N` of `show service-policy`."""
    if len(line) > limits.LOG_READ or not (found := _COUNTERS.search(line)):
        return None
    packet, lock_fail, drop, reset_drop = (int(text) for text in found.groups()[1:])
    return Counters(found[1], packet, lock_fail, drop, reset_drop)


def _between(code: str, text: str, fields: dict[str, str]) -> tuple[End | None, End | None]:
    if code in ("108001", "108002"):
        return End("", fields["out"], 0), End("", fields["in"], 0)
    if not (found := _BETWEEN.search(text)):
        return None, None
    source, target = (
        End(found[f"{side}_if"], found[f"{side}_ip"], int(found[f"{side}_port"])) for side in ("src", "dst")
    )
    return source, target


def _time(found: re.Match[str] | None) -> datetime | None:
    if found is None or found["year"] is None:
        return None
    hour, minute, second = (int(part) for part in found["clock"].split(":"))
    try:
        month = _MONTHS.index(found["month"]) + 1
        return datetime(int(found["year"]), month, int(found["day"]), hour, minute, second, tzinfo=UTC)
    except ValueError:
        return None


def _action(code: str, fields: dict[str, str]) -> str:
    match code:
        case "108001" | "108002":
            return "rewrite"
        case "108003":
            return "drop"
        case "108004" | "108005":
            return _ACTIONS[fields["action"]]
        case "507003":
            return "reset" if "reset" in fields["reason"].lower() else "drop"
        case "302014":
            return "teardown"
        case _:
            return "log"


def _rule(code: str, fields: dict[str, str]) -> str:
    if code == "108002":
        return f"mailguard.address-{'pipe' if fields['replaced'] == '|' else 'angle'}"
    if code in _RULES:
        return f"mailguard.{_RULES[code]}"
    if fields.get("parameter") in _PARAMETERS:
        return f"mailguard.{fields['parameter']}"
    told = fields.get("criterion", "").lower().removeprefix("not ")
    for words, rule in _CRITERIA:
        if told.startswith(words.lower()):
            return f"mailguard.{rule}"
    return ""
