"""`anonymise`: no word of the original is left, and the verdicts are the same."""

from __future__ import annotations

import gzip
import io
import re
import struct
import time
import zipfile
import zlib
from pathlib import Path
from random import Random

import pytest

import leaks
import mta_runs
import public
from kit import capture, ip, mutate, wire
from kit.broken import Connection
from kit.dialogue import DELIVERY, parse
from kit.segment import Segment
from smtpinspect.cli import main
from smtpinspect.diagnose.anonymise.addresses import Addresses
from smtpinspect.diagnose.anonymise.face import anonymise, key_of
from smtpinspect.diagnose.anonymise.files import deflated, file
from smtpinspect.diagnose.anonymise.streams import Stream
from smtpinspect.diagnose.anonymise.texts import Texts
from smtpinspect.diagnose.face import Asked, diagnose
from smtpinspect.grammar import limits

PCAPS = Path(__file__).parents[1] / "pcaps"
CAPTURES = sorted(PCAPS.glob("*.pcap"))
PUBLIC = sorted(public.FOLDER.glob("*.pcap*")) if public.FOLDER.is_dir() else [None]
RUNS = [path for path in sorted(mta_runs.FOLDER.glob("*.pcap")) if path.stat().st_size > 24]  # those with packets
TEXTS = Texts(key_of("a key"))


def hidden(path: Path, tmp_path: Path) -> None:
    """Nothing of it is left, however it is read, and the verdicts are the same."""
    out = tmp_path / "out.pcap"
    done = anonymise(str(path), str(out), key=key_of("a key"))
    assert done.compared.same, done.compared
    before: set[bytes] = set()
    for _, old, new in leaks.streams(str(path), TEXTS):
        before |= leaks.written(old)
        assert not leaks.same(old, new)
    found = leaks.words(out.read_bytes()) & before
    assert not found
    for _, now, _ in leaks.streams(str(out), TEXTS):
        assert not leaks.left(now, before)


@pytest.mark.parametrize("path", CAPTURES, ids=lambda path: path.stem)
def test_no_word_is_left_and_verdicts_stay(path: Path, tmp_path: Path) -> None:
    hidden(path, tmp_path)


