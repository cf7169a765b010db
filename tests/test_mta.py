"""The tables of mail servers against what real ones have logged."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Final

import pytest

from mta_runs import ABSENT, FOLDER, Run, ending, read
from smtpinspect.errors import UsageError
from smtpinspect.mta.base import DAY, Ending, Loss, Receiver, Sender, bench, submitted
from smtpinspect.mta.registry import RECEIVERS, SENDERS, receiver, sender

RUNS: Final = [run for path in sorted(FOLDER.glob("*-*-*.txt")) if (run := read(path))] if FOLDER.is_dir() else []
without_reference = pytest.mark.skipif(not RUNS, reason=ABSENT)


@without_reference
@pytest.mark.parametrize("run", RUNS, ids=[run.name for run in RUNS])
def test_the_lines_of_a_real_attempt_are_predicted(run: Run) -> None:
    model = SENDERS[run.mta]
    predicted = [model.mask(line) for line in model.log(ending(run, model))]
    assert predicted == [model.mask(line) for line in run.lines]


@without_reference
def test_every_run_has_lines_and_every_sender_with_a_laboratory_has_runs() -> None:
    assert Counter(run.mta for run in RUNS) == {"exim": 56, "postfix": 51, "sendmail": 34, "opensmtpd": 20}
    assert all(run.lines for run in RUNS)


@without_reference
def test_the_octets_of_a_small_mail_are_those_of_the_real_one() -> None:
    count = re.compile(r"end of data \((\d+) bytes written\)")
    model, seen = SENDERS["exim"], 0
    for run in RUNS:
        real = [count.findall(line) for line in run.lines]
        if run.mta == "exim" and any(real):
            seen += 1
            assert [count.findall(line) for line in model.log(ending(run, model))] == real
    assert seen == 4


# ---- receivers

_KINDS: Final = {"silent": "timeout", "fin": "closed", "rst": "reset"}
_BODY: Final = 48  # octets of lab-rx.py's text that smtpd counted
_STARTS: Final = {
    "postfix": re.compile(r"smtpd\[\d+\]: connect from"),
    "exim": re.compile(r" SMTP connection from \S+ \(TCP/IP"),
    "opensmtpd": re.compile(r" smtp connected "),
    "sendmail": re.compile(r"sendmail\[(\d+)\]"),
}


def _sessions(name: str, lines: list[str]) -> list[list[str]]:
    found: list[list[str]] = []
    last = ""
    for line in lines:
        match = _STARTS[name].search(line)
        if match and (name != "sendmail" or match[1] != last):
            found.append([])
        if match and name == "sendmail":
            last = match[1]
        if found:
            found[-1].append(line)
    return found


def _received() -> Iterator[tuple[str, str, str, list[str], str]]:
    """Server, step, what the client did, lines of that session, and what the client saw."""
    for path in sorted(FOLDER.glob("rx-*.txt")):
        name = path.stem.removeprefix("rx-")
        lines = path.read_text(encoding="utf-8").splitlines()
        done = [line.split(maxsplit=2) for line in lines if re.match(r"\w+ +(silent|fin|rst) ", line)]
        sessions = _sessions(name, [line for line in lines if not re.match(r"#|\w+ +(silent|fin|rst) ", line)])
        assert len(done) == len(sessions), name
        for (step, kind, saw), session in zip(done, sessions, strict=True):
            yield name, step, kind, session, saw


RECEIVED: Final = list(_received()) if RUNS else []


def _loss(name: str, step: str, kind: str) -> Loss:
    mail = bench("rxclient.example.org", host="rx.example.net")
    mail = mail._replace(sender="rx@example.org", source="127.0.0.1")
    model = RECEIVERS[name]
    cause = _KINDS[kind]
    accepted = step == "dot" and (kind == "silent" or (kind == "fin" and model.keeps("closed")))
    text = step in ("databody", "dot")
    return Loss(
        {"databody": "body"}.get(step, step),  # type: ignore[arg-type]
        cause,  # type: ignore[arg-type]
        mail,
        octets=_BODY if text else 0,
        header_done=text,
        accepted=accepted,
        peer={"sendmail": "localhost", "opensmtpd": "localhost"}.get(name, ""),
    )


@without_reference
@pytest.mark.parametrize("case", RECEIVED, ids=["-".join(case[:3]) for case in RECEIVED])
def test_the_lines_of_a_real_server_are_predicted(case: tuple[str, str, str, list[str], str]) -> None:
    name, step, kind, lines, saw = case
    model, loss = RECEIVERS[name], _loss(name, step, kind)
    assert [model.mask(line) for line in model.log(loss)] == [model.mask(line) for line in lines]
    if kind == "silent":
        said = re.findall(r"b'(421 .*?)\\r\\n'", saw)
        mail = loss.envelope._replace(host="", source="")
        expected = model.timeout_reply(loss.step, mail)
        names = re.compile(r"(?:rx|pout|sout)\.example\.(?:net|com)|localhost")
        assert [names.sub("", text) for text in said] == ([expected] if expected else [])


# ---- what holds for every model


def _endings(model: Sender) -> Iterator[Ending]:
    mail = model.example
    steps = [step for timer in model.timers for step in timer.steps]
    for step in steps:
        for cause in ("timeout", "closed", "reset", "malformed", "reply"):
            for reply in ("421 4.3.2 closing", "451 later", "554 5.7.1 no") if cause == "reply" else ("",):
                yield Ending(step, cause, mail, 1.5, command=step.upper(), reply=reply, later=reply)  # type: ignore[arg-type]
    for cause in ("refused", "unreachable"):
        yield Ending("connect", cause, mail)  # type: ignore[arg-type]
    yield Ending("starttls", "lacking", mail)
    yield Ending("auth", "lacking", mail)
    yield Ending("dot", "sent", mail, reply="250 2.0.0 Ok")


@pytest.mark.parametrize("model", SENDERS.values(), ids=SENDERS)
def test_every_ending_has_lines_and_a_fate(model: Sender) -> None:
    for end in _endings(model):
        lines = model.log(end)
        assert all("{" not in line and "None" not in line and "\n" not in line for line in lines), end
        assert lines or model.name == "exchange"
        fate = model.fate(end)
        assert (fate.fate == "delivered") == (end.cause == "sent")
        assert fate.fate != "bounced" or end.cause == "reply"  # no break bounces a mail
        assert not fate.duplicate_risk or end.step == "dot"
        assert model.final_log(end)


@pytest.mark.parametrize("model", SENDERS.values(), ids=SENDERS)
def test_a_masked_line_tells_nothing_of_one_mail(model: Sender) -> None:
    other = bench("other.example.org", "mx2.example.org")._replace(
        sender="x@example.org", recipients=("y@example.com",), ip="192.0.2.7", source="192.0.2.1"
    )
    for end in _endings(model):
        if model.name == "sendmail":
            other = other._replace(size=end.envelope.size)
        moved = end._replace(envelope=other, started=end.started + 1_000_000, seconds=77.0)
        if end.step in ("ehlo", "helo", "mail", "rcpt"):
            continue  # the command's text is the caller's
        first = [model.mask(line) for line in model.log(end)]
        second = [model.mask(line) for line in model.log(moved)]
        if model.name == "exchange":
            first, second = [line for line in first if "LastError" in line], [line for line in second if "Last" in line]
        assert first == second


@pytest.mark.parametrize(
    ("name", "settled", "last"),
    [
        ("exim", [0, 1800, 3600, 5400, 7200], 4 * DAY),
        ("postfix", [0, 300, 600, 1200, 2400, 4800, 9000, 13200], 5 * DAY),
        ("sendmail", [0, 600, 1200, 1800], 5 * DAY),
        ("opensmtpd", [0, 400, 1600, 3600, 6400, 10000], 4 * DAY),
        ("qmail", [0, 400, 1600, 3600, 6400, 10000], 7 * DAY),
        ("exchange", [0, 60, 120, 180, 240, 540, 840, 1140, 1440, 1740, 2040, 2640], 2 * DAY),
        ("rfc5321", [0, 1800, 3600], 5 * DAY),
    ],
)
def test_retries_follow_the_published_rules(name: str, settled: list[int], last: int) -> None:
    model = SENDERS[name]
    times = model.attempts()
    assert times[: len(settled)] == settled
    assert model.gives_up_after == last
    assert times == sorted(set(times))
    assert times[-2] <= last <= times[-1] + 6 * 3600


@pytest.mark.parametrize("model", SENDERS.values(), ids=SENDERS)
def test_slow_attempts_are_fewer_and_never_overlap(model: Sender) -> None:
    quick, slow = model.attempts(), model.attempts(600.0)
    assert len(slow) <= len(quick)
    assert all(second - first >= 600 for first, second in pairwise(slow))


def test_overrides_reach_the_settings_that_exist() -> None:
    given = {"connect": 5.0, "command": 5.0, "data": 5.0, "final": 7.0}
    assert SENDERS["exim"].timeouts(given) | {"dot": 5.0} == dict.fromkeys(SENDERS["exim"].timeouts(), 5.0)
    assert SENDERS["exim"].timeouts(given)["dot"] == 7.0
    assert set(SENDERS["opensmtpd"].timeouts(given).values()) == {300.0}  # nothing can be set
    assert SENDERS["sendmail"].timeouts(given)["body"] == 300.0  # DATA_PROGRESS_TIMEOUT
    assert SENDERS["qmail"].timeouts(given)["dot"] == 5.0  # one setting for all
    assert SENDERS["postfix"].timeouts()["datacmd"] == 120.0


def test_defaults_are_those_of_the_tables() -> None:
    times = {name: model.timeouts() for name, model in SENDERS.items()}
    seconds = {name: (each["mail"], each["body"], each["dot"]) for name, each in times.items()}
    assert seconds == {
        "exim": (300, 300, 600),
        "postfix": (300, 180, 600),
        "sendmail": (600, 300, 3600),
        "opensmtpd": (300, 300, 300),
        "qmail": (1200, 1200, 1200),
        "exchange": (600, 600, 600),
        "rfc5321": (300, 180, 600),
    }


def test_a_masked_greeting_is_seen_by_postfix_alone() -> None:
    stars = "220 ************************"
    assert {name: model.greets_with(stars) for name, model in SENDERS.items()} == {
        **dict.fromkeys(SENDERS, "ehlo"),
        "postfix": "helo",
        "qmail": "helo",
    }
    assert SENDERS["postfix"].greets_with("220 mx.example.net") == "ehlo"
    end = Ending("dot", "sent", SENDERS["postfix"].example, reply="250 Ok", starred=True)
    first, last = SENDERS["postfix"].log(end)
    assert first.endswith(": enabling PIX workarounds: disable_esmtp for 10.9.2.2[10.9.2.2]:25")
    assert last.endswith("status=sent (250 Ok)")


def test_only_some_fall_back_to_helo() -> None:
    def after(reply: str) -> dict[str, str]:
        return {name: model.next_after("ehlo", reply) for name, model in SENDERS.items() if model.esmtp}

    everybody = dict.fromkeys((name for name, model in SENDERS.items() if model.esmtp), "helo")
    assert after("502 5.5.1 no") == everybody
    assert after("451 4.7.1 later") == everybody | {"sendmail": "defer", "exchange": "defer", "rfc5321": "defer"}
    assert after("421 4.3.2 closing") == after("451 4.7.1 later") | {"postfix": "defer"}


def test_with_another_mx_the_recipient_is_not_judged_yet() -> None:
    for name in ("exim", "postfix"):
        model = SENDERS[name]
        end = Ending("datacmd", "closed", model.example, command="DATA", more_hosts=True)
        (line,) = model.log(end)
        assert model.example.recipient not in line


def test_sendmail_shows_the_reply_to_rset_only_when_it_is_a_refusal() -> None:
    model = SENDERS["sendmail"]
    end = Ending("datacmd", "reply", model.example, reply="554 5.7.1 policy", later="250 2.0.0 Ok")
    assert "reply=554 5.7.1 policy, stat=Service unavailable" in model.log(end)[-1]
    end = end._replace(later="502 5.5.2 Error: command not recognized")
    assert "reply=502 5.5.2 Error: command not recognized, stat=" in model.log(end)[-1]


def test_sendmail_shows_the_reply_to_quit_behind_a_421_to_rcpt() -> None:
    model = SENDERS["sendmail"]
    end = Ending("rcpt", "reply", model.example, reply="421 4.3.2 closing", later="221 2.0.0 Bye")
    assert "reply=221 2.0.0 Bye, stat=Deferred: 421 4.3.2 closing" in model.log(end)[-1]
    # a server that closes at once answers no QUIT
    assert "reply=421 4.3.2 closing, stat=Deferred: 421 4.3.2 closing" in model.log(end._replace(later=""))[-1]


def test_exim_tells_why_it_had_said_helo_when_that_fails_too() -> None:
    model = SENDERS["exim"]
    end = Ending("helo", "closed", model.example, command="HELO out.example.com", refused_ehlo="421 4.3.2 closing")
    assert model.text(end) == (
        "Remote host closed connection in response to HELO out.example.com (EHLO response was: 421 4.3.2 closing)"
    )


def test_sendmail_takes_enhanced_codes_only_where_they_were_offered() -> None:
    model = SENDERS["sendmail"]
    end = Ending("mail", "reply", model.example, reply="451 4.7.1 try later")
    assert "dsn=4.3.0, " in model.log(end)[-1]
    assert "dsn=4.7.1, " in model.log(end._replace(enhanced=True))[-1]


# measured with the same laboratory: hosts_require_tls, smtp_tls_security_level = encrypt, smtp+tls, TLS_Srv ENCR:1
@pytest.mark.parametrize(
    ("name", "lines"),
    [
        (
            "exim",
            [
                "<id> H=<host>: a TLS session is required, but the server did not offer TLS support",
                "<id> == <address> R=r1 T=remote_smtp defer (-38) H=<host> DT=<time>: a TLS session is required, "
                "but the server did not offer TLS support",
            ],
        ),
        (
            "postfix",
            [
                "postfix/smtp: <id>: to=<<address>>, relay=<host>, delay=<time>, dsn=4.7.4, status=deferred "
                "(TLS is required, but was not offered by host <host>)"
            ],
        ),
        (
            "sendmail",
            [
                "sendmail: ruleset=tls_server, arg1=NONE, relay=<host>, reject=454 4.7.0 encryption too weak 0 less "
                "than 1",
                "sendmail: <id>: to=<address>, delay=<time>, xdelay=<time>, mailer=smtp, pri=30000, relay=<host>, "
                "dsn=4.7.0, reply=502 not implemented, stat=Deferred: 454 4.7.0 encryption too weak 0 less than 1",
            ],
        ),
        (
            "opensmtpd",
            [
                "<id> mta connecting address=smtp+tls://<host> host=<host>",
                "<id> mta connected",
                "<id> mta error reason=TLS required but not supported by remote host",
                "smtp-out: Disabling route [] <-> <host> for <time>",
                "smtp-out: No valid route for [connector:[]->[relay:<host>,port=25,smtp+tls,mx],0x0]",
            ],
        ),
    ],
)
def test_a_lost_starttls_stops_who_must_have_it(name: str, lines: list[str]) -> None:
    model = SENDERS[name]
    end = Ending("starttls", "lacking", model.example, refused_ehlo="502 not implemented")
    assert [model.mask(line) for line in model.log(end)] == lines
    assert model.fate(end).fate == "deferred"


def test_exim_without_fast_open_logs_what_the_kernel_says() -> None:
    model = SENDERS["exim"]
    end = Ending("connect", "timeout", model.example, 5.0)
    assert [line[20:].partition(" ")[2] for line in model.log(end)] == [
        "H=10.9.2.2 [10.9.2.2]:25 Connection timed out",
        "== u@example.net R=r1 T=remote_smtp defer (110): Connection timed out DT=5s",
    ]


def test_the_text_on_the_wire_has_whole_lines_and_stuffed_dots() -> None:
    for model in SENDERS.values():
        text = model.message(model.example, b"Subject: x\n\n.one\ntwo", 0.0)
        assert text.endswith(b"\r\n\r\n..one\r\ntwo\r\n")
        assert b"\n" not in text.replace(b"\r\n", b"")
    assert len(submitted(bench("sout.example.com"), 2000)) == 2050  # Sendmail's size=


@pytest.mark.parametrize("model", RECEIVERS.values(), ids=RECEIVERS)
def test_a_server_answers_each_step_in_whole_replies(model: Receiver) -> None:
    for step in model.replies:
        lines = model.reply(step, bench("client.example.com", "mx.example.net")).split("\n")  # type: ignore[arg-type]
        assert all(re.match(r"\d{3}-", line) for line in lines[:-1])
        assert re.match(r"\d{3} ", lines[-1])
        assert len({line[:3] for line in lines}) == 1
    assert all(word in model.replies["ehlo"] for word in model.extensions)
    assert model.read_timeout("body") > 0


@pytest.mark.parametrize("model", RECEIVERS.values(), ids=RECEIVERS)
def test_a_server_s_phrase_stands_in_its_log(model: Receiver) -> None:
    mail = bench("client.example.com", "mx.example.net")
    for step in (step for timer in model.timers for step in timer.steps):
        for cause in ("timeout", "closed", "reset"):
            loss = Loss(step, cause, mail, octets=9)  # type: ignore[arg-type]
            assert any(model.text(loss) in line for line in model.log(loss)) or model.name == "scripted"
            # of an end behind an accepted mail nothing need be told
            assert model.text(loss) or step == "dot" or model.name in ("qmail", "scripted")
    assert not model.text(Loss("quit", "quit", mail))


def test_an_unknown_name_is_wrong_usage() -> None:
    assert sender("qmail").name == "qmail"
    assert receiver("postfix").name == "postfix"
    for look in (sender, receiver):
        with pytest.raises(UsageError, match="known: "):
            look("exmi")


def test_each_row_says_how_sure_it_is_and_by_what() -> None:
    for model in SENDERS.values():
        assert all(row.source and row.basis in ("confirmed", "inferred", "project") for row in model.phrases)
        assert all(timer.source and timer.basis in ("confirmed", "inferred", "project") for timer in model.timers)


def test_no_model_reads_the_reference() -> None:
    folder = Path(__file__).resolve().parents[1] / "smtpinspect" / "mta"
    assert not [path for path in folder.glob("*.py") if "mta-pcaps" in path.read_text(encoding="utf-8")]


# Octets of the text with its end mark, counted in captures of the laboratory for 2,000 octets of body.
@pytest.mark.parametrize(
    ("name", "octets"), [("exim", 2350), ("postfix", 2301), ("sendmail", 2340 + 3), ("opensmtpd", 2354 + 3)]
)
def test_the_text_is_as_long_as_the_real_one(name: str, octets: int) -> None:
    model = SENDERS[name]
    text = model.message(model.example, submitted(model.example, 2000), 1_795_345_233.0)
    assert len(text) + len(".\r\n") == octets
    assert model.message(model.example, text.replace(b"\r\n", b"\n"), 0.0).lower().count(b"\r\nmessage-id:") == 1
