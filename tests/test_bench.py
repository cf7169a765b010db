"""What a capture costs: the arithmetic by a clock of our own, the page, the object, and how the command ends."""

from __future__ import annotations

import gzip
import io
import itertools
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from kit import capture, wire
from kit.dialogue import DELIVERY, parse
from kit.segment import Segment
from smtpinspect import measure
from smtpinspect.cli import main
from smtpinspect.engine import Engine
from smtpinspect.measure import Bench, Case, Clock, Cost, Measured
from smtpinspect.report import bench_page

KEYS = {
    "smtpinspect": str,
    "captures": list,
    "whole": bool,
    "truncated": (str, type(None)),
    "packets": int,
    "octets": int,
    "connections": int,
    "mails": int,
    "threads": int,
    "runs": int,
    "seconds": float,
    "cpu_seconds": float,
    "gb_per_second": float,
    "gb_per_second_without_rules": float,
    "packets_per_second": float,
    "mails_per_second": (float, type(None)),
    "noise": dict,
    "stages": list,
    "inspectors": list,
    "together": dict,
    "rules": list,
}
COST = {"ns_per_kb", "ns_per_mail"}
SUBJECT = "stormshield.smtp-231"


def octets(*texts: str) -> bytes:
    packets = []
    for number, text in enumerate(texts):
        segments: Sequence[Segment] = wire.build(parse(text), start=wire.START + 5 * number)
        packets += wire.packets(segments, wire.Ends(client_port=40_000 + number))
    return capture.pcap(capture.records(packets))


@pytest.fixture
def mail(tmp_path: Path) -> Path:
    file = tmp_path / "mail.pcap"
    file.write_bytes(octets(DELIVERY, DELIVERY))
    return file


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """One pass a turn."""
    monkeypatch.setattr(measure, "TURN", 0.0)


class Timed(Bench):
    """Passes that take the time that a table tells; every reading of the clock costs nothing."""

    def __init__(self, source: Path, inspectors: Sequence[str], seconds: Callable[[Case, int], float]) -> None:
        self.now = 0.0
        self.passes: dict[int, int] = {}
        self.seconds = seconds
        clock = Clock(wall=lambda: self.now * 2, cpu=lambda: self.now)
        super().__init__(Engine(inspectors), lambda: str(source), clock=clock)

    @contextmanager
    def ready(self, case: Case) -> Iterator[Callable[[], object]]:
        self.now += 1.0  # opening is not measured, and ends the turn
        run = self.passes.get(id(case), 0)

        def work() -> None:
            self.passes[id(case)] = run + 1
            self.now += self.seconds(case, run)

        yield work


def measured(bench: Bench, runs: int = 3) -> Measured:
    for _ in bench.turns(runs):
        pass
    return bench.measured()


def by_name(costs: Sequence[Cost]) -> dict[str, float | None]:
    return {cost.name: cost.seconds for cost in costs}


# --- the arithmetic

TABLE = {
    "reading": 0.1,
    "frames": 0.15,
    "none": 0.4,
    "attachments": 0.6,
    "all": 0.9,
    "records": 1.0,
    SUBJECT: 0.5,
    "stormshield": 0.55,
    "sonicwall": 0.6,
}


def test_costs_are_differences(mail: Path) -> None:
    bench = Timed(mail, ["stormshield", "sonicwall"], lambda case, run: TABLE.get(case.name, TABLE["none"]))
    found = measured(bench)
    assert (found.runs, found.whole, found.mails, found.noise) == (3, True, 2, 0.0)
    assert found.cpu == pytest.approx(1.0)
    assert found.wall == pytest.approx(2.0)
    assert found.wall_none == pytest.approx(0.8)
    assert [cost.seconds for cost in found.stages] == pytest.approx([0.1, 0.05, 0.25, 0.2, 0.3, 0.1])
    assert by_name(found.inspectors) == pytest.approx({"stormshield": 0.15, "sonicwall": 0.2, "smtp": 0.0})
    assert found.together.seconds == pytest.approx(0.5)
    assert {name: cost for name, cost in by_name(found.rules).items() if cost} == pytest.approx({SUBJECT: 0.1})


def test_a_slow_spell_is_no_cost(mail: Path) -> None:
    """A run that takes thrice as long, and a pass that takes long alone."""

    def seconds(case: Case, run: int) -> float:
        alone = 5.0 if case.name == "stormshield.smtp-122" and run == 2 else 0.0
        return TABLE.get(case.name, TABLE["none"]) * (3 if run == 1 else 1) + alone

    found = measured(Timed(mail, ["stormshield"], seconds), 5)
    assert {name: cost for name, cost in by_name(found.rules).items() if cost} == pytest.approx({SUBJECT: 0.1})
    assert found.noise == 0.0


