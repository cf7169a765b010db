"""`smtpinspect simulate` without a capture: what it takes, what it says, what it writes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import smtpinspect
from smtpinspect import cli
from smtpinspect.enforce.at import KINDS, PHASES
from smtpinspect.mta import registry
from smtpinspect.simulate import bench

ROOT = Path(__file__).resolve().parents[1]
KEYS = [
    "mta", "phase", "break", "stage", "sender_log", "receiver_log", "fate", "scope", "seconds", "duplicate_risk",
    "retries", "gives_up_after", "timeline",
]  # fmt: skip
STAGES = (None, "after-initial-connection", "after-sending-data-block", "after-end-of-data")


def asked(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, object]:
    assert cli.main(["simulate", *words, "--format", "json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert isinstance(made, dict)
    return made


def run(mta: str, phase: str, broken: str, size: int = 2_000, pipelining: bool = False) -> bench.Tried:
    return bench.simulate(bench.question(mta, phase, broken, size, pipelining))


# ---- the object


def test_the_object_has_the_contracts_keys(capsys: pytest.CaptureFixture[str]) -> None:
    made = asked(capsys, "--mta", "exim", "--at", "dot", "--break", "drop")
    assert list(made) == KEYS
    assert (made["mta"], made["phase"], made["break"]) == ("exim", "dot", "drop")
    assert made["stage"] == "after-end-of-data"
    assert (made["fate"], made["scope"], made["duplicate_risk"]) == ("deferred", "message", True)
    assert made["seconds"] == pytest.approx(600, abs=0.1)
    assert made["gives_up_after"] == 4 * 86_400
    timeline = made["timeline"]
    assert isinstance(timeline, list)
    assert set(timeline[0]) == {"t", "actor", "event"}
    assert {line["actor"] for line in timeline} == {"client", "firewall", "server"}
    assert [line["t"] for line in timeline] == sorted(line["t"] for line in timeline)
    assert set(made["receiver_log"]) == set(registry.RECEIVERS) - {"scripted"}  # type: ignore[call-overload]


@pytest.mark.parametrize("mta", sorted(registry.SENDERS))
def test_every_phase_and_kind_has_an_answer(mta: str) -> None:
    for phase in PHASES:
        for kind in KINDS:
            for pipelining in (False, True):
                result = bench.simulate(bench.question(mta, phase, kind, 2_000, pipelining, {}, "postfix")).result
                assert result.sender_log or mta in ("exchange", "rfc5321")
                assert result.stage in STAGES
                assert result.fate == ("delivered" if phase == "quit" else "deferred"), (phase, kind, pipelining)
                assert bool(result.retries) == (result.fate == "deferred")


@pytest.mark.parametrize("mta", ["exim", "postfix", "sendmail", "opensmtpd"])
def test_only_a_large_body_ends_amid_the_text(mta: str) -> None:
    assert run(mta, "databody", "drop", 30_000).result.stage == "after-end-of-data"
    assert run(mta, "databody", "drop", 200_000).result.stage == "after-sending-data-block"
    assert run(mta, "datamid", "drop", 3_000_000).result.stage == "after-sending-data-block"


def test_a_fin_amid_a_large_body_ends_in_a_time_out_and_an_rst_at_once() -> None:
    fin = run("exim", "datamid", "fin", 3_000_000).result
    rst = run("exim", "datamid", "rst", 3_000_000).result
    assert (fin.ending.cause, rst.ending.cause) == ("timeout", "reset")
    assert fin.seconds == pytest.approx(300, abs=1)
    assert rst.seconds < 1


def test_the_kernel_is_faster_than_a_long_time_out() -> None:
    ending = run("qmail", "mail", "drop").result.ending
    assert ending.kernel
    assert 924.6 < ending.seconds < 960
    # A reply that is late leaves nothing of the client in flight: its own time-out counts.
    assert run("qmail", "greeting", "drop").result.seconds == pytest.approx(1_200, abs=0.1)


def test_pipelined_commands_share_a_segment() -> None:
    for phase in ("mail", "rcpt", "datacmd"):
        ending = run("postfix", phase, "drop", pipelining=True).result.ending
        assert (ending.step, ending.pipelined) == ("mail", True)
    assert run("postfix", "reply354", "drop", pipelining=True).result.ending.step == "datacmd"


def test_a_reply_may_be_survived() -> None:
    result = run("exim", "ehlo", "reply=554 5.7.1 policy").result
    assert result.fate == "delivered"
    assert any("HELO" in happened.event for happened in result.timeline)
    assert result.retries == ()
    assert result.gives_up_after is None


def test_a_refusal_is_final_when_the_code_says_so() -> None:
    assert run("exim", "mail", "reply=451 4.7.1 try later").result.fate == "deferred"
    assert run("exim", "mail", "reply=554 5.7.1 policy").result.fate == "bounced"


def test_timeouts_that_an_mta_does_not_have_are_ignored(capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--at", "mail", "--break", "drop", "--timeouts", "command=5")
    assert asked(capsys, "--mta", "exim", *words)["seconds"] == pytest.approx(5, abs=0.1)
    assert asked(capsys, "--mta", "opensmtpd", *words)["seconds"] == pytest.approx(300, abs=0.1)


def test_six_megabytes_go_through() -> None:
    tried = run("postfix", "dotreply", "drop", 6_000_000)
    assert tried.result.stage == "after-end-of-data"
    loss = tried.result.losses["postfix"]
    assert loss.accepted
    assert loss.octets > 6_000_000


def test_the_receivers_own_replies_are_given_when_it_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    made = asked(capsys, "--mta", "exim", "--at", "quit", "--break", "drop", "--to", "sendmail")
    assert list(made["receiver_log"]) == ["sendmail"]  # type: ignore[call-overload]
    assert "Message accepted for delivery" in str(made["sender_log"])


# ---- the page


def test_the_page_puts_the_duplicates_first_and_ends_with_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["simulate", "--mta", "postfix", "--at", "dotreply", "--break", "drop"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "MAY HAVE BEEN DELIVERED; retries make duplicates"
    assert lines[-1].startswith("Next: smtpinspect simulate --mta postfix --at quit --break drop")
    text = "\n".join(lines)
    for word in ("TIMELINE", "THE SENDER LOGS", "THE RECEIVER LOGS", "FATE", "drops 32 bytes of the server"):
        assert word in text


@pytest.mark.parametrize("phase", PHASES)
def test_the_next_command_works(phase: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--mta", "exim", "--at", phase, "--break", "drop", "--size", "300", "--pipelining", "--timeouts", "data=5"]
    assert cli.main(["simulate", *words]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert cli.main(last.split()[2:]) == 0


def test_at_80_columns_no_line_is_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    from smtpinspect.report import simulate_page
    from smtpinspect.report.terminal import Style

    for phase in PHASES:
        question = bench.question("sendmail", phase, "drop", 100_000, True)
        lines = list(simulate_page.page(bench.simulate(question).result, question, 80, Style(False)))
        # A word that is longer than the line is left whole; the last line is to be pasted.
        assert not [line for line in lines[:-1] if len(line) > 80 and " " in line.strip()]


def test_help_fits_80_columns_and_tells_the_statuses(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit):
        cli.main(["simulate", "--help"])
    text = capsys.readouterr().out
    assert "exit status" in text
    assert "examples:" in text
    assert max(map(len, text.splitlines())) <= 80


def test_a_reader_that_goes_away_is_no_error() -> None:
    words = [sys.executable, "-m", "smtpinspect", "simulate", "--mta", "exim", "--at", "dot", "--break", "drop"]
    with subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as made:
        assert made.stdout and made.stderr
        made.stdout.close()
        assert made.stderr.read() == b""


# ---- what is written


def test_both_views_are_captures(tmp_path: Path) -> None:
    client, server = tmp_path / "client.pcap", tmp_path / "server.pcap"
    words = ["--mta", "exim", "--at", "databody", "--break", "drop", "--format", "json", "-o", str(tmp_path / "out")]
    assert cli.main(["simulate", *words, "--write-client", str(client), "--write-server", str(server)]) == 0
    near, far = smtpinspect.replay(client), smtpinspect.replay(server)
    assert [mail.outcome for mail in near.mails] == ["stalled"]
    assert near.mails[0].octets and not far.mails[0].octets


# ---- what is wrong


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--mta", "exom", "--at", "dot", "--break", "drop"], "Did you mean exim?"),
        (["--mta", "exim", "--at", "databdy", "--break", "drop"], "Did you mean databody?"),
        (["--mta", "exim", "--at", "dot", "--break", "rts"], "Did you mean rst?"),
        (["--mta", "exim", "--at", "dot", "--break", "reply=later"], "begins with its code"),
        (["--mta", "exim", "--at", "databody", "--break", "reply=451 x"], "nothing is replied to there"),
        (["--mta", "exim", "--at", "dot", "--break", "drop", "--timeouts", "comand=5"], "Did you mean command?"),
        (["--mta", "exim", "--at", "dot", "--break", "drop", "--timeouts", "command=soon"], "seconds, more than 0"),
        (["--mta", "exim", "--at", "dot", "--break", "drop", "--to", "qmial"], "Did you mean qmail?"),
        (["--mta", "exim", "--at", "dot"], "--break must be given"),
        ([], "--mta and --at and --break must be given"),
    ],
)
def test_what_is_wrong_is_told_with_what_is_known(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["simulate", *words]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert said in err
    assert "exit status 2" in err


@pytest.mark.parametrize("size", [0, 1, 70, 71, 142])
def test_the_smallest_bodies_break_in_their_middle(size: int) -> None:
    assert run("exim", "datamid", "drop", size).result.fate == "deferred"


def test_who_never_says_ehlo_is_refused_at_helo() -> None:
    result = run("qmail", "ehlo", "reply=550 5.7.1 no").result
    assert result.fate == "deferred"
    assert "my_name_was_rejected" in result.sender_log[-1]


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--write-client", "x.pcap", "--write-server", "./x.pcap"], "a file of its own"),
        (["--re-enact", "--port", "25"], "--re-enact and --port: for the form with a CAPTURE"),
    ],
)
def test_what_makes_no_sense_is_refused(words: list[str], text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["simulate", "--mta", "exim", "--at", "dot", "--break", "drop", *words]) == 2
    assert text in capsys.readouterr().err


@pytest.mark.parametrize(("phase", "headline"), [("dotreply", "MAY HAVE BEEN DELIVERED"), ("dot", "(it was not)")])
def test_the_headline_tells_of_duplicates(phase: str, headline: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["simulate", "--mta", "exim", "--at", phase, "--break", "drop"]) == 0
    assert headline in capsys.readouterr().out.splitlines()[0]
