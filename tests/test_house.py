"""The rules of the house, read from the sources: who imports whom, what is explained, what stays."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import smtpinspect
from house import CORE, PACKAGE, ROOT, public
from smtpinspect.grammar import limits
from smtpinspect.inspectors import registry

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
