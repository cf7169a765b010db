"""Configurations of the firewalls: what is read out of them."""

from __future__ import annotations

import base64
import json
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from configurations import BOUND, CONFIGS, EXPECTED, FILES, MG, POLICY, READERS, SNS, read, text_of, told
from smtpinspect import UsageError
from smtpinspect.inspectors import registry
from smtpinspect.inspectors.sonicwall import config as sonicwall

# --- what is read


def test_every_sample_is_expected() -> None:
    assert {path.name for path in CONFIGS.iterdir()} == {*EXPECTED, "ios.txt"}


@pytest.mark.parametrize("name", FILES)
def test_samples(name: str) -> None:
    made = read(text_of(name), EXPECTED[name][0])
    assert told(made) == EXPECTED[name]
    lines = text_of(name).splitlines()
    for line in (*made.found, *made.unknown):
        shown = line.text.removesuffix("…")
        assert shown in " ".join(lines[line.number - 1].split())


@pytest.mark.parametrize("name", [name for name in FILES if EXPECTED[name][0] == MG])
@pytest.mark.parametrize("how", ["lost", "crlf", "cr", "shifted", "blank lines", "pager", "capitals"])
def test_form_of_the_text(name: str, how: str) -> None:
    text = text_of(name)
    made = {
        "lost": re.sub(r"(?m)^ +", "", text),
        "crlf": text.replace("\n", "\r\n"),
        "cr": text.replace("\n", "\r"),
        "shifted": re.sub(r"(?m)^", "    ", text),
        "blank lines": text.replace("\n", "\n\n!\n"),
        "pager": re.sub(r"(?m)^( *(?:match|inspect|fixup))", "<--- More --->\r              \r\\1", text),
        "capitals": re.sub(r"(?m)^( *)([a-z-]+)(?= )", lambda m: m[1] + m[2].capitalize(), text),
    }[how]
    assert told(read(made)) == EXPECTED[name]


@pytest.mark.parametrize("name", [name for name in FILES if EXPECTED[name][0] != MG])
def test_form_of_other_texts(name: str) -> None:
    text = text_of(name)
    for made in (text.replace("\n", "\r\n"), "\n\n" + text, re.sub(r"(?m)^", "  ", text)):
        assert told(read(made, EXPECTED[name][0])) == EXPECTED[name]


@pytest.mark.parametrize("name", FILES)
def test_only_its_own_product_reads_it(name: str) -> None:
    assert [product for product, of in READERS.items() if of(text_of(name))] == [EXPECTED[name][0]]


@pytest.mark.parametrize(
    "text",
    ["", "hello", "From: a@b\n\nfixup\n", "[http]\nstate=1\n", "{}", "[]", '{"a": 1}', "\0", "x" * 500],
)
def test_other_texts(text: str) -> None:
    assert [of(text) for of in READERS.values()] == [None] * 3


