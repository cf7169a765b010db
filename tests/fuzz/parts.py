"""Attachments of chance, given to a scanner alone: cuts and skips change nothing, and nothing breaks.

PYTHONPATH=tests python -m fuzz.parts ole pe content --seconds 60
PYTHONPATH=tests python -m fuzz.parts pe --seed 4711
"""

from __future__ import annotations

import argparse
import faulthandler
import re
import struct
import sys
import time
from collections.abc import Callable
from random import Random
from typing import Any

from kit.archives import DEFLATED, STORED, Member, zip_of
from kit.compound import WORD, Tree, compound
from kit.executable import HEADERS, PAGE, Section, executable, imported
from kit.files import file_of
from smtpinspect._core.olescan import OleScanner
from smtpinspect._core.pescan import PeScanner
from smtpinspect._core.scanner import Scanner
from smtpinspect.grammar.packers import ROWS

NUMBERS = (0, 1, 2, 0x1018, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFA, 0xFFFFFFFC, 0xFFFFFFFD, 0xFFFFFFFE, 0xFFFFFFFF)
ATOM = struct.pack("<HHIHHIIII", 0x001F, 0x03FF, 20, 0x0002, 0x0400, 12, 5, 1, 2)
NAMES = ("VBA", "dir", "_VBA_PROJECT", "PROJECT", "PowerPoint Document", "Workbook", "vba", "x" * 31)
POINTS = [row.pattern for row in ROWS if row.evidence == "entry point"]
FUNCTIONS = "LoadLibraryA GetProcAddress VirtualProtect VirtualAlloc VirtualFree ExitProcess Sleep".split()
Found = list[tuple[int, int, str, str]]


def harmed(rng: Random, octets: bytes, most: int, front: int) -> bytes:
    """Some octets and some numbers are others; half of them lie in the front."""
    made = bytearray(octets)
    for _ in range(rng.choice([0, 0, 1, 2, most])):
        at = rng.randrange(min(front, len(made))) if rng.random() < 0.5 else rng.randrange(len(made))
        if rng.random() < 0.5:
            made[at] = rng.randrange(256)
        elif at + 4 <= len(made):
            number = rng.choice([*NUMBERS, rng.getrandbits(32), rng.randrange(64), rng.randrange(len(made))])
            struct.pack_into("<I", made, at & ~3, number)
    return bytes(made[: rng.randrange(len(made))] if rng.random() < 0.05 else made)


def of_ole(rng: Random) -> bytes:
    def tree(depth: int) -> Tree:
        made: Tree = {}
        for name in rng.sample(NAMES, rng.randrange(len(NAMES))):
            if depth < 3 and rng.random() < 0.3:
                made[name] = tree(depth + 1)
            else:
                made[name] = rng.choice([b"", b"x", bytes(rng.randrange(600)) + ATOM, ATOM[: rng.randrange(28)] + ATOM])
        if rng.random() < 0.4:
            made["M"] = WORD
        if depth == 0 and rng.random() < 0.3:
            made["inner"] = bytes(rng.choice([0, 0, 128, 512, 77])) + of_ole(rng)
        return made | {f"s{n}": b"" for n in range(rng.choice([0, 0, 0, 40]))}

    order = "".join(rng.sample("FSD", 3))
    whole = compound(tree(0), order, rng.choice([9, 9, 12]), rng if rng.random() < 0.3 else None)
    return harmed(rng, whole, 20, rng.choice([0x60, 512, 2048]))


