"""The core and what is told of it in Python: THE table, numbers that are written twice, words of the stubs."""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterable

import pytest

from house import CORE, PACKAGE, ROOT, public
from smtpinspect.actions import Strength
from smtpinspect.facts import COUNT, KINDS, LINE, Given, Octets
from smtpinspect.grammar import drawing, limits, states, verbs, words

# ---- THE table


def test_every_cell_is_decided() -> None:
    cells = states.table()
    assert set(cells) == {(state, event) for state in states.STATES for event in states.EVENTS}
    assert {after for after, _ in cells.values()} == set(states.STATES)
    assert {action for _, action in cells.values()} == set(states.ACTIONS)


def test_every_row_counts() -> None:
    """A row behind others that decide all its cells says nothing, or something that is not so."""
    decided: set[tuple[str, str]] = set()
    for state, event, after, action in states.ROWS:
        assert event in states.EVENTS
        assert action in states.ACTIONS
        assert after == "=" or after in states.STATES
        cells = {(each, event) for each in (states.STATES if state == "*" else (state,))}
        assert cells - decided, f"{state} {event} is decided by the rows above it"
        decided |= cells


def test_design_shows_the_table() -> None:
    page = ROOT / "DESIGN.md"
    text = page.read_text(encoding="utf-8")
    assert drawing.redrawn(text) == text, "python -m smtpinspect.grammar.drawing DESIGN.md"


def test_the_state_changes_by_the_table() -> None:
    places: set[tuple[str, str]] = set()
    for path in CORE.glob("*.pyx"):
        parts = re.split(r"^(?:    )?c?p?def [\w* ]*?(\w+)\(", source(path.name), flags=re.MULTILINE)
        named = zip(parts[1::2], parts[2::2], strict=True)
        places |= {(path.name, name) for name, body in named if "talk.state = " in body}
    # `start`: LOST when picked up mid-stream
    assert places == {("machine.pyx", "start"), ("dialogue.pyx", "event")}


# ---- written twice: in Python, where it is explained, and in C, where it is compared


def source(name: str) -> str:
    return (CORE / name).read_text(encoding="utf-8")


def enum(name: str, about: str) -> dict[str, int]:
    """The members of the enumeration whose comment ends so."""
    blocks = re.findall(r"^cdef enum[ \w]*:[ \t]*#[ \t]*(.*)\n((?:[ \t]+.*\n)+)", source(name), re.MULTILINE)
    (body,) = [body for comment, body in blocks if re.search(rf"{about}\b", comment)]
    members = re.findall(r"^[ \t]+(\w+)(?: = (\d+))?[ \t]*(?:#.*)?$", body, re.MULTILINE)
    assert members and all(number for _, number in members)
    return {member: int(number) for member, number in members}


