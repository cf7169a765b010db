"""MailGuard: the rows of each profile, and what its settings make of them."""

from __future__ import annotations

import re
from typing import Any

import pytest

from inspecting import rows, words
from smtpinspect.actions import Strength
from smtpinspect.facts import Given
from smtpinspect.inspectors import registry
from smtpinspect.inspectors.mailguard import Mailguard

# The rules that each profile has in force.
PIX = {
    "banner-masked", "command-not-allowed", "ehlo-blocked", "starttls-blocked", "command-split",
    "command-termination", "pipelining", "address-pipe", "address-angle", "server-transition",
    "postfix-workaround-seen",
}  # fmt: skip
ESMTP = PIX - {"ehlo-blocked"} | {"ehlo-param-masked"}
LIMITS = {
    "cmd-line-length", "rcpt-count", "body-line-length", "header-line-length", "sender-length",
    "mime-filename-length",
}  # fmt: skip
BY_PROFILE = {
    "pix-4.0": {
        "command-not-allowed", "command-answered-ok", "ehlo-blocked", "starttls-blocked", "command-split",
    },
    "pix-4.4": PIX | {"banner-multiline-broken", "command-answered-ok", "bypass-early-data", "eod-split"},
    "pix-5": PIX | {"bypass-early-data", "eod-split"},
    "pix-6": PIX,
    "fwsm-3": ESMTP,
    "asa-7.0": ESMTP | {"dkim-content-type", "size-violation"},
    "asa-8": ESMTP | LIMITS | {"size-violation"},
    "asa-9-tls": ESMTP - {"starttls-blocked"} | LIMITS | {"size-violation", "tls-started"},
}  # fmt: skip


@pytest.mark.parametrize("profile", Mailguard.profiles)
def test_rows_of_each_mailguard_profile(profile: str) -> None:
    assert set(rows(f"mailguard:{profile}")) == BY_PROFILE[profile]


@pytest.mark.parametrize(
    ("profile", "how", "strength", "verbs"),
    [
        ("pix-4.0", "answer", Strength.ANSWER, 7),
        ("pix-4.4", "noop", Strength.REWRITE, 7),
        ("pix-5", "xxxx-verb", Strength.REWRITE, 7),
        ("pix-6", "xxxx-verb", Strength.REWRITE, 7),
        ("fwsm-3", "xxxx-all", Strength.REWRITE, 15),
        ("asa-7.0", "xxxx-all", Strength.REWRITE, 15),
        ("asa-8", "xxxx-all", Strength.REWRITE, 15),
        ("asa-9-tls", "xxxx-all", Strength.REWRITE, 16),
    ],
)
def test_deny_styles_and_allowed_verbs(profile: str, how: str, strength: Strength, verbs: int) -> None:
    inspector = registry.load(f"mailguard:{profile}")
    row = next(r for r in inspector.table() if r.id == "mailguard.command-not-allowed")
    assert (row.action.how, row.action.strength) == (how, strength)
    assert len(inspector.settings.allowed_verbs) == verbs
    allowed = {verb.encode() for verb in inspector.settings.allowed_verbs}
    assert set(dict(row.when.tests)["verb"].values) == allowed | {b"EHLO", b"STARTTLS"}


def test_the_reply_of_local_ok() -> None:
    assert rows("mailguard:pix-4.0")["command-not-allowed"][0].action.params["reply"] == b"250 OK\r\n"
    for reply in ("OK", r"OK\r\n"):
        row = rows(f"mailguard:pix-4.0,deny_reply={reply}")["command-not-allowed"][0]
        assert row.action.params["reply"] == b"OK\r\n"


def test_split_verbs() -> None:
    assert words("mailguard:pix-6")["command-split"] == "drop"
    assert words("mailguard:fwsm-3")["command-split"] == "drop"
    assert words("mailguard:asa-8")["command-split"] == "rewrite"
    assert "command-split" not in rows("mailguard:asa-8,split_verb=off")


def test_the_most_specific_id_comes_first() -> None:
    order = [r.id.split(".")[1] for r in Mailguard("pix-6").table() if r.first_of == "command"]
    assert order == ["ehlo-blocked", "starttls-blocked", "command-not-allowed"]
    order = [r.id.split(".")[1] for r in Mailguard("asa-8").table() if r.first_of == "keyword"]
    assert order == ["starttls-blocked", "ehlo-param-masked"]


