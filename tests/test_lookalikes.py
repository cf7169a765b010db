"""Look-alikes by hand-made captures: where each is found, how sure, and where it is ruled out."""

from __future__ import annotations

import io
from collections.abc import Callable
from contextlib import suppress

import pytest

from kit import capture
from kit.breaks import (
    acknowledged_too_late,
    came_in_pieces,
    closed_by_a_late_route,
    narrow,
    narrowed,
    often_lost,
    told_that_it_was_too_many,
    waited_for_text,
)
from kit.broken import Connection, message
from kit.wire import START, V4, Ends, Packet
from smtpinspect.diagnose import lookalikes
from smtpinspect.diagnose.account import accounts
from smtpinspect.diagnose.lookalikes.table import NAMES, TABLE
from smtpinspect.diagnose.model import Against, Case, Cause, Reading
from smtpinspect.diagnose.observe.outcome import observe
from smtpinspect.diagnose.reading.means import explained
from smtpinspect.diagnose.survey import survey
from smtpinspect.errors import CaptureError
from smtpinspect.grammar.words import PHASES
from smtpinspect.simulate.script import script_of

FIRST = 1460  # octets of a full segment
CLOSED = Ends(client_port=40113)


def judged(*connections: Connection, snaplen: int = capture.SNAPLEN, cut: int = 0) -> dict[str, Cause | Against]:
    """What is said of the mail of the first connection, by name."""
    packets = sorted((p for each in connections for p in each.packets), key=lambda p: p.time)
    octets = capture.pcap(capture.records(packets, snaplen=snaplen))
    octets = octets[: len(octets) - cut]
    seen = survey(io.BytesIO(octets), [])
    found = accounts(io.BytesIO(octets), [case.flow for case in seen.cases])
    client = connections[0].ends.names()[0]
    for each in seen.cases:
        each.account = found[each.flow.flow_id]
        with suppress(CaptureError):
            each.script = script_of(io.BytesIO(octets), each.flow.first_packet)
        each.transaction = each.script.mails[-1] if each.script is not None and each.script.mails else None
        each.observed = observe(each)
    case = next(case for case in seen.cases if case.flow.client == client)
    causes, against = lookalikes.judge(case, lookalikes.around(seen))
    assert not {cause.cause for cause in causes} & {each.cause for each in against}
    return {each.cause: each for each in (*against, *causes)}


def said(told: dict[str, Cause | Against], name: str) -> str:
    each = told.get(name)
    return "nothing" if each is None else each.confidence if isinstance(each, Cause) else "ruled out"


def text_lost(octets: int = 4000, *, tail_passes: bool) -> Connection:
    """The full segments of the text never arrive, the first is sent six times."""
    made = Connection().envelope()
    at = made.sent["C"]
    text = message(octets)
    full = len(text) // FIRST * FIRST
    made.say("C", text[:full], arrives=False).say("C", text[full:], arrives=tail_passes)
    if tail_passes:
        made.ack("S")
    for n in range(5):
        made.wait(0.4 * 2**n).again("C", at, FIRST)
    return made.wait(2).close("C", answered=False) if not tail_passes else made.wait(2).close("C")


def small_lost() -> Connection:
    """One small segment is lost again and again, as by a content rule."""
    made = Connection().envelope()
    at = made.sent["C"]
    text = message(400)
    made.say("C", text, arrives=False)
    for n in range(5):
        made.wait(0.4 * 2**n).again("C", at, len(text))
    return made.wait(2).close("C", answered=False)


def large_then_small_lost() -> Connection:
    made = Connection().envelope()
    text = message(4000)
    made.say("C", text[:FIRST], acked=True)
    at = made.sent["C"]
    made.say("C", text[FIRST:], arrives=False)
    for n in range(5):
        made.wait(0.4 * 2**n).again("C", at, FIRST)
    return made.wait(2).close("C", answered=False)


