"""Captures to show others: annotated, cut to a connection, with digests; what was recorded stays as it was."""

from __future__ import annotations

import hashlib
import io
import re
import shutil
import struct
import subprocess
from copy import copy
from pathlib import Path
from random import Random

import pytest

import smtpinspect
from dealing import connection
from diagnosed import PCAPS, QUESTION, RULES, by_hand, cut_capture
from kit import capture, ip, wire
from kit.broken import Connection, message
from kit.capture import MICRO, NANO, Pcapng, Record
from kit.dialogue import DELIVERY, parse
from smtpinspect import cli
from smtpinspect._core.sources import records
from smtpinspect.diagnose.export import annotate, blocks, cut
from smtpinspect.diagnose.export.annotate import comments
from smtpinspect.diagnose.export.blocks import COMMENT, options
from smtpinspect.diagnose.face import Asked, diagnose
from smtpinspect.diagnose.model import Diagnosis, Sign
from smtpinspect.errors import CaptureError, UsageError
from smtpinspect.grammar import limits
from smtpinspect.source import open_source

SAID = {2: ["smtpinspect PROVED: the second one"], 5: ["smtpinspect FITS: é", "and another"]}


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Diagnosis]:
    path = cut_capture(tmp_path_factory.mktemp("export"))
    return path, by_hand(path)


def held(path: Path) -> list[tuple[int, int, bytes, int]]:
    """(ns, link type, frame, length on the wire) of all records."""
    with open_source(str(path)) as source:
        return list(records(source))


def annotated(path: Path, said: dict[int, list[str]] | None = None) -> tuple[Path, annotate.Written]:
    out = path.with_name("annotated.pcapng")
    with out.open("wb") as file:
        return out, annotate.annotate(str(path), SAID if said is None else said, file)


def mixed(order: str) -> bytes:
    """Two sections; interfaces of two link types and four clocks, an old packet block, names, options."""
    packets = connection(1)
    cooked = [r._replace(frame=r.frame[:12] + r.frame[12:]) for r in connection(2)]
    first = Pcapng(order)
    first.interface(1, resolution=9).interface(1, resolution=0x80 | 20).interface(101, offset=1_000)
    first.block(4, b"\0\0\0\0")  # name resolution
    first.packet(packets[0], 0).packet(packets[1], 1, first.option(COMMENT, b"mine") + first.option(0, b""))
    first.packet(Record(packets[2].time, packets[2].frame[14:], packets[2].length - 14), 2)
    for number, record in enumerate(packets[3:]):
        first.obsolete(record, number % 2) if number % 3 == 0 else first.packet(record, number % 2)
    second = Pcapng(order).interface(1)
    for record in cooked:
        second.packet(record)
    return first.octets() + second.octets()


CAPTURES = {
    "pcap": capture.pcap(connection(1)),
    "nanoseconds": capture.pcap(connection(1), magic=NANO),
    "big-endian": capture.pcap(connection(1), order=">"),
    "big-endian-nanoseconds": capture.pcap(connection(1), magic=NANO, order=">"),
    "cooked-link": capture.pcap(connection(1), magic=MICRO, link=113),
    "gzip": capture.gzipped(capture.pcap(connection(1)), (100, 500)),
    "snapped": capture.pcap([r._replace(frame=r.frame[:60]) for r in connection(1)]),
    "pcapng": mixed("<"),
    "pcapng-big-endian": mixed(">"),
    "pcapng-gzip": capture.gzipped(mixed("<")),
}


@pytest.mark.parametrize("name", CAPTURES)
def test_frames_times_and_links_stay(name: str, tmp_path: Path) -> None:
    path = tmp_path / "in"
    path.write_bytes(CAPTURES[name])
    out, made = annotated(path)
    assert held(out) == held(path)
    assert (made.packets, made.comments, made.left_out) == (len(held(path)), 2, 0)


def test_a_pcapng_file_differs_in_its_comments_only(tmp_path: Path) -> None:
    path = tmp_path / "in"
    path.write_bytes(mixed("<"))
    out, _ = annotated(path, {})
    assert out.read_bytes() == path.read_bytes()
    out, _ = annotated(path)
    before, after = ([*blocks.blocks(str(each))] for each in (path, out))
    changed = [b.number for a, b in zip(before, after, strict=True) if a.octets != b.octets]
    assert changed == [2, 5]
    (second,) = [found for found in after if found.number == 2]
    size = struct.unpack_from("<I", second.octets, 20)[0]
    told = [value for code, value in options(second.octets[28 + size + -size % 4 : -4], "<") if code == COMMENT]
    assert told == [SAID[2][0].encode(), b"mine"]