def test_limits_of_the_default_map() -> None:
    found = rows("mailguard:asa-8")
    told = {rule: (found[rule][0].detail, found[rule][0].action.params["criterion"]) for rule in LIMITS}
    assert told == {
        "cmd-line-length": ("Class 1", "cmd line length gt 512"),
        "rcpt-count": ("Class 2", "cmd RCPT count gt 100"),
        "body-line-length": ("Class 3", "body line length gt 998"),
        "header-line-length": ("Class 4", "header line length gt 998"),
        "sender-length": ("Class 5", "sender-address length gt 320"),
        "mime-filename-length": ("Class 6", "MIME filename length gt 255"),
    }
    assert {words("mailguard:asa-8")[rule] for rule in LIMITS - {"body-line-length"}} == {"drop-flow"}
    assert words("mailguard:asa-8")["body-line-length"] == "alarm"
    one = rows("mailguard:asa-7.0,header_line_length=4096")
    assert not (LIMITS - {"header-line-length"}) & set(one)
    assert one["header-line-length"][0].action.params["criterion"] == "header line length gt 4096"
    # CR LF counts for commands only.
    assert "wire_length" in dict(found["cmd-line-length"][0].when.tests)
    assert "length" in dict(found["header-line-length"][0].when.tests)


def test_who_gets_the_reset_of_drop_connection() -> None:
    for spec, client, server in (
        ("mailguard:asa-8", False, True),
        ("mailguard:asa-8,drop_rst=", False, False),
        ("mailguard:asa-8,drop_rst=client+server", True, True),
    ):
        params = rows(spec)["rcpt-count"][0].action.params
        assert (params["client"], params["server"]) == (client, server)


def test_keywords_and_tls() -> None:
    others = rows("mailguard:asa-8")["ehlo-param-masked"][0]
    kept = dict(others.when.tests)["name"].values
    assert b"STARTTLS" in kept
    assert {b"8BITMIME", b"SIZE", b"PIPELINING", b"AUTH="} <= set(kept)
    assert not {b"CHUNKING", b"SMTPUTF8", b"HELP"} & set(kept)
    # One row for the keyword, one for the command.
    assert len(rows("mailguard:asa-8")["starttls-blocked"]) == 2
    assert len(rows("mailguard:pix-6")["starttls-blocked"]) == 1
    assert "starttls-blocked" not in rows("mailguard:asa-9-tls")
    assert words("mailguard:asa-9-tls")["tls-started"] == "detach"
    assert "starttls-blocked" in rows("mailguard:asa-9-tls,allow_tls=off")
    assert rows("mailguard:asa-8,allow_tls=on").keys() == rows("mailguard:asa-9-tls").keys()


def test_inspect_smtp_has_the_seven_verbs() -> None:
    seven = registry.load("mailguard:fwsm-3,inspect=smtp")
    assert len(seven.settings.allowed_verbs) == 7
    assert "ehlo-blocked" in rows("mailguard:fwsm-3,inspect=smtp")
    assert "ehlo-param-masked" not in rows("mailguard:fwsm-3,inspect=smtp")


def test_banner_knobs() -> None:
    assert rows("mailguard:pix-5")["banner-masked"][0].action.params == {"mask": "keep20", "keep_sep": True}
    assert "banner-masked" not in rows("mailguard:asa-8,mask_banner=off")
    assert rows("mailguard:pix-4.0,mask_banner=on")["banner-masked"][0].detail == "per-line"
    assert rows("mailguard:pix-4.4")["banner-multiline-broken"][0].breaks


def test_the_bypass_blinds_the_filter() -> None:
    found = rows("mailguard:pix-5")
    for rule in ("command-not-allowed", "ehlo-blocked", "command-split", "address-pipe"):
        assert found[rule][0].when.not_given == Given.REFUSED_DATA
    assert found["bypass-early-data"][0].when.given == Given.REFUSED_DATA
    assert found["bypass-early-data"][0].kind == "seen"
    assert rows("mailguard:pix-6")["command-not-allowed"][0].when.not_given == Given(0)


def test_cuts_of_the_end_of_data() -> None:
    def cuts(spec: str) -> Any:
        return dict(rows(spec)["eod-split"][0].when.tests)["cuts"].values[0]

    assert cuts("mailguard:pix-5") == 1 << 3 | 1 << 4
    assert cuts("mailguard:pix-5,eod_split=crlfdotcrlf") == 1 << 1 | 1 << 2 | 1 << 3 | 1 << 4


def test_the_h_tag_of_a_signature() -> None:
    test = dict(rows("mailguard:asa-7.0")["dkim-content-type"][0].when.tests)["value"]
    (source,) = test.values
    assert isinstance(source, bytes)
    expression = re.compile(source)
    assert expression.search(b" v=1; a=rsa-sha256; h=from:to:content-type; b=abc")
    assert expression.search(b" v=1;\r\n\th=From:To:\r\n\t Content-Type:Date; b=abc")
    assert not expression.search(b" v=1; h=from:to; bh=content-type; b=abc")
    assert not expression.search(b" v=1; d=content-type.example; h=from; b=abc")
