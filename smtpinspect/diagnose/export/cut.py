"""Captures cut to connections: the frames as they were, fragments and all, in one pass and with few files open."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import BinaryIO, Final, NamedTuple

from smtpinspect._core.fragments import Fragments
from smtpinspect._core.views import Flow
from smtpinspect.diagnose.export.blocks import INTERFACE, SECTION, Block, blocks
from smtpinspect.diagnose.notices import LATE_NS, PROTOCOLS, quoted
from smtpinspect.errors import UsageError
from smtpinspect.grammar import limits
from smtpinspect.simulate.flow import ends
from smtpinspect.source import Input

SUFFIX: Final = ".pcapng"
HEADERS: Final = 128  # octets of a frame in which its IP addresses lie


class Wanted(NamedTuple):
    """A connection, up to a time (ns; None: to its end), and the name of its capture in the folder. `numbers`: packets
    of the original whose numbers in that capture are wanted."""

    flow: Flow
    name: str
    until_ns: int | None = None
    numbers: frozenset[int] = frozenset()


class Cut(NamedTuple):
    """A capture that was written. `first`, `last`: packets of the original; `own`: numbers in this one by those."""

    wanted: Wanted
    packets: int
    first: int
    last: int
    own: Mapping[int, int] = MappingProxyType({})


def empty_folder(path: str, option: str) -> None:
    """Make the folder. Raises UsageError where something is in it, or where it cannot be made."""
    try:
        os.makedirs(path, exist_ok=True)
        filled = bool(os.listdir(path))
    except OSError as error:
        raise UsageError(f"{option} {path}: {error.strerror}") from None
    if filled:
        raise UsageError(f"{option} {path}: is not empty; name a new directory, nothing is overwritten")


class _File:
    """What was counted of one capture, and how much of the section's blocks it has."""

    def __init__(self, wanted: Wanted) -> None:
        self.wanted = wanted
        self.packets = self.first = self.last = 0
        self.section = -1
        self.own: dict[int, int] = {}
        self.described = 0  # blocks that opened the section and described interfaces


class _Files:
    """Files of a folder, few of them open; the longest unused one is closed."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.open: OrderedDict[str, BinaryIO] = OrderedDict()
        self.begun: set[str] = set()

    def write(self, name: str, octets: bytes) -> None:
        file = self.open.get(name)
        if file is None:
            if len(self.open) >= limits.EXPORT_FILES:
                self.open.popitem(last=False)[1].close()
            path = os.path.join(self.folder, name)
            try:
                file = open(path, "ab" if name in self.begun else "xb")  # noqa: SIM115
            except OSError as error:
                raise UsageError(f"{path}: cannot be written: {error.strerror}") from None
            self.begun.add(name)
            self.open[name] = file
        self.open.move_to_end(name)
        file.write(octets)

    def close(self) -> None:
        for file in self.open.values():
            file.close()


def cut(source: Input, wanted: Iterable[Wanted], folder: str) -> list[Cut]:
    """Write the frames of these connections, each to its capture in the folder; a damaged capture just ends.

    Raises UsageError like `open_source`, and for a file that is there or cannot be written.
    """
    files = _Files(folder)
    sorter = _Sorter([_File(each) for each in wanted])
    head: list[bytes] = []  # of this section: its header, and its interfaces
    section = 0
    try:
        for found in blocks(source):
            if found.kind == SECTION:
                section, head = section + 1, [found.octets]
            elif found.kind == INTERFACE:
                head.append(found.octets)
            elif found.number:
                for file, frame in sorter.sort(found):
                    if file.section != section:
                        file.section, file.described = section, 0
                    octets = b"".join(head[file.described :]) + frame.octets
                    file.described = len(head)
                    files.write(file.wanted.name, octets)
                    file.packets += 1
                    if frame.number in file.wanted.numbers:
                        file.own[frame.number] = file.packets
                    file.first = file.first or frame.number
                    file.last = frame.number
    finally:
        files.close()
    return [Cut(file.wanted, file.packets, file.first, file.last, file.own) for file in sorter.files]


class _Sorter:
    """Whose a frame is. Fragments wait until the packet is whole that they belong to."""

    def __init__(self, files: list[_File]) -> None:
        self.files = files
        self.ends: dict[object, list[_File]] = {}
        for file in files:
            client, server = ends(file.wanted.flow)
            self.ends.setdefault((client, server), []).append(file)
            self.ends.setdefault((server, client), []).append(file)
        self.joiner = Fragments()
        self.waiting: OrderedDict[int, Block] = OrderedDict()

    def sort(self, frame: Block) -> Iterator[tuple[_File, Block]]:
        before = self.joiner.waiting
        fields = self.joiner.feed(frame.link, frame.data, frame.ns, frame.wirelen)
        if fields is None:
            if self.joiner.waiting:  # it may be a fragment of what waits
                self.waiting[frame.number] = frame
                if len(self.waiting) > limits.EXPORT_FRAGMENTS:
                    self.waiting.popitem(last=False)
            return
        if fields["kind"] != "tcp":
            about = quoted(fields) if fields["proto"] in PROTOCOLS else None
            mine = self.ends.get(about, ()) if about is not None else ()
            yield from ((file, frame) for file in mine if self._during(file.wanted, frame, LATE_NS))
            return
        key = (fields["src"], fields["sport"]), (fields["dst"], fields["dport"])
        mine = [file for file in self.ends.get(key, ()) if self._during(file.wanted, frame)]
        if not mine:
            return
        whole = self.joiner.waiting >= before
        parts = [] if whole else self._fragments(frame, fields["src"] + fields["dst"])
        for file in mine:
            yield from ((file, part) for part in parts)
            yield file, frame

    @staticmethod
    def _during(wanted: Wanted, frame: Block, late_ns: int = 0) -> bool:
        flow = wanted.flow
        if frame.number < flow.first_packet or frame.ns > flow.end_ns + late_ns:
            return False
        return wanted.until_ns is None or frame.ns < wanted.until_ns

    def _fragments(self, last: Block, pair: bytes) -> list[Block]:
        """The fragments before this one, of the same packet."""
        wanted = _identity(last.data, pair)
        found = [part for part in self.waiting.values() if _identity(part.data, pair) == wanted]
        for part in found:
            del self.waiting[part.number]
        return found


def _identity(frame: bytes, pair: bytes) -> bytes:
    """Of IPv4 the identification (RFC 791 3.1), of IPv6 the kind of the first header behind it (RFC 8200 3)."""
    at = frame.find(pair, 0, HEADERS + len(pair))
    if at < 8:
        return b""
    return frame[at - 8 : at - 6] if len(pair) == 8 else frame[at - 2 : at - 1]
