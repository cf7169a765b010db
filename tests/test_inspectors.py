"""Specs, profiles and rows: no capture and no core is needed for any of this."""

from __future__ import annotations

import importlib.metadata
import pickle
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from smtpinspect.actions import Action, Strength
from smtpinspect.errors import UsageError
from smtpinspect.facts import FIELD, GREETING, KINDS, Given, in_
from smtpinspect.inspectors import registry
from smtpinspect.inspectors.base import Inspector, Rule, Settings
from smtpinspect.inspectors.mailguard import Mailguard, masks
from smtpinspect.inspectors.settings import Knob, octets, parse, split, value
from smtpinspect.inspectors.smtp import Smtp
from smtpinspect.inspectors.stormshield import Stormshield

HERE = Path(__file__).parent
SPECS = [
    *(f"mailguard:{profile}" for profile in Mailguard.profiles),
    *(f"stormshield:{profile}" for profile in Stormshield.profiles),
    "smtp",
    "mailguard:asa-8,special_character=on,mail_relay=example.net,address_malicious=\\|",
    "mailguard:asa-8,match=body length gt 1 -> log+header length gt 1 -> log+header to-fields count gt 1 -> log"
    "+invalid-recipients count gt 1 -> log+mime filetype regex x -> log+mime encoding 8bit -> log"
    "+sender-address regex x -> log+cmd verb VRFY -> log",
    "stormshield,mode=advertised,allow_smtputf8=on,scope=message+envelope,deny_op=TURN,allow_op=MAIL"
    ",filter_chunked_extension=on,filter_exchange_extensions=on,filter_turning_extensions=on"
    ",filter_pipelining_extension=on,outstanding_pipelined_request_limit=3",
]


# Read and named; a rate spans connections.
NOT_EVALUATED = {"mailguard.rate-limit"}


def rows(spec: str) -> dict[str, list[Rule]]:
    found: dict[str, list[Rule]] = {}
    for row in registry.load(spec).table():
        found.setdefault(row.id.split(".", 1)[1], []).append(row)
    return found


def words(spec: str) -> dict[str, str]:
    """Rule to the words of its actions."""
    return {rule: "/".join(r.action.strength.word for r in found) for rule, found in rows(spec).items()}


# ---- spec strings


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


def test_inspectors_can_be_pickled() -> None:
    for spec in SPECS:
        made = registry.load(spec)
        again = pickle.loads(pickle.dumps(made))
        assert again.settings == made.settings
        assert [r.id for r in again.table()] == [r.id for r in made.table()]


# ---- rules by name: off, action, level


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


# ---- rows of all inspectors


def every_row() -> Iterator[tuple[str, Rule]]:
    for spec in SPECS:
        for row in registry.load(spec).table():
            yield spec, row


@pytest.mark.parametrize("spec", SPECS)
def test_every_row_has_what_it_needs(spec: str) -> None:
    inspector = registry.load(spec)
    assert inspector.table()
    for row in inspector.table():
        assert re.fullmatch(rf"{inspector.name}\.[a-z0-9-]+(\.[a-z0-9-]+)?", row.id)
        assert row.basis in ("confirmed", "inferred", "project")
        assert row.title
        assert row.when.kind in KINDS
        assert row.kind == "emulate" or row.action.strength <= Strength.ALARM
        assert row.source
        for source in row.source.split("; "):
            assert source in inspector.sources, f"{row.id}: {source}"
        assert row.basis in {"confirmed", "inferred"} or "project" in row.source
        page = inspector.pages[row.id]
        assert row.signature_id == page.signature_id
        for source in page.sources:
            assert source in inspector.sources, f"{row.id}: {source}"


def test_signature_ids_are_unique_and_in_their_range() -> None:
    for cls, low in ((Mailguard, 2001000), (Stormshield, 2002000), (Smtp, 2004000)):
        numbers = [page.signature_id for page in cls.pages.values()]
        assert len(set(numbers)) == len(numbers)
        assert all(low <= number < low + 1000 for number in numbers)
        assert cls.gid == low // 1000


