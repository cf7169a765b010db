"""A month of logs: each destination's trouble is named, with its numbers, and people can read it."""

from __future__ import annotations

import io
import re
import shlex
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import pytest

import reading_month
from smtpinspect.diagnose import reading
from smtpinspect.diagnose.model import Reading
from smtpinspect.diagnose.reading import month
from smtpinspect.diagnose.reading.means import BROKE_AT, explained
from smtpinspect.grammar import limits
from smtpinspect.report import glossary, readings_page
from smtpinspect.report.terminal import Style, wide

PLAIN: Final = Style(False)
# What is wrong there, and all that may be said of it.
TROUBLES: Final = {
    "content.example": {"content"},
    "later.example": {"requeue"},
    "mtu.example": {"path-mtu"},
    "two.example": {"address"},
    "dead.example": {"host"},
    "grey.example": {"greylisting"},
    "began.example": {"began", "content"},
}


@pytest.fixture(scope="module")
def told() -> month.Month:
    log = "\n".join(reading_month.lines()).encode()
    return month.of(reading.read_file(io.BytesIO(log), now=reading_month.BEGIN + 40 * 86_400))


def test_each_destination_s_trouble_is_named_and_no_other(told: month.Month) -> None:
    assert {group.destination: {each.kind for each in group.conclusions} for group in told.groups} == TROUBLES
    assert told.fine == 1


def test_the_numbers_are_those_of_the_log(told: month.Month) -> None:
    content = next(group for group in told.groups if group.destination == "content.example")
    assert (content.never, content.delivered, content.attempts, content.retried) == (28, 560, 140, 28)
    assert content.phases == {("databody", "datamid", "dot", "dotreply"): 140}
    assert content.doubtful == 28
    assert len(content.days) == 28 and content.days["2026-01-02"] == [20, 5]
    assert content.seconds == 140 * 600
    mtu = next(group for group in told.groups if group.destination == "mtu.example")
    assert (mtu.sizes_failed.smallest, mtu.sizes_fine.largest) == (1477, 500)
    later = next(group for group in told.groups if group.destination == "later.example")
    assert (later.never, later.requeued) == (0, 28)