@pytest.mark.parametrize(
    ("version", "profile"),
    [
        ("PIX Version 4.0.7", "pix-4.0"),
        ("PIX Version 4.1(2)", "pix-4.0"),
        ("PIX Version 4.2(1)", "pix-4.4"),
        ("PIX Version 5.0(3)", "pix-4.4"),
        ("PIX Version 5.1(2)", "pix-5"),
        ("PIX Version 6.0(1)", "pix-6"),
        ("PIX Version 6.3(5)145", "pix-6"),
        ("FWSM Version 2.3(4)", "pix-6"),
        ("FWSM Version 3.2(1)", "fwsm-3"),
        ("FWSM Version 4.1(5)", "fwsm-3"),
        ("PIX Version 7.0(1)", "asa-7.0"),
        ("PIX Version 8.0(4)", "asa-8"),
        ("ASA Version 7.1(2)", "asa-7.0"),
        ("ASA Version 7.2(4)", "asa-8"),
        ("ASA Version 8.3(2)", "asa-8"),
        ("ASA Version 8.4(7)24", "asa-8"),
        ("ASA Version 8.4(7)25", "asa-9-tls"),
        ("ASA Version 8.4(7.25)", "asa-9-tls"),
        ("ASA Version 8.5(1)22", "asa-8"),
        ("ASA Version 8.6(1)16", "asa-9-tls"),
        ("ASA Version 8.7(1)15", "asa-9-tls"),
        ("ASA Version 9.0(4)27", "asa-8"),
        ("ASA Version 9.0(4)28", "asa-9-tls"),
        ("ASA Version 9.1(6)", "asa-8"),
        ("ASA Version 9.1(6)1", "asa-9-tls"),
        ("ASA Version 9.1(7)", "asa-9-tls"),
        ("ASA Version 9.2(3)1", "asa-8"),
        ("ASA Version 9.2(4)", "asa-9-tls"),
        ("ASA Version 9.3(1)1", "asa-8"),
        ("ASA Version 9.3(1)2", "asa-9-tls"),
        ("ASA Version 9.3(2)1", "asa-8"),
        ("ASA Version 9.3(2)2", "asa-9-tls"),
        ("ASA Version 9.3(3)", "asa-9-tls"),
        ("ASA Version 9.4(1)", "asa-9-tls"),
        ("ASA Version 9.16(4)", "asa-9-tls"),
        ("NGFW Version 6.2.2", "asa-9-tls"),
        ("Cisco Adaptive Security Appliance Software Version 9.1(2)", "asa-8"),
    ],
)
def test_generations(version: str, profile: str) -> None:
    assert read(f"{version}\n{POLICY % ''}{BOUND}fixup protocol smtp 25\nmailhost 1.1.1.1 2.2.2.2\n").profile in (
        profile,
        "pix-4.0",  # mailhost
    )
    assert read(f"{version}\n{POLICY % ''}{BOUND}").profile == profile


@pytest.mark.parametrize(
    ("version", "keys"),
    [
        ("PIX Version 4.4(6)", {"early_data_bypass": True}),
        ("PIX Version 4.4(7)", {"early_data_bypass": False}),
        ("PIX Version 5.2(2)", {"early_data_bypass": True}),
        ("PIX Version 5.2(3)", {"early_data_bypass": False}),
        ("PIX Version 5.2(5)", {"early_data_bypass": True}),
        ("PIX Version 6.0(1)", {"early_data_bypass": True}),
        ("PIX Version 6.0", {}),
    ],
)
def test_builds_with_the_bypass(version: str, keys: dict[str, bool]) -> None:
    assert read(f"{version}\nfixup protocol smtp 25\n").keys == keys


@pytest.mark.parametrize(
    ("version", "bug"),
    [("7.2(2)18", True), ("7.2(2)19", False), ("8.0(2)6", True), ("8.0(2)7", False), ("8.0(3)", False)],
)
def test_builds_with_the_signature_bug(version: str, bug: bool) -> None:
    assert bool(read(f"ASA Version {version}\n{POLICY % ''}{BOUND}").keys.get("dkim_bug")) is bug


# --- fixup


@pytest.mark.parametrize(
    ("lines", "ports"),
    [
        ("fixup protocol smtp", (25,)),
        ("no fixup protocol smtp", (25,)),
        ("no fixup protocol smtp 25\nfixup protocol smtp 2525", (2525,)),
        ("fixup protocol smtp 25\nno fixup protocol smtp 25", ()),
        ("fixup protocol smtp 25-27\nno fixup protocol smtp 26", (25, 27)),
        ("fixup protocol smtp 0", ()),
        ("fixup protocol smtp 30-20", ()),
        ("fixup protocol smtp 99999", ()),
        ("fixup protocol http 80", ()),
    ],
)
def test_fixup_lines(lines: str, ports: tuple[int, ...]) -> None:
    made = read(f"PIX Version 6.3(1)\nfixup protocol ftp 21\n{lines}\n")
    assert (made.ports, made.active) == (ports, bool(ports))


