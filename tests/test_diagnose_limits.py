"""Rules whose limit or list is the administrator's own: nothing trips a default, and what was cut measures more than
all that came through."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from kit import capture
from kit.broken import GREETING, Connection
from kit.wire import START, Ends
from smtpinspect._core.views import Alert
from smtpinspect.diagnose.causes.limits import LISTS, MOST, TABLE, Limit
from smtpinspect.diagnose.causes.scene import scene_of
from smtpinspect.diagnose.face import Asked, diagnose
from smtpinspect.diagnose.measures import measured
from smtpinspect.diagnose.model import Case, Cause
from smtpinspect.engine import Engine
from smtpinspect.grammar import limits
from smtpinspect.report.diagnose_page import page
from smtpinspect.report.terminal import Style

Frames = list[tuple[float, bytes]]
OK = b"250 2.0.0 Ok\r\n"
HELLO = (b"EHLO out.example.org\r\n", b"250 mx.example.net\r\n")
MAIL = (b"MAIL FROM:<alice@example.org>\r\n", OK)
RCPT = (b"RCPT TO:<bob@example.net>\r\n", OK)
DATA = (b"DATA\r\n", b"354 go on\r\n")
HEADER = "stormshield.smtp-217.header"
ASA_HEADER = "mailguard.header-line-length"
GUESSED = {*(each.rule for each in TABLE), *(each.rule for each in LISTS)}


def text(line: int = 70, *, body: int = 70, to: int = 1, more: bytes = b"") -> bytes:
    """A mail whose longest header line has so many octets, its body's likewise; with its end mark."""
    people = b", ".join(b"p%d@example.net" % n for n in range(to))
    head = b"From: <alice@example.org>\r\nTo: " + people + b"\r\nSubject: " + b"s" * (line - 9) + b"\r\n"
    return head + more + b"\r\n" + b"x" * body + b"\r\n.\r\n"


def attached(name: str, kind: str = "application/zip", encoding: str = "base64") -> bytes:
    part = f'Content-Type: {kind}; name="x.zip"\r\nContent-Transfer-Encoding: {encoding}\r\n'
    part += f'Content-Disposition: attachment;\r\n filename="{name}"\r\n'
    return text(more=b"Content-Type: multipart/mixed; boundary=edge\r\n")[:-3] + (
        f"--edge\r\n{part}\r\nAAAA\r\n--edge--\r\n.\r\n".encode()
    )


def dialogue(*said: tuple[bytes, bytes], number: int = 0, server: str = "198.51.100.25") -> Connection:
    """Each command with its reply, all of which came through."""
    made = Connection(Ends(server=server, client_port=40_000 + number), start=START + 60 * number)
    made.open().say("S", GREETING, acked=True)
    for command, reply in said:
        made.say("C", command, acked=True).say("S", reply, acked=True)
    return made


def cut(made: Connection, octets: bytes) -> Connection:
    """These are dropped, and all behind them."""
    at = made.sent["C"]
    made.say("C", octets, arrives=False)
    for n in range(5):
        made.wait(0.4 * 2**n).again("C", at, min(len(octets), made.mss))
    return made.wait(2).close("C", answered=False)


def mail(octets: bytes, *, arrives: bool = False, number: int = 0, server: str = "198.51.100.25") -> Connection:
    made = dialogue(HELLO, MAIL, RCPT, DATA, number=number, server=server)
    if not arrives:
        return cut(made, octets)
    return made.say("C", octets, acked=True).say("S", OK, acked=True).close("C")


def frames(*connections: Connection) -> Frames:
    return capture.frames(sorted((p for each in connections for p in each.packets), key=lambda p: p.time))


def case_of(*connections: Connection, inspectors: Sequence[str] | None = None) -> Case:
    """The one that failed."""
    told = diagnose(Asked(frames(*connections), inspectors=tuple(inspectors) if inspectors else None))
    (case,) = (case for case in told.diagnosis.cases if case.failed)
    return case


def guesses(case: Case) -> dict[str, Cause]:
    return {each.cause: each for each in case.causes if each.cause in GUESSED and each.alert is None}


