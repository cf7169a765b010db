"""Which rule broke a flow, told from what each end saw of it. The breaks are this project's own: a simulated firewall
between two modelled ends, and each side's capture of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from kit import capture as captured
from kit.broken import Connection
from smtpinspect.diagnose import survey as surveys
from smtpinspect.diagnose.causes import questions, rank, sweep, what_if
from smtpinspect.diagnose.face import Asked, diagnose
from smtpinspect.diagnose.measures import Seen
from smtpinspect.diagnose.model import Against, Case, Cause, Contrast, Fingerprint, Sign
from smtpinspect.diagnose.paths.points import Point
from smtpinspect.diagnose.survey import survey
from smtpinspect.errors import UsageError
from smtpinspect.grammar import limits
from smtpinspect.inspectors import registry
from smtpinspect.simulate import captures as simulated
from smtpinspect.simulate.story import Story

PCAPS = Path(__file__).parents[1] / "pcaps"

# a capture of pcaps/, an inspector that breaks it, the rule that does
CULPRITS = (
    ("subject-8bit", "stormshield", "stormshield.smtp-231"),
    ("subject-8bit", "stormshield,teardown=drop", "stormshield.smtp-231"),
    ("subject-8bit", "stormshield,teardown=rst-both", "stormshield.smtp-231"),
    ("smtp-122", "stormshield", "stormshield.smtp-122"),
    ("smtp-217", "stormshield", "stormshield.smtp-217.header"),
    ("smtp-217", "mailguard:asa-8", "mailguard.header-line-length"),
    ("long-header-line", "mailguard:asa-9-tls", "mailguard.header-line-length"),
    ("smtp-219", "stormshield", "stormshield.smtp-219.command"),
    ("smtp-223", "stormshield", "stormshield.smtp-223"),
    ("fake-command", "stormshield", "stormshield.smtp-223"),
    ("many-recipients", "mailguard:asa-8", "mailguard.rcpt-count"),
    ("bdat", "stormshield,filter_chunked_extension=on", "stormshield.filter-chunking"),
    ("pipelined", "stormshield,filter_pipelining_extension=on", "stormshield.filter-pipelining"),
    ("encrypted-zip", "sonicwall", "sonicwall.encrypted-zip"),
    ("encrypted-zip", "sonicwall,on_match=drop", "sonicwall.encrypted-zip"),
    ("office-macro", "sonicwall,on_match=reset", "sonicwall.office-macro"),
    ("packed-exe", "sonicwall,on_match=reset", "sonicwall.packed-exe"),
)


# What no mail server sends: here the captured packets themselves go through the firewall.
BY_HAND = ("smtp-219", "smtp-223", "fake-command")


def broken(tmp_path: Path, capture: str, spec: str) -> tuple[str, str]:
    """What client and server saw of the capture's mail, sent through this firewall."""
    client, server = str(tmp_path / "client.pcap"), str(tmp_path / "server.pcap")
    sent(capture, spec, write_client=client, write_server=server)
    return client, server


def sent(capture: str, spec: str, **more: str) -> Story:
    """What becomes of the capture's mail behind this firewall."""
    again = capture not in BY_HAND
    told = simulated.simulate(simulated.Asked(str(PCAPS / f"{capture}.pcap"), spec, re_enact=again, **more)).story
    assert told is not None
    return told


def case_of(path: str, *inspectors: str) -> Case:
    """The last case of a capture that has causes."""
    found = diagnose(Asked(path, inspectors=inspectors or None)).diagnosis.cases
    return [case for case in found if case.causes][-1]


def place(case: Case, rule: str) -> int | None:
    return next((cause.rank for cause in case.causes if cause.cause == rule), None)


def shows(case: Case, rule: str) -> bool:
    """Does the path show the product: stars and X of a mailguard, the words behind a 552?"""
    product = rule.partition(".")[0]
    return product == "mailguard" or any(each.product == product for each in case.fingerprints)


@pytest.mark.parametrize(("capture", "spec", "rule"), CULPRITS, ids=lambda value: value)
def test_the_culprit_comes_first_in_the_senders_capture(tmp_path: Path, capture: str, spec: str, rule: str) -> None:
    client, _ = broken(tmp_path, capture, spec)
    case = case_of(client)
    assert place(case, rule) == 0
    assert place(case_of(client, spec), rule) == 0
    found = next(cause for cause in case.causes if cause.cause == rule)
    assert found.confidence == ("likely" if shows(case, rule) else "possible")
    assert found.degree == "fits"