def test_no_fixup_line_at_all() -> None:
    made = read("PIX Version 6.3(1)\nhostname pix\n")
    assert (made.active, made.ports) == (True, (25,))
    assert "no fixup line at all" in made.notes[0]


def test_traps() -> None:
    assert any("Type: no fixup protocol smtp 25" in note for note in read(text_of("pix-6.3-without-port.txt")).notes)
    assert any("no command of this release" in note for note in read(text_of("asa-fixup.txt")).notes)
    assert any("no service-policy binds it" in note for note in read(text_of("asa-unbound.txt")).notes)


def test_commands_in_a_list() -> None:
    made = read("- configure terminal\n- no fixup protocol smtp 25\n\u2013 write memory\n")
    assert (made.active, made.profile, made.assumed) == (False, "pix-6", True)


# --- policies


def test_unbound_policy() -> None:
    made = read(f"ASA Version 9.8(1)\n{POLICY % ''}")
    assert (made.active, made.ports) == (False, ())
    made = read(f"ASA Version 9.8(1)\n{POLICY % ''}{BOUND}no {BOUND}")
    assert not made.active


def test_no_inspect() -> None:
    made = read(f"ASA Version 9.8(1)\n{POLICY % ''}  no inspect esmtp\n{BOUND}")
    assert not made.active


def test_the_default_map_as_the_guide_prints_it() -> None:
    lines = re.sub(r"\n  (drop-connection log|log|mask)(?=\n)", r"   Class 1   \1", text_of("asa-all.txt"))
    assert told(read(lines)) == EXPECTED["asa-all.txt"]


def test_map_that_is_not_there() -> None:
    made = read(f"ASA Version 9.8(1)\n{POLICY % ' GONE'}{BOUND}")
    assert made.active and not made.keys
    assert [line.meaning for line in made.unknown] == ["the map GONE is not in this text: the default map is taken"]


def test_unknown_lines_are_named_and_reading_goes_on() -> None:
    made = read(text_of("asa-strange.txt"))
    assert [line.number for line in made.unknown] == [4, 5, 6, 8, 10, 12, 13, 16]
    lost = read(re.sub(r"(?m)^ +", "", text_of("asa-strange.txt")))
    assert [line.number for line in lost.unknown] == [4, 5, 6, 8, 10, 12, 13, 16]


def test_lines_about_other_things_are_not_named() -> None:
    other = "webvpn\n enable outside\npolicy-map type inspect http WEB\n parameters\n match request uri length gt 100\n"
    other += "  drop-connection\nroute-map X permit 10\n match ip address 1\n"
    for text in (other, re.sub(r"(?m)^ +", "", other)):
        made = read(f"ASA Version 9.8(1)\n{text}{POLICY % ''}{text}{BOUND}{text}")
        assert (made.unknown, dict(made.keys), made.active) == ((), {}, True)


def test_ports_of_classes() -> None:
    lines = "access-list MAIL extended permit tcp any host 192.0.2.1 eq 2626\nclass-map m\n match access-list MAIL\n"
    policy = "policy-map p\n class m\n  inspect esmtp\nservice-policy p interface outside\n"
    made = read(f"ASA Version 9.8(1)\n{lines}{policy}")
    assert made.ports == (2626,)
    assert any("access-list MAIL" in note for note in made.notes)


def test_two_maps_in_force() -> None:
    made = read(text_of("asa-interface.txt"))
    assert any("line 19" in note and "DMZ_MAP" in note for note in made.notes)


def test_contexts_are_named() -> None:
    made = read(text_of("asa-contexts.txt"))
    assert any("lines 15 to 28 (mail)" in note for note in made.notes)
    assert any("sed -n '29,36p'" in note and "active" in note for note in made.notes)


