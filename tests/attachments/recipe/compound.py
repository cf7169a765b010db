"""Writes compound files (MS-CFB version 3 and 4): as small as they get, sectors in any order."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

FREE, END, FAT, NONE = 0xFFFFFFFF, 0xFFFFFFFE, 0xFFFFFFFD, 0xFFFFFFFF
MAGIC = bytes.fromhex("d0cf11e0a1b11ae1")
CUTOFF = 4096  # octets: shorter streams lie in the mini stream


@dataclass
class Node:
    name: str
    data: bytes | None = None  # None: a storage
    inside: list[Node] = field(default_factory=list)


def tree(entries: list[tuple[str, bytes]]) -> Node:
    """Paths with octets ("Macros/VBA/dir") as a tree; storages appear as they are named."""
    root = Node("Root Entry")
    for path, data in entries:
        here, *names = root, *path.split("/")
        for name in names[:-1]:
            known = [n for n in here.inside if n.name == name]
            here.inside += [] if known else [Node(name)]
            here = known[0] if known else here.inside[-1]
        here.inside.append(Node(names[-1], data))
    return root


def order(node: Node) -> tuple[int, str]:
    return len(node.name), node.name.upper()


class Writer:
    """`places` is the order of the sectors in the file, of the words directory, fat, minifat, mini, streams."""

    def __init__(self, version: int = 3, places: str = "fat directory minifat mini streams") -> None:
        self.version, self.size = version, 512 if version == 3 else 4096
        self.places = places.split()

    def entries(self, root: Node) -> list[list[object]]:
        """Rows [node, left, right, child]: siblings as a tree that is as level as can be."""
        rows: list[list[object]] = [[root, NONE, NONE, NONE]]

        def put(nodes: list[Node]) -> int:
            if not nodes:
                return NONE
            middle = len(nodes) // 2
            row: list[object] = [nodes[middle], NONE, NONE, NONE]
            rows.append(row)
            number = len(rows) - 1
            row[1], row[2] = put(nodes[:middle]), put(nodes[middle + 1 :])
            return number

        done = 0
        while done < len(rows):
            node = rows[done][0]
            assert isinstance(node, Node)
            rows[done][3] = put(sorted(node.inside, key=order))
            done += 1
        return rows

    def write(self, entries: list[tuple[str, bytes]]) -> bytes:
        rows = self.entries(tree(entries))
        mini, minifat, starts, big = bytearray(), [], {}, []
        for number, (node, *_) in enumerate(rows):
            data = node.data  # type: ignore[attr-defined]
            if data is None or number == 0 or not data:
                continue
            if len(data) >= CUTOFF:
                big.append((number, data))
                continue
            starts[number] = len(minifat)
            sectors = -(-len(data) // 64)
            minifat += [*range(len(minifat) + 1, len(minifat) + sectors), END]
            mini += data.ljust(sectors * 64, b"\0")

        def sectors_of(n: int) -> int:
            return -(-n // self.size)

        counts = {
            "directory": sectors_of(len(rows) * 128),
            "minifat": sectors_of(len(minifat) * 4),
            "mini": sectors_of(len(mini)),
            "streams": sum(sectors_of(len(data)) for _, data in big),
        }
        per_fat, total = self.size // 4, sum(counts.values())
        counts["fat"] = 1
        while counts["fat"] * per_fat < total + counts["fat"]:
            counts["fat"] += 1
        first, at = {}, 0
        for place in self.places:
            first[place] = at
            at += counts[place]
        fat = [FREE] * (counts["fat"] * per_fat)

        def chain(start: int, n: int, mark: int | None = None) -> None:
            for i in range(n):
                fat[start + i] = mark if mark is not None else (start + i + 1 if i + 1 < n else END)

        for place in ("directory", "minifat", "mini"):
            chain(first[place], counts[place])
        chain(first["fat"], counts["fat"], FAT)
        parts = {"streams": bytearray(), "mini": bytes(mini)}
        place_of = first["streams"]
        for number, data in big:
            starts[number] = place_of
            chain(place_of, sectors_of(len(data)))
            parts["streams"] += data.ljust(sectors_of(len(data)) * self.size, b"\0")  # type: ignore[operator]
            place_of += sectors_of(len(data))
        directory = b"".join(self.entry(number, row, starts, first, mini) for number, row in enumerate(rows))
        parts["directory"] = directory
        parts["minifat"] = struct.pack(f"<{len(minifat)}I", *minifat)
        parts["fat"] = struct.pack(f"<{len(fat)}I", *fat)
        fill = {"directory": b"\0", "minifat": b"\xff", "mini": b"\0", "streams": b"\0", "fat": b"\xff"}
        body = b"".join(bytes(parts[p]).ljust(counts[p] * self.size, fill[p]) for p in self.places)
        return self.header(first, counts, bool(minifat)) + body

    def entry(
        self, number: int, row: list[object], starts: dict[int, int], first: dict[str, int], mini: bytes
    ) -> bytes:
        node, left, right, child = row
        assert isinstance(node, Node)
        name = node.name.encode("utf-16-le") + b"\0\0"
        kind = 5 if number == 0 else 1 if node.data is None else 2
        start, size = starts.get(number, END if kind == 2 else 0), len(node.data or b"")
        if number == 0:
            start, size = (first["mini"], len(mini)) if mini else (END, 0)
        return struct.pack(
            "<64sHBBIII16sI16sIQ", name, len(name), kind, 1, left, right, child, b"", 0, b"", start, size
        )

    def header(self, first: dict[str, int], counts: dict[str, int], minis: bool) -> bytes:
        fixed = struct.pack(
            "<8s16sHHHHH6sIIIIIIIII", MAGIC, b"", 0x3E, self.version, 0xFFFE, 9 if self.version == 3 else 12, 6, b"",
            0 if self.version == 3 else counts["directory"], counts["fat"], first["directory"], 0, CUTOFF,
            first["minifat"] if minis else END, counts["minifat"] if minis else 0, END, 0,
        )  # fmt: skip
        difat = [first["fat"] + i if i < counts["fat"] else FREE for i in range(109)]
        return (fixed + struct.pack("<109I", *difat)).ljust(self.size, b"\0")