@pytest.mark.parametrize("width", [40, 60, 80])
def test_a_narrow_terminal_gets_all_that_a_wide_one_gets(
    told: month.Month, width: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "mail.log"
    log.write_text("\n".join(reading_month.lines()))
    monkeypatch.chdir(tmp_path)
    narrow, whole = (list(readings_page.page((), told, n, PLAIN, [log.name])) for n in (width, None))
    assert max(wide(line) for line in narrow) <= width
    begin = next(number for number, line in enumerate(narrow) if line.startswith("Next:"))
    facts = " ".join(" ".join(whole).partition("Next:")[0].split())
    assert " ".join(" ".join(narrow[:begin]).split()) == facts
    commands = [" ".join(line.split()) for line in "\n".join(narrow[begin:]).replace("\\\n", " ").splitlines()]
    found = [line for line in commands if " | smtpinspect diagnose --log -" in line]
    assert len(found) == 3
    for line in found:
        search, _, then = line.partition("|")
        printed = subprocess.run(search, shell=True, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
        assert shlex.split(search)[2] in printed and shlex.split(then) == ["smtpinspect", "diagnose", "--log", "-"]


@pytest.mark.parametrize("width", [80, 120, None])
def test_a_month_fits_the_page_and_ends_with_what_to_do(told: month.Month, width: int | None) -> None:
    lines = list(readings_page.page((), told, width, PLAIN))
    begin = next(number for number, line in enumerate(lines) if line.startswith("Next:"))
    assert width is None or max(wide(line) for line in lines[:begin]) <= width  # behind it stands what is pasted
    text = "\n".join(lines)
    words = ("CONTENT", "PATH MTU", "ONE SERVER", "PATH OR HOST", "PASSES LATER", "BEGAN", "MAY HAVE BEEN DELIVERED")
    for word in words:
        assert word in text
    for word in ("drop", " rst", " fin ", "delivery slots"):
        assert word not in text
    whole = "\n".join(lines[begin + 1 :]).replace("\\\n", " ")
    commands = [" ".join(line.split()) for line in whole.splitlines()]
    assert [line for line in commands if line.endswith(".example")] == [
        "mtu.example", "two.example", "content.example"
    ]  # fmt: skip
    pasted = [shlex.split(line) for line in commands if line.startswith("smtpinspect diagnose --log ")]
    assert len(pasted) == 3
    for words in pasted:
        again = reading.read_line(words[3])
        assert again is not None and again.phases and again.host in commands
        assert f"postqueue -i {again.queue_id}" in commands
        assert f"tcpdump -U -i any -s0 -w m.pcap host {again.ip} and port 25 or icmp or icmp6 &" in commands
    assert sum(line.startswith("# ask them: ") for line in commands) == 3


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MONTH_HOSTS", 50)
    monkeypatch.setattr(limits, "MONTH_MAILS", 100)

    def many() -> Iterator[Reading]:
        for number in range(5_000):
            yield Reading("", "postfix", ("dot",), ("drop",), fate="deferred", host=f"h{number}", queue_id=f"q{number}",
                          recipient="u@example.net",
                          ip=f"192.0.2.{number % 250}", when=number * 90_000.0)  # fmt: skip

    made = month.of(many())
    assert sum(group.never for group in made.groups) == 5_000
    assert len(made.groups) == 51
    assert max(len(group.days) for group in made.groups) <= limits.MONTH_DAYS


def test_recipients_of_one_attempt_are_no_retries() -> None:
    one = Reading("", "postfix", ("dot",), ("drop",), fate="deferred", host="mx", queue_id="A", when=600.0)
    (group,) = month.of([one._replace(recipient=f"u{n}@example.net") for n in range(5)]).groups
    assert (group.never, group.retried) == (1, 0)


def test_another_server_of_the_domain_may_take_the_mail() -> None:
    log = """\
2026-11-22 11:01:00 1xV5Kf-0001L7-1o H=mx1.example.net [192.0.2.1] Connection refused
2026-11-22 11:01:01 1xV5Kf-0001L7-1o == u@example.net R=r T=t defer (111): Connection refused
2026-11-22 11:31:00 1xV5Kf-0001L7-1o H=mx1.example.net [192.0.2.1] Connection refused
2026-11-22 11:31:01 1xV5Kf-0001L7-1o => u@example.net R=r T=t H=mx2.example.net [192.0.2.2] C="250 OK"
"""
    made = month.of(reading.read_file(io.BytesIO(log.encode())))
    assert [(group.destination, group.never, group.requeued) for group in made.groups] == [("mx1.example.net", 0, 1)]
    assert made.fine == 1 and made.groups[0].attempts == 2


def mails(sizes: Iterable[tuple[int, bool]], *, tries: int = 2, apart: float = 60.0) -> month.Group:
    """So many mails of these sizes to one server, each failing `tries` times or delivered."""
    tally = month.Counting()
    attempts = []
    for number, (size, passes) in enumerate(sizes):
        told = Reading("", "postfix", () if passes else ("dot",), ("none",) if passes else ("drop",), host="mx",
                       fate="delivered" if passes else "deferred", queue_id=f"q{number}", recipient="u@example.net",
                       size=size)  # fmt: skip
        attempts += [told._replace(when=number * apart + n * 3_600) for n in range(1 if passes else tries)]
    for told in sorted(attempts, key=lambda each: each.when or 0):
        tally.add(told)
    (group,) = tally.month().groups
    return group


def test_few_mails_give_numbers_and_no_verdict() -> None:
    for failed, fine in ((2, 3), (4, 40), (40, 4)):
        group = mails([(9_000, False)] * failed + [(900, True)] * fine)
        (conclusion,) = group.conclusions
        assert conclusion.kind == "few"
        assert f"{failed} mails failed" in conclusion.text and f"{fine} passed" in conclusion.text
        assert "a longer log" in conclusion.text and "capture" in conclusion.text


def test_a_size_that_parts_them_is_told_beside_content() -> None:
    mixed = [pair for n in range(100) for pair in ((30_010 + n, False), (29_000 + n, True), (500 + n, n % 20 != 0))]
    (conclusion,) = mails(mixed).conclusions
    assert conclusion.kind == "size"
    assert conclusion.text.startswith("of 100 above 29,099 bytes 100 failed, of 200 others 5:")
    assert "only the larger mails hold" in conclusion.text
    alike = [pair for n in range(100) for pair in ((500 + 300 * n, n % 7 != 0), (400 + 300 * n, True))]
    (conclusion,) = mails(alike).conclusions
    assert conclusion.kind == "content" and "size does not: of " in conclusion.text


def test_many_that_were_tried_once_are_not_too_few() -> None:
    (conclusion,) = mails([(900, n % 2 > 0) for n in range(400)], tries=1).conclusions
    assert conclusion.kind == "untried" and readings_page.KINDS["untried"] == "TRIED ONCE"
    assert "200 mails never passed, 0 of them tried again" in conclusion.text
    assert "TRIED ONCE" in glossary.MONTH


def test_what_failed_while_nothing_passed_may_have_been_an_outage() -> None:
    group = mails([(20_000, False)] * 30 + [(900, True)] * 30, tries=1, apart=10.0)
    (conclusion,) = group.conclusions
    assert conclusion.kind == "outage"
    assert "1970-01-01 00:00:00 to 1970-01-01 00:04:50, and 0 passed meanwhile" in conclusion.text


def mail(number: int, host: str, failed: bool, phases: tuple[str, ...] = ("databody", "dot")) -> Reading:
    one = Reading("", "postfix", host=host, queue_id=f"q{number}", recipient="u@example.net", size=900 + number)
    one = one._replace(when=number * 8_640.0)
    return one._replace(phases=phases, broken=("drop",), fate="deferred") if failed else one._replace(fate="delivered")


def test_of_two_servers_of_a_domain_the_bad_one_is_named() -> None:
    both = [mail(n, f"mx{n % 2}.example.net", n % 2 == 1) for n in range(60)]
    (group,) = month.of(both).groups
    (conclusion,) = group.conclusions
    assert group.destination == "mx1.example.net" and conclusion.kind == "address"
    assert "all 30 mails failed in the text, or at its end; mx0.example.net took 30 mails meanwhile" in conclusion.text
    apart = [each._replace(recipient=f"u@{each.host}") for each in both]
    assert [each.kind for each in month.of(apart).groups[0].conclusions] == ["host"]


@pytest.mark.parametrize(("each", "began"), [(12, False), (2, True)])
def test_what_may_have_passed_by_chance_is_no_beginning(each: int, began: bool) -> None:
    made = [mail(n, "mx", n > 30 and n % each == 0) for n in range(100)]
    assert ("began" in {told.kind for told in month.of(made).groups[0].conclusions}) is began


def test_the_same_place_stands_once() -> None:
    wide = ("databody", "datamid", "dot", "dotreply")
    made = month.of([mail(n, "mx", True, wide if n % 2 else ("databody", "dot", "dotreply")) for n in range(9)])
    text = "\n".join(readings_page.page((), made, None, PLAIN))
    assert text.count("  where  ") == 1 and "the reply to it: 9 times" in text


def test_days_have_a_year_where_it_changes() -> None:
    day = 86_400
    first = 1_766_966_400  # 2025-12-29
    one = Reading("", "postfix", ("dot",), ("drop",), fate="deferred", host="mx", recipient="u@example.net")
    made = month.of([one._replace(queue_id=f"q{n}", when=float(first + n * day)) for n in range(5)])
    text = "\n".join(readings_page.page((), made, None, PLAIN))
    assert "2025-12-29 1/1, 12-30 1/1, 12-31 1/1, 2026-01-01 1/1, 01-02 1/1" in text


# ---- few lines


SPLIT: Final = """\
2026-11-02 10:00:00 1xV5Kf-0001L7-1o <= a@example.org U=root P=local S=900 id=77@example.org
2026-11-02 10:10:00 1xV5Kf-0001L7-1o == u@example.net R=r T=t defer (110): Connection timed out H=mx.example.net \
[192.0.2.1] DT=10m: SMTP timeout after end of data (950 bytes written)
2026-11-02 10:40:00 1xV5Kf-0001L7-1o == u@example.net R=r T=t defer (110): Connection timed out H=mx.example.net \
[192.0.2.1] DT=10m: SMTP timeout after end of data (950 bytes written)
"""


def test_attempts_of_one_mail_are_one_story() -> None:
    told = list(reading.read_file(io.BytesIO(SPLIT.encode())))
    text = "\n".join(readings_page.page(told, month.of(told), None, PLAIN))
    assert text.count("THE LOG") == 1
    assert "1 attempt of it failed: 2026-11-02 10:10:00 (log's clock)" in text
    assert "path MTU" not in text  # it is too small
    passed = '2026-11-02 11:00:00 1xV5Kf-0001L7-1o => u@example.net R=r T=t H=mx.example.net [192.0.2.1] C="250 OK"\n'
    told = list(reading.read_file(io.BytesIO((SPLIT + passed).encode())))
    text = "\n".join(readings_page.page(told, month.of(told), None, PLAIN))
    assert "DELIVERED at a later attempt, 2026-11-02 11:00:00" in text and "look for duplicates" in text
    assert "not content: how the end of data fell into segments" in text


def test_a_time_without_a_zone_is_not_called_utc() -> None:
    for zone, words in (("", "10:10:02 (log's clock)"), (" +0100", "09:10:02 UTC")):
        text = shown(f"2026-03-03 10:10:02{zone} 1xV5Kf-0001L7-1o H=mx.example [192.0.2.1]: SMTP timeout after EHLO a")
        assert words in text and ("UTC" in text) is bool(zone)
        assert ("our clock; say its zone" in text) is not bool(zone)


# ---- one line


@pytest.mark.parametrize("width", [60, 80, 120, None])
def test_a_line_in_full(width: int | None) -> None:
    line = (
        "2026-03-03 10:10:02 1xV5Kf-0001L7-1o == u@example.net R=r1 T=remote_smtp defer (110): Connection timed out "
        "H=mx.x.example [203.0.113.9] DT=10m: SMTP timeout after end of data (2350 bytes written)"
    )
    found = reading.read_line(line)
    assert found is not None
    lines = list(readings_page.page([found], month.of([found]), width, PLAIN))
    assert width is None or max(wide(each) for each in lines) <= width
    text = " ".join(" ".join(lines).replace(" \\ ", " ").split())
    for words in (
        "MAY HAVE BEEN DELIVERED; retries make duplicates",
        "its final_timeout, 600 s by default",
        "deferred: this message alone; other mail to that server goes on",
        "the reply was lost: the mail may have ARRIVED",
        "a filter that we do not know",
        "tcpdump -U -i any -s0 -w m.pcap host 203.0.113.9 and port 25 or icmp or icmp6 &",
        "exim -M 1xV5Kf-0001L7-1o",
        "what a rule is: smtpinspect rules stormshield.smtp-231",
    ):
        assert words in text
    for word in ("databody", "dotreply", " rst", " fin "):
        assert word not in text
    assert "certain" not in text and "likely" not in text


def test_strangers_words_do_not_reach_the_terminal_or_a_shell() -> None:
    line = "2026-03-03 10:10:02 1xV5Kf-0001L7-1o H=$(id)\x1b[2J [203.0.113.9]: SMTP error from remote mail server "
    found = reading.read_line(line + "after initial connection: 554 \x1b]0;x\x07 no\u202e")
    assert found is not None
    text = "\n".join(readings_page.page([found], month.of([found]), 80, PLAIN))
    assert not {"\x1b", "\x07", "\u202e"} & set(text)
    quoted = reading.read_line(
        "Nov 22 11:00:00 h sm-mta[1]: AAAAAAAA000001: to=<u@x>, delay=1:0, stat=Deferred: Connection refused by $(id)"
    )
    assert quoted is None or all("$(id)" not in each or "'" in each for each in quoted.commands)


def test_pages_say_when_there_is_nothing() -> None:
    assert "".join(readings_page.page((), month.of(()), 80, PLAIN)) == ""
    fine = Reading("x", "exim", fate="delivered", host="mx", queue_id="A")
    assert "1 mail delivered, none failed" in "".join(readings_page.page([fine], month.of([fine]), 80, PLAIN))


def shown(line: str) -> str:
    found = reading.read_line(line)
    assert found is not None
    return "\n".join(readings_page.page([found], month.of([found]), None, PLAIN))


def test_other_causes_stand_in_lines_of_their_own() -> None:
    lines = [line.strip() for line in shown("SMTP timeout after end of data (2350 bytes written)").splitlines()]
    assert "large packets get lost: path MTU" in lines and "a filter that we do not know" in lines


def test_a_receiver_s_line_has_a_headline_a_next_step_and_no_cause_that_it_excludes() -> None:
    text = shown("Nov 22 11:10:49 in postfix/smtpd[9]: timeout after DATA (1460 bytes) from unknown[192.0.2.9]")
    assert "NOT RECEIVED: the text was cut off behind 1,460 bytes of it" in text
    assert text.endswith("smtpinspect diagnose m.pcap --taken receiver")
    assert "tcpdump -U -i any -s0 -w m.pcap host 192.0.2.9 and port 25 or icmp or icmp6 &" in text
    assert "scans" not in text and "restarted" not in text and "greeting" not in text
    behind = shown("Nov 22 11:10:49 in postfix/smtpd[9]: lost connection after END-OF-MESSAGE from h[192.0.2.9]")
    assert "BROKEN OFF behind the reply" in behind and "its own scan" in behind
    assert "smtp-231" not in behind and "eod-split" not in behind
    early = shown("Nov 22 11:10:49 in postfix/smtpd[9]: lost connection after MAIL from h[192.0.2.9]")
    assert "NOT RECEIVED: it broke off at MAIL or RCPT" in early and "the sender gave up" in early
    assert "a time-out on both sides" not in early and "lost or reset there too" in early
    assert "stormshield" not in early  # it drops in silence: nobody would see a close
    scanned = shown("Nov 22 11:10:49 in postfix/smtpd[9]: lost connection after CONNECT from h[192.0.2.9]")
    assert "POSSIBLE     no mail server: a port scanner, or a monitor's health check" in scanned


def test_a_refusal_is_explained_by_its_enhanced_code_and_took_no_time_out() -> None:
    line = (
        "Nov 22 11:02:05 mx postfix/smtp[1]: 4B1A2C3D4E: to=<u@example.net>, relay=mx.example.net[203.0.113.9]:25, "
        "delay=612, delays=0/0/0/612, dsn=5.1.1, status=bounced (host mx.example.net[203.0.113.9] said: 550 5.1.1 no "
        "such user (in reply to RCPT TO command))"
    )
    text = shown(line)
    assert "POSSIBLE     the server itself refuses it: no such mailbox\n" in text
    assert "took 10.2 min\n" in text and "wait for the last reply" not in text


REFUSAL = (
    "2026-03-03 10:10:02 1xV5Kf-0001L7-1o {fate} u@example.net R=r T=t{why} H=mx.example.net [192.0.2.1]: SMTP "
    "error from remote mail server after {what}: {reply}"
)


@pytest.mark.parametrize(
    ("what", "reply", "others"),
    [
        ("RCPT TO:<u@example.net>", "550 5.1.1 User unknown", set()),
        ("RCPT TO:<u@example.net>", "451 4.7.1 greylisted", {"greylisting"}),
        ("MAIL FROM:<a@example.org>", "452 4.3.1 no room", {"full-disk"}),
        ("end of data", "554 5.7.1 virus found", {"filter-refuses"}),
        ("end of data", "552 no macros",
         {"full-disk", "filter-refuses", "sonicwall.encrypted-zip", "sonicwall.office-macro", "sonicwall.packed-exe"}),
        ("EHLO a.example", "502 unknown", {"stormshield.smtp-223", "mailguard.command-not-allowed"}),
    ],
)  # fmt: skip
def test_of_a_refusal_the_server_itself_is_the_first_cause(what: str, reply: str, others: set[str]) -> None:
    kept = reply.startswith("4")
    line = REFUSAL.format(fate="==" if kept else "**", why=" defer (0)" if kept else "", what=what, reply=reply)
    told = reading.read_line(line)
    assert told is not None and told.break_kind == "reply"
    causes = [cause.cause for cause in told.causes]
    assert (causes[0], causes[-1]) == ("refused", "unknown-filter")
    assert set(causes[1:-1]) == others
    assert any(command.startswith("exim -M") for command in told.commands) is kept
    text = shown(line)
    assert f"NOT DELIVERED: answered with {reply[:3]}" in text
    assert text.index("the server itself refuses it") < text.index("a filter that we do not know")


SENDMAIL = (
    "Nov 22 11:10:49 out sm-mta[9]: 6AMBAhgD008960: to=<u@example.net>, delay={0}, xdelay={0}, mailer=esmtp, pri=32050,"
    " relay=mx.example.net. [192.0.2.1], dsn=4.4.2, stat=Deferred: Connection timed out with mx.example.net."
)


@pytest.mark.parametrize(
    ("took", "phases"),
    [
        ("00:05:01", {"greeting", "ehlo", "datacmd", "reply354"}),
        ("00:10:01", {"greeting", "ehlo", "mail", "datacmd", "reply354"}),
        ("00:16:00", {"greeting", "ehlo", "mail", "rcpt", "datacmd", "reply354", "databody", "datamid", "dot",
                      "dotreply"}),
    ],
)  # fmt: skip
def test_sendmail_s_seconds_exclude_longer_time_outs(took: str, phases: set[str]) -> None:
    told = reading.read_line(SENDMAIL.format(took))
    early = took < "00:15"
    assert told is not None and set(told.usual) == (phases if early else set())
    assert {"mail", "rcpt", "databody", "dot", "dotreply"} <= set(told.phases)  # the text itself proves no less
    assert told.duplicate_risk
    text = shown(SENDMAIL.format(took))
    assert ("at default settings: " in text) is early
    assert ("Timeout.datafinal and others would have waited longer" in text) is early
    assert ("NOT DELIVERED at default settings" in text) is early and "MAY HAVE BEEN DELIVERED" in text


@pytest.mark.parametrize(("phases", "where"), BROKE_AT)
def test_a_headline_is_a_sentence(phases: frozenset[str], where: str) -> None:
    """With a verb, without what explains the place, which stands below."""
    told = Reading("x", "postfix", tuple(sorted(phases)), ("fin",), fate="deferred", text="xyz")
    lines = list(readings_page.one(told, None, PLAIN))
    headline = next(line for line in lines if line.startswith("NOT DELIVERED"))
    assert re.fullmatch(r"NOT DELIVERED: .*\b(was|did|got|broke|broken)\b[^();]*(; EHLO was not reached)?", headline)
    log = next(line for line in lines if line.startswith("THE LOG"))
    assert where in log and ("broken at: " in log) is not (where in headline and phases <= {"connect", "greeting"})


@pytest.mark.parametrize(
    ("broken", "phases", "seconds", "said", "never"),
    [
        (("drop",), ("connect",), 30.0, "a port filter that drops it, or no host is there", "nothing listens"),
        (("rst",), ("connect",), None, "nothing listens there, or a port filter says so", "drops it"),
        (("rst", "fin"), ("databody", "datamid"), 30.0, "took 30 s", "time-out of connect"),
        (("drop",), ("connect",), 30.0, "its smtp_connect_timeout, 30 s", "time-out of connect"),
    ],
)
def test_what_is_said_fits_the_place(
    broken: tuple[str, ...], phases: tuple[str, ...], seconds: float | None, said: str, never: str
) -> None:
    """Where nothing listens a refusal comes at once; a time-out of connect is over when the text goes out."""
    told = explained(Reading("x", "postfix", phases, broken, seconds=seconds, fate="deferred", text="xyz"))
    text = "\n".join(readings_page.one(told, None, PLAIN))
    assert said in text and never not in text
