"""`compare`: what a change made worse, and what chance explains."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from many import Sent, write
from smtpinspect.cli import main
from smtpinspect.diagnose.compare import Comparison, chance, compare
from smtpinspect.diagnose.paths.generations import starred
from smtpinspect.report.compare_page import page
from smtpinspect.report.terminal import Style

RAW = "R\\xc3\\xa9union"
STARRED = "220 ******************2***"


def compared(tmp_path: Path, before: Sequence[Sent], after: Sequence[Sent]) -> Comparison:
    return compare(write(tmp_path / "before.pcap", before), write(tmp_path / "after.pcap", after))


def worse(tmp_path: Path, before: Sequence[Sent], after: Sequence[Sent]) -> list[str]:
    return [one.what for one in compared(tmp_path, before, after).differences if one.worse]


def test_the_same_is_no_worse(tmp_path: Path) -> None:
    made = compared(tmp_path, [Sent()] * 20, [Sent()] * 30)
    assert not made.worse and not made.differences
    assert (made.before.all.mails, made.after.all.outcomes) == (20, {"accepted": 30})


def test_a_mailguard_that_came(tmp_path: Path) -> None:
    masked = Sent(greeting=STARRED, keywords=("SIZE 1000", "XXXXXXXA"))
    here = "198.51.100.25:25"
    assert worse(tmp_path, [Sent()], [masked]) == [
        f"{here}: greeting", f"{here}: keyword STARTTLS", f"{here}: keyword XXXXXXXA",
    ]  # fmt: skip
    gone = compared(tmp_path, [masked], [Sent()])
    assert not gone.worse and len(gone.differences) == 3


@pytest.mark.parametrize("octet", ["\\xe9", "\\xc3\\xa9"])
def test_an_8_bit_subject_in_any_character_set(tmp_path: Path, octet: str) -> None:
    """ISO-8859-1 is no UTF-8, and its text in a record is escaped; who types a backslash has sent no such octet."""
    raw, typed = Sent(f"R{octet}union"), Sent("R\\x5cxe9union")
    made = compared(tmp_path, [raw] * 30 + [typed] * 30, [raw._replace(reply="")] * 30 + [typed] * 30)
    assert made.before.having["with a raw 8-bit Subject"].mails == 30
    assert "mails with a raw 8-bit Subject, broken" in {one.what for one in made.differences if one.worse}


def test_a_keyword_that_one_reply_lacks_tells_too_little(tmp_path: Path) -> None:
    both = Sent(keywords=("SIZE 1000", "DSN")), Sent(keywords=("SIZE 1000",))
    assert compared(tmp_path, [both[0]], [both[1]]).too_few
    assert worse(tmp_path, [both[0]] * 5, [both[1]] * 5) == ["198.51.100.25:25: keyword DSN"]


def test_a_keyword_that_some_replies_lack_is_not_lost(tmp_path: Path) -> None:
    some = [Sent(keywords=("SIZE 1000", "DSN")), Sent()]
    assert worse(tmp_path, some, [Sent()] * 3) == []


def test_a_keyword_is_counted_however_many_there_are(tmp_path: Path) -> None:
    """Behind one address there may be servers that invent keywords: those that all of them have still count."""
    odd = [Sent(keywords=(*(f"X{n}-{k}" for k in range(60)), "SIZE 1000", "DSN")) for n in range(8)]
    lost = [Sent(keywords=("SIZE 1000",))] * 8
    assert worse(tmp_path, odd, lost) == ["198.51.100.25:25: keyword DSN"]


def test_another_server_is_compared_with_nobody(tmp_path: Path) -> None:
    assert worse(tmp_path, [Sent()], [Sent(server="198.51.100.99", greeting=STARRED)]) == []


def test_tls_that_is_gone(tmp_path: Path) -> None:
    assert worse(tmp_path, [Sent(tls=True)] * 10, [Sent()] * 10) == ["connections with TLS"]
    assert worse(tmp_path, [Sent()] * 10, [Sent(tls=True)] * 10) == []


def test_breaks_of_mails_with_one_property(tmp_path: Path) -> None:
    """The share of all may rise too little: the property tells."""
    before = [Sent()] * 60 + [Sent(RAW)] * 8
    after = [Sent()] * 200 + [Sent(RAW, reply="")] * 8
    assert "mails with a raw 8-bit Subject, broken" in worse(tmp_path, before, after)


def test_what_chance_explains_is_no_worse(tmp_path: Path) -> None:
    lost = [Sent(reply="")]
    assert worse(tmp_path, [Sent()] * 20, [Sent()] * 19 + lost) == []
    assert "all mails, broken" in worse(tmp_path, [Sent()] * 20, [Sent()] * 10 + lost * 10)
    assert "all mails, refused" in worse(tmp_path, [Sent()] * 20, [Sent(reply="550 no")] * 10)


def test_too_few_to_tell(tmp_path: Path) -> None:
    """Even if nothing went through any more, chance would explain it."""
    lost = Sent(reply="550 5.7.1 no")
    few = compared(tmp_path, [Sent()] * 2, [lost])
    assert few.too_few and not few.worse and few.record()["too_few"] is True
    assert compared(tmp_path, [Sent()] * 4, [lost] * 4).too_few
    enough = compared(tmp_path, [Sent()] * 5, [lost] * 5)
    assert enough.worse and not enough.too_few
    assert not compared(tmp_path, [Sent()] * 5, [Sent()] * 5).too_few
    assert not compared(tmp_path, [Sent()], [Sent(greeting=STARRED)]).too_few  # worse, however few
    assert compared(tmp_path, [Sent(tls=True)] * 9, [Sent(tls=True)] * 9).too_few


def page_of(tmp_path: Path, capsys: pytest.CaptureFixture[str], *sides: Sequence[Sent]) -> list[str]:
    names = [write(tmp_path / f"{n}.pcap", side) for n, side in enumerate(sides)]
    assert main(["compare", "--fail-on", "worse", *names]) in (0, 1)
    return capsys.readouterr().out.replace(f"{tmp_path}/", "").splitlines()


def test_the_page_of_too_few(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = [write(tmp_path / "a.pcap", [Sent()] * 2), write(tmp_path / "b.pcap", [Sent(reply="")])]
    assert main(["compare", "--fail-on", "worse", *names]) == 0
    page = capsys.readouterr().out
    assert page.startswith("TOO FEW TO TELL") and "NOT WORSE" not in page
    assert "2 mails in clear before, 1 mail in clear after" in page
    assert "accepted: 2 of 2 (100.0%) → 0 of 1 (0.0%)" in page


def test_what_fails_now_is_named(tmp_path: Path) -> None:
    """Where fewer are accepted than before: some by name, the others counted; no mail of the first capture."""
    fine, lost = [Sent()], [Sent(reply="550 no")]
    told = [
        "\n".join(page(compared(tmp_path, before, after), ("b", "a"), None, Style(False)))
        for before, after in ((fine, lost), (fine * 9, fine * 4 + lost * 5), (lost, fine), (fine + lost, lost + fine))
    ]
    assert [text.count("  fails now: ") for text in told] == [1, 3, 0, 0]
    assert re.search(r"  fails now: \S+@\S+ to \S+@\S+, \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC: refused\n", told[0])
    assert "  and 2 more mails\n" in told[1] and "more mail" not in told[0]


def test_a_narrow_page_has_no_table(tmp_path: Path) -> None:
    made = compared(tmp_path, [Sent()] * 6, [Sent(reply="550 5.7.1 no")] * 6)
    wide, narrow = ([*page(made, ("a.pcap", "b.pcap"), width, Style(False))] for width in (80, 60))
    assert any(line.split() == ["before", "after"] for line in wide)
    assert "  accepted: 6 of 6 (100.0%) → 0 of 6 (0.0%)" in narrow and max(map(len, narrow)) <= 60


def test_the_next_command_fits_the_mails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def last(*sides: Sequence[Sent]) -> str:
        return page_of(tmp_path, capsys, *sides)[-1]

    fine, lost = [Sent()] * 6, [Sent(reply="550 5.7.1 no")]
    assert last(fine, fine) == "Next: smtpinspect diagnose --impact 1.pcap"
    assert last(fine, fine + lost) == last(fine, lost) == last(fine, lost * 6) == "Next: smtpinspect diagnose 1.pcap"
    assert last(fine[:1], fine[:1]) == "Next: smtpinspect compare 0.pcap 1.pcap   (with more mails in both)"


@pytest.mark.parametrize("command", ["compare", "anonymise"])
def test_the_help_fits_80_columns(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit):
        main([command, "--help"])
    assert [line for line in capsys.readouterr().out.splitlines() if len(line) > 80] == []


def test_chance_is_that_of_fisher() -> None:
    # R.A. Fisher's tea: 4 of 4 told right, by chance once in 70
    assert chance(0, 4, 4, 4) == pytest.approx(1 / 70)
    assert chance(1, 4, 3, 4) == pytest.approx(17 / 70)
    assert chance(5, 10, 5, 10) == chance(9, 10, 1, 10) == chance(0, 0, 3, 3) == 1.0
    assert chance(500, 10_000, 600, 10_000) == pytest.approx(0.0010, abs=0.0003)


def test_starred() -> None:
    assert starred("***********0*2****** ***") and not starred("* welcome *") and not starred("") and not starred("220")


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before, after = write(tmp_path / "a.pcap", [Sent()]), write(tmp_path / "b.pcap", [Sent(greeting=STARRED)])
    assert main(["compare", before, after]) == 0
    page = capsys.readouterr().out
    assert page.startswith("WORSE") and "in clear → starred" in page and page.rstrip().endswith(f"diagnose {after}")
    assert main(["compare", "--fail-on", "worse", before, after]) == 1
    assert main(["compare", "--fail-on", "worse", after, before]) == 0
    assert "TOO FEW TO TELL" in capsys.readouterr().out
    assert main(["compare", "--format", "json", before, after]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["worse"] is True and told["differences"][0]["after"] == "starred"
    assert told["after"]["servers"]["198.51.100.25:25"]["keywords"] == {"SIZE": 1, "STARTTLS": 1}
    empty = write(tmp_path / "c.pcap", [])
    assert main(["compare", before, empty]) == 0
    assert "nothing to compare" in capsys.readouterr().out