def told_by_router() -> Connection:
    made = Connection().envelope()
    at = made.sent["C"]
    made.say("C", message(1600)[:FIRST], arrives=False).icmp("203.0.113.1", 3, 4, 1400)
    return made.wait(0.4).again("C", at, FIRST).wait(0.8).again("C", at, FIRST).wait(5).close("C", answered=False)


def shut(until: float, *, reopens: bool = False) -> Connection:
    made = Connection().envelope()
    made.window["S"] = 0
    made.say("C", message(4000)[:FIRST], acked=True)
    made.wait(until / 2).ack("C").ack("S").wait(until / 2).ack("C").ack("S")
    if reopens:
        made.window["S"] = 65535
        made.ack("S").say("C", message(4000)[FIRST:], arrives=False)
    return made.wait(5).reset("C")


def scanned(*, late: bool, answers: bool = True, after: float = 600) -> Connection:
    made = Connection().envelope().say("C", message(600), acked=True).wait(after)
    made.close("C", answered=answers)
    return made.wait(20).say("S", b"250 2.0.0 Ok\r\n").reset("C") if late else made


def gone(*, again: bool) -> list[Connection]:
    made = Connection().envelope().say("C", message(600)[:100], acked=True).wait(0.2).reset("S")
    refused = Connection(CLOSED, start=made.now + 3)
    refused.emit("C", 2)
    refused.got["S"] = 0
    refused.emit("S", 0x14, at=-1)
    return [made, refused] if again else [made]


def forged() -> Connection:
    return Connection().envelope().say("C", message(600)[:100], acked=True).reset("S", ttl=255)


def refused(reply: bytes) -> Connection:
    made = Connection().envelope().say("C", message(600), acked=True).say("S", reply, acked=True)
    return made.say("C", b"QUIT\r\n").say("S", b"221 Bye\r\n").close("S").close("C")


def slow(delay: float) -> Connection:
    made = Connection().envelope(delay=delay).say("C", message(600), acked=True).wait(30)
    return made.close("C")


def silent(seconds: float) -> Connection:
    """A pause in the middle of the text; then nothing comes through."""
    made = Connection().envelope()
    made.say("C", message(600)[:100], acked=True).wait(seconds)
    at = made.sent["C"]
    made.say("C", message(600)[100:], arrives=False)
    for n in range(4):
        made.wait(0.4 * 2**n).again("C", at, 300)
    return made.wait(3).close("C", answered=False)


def lossy(times: int) -> Connection:
    """So many segments come through at the second try, the last one never."""
    made = Connection().envelope()
    text = message(12_000)
    for n in range(5):
        at = made.sent["C"]
        made.say("C", text[n * 700 : n * 700 + 700], arrives=n >= times)
        if n < times:
            made.wait(0.3).again("C", at, 700, arrives=True)
        made.ack("S")
    at = made.sent["C"]
    made.say("C", text[3500:4200], arrives=False)
    for n in range(5):
        made.wait(0.4 * 2**n).again("C", at, 700)
    return made.wait(3).close("C", answered=False)


def unheard() -> Connection:
    """The client's answer to EHLO's reply is cut, and with it the acknowledgement of that: the server says it again."""
    made = Connection().open().say("S", b"220 mx.example.net ESMTP\r\n", acked=True)
    made.say("C", b"EHLO out.example.org\r\n", acked=True)
    there, here = made.sent["S"], made.sent["C"]
    made.say("S", b"250 mx.example.net\r\n").say("C", b"MAIL FROM:<alice@example.org>\r\n", arrives=False)
    made.wait(0.2).again("C", here, 31).again("S", there, 20, arrives=True).ack("C")
    for n in range(5):
        made.wait(0.4 * 2**n).again("C", here, 31)
    return made.wait(3).close("C", answered=False)


def ending(text: bytes) -> Connection:
    made = Connection().envelope().say("C", message(300)[:-3] + text[:-3]).say("C", text[-3:], acked=True)
    return made.wait(30).close("C")


def ended_by_the_server(text: bytes) -> Connection:
    made = Connection().envelope().say("C", message(300)[:-3] + text, acked=True).wait(300)
    made.say("S", b"421 4.4.2 Error: timeout exceeded\r\n", acked=True).close("S")
    return made.say("C", b"QUIT\r\n", arrives=False).reset("S")


