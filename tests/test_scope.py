"""`inside=` and exclusions: which connections an inspector looks at, by their addresses."""

from __future__ import annotations

import pytest

import running
import smtpinspect
from kit import wire
from kit.dialogue import parse
from smtpinspect._core.scope import Scopes
from smtpinspect.inspectors.base import Scope

EIGHT_BIT = """
S: 220 mx.example
C: HELO a.example
S: 250 mx.example
C: MAIL FROM:<alice@a.example>
S: 250 2.1.0 Ok
C: RCPT TO:<bob@mx.example>
S: 250 2.1.5 Ok
C: DATA
S: 354 go on
C: Subject: R\\xe9union
C:
C: text
C: .
S: 250 2.0.0 queued
C: QUIT
S: 221 2.0.0 Bye
"""
CLIENT, SERVER = "198.51.100.10", "203.0.113.25"


def ends(client: str, server: str) -> wire.Ends:
    return wire.Ends(client, server)


@pytest.mark.parametrize(
    ("scope", "client", "server", "looks"),
    [
        (Scope(), "10.0.0.1", "192.0.2.1", True),
        (Scope(inbound=False), "10.0.0.1", "192.0.2.1", False),
        (Scope(inside=("10.0.0.0/8",), outbound=False), "10.0.0.1", "192.0.2.1", False),
        (Scope(inside=("10.0.0.0/8",), outbound=False), "192.0.2.1", "10.0.0.1", True),
        (Scope(inside=("10.0.0.0/8",), inbound=False), "10.0.0.1", "192.0.2.1", True),
        (Scope(inside=("10.0.0.0/8",), inbound=False), "192.0.2.1", "10.0.0.1", False),
        # both inside, or neither: inbound
        (Scope(inside=("10.0.0.0/8",), outbound=False), "10.0.0.1", "10.0.0.2", True),
        (Scope(inside=("10.0.0.0/8",), outbound=False), "192.0.2.1", "192.0.2.2", True),
        # an exclusion counts for both ends and both directions
        (Scope(excluded=("192.0.2.0/24",)), "192.0.2.255", "10.0.0.1", False),
        (Scope(excluded=("192.0.2.0/24",)), "10.0.0.1", "192.0.2.0", False),
        (Scope(excluded=("192.0.2.0/24",)), "10.0.0.1", "192.0.3.0", True),
        # a configuration that names its ports
        (Scope(ports=(26, 25)), "192.0.2.1", "10.0.0.1", True),
        (Scope(ports=(26, 587)), "192.0.2.1", "10.0.0.1", False),
        # borders inside an octet, and the whole of a family
        (Scope(excluded=("10.96.0.0/11",)), "10.127.255.255", "192.0.2.1", False),
        (Scope(excluded=("10.96.0.0/11",)), "10.128.0.0", "192.0.2.1", True),
        (Scope(excluded=("0.0.0.0/0",)), "10.128.0.0", "192.0.2.1", False),
        (Scope(excluded=("0.0.0.0/0",)), "2001:db8::1", "2001:db8::2", True),
        (Scope(excluded=("::/0",)), "2001:db8::1", "2001:db8::2", False),
        (Scope(excluded=("2001:db8:8000::/33",)), "2001:db8:7fff::1", "2001:db8::2", True),
        (Scope(excluded=("2001:db8:8000::/33",)), "2001:db8::2", "2001:db8:8000::", False),
        (Scope(excluded=("2001:db8::7/128",)), "2001:db8::7", "2001:db8::2", False),
        (Scope(excluded=("2001:db8::7/128",)), "2001:db8::6", "2001:db8::2", True),
    ],
)
def test_between(scope: Scope, client: str, server: str, looks: bool) -> None:
    scopes = Scopes([Scope(), scope])
    assert scopes.looks_between(1, client, server, 25) is looks
    assert scopes.looks_between(0, client, server, 25)
    assert scopes.any or scope == Scope()


@pytest.mark.parametrize(
    ("keys", "fires"),
    [
        ("", True),
        ("inside=203.0.113.0/24", True),
        ("inside=198.51.100.0/24", True),
        ("inside=203.0.113.0/24,directions=outbound", False),
        ("inside=198.51.100.0/24,directions=outbound", True),
        ("inside=198.51.100.0/24,directions=inbound", False),
        ("inside=198.51.100.0/24+203.0.113.0/24,directions=inbound", True),
        # nobody told what is inside: inbound
        ("directions=inbound", True),
        ("directions=outbound", False),
    ],
)
def test_stormshield_by_direction(keys: str, fires: bool) -> None:
    spec = f"stormshield,{keys}" if keys else "stormshield"
    result = running.replay(wire.build(parse(EIGHT_BIT)), [spec, "mailguard"], ends(CLIENT, SERVER))
    assert ("stormshield.smtp-231" in running.rules(result)) is fires
    # the other inspector sees what it always sees
    assert "mailguard.banner-masked" in running.rules(result)
    assert result.mails[0].verdict["stormshield"] == ("drop-flow" if fires else "pass")
    assert ("stormshield" in result.mails[0].broken_by) is fires


def test_each_connection_for_itself() -> None:
    """One inspector, two connections in one capture: one from inside, one from outside."""
    both = [
        *running.frames(wire.build(parse(EIGHT_BIT)), ends(CLIENT, SERVER)),
        *running.frames(wire.build(parse(EIGHT_BIT)), ends("192.0.2.9", SERVER)),
    ]
    result = smtpinspect.replay(both, ["stormshield,inside=198.51.100.0/24,directions=inbound"])
    assert [mail.verdict["stormshield"] for mail in result.mails] == ["pass", "drop-flow"]
    assert [alert.client.partition(":")[0] for alert in result.alerts] == ["192.0.2.9"]