def test_signature_ids_stay_what_they_were() -> None:
    """A number that a log or a filter holds never comes to mean another rule."""
    assert Mailguard.pages["mailguard.banner-masked"].signature_id == 2001000
    assert Mailguard.pages["mailguard.postfix-workaround-seen"].signature_id == 2001027
    assert Stormshield.pages["stormshield.smtp-231"].signature_id == 2002009
    assert Smtp.pages["smtp.smuggling-lf-dot-lf"].signature_id == 2004002


def test_every_page_has_a_row_in_some_spec() -> None:
    found = {row.id for _, row in every_row()}
    for cls in (Mailguard, Stormshield, Smtp):
        assert set(cls.pages) <= found | {"stormshield.smtp-223"} | NOT_EVALUATED


def test_knobs_and_profiles_fit() -> None:
    for cls in (Mailguard, Stormshield, Smtp):
        for profile, given in cls.profiles.items():
            assert set(given) <= set(cls.knobs), profile
            for key, wanted in given.items():
                assert value(cls.knobs[key], key, wanted, cls.name) == wanted
        for key, knob in cls.knobs.items():
            assert re.fullmatch(r"[a-z0-9_]+", key)
            assert knob.meaning
            for source in filter(None, knob.source.split("; ")):
                assert source in cls.sources, key
        assert set(cls.hints.values()) <= set(cls.profiles)


# ---- mailguard

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


# ---- masks

ONE_LINE = b"220 mail.foobar.com Sendmail 8.6.11 ready at Tue, 17 Jun 1997 1:23:20\r\n"
TWO_LINES = b"220-Welcome to mail2.example.com\r\n220 ready 2002 10:20:30\r\n"


@pytest.mark.parametrize(
    ("greeting", "mask", "keep_sep", "masked"),
    [
        (ONE_LINE, "keep20", True, b"220 " + b"*" * 60 + b"2**20\r\n"),
        (ONE_LINE, "keep20", False, b"220" + b"*" * 61 + b"2**20\r\n"),
        (ONE_LINE, "first4", True, b"220 " + b"*" * 65 + b"\r\n"),
        (ONE_LINE, "per-line", True, b"220 " + b"*" * 65 + b"\r\n"),
        (ONE_LINE, "none", True, ONE_LINE),
        (TWO_LINES, "first4", True, b"220-" + b"*" * 28 + b"\r\n" + b"*" * 23 + b"\r\n"),
        (TWO_LINES, "per-line", True, b"220-" + b"*" * 28 + b"\r\n220 " + b"*" * 19 + b"\r\n"),
        (
            TWO_LINES,
            "keep20",
            True,
            b"220-***************2************\r\n220 ******2002**0*20**0\r\n",
        ),
    ],
)
def test_banner_masks(greeting: bytes, mask: str, keep_sep: bool, masked: bytes) -> None:
    assert masks.banner(greeting, mask, keep_sep=keep_sep) == masked
    assert len(masked) == len(greeting)


def test_asa_greeting_of_two_lines() -> None:
    """The look of the nmap fingerprint: 220- and 89 asterisks, 220 and 32."""
    greeting = b"220-" + b"x" * 89 + b"\r\n220 " + b"2" * 32 + b"\r\n"
    assert masks.per_line(greeting) == b"220-" + b"*" * 89 + b"\r\n220 " + b"*" * 32 + b"\r\n"


NAMED = Mailguard().settings.ehlo_named