def fired(spec: str, rule: str, *connections: Connection) -> list[int]:
    """Client's stream offsets at which it fires."""
    alerts = Engine([spec]).run(frames(*connections), records={"alert"})
    return [each.offset for each in alerts if isinstance(each, Alert) and each.rule == rule]


TEXT = mail(text(400, body=300, to=5))
FILE = mail(attached("a name of some length, and of a little more of it, and more.zip"))
LONG = b"MAIL FROM:<%s@example.org>\r\n" % (b"a" * 80)
GROUP = cut(dialogue(HELLO), LONG + RCPT[0] * 12 + DATA[0])
REFUSED = [(b"RCPT TO:<p%d@example.net>\r\n" % n, b"550 5.1.1 unknown\r\n") for n in range(3)]
STRANGERS = cut(dialogue(HELLO, MAIL, *REFUSED), b"RCPT TO:<p9@example.net>\r\n")
SCENES = {"text": TEXT, "file": FILE, "group": GROUP, "strangers": STRANGERS}


@pytest.mark.parametrize("row", [each for each in TABLE if each.measure != "refused"], ids=lambda each: each.rule)
def test_the_measure_is_what_the_rule_counts(row: Limit) -> None:
    """A limit one below it is tripped, a limit of as much is not."""
    for scene in (TEXT, FILE, GROUP):
        case = case_of(scene)
        place = scene_of(case)
        assert case.script is not None and place is not None
        number = measured(case.script, place.client.through, place.client.first)[1].most.get(row.measure, 0) + row.ends
        if number > (64 if "line" in row.measure else 1):
            assert fired(row.specs[0].format(number - 1), row.rule, scene), number
            assert not fired(row.specs[0].format(number), row.rule, scene), number
            return
    pytest.fail(f"no scene trips {row.rule}")


@pytest.mark.parametrize("name", SCENES)
def test_each_guess_fires_in_what_was_cut_and_not_before(name: str) -> None:
    scene = SCENES[name]
    case = case_of(scene)
    place = scene_of(case)
    assert place is not None
    found = guesses(case)
    assert found
    for rule, cause in found.items():
        if rule != "mailguard.invalid-recipients":  # the reply that decides never came
            offsets = fired(cause.inspector, rule, scene)
            assert offsets and min(offsets) >= place.client.through, (rule, cause.inspector)


@pytest.mark.parametrize("name", SCENES)
def test_nobody_knows_them_so_they_stand_behind_the_filter_that_nobody_knows(name: str) -> None:
    case = case_of(SCENES[name])
    found = guesses(case)
    unknown = next(each for each in case.causes if each.kind == "unknown-filter")
    assert {each.confidence for each in found.values()} == {"possible"}
    assert all(each.rank > unknown.rank for each in found.values())
    assert len(found) <= MOST
    assert not case.what_if.relax or not set(case.what_if.relax) & set(found)


def test_the_oddest_measure_comes_first() -> None:
    """A header line of 400 octets is rarer than a body of 600 or a sender."""
    found = guesses(case_of(mail(text(400, body=600))))
    ranks = {rule: cause.rank for rule, cause in found.items()}
    assert ranks[HEADER] == ranks[ASA_HEADER] < ranks["mailguard.body-length"]


def test_it_says_what_was_measured_and_what_the_product_allows() -> None:
    case = case_of(mail(text(400)))
    assert guesses(case)[HEADER].evidence[0].text == (
        "longest header line of what was cut: 400 bytes; the limit of your box is unknown "
        "(stormshield: 64 to 4,096, mailguard: any number): it fits if it is lower"
    )
    told = diagnose(Asked(frames(mail(text(400))))).diagnosis
    lines = "\n".join(page(told, None, Style(False)))
    assert f"possible  {HEADER} or {ASA_HEADER}" in lines
    assert lines.count("longest header line of what was cut: 400 bytes") == 1


def test_below_what_the_product_allows_it_is_out() -> None:
    assert HEADER not in guesses(case_of(mail(text(60))))