@pytest.mark.parametrize(("capture", "spec", "rule"), CULPRITS, ids=lambda value: value)
def test_without_a_sign_of_it_no_product_is_more_than_possible(
    tmp_path: Path, capture: str, spec: str, rule: str
) -> None:
    for path in broken(tmp_path, capture, spec):
        for case in diagnose(Asked(path)).diagnosis.cases:
            strong = {each.product for each in case.causes if each.kind == "rule" and each.confidence != "possible"}
            strong -= {each.product for each in case.causes if each.confidence == "unlikely"}
            assert all(shows(case, rule) and product == rule.partition(".")[0] for product in strong)
            assert not case.causes or any(each.kind == "unknown-filter" for each in case.causes)


@pytest.mark.parametrize(
    ("capture", "spec"), [("subject-8bit", "stormshield"), ("long-header-line", "mailguard:asa-8,mask_banner=off")]
)
def test_the_receivers_capture_lacks_the_octets_that_decide(tmp_path: Path, capture: str, spec: str) -> None:
    _, server = broken(tmp_path, capture, spec)
    case = case_of(server)
    assert case.causes[0].kind == "unknown-filter"
    guesses = [cause for cause in case.causes if cause.kind == "rule"]
    assert guesses
    assert all("get the sender's" in cause.evidence[0].text for cause in guesses)
    assert case.what_if.relax == ()  # nothing is advised upon a guess


def test_with_both_sides_a_refusal_by_the_box_is_no_reset(tmp_path: Path) -> None:
    spec = "sonicwall,on_match=reply552-rst"
    client, server = broken(tmp_path, "office-macro", spec)
    asked = Asked(client, inspectors=(spec,), points=(Point("outside", client), Point("inside", server)))
    (case,) = diagnose(asked).diagnosis.cases
    assert (case.observed.outcome, case.observed.broken.kind) == ("refused", "reply")
    assert place(case, "sonicwall.office-macro") == 0


def test_a_reply_that_was_cut_is_named_on_the_receivers_side(tmp_path: Path) -> None:
    _, server = broken(tmp_path, "fake-command", "stormshield")
    case = case_of(server)
    assert place(case, "stormshield.smtp-223") == 0
    assert case.causes[0].alert is not None
    assert case.causes[0].alert.direction == "server"


# ---- what would let it pass


@pytest.mark.parametrize(
    ("capture", "spec"), [(capture, spec) for capture, spec, rule in CULPRITS if "drop" not in spec], ids=str
)
def test_the_rules_to_relax_let_the_mail_through(tmp_path: Path, capture: str, spec: str) -> None:
    client, _ = broken(tmp_path, capture, spec)
    made = case_of(client, spec).what_if
    assert made.passes
    told = sent(capture, f"{spec},off={'+'.join(made.relax)}")
    assert told.hit is None
    assert told.result.fate in ("delivered", "")  # "": there is no mail in it


def test_a_mask_that_breaks_a_greeting_of_several_lines_is_relaxed_as_well() -> None:
    """Off as a rule that breaks, it would still overwrite the codes."""
    masked = b"220-" + b"*" * 20 + b"\r\n" + b"*" * 13 + b"\r\n"
    made = Connection().open().say("S", masked, acked=True).wait(5).close("C")
    told = diagnose(Asked(captured.frames(made.packets), inspectors=("mailguard:pix-4.4",)))
    (case,) = told.diagnosis.cases
    assert set(case.what_if.relax) == {"mailguard.banner-multiline-broken", "mailguard.banner-masked"}


def test_no_rule_is_relaxed_for_nothing(tmp_path: Path) -> None:
    """A References line of 4,097 octets, and pipelining where that is filtered: each cuts by itself."""
    spec = "stormshield,header_line_limit=1000,filter_pipelining_extension=on"
    client, _ = broken(tmp_path, "smtp-217", spec)
    relax = case_of(client, spec).what_if.relax
    for left in relax:
        off = "+".join(rule for rule in relax if rule != left)
        told = sent("smtp-217", spec + (f",off={off}" if off else ""))
        assert told.hit is not None, f"{left} need not be off"


def test_a_sweep_counts_what_each_limit_cuts() -> None:
    paths = [str(PCAPS / f"{name}.pcap") for name in ("long-header-line", "clean-delivery")]
    found = sweep(paths, "stormshield.header_limit")
    assert found.key == "stormshield.header_line_limit"
    cut = {int(value): mails for value, mails, _ in found.rows}
    assert all(total == 2 for _, _, total in found.rows)
    assert cut[64] == 1  # what else that product cuts does not count
    assert cut[4096] == 0
    assert cut[998] == 1
    assert list(cut.values()) == sorted(cut.values(), reverse=True)


