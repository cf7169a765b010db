"""The rules of the house, read from the sources: who imports whom, what is written twice, what stays."""

from __future__ import annotations

import ast
import importlib
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

import smtpinspect
from smtpinspect.actions import Strength
from smtpinspect.facts import COUNT, KINDS, LINE, Given, Octets
from smtpinspect.grammar import drawing, limits, states, verbs, words
from smtpinspect.inspectors import registry

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "smtpinspect"
CORE = ROOT / "ext" / "smtpinspect" / "_core"

# ---- who imports whom: a module knows what stands above it, and nothing beside it

ORDER = (
    "errors",
    "facts | actions",
    "grammar",
    "_core",
    "source | inspectors",
    "engine",
    "transcripts | measure | enforce",  # transcripts: a second face of the engine, what is above may want dialogues too
    "mta",
    "simulate",
    "diagnose",
    "report",
    "smtpinspect",  # the face: loads what is asked for
    "commands",
    "cli",
    "__main__",
)

# Groups of a folder: the other groups that one knows, and its own order.
INNER: dict[str, dict[str, tuple[tuple[str, ...], tuple[str, ...]]]] = {
    "_core": {
        "octets": ((), ("span | seq | scan | plain | octets | prefetch", "state", "text", "said | socks | tape")),
        "content": (
            ("octets",),
            (
                "finding | counted | packrows | alphabet",
                "pestate",
                "peentry | peimports",
                "inflate | zipscan | gzipscan | sniff | olescan | pescan | decoding",
                "leaf",
                "content",
                "scanner",
            ),
        ),
        "wire": (
            ("octets",),
            (
                "sources",
                "windows | merged",
                "pcapfile | iterated",
                "files | ring | frame",
                "fragments | connections | skim",
                "reader",
            ),
        ),
        "rules": (("octets",), ("scope", "rows", "records", "verdicts")),
        "dialogue": (
            ("octets", "rules", "content"),
            (
                "endmark | lines | commands | states | params",
                "mimelines | attachments | marks",
                "fields | bodies",
                "mime",
                "transactions",
                "dialogue",
                "mailtext",
                "client | replies",
                "machine",
            ),
        ),
        "streams": (("octets", "wire", "dialogue"), ("store | checksum | recent", "opening", "segments")),
        "out": (("octets", "rules"), ("jsonout", "views | eve")),
        "loop": (
            ("octets", "content", "wire", "rules", "dialogue", "streams"),
            ("forkjoin | keep", "worker", "replay", "watcher"),
        ),
    },
    "inspectors": {
        "all": (
            (),
            (
                "explain | settings | configuration",
                "base",
                "logline",
                "mailguard | stormshield | sonicwall | smtp",
                "registry",
            ),
        ),
    },
    "enforce": {
        "all": ((), ("craft | numbers | watch", "plan", "flow", "firewall", "at | inline")),
    },
    "mta": {
        "all": (
            (),
            (
                "base | words | retry",
                "exim | postfix | sendmail | opensmtpd | qmail | exchange | rfc5321 | receivers",
                "registry",
            ),
        ),
    },
    "diagnose": {
        "all": (
            (),
            (
                "notices | effect | copies | taps",
                "trace",
                "account",
                "model",
                "observe | reading | properties | measures",
                "tally",
                "survey",
                "paths",
                "lookalikes | contrast",
                "causes",
                "heads",
                "stored | impact | compare | anonymise | probe | export | logs",
                "face | record",
            ),
        ),
    },
    "commands": {
        "all": (
            (),
            (
                "console",
                "arguments",
                "reporting | captured | impact | kinds",
                "folders | exports",
                "replay | live | transcript | diagnose | check | compare | anonymise | simulate | inline | rules "
                "| config | probe | bench",
                "fitting",
            ),
        ),
    },
    "report": {
        "all": (
            (),
            (
                "terminal | progress | vendor_logs | peers",
                "words | transcript_text | rules_page | config_page | bench_page | simulate_page | fired_text "
                "| diagnose_places",
                "story_page | headline",
                "diagnose_words | readings_page | mail_log | glossary",
                "summary | diagnose_page | probe_page | html",
                "evidence_page",
                "text",
                "check_page | impact_page | compare_page | anonymise_page",
            ),
        ),
    },
}

CYTHON_IMPORT = re.compile(
    r"^[ \t]*(?:from[ \t]+(\.*[\w.]*)[ \t]+c?import[ \t]+(\([^)]*\)|.+)|c?import[ \t]+(.+))$", re.MULTILINE
)
HEADER = re.compile(r'^cdef extern from "(\w+)\.h"', re.MULTILINE)


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[parts[0] == "ext" :]).removesuffix(".__init__")