@pytest.mark.parametrize(
    ("reply", "masked"),
    [
        (
            b"250-mx.example\r\n250-SIZE 10240000\r\n250-STARTTLS\r\n250-CHUNKING\r\n250 HELP\r\n",
            b"250-mx.example\r\n250-SIZE 10240000\r\n250-XXXXXXXA\r\n250-XXXXXXXB\r\n250 XXXC\r\n",
        ),
        (
            b"250-mx\r\n250-PIPELINING\r\n250-STARTTLS\r\n250 HELP\r\n",
            b"250-mx\r\n250-PIPELINING\r\n250-XXXXXXXA\r\n250 XXXB\r\n",
        ),
        (
            b"250-mx\r\n250-AUTH=LOGIN\r\n250-AUTH LOGIN\r\n250-SIZE\r\n250-DSN\r\n250-ETRN\r\n250 HELP\r\n",
            b"250-mx\r\n250-AUTH=LOGIN\r\n250-AUTH LOGIN\r\n250-SIZE\r\n250-DSN\r\n250-ETRN\r\n250 XXXA\r\n",
        ),
        (b"250-mx\r\n250 X-EXPS GSSAPI NTLM\r\n", b"250-mx\r\n250 XXXXXXXXXXXXXXXXXA\r\n"),
        (b"250 mx\r\n", b"250 mx\r\n"),
        (b"250-mx\r\n250-\r\n250 X\r\n", b"250-mx\r\n250-\r\n250 A\r\n"),
        (b"500 no\r\n", b"500 no\r\n"),
    ],
)
def test_ehlo_masks(reply: bytes, masked: bytes) -> None:
    assert masks.ehlo(reply, NAMED) == masked
    assert len(masked) == len(reply)


def test_letters_start_again_behind_z() -> None:
    reply = b"250-mx\r\n" + b"".join(b"250-X%d\r\n" % i for i in range(10, 37)) + b"250 HELP\r\n"
    lines = masks.ehlo(reply, NAMED).splitlines()
    assert lines[1] == b"250-XXA"
    assert lines[26] == b"250-XXZ"
    assert lines[27] == b"250-XXA"


@pytest.mark.parametrize(
    ("line", "noop", "verb", "all_"),
    [
        (b"EHLO a.example\r\n", b"NOOP a.example\r\n", b"XXXX a.example\r\n", b"XXXXXXXXXXXXXX\r\n"),
        (b"TURN\r\n", b"NOOP\r\n", b"XXXX\r\n", b"XXXX\r\n"),
        (b"EXPN staff\r\n", b"NOOP staff\r\n", b"XXXX staff\r\n", b"XXXXXXXXXX\r\n"),
        (b"STARTTLS\r\n", b"NOOP    \r\n", b"XXXXTTLS\r\n", b"XXXXXXXX\r\n"),
        (b"WIZ\r\n", b"XXX\r\n", b"XXX\r\n", b"XXX\r\n"),
        (b"\r\n", b"\r\n", b"\r\n", b"\r\n"),
    ],
)
def test_command_masks(line: bytes, noop: bytes, verb: bytes, all_: bytes) -> None:
    assert masks.noop(line) == noop
    assert masks.xxxx_verb(line) == verb
    assert masks.xxxx_all(line) == all_


def test_space() -> None:
    line = b'RCPT TO:<"|/bin/sh"@v.example>\r\n'
    assert masks.space(line, [line.index(b"|")]) == b'RCPT TO:<" /bin/sh"@v.example>\r\n'


# ---- stormshield

FIVE = {
    "smtp-122", "smtp-217.command", "smtp-217.reply", "smtp-217.header", "smtp-217.bdat", "smtp-217.xexch50",
    "smtp-219.command", "smtp-219.reply", "smtp-223", "smtp-231",
}  # fmt: skip


@pytest.mark.parametrize("profile", Stormshield.profiles)
def test_rows_of_each_stormshield_profile(profile: str) -> None:
    found = words(f"stormshield:{profile}")
    assert set(found) == FIVE
    assert found["smtp-231"] == ("alarm" if profile == "internet" else "drop-flow")
    assert {word for rule, word in found.items() if rule not in ("smtp-231", "smtp-122")} == {"drop-flow"}


def test_inspection_levels() -> None:
    assert rows("stormshield,level=firewall") == {}
    assert rows("stormshield,state=off") == {}
    assert {a for word in words("stormshield,level=ids").values() for a in word.split("/")} == {"alarm"}


