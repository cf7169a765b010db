"""Signs of a box in one capture: of which product, of which generations, in which packets."""

from __future__ import annotations

from pathlib import Path

import pytest

import pointed
from kit import capture, wire
from kit.broken import Connection
from kit.dialogue import parse
from smtpinspect.diagnose.account import accounts
from smtpinspect.diagnose.face import Asked, diagnose
from smtpinspect.diagnose.model import Case, Fingerprint
from smtpinspect.diagnose.paths import fingerprints, generations
from smtpinspect.diagnose.survey import survey
from smtpinspect.enforce import craft
from smtpinspect.inspectors.mailguard import masks
from smtpinspect.inspectors.mailguard.profiles import PROFILES
from smtpinspect.simulate.script import script_of

ESMTP = ("fwsm-3", "asa-7.0", "asa-8", "asa-9-tls")
FIXUP = ("pix-4.4", "pix-5", "pix-6")  # which of them denies how is in no source
HELLO = """\
S: 220 mx2.example.net ESMTP at 2002
C: EHLO client.example.org
S: 250-mx2.example.net
S: 250-SMTPUTF8
S: 250-STARTTLS
S: 250 SIZE 1000
C: XYZZY now
S: 500 what?
C: QUIT
S: 221 bye
"""


def cases_of(path: Path) -> list[Case]:
    cases = survey(str(path), []).cases
    found = accounts(str(path), [case.flow for case in cases])
    for case in cases:
        case.account = found[case.flow.flow_id]
        case.script = script_of(str(path), case.flow.first_packet)
    fingerprints.of(cases)
    return cases


def said(text: str, folder: Path) -> dict[str, Fingerprint]:
    path = folder / "said.pcap"
    path.write_bytes(capture.pcap(capture.records(wire.packets(wire.build(parse(text))))))
    return {each.what: each for case in cases_of(path) for each in case.fingerprints}


def behind(spec: str, side: int, folder: Path, text: str = HELLO) -> dict[str, Fingerprint]:
    """The signs in what this side of the box captures: 0 the client's, 1 the server's."""
    path = pointed.played(wire.build(parse(text)), spec, folder)[side]
    return {each.what: each for case in cases_of(path) for each in case.fingerprints}


def test_without_a_box_there_is_no_sign(tmp_path: Path) -> None:
    assert said(HELLO, tmp_path) == {}


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("side", [0, 1])
def test_each_generation_is_among_those_that_its_signs_name(profile: str, side: int, tmp_path: Path) -> None:
    for sign in behind(f"mailguard:{profile}", side, tmp_path).values():
        assert sign.product == "mailguard"
        assert profile in sign.profiles
        assert sign.signs and all(each.packet for each in sign.signs)


@pytest.mark.parametrize(
    ("profile", "side", "signs"),
    [
        ("pix-4.0", 0, {"ehlo-as-noop"}),
        ("pix-4.4", 1, {"verb-nooped"}),
        ("pix-6", 0, {"banner-starred"}),
        ("pix-6", 1, {"verb-xed"}),
        ("asa-8", 0, {"banner-starred", "keyword-xed"}),
        ("asa-8", 1, {"verb-xed"}),
        ("asa-9-tls", 0, {"banner-starred", "keyword-xed"}),
    ],
)
def test_what_each_side_sees(profile: str, side: int, signs: set[str], tmp_path: Path) -> None:
    assert signs <= behind(f"mailguard:{profile}", side, tmp_path).keys()


def test_starttls_in_clear_beside_masked_keywords_is_the_newest(tmp_path: Path) -> None:
    assert behind("mailguard:asa-9-tls", 0, tmp_path)["keyword-xed"].profiles == ("asa-9-tls",)


@pytest.mark.parametrize("greeting", [b"220 mx20 at 2002\r\n", b"220-mx2 a\r\n220 b 20\r\n", b"220 a b c d\r\n"])
@pytest.mark.parametrize("style", ["first4", "keep20", "per-line"])
def test_a_masked_greeting_is_known_by_its_mask(greeting: bytes, style: str) -> None:
    assert style in generations.styles_of(masks.banner(greeting, style))


@pytest.mark.parametrize("greeting", [b"", b"2", b"220\r\n", b"220 \r\n", b"220 2002\r\n", b"220 mx ESMTP\r\n"])
def test_what_is_not_masked_has_no_mask(greeting: bytes) -> None:
    assert generations.styles_of(greeting) == ()