SOURCES = sorted(
    path
    for folder in (PACKAGE, CORE)
    for path in folder.rglob("*")
    if path.suffix in (".py", ".pyi", ".pyx", ".pxd", ".h")
)
FILES = {name_of(path) for path in SOURCES}
MODULES = FILES | {name.rpartition(".")[0] for name in FILES} - {""}


def imports(path: Path) -> Iterator[str]:
    """The modules of this project that a source names; `from` tells a module from what is in it."""
    text = path.read_text(encoding="utf-8")
    found: list[tuple[str, list[str]]] = []
    if path.suffix in (".py", ".pyi"):
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ImportFrom):
                found.append(("." * node.level + (node.module or ""), [a.name for a in node.names]))
            elif isinstance(node, ast.Import):
                found += [(alias.name, []) for alias in node.names]
    else:
        for origin, names, plain in CYTHON_IMPORT.findall(text):
            listed = re.sub(r"#.*|[()]", "", names or plain).replace("\n", " ").split(",")
            words = [word.split()[0] for word in listed if word.strip()]
            found += [(origin, words)] if origin else [(word, []) for word in words]
        found += [(f"smtpinspect._core.{header}", []) for header in HEADER.findall(text)]
    for origin, words in found:
        assert not origin.startswith("."), f"{name_of(path)}: imports are absolute here"
        if origin.split(".")[0] != "smtpinspect":
            continue
        for word in words or [""]:
            yield f"{origin}.{word}" if f"{origin}.{word}" in MODULES else origin


LEVEL = {word: level for level, words in enumerate(ORDER) for word in words.split(" | ")}
PLACE = {
    (folder, word): (group, row, knows)
    for folder, groups in INNER.items()
    for group, (knows, rows) in groups.items()
    for row, words in enumerate(rows)
    for word in words.split(" | ")
}


def words_of(name: str) -> list[str]:
    """The folder or file in the package, and what is below; the face stands for itself."""
    return name.split(".")[1:] or [name]


def allowed(importer: str, imported: str) -> bool:
    """May this module know that one?"""
    own, other = words_of(importer), words_of(imported)
    if own[0] != other[0]:
        return LEVEL[other[0]] < LEVEL[own[0]]
    if own[0] not in INNER or len(own) < 2 or len(other) < 2 or own[1] == other[1]:
        return True
    (mine, row, knows), (theirs, at, _) = PLACE[own[0], own[1]], PLACE[other[0], other[1]]
    return at < row if mine == theirs else theirs in knows


def test_every_module_has_a_place() -> None:
    for name in MODULES:
        folder, *below = words_of(name)
        assert folder in LEVEL, f"{name} has no place in ORDER"
        assert not below or folder not in INNER or (folder, below[0]) in PLACE, f"{name} has none in INNER"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_one_way(path: Path) -> None:
    own = name_of(path)
    wrong = {other for other in imports(path) if other != own and not allowed(own, other)}
    assert not wrong, f"{own} imports {', '.join(sorted(wrong))}"


def loaded_by(code: str) -> set[str]:
    code += "\nimport sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_import_loads_no_compiled_module() -> None:
    loaded = loaded_by("import smtpinspect; smtpinspect.__version__")
    assert {name for name in loaded if name.startswith("smtpinspect.")} == {"smtpinspect.errors"}


def test_neither_scapy_nor_dpkt_is_imported() -> None:
    everything = "\n".join(f"smtpinspect.{name}" for name in smtpinspect.__all__)
    for code in ("import smtpinspect", f"import smtpinspect, smtpinspect.cli\n{everything}"):
        assert not {"scapy", "dpkt"} & {name.split(".")[0] for name in loaded_by(code)}


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


# ---- limits

LIMIT = re.compile(r"^(\w+): Final = .*?(?:#[ ]*(\S.*))?$", re.MULTILINE)


def test_limits_are_used_and_explained() -> None:
    found = LIMIT.findall((PACKAGE / "grammar" / "limits.py").read_text(encoding="utf-8"))
    assert {name for name, _ in found} == {name for name in vars(limits) if name.isupper()}
    users_of: dict[str, list[str]] = {}
    for text in (path.read_text() for path in SOURCES):
        for name in set(re.findall(r"\b_?limits\.(\w+)", text)):
            users_of.setdefault(name, []).append(text)
    for name, reason in found:
        assert reason, f"{name} has no comment"
        users = users_of.get(name, [])
        # a copy that nothing reads is no use
        used = any(
            len(re.findall(rf"\b{name}\b", text)) > (2 if re.search(rf"cdef \w+ {name} =", text) else 0)
            for text in users
        )
        assert used, f"{name} is used nowhere"


# ---- what there is

ENTRIES = set(
    "smtpinspect ext benchmarks tests pcaps .ci setup.py pyproject.toml Makefile MANIFEST.in LICENSE "
    "README.md DESIGN.md CONTRIBUTING.md CHANGELOG.md SECURITY.md .editorconfig .gitignore".split()
)
MADE = re.compile(r"(^|/)(__pycache__|\.\w+_cache|build|dist)/|^ext/.*\.c$|\.(so|pyd|py[co]|log|egg-info)$")