def spelled(word: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", word).upper().replace("-", "_")


WHERE, WHAT = LINE.fields["where"].words, COUNT.fields["what"].words


@pytest.mark.parametrize(
    ("name", "about", "told"),
    [
        ("states.pxd", "grammar.states.STATES", states.STATES),
        ("states.pxd", "grammar.states.EVENTS", states.EVENTS),
        ("states.pxd", "grammar.states.ACTIONS", states.ACTIONS),
        ("rows.pxd", "facts.KINDS", [kind.name for kind in KINDS]),
        ("rows.pxd", "facts.LINE.where", WHERE),
        ("rows.pxd", "facts.COUNT.what", WHAT),
        ("state.pxd", "grammar/words.py PHASES", words.PHASES),
        ("state.pxd", "grammar/words.py OUTCOMES", words.OUTCOMES),
        ("state.pxd", "grammar/words.py CLOSERS", words.CLOSERS),
        ("state.pxd", "grammar/words.py DOUBTS, `confidence`, as bits", words.DOUBTS),
    ],
)
def test_numbers_of_the_core(name: str, about: str, told: Iterable[str | None]) -> None:
    """In order, each with a prefix, cut short or not; behind them perhaps how many there are."""
    core = enum(name, about)
    if about.endswith("bits"):
        core = {member: value.bit_length() - 1 for member, value in core.items() if value.bit_count() == 1}
    listed = [*told]
    assert sorted(core.values()) == [*range(len(core))]
    assert len(core) - len(listed) in (0, 1)
    for member, number in core.items():
        if number < len(listed):
            word = spelled(str(listed[number]) or "nothing")
            assert word.startswith(re.sub(r"^[A-Z]+_", "", member)), f"{member} = {number}"


def test_numbers_of_verbs_and_bits() -> None:
    numbers = {f"V_{spelled((verb.name or b'UNKNOWN').decode())}": n for n, verb in enumerate(verbs.VERBS)}
    core = enum("commands.pxd", "grammar.verbs.VERBS")
    assert core and core.items() <= numbers.items()
    assert enum("state.pxd", "facts.Given") == {f"GIVEN_{bit.name}": bit.value for bit in Given}


def test_numbers_of_octet_classes() -> None:
    assert [bit.value for bit in Octets] == [1 << n for n in range(len(Octets))]
    for name in ("fields.pyx", "commands.pyx"):
        copied = re.findall(r"cdef int (\w+) = int\(_Octets\.(\w+)\)", source(name))
        assert copied and all(here == there for here, there in copied)


def test_numbers_of_actions() -> None:
    """verdicts, eve and EVE's readers count on this order."""
    listed = ["pass", "alarm", "detach", "rewrite", "answer", "drop", "drop-flow", "reset"]
    assert [strength.word for strength in Strength] == listed == [*words.ACTIONS]
    assert [*Strength] == [*range(8)]


@pytest.mark.parametrize(
    ("name", "size", "value"),
    [
        ("state.pxd", "EXCERPT", limits.EXCERPT),
        ("state.pxd", "VERB_LENGTH", limits.VERB_LENGTH),
        ("state.pxd", "MIME_DEPTH", limits.MIME_DEPTH),
        ("state.pxd", "NAME_LENGTH", limits.NAME_LENGTH),
        ("state.pxd", "CLASSES", len(Octets)),
        ("state.pxd", "COUNTS", len(WHAT)),
        ("rows.pxd", "F_KINDS", len(KINDS)),
        ("rows.pxd", "WHERES", len(WHERE)),
        ("attachments.pyx", "BEGIN_LINE", limits.BEGIN_LINE),
        ("lines.pxd", "FIRST_SEGMENT", limits.FIRST_SEGMENT),
        ("records.pxd", "SOCKET", limits.SOCKET),
        ("olescan.pxd", "OLE_CHAIN", limits.OLE_CHAIN),
        ("olescan.pxd", "OLE_CANDIDATES", limits.OLE_CANDIDATES),
        ("pestate.pxd", "PE_HEAD", limits.PE_HEAD),
        ("pestate.pxd", "PE_BEHIND", limits.PE_BEHIND),
        ("pestate.pxd", "PE_IMPORTS", limits.PE_IMPORTS),
        ("packrows.pxd", "PACKER_ROWS", limits.PACKER_ROWS),
        ("packrows.pxd", "PACKER_PATTERN", limits.PACKER_PATTERN),
    ],
)
def test_sizes_of_the_core(name: str, size: str, value: int) -> None:
    assert re.findall(rf"^    {size} = (\d+)\b", source(name), re.MULTILINE) == [str(value)]


def test_slots_of_facts() -> None:
    numbers, texts = (
        {field.slot for kind in KINDS for field in kind.fields.values() if (field.type == "text") is text}
        for text in (False, True)
    )
    sizes = dict(re.findall(r"\b(NUMBERS|TEXTS) = (\d+)", source("state.pxd")))
    assert max(numbers) < int(sizes["NUMBERS"]) and max(texts) < int(sizes["TEXTS"])


def test_words_of_the_stubs() -> None:
    stub = (PACKAGE / "_core" / "views.pyi").read_text(encoding="utf-8")
    literals = re.findall(r"^_\w+: TypeAlias = Literal\[(.*?)\]$", stub, re.MULTILINE | re.DOTALL)
    assert [ast.literal_eval(f"({listed})") for listed in literals] == [
        *(words.PHASES, words.STAGES, words.OUTCOMES, words.CLOSERS, words.DOUBTS, words.ACTIONS),
        words.STATE_WORDS,
    ]


# ---- stubs


@pytest.mark.parametrize("name", sorted(path.stem for path in CORE.glob("*.pyx")))
def test_stubs_tell_what_is_there(name: str) -> None:
    stub = PACKAGE / "_core" / f"{name}.pyi"
    assert stub.exists(), f"{name} has no stub"
    module = importlib.import_module(f"smtpinspect._core.{name}")
    tree = ast.parse(stub.read_text(encoding="utf-8"))
    told = {word: {*public(getattr(node, "body", []))} for word, node in public(tree.body).items()}
    definition = re.compile(r"^(?:(?:cdef )?class |def |(?=[A-Z]\w* = ))([A-Za-z]\w*)", re.MULTILINE)
    here = {*definition.findall(source(f"{name}.pyx"))}
    assert {*told} - {"Reader"} <= here  # a type that only a stub needs
    known = [getattr(module, word) for word in told if isinstance(getattr(module, word, None), type)]
    for word in here - {*told}:  # a base that the stub may do without
        assert any(issubclass(each, getattr(module, word)) for each in known), word
    for each in known:
        own = {member for base in each.__mro__ for member in told.get(base.__name__, ())}
        assert {member for member in vars(each) if member[0] != "_"} <= own
        assert all(hasattr(each, member) for member in own) or each.__name__ == "Seen"