def test_blocks_without_options_are_left_as_they_are(tmp_path: Path) -> None:
    section = Pcapng().interface(1)
    for record in connection(1):
        section.simple(record)
    path = tmp_path / "in"
    path.write_bytes(section.octets())
    out, made = annotated(path)
    assert out.read_bytes() == path.read_bytes()
    assert made.left_out == 2


def test_several_captures_become_one_in_order_of_time(tmp_path: Path) -> None:
    names = []
    for number in (1, 2):
        names.append(str(tmp_path / f"{number}.pcap"))
        late = [r._replace(time=r.time + number * 1e-4) for r in connection(number)]
        Path(names[-1]).write_bytes(capture.pcap(late))
    out = tmp_path / "out.pcapng"
    with out.open("wb") as file:
        annotate.annotate(names, SAID, file)
    with open_source(names) as source:
        assert held(out) == list(records(source))


@pytest.mark.parametrize("name", ["pcap", "pcapng", "gzip"])
def test_a_damaged_capture_is_written_as_far_as_it_goes(name: str, tmp_path: Path) -> None:
    whole = CAPTURES[name]
    for cut_at in {4, 20, 30, len(whole) // 2, len(whole) - 1}:
        path = tmp_path / "in"
        path.write_bytes(whole[:cut_at])
        out = io.BytesIO()
        made = annotate.annotate(str(path), SAID, out)
        assert made.packets <= len(connection(1)) * 2


def read(path: Path) -> list[tuple[int, int, bytes, int]]:
    """As `held`, up to the damage."""
    found: list[tuple[int, int, bytes, int]] = []
    try:
        with open_source(str(path)) as source:
            for record in records(source):
                found.append(record)
    except CaptureError:
        pass
    return found


@pytest.mark.parametrize("name", ["pcap", "big-endian-nanoseconds", "pcapng", "pcapng-big-endian"])
def test_whatever_is_damaged_what_was_read_is_written(
    name: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    rng = Random(None if request.config.getoption("--deep") else name)
    path = tmp_path / "in"
    for _ in range(2_000 if request.config.getoption("--deep") else 30):
        octets = bytearray(CAPTURES[name])
        for _ in range(rng.randint(1, 4)):
            at = rng.randrange(24, len(octets))
            if rng.random() < 0.6:
                octets[at] = rng.choice((0, 1, 255, rng.randrange(256)))
            elif rng.random() < 0.5:
                del octets[at : at + rng.randint(1, 8)]
            else:
                octets[at:at] = bytes(rng.randint(1, 8))
        path.write_bytes(octets)
        out, _ = annotated(path, {1: ["x"], 3: ["y"]})
        assert (read(out) if out.stat().st_size else []) == read(path), octets.hex()


def test_a_long_comment_is_cut_at_a_character(tmp_path: Path) -> None:
    path = tmp_path / "in"
    path.write_bytes(CAPTURES["pcap"])
    out, _ = annotated(path, {1: ["x" + "é" * 50_000]})
    assert held(out) == held(path)
    assert b"\xc3\xa9" * 32_700 in out.read_bytes()


def tshark(path: Path, *fields: str, only: str = "") -> list[list[str]]:
    if shutil.which("tshark") is None:
        pytest.skip("tshark is not installed")
    words = ["tshark", "-r", str(path), "-T", "fields", "-E", "separator=|", "-E", "aggregator=;"]
    words += [word for field in fields for word in ("-e", field)] + (["-Y", only] if only else [])
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    return [line.split("|") for line in done.stdout.splitlines()]


@pytest.mark.parametrize("name", ["big-endian-nanoseconds", "pcapng", "pcapng-big-endian"])
def test_wireshark_finds_comments_and_packets_in_their_places(name: str, tmp_path: Path) -> None:
    path = tmp_path / "in"
    path.write_bytes(CAPTURES[name])
    out, _ = annotated(path)
    told = {int(n): text for n, text in tshark(out, "frame.number", "frame.comment", only="frame.comment")}
    assert set(told) == {2, 5}
    assert told[2].startswith(SAID[2][0]) and told[5] == ";".join(SAID[5])
    same = ["frame.number", "frame.time_epoch", "frame.len", "frame.cap_len", "frame.encap_type"]
    same += ["frame.interface_id"] * name.startswith("pcapng")  # a pcap file has none
    assert tshark(out, *same) == tshark(path, *same)


def test_the_verdict_stands_at_the_packets_that_decide(filled: tuple[Path, Diagnosis]) -> None:
    path, diagnosis = filled
    said = comments(diagnosis)
    first = diagnosis.cases[0].observed.broken.packet
    assert first is not None and set(said) == {first, 9}
    proved = "smtpinspect PROVED: the first packet that was never answered, lost on the way"
    assert said[first][0].startswith(proved)
    assert any(f"FITS: {RULES[0]} (likely)" in text and "the sender's byte 313" in text for text in said[first])
    assert not any("certain" in text and "FITS" in text for text in said[first])
    assert all(text.isprintable() for texts in said.values() for text in texts)
    assert path.exists()


def test_a_silence_alone_is_no_box() -> None:
    one = Connection().cut(message(400))
    (case,) = (case for case in diagnose(Asked(capture.frames(one.packets))).diagnosis.cases if case.failed)
    texts = [text for each in comments(Diagnosis([case])).values() for text in each if "PROVED" in text]
    assert any("from a host that died" in text for text in texts)
    assert not any("by a box" in text for text in texts)


def test_packets_of_another_point_are_not_those_of_this_capture(filled: tuple[Path, Diagnosis]) -> None:
    _, diagnosis = filled
    case = copy(diagnosis.cases[0])
    case.proved = (Sign(3, "left here", "outside"), Sign(4, "never came", "inside"))
    said = comments(Diagnosis([case]), "outside")
    assert said[3] == ["smtpinspect PROVED: left here"]
    assert 4 not in said


# ---- cut to a connection


def many(tmp_path: Path, count: int = 9) -> Path:
    """Connections that overlap in time."""
    parts = [connection(number) for number in range(count)]
    path = tmp_path / "many.pcap"
    path.write_bytes(capture.pcap(sorted((r for part in parts for r in part), key=lambda r: r.time)))
    return path


def flows(path: Path) -> list[smtpinspect.Flow]:
    found = smtpinspect.Engine([]).run(str(path))
    return sorted((one for one in found if isinstance(one, smtpinspect.Flow)), key=lambda flow: flow.first_packet)


def test_each_connection_has_its_own_frames_with_few_files_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "EXPORT_FILES", 2)
    path = many(tmp_path)
    folder = tmp_path / "out"
    folder.mkdir()
    chosen = flows(path)[::2]
    made = cut.cut(str(path), [cut.Wanted(flow, f"{flow.flow_id}.pcapng") for flow in chosen], str(folder))
    assert len(made) == 5
    for one in made:
        assert [(data, link) for _, link, data, _ in held(folder / one.wanted.name)] == [
            (record.frame, 1) for record in connection(int(one.wanted.flow.client.rpartition(":")[2]) - 20_000)
        ]
        assert one.first == one.wanted.flow.first_packet


@pytest.mark.parametrize("ends", [wire.Ends(client="192.0.2.2", client_port=20_001), wire.V6], ids=["ipv4", "ipv6"])
def test_fragments_come_with_their_connection(tmp_path: Path, ends: wire.Ends) -> None:
    packets = wire.packets(wire.build(parse(DELIVERY)), ends)
    pieces = capture.records(
        piece for number, packet in enumerate(packets) for piece in ip.fragments(packet, 24, 0x1000 + number)
    )
    assert len(pieces) > len(packets)
    other = connection(2)
    path = tmp_path / "in.pcap"
    path.write_bytes(capture.pcap([*other[:3], *pieces, *other[3:]]))
    (flow,) = [flow for flow in flows(path) if not flow.client.endswith(":20002")]
    cut.cut(str(path), [cut.Wanted(flow, "one.pcapng")], str(tmp_path))
    assert [data for _, _, data, _ in held(tmp_path / "one.pcapng")] == [piece.frame for piece in pieces]


def test_interfaces_and_clocks_stay_when_cut(tmp_path: Path) -> None:
    path = tmp_path / "in"
    path.write_bytes(mixed(">"))
    flow = flows(path)[0]
    cut.cut(str(path), [cut.Wanted(flow, "one.pcapng")], str(tmp_path))
    count = len(connection(1))
    assert held(tmp_path / "one.pcapng") == held(path)[:count]
    kinds = {found.kind for found in blocks.blocks(str(tmp_path / "one.pcapng"))}
    assert 4 not in kinds  # other people's names


# ---- evidence


def evidence(path: Path, folder: Path) -> int:
    return cli.main(["diagnose", str(path), "--evidence", str(folder), "-o", str(folder.with_suffix(".txt"))])


def test_evidence_can_be_checked(filled: tuple[Path, Diagnosis], tmp_path: Path) -> None:
    folder = tmp_path / "evidence"
    assert evidence(filled[0], folder) == 0
    names = sorted(path.name for path in folder.iterdir())
    assert names == ["README.html", "README.txt", "SHA256SUMS", "connection-001.pcapng"]
    sums = dict(reversed(line.split("  ")) for line in (folder / "SHA256SUMS").read_text().splitlines())
    assert set(sums) == set(names) - {"SHA256SUMS"}
    for name, digest in sums.items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest
    if shutil.which("sha256sum"):
        assert subprocess.run(["sha256sum", "-c", "SHA256SUMS"], cwd=folder, capture_output=True).returncode == 0
    assert held(folder / "connection-001.pcapng") == held(filled[0])


def test_evidence_tells_what_can_be_looked_up(filled: tuple[Path, Diagnosis], tmp_path: Path) -> None:
    from smtpinspect.diagnose.export.evidence import evidence as fill
    from smtpinspect.report.diagnose_words import shown
    from smtpinspect.report.evidence_page import pages

    path, diagnosis = filled
    fill(str(path), diagnosis.cases, str(tmp_path / "out"), lambda case: [*shown(case)], pages)
    text = (tmp_path / "out" / "README.txt").read_text()
    flow = diagnosis.cases[0].flow
    assert flow.client in text and flow.server in text and "TCP" in text
    assert re.search(r"first packet +2026-11-22T20:42:12\.\d{6}Z", text)
    assert " ".join(QUESTION.split()) in " ".join(text.split())
    assert "left 15 times and were never acknowledged" in text
    assert max(map(len, text.splitlines())) <= 79
    # neutral: no product but in the question
    before = text[: text.index("Our question")].lower()
    assert not [word for word in ("stormshield", "mailguard", "likely", "emulation") if word in before]
    html = (tmp_path / "out" / "README.html").read_text()
    assert "default-src 'none'" in html and flow.client in html


def test_evidence_holds_icmp_errors_and_tells_its_own_numbers(tmp_path: Path) -> None:
    """Of two captures at once; where nothing is to be told, how far it came."""
    one = Connection().envelope().say("C", message(3_000), arrives=False).icmp("192.0.2.1", 3, 4, 1_400)
    for _ in range(3):
        one.wait(1).again("C", one.sent["C"] - len(message(3_000)), 1_460)
    beside = Connection(wire.Ends(client_port=40_999), start=wire.START + 0.0005).envelope()
    for name, each in (("a", one), ("b", beside)):
        (tmp_path / f"{name}.pcap").write_bytes(capture.pcap(capture.records(each.packets)))
    folder, files = tmp_path / "evidence", [str(tmp_path / f"{name}.pcap") for name in "ab"]
    assert cli.main(["diagnose", *files, "--evidence", str(folder), "-o", str(tmp_path / "out.txt")]) == 0
    assert len(held(folder / "connection-001.pcapng")) == len(one.packets)
    text = " ".join((folder / "README.txt").read_text().split())
    icmp = next(n for n, p in enumerate(one.packets, 1) if p.octets[9] == 1)
    number = int(re.search(r"1 ICMP error: too-big, the next hop takes 1,400 bytes \(first in packet (\d+)\)", text)[1])
    assert f"{number} is {icmp} here" in text
    assert "What the packets show: -" in text and "What the packets show: Our question" not in text


def test_sequence_numbers_are_those_of_the_wire(filled: tuple[Path, Diagnosis], tmp_path: Path) -> None:
    from smtpinspect.diagnose.export.evidence import evidence as fill

    path, diagnosis = filled
    (told,) = fill(str(path), diagnosis.cases, str(tmp_path / "out"), lambda case: [], lambda _: {})
    first = tshark(path, "tcp.seq_raw", only="tcp.flags.syn == 1")
    lost = tshark(path, "tcp.seq_raw", only=f"frame.number == {diagnosis.cases[0].observed.broken.packet}")
    assert [[told.fields[f"initial sequence number of the {who}"]] for who in ("client", "server")] == first
    assert told.fields["first sequence number that was never acknowledged"].split()[0] == lost[0][0]


def test_nothing_is_overwritten(
    filled: tuple[Path, Diagnosis], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("mine")
    with pytest.raises(UsageError, match="is not empty"):
        cut.empty_folder(str(tmp_path / "full"), "--evidence")
    for words in (
        ["diagnose", str(filled[0]), "--evidence", str(tmp_path / "full")],
        ["replay", str(filled[0]), "--extract", str(tmp_path / "full")],
        ["diagnose", str(filled[0]), "--annotate", str(filled[0])],
        ["diagnose", "-", "--annotate", str(tmp_path / "x")],
        ["replay", "-", "--extract", str(tmp_path / "y")],
    ):
        assert cli.main(words) == 2
        assert "exit status 2" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["mine"]


def test_nothing_that_is_read_is_written_over(
    filled: tuple[Path, Diagnosis], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capture, inside, log = str(filled[0]), str(tmp_path / "inside.pcap"), str(tmp_path / "log")
    Path(inside).write_bytes(filled[0].read_bytes())
    Path(log).write_text("a line")
    for words in (
        ["--outside", capture, "--inside", inside, "-o", inside],
        ["--outside", capture, "--inside", inside, "--annotate", inside],
        ["--log", log, "-o", log],
        [capture, "--firewall-log", log, "-o", log],
        ["--impact", inside, "-o", inside],
    ):
        assert cli.main(["diagnose", *words]) == 2
        assert "that is what is to be read" in capsys.readouterr().err
    assert Path(inside).read_bytes() == filled[0].read_bytes() and Path(log).read_text() == "a line"


# ---- replay --extract


def test_one_capture_for_each_mail_that_would_be_cut(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    captures = [str(path) for path in sorted(PCAPS.glob("*.pcap"))]
    assert cli.main(["replay", *captures, "-i", "stormshield", "--extract", str(tmp_path / "out")]) == 0
    said = capsys.readouterr()
    (told,) = re.findall(r"(\d+) would be cut", said.out.splitlines()[-2])
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert len(names) == int(told) and f"written: {told} captures" in said.err
    for number, name in enumerate(names, 1):
        again = smtpinspect.replay(str(tmp_path / "out" / name), inspectors=["stormshield"])
        rules = [rule for mail in again.mails for rule in mail.broken_by.values()]
        rules += [alert.rule for alert in again.alerts if alert.breaks]
        assert name.startswith(f"{number:05}-203.0.113.25-") and name.endswith(f"-{rules[0]}.pcapng")
    assert cli.main(["replay", *captures, "-i", "stormshield", "--extract", str(tmp_path / "again")]) == 0
    assert names == sorted(path.name for path in (tmp_path / "again").iterdir())


def test_of_several_mails_on_a_connection_each_has_its_own(tmp_path: Path) -> None:
    mail = "C: MAIL FROM:<a@a.example>\nS: 250 ok\nC: RCPT TO:<b@mx.example>\nS: 250 ok\nC: DATA\nS: 354 go\n"
    text = "S: 220 mx.example\nC: EHLO a.example\nS: 250 mx.example\n"
    for subject in ("plain", r"R\xe9union", "plain again"):
        text += mail + f"C: Subject: {subject}\nC:\nC: text\nC: .\nS: 250 ok\n"
    path = tmp_path / "in.pcap"
    path.write_bytes(capture.pcap(connection(1, text)))
    whole = smtpinspect.replay(str(path), inspectors=["stormshield"])
    broken = [mail.tx_id for mail in whole.mails if mail.broken_by]
    assert broken[0] == 1
    assert cli.main(["replay", str(path), "-i", "stormshield", "--extract", str(tmp_path / "out")]) == 0
    made = sorted((tmp_path / "out").iterdir())
    assert len(made) == len(broken)
    for tx_id, one in zip(broken, made, strict=True):
        again = smtpinspect.replay(str(one), inspectors=["stormshield"])
        assert len(again.mails) == tx_id + 1 and again.mails[-1].broken_by and again.mails[-1].outcome == "accepted"


def test_nothing_to_extract(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["replay", str(PCAPS / "clean-delivery.pcap"), "-i", "stormshield", "--extract", str(tmp_path / "out")]
    assert cli.main(words) == 0
    assert "written: 0 captures" in capsys.readouterr().err
    assert list((tmp_path / "out").iterdir()) == []
