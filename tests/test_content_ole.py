"""Compound files: a VBA project is found wherever its directory lies, and by nothing less."""

from __future__ import annotations

import io
import struct
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.compound import FREE, PROJECT, STREAM, WORD, Entry, Tree, compound, entries
from smtpinspect._core.olescan import OleScanner

olefile = pytest.importorskip("olefile")

Found = list[tuple[int, int, str, str]]

EXCEL: Tree = {"Workbook": b"\x09\x08", "_VBA_PROJECT_CUR": PROJECT}
ATOM = struct.pack("<HHIHHIIII", 0x001F, 0x03FF, 20, 0x0002, 0x0400, 12, 5, 1, 2)
ORDERS = ("FSD", "FDS", "SFD", "SDF", "DFS", "DSF")
BEHIND = 80  # octets of an entry that are needed


def scan(octets: bytes, cuts: tuple[int, ...] = ()) -> Found:
    scanner, found, last = OleScanner(), [], 0
    for cut in (*sorted(cuts), len(octets)):
        found += scanner.feed(octets[last:cut])
        last = cut
    return found


def kinds(octets: bytes) -> list[tuple[str, str]]:
    return [(detail, evidence) for _, kind, detail, evidence in scan(octets) if kind == 1]


def presentation(atom: bytes = ATOM, at: int = 700) -> Tree:
    return {"PowerPoint Document": bytes(at) + atom, "Current User": b""}


def entry_at(octets: bytes, name: str) -> int:
    wanted = f"{name}\0".encode("utf-16-le")
    return next(at for at in range(0, len(octets), 128) if octets.startswith(wanted, at))


def has_project(octets: bytes) -> bool:
    """What olefile sees: a storage VBA with both streams, and PROJECT beside it."""
    with olefile.OleFileIO(io.BytesIO(octets)) as file:
        listed = {tuple(part.upper() for part in path) for path in file.listdir()}
    return any(
        path[-2:] == ("VBA", "DIR") and {(*path[:-1], "_VBA_PROJECT"), (*path[:-2], "PROJECT")} <= listed
        for path in listed
    )


# --- what is found


@pytest.mark.parametrize("shift", [9, 12])
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("tree", [WORD, EXCEL, PROJECT], ids=["word", "excel", "project"])
def test_a_project_is_found(tree: Tree, order: str, shift: int) -> None:
    octets = compound(tree, order, shift)
    assert has_project(octets)
    ((at, kind, detail, evidence),) = scan(octets)
    assert (kind, detail, evidence) == (1, "compound", "storage")
    needed = [entry_at(octets, name) for name in ("VBA", "dir", "_VBA_PROJECT", "PROJECT")]
    assert at == max(needed) + BEHIND - 1
    assert not scan(octets[:at]) and scan(octets[: at + 1])


@pytest.mark.parametrize("seed", range(40))
def test_sectors_lie_anywhere(seed: int) -> None:
    rng = Random(seed)
    filled: Tree = {f"s{n}": bytes(rng.randrange(9000)) for n in range(rng.randrange(30))}
    shift = rng.choice([9, 12])
    with_project = compound(filled | WORD, shift=shift, rng=rng)
    without = compound(filled | {"Macros": {"VBA": {"dir": b""}, "PROJECT": b""}}, shift=shift, rng=rng)
    assert has_project(with_project) and kinds(with_project) == [("compound", "storage")]
    assert not has_project(without) and not scan(without)


@pytest.mark.parametrize("name", ["vba", "Vba"])
def test_names_in_other_case(name: str) -> None:
    octets = compound({"M": {name: {"DIR": b"", "_vba_project": b""}, "project": b""}})
    assert has_project(octets) and kinds(octets) == [("compound", "storage")]


def test_an_empty_project_is_one() -> None:
    assert kinds(compound({"VBA": {"dir": b"", "_VBA_PROJECT": b""}, "PROJECT": b""}))


