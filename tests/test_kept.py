"""What is kept of a connection is small where little happens: it must be right where much does."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import pytest

import running
import smtpinspect
from kit import wire
from kit.dialogue import parse
from smtpinspect.actions import ALARM, PROJECT
from smtpinspect.facts import COMMAND
from smtpinspect.grammar import limits
from smtpinspect.inspectors.base import Inspector, Rule, Settings

VERBS = ("NOOP", "HELP", "VRFY", "EXPN")
MANY = limits.ALERTS_PER_RULE + 4


class EachVerb(Inspector):
    """An alert for each of some commands."""

    name = "each"
    title = "Tells of commands"

    def rules(self, settings: Settings) -> Iterable[Rule]:
        for number, verb in enumerate(VERBS, 1):
            yield Rule(f"each.{verb.lower()}", COMMAND(verb=verb), ALARM, PROJECT, "test", number, verb)


def asked(verbs: Iterable[str], mail: bool) -> Counter[str]:
    """The alerts of a connection in which these commands are sent, outside a mail or inside of one."""
    lines = ["S: 220 mx.example", "C: EHLO a.example", "S: 250 mx.example"]
    lines += ["C: MAIL FROM:<a@a.example>", "S: 250 Ok"] * mail
    for verb in verbs:
        lines += [f"C: {verb}", "S: 250 Ok"]
    lines += ["C: QUIT", "S: 221 Bye"]
    done = smtpinspect.replay(running.frames(wire.build(parse("\n".join(lines)))), inspectors=[EachVerb()])
    return Counter(alert.rule for alert in done.alerts)


@pytest.mark.parametrize("mail", [False, True], ids=["connection", "mail"])
@pytest.mark.parametrize("rules", range(1, len(VERBS) + 1))
def test_alerts_of_a_rule_are_counted(rules: int, mail: bool) -> None:
    """With two rules they stand in the standing, with more in a table; in turn, and one rule behind the other."""
    want = {f"each.{verb.lower()}": limits.ALERTS_PER_RULE for verb in VERBS[:rules]}
    assert asked(VERBS[:rules] * MANY, mail) == want
    assert asked(sorted(VERBS[:rules] * MANY), mail) == want


@pytest.mark.parametrize("lengths", [(n,) for n in (1, 15, 16, 17, 24, 255)] + [(17, 16), (16, 17, 255, 17), (40, 1)])
def test_a_name_of_any_length(lengths: tuple[int, ...]) -> None:
    """Short ones stand with the connection, long ones do not; each EHLO replaces the one before."""
    names = ["a" * (n % 63) + ".b" * ((n - n % 63) // 2) + "c" * ((n - n % 63) % 2) for n in lengths]
    lines = ["S: 220 mx.example"]
    for name in names:
        lines += [f"C: EHLO {name}", "S: 250 mx.example"]
        lines += ["C: MAIL FROM:<a@a.example>", "S: 250 Ok", "C: RSET", "S: 250 Ok"]
    done = running.replay_text("\n".join([*lines, "C: QUIT", "S: 221 Bye"]))
    assert [mail.helo for mail in done.mails] == names


@pytest.mark.parametrize("answers", [True, False], ids=["answered", "cut-off"])
@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_mails_end_oldest_first(count: int, answers: bool) -> None:
    """The client sends them all before the server says a word to any."""
    lines = ["S: 220 mx.example", "C: EHLO a.example", "S: 250-mx.example", "S: 250-PIPELINING", "S: 250 CHUNKING"]
    for i in range(count):
        lines += [f"C: MAIL FROM:<{i}@a.example>", "C: RCPT TO:<b@b.example>", "C: BDAT 6 LAST", "C: a:\\r\\n\\r\\n\\c"]
    lines += [f"S: {code} {i}" for i in range(count) for code in ("250", "250", f"55{i}")] * answers
    done = running.replay_text("\n".join(lines))
    assert [mail.mail_from for mail in done.mails] == [f"{i}@a.example" for i in range(count)]
    if answers:
        assert [(mail.outcome, mail.reply) for mail in done.mails] == [("refused", 550 + i) for i in range(count)]