def test_only_what_belongs_here_is_kept() -> None:
    if not (ROOT / ".git").exists() or shutil.which("git") is None:
        pytest.skip("no git, or no clone: what is kept cannot be told from what was made")
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"git does not tell: {done.stderr.strip()}")
    files = done.stdout.rstrip("\0").split("\0")
    assert {file.split("/")[0] for file in files} <= ENTRIES
    assert not [file for file in files if MADE.search(file)]


def public(body: Iterable[ast.stmt]) -> dict[str, ast.stmt]:
    """What a module or a class defines: classes, functions, annotated names."""
    named = {
        str(getattr(node, "name", getattr(getattr(node, "target", None), "id", "_"))): node for node in body
    }
    return {name: node for name, node in named.items() if name[0] != "_"}


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


EXPLAINED = sorted(path for path in PACKAGE.rglob("*.py") if path.stat().st_size)


@pytest.mark.parametrize("path", EXPLAINED, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_public_things_are_explained(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes: dict[str, ast.AST] = {"the module": tree}
    for name, node in public(tree.body).items():
        below = public(node.body) if isinstance(node, ast.ClassDef) and name in smtpinspect.__all__ else {}
        nodes |= {name: node} | {f"{name}.{member}": each for member, each in below.items()}
    kinds = (ast.Module, ast.FunctionDef, ast.ClassDef)
    assert not [
        name for name, node in nodes.items() if isinstance(node, kinds) and not ast.get_docstring(node)
    ]


# ---- numbers that logs and filters hold: a rule keeps its own, and a number is never given twice.
# New rules go to the end; a rule that is gone keeps its line, with a minus before its name.

SIGNATURES = {
    2001000: """
        banner-masked banner-multiline-broken command-not-allowed command-answered-ok ehlo-blocked
        ehlo-param-masked starttls-blocked tls-started command-split command-termination
        pipelining address-pipe address-angle address-malicious special-character
        mail-relay cmd-line-length rcpt-count body-line-length header-line-length
        sender-length mime-filename-length size-violation server-transition eod-split
        dkim-content-type bypass-early-data postfix-workaround-seen body-length header-length
        to-fields-count invalid-recipients mime-filetype mime-encoding sender-regex
        cmd-verb rate-limit
    """,
    2002000: """
        smtp-122 smtp-217.command smtp-217.reply smtp-217.header smtp-217.bdat
        smtp-217.xexch50 smtp-219.command smtp-219.reply smtp-223 smtp-231
        filter-chunking filter-exchange filter-turning filter-pipelining pipelined-limit
        command-denied
    """,
    2003000: """
        encrypted-zip office-macro packed-exe packed-exe-extended nested-archive scan-limit
    """,
    2004001: """
        starttls-injection smuggling-lf-dot-lf smuggling-lf-dot-crlf smuggling-crlf-dot-lf smuggling-cr-dot-cr
        smuggling-cr-dot-lf smuggling-lf-dot-cr smuggling-cr-dot-crlf smuggling-crlf-dot-cr
        smuggling-crlf-nul-dot-crlf smuggling-crlf-dot-nul-crlf smuggling-crlf-dot-cr-crlf
        smuggling-cr-crlf-dot-cr-crlf
    """,
}


def test_signature_ids_stay() -> None:
    own = {**registry.BUILT_IN, **registry.ALWAYS_ON}
    products = {made.gid: made for made in (registry.load(name) for name in own)}
    assert set(products) == {first // 1000 for first in SIGNATURES}
    numbers: set[int] = set()
    for first, listed in SIGNATURES.items():
        made = products[first // 1000]
        recorded = {f"{made.name}.{word}": first + place for place, word in enumerate(listed.split())}
        assert not numbers & set(recorded.values())
        numbers |= set(recorded.values())
        kept = {rule: number for rule, number in recorded.items() if not rule.split(".")[1].startswith("-")}
        assert {rule: page.signature_id for rule, page in made.pages.items()} == kept
        for profile in made.profiles:
            for row in type(made)(profile).table():
                assert row.signature_id == kept[row.id], row.id


# ---- length

LONG = {
    "benchmarks/corpus.py": "one generator: four profiles of one stream of random numbers",
    "tests/fuzz/targets.py": "a target for each seam, and the writers that they share",
    "tests/test_house.py": "the tables of every module, name and number",
}
MOST = 500


def test_files_are_short() -> None:
    long = {
        path.relative_to(ROOT).as_posix()
        for folder in ("smtpinspect", "ext", "tests", "benchmarks", "pcaps")
        for path in (ROOT / folder).rglob("*")
        if path.suffix in (".py", ".pyx") and len(path.read_bytes().splitlines()) > MOST
    }
    assert long == set(LONG)