@pytest.mark.parametrize("gone", ["VBA", "dir", "_VBA_PROJECT", "PROJECT"])
def test_part_of_a_project_is_none(gone: str) -> None:
    listed = [entry for entry in entries(PROJECT) if entry.name != gone]
    assert not scan(compound({}, listed=listed))


@pytest.mark.parametrize("gone", ["VBA", "dir", "_VBA_PROJECT", "PROJECT"])
@pytest.mark.parametrize("harm", ["type", "length", "name", "colour", "sibling", "removed"])
def test_an_entry_that_is_none(gone: str, harm: str) -> None:
    octets = bytearray(compound(PROJECT))
    at = entry_at(octets, gone)
    place, value = {
        "type": (0x42, 3 - octets[at + 0x42]),
        "length": (0x40, octets[at + 0x40] + 2),
        "name": (0, ord("x")),
        "colour": (0x43, 2),
        "sibling": (0x47, 0xFE),
        "removed": (0x42, 0),
    }[harm]
    octets[at + place] = value
    if harm == "sibling":
        octets[at + 0x44 : at + 0x48] = b"\xfc\xff\xff\xff"
    assert not scan(bytes(octets))


def test_an_encrypted_package_is_no_match() -> None:
    assert not scan(compound({"EncryptionInfo": b"\4", "EncryptedPackage": bytes(9000)}))


@pytest.mark.parametrize("shift", [9, 12])
@pytest.mark.parametrize("order", ["FSD", "FDS", "DFS"])
def test_a_file_inside_a_stream_does_not_count(order: str, shift: int) -> None:
    """The chain was known before: what looks like a directory is none."""
    octets = compound({"attachment": compound(WORD, shift=shift)}, order, shift)
    assert not has_project(octets) and not scan(octets)


def test_a_file_inside_a_stream_counts_while_the_chain_is_not_known() -> None:
    """The choice that was made: without the FAT, an entry is an entry."""
    assert kinds(compound({"attachment": compound(WORD)}, "SFD")) == [("compound", "storage")]


def test_what_the_chain_leaves_out_is_forgotten() -> None:
    """Three names in a stream, the FAT, and the fourth in the directory."""
    part: Tree = {"VBA": {"dir": b"", "_VBA_PROJECT": b""}}
    octets = compound({"inner": compound(part), "PROJECT": b""}, "SFD")
    assert not scan(octets)
    assert scan(compound({"inner": compound(part), "PROJECT": b""}, "SDF"))


def test_a_chain_that_cannot_be_followed() -> None:
    """A chain that leads back, and one into nowhere: entries count, and nothing hangs."""
    for then in (None, 0x0FFFFFFF, 0xFFFFFFFC):
        octets = bytearray(compound(WORD, "FDS"))
        first = struct.unpack_from("<I", octets, 0x30)[0]
        struct.pack_into("<I", octets, 512 + 4 * first, first if then is None else then)
        assert len(scan(bytes(octets))) == 1


def test_a_long_directory() -> None:
    filled: Tree = {f"stream {n}": b"" for n in range(1500)}
    for order in ORDERS:
        assert kinds(compound(filled | WORD, order)) == [("compound", "storage")]


def test_many_sectors_with_names() -> None:
    """More candidates than are kept: none is lost."""
    inner: Tree = {f"a{n}": {"VBA": {f"x{k}": b"" for k in range(6)}} for n in range(80)}
    octets = compound(inner | {"z": {"PROJECT": b"", "VBA": {"dir": b"", "_VBA_PROJECT": b""}}}, "DSF")
    assert has_project(octets) and len(scan(octets)) == 1


# --- PowerPoint


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("at", [0, 1, 488, 511, 512, 700, 9000])
def test_the_atom_of_powerpoint(order: str, at: int) -> None:
    octets = compound(presentation(at=at), order)
    ((last, kind, detail, evidence),) = scan(octets)
    assert (kind, detail, evidence) == (1, "powerpoint", "atom")
    assert last == max(octets.find(ATOM) + 24, entry_at(octets, "PowerPoint Document") + BEHIND) - 1