def test_what_is_within_the_noise_is_no_cost(mail: Path) -> None:
    """One copy of `none` takes 0.06 more: below 0.12 nothing is told."""
    odd: list[Case] = []

    def seconds(case: Case, run: int) -> float:
        more = 0.06 if case is odd[0] else 0.0
        return {**TABLE, SUBJECT: 0.5, "stormshield.smtp-122": 0.53}.get(case.name, TABLE["none"]) + more

    bench = Timed(mail, ["stormshield"], seconds)
    odd.append(bench.copies[3])
    found = measured(bench)
    assert found.noise == pytest.approx(0.12)
    rules = by_name(found.rules)
    assert rules[SUBJECT] == 0.0
    assert rules["stormshield.smtp-122"] == pytest.approx(0.13)


def test_a_busy_machine_gets_fewer_runs(mail: Path) -> None:
    """Each pass takes its second of opening, twice that on the wall: the first runs are over LONG."""
    for runs, made in ((None, measure.LEAST), (7, 7)):
        bench = Timed(mail, [], lambda case, run: TABLE.get(case.name, TABLE["none"]))
        for _ in bench.turns(runs):
            pass
        assert bench.measured().runs == made


def test_cheaper_than_nothing_is_no_cost(mail: Path) -> None:
    table = {**TABLE, SUBJECT: 0.3, "all": 0.2}
    found = measured(Timed(mail, ["stormshield"], lambda case, run: table.get(case.name, 0.4)))
    assert by_name(found.rules)[SUBJECT] == 0.0
    assert by_name(found.stages)["rules"] == 0.0
    assert sum(measure.shares(found.stages)) == pytest.approx(1.0)


def test_copies_come_evenly_and_first() -> None:
    bench = Bench(Engine([]), list)
    order = [case.name == "none" for case in bench._order()]
    assert order[0] and order[-1] and sum(order) == measure.COPIES
    places = [place for place, is_copy in enumerate(order) if is_copy]
    assert max(b - a for a, b in itertools.pairwise(places)) - min(b - a for a, b in itertools.pairwise(places)) <= 1


def test_all_cases_pass_over_the_same_frames(mail: Path, quick: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "PIECE", 7)
    bench = Bench(Engine(None), lambda: str(mail))
    found = measured(bench, 1)
    assert (found.packets, found.whole) == (7, False)
    records = capture_lengths(mail)
    assert found.octets == sum(records[:7])
    with bench.ready(bench.write) as work:
        work()
        assert work.args[0].replay.packets == 7  # type: ignore[attr-defined]


def capture_lengths(path: Path) -> list[int]:
    from smtpinspect._core.sources import records
    from smtpinspect.source import open_source

    return [len(frame) for _, _, frame, _ in records(open_source(path))]


def test_alerts_are_those_of_a_replay(quick: None) -> None:
    import smtpinspect

    path = "pcaps/subject-8bit.pcap"
    found = measured(Bench(Engine(None), lambda: path), 1)
    stats = smtpinspect.replay(path).stats
    assert stats is not None
    assert {cost.name: cost.alerts for cost in found.rules if cost.alerts} == stats.alerts
    assert found.together.alerts == sum(stats.alerts.values()) == sum(cost.alerts for cost in found.inspectors)


def test_one_inspector_twice(mail: Path, quick: None) -> None:
    bench = Bench(Engine(["mailguard:pix-6", "mailguard:asa-8"]), lambda: str(mail))
    found = measured(bench, 1)
    assert [cost.name for cost in found.inspectors] == ["mailguard:pix-6", "mailguard:asa-8", "smtp"]
    lines = [*bench_page.page(found, "mail.pcap", 0, {"mailguard:pix-6": "pix-6"}, every=True)]
    assert sum("mailguard:pix-6 pipelining" in line for line in lines) == 1