def test_the_oldest_mask_is_known() -> None:
    assert generations.styles_of(masks.cmap(b"220 mail.example.net Sendmail 8.6 ready at noon\r\n")) == ("cmap",)


def test_a_connection_without_a_greeting_has_no_sign(tmp_path: Path) -> None:
    assert said("C: EHLO a.example\n", tmp_path) == {}


def test_a_two_or_a_zero_that_stayed_is_of_pix_5_and_6(tmp_path: Path) -> None:
    signs = said("S: 220 ***2*****20**\nC: QUIT\nS: 221 bye\n", tmp_path)
    assert signs["banner-starred"].profiles == ("pix-5", "pix-6")


DECORATED = [
    "S: 220 *** mx.example.net ***",
    "S: 220 ***** Welcome to mail.example.net *****",
    "S: 220 mx.example.net ESMTP **********",
    "S: 220-**********************\nS: 220-* Authorized use only *\nS: 220 mx.example.net ESMTP",
]


@pytest.mark.parametrize("greeting", DECORATED)
def test_stars_that_are_decoration_are_no_mask(greeting: str, tmp_path: Path) -> None:
    assert said(f"{greeting}\nC: QUIT\nS: 221 bye\n", tmp_path) == {}


@pytest.mark.parametrize("greeting", DECORATED)
@pytest.mark.parametrize("keyword", ["XXXX", "STARTTLS"])
def test_without_a_fingerprint_no_rule_of_mailguard_is_likely(greeting: str, keyword: str) -> None:
    """A long header line was lost: any box, or none."""
    made = Connection().open()
    for line in greeting.split("\n"):
        made.say("S", line[3:].encode() + b"\r\n", acked=True)
    made.say("C", b"EHLO a.example\r\n").say("S", f"250-mx\r\n250 {keyword}\r\n".encode())
    made.say("C", b"MAIL FROM:<a@a.example>\r\n").say("S", b"250 ok\r\n")
    made.say("C", b"RCPT TO:<b@b.example>\r\n").say("S", b"250 ok\r\n")
    made.say("C", b"DATA\r\n").say("S", b"354 go\r\n", acked=True)
    at, text = made.sent["C"], b"X-Long: " + b"y" * 1_200 + b"\r\n\r\nHi\r\n.\r\n"
    made.say("C", text, arrives=False)
    for n in range(5):
        made.wait(0.4 * 2**n).again("C", at, len(text))
    made.wait(2).close("C", answered=False)
    (case,) = diagnose(Asked(capture.frames(made.packets))).diagnosis.cases
    guard = [cause.confidence for cause in case.causes if cause.cause.startswith("mailguard.")]
    assert "likely" not in guard and "certain" not in guard


@pytest.mark.parametrize(
    ("command", "reply", "what", "profiles"),
    [
        ("WIZ", "OK", "ok-to-nonsense", {"pix-4.0"}),
        ("some-fake-command", "250 OK", "ok-to-nonsense", {"pix-4.0", *FIXUP}),
        ("EHLO a.example", '500 Command unrecognized: "XXXX a.example"', "verb-xed", {*FIXUP}),
        ("TURN me", '500 unknown "XXXXXXX"', "verb-xed", {"fwsm-3", "asa-7.0", "asa-8", "asa-9-tls"}),
        ("TURN", "502 5.5.2 command not recognized: XXXX", "verb-xed", {*FIXUP, *ESMTP}),
        ("some-fake-command", "500 unknown XXXX-fake-command", "verb-xed", {*FIXUP}),
        ("XXXX a.example", "500 what?", "verb-xed", {*FIXUP}),
        ("XXXXXXXX", "500 what?", "verb-xed", {"fwsm-3", "asa-7.0", "asa-8", "asa-9-tls"}),
        ("EHLO a.example", "250 2.0.0 Ok", "ehlo-as-noop", {"pix-4.0", *FIXUP}),
    ],
)
def test_replies_that_tell(command: str, reply: str, what: str, profiles: set[str], tmp_path: Path) -> None:
    signs = said(f"S: 220 mx.example.net ESMTP\nC: {command}\nS: {reply}\nC: QUIT\nS: 221 bye\n", tmp_path)
    assert set(signs[what].profiles) == profiles


