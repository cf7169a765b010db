"""Settings of inspectors: specs as text and from Python, what is wrong in one; rules by name: off, action, level."""

from __future__ import annotations

import pytest

from inspecting import rows, words
from smtpinspect.actions import Strength
from smtpinspect.errors import UsageError
from smtpinspect.inspectors import registry
from smtpinspect.inspectors.mailguard import Mailguard
from smtpinspect.inspectors.settings import octets, parse, split
from smtpinspect.inspectors.stormshield import Stormshield


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("a,b", ["a", "b"]),
        (r"a\,b", ["a,b"]),
        (r"a\\,b", [r"a\\", "b"]),
        (r"a\r\n,b", [r"a\r\n", "b"]),
        ("", [""]),
        (",", ["", ""]),
        ("a\\", ["a\\"]),
    ],
)
def test_split(text: str, parts: list[str]) -> None:
    assert split(text, ",") == parts


def test_parse() -> None:
    assert parse("mailguard") == ("mailguard", None, {})
    assert parse("mailguard:pix-6") == ("mailguard", "pix-6", {})
    spec = parse(r"stormshield:high,level=ids,off=smtp-122,217.action=pass,off=231,deny_reply=a\,b=c")
    assert spec.keys == {
        "level": "ids",
        "off": "smtp-122+231",
        "217.action": "pass",
        "deny_reply": "a,b=c",
    }


@pytest.mark.parametrize(
    ("text", "value_"),
    [("250 OK", b"250 OK"), (r"OK\r\n", b"OK\r\n"), (r"\x00\0\t\\", b"\0\0\t\\"), ("é", "é".encode())],
)
def test_octets(text: str, value_: bytes) -> None:
    assert octets(text) == value_


def test_values_from_text_and_from_python_are_the_same() -> None:
    text = registry.load(
        r"mailguard:asa-8,allowed_verbs=HELO+MAIL,rcpt_count=7,keep_sep=no,deny_reply=OK\r\n"
    )
    python = Mailguard(
        "asa-8", allowed_verbs=["HELO", "MAIL"], rcpt_count=7, keep_sep=False, deny_reply=b"OK"
    )
    assert text.settings == python.settings
    assert text.table() == python.table()


def test_later_keys_and_settings_by_name() -> None:
    settings = registry.load("mailguard,deny_style=noop,deny_style=local-ok").settings
    assert settings.deny_style == "local-ok"
    assert settings.profile == "pix-6"
    with pytest.raises(AttributeError):
        _ = settings.no_such_knob


def test_word_aliases() -> None:
    assert registry.load("mailguard:pix-6,eod_split=on").settings.eod_split == "dotcrlf"
    assert registry.load("mailguard:asa-7.0,limits=on").settings.rcpt_count == 100
    assert Mailguard("asa-8", limits=False).settings.rcpt_count == 0
    assert registry.load("mailguard:asa-8,rcpt_count=0").settings.rcpt_count == 0
    assert registry.load("mailguard:asa-8,rcpt_count=off").settings.rcpt_count == 0


@pytest.mark.parametrize(
    ("spec", "parts"),
    [
        ("mailgard", ["unknown inspector 'mailgard'", "mailguard stormshield sonicwall", "Did you mean mailguard?"]),
        ("", ["no inspector named"]),
        (":pix-6", ["no inspector named"]),
        (
            "mailguard:pix-7",
            [
                "unknown profile 'pix-7' for mailguard. Known: pix-4.0 pix-4.4 pix-5 pix-6 fwsm-3 asa-7.0"
                " asa-8 asa-9-tls. Did you mean asa-7.0?"
            ],
        ),
        ("mailguard:", ["unknown profile ''"]),
        ("stormshield:hihg", ["Known: low medium high internet. Did you mean high?"]),
        ("mailguard,deny_stile=noop", ["unknown key 'deny_stile' for mailguard", "Did you mean deny_style?"]),
        ("mailguard,deny_style=nop", ["Known: local-ok noop xxxx-verb xxxx-all. Did you mean noop?"]),
        ("mailguard,noop", ["'noop' in 'mailguard,noop' is not key=value"]),
        ("mailguard,keep_sep=maybe", ["on or off is wanted"]),
        ("mailguard,rcpt_count=-1", ["a number from 1 to 2147483647, or 0 (off) is wanted"]),
        ("mailguard,rcpt_count=²", ["is wanted"]),
        ("mailguard,drop_rst=server+everybody", ["unknown item of drop_rst 'everybody'"]),
        ("mailguard,deny_reply=\\q", ["a backslash starts one of"]),
        ("mailguard,address_malicious=(", ["not a regular expression"]),
        ("mailguard,off=baner-masked", ["unknown rule 'baner-masked'", "Did you mean banner-masked?"]),
        ("mailguard,off=mailguard", ["unknown rule"]),
        ("mailguard,217.action=pass", ["unknown rule '217' for mailguard"]),
        ("mailguard,banner-masked.action=explode", ["unknown action of banner-masked 'explode'"]),
        (
            "mailguard,banner-masked.level=high",
            ["unknown level of banner-masked 'high'", "ignore minor major"],
        ),
        ("mailguard,banner-masked.colour=red", ["unknown key 'banner-masked.colour'"]),
        ("mailguard,command-split.action=answer", []),
        ("mailguard,banner-masked.action=answer", ["cannot answer"]),
        ("mailguard,server-transition.action=mask", ["mask is for commands and EHLO keywords"]),
        ("mailguard,postfix-workaround-seen.action=drop", ["only tells what the capture shows"]),
        ("mailguard,allow_tls=on", ["allow_tls is a parameter of inspect=esmtp"]),
        ("mailguard,config=running.cfg", ["running.cfg: no such file"]),
        ("stormshield,config=profile.txt", ["profile.txt: no such file"]),
        ("stormshield,header_line_limit=63", ["header_line_limit=63 for stormshield", "from 64 to 4096"]),
        ("stormshield,header_line_limit=4097", ["from 64 to 4096"]),
        ("stormshield,bdat_size=10485761", ["from 102400 to 10485760"]),
        ("stormshield,outstanding_pipelined_request_limit=1025", ["from 0 to 1024"]),
        ("stormshield,reply_codes=", ["reply_codes for stormshield is empty"]),
        ("stormshield,217.action=drop", ["Known: pass block."]),
        ("stormshield,smtp-217.heder.action=pass", ["unknown rule 'smtp-217.heder'"]),
        ("smtp,smuggling-lf-dot-lf.action=drop", ["only tells what the capture shows"]),
    ],
)
def test_wrong_specs_name_what_is_known(spec: str, parts: list[str]) -> None:
    if not parts:
        registry.load(spec)
        return
    with pytest.raises(UsageError) as error:
        registry.load(spec)
    for part in parts:
        assert part in str(error.value)


