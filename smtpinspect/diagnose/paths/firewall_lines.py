"""Lines of firewalls' logs: which are an inspection's, between whom, and what the capture says against them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from ipaddress import ip_address
from itertools import product
from typing import Final

from smtpinspect.diagnose.measures import Number, measured
from smtpinspect.diagnose.model import Case, Confidence
from smtpinspect.enforce.craft import RST
from smtpinspect.inspectors.logline import End, LogLine, number
from smtpinspect.simulate.clock import SECOND

Address = tuple[str, int]
Ends = frozenset[Address]

DRIFT: Final = 60.0  # seconds by which a clock may be off besides
SLACK: Final = 2.0  # seconds: a log counts whole ones, and writes a moment later
BREAKS: Final = frozenset({"drop", "reset", "rewrite"})  # what a line says was done that may break a mail
_CLOSED: Final = "Flow closed by inspection"
# SonicOS events of its security services that tell of something blocked (SonicOS Log Events Reference Guide): mail
# filter 165, 248; IPS and IDP prevention 609, 790; application firewall and control 793, 1155; anti-spyware 794;
# Gateway Anti-Virus 809. What is dropped because the connection has ended (181, 708) is none.
_SERVICES: Final = frozenset({"165", "248", "609", "790", "793", "794", "809", "1155"})
_ANSWERS: Final = frozenset({"sonicwall"})  # whose inspection answers in the server's name; the others never do
_NO_PORTS: Final = frozenset({"108001", "108002"})  # of ASA: lines of its SMTP inspection that name addresses only
_OTHERS: Final = frozenset({"icmp", "ipv6-icmp", "icmpv6", "igmp", "udp", "gre", "esp", "ah"})
# Names of the fields for the other address of a host that is translated (Stormshield, audit logs).
_ORIGINAL: Final = {"src": "modsrc", "dst": "origdst"}
_PLACE: Final = r"[^\s:]+:(?P<{0}>[0-9A-Fa-f.:]+/\d{{1,5}}) ?\((?P<{0}_mapped>[0-9A-Fa-f.:]+/\d{{1,5}})\)"
_BUILT: Final = re.compile(
    r"Built (?:in|out)bound TCP connection (?P<connection>\d{1,20}) "
    rf"for {_PLACE.format('one')}.{{0,200}}? to {_PLACE.format('two')}"
)

# What a criterion of ASA's `match` counts (Cisco ASA, "Inspection of Basic Internet Protocols": ESMTP).
_COUNTS: Final[dict[str, Number]] = {
    "header line length": "header-line",
    "header length": "header-octets",
    "header to-fields count": "to-addresses",
    "body line length": "body-line",
    "body length": "body-octets",
    "cmd line length": "command-line",
    "cmd rcpt count": "rcpt",
    "sender-address length": "sender",
    "mime filename length": "filename",
}
_OVER: Final = re.compile(r"(.+?) gt (\d{1,10})")


def stops(told: LogLine) -> bool:
    """Does it tell that an inspection stopped, or altered, what it saw?"""
    if told.id == "302014":
        return told.fields.get("reason", "").startswith(_CLOSED)
    if told.action not in BREAKS:
        return False
    if told.product == "sonicwall":
        return told.id in _SERVICES
    return told.product != "stormshield" or bool(told.rule) or "SMTP" in told.text


def ends_of(told: LogLine) -> Iterator[Ends]:
    """The connections that it may mean: by both ends, as they are, and translated where the line tells how."""
    if told.source is None or told.destination is None or _protocol(told) in _OTHERS:
        return
    for ends in product(_either(told, told.source, "src"), _either(told, told.destination, "dst")):
        if all(port for _, port in ends):
            yield frozenset(ends)


def hosts_of(told: LogLine) -> frozenset[str]:
    """The two addresses of a line that never names ports; none of another one."""
    if told.id not in _NO_PORTS or told.source is None or told.destination is None:
        return frozenset()
    return frozenset((address(told.source.address), address(told.destination.address)))


def _protocol(told: LogLine) -> str:
    return (told.fields.get("ipproto") or told.fields.get("proto", "")).partition("/")[0].lower()


def _either(told: LogLine, end: End, side: str) -> Iterator[Address]:
    yield address(end.address), end.port
    name = _ORIGINAL[side]
    if name in told.fields:
        yield address(told.fields[name]), number(told.fields.get(f"{name}port")) or end.port


def address(text: str) -> str:
    """As this tool writes it."""
    try:
        return str(ip_address(text))
    except ValueError:
        return text


class Translations:
    """Of the connections that are wanted: by which other ends ASA's lines name them, as 302013 (Built) tells."""

    def __init__(self, wanted: set[Ends]) -> None:
        self._wanted = wanted
        self._known: dict[Ends, tuple[Ends, str]] = {}  # by other ends: a wanted connection, its number
        self._names: dict[Ends, set[Ends]] = {}

    def built(self, text: str) -> Ends | None:
        """The wanted connection that this line tells of; its other ends are remembered."""
        found = _BUILT.search(text)
        if found is None:
            return None
        one, two = ((_parsed(found[side]), _parsed(found[f"{side}_mapped"])) for side in ("one", "two"))
        named = {frozenset(ends) for ends in product(one, two)}
        mine = next((ends for ends in named if ends in self._wanted), None)
        if mine is not None:
            for ends in self._names.pop(mine, ()):
                self._known.pop(ends, None)
            self._names[mine] = named - {mine}
            self._known |= dict.fromkeys(named - {mine}, (mine, found["connection"]))
        return mine

    def __contains__(self, ends: Ends) -> bool:
        return ends in self._known

    def wanted(self, told: LogLine, ends: Ends) -> Ends | None:
        """The wanted connection that a line with these ends means; None where its number is another's."""
        if ends in self._wanted:
            return ends
        mine, connection = self._known.get(ends, (None, ""))
        return mine if told.fields.get("connection", connection) == connection else None