def late_greeting() -> Connection:
    made = Connection().open().wait(20).close("C").wait(5)
    return made.say("S", b"220 mx.example.net ESMTP\r\n").reset("C")


def seen_behind_the_loss() -> Connection:
    """At the receiver: what was lost is not there, what fills the holes comes late."""
    made = Connection().envelope()
    text = message(9000)
    for n in range(4):
        at = made.sent["C"]
        made.say("C", text[n * 1400 : n * 1400 + 700], arrives=False, seen=False)
        made.say("C", text[n * 1400 + 700 : n * 1400 + 1400], acked=True).wait(0.3)
        made.again("C", at, 700, arrives=True).ack("S")
    return made.wait(20).say("S", b"421 4.4.2 timeout\r\n").close("S", answered=False)


def behind(ttl: int, ends: Ends, *, breaks: bool) -> Connection:
    made = Connection(ends, ttl=ttl, start=1_700_000_000.0 + ends.client_port)
    if not breaks:
        return made.delivered()
    made.envelope().say("C", message(600), acked=True).wait(30)
    return made.close("C", answered=False)


def syns(count: int, *, answer: int = 0, ends: Ends = V4, start: float = START) -> Connection:
    made = Connection(ends, start=start)
    for n in range(count):
        made.emit("C", 2).wait(2**n)
    return made.emit("S", answer, at=-1) if answer else made


def stops() -> Connection:
    return Connection().envelope().say("C", message(600)[:200], acked=True)


def goes_on(seconds: float) -> list[Connection]:
    return [stops(), Connection(CLOSED, start=1_700_000_000.0 + seconds).delivered()]


def one_sided(side: str) -> Connection:
    made = Connection().envelope().say("C", message(600), acked=True).wait(10).close("C")
    made.packets = [p for p in made.packets if p.direction == side]
    return made


def gappy() -> Connection:
    made = Connection().envelope().say("C", message(600)[:100], acked=True)
    made.say("C", message(600)[100:400], seen=False, acked=True)
    return made.wait(10).close("C")


def outage(others: int) -> list[Connection]:
    made = [small_lost()]
    for n in range(others):
        other = Connection(Ends(client_port=50_000 + n)).envelope()
        at = other.sent["C"]
        other.say("C", message(300), arrives=False).wait(1).again("C", at, 300).wait(12).close("C", answered=False)
        made.append(other)
    return made


def dead(others: int, tries: int = 4) -> list[Connection]:
    """Behind it SYNs of others get no answer."""
    ports = range(40_200, 40_200 + others)
    return [small_lost(), *(syns(tries, ends=Ends(client_port=port), start=START + 30) for port in ports)]


def meanwhile() -> list[Connection]:
    return [small_lost(), Connection(CLOSED, start=1_700_000_003.0).delivered()]