@pytest.mark.parametrize(("word", "strength"), [("drop-flow", 6), ("drop", 5), ("rst-both", 7)])
def test_teardown(word: str, strength: int) -> None:
    assert {r.action.strength for _, r in every(f"stormshield,teardown={word}")} == {strength}


def every(spec: str) -> Iterable[tuple[str, Rule]]:
    return [(rule, row) for rule, found in rows(spec).items() for row in found]


def test_pass_and_sensitive_alarms() -> None:
    assert words("stormshield,122.action=pass")["smtp-122"] == "detach/detach"
    assert words("stormshield,231.action=pass")["smtp-231"] == "alarm"
    assert words("stormshield,231.action=pass,sensitive=231")["smtp-231"] == "detach"
    assert words("stormshield,122.action=pass,sensitive=")["smtp-122"] == "alarm/alarm"
    assert words("stormshield:internet,231.action=block")["smtp-231"] == "drop-flow"
    assert words("stormshield,level=ids,219.action=pass")["smtp-219.reply"] == "detach"


def test_line_limits_and_presets() -> None:
    def limit(spec: str, rule: str) -> Any:
        return dict(rows(spec)[rule][0].when.tests)["length"].values[0]

    names = ("smtp-217.command", "smtp-217.reply", "smtp-217.header")
    assert [limit("stormshield", rule) for rule in names] == [4096, 4096, 4096]
    assert [limit("stormshield,preset=rfc5321", rule) for rule in names] == [512, 512, 1000]
    mixed = "stormshield,preset=rfc5321,header_line_limit=64"
    assert [limit(mixed, rule) for rule in names] == [512, 512, 64]


def test_modes_of_223() -> None:
    reply = rows("stormshield,reply_codes=500+504")["smtp-223"][0]
    assert dict(reply.when.tests)["code"].values == (500, 504)
    advertised = rows("stormshield,mode=advertised")["smtp-223"][0]
    assert advertised.when.kind.name == "Command"


def test_the_template_of_the_alarms_may_differ_from_the_profile() -> None:
    assert words("stormshield:high,template_alarm=internet")["smtp-231"] == "alarm"
    assert words("stormshield:internet,template_alarm=low")["smtp-231"] == "drop-flow"
    assert rows("stormshield:high,template_alarm=internet")["smtp-231"][0].basis == "inferred"


# Ranges of the guide; what it gives no range for is on or off, or a list.
RANGES = {
    "header_line_limit": (64, 4096),
    "server_line_limit": (64, 4096),
    "command_line_limit": (64, 4096),
    "xexch50_size": (102_400, 1_073_741_824),
    "bdat_size": (102_400, 10_485_760),
    "outstanding_pipelined_request_limit": (0, 1024),
}


@pytest.mark.parametrize("key", RANGES)
def test_ranges_of_the_stormshield_settings(key: str) -> None:
    low, high = RANGES[key]
    for number in (low, high):
        assert registry.load(f"stormshield,{key}={number}").settings.values[key] == number
    for number in (low - 1, high + 1):
        with pytest.raises(
            UsageError, match=rf"{key}={number} for stormshield: a number from {low} to {high} "
        ):
            registry.load(f"stormshield,{key}={number}")


def test_stormshield_settings_without_effect_are_taken_and_named() -> None:
    made = registry.load("stormshield,probe=on,log=off,allow_tcp_urg=on")
    assert [note.split(":")[0] for note in made.notes()] == ["Probe=On", "Log=Off", "AllowTCPUrg=On"]
    assert made.table() == registry.load("stormshield").table()
    assert registry.load("stormshield").notes() == ()
    for key in ("probe", "log", "allow_tcp_urg", "state"):
        with pytest.raises(UsageError, match="on or off"):
            registry.load(f"stormshield,{key}=2")


