"""Compound files from the definition (MS-CFB, MS-OVBA 2.2, MS-PPT VbaInfoAtom): whole, and as they pass."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

MAGIC = bytes.fromhex("d0cf11e0a1b11ae1")
NONE, LAST = 0xFFFFFFFF, 0xFFFFFFFA  # no entry; sector numbers above are marks
STORAGE, STREAM, ROOT = 1, 2, 5
END_OF_CHAIN = 0xFFFFFFFE
ATOM = bytes.fromhex("1f00ff0314000000020000040c000000")  # VbaInfo container, head of its VbaInfoAtom


class Unknown(Exception):
    """The prefix ends before what is asked for, or the file says nonsense there."""


@dataclass(frozen=True)
class Entry:
    name: str
    kind: int
    left: int
    right: int
    child: int


class Compound:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.sector = 1 << self.u16(0x1E)
        if data[:8] != MAGIC or self.sector not in (512, 4096):
            raise Unknown

    def octets(self, at: int, n: int) -> bytes:
        if at + n > len(self.data):
            raise Unknown
        return self.data[at : at + n]

    def u16(self, at: int) -> int:
        return int(struct.unpack("<H", self.octets(at, 2))[0])

    def u32(self, at: int) -> int:
        return int(struct.unpack("<I", self.octets(at, 4))[0])

    def place(self, sector: int) -> int:
        return (sector + 1) * self.sector

    def fat_sector(self, index: int) -> int:
        """Number of the FAT's sector: 109 in the header, more in a chain of DIFAT sectors."""
        if index < 109:
            return self.u32(0x4C + 4 * index)
        each, at = self.sector // 4 - 1, self.u32(0x44)
        for _ in range((index - 109) // each):
            at = self.u32(self.place(at) + 4 * each)
        return self.u32(self.place(at) + 4 * ((index - 109) % each))

    def next(self, sector: int) -> int:
        per = self.sector // 4
        return self.u32(self.place(self.fat_sector(sector // per)) + 4 * (sector % per))

    def chain(self, sector: int) -> Iterator[int]:
        seen: set[int] = set()
        while sector < LAST and sector not in seen:
            seen.add(sector)
            yield sector
            sector = self.next(sector)

    def entry_at(self, number: int) -> int:
        per = self.sector // 128
        for index, sector in enumerate(self.chain(self.u32(0x30))):
            if index == number // per:
                return self.place(sector) + 128 * (number % per)
        raise Unknown

    def name_and_kind(self, number: int) -> tuple[str, int]:
        at = self.entry_at(number)
        raw, n = self.octets(at, 64), self.u16(at + 0x40)
        (kind,) = self.octets(at + 0x42, 1)
        return raw[: max(0, min(n, 64) - 2)].decode("utf-16-le", "replace"), kind

    def link(self, number: int, field: int) -> int:
        return self.u32(self.entry_at(number) + field)

    def siblings(self, number: int) -> Iterator[int]:
        """The entries of a tree that the prefix leads to."""
        todo, seen = [number], set[int]()
        while todo:
            here = todo.pop()
            if here == NONE or here in seen:
                continue
            seen.add(here)
            yield here
            for field in 0x44, 0x48:
                try:
                    todo.append(self.link(here, field))
                except Unknown:
                    continue

    def inside(self, number: int) -> dict[str, int]:
        """Upper-case names of what a storage holds, as far as they are known."""
        try:
            child = self.link(number, 0x4C)
        except Unknown:
            return {}
        found = {}
        for entry in self.siblings(child):
            try:
                name, kind = self.name_and_kind(entry)
            except Unknown:
                continue
            found[f"{name.upper()}/{kind}"] = entry
        return found

    def storages(self) -> Iterator[int]:
        """The root and every storage that the prefix leads to."""
        todo, seen = [0], set[int]()
        while todo:
            here = todo.pop()
            if here in seen:
                continue
            seen.add(here)
            yield here
            todo += [number for name, number in self.inside(here).items() if name.endswith(f"/{STORAGE}")]

    def project(self) -> bool:
        """A storage with the storage VBA, which holds _VBA_PROJECT and dir, and with the stream PROJECT."""
        for storage in self.storages():
            inside = self.inside(storage)
            vba = inside.get(f"VBA/{STORAGE}")
            if vba is None or f"PROJECT/{STREAM}" not in inside:
                continue
            if {f"_VBA_PROJECT/{STREAM}", f"DIR/{STREAM}"} <= self.inside(vba).keys():
                return True
        return False


def has_project(data: bytes) -> bool:
    """By the tree of a whole file, as the definition reads."""
    try:
        return Compound(data).project()
    except Unknown:
        return False


# ---- while a file passes: the reading that the core is held to
#
# Where the directory lies is told by the FAT, which may stand behind it. So an entry counts when its sector is known to
# belong to the directory, or is not known not to: as soon as the chain is known to its end, entries elsewhere are out.
# An entry is read up to its links (80 octets). Names are looked for, not their places in the tree.

HEAD = 80
NAMES = {"VBA": STORAGE, "DIR": STREAM, "_VBA_PROJECT": STREAM, "PROJECT": STREAM}
POWERPOINT = {"POWERPOINT DOCUMENT": STREAM}


def named(slot: bytes) -> str | None:
    """The upper-case name of a well-formed entry's head, if it is one of those that tell."""
    kind, colour, *links = struct.unpack_from("<BB3I", slot, 0x42)
    n = struct.unpack_from("<H", slot, 0x40)[0]
    if colour > 1 or not all(link <= LAST or link == NONE for link in links) or not 2 < n <= 64:
        return None
    text = slot[:n].decode("utf-16-le", "replace")
    name = text[:-1].upper()
    return name if text[-1] == "\0" and (NAMES | POWERPOINT).get(name) == kind else None


def known_chain(data: bytes, end: int) -> tuple[set[int], bool]:
    """The directory's sectors that `end` octets tell, and whether these are all. A whole FAT sector tells."""
    c = Compound(data)
    sectors, here = [c.u32(0x30)], c.u32(0x30)
    while True:
        fat = c.fat_sector(here // (c.sector // 4))
        if fat > LAST or c.place(fat) + c.sector > end:
            return set(sectors), False
        here = c.next(here)
        if here > LAST or here in sectors:
            return set(sectors), here == END_OF_CHAIN
        sectors.append(here)


def atoms(data: bytes) -> list[int]:
    """Where each VbaInfoAtom with fHasMacros 1 is told: the last of its container's 24 octets."""
    found, at = [], data.find(ATOM)
    while at >= 0:
        if data[at + 20 : at + 24] == b"\1\0\0\0":
            found.append(at + 23)
        at = data.find(ATOM, at + 1)
    return found


def decides(data: bytes) -> tuple[str, int] | None:
    """What is found first, "storage" or "atom", and the octet that decides; None: nothing."""
    try:
        c = Compound(data)
        c.octets(0, 512)
    except Unknown:
        return None
    events = [(at, "atom", 0) for at in atoms(data)]
    for slot in range(c.sector, len(data) - HEAD + 1, 128):
        name = named(data[slot : slot + HEAD])
        if name:
            events.append((slot + HEAD - 1, name, slot // c.sector - 1))
    seen: list[tuple[str, int]] = []
    for at, name, sector in sorted(events):
        seen.append((name, sector))
        sectors, whole = known_chain(data, at)
        counted = {n for n, where in seen if n == "atom" or where in sectors or not whole}
        if counted >= NAMES.keys():
            return "storage", at
        if counted >= {"atom", *POWERPOINT}:
            return "atom", at
    return None
