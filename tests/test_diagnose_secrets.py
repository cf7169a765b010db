"""What AUTH carries is on no page of a diagnosis, whatever the capture lacks."""

from __future__ import annotations

import io

import pytest

import running
import smtpinspect
from kit import wire
from kit.dialogue import parse
from running import frames
from smtpinspect.diagnose.face import Asked, diagnose
from smtpinspect.diagnose.model import Diagnosis
from smtpinspect.report import diagnose_page
from smtpinspect.report.html.document import document
from smtpinspect.report.terminal import Style

BEGIN = "S: 220 mx\nC: EHLO a\nS: 250-mx\nS: 250 AUTH PLAIN LOGIN\n"
LOGIN = "C: AUTH LOGIN\nS: 334 VXNlcg==\nC: dXNlcg==\nS: 334 UGFzcw==\nC: c2VjcmV0\nS: 535 no\nC: NOOP\n"
SECRETS = ("c2VjcmV0", "C2VJCMV0", "dXNlcg==", "jcmV0")


def pages(made: Diagnosis, secrets: bool = False) -> str:
    """All that is shown of these, as failures."""
    for case in made.cases:
        case.observed = case.observed._replace(outcome="stalled")
    out = io.StringIO()
    print(*diagnose_page.page(made, None, Style(False)), *document(made, secrets=secrets), sep="\n", file=out)
    return out.getvalue()


@pytest.mark.parametrize(
    "text",
    [
        LOGIN,
        "C: AUTH PLAIN c2VjcmV0\n",
        "C: AUTH PLAIN c2V\\c\n--\nC: jcmV0\n",
        "C: X-EXPS LOGIN c2VjcmV0\n",
        "C: AUTH LOGIN\nC: dXNlcg==\nC: c2VjcmV0\n",
    ],
)
@pytest.mark.parametrize("one_way", [False, True])
def test_what_auth_carries_is_told_nowhere(text: str, one_way: bool) -> None:
    segments = [each for each in wire.build(parse(BEGIN + text)) if not one_way or each.direction == "C"]
    page = pages(diagnose(Asked(source=frames(segments))).diagnosis)
    assert "AUTH LOGIN" in page or "AUTH PLAIN" in page or "X-EXPS LOGIN" in page
    assert not [secret for secret in SECRETS if secret in page]


# Behind a box that overwrote the verb, and left the argument.
@pytest.mark.parametrize("verb", ["AUTH", "XXXX", "xxxx", "XXXXPS", "NOOP"])
@pytest.mark.parametrize("one_way", [False, True])
def test_nor_is_it_where_a_box_overwrote_the_verb(verb: str, one_way: bool) -> None:
    text = f"{BEGIN}C: {verb} PLAIN c2VjcmV0\nS: 500 5.5.1 unrecognized\nC: QUIT\nS: 221 bye\n"
    segments = [each for each in wire.build(parse(text)) if not one_way or each.direction == "C"]
    made = diagnose(Asked(source=frames(segments))).diagnosis
    alerts = running.replay(segments, ["mailguard", "stormshield", "sonicwall"]).alerts
    dialogues = repr(smtpinspect.transcript(frames(segments)))
    shown = [pages(made), dialogues, *(each.octets.decode("latin-1") for each in alerts)]
    assert any(f"{verb} PLAIN" in each for each in shown)
    assert not [secret for secret in SECRETS if any(secret in each for each in shown)]


def test_a_command_behind_it_is_told() -> None:
    made = diagnose(Asked(source=frames(wire.build(parse(BEGIN + LOGIN))))).diagnosis
    told = [moment.told for case in made.cases for moment in case.observed.timeline]
    assert "NOOP: no reply" in told and told.count("(what AUTH carries): 535 no") == 1
    assert "c2VjcmV0" in pages(made, secrets=True)
