"""`--threads`: the same records in the same order for any number, of any capture, from any source; no thread stays."""

from __future__ import annotations

import gzip
import io
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dealing import connection, dealt, of_segments, steadily
from kit import capture, ip, mutate, wire
from kit.capture import Record
from kit.dialogue import DELIVERY, parse
from public import ABSENT, FOLDER
from smtpinspect import Engine
from smtpinspect.actions import ALARM, PROJECT, Action
from smtpinspect.errors import CaptureError, UsageError
from smtpinspect.facts import COMMAND
from smtpinspect.inspectors.base import Inspector, Rule, Settings

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT / "benchmarks"))

import corpus  # noqa: E402

MANY = (2, 3, 7, 16)
LOOK = 1_024  # frames between two looks at connections that are over
HOUR = 3_600.0
Method = Callable[[Any], Action | None]


@pytest.fixture(autouse=True)
def _no_thread_stays() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) <= before


@pytest.fixture
def _short_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """The caller gets its first records when few frames were read."""
    monkeypatch.setattr("smtpinspect.engine.STEP", 500)


class Asked(Inspector):
    """Each command is asked about."""

    name = "asked"
    title = "Asks for each command"

    def __init__(self, look: Method) -> None:
        self._look = look
        super().__init__()

    def rules(self, settings: Settings) -> Iterable[Rule]:
        yield Rule("asked.command", COMMAND(), ALARM, PROJECT, "test", 1, "command", method="look")

    def look(self, seen: Any) -> Action | None:
        return self._look(seen)


@cache
def engine(threads: int) -> Engine:
    return Engine(threads=threads)


def told(record: Any) -> object:
    """All that a record says, whatever its kind."""
    if isinstance(record, tuple):
        return tuple(record._replace(seconds=0))
    names = [name for name in dir(type(record)) if not name.startswith("_")]
    return [(name, repr(value)) for name in names if not callable(value := getattr(record, name))]


def objects(made: Engine, source: Any) -> tuple[list[object], str]:
    out: list[object] = []
    try:
        out.extend(told(record) for record in made.run(source))
    except CaptureError as error:
        return out, str(error)
    return out, ""


def lines(made: Engine, source: Any) -> tuple[list[bytes], str]:
    out = io.BytesIO()
    fault = ""
    try:
        made.write_eve(source, out)
    except CaptureError as error:
        fault = str(error)
    return out.getvalue().splitlines()[:-1], fault


def same(again: Callable[[], Any], threads: Sequence[int] = MANY, *, python: bool = True) -> int:
    """The records of any number of threads are those of one. How many there are."""
    ways: list[Callable[[Engine, Any], Any]] = [lines, *([objects] if python else [])]
    for way in ways:
        one = way(engine(1), again())
        for n in threads:
            assert way(engine(n), again()) == one, f"{n} threads"
    return len(one[0])


# --- captures ---------------------------------------------------------------------------------------------


def filler(count: int, start: float, step: float = 1e-4) -> list[Record]:
    """Frames of one connection that says nothing."""
    first = wire.build([], handshake=True, close="none", start=start)
    idle = [first[-1].but(time=start + i * step) for i in range(count - len(first))]
    return of_segments(30_000, [*first, *idle])


@pytest.fixture
def file(tmp_path: Path) -> Callable[[Sequence[Record] | bytes], Path]:
    def written(what: Sequence[Record] | bytes) -> Path:
        made = tmp_path / f"{len(os.listdir(tmp_path))}.pcap"
        made.write_bytes(what if isinstance(what, bytes) else capture.pcap(what))
        return made

    return written


File = Callable[[Sequence[Record] | bytes], Path]


def test_captures_of_the_project() -> None:
    for path in sorted((ROOT / "pcaps").glob("*.pcap*")):
        assert same(lambda path=path: path) > 0


@pytest.mark.skipif(not FOLDER.is_dir(), reason=ABSENT)
def test_public_captures() -> None:
    for path in sorted(p for p in FOLDER.rglob("*") if ".pcap" in p.name or p.suffix == ".cap"):
        same(lambda path=path: path)


@pytest.mark.parametrize("profile", corpus.PROFILES)
def test_corpora(profile: str, tmp_path: Path) -> None:
    corpus.write(profile, 3_000_000, tmp_path / "x.pcap", seed=5)
    assert same(lambda: tmp_path / "x.pcap") > 0


