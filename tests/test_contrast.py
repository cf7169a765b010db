"""Accepted mails as the control group: rules that they refute, and what the mails that were cut have in common."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from kit import capture
from kit.broken import Connection, message
from kit.wire import START, Ends, checksum
from smtpinspect._core.sources import records
from smtpinspect.cli import main
from smtpinspect.diagnose.face import Asked, Told, diagnose
from smtpinspect.diagnose.model import Case
from smtpinspect.diagnose.properties import COMPARED, RECORDED, SEEN
from smtpinspect.diagnose.survey import survey
from smtpinspect.grammar import limits
from smtpinspect.source import open_source

PCAPS = Path(__file__).resolve().parent.parent / "pcaps"
STORMSHIELD = ("stormshield:high,header_line_limit=1000",)
RAW = b"Subject: R\xc3\xa9union\r\n"
LONG = b"References: " + b"<a@example.org> " * 65 + b"\r\n"  # 1,052 octets
LONGER = b"References: " + b"<a@example.org> " * 80 + b"\r\n"  # 1,292
ETHERNET = bytes(12) + b"\x08\0"
ELSEWHERE = "203.0.113.99"


def text_of(*fields: bytes) -> bytes:
    return b"".join(fields) + message(400)


def capture_of(*connections: Connection) -> list[tuple[float, bytes]]:
    """Their frames, in order of time."""
    return capture.frames(sorted((p for each in connections for p in each.packets), key=lambda p: p.time))


class Day:
    """Connections one behind the other; `server` is the path."""

    def __init__(self) -> None:
        self.made: list[Connection] = []

    def mail(self, text: bytes, *, cut: bool = False, server: str = "198.51.100.25") -> Day:
        n = len(self.made)
        one = Connection(Ends(server=server, client_port=40_000 + n), start=START + 60 * n)
        self.made.append(one.cut(text) if cut else one.delivered(text=text))
        return self

    def told(self) -> Told:
        return diagnose(Asked(capture_of(*self.made), inspectors=STORMSHIELD))


def cases(told: Told) -> list[Case]:
    return [case for case in told.diagnosis.cases if case.failed]


def rules(case: Case) -> set[str]:
    return {cause.cause for cause in case.causes if cause.kind == "rule" and cause.confidence != "unlikely"}


def refuted(case: Case) -> dict[str, str]:
    return {each.cause: each.text for each in case.against if each.kind == "refuted"}


def test_without_accepted_mails_both_rules_fit() -> None:
    (case,) = cases(Day().mail(text_of(LONG, RAW), cut=True).told())
    assert rules(case) >= {"stormshield.smtp-217.header", "stormshield.smtp-231"}
    assert not refuted(case)


def test_an_accepted_mail_of_the_path_refutes_a_rule_that_it_trips() -> None:
    day = Day().mail(text_of(LONG)).mail(text_of(b"")).mail(text_of(LONG)).mail(text_of(LONG, RAW), cut=True)
    (case,) = cases(day.told())
    assert "stormshield.smtp-231" in rules(case)
    assert "stormshield.smtp-217.header" not in {cause.cause for cause in case.causes}
    assert refuted(case) == {
        "stormshield.smtp-217.header":
        "2 mails that trip it at limit 1,000 were accepted here, the first at 2023-11-14 22:13:20 UTC, "
        "the last at 2023-11-14 22:15:20 UTC",
    }  # fmt: skip
    assert case.what_if.relax == ("stormshield.smtp-231",)  # the other one is not in its way


def test_accepted_when_all_had_failed_is_said() -> None:
    """Named are those that anybody can find: by their ends and times, not by a count."""
    day = Day().mail(text_of(LONG), cut=True).mail(text_of(LONG), cut=True).mail(text_of(LONG)).mail(text_of(LONG))
    case = cases(day.told())[0]
    assert refuted(case)["stormshield.smtp-217.header"].endswith(
        "; only after the last one failed: a rule that was switched off meanwhile looks the same"
    )
    (against,) = (each for each in case.against if each.kind == "refuted")
    assert [sign.text.partition(" that")[0] for sign in against.signs] == [
        "the mail of 192.0.2.10:40002", "the mail of 192.0.2.10:40003",
    ]  # fmt: skip


def test_on_another_path_it_refutes_nothing() -> None:
    (case,) = cases(Day().mail(text_of(LONG), server=ELSEWHERE).mail(text_of(LONG, RAW), cut=True).told())
    assert rules(case) >= {"stormshield.smtp-217.header", "stormshield.smtp-231"}
    assert not refuted(case)


def test_under_another_limit_it_refutes_nothing() -> None:
    """An accepted line of 1,052 octets trips a limit of 1,000, not one of 1,200; the cut one is longer than both."""
    day = Day().mail(text_of(LONG)).mail(text_of(LONGER), cut=True)
    higher = "stormshield:high,header_line_limit=1200"
    told = diagnose(Asked(capture_of(*day.made), inspectors=(*STORMSHIELD, higher)))
    (case,) = cases(told)
    left = {(cause.inspector, cause.cause) for cause in case.causes if cause.kind == "rule"}
    assert left == {(higher, "stormshield.smtp-217.header")}


def test_properties_are_crossed_with_outcomes() -> None:
    day = Day()
    for _ in range(3):
        day.mail(text_of(RAW), cut=True)
    for _ in range(5):
        day.mail(text_of(b"Subject: plain\r\n"))
    for _ in range(4):
        day.mail(text_of(RAW), server=ELSEWHERE)
    told = day.told()
    first = cases(told)[0].contrast[0]
    assert first.property in ("raw 8-bit Subject", "raw 8-bit header field")
    one = next(each for each in cases(told)[0].contrast if each.property == "raw 8-bit Subject")
    assert one[1:] == (3, 0, 0, 5, 0, 4)


def test_what_all_mails_have_tells_nothing() -> None:
    day = Day().mail(text_of(RAW), cut=True).mail(text_of(RAW)).mail(text_of(RAW)).mail(text_of(RAW))
    (case,) = cases(day.told())
    assert "raw 8-bit Subject" not in {each.property for each in case.contrast}


def test_of_a_large_capture_little_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "CONTRAST_PATHS", 2)
    day = Day()
    for n in range(6):
        day.mail(text_of(LONG), server=f"203.0.113.{n}")
    day.mail(text_of(LONG), server="203.0.113.0").mail(text_of(LONG), server="203.0.113.0")
    seen = survey(capture_of(*day.made), STORMSHIELD)
    assert len(seen.tally.paths) == 2
    assert seen.tally.left_out == 4
    assert seen.tally.total.all.accepted == 8
    trip = seen.tally.paths["192.0.2.10", "203.0.113.0"].trips["stormshield", "stormshield.smtp-217.header"]
    clients = [client for client, _ in trip.named]
    assert (trip.mails, trip.limit) == (3, 1000)
    assert clients == ["192.0.2.10:40000", "192.0.2.10:40006", "192.0.2.10:40007"]


def test_of_a_connection_no_more_is_kept_than_of_a_capture(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "DIAGNOSED_ACCEPTED", 2)
    capture = str(PCAPS / "several-mails.pcap")
    seen = survey(capture, STORMSHIELD)
    accepted = [case for case in seen.cases if case.mail is not None and case.mail.outcome == "accepted"]
    assert len(accepted) == 2 and seen.left_out[0] == seen.tally.total.all.accepted - 2 > 0
    told = diagnose(Asked(source=capture, inspectors=STORMSHIELD))
    assert [note for note in told.diagnosis.notes if "more were accepted" in note]


def moved(file: Path, server: str, port: int, seconds: float = 0.0) -> list[tuple[float, bytes]]:
    """The frames of a capture with another server, client port and time, checksums right."""
    made = []
    ours, new = bytes([203, 0, 113, 25]), bytes(int(part) for part in server.split("."))
    source = open_source(str(file))
    try:
        for ns, link, frame, _ in records(source):
            ip = frame[14:] if link == 1 else frame
            head, tcp = bytearray(ip[:20]), bytearray(ip[20:])
            at = 0 if head[16:20] == ours else 2
            tcp[at : at + 2] = struct.pack(">H", port)
            place = 16 if at == 0 else 12
            head[place : place + 4] = new
            head[10:12] = b"\0\0"
            head[10:12] = struct.pack(">H", checksum(bytes(head)))
            tcp[16:18] = b"\0\0"
            pseudo = bytes(head[12:20]) + struct.pack(">BBH", 0, 6, len(tcp))
            tcp[16:18] = struct.pack(">H", checksum(pseudo + bytes(tcp)))
            made.append((ns / 1e9 + seconds, ETHERNET + bytes(head) + bytes(tcp)))
    finally:
        source.close()
    return made


@pytest.mark.parametrize("server", ["203.0.113.25", "203.0.113.77"])
def test_a_simulated_cut_among_captured_deliveries(server: str, tmp_path: Path) -> None:
    """The same mail accepted on the same path speaks against the rule; on another path it does not."""
    cut = tmp_path / "cut.pcap"
    words = ["simulate", str(PCAPS / "subject-8bit.pcap"), "-i", "stormshield", "--write-client", str(cut)]
    assert main(words) == 0
    frames = moved(cut, "203.0.113.25", 50_001) + moved(PCAPS / "subject-8bit.pcap", server, 50_002, 2000.0)
    frames += moved(PCAPS / "clean-delivery.pcap", "203.0.113.25", 50_003, 4000.0)
    (case,) = cases(diagnose(Asked(frames, inspectors=("stormshield",))))
    assert ("stormshield.smtp-231" in rules(case)) == (server != "203.0.113.25")
    assert ("stormshield.smtp-231" in refuted(case)) == (server == "203.0.113.25")
    if server == "203.0.113.77":
        assert case.causes[0].cause == "stormshield.smtp-231"
        (subject,) = [each for each in case.contrast if each.property == "raw 8-bit Subject"]
        assert (subject.cut, subject.accepted, subject.accepted_without, subject.accepted_elsewhere) == (1, 0, 1, 1)


def test_each_property_has_a_name_of_its_own() -> None:
    told = [title for title, _ in SEEN.values()] + [one.told for one in RECORDED if one.told]
    assert len(told) == len(set(told)) > 30
    compared = [one.mails for one in COMPARED]
    assert len(compared) == len(set(compared)) > 5
    assert all(one.told or one.mails for one in RECORDED)
