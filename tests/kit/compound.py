"""Compound files (MS-CFB), by hand: any order of sectors, both sizes; a stream has 4,096 octets and more, or none."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random

Tree = dict[str, "bytes | Tree"]

MAGIC = bytes.fromhex("D0CF11E0A1B11AE1")
FREE, END, FAT = 0xFFFFFFFF, 0xFFFFFFFE, 0xFFFFFFFD
ROOT, STORAGE, STREAM = 5, 1, 2
LEAST = 4_096  # shorter streams go into the mini stream, which nothing here makes

PROJECT: Tree = {"VBA": {"dir": b"\1", "_VBA_PROJECT": b"\xcc\x61", "ThisDocument": b"\1"}, "PROJECT": b"ID="}
WORD: Tree = {"WordDocument": b"\xec\xa5", "1Table": b"", "Macros": PROJECT}


@dataclass
class Entry:
    """A directory entry; `links`: left and right sibling, child."""

    name: str
    type: int
    octets: bytes = b""
    links: list[int] = field(default_factory=lambda: [FREE, FREE, FREE])
    start: int = END

    def packed(self) -> bytes:
        name = self.name.encode("utf-16-le") + b"\0\0"
        head = struct.pack("<64sHBB3I", name, len(name), self.type, 1, *self.links)
        return head + struct.pack("<16sIQQIQ", b"", 0, 0, 0, self.start, len(self.octets))


UNUSED = struct.pack("<64sHBB3I", b"", 0, 0, 0, FREE, FREE, FREE) + bytes(48)


def entries(tree: Tree) -> list[Entry]:
    """The directory of a tree: siblings in a chain to the right, in the order that the format wants."""
    made = [Entry("Root Entry", ROOT)]

    def fill(owner: Entry, below: Tree) -> None:
        link, place = owner, 2
        for name in sorted(below, key=lambda n: (len(n), n.upper())):
            what = below[name]
            link.links[place] = len(made)
            if isinstance(what, bytes):
                link = Entry(name, STREAM, what and what.ljust(LEAST, b"\0"))
                made.append(link)
            else:
                link = Entry(name, STORAGE)
                made.append(link)
                fill(link, what)
            place = 1

    fill(made[0], tree)
    return made


def compound(
    tree: Tree, order: str = "FSD", shift: int = 9, rng: Random | None = None, listed: Sequence[Entry] | None = None
) -> bytes:
    """The file. `order` of FAT, streams and directory: a permutation of F, S, D; with `rng` sectors lie anywhere."""
    size = 1 << shift
    directory = list(entries(tree) if listed is None else listed)
    body: list[bytes] = []  # sectors but those of the FAT
    chains: dict[str, list[list[int]]] = {"S": [], "D": []}

    def place(kind: str, octets: bytes) -> None:
        chain = []
        for at in range(0, len(octets), size):
            chain.append(len(body))
            body.append(octets[at : at + size].ljust(size, b"\0"))
        chains[kind].append(chain)

    kept = [entry for entry in directory if entry.octets]
    for entry in kept:
        place("S", entry.octets)
    place("D", bytes(len(directory) * 128))  # filled in when the streams have their places
    fats = 1
    while fats * size // 4 < len(body) + fats:
        fats += 1
    fat_ids = [*range(len(body), len(body) + fats)]
    runs = {"F": fat_ids, "S": [n for c in chains["S"] for n in c], "D": chains["D"][0]}
    line = [n for kind in order for n in runs[kind]]
    if rng is not None:
        rng.shuffle(line)
    where = {made: at for at, made in enumerate(line)}
    fat = [FREE] * (fats * size // 4)
    for chain in chains["S"] + chains["D"]:
        for this, then in zip(chain, [*chain[1:], None], strict=True):
            fat[where[this]] = END if then is None else where[then]
    for each in fat_ids:
        fat[where[each]] = FAT
    for entry, chain in zip(kept, chains["S"], strict=True):
        entry.start = where[chain[0]]
    packed = b"".join(entry.packed() for entry in directory)
    packed += UNUSED * (-(len(packed) // 128) % (size // 128))
    for at, each in enumerate(chains["D"][0]):
        body[each] = packed[at * size : (at + 1) * size]
    numbers = struct.pack(f"<{len(fat)}I", *fat)
    body += [numbers[at : at + size] for at in range(0, len(numbers), size)]
    version, sectors = (3, 0) if shift == 9 else (4, len(chains["D"][0]))
    head = MAGIC + bytes(16) + struct.pack("<5H6x", 0x3E, version, 0xFFFE, shift, 6)
    head += struct.pack("<9I", sectors, fats, where[chains["D"][0][0]], 0, LEAST, END, 0, END, 0)
    head += struct.pack("<109I", *([where[each] for each in fat_ids] + [FREE] * 109)[:109])
    return head.ljust(size, b"\0") + b"".join(body[each] for each in line)
