"""Log lines read back: real runs, everything that the models can write, older and foreign wording."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

import pytest

from mta_runs import ABSENT, FOLDER
from smtpinspect.diagnose import reading
from smtpinspect.diagnose.model import Reading
from smtpinspect.diagnose.reading.phrases import ANSWERED, PHASES_OF
from smtpinspect.grammar.words import PHASES, STAGES
from smtpinspect.mta.base import Cause, Ending, Sender, Step
from smtpinspect.mta.registry import SENDERS
from test_mta import RECEIVED

SEEDS: Final = FOLDER.parents[1] / "seeds" / "altospam-firewalls.txt"
RUNS: Final = sorted(FOLDER.glob("*-*-*.txt")) if FOLDER.is_dir() else []
_HEAD: Final = re.compile(
    r"# client=(?P<mta>\w+).* phase=(?P<phase>\w+) kind=(?P<kind>\w+).* overrides=(?P<over>.*?) ?body"
)
_NARROW: Final = ("exim", "postfix")  # whose texts name the command
_ASKED: Final = {"data": "datacmd"}


def runs() -> Iterator[tuple[str, str, str, str, str]]:
    for path in RUNS:
        head = _HEAD.search(path.read_text(encoding="utf-8", errors="replace"))
        if head:
            yield path.stem, head["mta"].lower(), head["phase"], head["kind"], head["over"].partition("=")[0]


ALL_RUNS: Final = list(runs())


@pytest.mark.skipif(not RUNS, reason=ABSENT)
@pytest.mark.parametrize("run", ALL_RUNS, ids=[run[0] for run in ALL_RUNS])
def test_a_real_log_tells_where_and_how_it_was_broken(run: tuple[str, str, str, str, str]) -> None:
    name, mta, phase, kind, over = run
    told = list(reading.read_file(FOLDER / f"{name}.txt"))
    assert {each.mta for each in told} == {mta}
    first = told[0]
    if first.fate == "delivered":  # EHLO refused, and HELO taken
        assert over == "ehlo" and first.phases == () and first.stage is None
        return
    if over:
        assert _ASKED.get(over, over) in first.phases
        assert first.break_kind == "reply"
        return
    assert phase in first.phases
    # a FIN in reply to a SYN is ignored
    assert ("drop" if (phase, kind) == ("connect", "fin") else kind) in first.broken


@pytest.mark.skipif(not RUNS, reason=ABSENT)
def test_every_run_is_read_and_few_phases_remain() -> None:
    assert len(ALL_RUNS) == 161
    firsts = [next(iter(reading.read_file(FOLDER / f"{name}.txt"))) for name, mta, *_ in ALL_RUNS if mta in _NARROW]
    wide = [told for told in firsts if len(told.phases) > 4]
    # with CHUNKING the text is sent before the replies to MAIL and RCPT are read
    assert wide and all(told.mta == "exim" and re.search("(MAIL|RCPT|pipelined)", told.text) for told in wide)
    assert len(wide) < len(firsts) / 4


@pytest.mark.skipif(not RUNS, reason=ABSENT)
@pytest.mark.parametrize("case", RECEIVED, ids=["-".join(case[:3]) for case in RECEIVED])
def test_a_real_receiver_tells_where_its_session_ended(case: tuple[str, str, str, list[str], str]) -> None:
    name, step, kind, lines, _ = case
    told = reading.read_line("\n".join(lines))
    if told is None or told.fate in ("received", "none"):  # a plain end behind the mail: nothing is logged
        assert (name, step, kind) in {("postfix", "dot", "fin"), ("sendmail", "dot", "fin")}
        return
    assert (told.mta, told.side) == (name, "receiver")
    assert step in told.phases
    assert {"silent": "drop"}.get(kind, kind) in told.broken


@pytest.mark.skipif(not SEEDS.is_file(), reason="no folder shared/seeds beside the project")
def test_the_provider_s_strings_are_exim_s_with_the_finer_truth() -> None:
    quoted = [line for line in SEEDS.read_text(encoding="utf-8").splitlines() if line.startswith("SMTP timeout")]
    block, end, start = (reading.read_line(line) for line in quoted)
    assert block and end and start
    assert [each.mta for each in (block, end, start)] == ["exim"] * 3
    assert (block.phases, block.stage) == (("databody", "datamid"), "after-sending-data-block")
    assert (end.phases, end.stage) == (("databody", "datamid", "dot", "dotreply"), "after-end-of-data")
    # not EHLO, MAIL or RCPT, as the provider has it: Exim names those
    assert (start.phases, start.stage) == (("connect", "greeting"), "after-initial-connection")
    assert (start.break_kind, end.break_kind, block.break_kind) == ("drop", "drop", None)
    assert set(block.broken) == {"drop", "fin"}


# ---- everything that the models can write

_REPLIES: Final = ("421 4.3.2 closing", "451 later", "500 what", "550 5.1.1 unknown", "554 5.7.1 no")


def possible(model: Sender) -> Iterator[Ending]:
    """All ends of an attempt that there are: nobody closes before a SYN is answered, QUIT decides nothing."""
    mail = model.example
    for step in PHASES_OF:
        if step in ("rset", "quit"):
            continue
        causes: list[Cause] = ["timeout", "reset"]
        if step != "body":  # a writer sees no FIN
            causes.append("closed")
        if step not in ("body", "starttls", "auth"):  # a refused STARTTLS or AUTH is gone without
            causes.append("reply")
        if step == "connect":
            causes = ["timeout", "refused", "unreachable"]
        if step in ("starttls", "auth"):
            causes.append("lacking")
        if step == "dot":
            causes.append("sent")
        if step not in ("connect", "body", "starttls", "auth"):
            causes.append("malformed")
        for cause in causes:
            for reply in _REPLIES if cause == "reply" else ("250 ok",) if cause == "sent" else ("",):
                for flag in (False, True):
                    yield Ending(
                        step, cause, mail, 12.0, _command(model, step), flag and step in model.pipelines, reply, reply,
                        70_000 if step in ("body", "dot") else None, flag and cause == "timeout",
                        flag and model.fast_open, flag, more_hosts=flag, connecting=2.0, enhanced=flag,
                    )  # fmt: skip


def _command(model: Sender, step: Step) -> str:
    mail = model.example
    given = {
        "ehlo": f"EHLO {mail.helo}", "helo": f"HELO {mail.helo}", "mail": model.mail_command.format(mail.sender),
        "rcpt": model.rcpt_command.format(mail.recipient), "datacmd": "DATA", "starttls": "STARTTLS",
        "auth": "AUTH PLAIN",
    }  # fmt: skip
    return given.get(step, "")


def holds(told: Reading, model: Sender, ending: Ending) -> None:
    assert told.mta == model.name
    assert set(told.phases) <= set(PHASES) and told.stage in STAGES
    if ending.cause == "sent":
        assert told.phases == () and told.fate in ("delivered", "none", "")
        return
    table = ANSWERED if ending.cause in ("reply", "malformed", "lacking") else PHASES_OF
    # all that the step may be, for no line tells these apart
    assert not told.phases or set(table[ending.step]) & set(told.phases), ending
    broken = {
        "timeout": {"drop"}, "closed": {"fin"}, "reset": {"rst"}, "refused": {"rst"}, "unreachable": {"drop", "rst"},
        "reply": {"reply"}, "malformed": {"reply", "drop"}, "lacking": {"reply", "drop"},
    }[ending.cause]  # fmt: skip
    assert not told.phases or not told.broken or broken & set(told.broken), ending


@pytest.mark.parametrize("model", SENDERS.values(), ids=SENDERS)
def test_whatever_a_model_writes_is_read_back(model: Sender) -> None:
    read = 0
    for ending in possible(model):
        lines = model.log(ending)
        for line in lines:
            told = reading.read_line(line)
            if told is not None:
                holds(told, model, ending)
                assert told.line == line.rstrip()
        whole = reading.read_line("\n".join(lines))
        if whole is None or whole.fate == "none":
            # its protocol log alone does not tell what a reply is to
            assert model.name == "exchange" and (ending.step == "connect" or ending.cause == "sent"), (ending, lines)
            continue
        holds(whole, model, ending)
        assert whole.phases or ending.cause == "sent", (ending, lines)
        read += 1
    assert read > 80


@pytest.mark.parametrize("model", SENDERS.values(), ids=SENDERS)
def test_the_line_of_giving_up_is_read(model: Sender) -> None:
    ending = Ending("dot", "timeout", model.example, 600.0, written=2350)
    told = reading.read_line("\n".join(model.final_log(ending)))
    assert told is not None and told.mta == model.name
    assert told.fate == "bounced" or model.name == "rfc5321"
    assert told.gave_up or model.name == "rfc5321"


# ---- what stands in the contract, by example


@pytest.mark.parametrize(
    ("line", "mta", "phases", "kind", "stage"),
    [
        ("SMTP timeout while connected to mx.example.net [192.0.2.1] after end of data (2350 bytes written)", "exim",
         "databody datamid dot dotreply", "drop", "after-end-of-data"),
        ("SMTP timeout after end of data (900 bytes written)", "exim", "databody dot dotreply", "drop",
         "after-end-of-data"),
        ("SMTP timeout after sending data block (9000000 bytes written)", "exim", "datamid", None,
         "after-sending-data-block"),
        ("Remote host mx.example.net [192.0.2.1] closed connection in response to EHLO a.example", "exim", "ehlo", None,
         "after-initial-connection"),
        ("SMTP timeout after pipelined MAIL FROM:<a@example.org> SIZE=2350", "exim",
         "mail rcpt datacmd databody datamid dot dotreply", "drop", None),
        ("Malformed SMTP reply (an empty line) in response to EHLO a.example", "exim", "ehlo", "reply",
         "after-initial-connection"),
        ("lost connection with mx.example.net[192.0.2.1] while sending message body", "postfix",
         "databody datamid", None, "after-sending-data-block"),
        ("host mx.example.net[192.0.2.1] said: 552 virus (in reply to end of DATA command)", "postfix", "dot dotreply",
         "reply", "after-end-of-data"),
        ("connect to mx.example.net[192.0.2.1]:25: Operation timed out", "postfix", "connect", "drop",
         "after-initial-connection"),
        ("timeout after DATA (1448 bytes) from unknown[192.0.2.9]", "postfix", "databody dot", "drop", None),
        ("Connected to 192.0.2.1 but connection died. Possible duplicate! (#4.4.2)", "qmail",
         "databody datamid dot dotreply", None, "after-end-of-data"),
        ("450 4.4.316 Connection refused [Message=Socket error code 10061] [LastAttemptedIP=192.0.2.1:25]", "exchange",
         "connect", "rst", "after-initial-connection"),
        ("450 4.4.318 Connection was closed abruptly", "exchange",
         "greeting ehlo mail rcpt datacmd reply354 databody datamid dot dotreply", None, None),
    ],
)  # fmt: skip
def test_a_text_alone(line: str, mta: str, phases: str, kind: str | None, stage: str | None) -> None:
    told = reading.read_line(line)
    assert told is not None
    assert (told.mta, told.phases, told.break_kind, told.stage) == (mta, tuple(phases.split()), kind, stage)


@pytest.mark.parametrize("line", ["", "hello", "Nov 22 11:02:50 h sshd[1]: Connection closed", "Subject: x"])
def test_what_is_no_mail_log_tells_nothing(line: str) -> None:
    assert reading.read_line(line) is None


def test_every_reading_names_a_filter_that_we_do_not_know_and_no_vendor_is_likely() -> None:
    for model in SENDERS.values():
        for ending in possible(model):
            told = reading.read_line("\n".join(model.log(ending)))
            if told is None or not told.phases:
                continue
            assert told.causes[-1].kind == "unknown-filter"
            assert {cause.confidence for cause in told.causes} == {"possible"}