# name, what is said of it, the capture
CASES: list[tuple[str, str, Callable[[], Connection | list[Connection]]]] = [
    ("path-mtu", "likely", lambda: text_lost(tail_passes=True)),
    ("path-mtu", "likely", came_in_pieces),
    ("path-mtu", "nothing", acknowledged_too_late),
    ("path-mtu", "certain", told_by_router),
    ("path-mtu", "ruled out", lambda: text_lost(tail_passes=False)),
    ("path-mtu", "ruled out", small_lost),
    ("path-mtu", "ruled out", large_then_small_lost),
    ("path-mtu", "possible", lambda: text_lost(1800, tail_passes=True)),
    ("path-mtu", "unlikely", narrow),
    ("path-mtu", "possible", lambda: told_that_it_was_too_many(twice=True)),
    ("path-mtu", "nothing", lambda: waited_for_text(at_receiver=True)),
    ("path-mtu", "ruled out", lambda: waited_for_text(at_receiver=True, complete=True)),
    ("loss", "ruled out", lambda: told_that_it_was_too_many(twice=True)),
    ("loss", "possible", lambda: told_that_it_was_too_many(twice=False)),
    ("loss", "likely", often_lost),
    ("idle-timeout", "ruled out", lambda: waited_for_text(at_receiver=True)),
    ("idle-timeout", "ruled out", lambda: waited_for_text(at_receiver=False)),
    ("idle-timeout", "likely", lambda: waited_for_text(at_receiver=True, complete=True)),
    ("milter", "nothing", lambda: refused(b"451 4.3.0 Temporary lookup failure\r\n")),
    ("refused", "likely", lambda: refused(b"451 4.3.0 Temporary lookup failure\r\n")),
    ("tarpit", "ruled out", lambda: ended_by_the_server(b"x")),
    ("sender-stopped", "nothing", lambda: ending(b"end.\r\n")),
    ("sender-stopped", "likely", lambda: waited_for_text(at_receiver=False)),
    ("sender-stopped", "nothing", lambda: waited_for_text(at_receiver=True)),
    ("sender-stopped", "nothing", lambda: waited_for_text(at_receiver=False, complete=True)),
    ("sender-stopped", "nothing", lambda: silent(90)),
    ("sender-stopped", "ruled out", lambda: shut(40)),
    ("server-gone", "possible", closed_by_a_late_route),
    ("filter-refuses", "ruled out", lambda: refused(b"550 5.1.7 <virus@spam.example>: sender unknown\r\n")),
    ("slow-scanner", "ruled out", lambda: refused(b"550 5.1.1 no such user\r\n")),
    ("zero-window", "certain", lambda: shut(40)),
    ("zero-window", "ruled out", lambda: shut(4, reopens=True)),
    ("zero-window", "ruled out", small_lost),
    ("zero-window", "likely", lambda: narrowed(0)),
    ("zero-window", "nothing", lambda: narrowed(3)),
    ("slow-scanner", "nothing", acknowledged_too_late),
    ("slow-scanner", "certain", lambda: scanned(late=True)),
    ("slow-scanner", "likely", lambda: scanned(late=False)),
    ("slow-scanner", "ruled out", lambda: scanned(late=False, answers=False)),
    ("slow-scanner", "ruled out", small_lost),
    ("server-gone", "likely", lambda: gone(again=True)),
    ("server-gone", "possible", lambda: gone(again=False)),
    ("server-gone", "ruled out", forged),
    ("server-gone", "likely", lambda: refused(b"421 4.3.2 Service shutting down\r\n")),
    ("full-disk", "likely", lambda: refused(b"452 4.3.1 Insufficient system storage\r\n")),
    ("full-disk", "ruled out", lambda: refused(b"451 4.7.1 Service unavailable - try again later\r\n")),
    ("full-disk", "ruled out", small_lost),
    ("server-gone", "ruled out", lambda: refused(b"421 4.3.2 too busy\r\n")),
    ("busy", "likely", lambda: refused(b"421 4.3.2 too busy\r\n")),
    ("busy", "likely", lambda: refused(b"421 4.7.0 Too many connections from your IP\r\n")),
    ("busy", "ruled out", lambda: refused(b"550 5.1.1 no such user\r\n")),
    ("refused", "likely", lambda: refused(b"421 4.3.0 not now\r\n")),
    ("filter-refuses", "likely", lambda: refused(b"554 5.7.1 virus found\r\n")),
    ("filter-refuses", "possible", lambda: refused(b"552 5.7.0 This message contains a virus\r\n")),
    ("filter-refuses", "ruled out", lambda: refused(b"550 5.1.1 no such user\r\n")),
    ("full-disk", "likely", lambda: refused(b"552 5.2.2 mailbox full\r\n")),
    ("milter", "ruled out", lambda: refused(b"554 5.7.1 virus found\r\n")),
    ("strict-end", "ruled out", lambda: refused(b"550 5.1.1 no such user\r\n")),
    ("strict-end", "nothing", lambda: syns(4)),
    ("slow-scanner", "nothing", lambda: syns(4)),
    ("outage", "possible", lambda: dead(1, tries=2)),
    ("outage", "likely", lambda: dead(1)),
    ("outage", "likely", lambda: dead(2)),
    ("milter", "likely", lambda: refused(b"451 4.7.1 Service unavailable - try again later\r\n")),
    ("milter", "ruled out", lambda: refused(b"550 5.1.1 no such user\r\n")),
    ("greylisting", "likely", lambda: refused(b"450 4.2.0 Greylisted, see http://example.org\r\n")),
    ("greylisting", "ruled out", lambda: refused(b"550 5.1.1 no such user\r\n")),
    ("refused", "likely", lambda: refused(b"550 5.1.1 no such user\r\n")),
    ("filter-refuses", "possible", lambda: refused(b"552 5.7.0 This message contains a virus\r\n")),
    ("busy", "likely", lambda: refused(b"421 4.3.2 too busy\r\n")),
    ("server-gone", "ruled out", lambda: refused(b"421 4.3.2 too busy\r\n")),
    ("filter-refuses", "likely", lambda: refused(b"554 5.7.1 virus found\r\n")),
    ("gateway-virus", "possible", lambda: refused(b"552 5.7.0 Message blocked by gateway anti-virus\r\n")),
    ("gateway-virus", "ruled out", lambda: refused(b"550 5.1.1 no such user\r\n")),
    ("tarpit", "likely", lambda: slow(6)),
    ("tarpit", "nothing", lambda: slow(0.1)),  # the last reply was waited for in vain
    ("tarpit", "ruled out", small_lost),
    ("idle-timeout", "likely", lambda: silent(90)),
    ("idle-timeout", "possible", lambda: silent(20)),
    ("idle-timeout", "ruled out", lambda: silent(2)),
    ("loss", "possible", lambda: lossy(3)),
    ("loss", "possible", lambda: lossy(1)),
    ("loss", "ruled out", lambda: lossy(0)),
    ("loss", "ruled out", unheard),
    ("strict-end", "certain", lambda: ending(b"x\n.\n")),
    ("strict-end", "certain", lambda: ending(b"x\n.\r\n")),
    ("strict-end", "certain", lambda: ended_by_the_server(b"x\n.\n")),
    ("strict-end", "ruled out", lambda: ended_by_the_server(b"x\r\n.\r\n")),
    ("loss", "possible", seen_behind_the_loss),
    ("tarpit", "likely", late_greeting),
    ("sender-timeout", "certain", late_greeting),
    ("strict-end", "ruled out", lambda: ending(b"x\r\n.\r\n")),
    ("missing-crlf", "certain", lambda: ending(b"end.\r\n")),
    ("missing-crlf", "ruled out", lambda: ending(b"end\r\n.\r\n")),
    ("sender-timeout", "certain", lambda: scanned(late=True, after=20)),
    ("sender-timeout", "likely", lambda: scanned(late=False, after=20)),
    ("sender-timeout", "ruled out", lambda: scanned(late=False, after=600)),
    ("sender-timeout", "ruled out", small_lost),
    ("port-filter", "possible", lambda: syns(4)),
    ("port-filter", "certain", lambda: syns(1, answer=0x14)),
    ("port-filter", "certain", lambda: syns(1).icmp("203.0.113.1", 3, 13)),
    ("port-filter", "ruled out", small_lost),
    ("outage", "likely", lambda: outage(2)),
    ("outage", "possible", lambda: outage(1)),
    ("outage", "ruled out", meanwhile),
    ("capture-stopped", "possible", stops),
    ("capture-stopped", "likely", lambda: goes_on(0)),
    ("capture-stopped", "ruled out", lambda: goes_on(60)),
    ("capture-stopped", "ruled out", small_lost),
    ("capture-one-way", "certain", lambda: one_sided("C")),
    ("capture-one-way", "ruled out", small_lost),
    ("capture-gaps", "likely", gappy),
    ("capture-gaps", "ruled out", small_lost),
]