def test_filters_drop_without_an_alarm_id() -> None:
    spec = "stormshield,filter_chunked_extension=on,filter_turning_extensions=on,deny_op=turn"
    for rule in ("filter-chunking", "filter-turning", "command-denied"):
        assert words(spec)[rule] == "drop"
        assert words(spec + ",level=ids")[rule] == "alarm"
        assert words(spec + f",{rule}.action=pass")[rule] == "pass"


def test_smtputf8() -> None:
    found = rows("stormshield,allow_smtputf8=on")["smtp-231"]
    assert [(r.when.given, r.when.not_given) for r in found] == [
        (Given(0), Given.SMTPUTF8),
        (Given.SMTPUTF8, Given(0)),
    ]


# ---- smtp


def test_the_built_in_inspector_only_tells() -> None:
    (always,) = registry.always()
    assert always.name == "smtp"
    assert {row.kind for row in always.table()} == {"seen"}
    assert {row.action.strength for row in always.table()} == {Strength.ALARM}
    assert len([row for row in always.table() if "smuggling" in row.id]) == 12


# ---- registry and third parties


def test_names_and_labels() -> None:
    assert registry.names()[:3] == ("mailguard", "stormshield", "sonicwall")
    assert [i.name for i in registry.default()] == ["mailguard", "stormshield", "sonicwall"]
    assert registry.label_all(registry.default()) == ["mailguard", "stormshield", "sonicwall"]
    specs = ["mailguard", "stormshield", "mailguard:asa-8", "mailguard:asa-8,limits=none"]
    assert registry.label_all([registry.load(s) for s in specs]) == [
        "mailguard:pix-6",
        "stormshield",
        "mailguard:asa-8",
        "mailguard:asa-8#2",
    ]


@pytest.fixture
def entry_points(monkeypatch: pytest.MonkeyPatch) -> list[importlib.metadata.EntryPoint]:
    """Entry points as an installed package would have them."""
    entries: list[importlib.metadata.EntryPoint] = []

    def fake(*, group: str) -> importlib.metadata.EntryPoints:
        return importlib.metadata.EntryPoints(entries).select(group=group)

    monkeypatch.setattr(importlib.metadata, "entry_points", fake)
    monkeypatch.syspath_prepend(str(HERE / "example_inspector"))
    monkeypatch.delitem(sys.modules, "smtpinspect_example", raising=False)
    return entries


def entry(name: str, value: str) -> importlib.metadata.EntryPoint:
    return importlib.metadata.EntryPoint(name, value, registry.GROUP)


def test_the_example_of_a_third_party(entry_points: list[importlib.metadata.EntryPoint]) -> None:
    entry_points.append(entry("example", "smtpinspect_example:Example"))
    assert registry.names() == ("mailguard", "stormshield", "sonicwall", "example")
    registry.load("mailguard")
    assert "smtpinspect_example" not in sys.modules  # only when it is asked for
    example = registry.load("example,most_recipients=2,trusted=a.example+b.example,no-newsletter.level=major")
    assert [row.id for row in example.table()] == ["example.many-recipients", "example.no-newsletter"]
    assert example.table()[1].level == "major"
    assert example.table()[1].method == "on_list_unsubscribe"
    assert example.gid == 2000
    assert "example" in [i.name for i in registry.every()]
    with pytest.raises(UsageError, match="Did you mean most_recipients"):
        registry.load("example,most_recipient=2")


def test_the_method_of_the_example_decides(entry_points: list[importlib.metadata.EntryPoint]) -> None:
    entry_points.append(entry("example", "smtpinspect_example:Example"))
    example = registry.load("example")
    decide = getattr(example, example.table()[1].method)

    class Fact:
        value = b"<https://spam.example/u>"

    assert isinstance(decide(Fact), Action)
    Fact.value = b"<https://lists.example.org/u>"
    assert decide(Fact) is None