def test_stopped_early(mail: Path, quick: None) -> None:
    """After any number of turns there is a page and an object."""
    bench = Bench(Engine(["stormshield"]), lambda: str(mail))
    for done, (_, total, _) in enumerate(bench.turns(2)):
        found = bench.measured()
        assert found.runs == (0 if not total or done <= total // 2 else found.runs)
        assert [*bench_page.page(found, "mail.pcap", 0, {})]
        json.dumps(bench_page.record(found, ["mail.pcap"], {}), allow_nan=False)


# --- the page and the object


def costs(found: Measured, width: int | None) -> list[str]:
    profiles = {"stormshield": "high", "sonicwall": "default"}
    return [*bench_page.page(found, "mail.pcap", 61_234_567, profiles, every=width == 120, width=width)]


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_the_page_fits(width: int, mail: Path) -> None:
    bench = Timed(mail, ["stormshield", "sonicwall"], lambda case, run: TABLE.get(case.name, TABLE["none"]))
    lines = costs(measured(bench), width)
    # The last one is to be pasted.
    assert max(map(len, lines[:-1])) <= width
    text = "\n".join(lines)
    assert "WHERE THE TIME GOES" in text and "ns per kB" in text
    if width >= 60:
        assert SUBJECT in text and "smtp (always on)" in text
    assert ("ns per kB ns per mail" in text) == (width >= 80)
    assert ("####" in text) == (width >= 120)


def test_the_page_in_a_pipe(mail: Path) -> None:
    bench = Timed(mail, ["stormshield", "sonicwall"], lambda case, run: TABLE.get(case.name, TABLE["none"]))
    lines = costs(measured(bench), None)
    assert any(line.startswith("  together") and " 100% " in line for line in lines)
    (small,) = [line for line in lines if "less than can be measured" in line]
    assert small.startswith(f"  {len(bench.rules) - 1} other rules")
    assert lines[-1].endswith(f"rules {SUBJECT}")


@pytest.mark.parametrize(
    "parts", [[1 / 3] * 3, [0.005] * 200, [1.0], [0.994, 0.003, 0.003], [0.0, 0.0], [0.125] * 8, [0.29, 0.71]]
)
def test_percents_add_up(parts: list[float]) -> None:
    told = bench_page.percents(parts)
    assert sum(told) == (100 if any(parts) else 0)
    assert all(abs(one - 100 * part) < 1 for one, part in zip(told, parts, strict=True))


def test_a_busy_machine_is_told(mail: Path) -> None:
    bench = Timed(mail, [], lambda case, run: TABLE.get(case.name, TABLE["none"]))
    assert any("the processor worked for 50% of this time" in line for line in costs(measured(bench), None))


# --- the command


def test_the_object(mail: Path, quick: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", str(mail), "--json", "--runs", "2"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told.keys() == KEYS.keys()
    assert all(isinstance(told[key], kind) for key, kind in KEYS.items())
    assert (told["captures"], told["packets"], told["mails"], told["runs"]) == ([str(mail)], 38, 2, 2)
    assert [stage["stage"] for stage in told["stages"]] == [*measure.STAGES]
    assert sum(stage["share"] for stage in told["stages"]) == pytest.approx(1.0)
    assert all(stage.keys() == {"stage", "share", *COST} for stage in told["stages"])
    assert [one["inspector"] for one in told["inspectors"]] == ["mailguard", "stormshield", "sonicwall", "smtp"]
    assert told["inspectors"][0].keys() == {"inspector", "profile", "rules", "alerts", *COST}
    assert told["rules"][0].keys() == {"rule", "inspector", "alerts", *COST}
    assert sum(one["rules"] for one in told["inspectors"]) == len(told["rules"])
    assert told["noise"].keys() == COST
    dearest = [one["ns_per_kb"] for one in told["rules"]]
    assert dearest == sorted(dearest, reverse=True) and min(dearest) >= 0


def test_the_keys_are_told_in_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["bench", "--help"])
    told = capsys.readouterr().out
    assert max(map(len, told.splitlines())) <= 80
    for key in [*KEYS, *COST, *measure.STAGES, *"share alerts --all --whole --runs --threads examples".split()]:
        assert key in told, key


def test_the_command_tells_a_page(mail: Path, quick: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "-i", "stormshield", str(mail), str(mail), "--runs", "1", "--all"]) == 0
    told = capsys.readouterr().out
    assert told.startswith("2 captures: ")
    for word in ("SPEED", "GB/s", "mails/s", "stormshield:high", "stormshield.smtp-122", "smtp.starttls-injection"):
        assert word in told
    assert "mailguard" not in told


