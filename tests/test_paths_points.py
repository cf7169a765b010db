"""Two captures of one path: what a box rewrote, kept back, dropped or put in is found between them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

import pointed
import test_transcripts as documents
from kit import capture, wire
from kit.dialogue import parse
from smtpinspect._core.sources import records
from smtpinspect.cli import main
from smtpinspect.diagnose.face import Asked, diagnose
from smtpinspect.diagnose.model import Case, Difference
from smtpinspect.diagnose.paths import points, proof
from smtpinspect.diagnose.paths.points import Point
from smtpinspect.diagnose.survey import survey
from smtpinspect.report.diagnose_words import shown
from smtpinspect.report.headline import headline
from smtpinspect.source import open_source

PCAPS = Path(__file__).resolve().parent.parent / "pcaps"
# What an action leaves between two points.
LEAVES = {
    "rewrite": {"rewritten"},
    "answer": {"injected"},
    "drop": {"dropped", "withheld"},
    "drop-flow": {"dropped", "withheld"},
    "reset": {"injected"},
}
FIRES = [path for path in documents.DOCUMENTS if "-fires" in path.stem and path.parent.name != "smtp"]
MAIL = """\
S: 220 mx.example.net ESMTP
C: EHLO client.example.org
S: 250-mx.example.net
S: 250-STARTTLS
S: 250 8BITMIME
C: MAIL FROM:<alice@example.org>
S: 250 ok
C: RCPT TO:<bob@example.net>
S: 250 ok
C: DATA
S: 354 go on
C: Subject: R\\xe9union
C:
C: Hello
C: .
S: 250 2.0.0 queued as 4F2A
C: QUIT
S: 221 bye
"""


def compared(paths: Sequence[Path], specs: Sequence[str] = ()) -> list[Case]:
    cases = survey(str(paths[0]), list(specs)).cases
    points.compare(cases, [Point(f"p{n}", str(path)) for n, path in enumerate(paths)])
    proof.of(cases)
    return cases


def found(paths: Sequence[Path], specs: Sequence[str] = ()) -> list[Difference]:
    return [each for case in compared(paths, specs) for each in case.differences]


def mail(folder: Path, inspector: str, text: str = MAIL, broken: str = "") -> tuple[Path, Path]:
    return pointed.played(wire.build(parse(text)), inspector, folder, broken=broken)


@pytest.mark.parametrize("path", FIRES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_rule_leaves_its_difference_and_no_other(path: Path, tmp_path: Path) -> None:
    document = documents.read(path)
    alerts = [line.split() for line in document.alerts if "after_break" not in line]
    client, server = pointed.played(document.segments, document.specs[0], tmp_path)
    differences = found((client, server), document.specs)
    acts = {alert[1] for alert in alerts} & LEAVES.keys()
    assert bool(differences) == bool(acts)
    for act in acts:
        assert LEAVES[act] & {each.kind for each in differences}
    for _, act, where, *_ in alerts:
        side, at = where.split("@")
        if act == "rewrite":
            mine = [each for each in differences if each.kind == "rewritten" and each.direction == side]
            assert any(each.at - 64 <= int(at) < each.at + each.length + 64 for each in mine)


@pytest.mark.parametrize("path", FIRES[::4], ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_nat_new_sequence_numbers_and_another_clock_change_nothing(path: Path, tmp_path: Path) -> None:
    document = documents.read(path)
    client, server = pointed.played(document.segments, document.specs[0], tmp_path)
    behind = pointed.translated(server, pointed.NAT)
    assert found((client, behind), document.specs) == found((client, server), document.specs)


def test_a_silent_cut_is_told_with_the_times_that_it_was_tried(tmp_path: Path) -> None:
    (case,) = compared(mail(tmp_path, "stormshield:high"), ["stormshield:high"])
    (gone,) = [each for each in case.differences if each.kind == "dropped" and each.what == "octets"]
    assert gone.direction == "client"
    assert gone.times == len([n for n in gone.near if n]) > 1
    assert b"R\xe9union" in gone.before
    assert f"left p0 {gone.times} times and never reached p1" in case.proved[0].text
    assert (case.observed.broken.kind, case.observed.broken.by) == ("drop", "middlebox")
    assert case.observed.broken.at == gone.at


@pytest.mark.parametrize(("broken", "kind"), [("rst", "rst"), ("fin", "fin")])
def test_a_forged_end_is_known_by_its_absence_on_the_other_side(broken: str, kind: str, tmp_path: Path) -> None:
    (case,) = compared(mail(tmp_path, "stormshield:high", broken=broken), ["stormshield:high"])
    assert (case.observed.broken.kind, case.observed.broken.by) == (kind, "middlebox")
    assert any(each.kind == "injected" and each.what == broken.upper() for each in case.differences)


def test_an_overwritten_greeting_names_its_generations(tmp_path: Path) -> None:
    cases = compared(mail(tmp_path, "mailguard:pix-6"), ["mailguard:pix-6"])
    signs = {each.what: each for each in cases[0].fingerprints}
    assert "pix-6" in signs["banner-starred"].profiles
    assert set(signs["verb-xed"].profiles) == {"pix-4.4", "pix-5", "pix-6"}


def test_a_withheld_command_does_not_move_what_is_behind_it(tmp_path: Path) -> None:
    differences = found(mail(tmp_path, "mailguard:pix-4.0"), ["mailguard:pix-4.0"])
    told = [(each.kind, each.what, each.direction) for each in differences]
    assert told == [("withheld", "octets", "client"), ("injected", "octets", "server")]
    assert differences[0].before == b"EHLO client.example.org\r\n"
    assert differences[1].after == b"250 OK\r\n"


def test_the_same_capture_twice_shows_no_difference(tmp_path: Path) -> None:
    client, _ = mail(tmp_path, "sonicwall")
    assert found((client, client, client)) == []


def test_of_three_points_the_pair_is_named(tmp_path: Path) -> None:
    client, server = mail(tmp_path, "mailguard:pix-6")
    differences = found((client, client, server), ["mailguard:pix-6"])
    assert {frozenset(each.between) for each in differences} == {frozenset(("p1", "p2"))}


def test_points_in_the_wrong_order_are_turned_round_by_their_hops(tmp_path: Path) -> None:
    client, server = mail(tmp_path, "stormshield:high")
    hops = {True: (64, 60), False: (60, 64)}  # of the client's and of the server's packets, at both points
    client, server = (pointed.hopped(path, hops, n) for n, path in enumerate((client, server)))
    straight = {(each.kind, each.direction, each.what) for each in found((client, server))}
    cases = survey(str(server), []).cases
    points.compare(cases, [Point("p1", str(server)), Point("p0", str(client))])
    turned = {(each.kind, each.direction, each.what) for case in cases for each in case.differences}
    assert ("dropped", "client", "octets") in straight == turned


def test_swapped_names_are_told_and_the_senders_capture_leads(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hops = {True: (64, 60), False: (60, 64)}
    client, server = (pointed.hopped(path, hops, n) for n, path in enumerate(mail(tmp_path, "stormshield:high")))
    assert main(["diagnose", "--outside", str(server), "--inside", str(client)]) == 0
    swapped = capsys.readouterr().out
    assert "inside was taken nearer to the sender than outside" in swapped
    assert "left inside" in swapped and "never reached outside" in swapped
    assert "not in this capture" not in swapped
    assert f"--point inside={client} --point outside={server}" in swapped
    assert main(["diagnose", "--outside", str(client), "--inside", str(server)]) == 0
    assert "nearer to the sender" not in capsys.readouterr().out


def test_points_in_the_wrong_order_are_turned_round_by_the_delays(tmp_path: Path) -> None:
    client, server = mail(tmp_path, "stormshield:high")
    server = pointed.further(pointed.translated(server, pointed.NAT._replace(hops=0)), 0.002)
    straight = {(each.between, each.kind, each.what) for each in found((client, server))}
    cases = survey(str(server), []).cases
    points.compare(cases, [Point("p1", str(server)), Point("p0", str(client))])
    assert {(each.between, each.kind, each.what) for case in cases for each in case.differences} == straight


def test_a_capture_of_another_mail_to_the_same_server_is_not_taken_for_this_one(tmp_path: Path) -> None:
    client, _ = mail(tmp_path, "stormshield:high")
    other = tmp_path / "other"
    other.mkdir()
    text = MAIL.replace("example.org", "example.com").replace("4F2A", "77B1")
    _, elsewhere = pointed.played(wire.build(parse(text), client_isn=9, server_isn=8), "sonicwall", other)
    elsewhere = pointed.translated(elsewhere, pointed.NAT._replace(seconds=86_400.0))
    cases = survey(str(client), []).cases
    notes = points.compare(cases, [Point("a", str(client)), Point("b", str(elsewhere))]).notes
    assert cases[0].differences == ()
    assert "no such connection in the capture of b" in notes[0]


AUTH = """\
S: 220 mx.example.net ESMTP
C: HELO client.example.org
S: 250 mx.example.net
C: AUTH PLAIN AGFsaWNlAHNlY3JldA==
S: 535 no
C: QUIT
S: 221 bye
"""


@pytest.mark.parametrize("inspector", ["mailguard:pix-6", "mailguard:pix-6,deny_style=xxxx-all", "mailguard:pix-4.0"])
def test_what_auth_carries_is_not_told(inspector: str, tmp_path: Path) -> None:
    (case,) = compared(mail(tmp_path, inspector, AUTH), [inspector])
    assert any(b"AUTH" in each.before for each in case.differences)
    told = [sign.text for sign in case.proved] + [s.text for each in case.fingerprints for s in each.signs]
    assert told and not any("AGFsaWNl" in text for text in told)


def test_a_rewrite_that_refuses_the_mail_is_a_proved_cause(tmp_path: Path) -> None:
    text = MAIL.replace("RCPT TO:<bob@example.net>\nS: 250 ok", 'RCPT TO:<"|x"@example.net>\nS: 501 bad')
    client, server = mail(tmp_path, "mailguard:pix-6", text)
    told = diagnose(Asked(str(client), points=(Point("out", str(client)), Point("in", str(server)))))
    causes = [cause for case in told.diagnosis.cases for cause in case.causes if cause.degree == "proved"]
    for cause in causes:
        assert cause.confidence == "certain" and cause.rank == 0 and cause.product == "mailguard"


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--point", "a"], "NAME=FILE is wanted"),
        (["--point", "a=x.pcap"], "name at least two"),
        (["--inside", "x.pcap"], "go together"),
        (["--point", "a=x", "--point", "a=y"], "each NAME once"),
        (["--point", "a=x", "--point", "b=-"], "read once only"),
        (["x.pcap", "--point", "a=x", "--point", "b=y"], "leave out CAPTURE"),
        (["--firewall-log", "x"], "connections of a capture; name one"),
    ],
)
def test_points_that_make_no_path(words: list[str], text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diagnose", *words]) == 2
    assert text in capsys.readouterr().err


def test_on_the_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    client, server = mail(tmp_path, "stormshield:high")
    assert main(["diagnose", "--outside", str(client), "--inside", str(server)]) == 0
    assert "never reached inside" in capsys.readouterr().out
    assert main(["diagnose", "--outside", str(client), "--inside", str(server), "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["mails"][0]["break"] == {"kind": "drop", "by": "middlebox"}


@pytest.mark.parametrize("name", ["clean-delivery", "several-mails", "bdat", "pipelined", "starttls", "ipv6"])
def test_a_packet_that_one_capture_lost_is_no_difference(name: str, tmp_path: Path) -> None:
    """All but the last packets, which nobody acknowledges."""
    rows = list(records(open_source(str(PCAPS / f"{name}.pcap"))))
    whole, holed = tmp_path / "whole.pcap", tmp_path / "holed.pcap"
    link = rows[0][1]
    frames = [capture.Record(ns / 1e9, frame, length) for ns, _, frame, length in rows]
    whole.write_bytes(capture.pcap(frames, link=link))
    for lost in range(0, len(frames) - 4, max(1, len(frames) // 9)):
        holed.write_bytes(capture.pcap(frames[:lost] + frames[lost + 1 :], link=link))
        for pair in ((whole, holed), (holed, whole)):
            assert [each for each in found(pair) if each.kind != "lost"] == []


@pytest.mark.parametrize("name", ["packed-exe", "office-macro"])
def test_a_refusal_that_the_server_never_sent_is_the_boxs(name: str, tmp_path: Path) -> None:
    whole, client, server = PCAPS / f"{name}.pcap", tmp_path / "client.pcap", tmp_path / "server.pcap"
    words = ["simulate", str(whole), "-i", "sonicwall", "--re-enact", "-o", str(tmp_path / "told.txt")]
    assert main([*words, "--write-client", str(client), "--write-server", str(server)]) == 0
    points = (Point("outside", str(client)), Point("inside", str(server)))
    (case,) = diagnose(Asked(str(client), points=points)).diagnosis.cases
    seen = case.observed
    assert (seen.outcome, seen.broken.kind, seen.broken.by) == ("refused", "reply", "middlebox")
    head = str(headline(case))
    assert head.startswith("REJECTED: a box between outside and inside, not the server, answered 552")
    assert any(line.startswith("a box between outside and inside, in the server's name, ack") for line in shown(case))


@pytest.mark.parametrize("octets", [b"", b"half"])
@pytest.mark.parametrize("broken", ["outside", "inside"])
def test_a_damaged_point_ends_with_status_3(
    octets: bytes, broken: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good, bad = PCAPS / "subject-8bit.pcap", tmp_path / "bad.pcap"
    bad.write_bytes(octets and good.read_bytes()[:1_200])
    files = {"outside": str(good), "inside": str(good), broken: str(bad)}
    words = ["diagnose", "--outside", files["outside"], "--inside", files["inside"], "--format", "json"]
    assert main(words) == 3
    out, err = capsys.readouterr()
    assert "bad.pcap: " in err and ("empty" in err or "at byte" in err)
    assert any(note.startswith(f"{broken}: ") and "bad.pcap: " in note for note in json.loads(out)["notes"])


PLAIN = MAIL.replace("R\\xe9union", "hello")
REFUSED = PLAIN.replace("250 2.0.0 queued as 4F2A", "554 5.7.1 no")


@pytest.mark.parametrize("text", [PLAIN, REFUSED], ids=["accepted", "refused"])
@pytest.mark.parametrize("nat", [False, True])
def test_a_capture_that_begins_late_or_ends_early_proves_nothing(text: str, nat: bool, tmp_path: Path) -> None:
    """Whatever packet it begins with, or ends with, at either point."""
    client, server = mail(tmp_path, "stormshield:high", text)
    server = pointed.translated(server, pointed.NAT._replace(hops=0)) if nat else server
    total = len([*pointed.packets(client)])
    assert found((client, server)) == []
    for n in range(3, total - 2, 2):
        for first, end in ((n, None), (0, n)):
            assert found((client, pointed.part(server, first, end, "part"))) == []
            assert found((pointed.part(client, first, end, "part"), server)) == []


def test_what_a_capture_did_not_see_is_not_kept_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    client, server = mail(tmp_path, "stormshield:high")
    cut = next(n for n, (_, ip) in enumerate(pointed.packets(server)) if b"MAIL FROM" in ip)
    stopped = pointed.part(server, 0, cut, "stopped")
    (case,) = compared((client, stopped), ["stormshield:high"])
    assert case.differences == () == case.proved
    assert case.observed.broken.by == "unknown"
    assert main(["diagnose", "--outside", str(client), "--inside", str(stopped)]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "never reached inside" not in out and "the capture of inside ends before packet" in out
    assert main(["diagnose", "--outside", str(client), "--inside", str(server)]) == 0
    assert "never reached inside" in capsys.readouterr().out


def test_a_silent_cut_is_the_last_of_the_far_capture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All that was acknowledged is there; the next octets, some milliseconds later, are not."""
    client, server = mail(tmp_path, "stormshield:high")
    cut = next(n for n, (_, ip) in enumerate(pointed.packets(server)) if b"354 go on" in ip) + 1
    last = pointed.part(server, 0, cut, "last")
    assert main(["diagnose", "--outside", str(client), "--inside", str(last)]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "never reached inside" in out and "cut between outside and inside" in out
    assert "the capture of inside ends before packet" in out and "taken to have run on" in out


def test_the_servers_own_refusal_is_known_where_a_capture_begins_late(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    client, server = mail(tmp_path, "stormshield:high", REFUSED)
    late = pointed.part(server, 12, None, "late")
    assert main(["diagnose", "--outside", str(client), "--inside", str(late)]) == 0
    out = capsys.readouterr().out
    assert "REJECTED: the server answered 554" in out and "none like it passed" not in out
