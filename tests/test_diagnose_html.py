"""The diagnosis as an HTML file: what stands in it, and what a browser makes of it."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from copy import copy
from pathlib import Path

import pytest

from browsing import Browser
from dealing import connection
from diagnosed import PCAPS, QUESTION, by_hand, cut_capture, looked_at
from kit import capture, wire
from kit.segment import RST, Segment
from smtpinspect import cli
from smtpinspect.diagnose.account import accounts
from smtpinspect.diagnose.model import Break, By, Cause, Diagnosis, Difference, Sign
from smtpinspect.report.html.document import document
from smtpinspect.report.html.ladder import rungs

HOSTILE = r"""
S: 220 mx.example
C: EHLO <script>alert(1)</script>
S: 250-mx.example<img src=x onerror=alert(2)>
S: 250 AUTH PLAIN LOGIN
C: AUTH PLAIN AHVzZXIAcGFzc3dvcmQ=
S: 235 ok
C: MAIL FROM:<"><script>document.title='pwned'</script>@example.org>
S: 250 ok
C: RCPT TO:<bob@example.net>
S: 250 ok
C: DATA
S: 354 go
C: Subject: </title></style><script>document.title='pwned'</script>
C: X-Turned: \xe2\x80\xaegnp.exe \x1b[2J \x00 R\xe9union
C: X-Link: " onmouseover="alert(3)
C:
C: http://192.0.2.1/pixel.png
C: .
S: 552 5.2.0 no <script>document.title='pwned'</script>
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("html")


@pytest.fixture(scope="module")
def filled(folder: Path) -> Diagnosis:
    return by_hand(cut_capture(folder))


@pytest.fixture(scope="module")
def hostile(folder: Path) -> Diagnosis:
    path = folder / "hostile<b>.pcap"
    path.write_bytes(capture.pcap(connection(0, HOSTILE)))
    made = looked_at(path)
    (case,) = made.cases
    case.observed = case.observed._replace(
        outcome="refused", phase="dotreply", reply="552 <script>document.title='pwned'</script>",
        broken=Break("reply", "server", signs=(Sign(3, "<script>document.title='pwned'</script>\u202e"),)),
    )  # fmt: skip
    case.causes = [Cause("x", "unknown-filter", "possible", "<svg onload=alert(4)>")]
    case.questions = ("</pre><script>document.title='pwned'</script>",)
    made.notes = ["<iframe src=http://192.0.2.1/></iframe>"]
    return made


def written(diagnosis: Diagnosis, path: Path) -> Path:
    path.write_text("\n".join(document(diagnosis, [path.name])), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def browser(folder: Path) -> Iterator[Browser]:
    with Browser(folder / "profile") as made:
        yield made


# ---- what stands in the file


def test_the_ladder_tells_who_said_what(filled: Diagnosis) -> None:
    found = rungs(filled.cases[0])
    spoken = [(rung.side, "".join(span.text for span in rung.lines[0].spans)) for rung in found if rung.lines]
    assert spoken[0] == ("server", r"220 mx.example.net ESMTP Postfix\r\n")
    assert spoken[1] == ("client", r"EHLO mail.example.org\r\n")
    cut = [rung for rung in found if rung.fate == "cut"]
    assert [rung.side for rung in cut] == ["client", "client"]
    assert cut[0].packets == (filled.cases[0].observed.broken.packet,) * 2
    assert cut[1].label.startswith("the same bytes again, 14 times: at 0.2 ")


def test_what_was_never_acknowledged_is_called_so_and_cut_where_points_show_it(filled: Diagnosis) -> None:
    made = copy(filled)
    case = copy(made.cases[0])
    made.cases = [case]
    page = "\n".join(document(made, ["a.pcap"]))
    assert "never acknowledged</span>" in page
    assert "by a box on the way" not in page.partition('class="ladder"')[2]
    case.differences = (Difference("dropped", ("outside", "inside"), "client", 125),)
    assert "cut between outside and inside</span>" in "\n".join(document(made, ["a.pcap"]))


def test_the_octets_that_decided_are_marked_at_their_offset(filled: Diagnosis) -> None:
    (case,) = filled.cases
    (line,) = [line for rung in rungs(case) for line in rung.lines if any(span.mark for span in line.spans)]
    alert = case.causes[0].alert
    assert alert is not None and line.at is not None and alert.offset == 313
    before = "".join(span.text for span in line.spans[: [bool(s.mark) for s in line.spans].index(True)])
    assert (line.at + len(before), before) == (alert.offset, "Subject: R")
    assert [span.text for span in line.spans if span.mark] == [r"\xc3"]


def test_a_long_text_is_folded_around_what_is_marked(folder: Path) -> None:
    text = HOSTILE.replace("C: http", "C: {x*998}\n" * 300 + "C: http")
    path = folder / "long.pcap"
    path.write_bytes(capture.pcap(connection(0, text)))
    (case,) = looked_at(path).cases
    assert sum(len(rung.lines) for rung in rungs(case)) < 60


def test_many_mails_before_this_one_are_left_out(folder: Path) -> None:
    opening, mail = HOSTILE.split("C: MAIL", 1)
    path = folder / "many.pcap"
    path.write_bytes(capture.pcap(connection(0, opening + ("C: MAIL" + mail) * 40)))
    case = looked_at(path).cases[-1]
    found = rungs(case)
    assert len(found) < 40
    assert any(rung.side == "note" and "earlier mails" in rung.label for rung in found)


def test_a_lost_text_is_one_rung_behind_its_first_segment(folder: Path) -> None:
    turns = "C: " + "x" * 700 + "\n--\n"
    path = folder / "lost.pcap"
    path.write_bytes(capture.pcap(connection(1, HOSTILE.replace("C: http", turns * 9 + "C: http"))))
    (case,) = looked_at(path).cases
    assert case.trace is not None
    texts = [packet for packet in case.trace.packets if packet.by_client and packet.length == 702]
    lost = texts[3].at
    assert lost is not None
    case.observed = case.observed._replace(broken=Break("drop", "middlebox", texts[3].number, lost))
    told = [(rung.packets, rung.fate) for rung in rungs(case) if rung.packets[0] >= texts[0].number]
    numbers = [packet.number for packet in texts]
    assert told[0] == ((numbers[0], numbers[2]), "through")
    assert told[1] == ((numbers[3],) * 2, "cut")
    assert told[2][0][0] == numbers[4] and told[2][0][1] >= numbers[-1] and told[2][1] == "cut"


@pytest.mark.parametrize("by", ["server", "middlebox"])
def test_a_forged_reset_comes_from_the_middle(folder: Path, by: By) -> None:
    path = folder / f"reset-{by}.pcap"
    whole = connection(1, HOSTILE.partition("S: 354")[0])
    reset = Segment("S", 1, 0, RST, time=whole[-1].time + 1)
    packet = wire.packet(reset, wire.Ends(client="192.0.2.2", client_port=20_001))
    path.write_bytes(capture.pcap([*whole[:-4], *capture.records([packet])]))
    (case,) = looked_at(path).cases
    case.observed = case.observed._replace(broken=Break("rst", by, len(whole) - 3))
    last = rungs(case)[-1]
    assert (last.side, last.fate) == ("server", "forged" if by == "middlebox" else "ends")
    page = "\n".join(document(Diagnosis([case])))
    assert ("sent by a box in the server" in page) is (by == "middlebox")


def test_what_is_encrypted_is_one_rung() -> None:
    (case,) = looked_at(PCAPS / "starttls.pcap").cases
    case.account = case.account or accounts(str(PCAPS / "starttls.pcap"), [case.flow])[case.flow.flow_id]
    (sealed,) = [rung for rung in rungs(case) if rung.label.startswith("TLS: ")]
    assert sealed.side == "note" and not sealed.lines


def test_secrets_are_masked_unless_wanted(hostile: Diagnosis) -> None:
    page = "\n".join(document(hostile))
    assert "AHVzZXIA" not in page and "AUTH PLAIN ********" in page
    assert "AHVzZXIA" in "\n".join(document(hostile, secrets=True))


def test_nothing_of_a_stranger_is_markup(hostile: Diagnosis, folder: Path) -> None:
    page = "\n".join(document(hostile, ["hostile<b>.pcap"]))
    assert page.count("<script>") == 1 and page.count("<style>") == 1
    assert not re.search(r"<(iframe|img|b>\.pcap)", page)
    assert not re.search(r"\son\w+=", re.sub(r">[^<]*<", "><", page))
    assert "\u202e" not in page and "\x1b" not in page and "\\u202e" in page
    assert not re.search(r"(src|href)=", re.sub(r">[^<]*<", "><", page))


def test_the_policy_allows_nothing_but_its_own(filled: Diagnosis) -> None:
    page = "\n".join(document(filled))
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', page)
    assert policy.startswith("default-src 'none'; ") and "unsafe" not in policy and "http" not in policy
    assert page.index("Content-Security-Policy") < page.index("<title>")


def test_all_parts_are_there(filled: Diagnosis) -> None:
    page = "\n".join(document(filled))
    heads = re.findall(r"<section><h3>(\w[\w ]*)", page)
    assert [head.strip() for head in heads] == [
        "Proved", "Dialogue", "Timeline", "Confirmed", "Fits", "Contrast", "Refuted", "Ruled out", "What if", "Do",
        "Ask them",
    ]  # fmt: skip
    assert html.escape(QUESTION) in page


def test_the_best_cause_and_the_first_step_come_first(filled: Diagnosis) -> None:
    page = "\n".join(document(filled))
    short = page[page.index('<section class="short">') : page.index("<h3>Proved")]
    assert "<dt>Confirmed</dt><dd>stormshield.smtp-231 (certain)</dd>" in short
    assert "<dd>at the sender: Encode the Subject (RFC 2047)</dd>" in short


def test_ten_thousand_mails_are_a_page_that_opens(filled: Diagnosis) -> None:
    kinds = []
    for number in range(200):
        case = copy(filled.cases[0])
        broken = Break("reply", "server")
        case.observed = case.observed._replace(reply=f"{400 + number} no", outcome="refused", broken=broken)
        kinds += [case] * 50
    page = "\n".join(document(Diagnosis(kinds)))
    assert page.count("<article") == 26 and len(page) < 1_000_000
    assert "175 further kinds of failure" in page and "10,000 mails: 5,000 deferred, 5,000 rejected" in page


def test_what_a_log_tells_stands_there_as_text() -> None:
    page = "\n".join(document(Diagnosis(), logs=["One line:  <script>", "\x1b[2J"]))
    assert "One line:  &lt;script&gt;\n\\x1b[2J" in page
    assert "no SMTP found" not in page and "no SMTP found" in "\n".join(document(Diagnosis()))


def test_the_command_writes_it(folder: Path) -> None:
    out = folder / "out.html"
    assert cli.main(["diagnose", str(cut_capture(folder)), "--format", "html", "-o", str(out)]) == 0
    assert out.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


# ---- in a browser


def test_a_browser_shows_ladder_and_marks_without_a_complaint(
    browser: Browser, filled: Diagnosis, folder: Path
) -> None:
    browser.open(written(filled, folder / "filled.html"))
    assert browser.log("browser") == []
    assert browser.run("return document.querySelectorAll('ol.ladder > li').length") > 8
    assert browser.run("return document.querySelector('mark').textContent") == r"\xc3"
    assert browser.run("return getComputedStyle(document.querySelector('mark')).backgroundColor") == "rgb(255, 213, 74)"
    left = "return document.querySelector('.client .octets').getBoundingClientRect().left"
    right = "return document.querySelector('.server .octets').getBoundingClientRect().left"
    assert browser.run(left) < browser.run(right)
    box = "const b=document.querySelector('.cut .box').getBoundingClientRect(),"
    box += "l=document.querySelector('.cut .lane').getBoundingClientRect();return (b.left+b.width/2-l.left)/l.width"
    assert 0.4 < browser.run(box) < 0.6
    assert {url.partition(":")[0] for url in browser.requested()} == {"file"}


@pytest.mark.parametrize("width", [360, 800, 1200])
def test_nothing_is_wider_than_the_window(browser: Browser, filled: Diagnosis, folder: Path, width: int) -> None:
    browser.open(written(filled, folder / "filled.html"))
    size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    with browser.emulated("Emulation.setDeviceMetricsOverride", **size):
        assert browser.run("return innerWidth") == width
        assert browser.run("return document.documentElement.scrollWidth") <= width


def contrast(browser: Browser, of: str) -> float:
    """WCAG 2.2 1.4.3: of an element's text to what lies behind it."""
    script = """
    const node=document.querySelector(arguments[0]);const rgb=c=>c.match(/[\\d.]+/g).map(Number);
    let behind=node;while(behind&&rgb(getComputedStyle(behind).backgroundColor)[3]===0)behind=behind.parentElement;
    const light=c=>rgb(c).slice(0,3).map(v=>(v/=255)<=.03928?v/12.92:((v+.055)/1.055)**2.4)
      .reduce((sum,v,i)=>sum+v*[.2126,.7152,.0722][i],0);
    const a=light(getComputedStyle(node).color),b=light(getComputedStyle(behind).backgroundColor);
    return (Math.max(a,b)+.05)/(Math.min(a,b)+.05)"""
    return float(browser.run(script, of))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_light_and_dark_can_be_read(browser: Browser, filled: Diagnosis, folder: Path, scheme: str) -> None:
    browser.open(written(filled, folder / "filled.html"))
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    with browser.emulated("Emulation.setEmulatedMedia", features=features):
        paper = browser.run("return getComputedStyle(document.body).backgroundColor")
        assert (paper == "rgb(246, 245, 241)") is (scheme == "light")
        for of in "h2|.facts li|.verdict b|.when|.raw|mark|.box|.badge|.why|dt|.octets .at|.place".split("|"):
            assert contrast(browser, of) >= 4.5, of


def test_printed_it_has_no_buttons(browser: Browser, filled: Diagnosis, folder: Path) -> None:
    browser.open(written(filled, folder / "filled.html"))
    with browser.emulated("Emulation.setEmulatedMedia", media="print"):
        assert browser.run("return getComputedStyle(document.querySelector('.copy button')).display") == "none"
        assert browser.run("return document.querySelector('mark').offsetHeight") > 0


def test_copying_works_or_selects(browser: Browser, filled: Diagnosis, folder: Path) -> None:
    browser.open(written(filled, folder / "filled.html"))
    browser.run("document.querySelector('.copy button').click()")
    told = browser.wait("const t=document.querySelector('.copy button').textContent;return t!=='Copy'&&t")
    assert told in ("Copied", "Selected: Ctrl+C")
    assert browser.run("return document.querySelectorAll('.copy').length") == 2
    assert browser.log("browser") == []


def test_hostile_content_is_text(browser: Browser, hostile: Diagnosis, folder: Path) -> None:
    browser.open(written(hostile, folder / "hostile<b>.html"))
    assert browser.log("browser") == []
    assert browser.run("return document.title") == "Diagnosis: hostile<b>.html"
    text = browser.run("return document.body.innerText")
    assert "</title></style><script>document.title='pwned'</script>" in text
    assert r"X-Turned: \xe2\x80\xaegnp.exe \x1b[2J \x00 R\xe9union" in text
    assert "<svg onload=alert(4)>" in text
    kinds = browser.run("return [...new Set([...document.querySelectorAll('*')].map(e=>e.tagName))]")
    assert not {"IMG", "IFRAME", "A", "LINK", "OBJECT", "FORM"} & set(kinds)
    assert browser.run("return document.scripts.length") == 1
    assert {url.partition(":")[0] for url in browser.requested()} == {"file"}


def test_what_slipped_in_would_not_run(browser: Browser, filled: Diagnosis, folder: Path) -> None:
    """Whatever else fails, the page's policy stands; and these tests would see it."""
    path = written(filled, folder / "slipped.html")
    slipped = "<main><script>document.title='pwned'</script><img src='http://192.0.2.1/x.png' onerror='alert(1)'>"
    path.write_text(path.read_text(encoding="utf-8").replace("<main>", slipped), encoding="utf-8")
    browser.open(path)
    assert browser.run("return document.title") == "Diagnosis: slipped.html"
    assert len([entry for entry in browser.log("browser") if "Content Security Policy" in entry["message"]]) >= 2
    assert not [url for url in browser.requested() if url.startswith("http")]
