"""SonicWall: settings become rows; which connections it looks at; the files that its documents hold."""

from __future__ import annotations

import base64
import binascii
import quopri
import re
from email import message_from_bytes
from pathlib import Path

import pytest

import smtpinspect
from kit import handmade
from kit.dialogue import parse, stream
from smtpinspect.errors import UsageError
from smtpinspect.inspectors import registry
from smtpinspect.inspectors.base import Rule, Scope

ON = {"encrypted-zip", "office-macro", "packed-exe", "scan-limit"}
PCAPS = Path(__file__).resolve().parents[1] / "pcaps"
DOCUMENTS = sorted((Path(__file__).parent / "transcripts" / "sonicwall").glob("*.md"))


def rows(spec: str) -> tuple[Rule, ...]:
    return registry.load(spec).table()


def names(spec: str) -> set[str]:
    return {row.id.removeprefix("sonicwall.") for row in rows(spec)}


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ("", ON),
        ("password_protected_zip=off", ON - {"encrypted-zip"}),
        ("ms_office_macros=off", ON - {"office-macro"}),
        ("packed_executables=off", ON - {"packed-exe"}),
        ("packed_executables=off,extended_packers=on", ON - {"packed-exe"}),
        ("packers=", ON - {"packed-exe"}),
        ("extended_packers=on", ON | {"packed-exe-extended"}),
        ("block_multiple_compress_files=on", ON | {"nested-archive"}),
        ("off=scan-limit+packed-exe", ON - {"scan-limit", "packed-exe"}),
        # a restriction works only where SMTP is inspected; without inside= all of it is inbound
        ("inbound_inspection=off", set()),
        ("inbound_inspection=off,outbound_inspection=on", set()),
        ("inbound_inspection=off,outbound_inspection=on,inside=10.0.0.0/8", ON),
        ("inbound_inspection=off,inside=10.0.0.0/8", set()),
    ],
)
def test_switches(keys: str, expected: set[str]) -> None:
    assert names(f"sonicwall,{keys}" if keys else "sonicwall") == expected


@pytest.mark.parametrize(
    ("keys", "action", "basis"),
    [
        ("", "answer", "inferred"),
        ("smtp_responses=off", "reset", "project"),
        ("detection_only=on", "alarm", "inferred"),
        ("detection_only=on,smtp_responses=off", "alarm", "inferred"),
        ("on_match=reply552-rst,smtp_responses=off", "answer", "inferred"),
        ("on_match=drop", "drop-flow", "project"),
        ("on_match=reset,detection_only=on", "reset", "project"),
        ("on_match=log-only", "alarm", "inferred"),
    ],
)
def test_what_a_match_does(keys: str, action: str, basis: str) -> None:
    """The two switches decide, unless on_match is given."""
    for row in rows(f"sonicwall,{keys}" if keys else "sonicwall"):
        if row.kind == "seen":
            assert (row.id, row.action.strength.word) == ("sonicwall.scan-limit", "pass")
            continue
        assert (row.action.strength.word, row.basis) == (action, basis)
        assert row.ends_flow == (action in ("reset", "drop-flow"))


def test_the_reply() -> None:
    row = rows("sonicwall")[0]
    assert row.action.params == {
        "reply": b"552 5.7.0 Message blocked by gateway anti-virus",
        "client": "fin",
        "server": "rst",
    }
    row = rows("sonicwall,reply=554 no,on_match=reply552-rst")[0]
    assert row.action.params == {"reply": b"554 no", "client": "rst", "server": "rst"}
    for wrong in ("250 ok", "552", r"552 a\r\n552 b", "5x2 no"):
        with pytest.raises(UsageError, match="reply for sonicwall"):
            rows(f"sonicwall,reply={wrong}")


@pytest.mark.parametrize(
    ("word", "action"),
    [
        ("block", "reset"), ("answer", "answer"), ("reply552-rst", "answer"), ("drop", "drop-flow"),
        ("log-only", "alarm"), ("alarm", "alarm"), ("pass", "pass"), ("drop-flow", "drop-flow"), ("detach", "detach"),
    ],
)  # fmt: skip
def test_the_action_of_one_rule(word: str, action: str) -> None:
    made = rows(f"sonicwall,smtp_responses=off,office-macro.action={word}")
    assert {row.action.strength.word for row in made if row.id == "sonicwall.office-macro"} == {action}
    assert {row.action.strength.word for row in made if row.id == "sonicwall.packed-exe"} == {"reset"}