@pytest.mark.parametrize("key", ["header_limit", "stormshield.teardown", "stormshield.limit", "nobody.header_limit"])
def test_a_sweep_names_what_it_can_do(key: str) -> None:
    with pytest.raises(UsageError):
        sweep(str(PCAPS / "clean-delivery.pcap"), key)


# ---- what else is known


def test_a_sign_on_the_path_makes_a_product_likely(tmp_path: Path) -> None:
    client, _ = broken(tmp_path, "subject-8bit", "stormshield")
    case = case_of(client)
    case.fingerprints = (Fingerprint("stormshield", "ttl-step", "a step of the TTL that a firewall there makes"),)
    rank(case)
    assert (case.causes[0].cause, case.causes[0].confidence) == ("stormshield.smtp-231", "likely")
    assert any("TTL" in sign.text for sign in case.causes[0].evidence)


def test_the_generation_that_the_path_shows_is_named(tmp_path: Path) -> None:
    client, _ = broken(tmp_path, "smtp-217", "mailguard:asa-8")
    case = case_of(client)
    sign = Fingerprint("mailguard", "keyword-xed", "XXXXXXXA in the reply to EHLO", ("asa-8",))
    case.fingerprints = (sign,)
    rank(case)
    assert case.causes[0].inspector == "mailguard:asa-8"


def test_what_the_firewalls_log_says_is_certain(tmp_path: Path) -> None:
    client, _ = broken(tmp_path, "smtp-217", "stormshield")
    case = case_of(client)
    line = Cause(
        "stormshield.smtp-217", "rule", "certain", "SMTP protocol overflow", (Sign(None, "alarmid=217"),),
        degree="confirmed",
    )  # fmt: skip
    rank(case, lookalikes=((line,), ()))
    first = case.causes[0]
    assert (first.cause, first.confidence, first.degree) == ("stormshield.smtp-217.header", "certain", "confirmed")
    assert first.evidence[0].text == "alarmid=217"
    assert first.remedies
    assert sum(cause.cause.startswith("stormshield.smtp-217") for cause in case.causes) == 1


def test_beside_what_the_firewalls_log_says_no_look_alike_is_likely(tmp_path: Path) -> None:
    client, _ = broken(tmp_path, "office-macro", "sonicwall")
    case = case_of(client)
    assert {"sonicwall.office-macro", "filter-refuses"} <= {cause.cause for cause in case.causes}
    assert "gateway-virus" not in {cause.cause for cause in case.causes}  # the rules of that gateway say more
    line = Cause("sonicwall.office-macro", "rule", "certain", "macro", (Sign(None, "m=809"),), degree="confirmed")
    refused = Cause("refused", "look-alike", "likely", "the server refuses it")
    rank(case, lookalikes=((line, refused), ()))
    assert case.causes[0].degree == "confirmed"
    assert next(cause for cause in case.causes if cause.cause == "refused").confidence == "unlikely"


def test_what_is_proved_comes_before_every_rule(tmp_path: Path) -> None:
    client, _ = broken(tmp_path, "subject-8bit", "stormshield")
    case = case_of(client)
    proved = Cause("path-mtu", "look-alike", "certain", "path MTU black hole", degree="proved")
    out = Against("zero-window", "ruled-out", "the window was open")
    rank(case, lookalikes=((proved,), (out,)))
    assert case.causes[0].cause == "path-mtu"
    assert {cause.confidence for cause in case.causes[1:]} == {"unlikely"}
    assert out in case.against


class _Refuting:
    def of_case(self, case: Case) -> list[Contrast]:
        return [Contrast("raw 8-bit Subject", 1, 3, 0, 0)]

    def refutes(self, case: Case, cause: Cause) -> Against | None:
        told = cause.cause == "stormshield.smtp-231"
        return Against(cause.cause, "refuted", "mail 4 trips it and was accepted here") if told else None

    def refuted(self, case: Case) -> dict[tuple[str, str], Against]:
        return {}

    def accepted(self, case: Case) -> Seen:
        return Seen()


def test_a_rule_that_an_accepted_mail_trips_is_out(tmp_path: Path) -> None:
    client, _ = broken(tmp_path, "subject-8bit", "stormshield")
    case = case_of(client)
    rank(case, _Refuting())
    assert place(case, "stormshield.smtp-231") is None
    assert case.causes[0].kind == "unknown-filter"
    assert [each.cause for each in case.against if each.kind == "refuted"] == ["stormshield.smtp-231"]
    assert case.contrast[0].property == "raw 8-bit Subject"


