"""Logs as files: packed, damaged, in any encoding, with lines of several attempts mixed; bounces; times."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import threading
import time
import tracemalloc
from calendar import timegm
from pathlib import Path
from typing import Final

import pytest

from smtpinspect.cli import main
from smtpinspect.diagnose import reading
from smtpinspect.diagnose.reading.lines import duration, line_of
from smtpinspect.errors import CaptureError, UsageError
from smtpinspect.grammar import limits
from smtpinspect.mta.base import Ending
from smtpinspect.mta.registry import SENDERS

LINE = (
    "Nov 22 11:02:57 pout postfix/smtp[3204]: C5D4F21C4AE: to=<u@example.net>, relay=mx.example.net[192.0.2.1]:25, "
    "delay=7, delays=0/0/0/7, dsn=4.4.2, status=deferred (lost connection with mx.example.net[192.0.2.1] while sending "
    "RCPT TO)"
)


@pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress, lzma.compress], ids=["plain", "gz", "bz2", "xz"])
def test_packed_files_are_told_by_their_octets(tmp_path: Path, pack: object) -> None:
    path = tmp_path / "mail.log.1"
    path.write_bytes(pack((LINE + "\n").encode() * 3))  # type: ignore[operator]
    assert [each.phases for each in reading.read_file(path)] == [("rcpt",)] * 3
    assert reading.recognise(LINE.encode())


BOUNCE = b"From: Mailer-Daemon@a.example\nX-Failed-Recipients: u@example.net\n\n  u@example.net\n    host mx: 550 no\n"


@pytest.mark.parametrize(
    ("octets", "phases"),
    [((LINE + "\n").encode() * 3, 3), (gzip.compress(BOUNCE, mtime=0), 1)],
    ids=["lines", "packed bounce"],  # equal in each worker
)
def test_a_pipe_can_be_read_once_only(tmp_path: Path, octets: bytes, phases: int) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    writer = threading.Thread(target=path.write_bytes, args=(octets,))
    writer.start()
    assert len([each for each in reading.read_file(path) if each.phases]) == phases
    writer.join()


def test_what_stood_before_the_damage_is_read(tmp_path: Path) -> None:
    path = tmp_path / "mail.log.gz"
    path.write_bytes(gzip.compress((LINE + "\n").encode() * 4_000)[:-12])
    told = reading.read_file(path)
    seen = 0
    with pytest.raises(CaptureError, match="cut off"):
        for _ in told:
            seen += 1
    assert seen > 3_000


def test_a_missing_file_and_a_directory_are_wrong_usage(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none", "a\0b"):
        with pytest.raises(UsageError):
            next(reading.read_file(path))


@pytest.mark.parametrize(
    "octets",
    [
        b"\xff\xfe" + (LINE + "\r\n").encode("utf-16-le"),
        b"\xfe\xff" + LINE.encode("utf-16-be"),
        b"\xef\xbb\xbf" + LINE.encode(),
        b"caf\xe9 \xff\xfe\x00\n" + LINE.encode() + b"\r\n\x00\x00\n",
        b"A" * 3_000_000 + b"\n" + LINE.encode() + b"\n" + b"B" * 3_000_000,
        b"\x1b[2J\x07\x00\n" + LINE.encode() + b"\n",
    ],
    ids=["utf-16", "utf-16-be", "bom", "latin-1", "long lines", "control characters"],
)
def test_encodings_and_rubbish_hide_no_line(octets: bytes) -> None:
    told = list(reading.read_file(io.BytesIO(octets)))
    assert [(each.mta, each.phases, each.recipient) for each in told] == [("postfix", ("rcpt",), "u@example.net")]


@pytest.mark.parametrize("name", SENDERS)
def test_rubbish_in_any_place_of_a_line_costs_little_time(name: str) -> None:
    model = SENDERS[name]
    slowest = 0.0
    for line in model.log(Ending("dot", "timeout", model.example, 600.0, written=9)):
        for at in range(0, len(line), 64):
            for rubbish in (" " * 1_000_000, "a" * 1_000_000, ": [" * 300_000):
                began = time.process_time()
                reading.read_line(line[:at] + rubbish + line[at:])
                slowest = max(slowest, time.process_time() - began)
    assert slowest < 0.5


def test_memory_does_not_grow_with_the_log() -> None:
    text = "Nov 22 11:02:57 out postfix/qmgr[1]: {:011X}: from=<a@example.org>, size=1000, nrcpt=1 (queue active)\n"

    class Endless(io.RawIOBase):
        left = 12

        def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]
            if not self.left:
                return 0
            self.left -= 1
            octets = "".join(text.format(n + self.left * 600) for n in range(600)).encode()[: len(buffer)]
            buffer[: len(octets)] = octets
            return len(octets)

        def readable(self) -> bool:
            return True

    before = limits.MAIL_LOG_MAILS
    tracemalloc.start()
    try:
        limits.MAIL_LOG_MAILS = 1_000  # type: ignore[misc]
        assert not list(reading.read_file(io.BufferedReader(Endless())))
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()
        limits.MAIL_LOG_MAILS = before  # type: ignore[misc]


# ---- several lines, one attempt


def test_exim_s_other_hosts_are_attempts_of_their_own() -> None:
    log = """\