@pytest.mark.parametrize(("line", "fits"), [(400, False), (500, False), (501, True)])
def test_a_line_as_long_that_came_through_before_rules_it_out(line: int, fits: bool) -> None:
    made = dialogue(HELLO, MAIL, RCPT, DATA, (text(500), OK), MAIL, RCPT, DATA)
    found = guesses(case_of(cut(made, text(line))))
    assert (HEADER in found) == (ASA_HEADER in found) == fits
    if fits:
        assert "at least 500 came through" in found[HEADER].evidence[0].text


@pytest.mark.parametrize(("server", "fits"), [("198.51.100.25", False), ("203.0.113.99", True)])
def test_an_accepted_mail_of_the_same_path_rules_it_out(server: str, fits: bool) -> None:
    case = case_of(mail(text(500), arrives=True, server=server), mail(text(400), number=1))
    assert (HEADER in guesses(case)) == (ASA_HEADER in guesses(case)) == fits


def test_mails_at_which_nobody_looked_closer_rule_out_by_their_properties(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MEASURED_MAILS", 0)
    accepted = mail(text(600), arrives=True)
    assert HEADER not in guesses(case_of(accepted, mail(text(500), number=1)))
    assert HEADER in guesses(case_of(accepted, mail(text(550), number=1)))  # above 512 is all that is known of it


def test_a_verb_that_came_through_is_in_no_list() -> None:
    rules = {"mailguard.cmd-verb", "stormshield.command-denied"}
    assert rules <= guesses(case_of(cut(dialogue(HELLO), MAIL[0]))).keys()
    made = dialogue(HELLO, MAIL, RCPT, DATA, (text(), OK))
    assert not rules & guesses(case_of(cut(made, MAIL[0]))).keys()


def test_what_fits_at_the_defaults_comes_before() -> None:
    case = case_of(mail(text(400, more=b"X-A: \xc3\xa9\r\n")))
    assert case.causes[0].cause == "stormshield.smtp-122"
    assert guesses(case)[HEADER].rank > case.causes[0].rank


def test_beside_it_only_what_is_odd_is_guessed() -> None:
    found = guesses(case_of(mail(text(more=b"X-A: \xc3\xa9\r\n", body=600))))
    assert set(found) == {"mailguard.body-line-length"}


def test_nobody_forbids_to_quit() -> None:
    found = guesses(case_of(cut(dialogue(HELLO), b"QUIT\r\n")))
    assert not {"mailguard.cmd-verb", "stormshield.command-denied"} & found.keys()


def test_what_is_proved_leaves_nothing_to_guess() -> None:
    made = dialogue(HELLO, MAIL, RCPT, DATA)
    made.say("C", text(1300, body=1400)[:1460], arrives=False).icmp("192.0.2.1", 3, 4, 1280)
    case = case_of(made.wait(5).again("C", made.sent["C"] - 1460, 1460).wait(60).close("C", answered=False))
    assert case.causes[0].cause == "path-mtu"
    assert case.causes[0].confidence == "certain"
    assert not guesses(case)


@pytest.mark.parametrize(
    ("told", "fits"),
    [("stormshield", True), ("stormshield,header_line_limit=1000", False), ("mailguard:pix-6", False)],
)
def test_a_limit_that_is_told_is_not_guessed(told: str, fits: bool) -> None:
    found = guesses(case_of(mail(text(400)), inspectors=[told]))
    assert (HEADER in found) == fits
    assert ASA_HEADER not in found


def test_where_a_pix_shows_itself_no_map_is_guessed() -> None:
    stars = b"220 *******************0**0*0*0***********0*************0*****\r\n"
    made = Connection().open().say("S", stars, acked=True)
    for command, reply in (HELLO, MAIL, RCPT, DATA):
        made.say("C", command, acked=True).say("S", reply, acked=True)
    found = guesses(case_of(cut(made, text(400))))
    assert ASA_HEADER not in found
    assert HEADER in found


def test_the_receivers_capture_measures_nothing() -> None:
    made = dialogue(HELLO, MAIL, RCPT, DATA).wait(300)
    case = case_of(made.say("S", b"421 4.4.2 timeout\r\n").close("S", answered=False))
    assert not any("of what was cut" in sign.text for cause in case.causes for sign in cause.evidence)