def test_a_row_for_each_thing() -> None:
    """The alert's detail tells what it was."""
    told = {row.detail: row.id for row in rows("sonicwall,extended_packers=on,block_multiple_compress_files=on")}
    assert told["aes-256"] == told["zipcrypto"] == "sonicwall.encrypted-zip"
    assert told["vbaProject"] == told["powerpoint"] == "sonicwall.office-macro"
    assert told["UPX"] == told["PKLite32"] == "sonicwall.packed-exe"
    assert told["MPRESS"] == "sonicwall.packed-exe-extended"
    assert told["gzip"] == "sonicwall.nested-archive"
    assert told["ratio"] == "sonicwall.scan-limit"
    some = {row.detail for row in rows("sonicwall,packers=upx+ASPack") if row.id == "sonicwall.packed-exe"}
    assert some == {"UPX", "ASPack"}


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("sonicwall,packers=RAR", ["item of packers", "UPX FSG PKLite32 Petite ASPack"]),
        ("sonicwall,on_match=rst", ["value of on_match", "reset"]),
        ("sonicwall,inside=10.0.0.0/33", ["inside=10.0.0.0/33", "a network is wanted"]),
        ("sonicwall,exclusions=mail.example.org", ["exclusions=mail.example.org", "an address"]),
        ("sonicwall:gen7", ["unknown profile 'gen7'", "Did you mean default?"]),
        ("sonicwall,zip=off", ["unknown key 'zip'"]),
        ("sonicwall,scan-limit.action=alarm", ["only tells what the capture shows"]),
    ],
)
def test_refused(spec: str, words: list[str]) -> None:
    with pytest.raises(UsageError) as error:
        registry.load(spec)
    for word in words:
        assert word in str(error.value)


@pytest.mark.parametrize(
    ("keys", "named"),
    [
        ("", []),
        ("scan_high_compression=on", ["scan_high_compression"]),
        ("outbound_inspection=on", ["outbound_inspection"]),
        ("outbound_inspection=on,inside=10.0.0.0/8", []),
    ],
)
def test_what_is_set_and_not_evaluated(keys: str, named: list[str]) -> None:
    notes = registry.load(f"sonicwall,{keys}" if keys else "sonicwall").notes()
    assert [note.partition("=")[0] for note in notes] == named


def test_networks() -> None:
    made = registry.load("sonicwall,inside=10.1.2.3/8+2001:db8::1,exclusions=192.0.2.1")
    assert made.settings.inside == ("10.0.0.0/8", "2001:db8::1/128")
    assert made.settings.exclusions == ("192.0.2.1/32",)


def test_the_scope() -> None:
    made = registry.load("sonicwall,inside=10.0.0.0/8,exclusions=192.0.2.1,outbound_inspection=on")
    assert made.scope(made.settings) == Scope(("10.0.0.0/8",), True, True, ("192.0.2.1/32",))
    made = registry.load("sonicwall")
    assert made.scope(made.settings) == Scope((), True, False, ())
    assert registry.load("mailguard").scope(registry.load("mailguard").settings) == Scope()


@pytest.mark.parametrize(
    ("capture", "rule", "detail"),
    [
        ("encrypted-zip", "encrypted-zip", "zipcrypto"),
        ("office-macro", "office-macro", "vbaProject"),
        ("packed-exe", "packed-exe", "UPX"),
        ("mime-attachment", "", ""),
    ],
)
def test_captures_of_real_servers(capture: str, rule: str, detail: str) -> None:
    result = smtpinspect.replay(PCAPS / f"{capture}.pcap", ["sonicwall"])
    found = [(alert.rule, alert.detail) for alert in result.alerts if alert.inspector == "sonicwall"]
    assert found == ([(f"sonicwall.{rule}", detail)] if rule else [])
    (mail,) = result.mails
    assert mail.outcome == "accepted"
    assert mail.verdict["sonicwall"] == ("answer" if rule else "pass")
    assert mail.broken_by == {}
    cut = smtpinspect.replay(PCAPS / f"{capture}.pcap", ["sonicwall,smtp_responses=off"])
    assert cut.mails[0].broken_by == ({"sonicwall": f"sonicwall.{rule}"} if rule else {})


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.stem)
def test_documents_hold_the_file_that_they_name(path: Path) -> None:
    text = path.read_text()
    (name,) = re.findall(r"^The file: `(\w+)`", text, re.MULTILINE)
    (dialogue,) = re.findall(r"^```dialogue\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    mail = text_of(stream(parse(dialogue), "C"))
    assert getattr(handmade, name)() in parts(mail)


def text_of(client: bytes) -> bytes:
    """The mail that this side sends, by DATA or in one chunk."""
    if chunk := re.search(rb"BDAT (\d+) LAST\r\n", client):
        return client[chunk.end() : chunk.end() + int(chunk[1])]
    return client.partition(b"DATA\r\n")[2].partition(b"\r\n.\r\n")[0]


def parts(mail: bytes) -> list[bytes]:
    """What the parts of a mail hold, decoded by the standard library."""
    found = []
    for part in message_from_bytes(mail).walk():
        body = str(part.get_payload()).encode("latin-1", "replace")
        match part.get("Content-Transfer-Encoding", ""):
            case "base64":
                found.append(base64.b64decode(body))
            case "quoted-printable":
                found.append(quopri.decodestring(body))
            case "binary":
                found.append(mail.partition(b"\r\n\r\n")[2])
            case _ if b"\r\nend" in body:
                lines = body.partition(b"begin ")[2].split(b"\r\n")[1:]
                found.append(b"".join(map(binascii.a2b_uu, lines[: lines.index(b"end")])))
    return found