@pytest.mark.parametrize("place", [*range(16), 20, 21, 22, 23])
def test_an_atom_with_one_octet_off(place: int) -> None:
    atom = bytearray(ATOM)
    atom[place] ^= 1
    assert not scan(compound(presentation(bytes(atom))))


def test_the_atom_needs_its_stream() -> None:
    assert not scan(compound({"Workbook": bytes(700) + ATOM}))
    assert not scan(compound({"Workbook": bytes(700) + ATOM}, "DFS"))


def test_an_atom_behind_the_beginning_of_one() -> None:
    assert kinds(compound(presentation(ATOM[:18] + ATOM))) == [("powerpoint", "atom")]


# --- no compound file, or a broken one


@pytest.mark.parametrize(
    ("at", "value"),
    [(0, b"\xd1"), (7, b"\0"), (0x1C, b"\xff\xfe"), (0x1E, b"\x0a"), (0x1E, b"\0"), (0x30, b"\xfe\xff\xff\xff")],
)
def test_a_header_that_is_none(at: int, value: bytes) -> None:
    octets = bytearray(compound(WORD))
    octets[at : at + len(value)] = value
    scanner = OleScanner()
    assert not scanner.feed(bytes(octets)) and scanner.done


def test_done_when_the_directory_has_passed() -> None:
    octets = compound({"Workbook": bytes(50_000)}, "DFS")
    scanner = OleScanner()
    scanner.feed(octets[:4096])
    assert scanner.done and scanner.skips > len(octets)
    scanner = OleScanner()
    scanner.feed(compound(presentation(at=50_000), "DFS")[:4096])
    assert not scanner.done


# --- cuts


@given(
    tree=st.sampled_from([WORD, EXCEL, presentation(), {"inner": compound(WORD)}, {}]),
    order=st.sampled_from(ORDERS),
    shift=st.sampled_from([9, 12]),
    seed=st.one_of(st.none(), st.integers(0, 1000)),
    cuts=st.lists(st.integers(0, 30_000), max_size=40).map(tuple),
)
def test_cuts_do_not_matter(tree: Tree, order: str, shift: int, seed: int | None, cuts: tuple[int, ...]) -> None:
    octets = compound(tree, order, shift, None if seed is None else Random(seed))
    assert scan(octets, cuts) == scan(octets)


@pytest.mark.parametrize("tree", [WORD, presentation()], ids=["word", "powerpoint"])
def test_octet_by_octet(tree: Tree) -> None:
    octets = compound(tree)
    assert scan(octets, tuple(range(len(octets)))) == scan(octets)


@given(seed=st.integers(0, 2**32))
def test_chance_is_silent_or_the_same(seed: int) -> None:
    rng = Random(seed)
    octets = bytearray(compound(rng.choice([WORD, EXCEL, presentation()]), rng.choice(ORDERS)))
    for _ in range(rng.randrange(1, 30)):
        octets[rng.choice([rng.randrange(len(octets)), rng.randrange(512)])] = rng.randrange(256)
    harmed = bytes(octets)
    assert scan(harmed, tuple(rng.randrange(len(harmed)) for _ in range(9))) == scan(harmed)
    assert len(scan(harmed)) <= 1


def test_an_entry_of_other_names() -> None:
    """A name that only begins so, or goes on."""
    listed = entries(PROJECT)
    for entry in listed:
        if entry.name in ("dir", "PROJECT"):
            entry.name += "wm"
    assert not scan(compound({}, listed=listed))
    listed.append(Entry("dir", STREAM, b"", [FREE] * 3))
    listed.append(Entry("PROJECT", STREAM, b"", [FREE] * 3))
    assert scan(compound({}, listed=listed))