def test_packages_that_cannot_be_used(entry_points: list[importlib.metadata.EntryPoint]) -> None:
    entry_points += [
        entry("gone", "no_such_module:Thing"),
        entry("wrong", "json:dumps"),
        entry("mailguard", "no_such_module:Thing"),
    ]
    with pytest.raises(UsageError, match=r"'gone'.*cannot be loaded"):
        registry.load("gone")
    with pytest.raises(UsageError, match="no subclass"):
        registry.load("wrong")
    # Nobody takes a built-in name away, and a broken package does not hide the rest.
    assert isinstance(registry.load("mailguard"), Mailguard)
    with pytest.warns(UserWarning, match=r"cannot be loaded|no subclass") as caught:
        assert len(registry.every()) == 4
    assert len(caught) == 2


def test_a_row_with_a_foreign_id_is_the_authors_mistake() -> None:
    class Stray(Inspector):
        name = "stray"

        def rules(self, settings: Settings) -> Iterable[Rule]:
            yield Rule("mailguard.mine", GREETING(), Action(Strength.ALARM), "project", "x", 1, "x")

    with pytest.raises(TypeError, match="starts with stray"):
        Stray()


def test_knobs_of_a_third_party() -> None:
    class Own(Inspector):
        name = "own"
        knobs = {"names": Knob("list", (), "field names")}

        def rules(self, settings: Settings) -> Iterable[Rule]:
            if settings.names:
                names = [name.encode() for name in settings.names]
                yield Rule(
                    "own.field", FIELD(name=in_(*names)), Action(Strength.ALARM), "project", "x", 1, "x"
                )

    assert Own().table() == ()
    assert Own(names="X-A+X-B").ids() == ("own.field",)
    assert Own(names=["X-A"], off=["own.field"]).table() == ()


# ---- documents: tests/transcripts holds a dialogue that fires each rule, one that nearly does, and an edge

DOCUMENTS = {
    f"{path.parent.name}.{path.stem}": path.read_text(encoding="utf-8")
    for path in sorted((HERE / "transcripts").glob("*/*.md"))
}
PRODUCTS = [type(registry.load(name)) for name in (*registry.BUILT_IN, *registry.ALWAYS_ON)]
DOCUMENTED = [rule for cls in PRODUCTS for rule in cls.pages if rule not in NOT_EVALUATED]


def block(text: str, name: str) -> list[str]:
    found = re.findall(rf"^```{name}(?: cuts)?\n(.*?)^```$", text, re.M | re.S)
    assert len(found) == 1, name
    return str(found[0]).splitlines()


def alerts(name: str) -> list[str]:
    return [line.split()[0] for line in block(DOCUMENTS[name], "alerts")]


@pytest.mark.parametrize("rule", DOCUMENTED)
def test_every_rule_has_three_documents(rule: str) -> None:
    own = [name for name in DOCUMENTS if name == rule or name.startswith(rule + "-")]
    kinds = {
        kind: [name for name in own if name.removeprefix(rule).startswith(f"-{kind}")]
        for kind in ("fires", "near", "edge")
    }
    assert len(own) >= 3
    assert [kind for kind, names in kinds.items() if not names] == []
    assert any(rule in alerts(name) for name in own)
    assert any(rule not in alerts(name) for name in kinds["near"])


@pytest.mark.parametrize("name", DOCUMENTS)
def test_documents_can_be_read(name: str) -> None:
    text = DOCUMENTS[name]
    title, blank, why, *_ = text.splitlines()
    assert title.startswith("# ")
    assert blank == ""
    assert why.endswith(".")
    assert text.isascii()
    inspectors = [registry.load(spec) for spec in block(text, "spec")]
    ids = {rule for inspector in (*inspectors, *registry.always()) for rule in inspector.ids()}
    for line in block(text, "dialogue"):
        assert re.fullmatch(r"[CS]:(?: .*\S)?|--(?: [0-9]+s)?", line), line
    for line in block(text, "alerts"):
        assert re.fullmatch(r"[a-z0-9.-]+ [a-z-]+ (client|server)@[0-9]+(?: .*)?", line), line
        assert line.split()[0] in ids