@pytest.mark.parametrize(("name", "expected", "made"), CASES, ids=[f"{n}-{e}-{i}" for i, (n, e, _) in enumerate(CASES)])
def test_what_is_said(name: str, expected: str, made: Callable[[], Connection | list[Connection]]) -> None:
    connections = made()
    told = judged(*(connections if isinstance(connections, list) else [connections]))
    assert said(told, name) == expected, told.get(name)


def several(bad: int, good: int) -> list[Connection]:
    """Broken ones first; the good ones have another TTL."""
    made = [behind(57, Ends(client_port=40_000 + n), breaks=True) for n in range(bad)]
    return made + [behind(ttl, Ends(client_port=41_000 + n), breaks=False)
                   for n, ttl in enumerate([good] * 2)]  # fmt: skip


def test_one_server_of_several() -> None:
    assert said(judged(*several(2, 62)), "one-bad-mx") == "likely"
    assert said(judged(*several(1, 62)), "one-bad-mx") == "possible"
    assert said(judged(*several(2, 57)), "one-bad-mx") == "nothing"
    assert said(judged(*several(2, 62), behind(57, Ends(client_port=42_000), breaks=False)), "one-bad-mx") == "unlikely"
    assert said(judged(*several(2, 62)[:2]), "one-bad-mx") == "nothing"