2026-11-22 11:00:00 1xV5Kf-0001L7-1o <= a@example.org U=root P=local S=2308 id=77@example.org
2026-11-22 11:01:00 1xV5Kf-0001L7-1o H=mx1.example.net [192.0.2.1]:25 Connection refused
2026-11-22 11:06:00 1xV5Kf-0001L7-1o H=mx2.example.net [192.0.2.2]:25: SMTP timeout after EHLO a.example: \
Connection timed out
2026-11-22 11:06:00 1xV5Kf-0001L7-1o == u@example.net R=r T=t defer (110): Connection timed out H=mx2.example.net \
[192.0.2.2]:25 DT=5m: SMTP timeout after EHLO a.example
2026-11-22 11:36:00 1xV5Kf-0001L7-1o => u@example.net R=r T=t H=mx1.example.net [192.0.2.1]:25 C="250 OK" DT=1s
"""
    told = list(reading.read_file(io.BytesIO(log.encode())))
    assert [(each.host, each.phases, each.fate) for each in told] == [
        ("mx1.example.net", ("connect",), "deferred"),
        ("mx2.example.net", ("ehlo",), "deferred"),
        ("mx1.example.net", (), "delivered"),
    ]
    assert {(each.size, each.sender, each.message_id) for each in told} == {(2308, "a@example.org", "77@example.org")}
    assert told[1].seconds == 300.0
    assert told[1].when == timegm((2026, 11, 22, 11, 6, 0))


def test_sendmail_s_notices_are_joined_by_queue_id() -> None:
    log = """\