def test_no_word_is_left_of_runs_of_mail_servers(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    if not RUNS:
        pytest.skip(mta_runs.ABSENT)
    for path in RUNS if request.config.getoption("--deep") else RUNS[::6]:
        hidden(path, tmp_path)


@pytest.mark.parametrize("path", PUBLIC, ids=lambda path: path.stem if path else "none")
def test_no_word_is_left_of_public_captures(path: Path | None, tmp_path: Path) -> None:
    if path is None:
        pytest.skip(public.ABSENT)
    hidden(path, tmp_path)


def test_a_retransmission_stays_one(tmp_path: Path) -> None:
    """By stream offset: whoever cuts the octets otherwise sends the same ones."""
    out = []
    stream = Stream(TEXTS, lambda at, old, new: out.append((at, old, new)), replies=False)
    for at, octets in ((0, b"MAIL FR"), (7, b"OM:<ali"), (7, b"OM:<alice@"), (17, b"example.org>\r\nDA")):
        stream.feed(at, octets)
    stream.flush()
    assert [at for at, _, _ in out] == [0, 31]
    assert b"".join(old for _, old, _ in out) == b"MAIL FROM:<alice@example.org>\r\nDA"
    assert all(len(old) == len(new) for _, old, new in out)
    assert b"".join(new for _, _, new in out) == TEXTS.line(b"MAIL FROM:<alice@example.org>\r\nDA")


def through(octets: bytes, *, replies: bool = False, cut: int = 1 << 30) -> bytes:
    made = bytearray()
    stream = Stream(TEXTS, lambda at, old, new: made.extend(new), replies=replies)
    for at in range(0, len(octets), cut):
        stream.feed(at, octets[at : at + cut])
    stream.flush()
    return bytes(made)


def test_secrets_keep_their_length_only() -> None:
    """The classes of a password's octets would tell a part of it."""
    dialogue = b"AUTH PLAIN AGZvbwBhYWFhYWFhYWE=\nAUTH LOGIN\nAAAAAAAA\nc2VjcmV0c2VjcmV0\nMAIL FROM:<>\n"
    made = through(dialogue.replace(b"\n", b"\r\n"))
    lines = made.split(b"\r\n")
    assert (lines[1], lines[4]) == (b"AUTH LOGIN", b"MAIL FROM:<>")
    assert re.fullmatch(rb"AUTH PLAIN [A-Za-z0-9+/]{19}=", lines[0]) and b"YWFhYWFh" not in lines[0]
    assert not lines[2].isupper() and len(lines[2]) == 8 and len(lines[3]) == 16
    assert through(b"334 VXNlcm5hbWU6\r\n", replies=True) != b"334 VXNlcm5hbWU6\r\n"
    assert through(b"QUIT\r\nAAAAAAAA\r\n").split(b"\r\n")[1].isupper()


def kind(octet: int) -> str:
    return "8-bit" if octet > 127 else "letter" if chr(octet).isalpha() else "digit" if 48 <= octet < 58 else chr(octet)


def test_words_keep_length_and_classes() -> None:
    line = "Subject: Réunion at Büro 4711, call +49 30 1234567 — Grüße\r\n".encode()
    made = TEXTS.line(line)
    assert made.startswith(b"Subject: ") and len(made) == len(line)
    made.decode()  # what was UTF-8 is
    assert [kind(octet) for octet in made] == [kind(octet) for octet in line]
    assert not leaks.words(made) & leaks.words(line) - leaks.ALLOWED
    assert b"4711" not in made and b"30 12" not in made and b"49" not in made
    assert TEXTS.line(line) == made != Texts(key_of("another")).line(line)


@pytest.mark.parametrize(
    "line",
    [
        b"EHLO ", b"250-SIZE 52428800\r\n", b"MAIL FROM:<> SIZE=123456 BODY=8BITMIME\r\n", b"BDAT 86401 LAST\r\n",
        b"Content-Type: text/plain; charset=iso-8859-1\r\n", b"Content-Transfer-Encoding: quoted-printable\r\n",
        b"250 2.1.5 Ok\r\n", b"Content-Disposition: attachment; filename*0*=utf-8\'\'", b"MIME-Version: 1.0\r\n",
        b"220 ******************0*2******0*2\r\n", b"250-XXXXXXXA\r\n"[:4], b"Date: Mon, 2 Mar 2026 10:00:02 +0100\r\n",
    ],
)  # fmt: skip
def test_what_verdicts_hang_on_stays(line: bytes) -> None:
    assert TEXTS.line(line, reply=True) == line


def test_one_name_stays_one_name() -> None:
    made = TEXTS.line(b"alice@acme.example Alice ALICE =?utf-8?Q?Alice?= (acme)")
    alice, acme = made.split(b"@")[0], made.split(b"@")[1].split(b".")[0]
    assert made.lower().count(alice) == 4 and made.count(acme) == 2


# ---- captures with something odd


def odd(segments: list[Segment], tmp_path: Path, **more: int) -> None:
    """A capture of these segments keeps its verdicts and loses its words."""
    whole = tmp_path / "odd.pcap"
    whole.write_bytes(capture.pcap(capture.records(wire.packets(segments), **more)))
    hidden(whole, tmp_path)


MAIL = DELIVERY.replace("C: Subject: ", "C: Subject: R\\xc3\\xa9union ")
MAIL = MAIL.replace("C: .\n", "C: Yours sincerely, Alicia Miller\nC: .\n")


@pytest.mark.parametrize("seed", range(4))
def test_lost_repeated_reordered(seed: int, tmp_path: Path) -> None:
    rng = Random(seed)
    segments = mutate.random_cuts(wire.build(parse(MAIL)), rng)
    segments = mutate.reordered(mutate.retransmitted(mutate.duplicated(segments, rng), rng), rng)
    odd(segments, tmp_path)
    odd([s for n, s in enumerate(segments) if n < 8 or rng.random() > 0.2], tmp_path)


def test_the_middle_of_a_connection(tmp_path: Path) -> None:
    segments = wire.build(parse(MAIL), handshake=False)
    odd(segments, tmp_path)
    odd(segments[5:], tmp_path)


def test_packets_that_were_cut(tmp_path: Path) -> None:
    odd(wire.build(parse(MAIL)), tmp_path, snaplen=90)


def test_two_versions_of_the_same_octets(tmp_path: Path) -> None:
    """What conflicts with what was read is replaced, too, and conflicts still."""
    segments = wire.build(parse(MAIL))
    data = next(n for n, s in enumerate(segments) if b"Subject" in s.payload)
    other = segments[data].payload.replace(b"sincerely", b"faithless")
    assert other != segments[data].payload
    odd([*segments[: data + 1], segments[data].but(payload=other), *segments[data + 1 :]], tmp_path)


def test_fragments_are_joined(tmp_path: Path) -> None:
    whole = tmp_path / "odd.pcap"
    parts = [part for each in wire.packets(wire.build(parse(MAIL))) for part in ip.fragments(each, 64)]
    whole.write_bytes(capture.pcap(capture.records(parts)))
    hidden(whole, tmp_path)


def test_comments_names_and_other_protocols_are_gone(tmp_path: Path) -> None:
    out = tmp_path / "out.pcap"
    done = anonymise(str(PCAPS / "clean-delivery.pcap"), str(out), key=key_of("k"))
    assert out.read_bytes()[:4] == bytes.fromhex("4d3cb2a1") and done.left_out == 0


# ---- addresses


def too_big(about: wire.Packet, mtu: int) -> wire.Packet:
    """A router's error that quotes the head of the packet, its payload too (RFC 1812 4.3.2.3, RFC 4443 3.2)."""
    v6 = about.octets[0] >> 4 == 6
    body = struct.pack(">BBHI" if v6 else ">BBHHH", *((2, 0, 0, mtu) if v6 else (3, 4, 0, 0, mtu))) + about.octets[:500]
    made = wire.ip6("2001:db8::1", wire.V6.client, body, protocol=58) if v6 else wire.ip4(
        "192.0.2.1", wire.V4.client, body, protocol=1
    )  # fmt: skip
    return wire.Packet(about.time + 0.001, made, "S")


@pytest.mark.parametrize("ends", [wire.V4, wire.V6], ids=["v4", "v6"])
def test_icmp_errors_about_a_connection_stay(ends: wire.Ends, tmp_path: Path) -> None:
    """They quote its packets: what a path MTU rests on, without the words."""
    one = Connection(ends).envelope()
    one.say("C", b"Subject: hunter2\r\n\r\n" + b"a line of text\r\n" * 100, arrives=False)
    first = next(p for p in one.packets if b"hunter2" in p.octets)
    one.packets.insert(one.packets.index(first) + 1, too_big(first, 1_400))
    for _ in range(3):
        one.wait(1).again("C", one.sent["C"] - len(one.streams["C"]) + one.streams["C"].index(b"Subject"), 1_460)
    path, out = tmp_path / "in.pcap", tmp_path / "out.pcap"
    path.write_bytes(capture.pcap(capture.records(one.close("C", answered=False).packets)))
    made = anonymise(str(path), str(out), key=key_of("k"))
    assert (made.packets, made.left_out) == (len(one.packets), 0)
    assert b"hunter2" in path.read_bytes() and b"hunter2" not in out.read_bytes()
    before, now = (
        [(one.cause, one.confidence) for case in diagnose(Asked(str(each))).diagnosis.cases for one in case.causes]
        for each in (path, out)
    )
    assert ("path-mtu", "certain") in before and before == now


def test_prefixes_stay_common() -> None:
    addresses = Addresses(key_of("a key"))
    one, two, far = (addresses.binary(bytes(each)) for each in ((203, 0, 113, 9), (203, 0, 113, 10), (203, 1, 113, 9)))
    assert one[:3] == two[:3] and one[3] != two[3] and one[:1] == far[:1] and one[1] != far[1]
    assert one != bytes((203, 0, 113, 9))
    assert addresses.told(b"203.0.113.9") == ".".join(map(str, one)).encode()
    assert len(addresses.told(b"203.0.113.9")) == len(b"203.0.113.9")
    for kept in (b"127.0.0.1", b"::1", b"0.0.0.0", b"224.0.0.251"):
        assert addresses.told(kept) == kept
    assert addresses.told(b"10:20:30") is None
    for none in (b"999.1.1.1", b"203.000.113.009"):
        assert addresses.told(none) is None and none not in TEXTS.line(none + b" x")
    assert addresses.told(b"10.1.2.3").startswith(b"10.") and addresses.told(b"192.168.7.7").startswith(b"192.168.")
    assert 16 <= int(addresses.told(b"172.20.1.1").split(b".")[1]) < 32


def test_addresses_are_replaced_one_to_one() -> None:
    addresses = Addresses(key_of("a key"))
    made = {addresses.binary(bytes((203, 0, n, 5))) for n in range(256)}
    assert len(made) == 256
    assert len({addresses.binary(bytes((n, 1, 1, 1))) for n in range(256)}) == 256


@pytest.mark.parametrize("text", [b"2001:db8::25", b"IPv6:2a00:1450:4001:81b::200e", b"fe80::A1B2", b"2A00:0:0:1::F"])
def test_ipv6_keeps_its_form(text: bytes) -> None:
    made = Addresses(key_of("a key")).told(text)
    assert len(made) == len(text) and made != text
    assert re.sub(rb"[0-9A-Fa-f]", b"x", made) == re.sub(rb"[0-9A-Fa-f]", b"x", text) or text.startswith(b"IPv6")
    assert made.count(b"::") == text.count(b"::")


# ---- attachments


def test_a_zip_stays_one_without_its_texts() -> None:
    kept = io.BytesIO()
    with zipfile.ZipFile(kept, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("salaries of Miller.txt", "Miller earns a fortune\n" * 50)
        archive.writestr("invoice.exe", b"MZ" + bytes(100), zipfile.ZIP_STORED)
    octets = kept.getvalue()
    made = file(octets, TEXTS)
    assert len(made) == len(octets) and b"iller" not in made and b"MZ" in made
    names = zipfile.ZipFile(io.BytesIO(made)).namelist()
    assert [name.rpartition(".")[2] for name in names] == ["txt", "exe"]


SECRET = b"Schallenberg Geheimnis Kuendigung "


def held(method: int, member: bytes = SECRET * 20) -> bytes:
    kept = io.BytesIO()
    with zipfile.ZipFile(kept, "w", method) as archive:
        archive.comment = SECRET
        info = zipfile.ZipInfo("Kuendigung Schallenberg.txt")
        info.comment, info.extra = SECRET, b"\x75\x70\x09\0\1abcdGehe"
        info.compress_type = method
        archive.writestr(info, member)
    return kept.getvalue()


def program(*names: bytes) -> bytes:
    """An executable with these sections."""
    head = b"MZ".ljust(60, b"\0") + (64).to_bytes(4, "little") + b"PE\0\0"
    head += struct.pack("<HHIIIHH", 0x14C, len(names), 0, 0, 0, 0, 0)
    return head + b"".join(name.ljust(40, b"\0") for name in names) + SECRET * 4


@pytest.mark.parametrize(
    "octets",
    [
        held(zipfile.ZIP_STORED), held(zipfile.ZIP_DEFLATED), held(zipfile.ZIP_BZIP2), held(zipfile.ZIP_LZMA),
        held(zipfile.ZIP_STORED, held(zipfile.ZIP_STORED)), held(zipfile.ZIP_DEFLATED, held(zipfile.ZIP_DEFLATED)),
        held(zipfile.ZIP_STORED)[:-30], gzip.compress(SECRET, mtime=0), b"%PDF-1.4\n" + SECRET,
        b"\x89PNG\r\n\x1a\n" + SECRET,
        program(b".schalle", SECRET[:8]), b"MZ" + SECRET * 9, bytes.fromhex("d0cf11e0a1b11ae1") + SECRET * 40,
        SECRET.decode().encode("utf-16"), b"<html>" + SECRET, b"{\\rtf1 " + SECRET,
    ],
    ids=("stored deflated bzip2 lzma stored-in-stored deflated-in-deflated cut-off gzip pdf png program mz ole "
         "utf-16 html rtf").split(),
)  # fmt: skip
def test_no_file_keeps_a_word(octets: bytes) -> None:
    made = file(octets, TEXTS)
    assert len(made) == len(octets)
    whole = [made, *opened(made)]
    assert not [word for text in whole for word in leaks.left(text, leaks.words(SECRET)) if word[0] != "base64, any"]


def opened(octets: bytes) -> list[bytes]:
    """What lies in an archive, whatever its checksums say."""
    try:
        members = zipfile.ZipFile(io.BytesIO(octets)).infolist()
    except zipfile.BadZipFile:
        return []
    found = []
    for one in members:
        n, extra = struct.unpack_from("<HH", octets, one.header_offset + 26)
        begin = one.header_offset + 30 + n + extra
        data = octets[begin : begin + one.compress_size]
        inner = zlib.decompressobj(-15).decompress(data) if one.compress_type == zipfile.ZIP_DEFLATED else data
        found += [inner, one.filename.encode(), one.comment, one.extra, *opened(inner)]
        assert zlib.crc32(SECRET * 20) != one.CRC
    return found


def test_what_tells_a_packer_stays() -> None:
    made = file(program(b"UPX0", b".aspack", b"Meier"), TEXTS)
    assert b"UPX0" in made and b".aspack" in made and b"Meier" not in made
    marked = program(b"x")[:200] + b"3.96\0UPX!" + SECRET
    assert file(marked, TEXTS)[200:209] == b"3.96\0UPX!"


def test_an_archive_cannot_ask_for_hours(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kilobytes may inflate to megabytes, in each layer: beyond a limit what lies in them becomes noise."""
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w", zipfile.ZIP_DEFLATED) as archive:
        for n in range(4):
            archive.writestr(f"{n}.exe", b"MZ" + Random(n).randbytes(50_000))

    def programs() -> list[bool]:
        made = file(inner.getvalue(), TEXTS)
        return [each.startswith(b"MZ") for each in opened(made) if len(each) > 20]

    assert programs() == [True] * 4
    monkeypatch.setattr(limits, "ANONYMISED_INFLATED", 120_000)
    assert programs() == [True, True, False, False]


@pytest.mark.parametrize("n", [5, 6, 100, 65_539, 65_540, 65_541, 65_545, 65_546, 200_000])
def test_what_was_deflated_still_inflates(n: int) -> None:
    made = deflated(bytes(n), TEXTS)
    unpacker = zlib.decompressobj(-15)
    unpacker.decompress(made)
    assert len(made) == n and unpacker.eof and not unpacker.unused_data


# ---- the command


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out.pcap"
    packed = tmp_path / "in.pcap.gz"
    packed.write_bytes(gzip.compress((PCAPS / "subject-8bit.pcap").read_bytes()))
    assert main(["anonymise", "--key", "x", str(packed), str(out)]) == 0
    page = capsys.readouterr().out
    assert "VERDICTS: all the same, in 1 connection with 1 mail" in page and page.rstrip().endswith(f"transcript {out}")
    assert "As they were: times, ports, sizes" in page and "overwritten" not in page
    first = out.read_bytes()
    assert main(["anonymise", "--key", "x", str(packed), str(out)]) == 0 and out.read_bytes() == first
    assert "the file that was there is overwritten" in capsys.readouterr().out
    assert main(["anonymise", str(packed), str(out)]) == 0 and out.read_bytes() != first


def test_a_damaged_capture_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cut, out = tmp_path / "cut.pcap", tmp_path / "out.pcap"
    cut.write_bytes((PCAPS / "several-mails.pcap").read_bytes()[:-5])
    assert main(["anonymise", str(cut), str(out)]) == 3
    told = capsys.readouterr()
    assert "all the same" in told.out and "cut off" in told.err
    assert main(["anonymise", str(cut), str(cut)]) == 2
    assert main(["anonymise", "-", str(out)]) == 2
    (tmp_path / "empty.pcap").write_bytes(capture.pcap([]))
    (tmp_path / "none.pcap").write_bytes(bytes(100))
    before = out.read_bytes()
    assert main(["anonymise", str(tmp_path / "empty.pcap"), str(out)]) == 0
    assert "Nothing in" in capsys.readouterr().out
    assert main(["anonymise", str(tmp_path / "none.pcap"), str(out)]) == 3
    assert capsys.readouterr().out == "" and out.read_bytes() == before


def test_what_is_not_the_same_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A rule on a word that names somebody can fire no longer."""
    spec = "mailguard:asa-8,address_malicious=alice"
    whole, out = str(PCAPS / "clean-delivery.pcap"), tmp_path / "out.pcap"
    status = main(["anonymise", "--key", "x", "-i", spec, whole, str(out)])
    page = capsys.readouterr().out
    assert (status, "not the same in 1 of 1 connection" in page) == (1, True)
    assert "no longer mailguard.address-malicious" in page


def test_an_archive_of_very_many_members_takes_no_longer_for_each() -> None:
    member = b"PK\3\4" + struct.pack("<HHHHHIIIHH", 20, 8, 0, 0, 0, 0, 0, 0, 0, 0)  # its size stands behind it: nowhere
    begin = time.process_time()
    assert len(file(member * 20_000, TEXTS)) == 20_000 * len(member)
    assert time.process_time() - begin < 2  # 0.04 s; 5 s where each is looked for to the end