def test_explicit_allow_tls_wins() -> None:
    for line, word in (("no allow-tls", "off"), ("allow-tls", "on"), ("allow-tls action log", "log")):
        for version in ("8.2(5)", "9.8(1)"):
            text = f"policy-map type inspect esmtp M\n parameters\n  {line}\n"
            made = read(f"ASA Version {version}\n{text}{POLICY % ' M'}{BOUND}")
            assert made.keys["allow_tls"] == word


def test_ios_is_named_and_not_emulated() -> None:
    made = read(text_of("ios.txt"))
    assert not made.active and "no ip inspect name FW esmtp" in made.beyond
    with pytest.raises(UsageError, match="not emulated"):
        registry.load(f"mailguard,config={CONFIGS / 'ios.txt'}")


def test_counters_tell_what_runs() -> None:
    line = "Inspect: esmtp _default_esmtp_map, packet 96716502, lock fail 7, drop 25, reset-drop 0"
    text = f"Global policy:\n  Service-policy: global_policy\n    Class-map: inspection_default\n      {line}\n"
    made = read(text)
    assert told(made) == (MG, "asa-9-tls", True, (25,), {})
    assert made.found[0].meaning == "in force: 96,716,502 packets seen, 25 dropped, 0 with a reset"
    newer = line + ", v6-fail-close 0 sctp-drop-override 0"
    assert read(f"ASA Version 9.1(2)\n{POLICY % ''}{BOUND}{newer}\n").keys == {}


def test_a_version_alone_is_no_configuration() -> None:
    assert READERS[MG]("Cisco Adaptive Security Appliance Software Version 9.1(2)\nup 3 days\n") is None


# --- Stormshield, SonicWall


def test_ranges_of_stormshield() -> None:
    for token, low, high in (("HeaderLineLimit", 64, 4096), ("BdatSize", 102_400, 10_485_760)):
        for number in (low - 1, low, high, high + 1):
            made = read(f"CONFIG PROTOCOL SMTP PROFILE IPS CONFIG index=0 {token}={number}\n", SNS)
            assert (len(made.keys), len(made.unknown)) == ((1, 0) if low <= number <= high else (0, 1))


def test_other_alarms_and_protocols_are_left_out() -> None:
    made = read(text_of("stormshield-show.txt"), SNS)
    assert any("53" in note for note in made.notes)
    made = read("CONFIG PROTOCOL HTTP PROFILE ALARM UPDATE index=0 id=122 context=protocol action=pass\n", SNS)
    assert (dict(made.keys), made.unknown) == ({}, ())


def test_activation_is_missing() -> None:
    text = "CONFIG PROTOCOL SMTP PROFILE ALARM UPDATE index=0 id=217 context=protocol action=pass\n"
    assert any("CONFIG PROTOCOL ACTIVATE" in note for note in read(text, SNS).notes)
    assert not read(text + "CONFIG PROTOCOL ACTIVATE\n", SNS).notes


def test_sonicwall_forms() -> None:
    tree = json.loads(text_of("sonicwall-base.json"))
    keys = EXPECTED["sonicwall-base.json"][4]
    hyphens = json.loads(json.dumps(tree).replace("_", "-"))
    for form in (tree, hyphens, {"a": [1, {"b": tree}]}, tree["gateway_antivirus"], [tree]):
        assert read(json.dumps(form, indent=2), "sonicwall").keys == keys


@pytest.mark.parametrize(
    ("change", "active"),
    [({"enable": False}, False), ({"inbound_inspection": {"smtp": False}}, False), ({"detection_only": True}, True)],
)
def test_sonicwall_switched_off(change: dict[str, Any], active: bool) -> None:
    tree = json.loads(text_of("sonicwall-base.json"))
    tree["gateway_antivirus"] |= change
    assert read(json.dumps(tree), "sonicwall").active is active