Nov 22 11:10:48 out sm-mta[9]: 6AMBAhgD008960: timeout waiting for input from mx.example.net. during client MAIL
Nov 22 11:10:48 out sm-mta[8]: 6AMBAhgD008961: timeout waiting for input from mx.example.org. during client DATA status
Nov 22 11:10:49 out sm-mta[8]: 6AMBAhgD008961: to=<v@example.org>, delay=01:00:00, xdelay=01:00:00, mailer=esmtp, \
pri=32050, relay=mx.example.org. [192.0.2.2], dsn=4.4.2, stat=Deferred: Connection timed out with mx.example.org.
Nov 22 11:10:49 out sm-mta[9]: 6AMBAhgD008960: to=<u@example.net>, delay=00:10:00, xdelay=00:10:00, mailer=esmtp, \
pri=32050, relay=mx.example.net. [192.0.2.1], dsn=4.4.2, stat=Deferred: Connection timed out with mx.example.net.
"""
    told = list(reading.read_file(io.BytesIO(log.encode())))
    assert [(each.recipient, each.phases, each.seconds, each.duplicate_risk) for each in told] == [
        ("v@example.org", ("databody", "datamid", "dot", "dotreply"), 3600.0, True),
        ("u@example.net", ("mail",), 600.0, False),
    ]


def test_exchange_s_protocol_log_tells_the_phase() -> None:
    def line(n: int, second: int, event: str, data: str) -> str:
        return f"2026-11-22T11:00:{second:02d}.000Z,Out,08DE29F4C1A7B355,{n},10.0.0.1:4915,192.0.2.1:25,{event},{data},"

    dialogue = [("+", ""), ("<", "220 mx"), (">", "EHLO a"), ("<", "250 mx"), (">", "MAIL FROM:<a@example.org> SIZE=1")]
    answered = [*dialogue, (">", "RCPT TO:<u@example.net>"), ("<", "250 ok"), ("<", "250 ok"), (">", "DATA")]
    text = [*answered, ("<", "354 go")]
    for events, phases in ((dialogue, ("mail",)), (answered, ("datacmd", "reply354")),
                           (text, ("databody", "datamid", "dot", "dotreply"))):  # fmt: skip
        rows = [*events, ("-", "Remote(ConnectionReset)")]
        log = "\n".join(line(n, n, *row) for n, row in enumerate(rows))
        (told,) = reading.read_file(io.BytesIO(f"#Software: Microsoft Exchange Server\n{log}\n".encode()))
        assert (told.mta, told.phases, told.break_kind, told.ip) == ("exchange", phases, "rst", "192.0.2.1")
    rows = [*text, ("<", "250 2.6.0 Queued mail for delivery"), (">", "QUIT"), ("<", "221 bye"), ("-", "Local")]
    (told,) = reading.read_file(io.BytesIO("\n".join(line(n, n, *row) for n, row in enumerate(rows)).encode()))
    assert (told.fate, told.phases, told.recipient) == ("delivered", (), "u@example.net")


def test_exchange_s_connector_may_have_a_comma_and_an_attempt_no_connection() -> None:
    def line(session: str, n: int, event: str, rest: str) -> str:
        ends = "10.0.0.1:4915,192.0.2.1:25" if event != "*" else ",192.0.2.2:25"
        return f'2026-11-22T11:00:{n:02d}.000Z,"Internet, outbound",08DE29F4C1A7B35{session},{n},{ends},{event},{rest}'

    rows = [line("5", 0, "+", ","), line("5", 1, "<", '"220 mx, hello",'), line("5", 2, ">", "EHLO a,"),
            line("5", 3, "-", ",Remote(ConnectionReset)"), line("6", 4, "*", ",attempting to connect")]  # fmt: skip
    for code, broken in (("10060", ("drop",)), ("10061", ("rst",)), ("10065", ()), ("10050", ("drop", "rst"))):
        failed = f'"Failed to connect. Winsock error code: {code}, Win32 error code: {code}, Error Message: no, it did"'
        log = "\n".join([*rows, line("6", 25, "*", f",{failed}")])
        one, two = reading.read_file(io.BytesIO(f"#Software: Microsoft Exchange Server\n{log}\n".encode()))
        assert (one.phases, one.broken, one.ip) == (("ehlo",), ("rst",), "192.0.2.1")
        assert (two.mta, two.phases, two.broken, two.ip) == ("exchange", ("connect",), broken, "192.0.2.2")
        assert two.seconds == 21
        queue = (
            "441 4.4.1 Error encountered while communicating with primary target IP address: \"Failed to connect. "
            f'Winsock error code: {code}, Win32 error code: {code}." Attempted failover to alternate host, but that '
            "did not succeed. The last endpoint attempted was 192.0.2.2:25"
        )
        for text in (queue, queue.replace('"', '""')):
            told = reading.read_line(text)
            assert told is not None and (told.phases, told.broken, told.ip) == (("connect",), broken, "192.0.2.2")


# ---- times


@pytest.mark.parametrize(
    ("text", "when"),
    [
        ("2026-11-22 11:02:05 x", (2026, 11, 22, 11, 2, 5)),
        ("2026-11-22 11:02:05 +0100 x", (2026, 11, 22, 10, 2, 5)),
        ("2026-11-22T11:02:05.250+01:00 h exim[1]: x", (2026, 11, 22, 10, 2, 5)),
        ("2026-11-22T11:02:05Z h exim[1]: x", (2026, 11, 22, 11, 2, 5)),
        ("<22>Nov  2 11:02:05 h exim[1]: x", (2026, 11, 2, 11, 2, 5)),
        ("Dec 31 23:59:59 h exim[1]: x", (2025, 12, 31, 23, 59, 59)),
        ("<22>1 2026-11-22T11:02:05.1Z h exim 1 - - x", (2026, 11, 22, 11, 2, 5)),
        ("@400000006955b92500000000 x", (2026, 1, 1, 0, 0, 0)),
        ("mail-1  | Nov 22 11:02:05 h exim[1]: x", (2026, 11, 22, 11, 2, 5)),
        ("Sun 2026-11-22 11:02:05 UTC h exim[1]: x", (2026, 11, 22, 11, 2, 5)),
        ("Sun 2026-11-22 11:02:05 +03 h exim[1]: x", (2026, 11, 22, 8, 2, 5)),
        ("Sun Nov 22 11:02:05 2025 h exim[1]: x", (2025, 11, 22, 11, 2, 5)),
        ("Nov 22 11:02:06 h exim[1]: 2026-11-22 11:02:05 x", (2026, 11, 22, 11, 2, 5)),
        ("2024-11-22T11:02:06.1Z stdout F Nov 22 11:02:05 h exim[1]: x", (2024, 11, 22, 11, 2, 6)),
        ('{"log":"Nov 22 11:02:05 h exim[1]: x\\n","time":"2024-11-22T11:02:05.1Z"}', (2024, 11, 22, 11, 2, 5)),
        ('{"log":"Nov 22 11:02:05 h exim[1]: x\\n","stream":"stdout"}', (2026, 11, 22, 11, 2, 5)),
        ('{"MESSAGE":"x","SYSLOG_IDENTIFIER":"exim","__REALTIME_TIMESTAMP":"1795345325000000"}',
         (2026, 11, 22, 11, 2, 5)),
    ],
)
def test_times(text: str, when: tuple[int, ...]) -> None:
    line = line_of(text, timegm((2026, 11, 23, 8, 0, 0)))
    assert line.text == "x"
    assert line.when is not None and int(line.when) == timegm(when)


@pytest.mark.parametrize(
    "text", ["Nov 99 11:02:05 h exim[1]: x", "Foo 22 11:02:05 h exim[1]: x", "2026-99-99 11:02:05 x"]
)
def test_times_that_are_none(text: str) -> None:
    assert line_of(text).when is None


SENT: Final = "4AbC{}zQx: to=<u{}@example.net>, relay=mx.example.net[203.0.113.9]:25, delay=1, delays=0/0/0/1, {}"
FATES: Final = (
    "dsn=4.4.2, status=deferred (lost connection with mx.example.net[203.0.113.9] while sending RCPT TO)",
    "dsn=2.0.0, status=sent (250 2.0.0 Ok: queued as X)",
)


@pytest.mark.parametrize(
    "prefix",
    [
        "[12345.000000] h postfix/smtp[12]: ", "mail  | Mar  2 10:00:02 h postfix/smtp[12]: ",
        "Mon 2026-03-02 10:00:02 CET h postfix/smtp[12]: ", "3/2/26 10:00:02 AM h postfix/smtp[12]: ",
        "M\u00e4r 02 10:00:02 h postfix/smtp[12]: ", "Mar  2 10:00:02 h mail: Mar  2 10:00:02 h postfix/smtp[12]: ",
    ],
)  # fmt: skip
def test_a_delivery_is_found_behind_each_prefix_behind_which_a_failure_is(prefix: str) -> None:
    told = [each for n, fate in enumerate(FATES) if (each := reading.read_line(prefix + SENT.format(n, n, fate)))]
    assert [(each.fate, each.queue_id) for each in told] == [("deferred", "4AbC0zQx"), ("delivered", "4AbC1zQx")]


@pytest.mark.parametrize("lines", [3, 600])
def test_lines_of_a_form_that_is_not_known_are_told_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], lines: int
) -> None:
    path = tmp_path / "mail.log"
    other = "2026-03-02 10:00:02 login authenticator failed for (a) [192.0.2.9]: 535 no (set_id=bob@example.net)\n"
    odd = (f"2026-03-02 10:00:02 x {SENT.format(n, n, FATES[n % 3 > 0])}\n" for n in range(lines))
    path.write_text("".join([other, *odd]))
    main(["diagnose", str(path)])
    said = f": {lines * 2 // 3} lines that look like deliveries were not read"
    assert said in " ".join(capsys.readouterr().out.split())
    assert not [each for each in reading.read_file(path) if not each.mta]


def dated(*days: str) -> bytes:
    return b"".join(LINE.replace("Nov 22", day).encode() + b"\n" for day in days)


@pytest.mark.parametrize(
    ("days", "years"),
    [
        ("Nov  1|Nov 22|Nov 24|Nov 26|Nov 30", "2025 2025 2025 2025 2025"),
        ("Nov 20|Dec 31|Jan  1|Jan 10", "2025 2025 2026 2026"),
        ("Dec 31|Jan  1", "2025 2026"),
        ("Mar  1|Jul  1|Dec 31|Jan  1|Feb 10", "2025 2025 2025 2026 2026"),
        ("Nov 25|Dec 31|Jan  1|Nov 22", "2025 2025 2026 2026"),
        ("Nov 20|Nov 23|Nov 10|Nov 14", "2026 2026 2026 2026"),
        ("Dec  1|Dec 31", "2025 2025"),
        ("Jan  1|Nov 23", "2026 2026"),
        ("Nov 23", "2026"),
        ("Nov 99|Nov 23", "None 2026"),
    ],
)
@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "packed"])
def test_the_order_of_a_file_tells_the_year(tmp_path: Path, days: str, years: str, pack: object) -> None:
    path = tmp_path / "mail.log"
    path.write_bytes(pack(dated(*days.split("|"))))  # type: ignore[operator]
    told = reading.read_file(path, now=timegm((2026, 11, 23, 8, 0, 0)))
    assert " ".join(str(each.when and time.gmtime(each.when).tm_year) for each in told) == years


def test_the_last_line_of_a_long_file_counts(tmp_path: Path) -> None:
    path = tmp_path / "mail.log"
    octets = dated(*["Dec 20"] * 300, *["Jan  5"] * 300, "Nov 30")
    for pack in (bytes, gzip.compress):
        path.write_bytes(pack(octets))
        told = [each.when or 0 for each in reading.read_file(path, now=timegm((2026, 11, 23, 8, 0, 0)))]
        assert told == sorted(told)
        assert (time.gmtime(told[0]).tm_year, time.gmtime(told[-1]).tm_year) == (2024, 2025)


def test_a_pipe_is_read_once(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    writer = threading.Thread(target=path.write_bytes, args=(dated("Nov 22") * 100,))
    writer.start()
    assert len(list(reading.read_file(path))) == 100
    writer.join()


def test_durations() -> None:
    given = ("5m", "1h2m3s", "0.020s", "00:15:25", "1+02:03:04", "7.5", "later", "")
    assert [duration(text) for text in given] == [300.0, 3723.0, 0.02, 925.0, 93784.0, 7.5, None, None]