def test_an_inspector_that_is_made_comes_back() -> None:
    made = Stormshield(level="ids")
    assert registry.load(made) is made



@pytest.mark.parametrize(
    ("name", "ids"),
    [
        ("stormshield.smtp-217.header", ["stormshield.smtp-217.header"]),
        ("smtp-217.header", ["stormshield.smtp-217.header"]),
        ("217.header", ["stormshield.smtp-217.header"]),
        ("smtp:231", ["stormshield.smtp-231"]),
        ("231", ["stormshield.smtp-231"]),
        ("STORMSHIELD.SMTP-231", ["stormshield.smtp-231"]),
        ("219", ["stormshield.smtp-219.command", "stormshield.smtp-219.reply"]),
        ("stormshield.smtp-219", ["stormshield.smtp-219.command", "stormshield.smtp-219.reply"]),
        ("filter-chunking", ["stormshield.filter-chunking"]),
    ],
)
def test_names_of_rules(name: str, ids: list[str]) -> None:
    assert list(Stormshield().matching(name)) == ids


def test_off() -> None:
    assert "smtp-217.header" not in rows("stormshield,off=217.header")
    assert "smtp-217.command" in rows("stormshield,off=217.header")
    left = rows("stormshield,off=smtp-217+smtp:122+stormshield.smtp-231")
    assert list(left) == ["smtp-219.command", "smtp-219.reply", "smtp-223"]
    # A rule that this profile does not have can be off as well.
    assert rows("mailguard,off=tls-started").keys() == rows("mailguard").keys()


def test_off_does_not_make_a_general_rule_fire() -> None:
    """EHLO let through by off= is not a command outside the list."""
    denied = rows("mailguard,off=ehlo-blocked+starttls-blocked")["command-not-allowed"][0]
    assert {b"EHLO", b"STARTTLS"} <= set(dict(denied.when.tests)["verb"].values)


def test_action_of_a_family_and_of_one_rule() -> None:
    found = words("stormshield,217.header.action=block,217.action=pass")
    assert found["smtp-217.header"] == "drop-flow"
    assert found["smtp-217.command"] == "detach"
    found = words("stormshield,217.action=pass,217.header.action=block")
    assert found["smtp-217.header"] == "drop-flow"


def test_product_words_and_contract_words() -> None:
    found = words(
        "mailguard:asa-8,header-line-length.action=log,rcpt-count.action=reset,cmd-line-length.action=drop"
        ",sender-length.action=pass,body-line-length.action=drop-connection,command-not-allowed.action=drop-flow"
    )
    assert found["header-line-length"] == "alarm"
    assert found["rcpt-count"] == "reset"
    assert found["cmd-line-length"] == "drop"
    assert found["sender-length"] == "pass"
    assert found["body-line-length"] == "drop-flow"
    assert found["command-not-allowed"] == "drop-flow"
    body = rows("mailguard:asa-8,body-line-length.action=drop-connection")["body-line-length"][0]
    assert body.action.params == {
        "criterion": "body line length gt 998",
        "log": True,
        "client": False,
        "server": True,
    }


def test_a_broken_greeting_that_passes_breaks_nothing() -> None:
    assert rows("mailguard:pix-4.4")["banner-multiline-broken"][0].ends_flow
    passed = rows("mailguard:pix-4.4,banner-multiline-broken.action=pass")["banner-multiline-broken"][0]
    assert not passed.ends_flow


def test_level_ignore() -> None:
    # What only tells is gone with its line in the log; what blocks goes on blocking.
    assert "smtp-231" not in rows("stormshield:internet,231.level=ignore")
    assert "smtp-122" not in rows("stormshield,level=ids,122.level=ignore")
    blocked = rows("stormshield,122.level=ignore")["smtp-122"]
    assert {(r.level, r.action.strength) for r in blocked} == {("ignore", Strength.DROP_FLOW)}
    # pass on a sensitive alarm ends the scan, logged or not.
    assert words("stormshield,219.action=pass,219.level=ignore")["smtp-219.reply"] == "detach"