def of_pe(rng: Random) -> bytes:
    code = bytearray(rng.choice([0x400, 0x3000, 0x9000]))
    for _ in range(rng.randrange(4)):
        octets = bytearray()
        for word in re.findall(r"rel8|rel32|abs32|\.\.|##|[0-9A-F]{2}", rng.choice(POINTS)):
            width = {"rel8": 1, "rel32": 4, "abs32": 4}.get(word, 0)
            far = rng.choice([rng.randrange(-0x3000, 0x9000), rng.randrange(-80, 80), rng.getrandbits(31)])
            octets += (
                struct.pack("<i", far)[:width] if width else bytes.fromhex(word.replace("..", "A7").replace("##", "37"))
            )
        at = rng.choice([0, 0, rng.randrange(len(code) - 100)])
        code[at : at + len(octets)] = octets[: len(code) - at]
    names = [rng.choice([b"UPX0", b"UPX1", b".aspack", b".adata", b".text", b"", b".MPRESS1"]) for _ in range(4)]
    functions = imported(rng.sample(FUNCTIONS, rng.randrange(7)) if rng.random() < 0.5 else FUNCTIONS[:6], 0x10000)
    sections = [
        Section(names[0], b"", PAGE),
        Section(names[1], bytes(code), 0x10000 - 2 * PAGE),
        Section(names[2], functions),
        *(Section(names[3], b"\xc3") for _ in range(rng.choice([0, 1, 90, 100]))),
    ]
    if rng.random() < 0.5:
        sections[0] = Section(names[0], bytes(0x200))
    whole = executable(
        sections,
        entry=2 * PAGE + rng.choice([0, 0, rng.randrange(0x200)]),
        bits=rng.choice([32, 32, 64]),
        pe_at=rng.choice([0x40, 0x80, 0x200, 0xF00]),
        imports=0x10000,
        code=rng.choice([0, 0x200]),
        uninitialised=rng.choice([0, PAGE]),
        gap=rng.choice([b"", b"", b"4.22\0UPX!", b"PEC2", b"\0$Id: UPX "]),
    )
    return harmed(rng, whole, 12, rng.choice([0x200, HEADERS]))


def of_content(rng: Random) -> bytes:
    """Archives in archives, and the files above in them."""
    made = file_of(rng)
    if rng.random() < 0.5:
        inner = rng.choice([of_ole, of_pe])(rng)
        form = rng.choice(["", "", "32", "none"])
        made = zip_of(
            Member(b"a", made, rng.choice([STORED, DEFLATED])),
            Member(b"b", inner, rng.choice([STORED, DEFLATED]), described=form, level=rng.choice([1, 9])),  # type: ignore[arg-type]
        )
    return harmed(rng, made, 4, 64) if made else made


class ContentScanner(Scanner):
    """With the offset first, as the others tell it."""

    def feed(self, octets: bytes) -> list[Any]:
        return [(found.at, *found) for found in super().feed(octets)]


PARTS: dict[str, tuple[Callable[[Random], bytes], Callable[[], Any]]] = {
    "ole": (of_ole, OleScanner),
    "pe": (of_pe, PeScanner),
    "content": (of_content, ContentScanner),
}


def scan(scanner: Any, octets: bytes, cuts: list[int], skips: bool = False) -> Found:
    """What is found; with `skips` what may be left out is."""
    found: Found = []
    at = 0
    for cut in (*sorted(cuts), len(octets)):
        while at < cut:
            gone = min(scanner.skips, cut - at) if skips else 0
            if gone:
                scanner.skip(gone)
                at += gone
            elif skips:
                found += scanner.feed(octets[at : at + 1])
                at += 1
            else:
                found += scanner.feed(octets[at:cut])
                at = cut
    return found


def check(name: str, rng: Random) -> Found:
    make, scanner = PARTS[name]
    octets = make(rng)
    whole = scan(scanner(), octets, [])
    cuts = [rng.randrange(len(octets) + 1) for _ in range(rng.choice([1, 5, 60]))]
    assert scan(scanner(), octets, cuts) == whole, "cuts"
    assert scan(scanner(), octets, cuts, skips=True) == whole, "skips"
    if name != "content":
        assert len({detail for _, _, detail, _ in whole}) == len(whole) <= (1 if name == "ole" else 2)
    for at, *_ in whole[:1]:
        first = [found for found in whole if found[0] == at]
        assert 0 <= at < len(octets)
        assert scan(scanner(), octets[: at + 1], []) == first and not scan(scanner(), octets[:at], []), "decided"
    return whole


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m fuzz.parts", description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="all when none is named")
    parser.add_argument("--seconds", type=float, default=20.0, help="for each (20)")
    parser.add_argument("--first", type=int, default=0, help="the first seed (0)")
    parser.add_argument("--seed", type=int, help="this one only")
    chosen = parser.parse_args()
    faulthandler.enable()
    for name in chosen.parts or PARTS:
        start, seed = time.monotonic(), chosen.first if chosen.seed is None else chosen.seed
        first, found = seed, 0
        while seed == first or (chosen.seed is None and time.monotonic() - start < chosen.seconds):
            try:
                found += bool(check(name, Random(seed)))
            except Exception:
                print(f"{name} --seed {seed}", file=sys.stderr, flush=True)
                raise
            seed += 1
        print(f"{name}: {seed - first} parts, {found} with a finding", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