def test_without_smtp(tmp_path: Path, quick: None, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "other.pcap"
    segments = wire.build(parse(DELIVERY.replace("S: 220", "S: hello")))
    file.write_bytes(capture.pcap(capture.records(wire.packets(segments, wire.Ends(server_port=80)))))
    assert main(["bench", str(file), "--runs", "2"]) == 0
    told = capsys.readouterr().out
    assert "no SMTP in what was measured" in told and "mails/s" not in told
    assert main(["bench", str(file), "--runs", "2", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["mails"], found["mails_per_second"], found["noise"]["ns_per_mail"]) == (0, None, None)


def test_an_empty_capture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "empty.pcap"
    file.write_bytes(capture.pcap([]))
    assert main(["bench", str(file)]) == 0
    assert "nothing to measure" in capsys.readouterr().out
    assert main(["bench", str(file), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found.keys() == KEYS.keys()
    assert (found["packets"], found["seconds"], found["stages"][0]["share"]) == (0, None, 0.0)


def test_packed_and_through_standard_input(
    mail: Path, quick: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    packed = mail.with_suffix(".gz")
    packed.write_bytes(gzip.compress(mail.read_bytes()))
    found = []
    for name in (str(mail), str(packed), "-"):
        octets = io.BytesIO(packed.read_bytes())
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=octets, isatty=lambda: False))
        assert main(["bench", name, "--json", "--runs", "1"]) == 0
        told = json.loads(capsys.readouterr().out)
        found.append({key: told[key] for key in ("packets", "octets", "mails", "whole", "truncated")})
    assert found[0] == found[1] == found[2]


def test_a_named_pipe(mail: Path, quick: None, capsys: pytest.CaptureFixture[str]) -> None:
    pipe = mail.with_name("pipe")
    os.mkfifo(pipe)
    writer = threading.Thread(target=lambda: pipe.write_bytes(mail.read_bytes()))
    writer.start()
    assert main(["bench", str(pipe), "--json", "--runs", "1"]) == 0
    writer.join()
    assert json.loads(capsys.readouterr().out)["mails"] == 2


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["mial.pcap"], "did you mean"),
        (["."], "directory"),
        (["mail.pcap", "--runs", "0"], "no number from 1"),
        (["mail.pcap", "-i", "mailgard"], "Did you mean mailguard?"),
        (["mail.pcap", "-i", "stormshield,levl=ids"], "level"),
        (["mail.pcap", "--jsn"], "Did you mean --json?"),
        (["mail.pcap", "-o", "mail.pcap"], "that is what is to be read"),
        (["mail.pcap", "-o", "no/such/file"], "cannot be written"),
        (["-", "-"], "standard input (-) can be read once only"),
        (["-", "--whole"], "can be read only once"),
        ([], "CAPTURE"),
    ],
)
def test_wrong_usage(
    words: list[str],
    told: str,
    mail: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(mail.parent)
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b""), isatty=lambda: False))
    try:
        status = main(["bench", *words])
    except SystemExit as error:
        status = int(str(error.code))
    out, problem = capsys.readouterr()
    assert (status, out) == (2, "")
    assert problem.startswith("smtpinspect: ") and told in problem


def test_a_damaged_capture(mail: Path, quick: None, capsys: pytest.CaptureFixture[str]) -> None:
    mail.write_bytes(mail.read_bytes()[:-5])
    assert main(["bench", str(mail), "--runs", "1"]) == 3
    out, problem = capsys.readouterr()
    assert "37 packets" in out and "cut off" in problem
    mail.write_bytes(b"From: alice\n\nno capture\n" * 3)
    assert main(["bench", str(mail), "--runs", "1"]) == 3
    out, problem = capsys.readouterr()
    assert (out, "begins with text" in problem) == ("", True)


@pytest.mark.parametrize("how", ["page", "json"])
def test_ctrl_c_tells_what_is_known(
    how: str, mail: Path, quick: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    turn = Bench._turn
    turns = itertools.count()

    def stopping(bench: Bench, case: Case) -> None:
        if next(turns) == 20:
            raise KeyboardInterrupt
        turn(bench, case)

    monkeypatch.setattr(Bench, "_turn", stopping)
    assert main(["bench", str(mail), *(["--json"] if how == "json" else [])]) == 130
    out, problem = capsys.readouterr()
    assert "stopped; what was measured is told" in problem
    if how == "json":
        told = json.loads(out)
        assert told["runs"] == 0 and told["gb_per_second"] > 0
        assert None in [rule["ns_per_kb"] for rule in told["rules"]]
    else:
        assert "SPEED" in out and "not measured yet" in out


def test_a_signal_ends_it(mail: Path) -> None:
    pipe = mail.with_name("pipe")
    os.mkfifo(pipe)
    command = [sys.executable, "-m", "smtpinspect", "bench", "--runs", "10000", str(pipe)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    pipe.write_bytes(mail.read_bytes())  # waits until it is read: everything is imported by then
    with pytest.raises(subprocess.TimeoutExpired):
        process.communicate(timeout=1)
    process.send_signal(signal.SIGINT)
    _, problem = process.communicate(timeout=60)
    assert process.returncode == 130
    assert b"stopped" in problem and b"Traceback" not in problem


def test_on_a_terminal(mail: Path) -> None:
    from called import COLOUR, on_terminal

    status, seen = on_terminal("bench", "--runs", "1", mail, columns=60)
    assert status == 0
    page = COLOUR.sub("", seen[seen.rindex("SPEED") :])
    assert "EACH RULE" in page and max(map(len, page.splitlines()[:-1])) <= 60