LONG = DELIVERY.replace("How are you?", "X-Long: {a*5000}\nC: {b*3000}").replace("C:\n", "C: To: a@b\nC:\n")
TEXTS = (DELIVERY, LONG, DELIVERY.replace("QUIT", "TURN"), DELIVERY.partition("C: .")[0], "S: 220 mx\nC: EHLO a\\c\n")


def disturbed(number: int, rng: Random) -> list[Record]:
    """A connection of chance: cut, out of order, twice, with holes, left open or broken off."""
    close = rng.choice(["fin", "fin", "rst", "none"])
    built = wire.build(parse(rng.choice(TEXTS)), close=close, mss=rng.choice([40, 536, 1460]))  # type: ignore[arg-type]
    for change in rng.sample([mutate.random_cuts, mutate.reordered, mutate.duplicated, mutate.retransmitted], 2):
        built = change(built, rng)
    if rng.random() < 0.5:
        gone = rng.randrange(len(built))
        built = mutate.dropped(built, lambda i, s: i == gone)
    if rng.random() < 0.3:
        built = built[: rng.randrange(1, len(built))]
    return of_segments(number, built)


@settings(max_examples=25)
@given(st.integers(0, 1 << 32), st.sampled_from([1e-4, 2e-3, 1.0]))
def test_connections_of_chance(seed: int, step: float) -> None:
    rng = Random(seed)
    frames = dealt([disturbed(number, rng) for number in range(rng.choice([3, 20, 60]))], rng)
    octets = capture.pcap(steadily(frames, step))
    same(lambda: io.BytesIO(octets), threads=(2, 16))


@pytest.mark.parametrize("pause", [10.0, 2 * HOUR])
def test_ends_at_one_look(pause: float, file: File) -> None:
    """Their patience is over at the same frame, and what waited behind a hole is judged there."""
    text = DELIVERY.replace("C: MAIL", "C: VRFY a\nC: TURN\nC: MAIL")
    parts = []
    for number in range(150):
        built = wire.build(parse(text), mss=100, close="fin" if number % 3 else "none")
        parts.append(of_segments(number, [s for i, s in enumerate(built) if i != 5 + number % 7]))
    frames = steadily(dealt(parts, Random(1)))
    path = file([*frames, *filler(2 * LOOK + 5, frames[-1].time + pause)])
    assert same(lambda: path) > 300


def test_time_jumps_back(file: File) -> None:
    rng = Random(2)
    parts = [steadily(dealt([disturbed(100 * k + n, rng) for n in range(40)], rng)) for k in range(4)]
    moved = [0.0, 2 * HOUR, -HOUR, 5 * HOUR]
    path = file([r._replace(time=r.time + by) for part, by in zip(parts, moved, strict=True) for r in part])
    assert same(lambda: path) > 0


def test_ports_used_again(file: File) -> None:
    parts = []
    for number in range(60):
        again: list[Record] = []
        for k in range(4):
            again += connection(number, client_isn=1000 + 777_777 * k, close=("fin", "none", "rst")[(k + number) % 3])
        parts.append(again)
    path = file(steadily(dealt(parts, Random(3))))
    assert same(lambda: path) > 200


def test_fragments(file: File) -> None:
    """Several datagrams joined in one batch, some of fragments that disagree."""
    frames: list[Record] = []
    packets = [wire.packets(wire.build(parse(LONG)), wire.Ends(client_port=20_000 + n)) for n in range(12)]
    for at, turn in enumerate(zip(*packets, strict=True)):
        for number, packet in enumerate(turn):
            pieces = ip.fragments(packet, 24, ident=number * 131 + at)
            if at > 4 and number % 5 == 0 and len(pieces) > 2:
                pieces.insert(1, pieces[1]._replace(octets=pieces[1].octets[:-1] + b"#"))
            frames += capture.records(pieces[:1] + pieces[:0:-1] if number % 2 else pieces)
    path = file(steadily(frames))
    assert same(lambda: path, (2, 7)) > 20