@pytest.mark.parametrize(
    ("command", "reply"),
    [
        ("NOOP", "250 OK"),
        ("ehlo\\xff a", "500 what?"),
        ("EHLO a.example", "250 mx.example.net"),
        ("X-LINK2STATE", "200 fine"),
        ("NOOP", "503 5.5.1 need MAIL; see ticket XXXX-1234"),
        ("NOOP", "500 5.5.1 not now; see ticket XXXX-1234"),
        ("NOOP", "500 5.5.1 not now; ticket XXXX"),
        ("TURN me", "500 5.5.1 call +49 XXXXXXXX-1"),
    ],
)
def test_replies_that_do_not(command: str, reply: str, tmp_path: Path) -> None:
    assert said(f"S: 220 mx\nC: {command}\nS: {reply}\nC: QUIT\nS: 221 bye\n", tmp_path) == {}


def test_a_server_that_does_not_say_esmtp_may_answer_ehlo_with_ok(tmp_path: Path) -> None:
    signs = said("S: 220 test\nC: EHLO a\nS: 250 OK\nC: QUIT\nS: 221 bye\n", tmp_path)
    assert signs["ehlo-as-noop"].product == ""


DATA = (
    "S: 220 mx\nC: HELO a.example\nS: 250 mx\nC: MAIL FROM:<a@a.example>\nS: 250 ok\n"
    "C: RCPT TO:<b@b.example>\nS: 250 ok\nC: DATA\nS: 354 go\nC: Subject: x\n"
)


@pytest.mark.parametrize("words", ["Message blocked by gateway anti-virus", "no"])
def test_a_552_in_the_middle_of_a_text_is_no_servers(words: str, tmp_path: Path) -> None:
    assert said(f"{DATA}S: 552 5.7.0 {words}\n", tmp_path)["answer-552"].product == "sonicwall"


def test_a_552_to_the_end_of_data_may_be_any_servers(tmp_path: Path) -> None:
    assert said(f"{DATA}C: .\nS: 552 5.3.4 too large\nC: QUIT\nS: 221 bye\n", tmp_path) == {}


def test_a_sign_of_one_connection_counts_for_the_path(tmp_path: Path) -> None:
    path = tmp_path / "two.pcap"
    quiet = "S: 220 mx\nC: QUIT\nS: 221 bye\n"
    told = "S: 220 *************\nC: QUIT\nS: 221 bye\n"
    rows = wire.packets(wire.build(parse(told)), wire.Ends(client_port=4001))
    rows += wire.packets(wire.build(parse(quiet)), wire.Ends(client_port=4002))
    rows += wire.packets(wire.build(parse(quiet)), wire.Ends(client="192.0.2.77", client_port=4003))
    path.write_bytes(capture.pcap(capture.records(rows)))
    counts = {case.flow.client: len(case.fingerprints) for case in cases_of(path)}
    assert counts == {"192.0.2.10:4001": 1, "192.0.2.10:4002": 1, "192.0.2.77:4003": 0}


def test_starttls_that_only_others_are_offered(tmp_path: Path) -> None:
    path = tmp_path / "two.pcap"
    rows = wire.packets(wire.build(parse(HELLO)), wire.Ends(client_port=4001))
    bare = HELLO.replace("S: 250-STARTTLS\n", "")
    rows += wire.packets(wire.build(parse(bare)), wire.Ends(client="192.0.2.77", client_port=4003))
    path.write_bytes(capture.pcap(capture.records(rows)))
    signs = {case.flow.client: [each.what for each in case.fingerprints] for case in cases_of(path)}
    assert signs == {"192.0.2.10:4001": [], "192.0.2.77:4003": ["starttls-removed"]}


@pytest.mark.parametrize(("ttl", "expected"), [(255, ["reset-other-ttl"]), (63, []), (64, [])])
def test_a_reset_with_other_hops(ttl: int, expected: list[str], tmp_path: Path) -> None:
    path = tmp_path / "reset.pcap"
    rows = wire.packets(wire.build(parse("S: 220 mx\nC: EHLO a\nS: 250 mx.example.net\n"), close="rst"))
    reset = bytearray(rows[-1].octets)
    assert reset[33] & craft.RST
    reset[8] = ttl
    rows[-1] = rows[-1]._replace(octets=craft.filled(bytes(reset)))
    path.write_bytes(capture.pcap(capture.records(rows)))
    assert [each.what for case in cases_of(path) for each in case.fingerprints] == expected
