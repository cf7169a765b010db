"""A month of logs: each destination's trouble is named, with its numbers, and people can read it."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Final

import pytest

import reading_month
from smtpinspect.diagnose import reading
from smtpinspect.diagnose.model import Reading
from smtpinspect.diagnose.reading import month
from smtpinspect.grammar import limits
from smtpinspect.report import readings_page
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
    assert (mtu.smallest_failed, mtu.largest_fine) == (1477, 500)
    later = next(group for group in told.groups if group.destination == "later.example")
    assert (later.never, later.requeued) == (0, 28)


@pytest.mark.parametrize("width", [80, 120, None])
def test_a_month_fits_the_page_and_ends_with_what_to_do(told: month.Month, width: int | None) -> None:
    lines = list(readings_page.page((), told, width, PLAIN))
    assert width is None or max(wide(line) for line in lines) <= width
    text = "\n".join(lines)
    words = ("CONTENT", "PATH MTU", "ONE SERVER", "PATH OR HOST", "PASSES LATER", "BEGAN", "MAY HAVE BEEN DELIVERED")
    for word in words:
        assert word in text
    assert lines[-1].startswith("Next: smtpinspect ")


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


# ---- one line


@pytest.mark.parametrize("width", [80, 120, None])
def test_a_line_in_full(width: int | None) -> None:
    line = (
        "2026-03-03 10:10:02 1xV5Kf-0001L7-1o == u@example.net R=r1 T=remote_smtp defer (110): Connection timed out "
        "H=mx.x.example [203.0.113.9] DT=10m: SMTP timeout after end of data (2350 bytes written)"
    )
    found = reading.read_line(line)
    assert found is not None
    lines = list(readings_page.page([found], month.of([found]), width, PLAIN))
    assert width is None or max(wide(each) for each in lines) <= width
    text = " ".join(" ".join(lines).split())
    for words in (
        "MAY HAVE BEEN DELIVERED; retries make duplicates",
        "its final_timeout, 600 s by default",
        "deferred: this message alone; other mail to that server goes on",
        "the reply was lost: the mail may have ARRIVED",
        "a filter that we do not know",
        "tcpdump -i any -s0 -w m.pcap 'host 203.0.113.9 and port 25' &",
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
    assert "No line of a mail server" in "".join(readings_page.page((), month.of(()), 80, PLAIN))
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
    assert "tcpdump -i any -s0 -w m.pcap 'host 192.0.2.9 and port 25' &" in text
    assert "scans" not in text and "restarted" not in text and "greeting" not in text
    behind = shown("Nov 22 11:10:49 in postfix/smtpd[9]: lost connection after END-OF-MESSAGE from h[192.0.2.9]")
    assert "BROKEN OFF behind the reply" in behind and "its own scan" in behind
    assert "smtp-231" not in behind and "eod-split" not in behind
    early = shown("Nov 22 11:10:49 in postfix/smtpd[9]: lost connection after MAIL from h[192.0.2.9]")
    assert "NOT RECEIVED: MAIL or RCPT" in early and "the sender gave up" in early


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
    assert told is not None and set(told.phases) >= phases
    early = took < "00:15"
    assert not {"dot", "dotreply"} & set(told.phases) or not early
    assert told.duplicate_risk is not early
    text = shown(SENDMAIL.format(took))
    assert ("at default settings" in text) is early
    assert ("Timeout.datafinal is shorter there than by default: then the mail MAY HAVE ARRIVED" in text) is early
    assert ("(a) the text" in text) is not early