# --- files ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [65_536, 700_000, 1_100_000, 16 << 20])
def test_records_larger_than_a_window(size: int, file: File) -> None:
    rng = Random(size)
    frames = dealt([connection(number) for number in range(100)], rng)
    big = Record(wire.START, b"\0" * 12 + b"\x08\0" + rng.randbytes(size - 14), size)
    for at in (700, 701, 1_500):
        frames.insert(at, big)
    octets = capture.pcap(steadily(frames), snaplen=size)
    path = file(octets)
    assert same(lambda: path, (3,), python=False) > 100
    cut = file(octets[: octets.index(big.frame[:40]) + size // 2])
    same(lambda: cut, (2,), python=False)


def test_windows_do_not_align(file: File) -> None:
    """Any length of the part before moves where windows end."""
    octets = b"".join(capture.pcap(steadily(connection(n, LONG)))[24:] for n in range(150))
    for before in (0, 1, 15, 16, 17, 4_000):
        lead = Record(wire.START, bytes(before), before)
        path = file(capture.pcap([lead]) + octets)
        assert same(lambda path=path: path, threads=(2, 3), python=False) > 100


def test_sections(file: File) -> None:
    parts = [steadily(dealt([connection(50 * k + n) for n in range(50)], Random(k))) for k in range(4)]
    sections = [capture.pcapng(part, order=">" if k % 2 else "<") for k, part in enumerate(parts)]
    path = file(b"".join(sections))
    assert same(lambda: path) > 200
    for end in (len(sections[0]) + 11, len(b"".join(sections)) - 7):
        cut = file(b"".join(sections)[:end])
        same(lambda cut=cut: cut)


@pytest.mark.parametrize("what", ["shortened", "replaced"])
@pytest.mark.usefixtures("_short_steps")
def test_a_file_changes_while_it_is_read(what: str, file: File) -> None:
    """What was read comes out, and the run ends."""
    made = file(b"")
    corpus.write("mixed", 12_000_000, made)
    octets = made.read_bytes()
    for n in (1, 2, 16):
        path = file(octets)
        run = engine(n).run(path)
        kinds = [next(run).record]
        if what == "replaced":
            os.replace(file(b"something else"), path)
            kinds += [record.record for record in run]
        else:
            os.truncate(path, len(octets) // 2 + 5)
            with pytest.raises(CaptureError, match="cut off"):
                for record in run:
                    kinds.append(record.record)
        assert kinds[-1] == "stats"


def test_a_read_error(file: File) -> None:
    octets = capture.pcap(steadily(dealt([connection(n) for n in range(100)], Random(4))))

    class Failing(io.BytesIO):
        def read(self, n: int | None = -1) -> bytes:
            if self.tell() > 100_000:
                raise OSError(5, "input/output error")
            return super().read(min(n or 0, 5_000))

    same(lambda: Failing(octets))


def test_other_sources(file: File, tmp_path: Path) -> None:
    frames = steadily(dealt([disturbed(number, Random(number)) for number in range(20)], Random(5)))[:600]
    octets = capture.pcap(frames)
    packed = file(gzip.compress(octets))
    parts = [file(frames[k::3]) for k in range(3)]
    pairs = [(record.time, record.frame) for record in frames]
    want = same(lambda: io.BytesIO(octets), (2, 3))
    assert same(lambda: packed, (2, 3)) == want
    assert same(lambda: iter(pairs), (2, 3)) == want
    assert same(lambda: [*parts], (2, 3)) == want


def test_standard_input() -> None:
    octets = capture.pcap(steadily(dealt([connection(n) for n in range(100)], Random(6))))
    words = [sys.executable, "-m", "smtpinspect", "replay", "-", "--format", "eve", "--threads"]
    one, three = (subprocess.run([*words, n], input=octets, capture_output=True, check=True) for n in "13")
    assert one.stdout.splitlines()[:-1] == three.stdout.splitlines()[:-1]
    assert one.stdout.count(b"\n") > 100


# --- limits -----------------------------------------------------------------------------------------------

LIMITED = """
import io, sys
from smtpinspect.grammar import limits
for word in sys.argv[2:]:
    name, _, value = word.partition("=")
    setattr(limits, name, int(value))
from smtpinspect import Engine
told = []
for threads in (1, 2, 3, 16):
    out = io.BytesIO()
    Engine(threads=threads).write_eve(sys.argv[1], out)
    told.append(out.getvalue().splitlines()[:-1])
assert all(each == told[0] for each in told[1:]), [len(each) for each in told]
print(len(told[0]))
"""


@pytest.mark.parametrize(
    "limit", ["REMEMBERED=5", "CONNECTIONS=20", "STORED_TOTAL=70000", "STORED_OCTETS=3000", "REMEMBERED=0"]
)
def test_beyond_a_limit(limit: str, file: File) -> None:
    rng = Random(8)
    parts = [disturbed(number, rng) + connection(number, client_isn=9_999_999) for number in range(60)]
    hole = mutate.dropped(wire.build(parse("S: 220 a\nC: {x*70000}"), close="none"), lambda i, s: i == 5)
    parts += [of_segments(900 + n, hole) for n in range(3)]
    path = file(steadily(dealt(parts, rng), 1e-2))
    words = [sys.executable, "-c", LIMITED, str(path), limit]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 60


# --- how a run ends ---------------------------------------------------------------------------------------


def some(count: int = 60) -> bytes:
    return capture.pcap(steadily(dealt([connection(n) for n in range(count)], Random(7))))


@pytest.mark.parametrize("threads", [0, 17, -1])
def test_no_such_number(threads: int) -> None:
    with pytest.raises(UsageError, match="1 to 16"):
        Engine(threads=threads)


@pytest.mark.parametrize("threads", [1, 2, 16])
def test_a_method_that_raises(threads: int, file: File) -> None:
    def look(seen: Any) -> Action | None:
        raise ValueError("what now?")

    with pytest.raises(ValueError, match="what now"):
        list(Engine([Asked(look)], threads=threads).run(file(some())))


def test_a_method_that_is_slow(file: File) -> None:
    """It lets others have the interpreter meanwhile, and is asked from several threads."""
    asked: set[str] = set()

    def look(seen: Any) -> Action | None:
        asked.add(threading.current_thread().name)
        time.sleep(1e-4)
        return ALARM

    path = file(some(25))
    told = [lines(Engine([Asked(look)], threads=n), path) for n in (1, 3)]
    assert told[0] == told[1]
    assert len(asked) == 3


@pytest.mark.usefixtures("_short_steps")
def test_left_half_way(file: File) -> None:
    """A generator that is closed, or forgotten, ends its threads."""
    path = file(some())
    before = threading.active_count()
    for _ in range(3):
        run = Engine(threads=4).run(path)
        next(run)
        assert threading.active_count() == before + 3
        run.close()  # type: ignore[attr-defined]
        assert threading.active_count() == before
        run = Engine(threads=4).run(path)
        next(run)
        del run
        assert threading.active_count() == before


def test_many_engines_at_once(file: File) -> None:
    path = file(some())
    want = lines(engine(1), path)
    shared = Engine(threads=3)
    told: list[Any] = []
    callers = [threading.Thread(target=lambda: told.append(lines(shared, path))) for _ in range(6)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert told == [want] * 6


CTRL_C = """
import _thread, sys
sys.path.insert(0, sys.argv[3])
from test_threads import ALARM, Asked, Engine
asked = 0
def look(seen):
    global asked
    asked += 1
    if asked == 40:
        _thread.interrupt_main()
    return ALARM
made = Engine([Asked(look)], threads=int(sys.argv[2]))
try:
    for record in made.run(sys.argv[1]):
        print(record.record, flush=True)
except KeyboardInterrupt:
    print("stopped")
"""


def interrupted(threads: int, path: Path) -> list[str]:
    words = [sys.executable, "-c", CTRL_C, str(path), str(threads), str(ROOT / "tests")]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.mark.parametrize("threads", [1, 2, 16])
def test_ctrl_c_in_a_method(threads: int, file: File) -> None:
    """The records of what was read come out once, then KeyboardInterrupt."""
    told = interrupted(threads, file(some()))
    assert told[-2:] == ["stats", "stopped"]
    assert told.count("stats") == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_fork_behind_and_in_a_run(file: File) -> None:
    """A child may run an engine of its own; one that was half-way ends without waiting."""
    words = f"""
import os, signal, sys, time
from smtpinspect import Engine, engine
engine.STEP = 500
path = {str(file(some()))!r}
n = len(list(Engine(threads=3).run(path)))
half = Engine(threads=3).run(path)
next(half)
time.sleep(0.2)
child = os.fork()
if child == 0:
    signal.alarm(60)
    half.close()
    del half
    os._exit(len(list(Engine(threads=3).run(path))) != n)
assert os.waitpid(child, 0)[1] == 0
assert len(list(half)) == n - 1
"""
    done = subprocess.run([sys.executable, "-c", words], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr


def test_no_thread_can_be_made(file: File, monkeypatch: pytest.MonkeyPatch) -> None:
    """A clear error, and those that were made end."""
    path = file(some(2))
    start = threading.Thread.start
    begun: list[threading.Thread] = []

    def refuse(self: threading.Thread) -> None:
        if len(begun) == 2:
            raise RuntimeError("can't start new thread")
        begun.append(self)
        start(self)

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        with pytest.raises(UsageError, match="4 threads: can"):
            list(Engine(threads=4).run(path))
    for thread in begun:
        thread.join(5)
        assert not thread.is_alive()