def _parsed(text: str) -> Address:
    host, _, port = text.rpartition("/")
    return address(host), int(port)


# --- against the capture


def unlike(case: Case, told: LogLine, at: float | None) -> tuple[Confidence, str]:
    """How sure it is that what the line tells ended this mail, and why it is not certain. `at` as below.

    A server that was left without the sender's octets answers when it has waited; a capture may show that.
    """
    kind = case.observed.broken.kind
    if told.action == "rewrite":
        text = "it altered what it saw; that this ended the mail it does not say"
        return "likely" if kind == "reply" else "possible", text
    if _answered(case, told):
        return "likely", "a reply ended it here, and this inspection gives none: another line, or the server, decided"
    on = _went_on(case, told, at)
    return ("likely", f"by its clock both sides went on for {on:,.0f} s behind it") if on else ("certain", "")


def _answered(case: Case, told: LogLine) -> bool:
    """Did a reply to all that the client had sent end what the line says to have dropped or reset?"""
    seen, account = case.observed, case.account
    answered = seen.broken.kind == "reply" and seen.vantage.where != "receiver" and told.product not in _ANSWERS
    return answered and (account is None or account.client.acked >= account.client.end)


def _ended(told: LogLine) -> bool:
    """Does it tell of the end of the whole connection, and not of a packet that was blocked?"""
    return told.product == "mailguard" and told.action != "rewrite" and stops(told)


def contradicted(case: Case, told: LogLine, at: float | None) -> str:
    """Why this line cannot be of this mail, as far as the capture has all of it; "" where it may be. `at`: its time, by
    the capture's clock (seconds since 1970, None: not told)."""
    if _answered(case, told) and (on := _went_on(case, told, at)):
        return f"both sides went on for {on:,.0f} s behind it, until a reply came"
    mail, found = case.transaction, _OVER.fullmatch(told.fields.get("criterion", "").removeprefix("match ").lower())
    measure = _COUNTS.get(found[1]) if found else None
    if found is None or measure is None or case.script is None or mail is None or mail.holes or not _whole(case):
        return ""
    most = measured(case.script, 0, mail.ends)[1].most.get(measure, 0)
    return f"{found[1]} is {most:,} at most here, not above {int(found[2]):,}" if most <= int(found[2]) else ""


def _whole(case: Case) -> bool:
    """Is all in the capture that a box on the way may have seen of this mail? Also where a reply ended it, the server
    had acknowledged all of it, and the sender was heard at its own side."""
    if case.transaction is not None and case.transaction.complete:
        return True
    seen, account = case.observed, case.account
    if seen.broken.kind != "reply" or seen.vantage.where != "sender" or account is None:
        return False
    return account.client.acked >= account.client.end


def _went_on(case: Case, told: LogLine, at: float | None) -> float:
    """Seconds behind the end that the line tells of at which one side still acknowledged what the other had sent behind
    it, too; 0 where a clock that is a minute off explains it."""
    packets = case.trace.packets if case.trace is not None and at is not None and _ended(told) else ()
    sent: dict[bool, int] = {}  # by side: the end of the first octets behind it
    last = 0.0
    for packet in packets:
        after = packet.ns / SECOND - (at or 0.0)
        if after <= SLACK or packet.flags & RST:  # which a box may send in a side's name
            continue
        waits = sent.get(not packet.by_client)
        if waits is not None and packet.acks is not None and packet.acks >= waits:
            last = after
        if packet.length and packet.end is not None:
            sent.setdefault(packet.by_client, packet.end)
    return last if last > DRIFT else 0.0