def test_a_damaged_capture_ends_too_early() -> None:
    assert said(judged(stops(), cut=20), "capture-stopped") == "certain"


def test_a_short_snap_length_hides_octets_and_loses_no_packet() -> None:
    told = judged(small_lost(), snaplen=120)
    assert said(told, "capture-gaps") == "ruled out"
    assert "snap length" in told["capture-gaps"].text  # type: ignore[union-attr]


def test_certain_means_proved() -> None:
    for name, expected, made in CASES:
        connections = made()
        told = judged(*(connections if isinstance(connections, list) else [connections]))
        for each in told.values():
            if isinstance(each, Cause):
                assert (each.confidence == "certain") == (each.degree == "proved"), (name, expected, each)
                assert each.evidence
            else:
                assert each.kind == "ruled-out"
                assert each.text


def test_every_row_is_whole_and_tried() -> None:
    assert len(set(NAMES)) == len(NAMES)
    tried = {name for name, _, _ in CASES} | {"one-bad-mx"}
    assert set(NAMES) == tried
    for row in TABLE:
        assert row.title
        assert row.remedies
        assert row.clears
        assert row.source


def test_a_log_line_calls_them_by_the_same_names() -> None:
    phases, kinds = PHASES[:-1], ("drop", "rst", "fin", "reply")
    told = {
        cause.cause
        for phase in phases for kind in kinds
        for cause in explained(Reading("", "exim", (str(phase),), (kind,), fate="deferred")).causes
        if cause.kind == "look-alike"
    }  # fmt: skip
    assert len(told) == 9 and told <= set(NAMES)


def test_without_packets_nothing_is_said() -> None:
    octets = capture.pcap(capture.records(small_lost().packets))
    seen = survey(io.BytesIO(octets), [])
    assert lookalikes.judge(seen.cases[0], lookalikes.around(seen)) == ([], [])


def test_any_part_of_a_capture_can_be_judged() -> None:
    for made in (text_lost(tail_passes=True), scanned(late=True), shut(40), refused(b"452 full\r\n")):
        for end in range(1, len(made.packets)):
            part: list[Packet] = made.packets[:end]
            octets = capture.pcap(capture.records(part))
            seen = survey(io.BytesIO(octets), [])
            found = accounts(io.BytesIO(octets), [case.flow for case in seen.cases])
            for case in seen.cases:
                case.account = found.get(case.flow.flow_id)
                lookalikes.judge(Case(case.flow, case.mail, account=case.account), lookalikes.around(seen))


def test_octets_that_never_came_behind_segments_that_the_host_joined() -> None:
    made = Connection(mss=4_000).envelope().say("C", b"Subject: a\r\n" * 250, acked=True)
    made.say("C", b"text\r\n" * 300, arrives=False, seen=False).wait(5).ack("C")
    told = judged(made)["path-mtu"]
    assert isinstance(told, Cause) and "which never came here" in told.evidence[0].text