def test_a_rule_whose_octet_came_through_is_out(tmp_path: Path) -> None:
    """The client pipelines its commands, and they are answered: no filter of pipelining cut the text behind them."""
    client, _ = broken(tmp_path, "subject-8bit", "stormshield")
    case = case_of(client)
    assert place(case, "stormshield.filter-pipelining") is None
    assert "stormshield.filter-pipelining" in {each.cause for each in case.against if each.kind == "ruled-out"}


def test_a_greeting_in_clear_speaks_against_a_mailguard(tmp_path: Path) -> None:
    client, _ = broken(tmp_path, "smtp-217", "stormshield,preset=rfc5321")
    found = {cause.cause: cause for cause in case_of(client).causes}
    assert found["mailguard.header-line-length"].confidence == "unlikely"
    assert any("unmasked" in sign.text for sign in found["mailguard.header-line-length"].evidence)


def test_what_the_server_itself_refuses_has_no_rule(tmp_path: Path) -> None:
    found = [case for case in diagnose(Asked(str(PCAPS / "refused-recipient.pcap"))).diagnosis.cases if case.causes]
    assert found
    for case in found:
        assert all(cause.kind != "rule" or cause.confidence == "unlikely" for cause in case.causes)


@pytest.mark.parametrize("capture", ["clean-delivery", "several-mails", "starttls", "mime-attachment"])
def test_what_arrived_has_no_cause(capture: str) -> None:
    found = diagnose(Asked(str(PCAPS / f"{capture}.pcap"))).diagnosis.cases
    assert found
    for case in found:
        assert case.causes == []
        assert case.questions == ()


# ---- what to do, what to ask


def test_remedies_begin_at_the_sender_and_go_from_one_peer_to_all(tmp_path: Path) -> None:
    client, _ = broken(tmp_path, "subject-8bit", "stormshield")
    case = case_of(client)
    made = case.causes[0].remedies
    assert [each.where for each in made] == ["sender", "firewall", "firewall", "firewall"]
    assert "RFC 2047" in made[0].title
    assert "this peer" in made[1].title
    assert "this alarm" in made[2].title
    assert "whole inspection" in made[3].title
    assert all(each.loses and each.check and each.undo for each in made)


@pytest.mark.parametrize("spec", surveys.EVERY)
def test_every_rule_that_breaks_has_a_remedy(tmp_path: Path, spec: str) -> None:
    from smtpinspect.diagnose.causes.remedies import on_firewall

    for row in registry.load(spec).table():
        if (row.breaks or row.action.breaks) and row.kind != "seen":
            made = on_firewall(row.id, spec, "192.0.2.1")
            assert made, row.id
            assert not any("PEER" in line for each in made for line in each.commands)


def test_the_question_names_time_connection_and_alarm(tmp_path: Path) -> None:
    client, _ = broken(tmp_path, "subject-8bit", "stormshield")
    case = case_of(client)
    asked = questions(case)[0]
    assert f"src {case.flow.client} dst {case.flow.server}" in asked
    assert " UTC" in asked
    assert "alarmid=231" in asked
    assert "507003" in asked
    assert "m=809" in asked


# ---- bounds


def test_a_survey_keeps_no_more_than_its_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "DIAGNOSED_ACCEPTED", 1)
    found = survey(str(PCAPS / "several-mails.pcap"))
    accepted = [case for case in found.cases if case.mail is not None and case.mail.outcome == "accepted"]
    assert len(accepted) == 1
    assert found.left_out[0] > 0


def test_of_an_accepted_mail_only_what_would_have_cut_it_is_kept() -> None:
    found = survey(str(PCAPS / "subject-8bit.pcap")).cases[0]
    assert "stormshield.smtp-231" in {alert.rule for alert in found.alerts}
    assert len({(alert.inspector, alert.rule) for alert in found.alerts}) == len(found.alerts)
    assert not any(alert.action in ("alarm", "rewrite") and not alert.breaks for alert in found.alerts)


def test_an_instance_is_judged_like_a_spec(tmp_path: Path) -> None:
    client, _ = broken(tmp_path, "subject-8bit", "stormshield")
    made = survey(client, [registry.load("stormshield")])
    specs: Mapping[str, Any] = made.specs
    assert list(specs) == ["stormshield"]
    assert {alert.rule for case in made.cases for alert in case.alerts} == {"stormshield.smtp-231"}
    for case in made.cases:
        assert what_if(case).relax == ()  # nothing is ranked yet