def test_sonicwall_export_is_named_and_not_read() -> None:
    plain = "&".join(f"key{n}=value{n}" for n in range(50)) + "&smtpPassword=secret&gavEnable=1"
    made = read(base64.b64encode(plain.encode()).decode() + "&&", "sonicwall")
    assert made.beyond and [line.text for line in made.unknown] == ["smtpPassword", "gavEnable"]
    assert "secret" not in repr(made)


def test_json_that_is_not_whole() -> None:
    with pytest.raises(UsageError, match="not whole: line"):
        sonicwall.read(text_of("sonicwall-base.json")[:400])


# --- a map of any lines

NUMBERS = st.integers(0, 2**31 - 1)
CRITERIA = st.one_of(
    *(
        NUMBERS.map(f"{words} gt {{}}".format)
        for words in ("body length", "body line length", "cmd line length", "cmd RCPT count", "header length")
    ),
    *(
        NUMBERS.map(f"{words} gt {{}}".format)
        for words in ("header line length", "header to-fields count", "invalid-recipients count")
    ),
    NUMBERS.map("mime filename length gt {}".format),
    NUMBERS.map("sender-address length gt {}".format),
    st.lists(st.sampled_from(["helo", "EXPN", "x-foo"]), min_size=1, unique=True).map(
        lambda verbs: f"cmd verb {' '.join(verbs)}"
    ),
    st.sampled_from(["mime encoding base64 others", "ehlo-reply-parameter others dsn"]),
)
ITEMS = st.lists(
    st.tuples(
        st.sampled_from(["", "not "]),
        CRITERIA,
        st.sampled_from(["drop-connection", "drop-connection log", "reset", "reset log", "log", "rate-limit 7"]),
    ),
    max_size=8,
    unique_by=lambda item: (item[0], item[1].lower()),
)


@settings(max_examples=100, deadline=None)
@given(ITEMS, st.sampled_from(["\n  ", "\n", " ", "\n\n!\n\t"]), st.sampled_from(["", " ", "   "]))
def test_any_map(items: list[tuple[str, str, str]], between: str, indent: str) -> None:
    lines = "".join(f"{indent}match {no}{criterion}{between}{action}\n" for no, criterion, action in items)
    text = f"ASA Version 9.8(1)\npolicy-map type inspect esmtp M\n{lines}{POLICY % ' M'}{BOUND}"
    made = read(text)
    assert made.unknown == ()
    assert made.keys == {
        "limits": "none",
        "ehlo_mask": "none",
        "match": tuple(f"{no}{criterion} -> {action}" for no, criterion, action in items),
    }


# --- any text

WORDS = sorted({word for name in EXPECTED for word in text_of(name).split()})
LINES = sorted({line for name in EXPECTED for line in text_of(name).splitlines()})
texts = st.one_of(
    st.text(max_size=300),
    st.lists(st.sampled_from(LINES), max_size=40).map("\n".join),
    st.lists(st.lists(st.sampled_from(WORDS), max_size=8).map(" ".join), max_size=25).map("\n".join),
    st.lists(st.one_of(st.sampled_from(LINES), st.text(max_size=30)), max_size=25).map("\n".join),
)


@settings(max_examples=400, deadline=None)
@given(texts, st.sampled_from([*READERS]))
def test_any_text(text: str, product: str) -> None:
    try:
        made = READERS[product](text)
    except UsageError:
        return
    if made is None or made.beyond or product not in registry.BUILT_IN:
        return
    inspector = registry.find(product)(config=made)
    assert made.active or not inspector.table()
    assert all(0 < port < 65_536 for port in made.ports)


def test_a_large_configuration_is_read_quickly() -> None:
    line = "access-list OUT extended permit tcp any host 192.0.2.%d eq %d\n"
    lists = "".join(line % (n % 250, n % 60_000 + 1) for n in range(60_000))
    made = read(f"ASA Version 9.8(1)\n{lists}{POLICY % ''}{BOUND}")
    assert made.active and not made.unknown
