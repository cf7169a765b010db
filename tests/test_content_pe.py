"""Packed executables: each row of grammar.packers, and what is one octet off."""

from __future__ import annotations

import re
import struct
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.executable import BASE, DLL, HEADERS, PAGE, Section, executable, imported
from smtpinspect._core.pescan import PeScanner
from smtpinspect.grammar.packers import ROWS, Row

pefile = pytest.importorskip("pefile")

Found = list[tuple[int, int, str, str]]

FAR = 0x3000  # behind the entry point, where calls of the tests lead


def scan(octets: bytes, cuts: tuple[int, ...] = (), skips: bool = False) -> Found:
    scanner, found, last = PeScanner(), [], 0
    for cut in (*sorted(cuts), len(octets)):
        while last < cut:
            gone = min(scanner.skips, cut - last) if skips else 0
            if gone:
                scanner.skip(gone)
            last += gone
            found += scanner.feed(octets[last:cut] if not skips else octets[last : last + 1])
            last = cut if not skips else min(last + 1, cut)
    return found


def told(octets: bytes) -> list[tuple[str, str]]:
    return [(packer, evidence) for _, kind, packer, evidence in scan(octets) if kind == 3]


def hexa(text: str) -> bytes:
    """Octets as signatures are written; any octet is 0xA7."""
    return bytes.fromhex(text.replace("..", "A7"))


def at_entry(octets: bytes, bits: int = 32, padding: int = 0x4000) -> bytes:
    return executable([Section(b".text", bytes(0x300) + octets + bytes(padding))], entry=PAGE + 0x300, bits=bits)


def entry_of(octets: bytes) -> int:
    file = pefile.PE(data=octets, fast_load=True)
    return int(file.get_offset_from_rva(file.OPTIONAL_HEADER.AddressOfEntryPoint))


# --- by hand, from published signatures: packer, bits, octets at the entry point

ENTRY_POINTS = [
    ("UPX", 32, "60 BE .. .. .. .. 8D BE .. .. .. .. 57"),
    ("UPX", 32, "80 7C 24 08 01 0F 85 .. .. .. .. 60 BE .. .. .. .. 8D BE .. .. .. .. 57"),
    ("UPX", 64, "53 56 57 55 48 8D 35 .. .. .. .. 48 8D BE .. .. .. .. 57"),
    ("FSG", 32, "BB .. .. .. .. BF .. .. .. .. BE .. .. .. .. 53 E8 0A 00 00 00 02 D2 75 05 8A 16 46 12 D2"),
    ("FSG", 32, "BB .. .. .. .. BF .. .. .. .. BE .. .. .. .. FC B2 80 8A 06 46 88 07 47 02 D2 75 05 8A 16"),
    ("FSG", 32, "BE .. .. .. .. BF .. .. .. .. BB .. .. .. .. 53 BB .. .. .. .. B2 80"),
    ("FSG", 32, "BB .. .. .. .. BF .. .. .. .. BE .. .. .. .. 53 BB .. .. .. .. B2 80 A4 B6 80 FF D3 73 F9"),
    ("FSG", 32, "BE .. .. .. .. AD 93 AD 97 AD 56 96 B2 80 A4 B6 80 FF 13 73"),
    ("FSG", 32, "87 25 .. .. .. .. 61 94 55 A4 B6 .. FF 13"),
    ("FSG", 32, "EB 02 CD 20 2B C8 68 .. .. .. .. EB 02 1E BB 5E EB 02 CD 20 68 B1 2B 6E 37 40 5B 0F B6 C9"),
    ("FSG", 32, "C1 E0 06 EB 02 CD 20 EB 01 27 EB 01 24 BE .. .. .. .. 49 EB 01 99 8D 1D F4 00 00 00 EB 01"),
    ("Petite", 32, "B8 .. .. .. .. 6A .. 68 .. .. .. .. 64 FF 35 .. .. .. .. 64 89 25 .. .. .. .. 66 9C 60 50"),
    ("Petite", 32, "B8 .. .. .. .. 68 .. .. .. .. 64 FF 35 .. .. .. .. 64 89 25 .. .. .. .. 66 9C 60 50"),
    ("Petite", 32, "66 9C 60 50 8D 88 00 F0 00 00 8D 90 04 16 00 00 8B DC 8B E1"),
    ("Petite", 32, "B8 .. .. .. .. 66 9C 60 50 8B D8 03 .. 68 .. .. .. .. 6A .. FF 50"),
    ("ASPack", 32, "60 E8 03 00 00 00 E9 EB 04 5D 45 55 C3 E8 01"),
    ("ASPack", 32, "60 E8 00 00 00 00 5D 81 ED .. .. .. .. B8 .. .. .. .. 03 C5"),
    ("ASPack", 32, "60 E8 72 05 00 00 EB 4C"),
    ("ASPack", 32, "60 E9 3D 04 00 00"),
    ("PECompact", 32, "B8 .. .. .. .. 50 64 FF .. .. .. .. .. 64 89 .. .. .. .. .. 33 C0 89 08"),
    ("PECompact", 32, "33 C0 8B C4 83 C0 04 93 8B E3 8B 5B FC 81"),
]


@pytest.mark.parametrize(("packer", "bits", "text"), ENTRY_POINTS)
def test_entry_points(packer: str, bits: int, text: str) -> None:
    pattern = hexa(text)
    octets = at_entry(pattern, bits)
    assert scan(octets) == [(entry_of(octets) + len(pattern) - 1, 3, packer, "entry point")]
    assert not scan(at_entry(pattern, 96 - bits))


@pytest.mark.parametrize(("packer", "bits", "text"), ENTRY_POINTS)
def test_one_octet_off(packer: str, bits: int, text: str) -> None:
    for place, octet in enumerate(text.split()):
        pattern = bytearray(hexa(text))
        pattern[place] ^= 1
        assert told(at_entry(bytes(pattern), bits)) == ([(packer, "entry point")] if octet == ".." else [])


@pytest.mark.parametrize(("packer", "bits", "text"), ENTRY_POINTS)
def test_only_at_the_entry_point(packer: str, bits: int, text: str) -> None:
    assert not scan(at_entry(b"\xcc" + hexa(text), bits))
    assert not scan(at_entry(hexa(text)[1:], bits))


@pytest.mark.parametrize("text", ["68 .. .. .. ..", "B8 .. .. .. .. 2B 44 24 .. 50"])
@pytest.mark.parametrize("target", [-0x900, -0x700, -0x20, 0, 5, 40, 200, FAR, 0x20000])
def test_a_call_is_followed(text: str, target: int) -> None:
    """PKLITE32: ahead as far as you like, back as far as octets are kept."""
    push = hexa("68 .. .. .. .. 68 .. .. .. .." + text)
    start = 0x2000
    code = bytearray(0x24000)
    call = push + b"\xe8" + struct.pack("<i", target)
    code[start : start + len(call)] = call
    there = start + len(call) + target
    code[there : there + 4] = bytes.fromhex("558BECA1")
    octets = executable([Section(b".text", bytes(code))], entry=PAGE + start)
    back = target + len(call) < -2048
    last = HEADERS + max(there + 4, start + len(call)) - 1
    assert scan(octets) == ([] if back else [(last, 3, "PKLite32", "entry point")])
    code[there + 3] ^= 1
    assert not scan(executable([Section(b".text", bytes(code))], entry=PAGE + start))


def test_a_call_into_another_section() -> None:
    push = hexa("68 .. .. .. .. 68 .. .. .. .. 68 .. .. .. ..")
    for first, second in ((b".text", b".pklstb"), (b"a", b"b")):
        distance = FAR - (PAGE + len(push) + 5)
        code = push + b"\xe8" + struct.pack("<i", distance)
        sections = [Section(first, code, FAR - PAGE), Section(second, bytes.fromhex("558BECA1"))]
        octets = executable(sections)
        assert pefile.PE(data=octets).get_offset_from_rva(FAR) == HEADERS + 0x200
        assert scan(octets) == [(HEADERS + 0x203, 3, "PKLite32", "entry point")]
        assert not scan(executable([sections[0], Section(second, b"", FAR)]))


def test_a_call_into_the_head() -> None:
    """Back into what is always kept, over more than is kept before the entry point."""
    push = hexa("68 .. .. .. .. 68 .. .. .. .. 68 .. .. .. ..")
    code = bytearray(0x9000)
    code[0x10:0x14] = bytes.fromhex("558BECA1")
    call = push + b"\xe8" + struct.pack("<i", 0x10 - 0x8000 - len(push) - 5)
    code[0x8000 : 0x8000 + len(call)] = call
    octets = executable([Section(b".text", bytes(code))], entry=PAGE + 0x8000)
    assert scan(octets) == [(HEADERS + 0x8000 + len(call) - 1, 3, "PKLite32", "entry point")]


def test_calls_of_calls() -> None:
    """MPRESS: one call behind the other, short jumps, and a jump to an address."""
    rest = hexa("58 05 .. .. .. .. 8B 30 03 F0 2B C0 8B FE 66 AD C1 E0 .. 8B C8 AD 2B C8 03 F1 8B C8")
    rest += hexa("49 8A 44 39 .. 74 .. 88 04 31 EB")
    code = bytearray(0x3000)
    code[0:6] = b"\x60\xe8" + struct.pack("<i", 0x1000 - 6)
    code[0x1000:0x1005] = b"\xe8" + struct.pack("<i", 0x800 - 0x1005)
    code[0x800 : 0x800 + len(rest)] = rest
    assert not scan(executable([Section(b".text", bytes(0x4000) + bytes(code))], entry=PAGE + 0x4000))
    code[0x1000:0x1005] = b"\xe8" + struct.pack("<i", 0x2000 - 0x1005)
    code[0x2000 : 0x2000 + len(rest)] = rest
    octets = executable([Section(b".text", bytes(0x4000) + bytes(code))], entry=PAGE + 0x4000)
    assert scan(octets) == [(HEADERS + 0x6000 + len(rest) - 1, 3, "MPRESS", "entry point")]


def test_a_jump_before_aspack() -> None:
    """The stub stands behind a jump, as DIE has it."""
    code = hexa("90 75 01 90 E9") + struct.pack("<i", 100 - 9)
    octets = at_entry(code.ljust(100, b"\0") + hexa("60 E8 03 00 00 00 E9 EB 04 5D 45 55 C3 E8 01"))
    assert scan(octets) == [(entry_of(octets) + 114, 3, "ASPack", "entry point")]


def test_a_jump_that_leads_to_itself() -> None:
    assert not scan(at_entry(hexa("75 00 E9 F8 FF FF FF")))
    assert not scan(at_entry(b"\xeb\xfe"))


# --- sections


@pytest.mark.parametrize(
    ("names", "packer"),
    [
        ("UPX0 UPX1 .rsrc", "UPX"),
        ("UPX0 UPX1 UPX2", "UPX"),
        ("UPX1 UPX0", "UPX"),
        (".text .aspack .adata", "ASPack"),
        (".MPRESS1 .MPRESS2", "MPRESS"),
        ("UPX0 .rsrc", None),
        ("UPX1 UPX2", None),
        ("upx0 upx1", None),
        ("UPX0 UPX11", None),
        ("UPX UPX0x UPX1", None),
        ("ASPACK .ADATA", None),
        (".aspack .adat", None),
        (".aspack .adatas", None),
        (".petite .pklstb", None),
        (".MPRESS1", None),
    ],
)
def test_names_of_sections(names: str, packer: str | None) -> None:
    octets = executable([Section(name.encode(), b"\xc3") for name in names.split()])
    assert told(octets) == ([(packer, "section")] if packer else [])
    if packer:
        ((at, *_),) = scan(octets)
        assert not scan(octets[:at]) and scan(octets[: at + 1]) == scan(octets)
        last = names.split()[1 if packer != "ASPack" else 2].encode()
        assert at == octets.find(last.ljust(8, b"\0")) + min(len(last), 7)


def test_names_behind_a_nul() -> None:
    """What stands behind the end of a name is no part of it."""
    octets = executable([Section(b"UPX0\0abc"), Section(b"UPX1\0\0\0z")])
    assert told(octets) == [("UPX", "section")]


def test_more_sections_than_are_read() -> None:
    many = [Section(b"s%d" % n) for n in range(95)]
    assert told(executable([*many[:94], Section(b"UPX0"), Section(b"UPX1")])) == [("UPX", "section")]
    assert not scan(executable([*many, Section(b"UPX0"), Section(b"UPX1")]))


# --- marks


@pytest.mark.parametrize(
    ("mark", "packer"),
    [
        (b"3.96\0UPX!", "UPX"),
        (b"$Id: UPX 1.25", "UPX"),
        (b"PEC2", "PECompact"),
        (b"UPX!", None),
        (b"3.9\0\0UPX!", None),
        (b"\0\0\0\0\0UPX!", None),
        (b"3.96\0UPX?", None),
        (b"3.96\0upx!", None),
        (b"PEC1", None),
    ],
)
def test_marks(mark: bytes, packer: str | None) -> None:
    octets = executable(gap=bytes(100) + mark + bytes(20))
    assert told(octets) == ([(packer, "marker")] if packer else [])
    if packer and b"Id" not in mark:
        assert scan(octets)[0][0] == octets.find(mark) + len(mark) - 1


@pytest.mark.parametrize(("mark", "end", "packer"), [(b"4.22\0UPX!", 1024, "UPX"), (b"PEC2", 0x600, "PECompact")])
def test_marks_lie_in_the_first_octets(mark: bytes, end: int, packer: str) -> None:
    octets = executable([Section(b".text", bytes(0x1000))])
    for place, expected in ((end - len(mark), [(packer, "marker")]), (end - len(mark) + 1, [])):
        assert told(octets[:place] + mark + octets[place + len(mark) :]) == expected


@pytest.mark.parametrize("text", [b"Win32 .EXE.\r\n", b"Win64 .EXE.", b"Win32 .DLL.", b"It's .NET EXE"])
def test_the_stub_of_mpress(text: bytes) -> None:
    for place, expected in ((0x2D, []), (0x2E, [("MPRESS", "marker")]), (0x2F, [])):
        octets = bytearray(executable())
        octets[place : place + len(text)] = text
        assert struct.unpack_from("<I", octets, 0x3C)[0] == 0x80
        assert told(bytes(octets)) == expected
        if expected:
            assert scan(bytes(octets))[0][0] == 0x83  # with PE\0\0
        octets[0x80] = 0
        assert not scan(bytes(octets))


# --- imports

UPX_FUNCTIONS = "LoadLibraryA GetProcAddress VirtualProtect VirtualAlloc VirtualFree ExitProcess"


def importing(names: str, bits: int = 32, **given: int) -> bytes:
    table = imported(names.split(), 0x8000, bits)
    sections = [Section(b"", b"", PAGE), Section(b"", bytes(0x6000)), Section(b"", table)]
    return executable(sections, entry=0x3000, bits=bits, imports=0x8000, **({"uninitialised": PAGE} | given))


@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize(
    ("names", "given", "packer"),
    [
        ("LoadLibraryA GetProcAddress ExitProcess", {}, "UPX"),
        ("LoadLibraryA GetProcAddress VirtualProtect ExitProcess", {}, "UPX"),
        ("LoadLibraryA ExitProcess GetProcAddress VirtualProtect", {}, "UPX"),
        (UPX_FUNCTIONS, {}, "UPX"),
        (UPX_FUNCTIONS, {"code": 0}, "NsPack"),
        ("LoadLibraryA GetProcAddress VirtualProtect", {"flags": DLL}, "UPX"),
        ("LoadLibraryA GetProcAddress VirtualProtect", {}, None),
        ("LoadLibraryA GetProcAddress", {}, None),
        ("GetProcAddress LoadLibraryA ExitProcess", {}, None),
        ("LoadLibraryA GetProcAddress ExitProcess Sleep", {}, None),
        ("LoadLibraryA GetProcAddress ExitProces", {}, None),
        ("LoadLibraryA GetProcAddress ExitProcessX", {}, None),
        ("LoadLibraryA GetProcAddress ExitProcess", {"uninitialised": 0}, None),
        ("LoadLibraryA GetProcAddress ExitProcess", {"code": 0}, None),
    ],
)
def test_imports(names: str, given: dict[str, int], packer: str | None, bits: int) -> None:
    octets = importing(names, bits, **given)
    parsed = pefile.PE(data=octets)
    assert [each.name.decode() for each in parsed.DIRECTORY_ENTRY_IMPORT[0].imports] == names.split()
    assert told(octets) == ([(packer, "imports")] if packer else [])
    if packer:
        ((at, *_),) = scan(octets)
        assert not scan(octets[:at]) and at == octets.rfind(names.split()[-1].encode()) + len(names.split()[-1])


def test_imports_of_upack() -> None:
    names = "LoadLibraryA GetProcAddress ExitProcess"
    sections = [Section(b"", b"", PAGE), Section(b""), Section(b"", imported(names.split(), 0x3000))]
    for entry, expected in ((0x1018, []), (0x1019, [("UPX", "imports")])):
        assert told(executable(sections, entry=entry, imports=0x3000, uninitialised=1)) == expected


def test_imports_that_lead_nowhere() -> None:
    octets = importing(UPX_FUNCTIONS)
    start = octets.find(struct.pack("<I", 0x8000 + 40))
    assert start > 0
    for place in (12, 16):
        harmed = bytearray(octets)
        struct.pack_into("<I", harmed, start - 16 + place, 0x7FFFFFF0 if place == 16 else 0)
        assert not scan(bytes(harmed))


# --- the table


def filled(pattern: str) -> bytes:
    """Octets that a pattern without jumps takes."""
    made = b""
    for text, octet in re.findall(r"'([^']*)'|(\.\.|##|[0-9A-F]{2})", pattern):
        made += text.encode() if text else {"..": b"\xa7", "##": b"7"}.get(octet) or bytes.fromhex(octet)
    return made


def with_row(row: Row) -> bytes:
    """A file that the row tells; each jump leads into a page of its own."""
    code = bytearray(0x8000)
    at = 0
    parts = re.split(r"\b(rel8|rel32|abs32)\b", row.pattern)
    for place, part in enumerate(parts):
        if part not in ("rel8", "rel32", "abs32"):
            octets = filled(part)
            code[at : at + len(octets)] = octets
            at += len(octets)
            continue
        far = at + (60 if part == "rel8" else 0x1000)
        kind, value = {
            "rel8": ("<b", far - at - 1),
            "rel32": ("<i", far - at - 4),
            "abs32": ("<I", BASE + PAGE + far),
        }[part]
        struct.pack_into(kind, code, at, value)
        at = far
        assert place % 2
    return executable([Section(b".text", bytes(code))], bits=row.bits or 32)


POINTS = [row for row in ROWS if row.evidence == "entry point"]


@pytest.mark.parametrize("row", POINTS, ids=lambda row: f"{row.packer} {row.version} {row.pattern[:30]}")
def test_each_row_is_compared(row: Row) -> None:
    found = scan(with_row(row))
    assert [each[1:] for each in found] == [(3, row.packer, "entry point")]


def test_rows_are_as_they_should_be() -> None:
    assert len({(row.packer, row.evidence, row.pattern, row.condition) for row in ROWS}) == len(ROWS)
    assert {row.packer for row in ROWS if row.group == "documented"} == {"UPX", "FSG", "PKLite32", "Petite", "ASPack"}
    assert {row.packer for row in ROWS if row.group == "optional"} == {"PECompact", "MPRESS", "NsPack"}
    order = [row.group for row in ROWS]
    assert order == sorted(order)
    assert sum(row.packer == "FSG" for row in ROWS) == 44


# --- what is no executable, or a broken one


@pytest.mark.parametrize(
    ("at", "value"),
    [
        (0, b"ZM"),
        (0x3C, b"\xff\xff\xff\xff"),
        (0x3C, b"\0\0\0\0"),
        (0x3C, b"\x81\0\0\0"),
        (0x80, b"NE\0\0"),
        (0x86, b"\0\0"),
        (0x94, b"\xff\xff"),
    ],
)
def test_headers_that_are_none(at: int, value: bytes) -> None:
    octets = bytearray(executable([Section(b"UPX0"), Section(b"UPX1")]))
    assert scan(bytes(octets))
    octets[at : at + len(value)] = value
    assert not scan(bytes(octets))


@pytest.mark.parametrize("pe_at", [0x40, 0x44, 0x200, 0xF00, 0x1100])
def test_where_the_header_stands(pe_at: int) -> None:
    assert told(executable([Section(b"UPX0"), Section(b"UPX1")], pe_at=pe_at)) == [("UPX", "section")]
    octets = executable([Section(b".text", hexa(ENTRY_POINTS[0][2]))], pe_at=pe_at)
    assert scan(octets)[0][0] == entry_of(octets) + 12


def test_headers_that_end_too_late() -> None:
    assert not scan(executable([Section(b"UPX0"), Section(b"UPX1")], pe_at=0x1400))


def test_an_entry_point_in_the_headers() -> None:
    octets = bytearray(executable())
    octets[0x300 : 0x300 + 13] = hexa(ENTRY_POINTS[0][2])
    struct.pack_into("<I", octets, 0x80 + 24 + 16, 0x300)
    assert entry_of(bytes(octets)) == 0x300
    assert told(bytes(octets)) == [("UPX", "entry point")]


def test_no_entry_point() -> None:
    for entry in (0, 0x7FFFFFFF, 0xFFFFFFFF, 0x2F00):
        assert not scan(executable([Section(b".text", hexa(ENTRY_POINTS[0][2]))], entry=entry))


def test_one_finding_of_each_group() -> None:
    both = executable([Section(b"UPX0"), Section(b"UPX1")], gap=b"PEC2 4.22\0UPX!")
    assert told(both) == [("UPX", "section"), ("PECompact", "marker")]


def test_two_groups_with_one_octet() -> None:
    """Both marks stand before PE\\0\\0, which completes them."""
    octets = executable(stub=b"4.22\0UPX!PEC2")
    expected = [(0x83, 3, "UPX", "marker"), (0x83, 3, "PECompact", "marker")]
    assert scan(octets) == scan(octets, skips=True) == scan(octets[:0x84]) == expected
    assert scan(octets, tuple(range(len(octets)))) == expected


# --- cuts and skips


def samples() -> list[bytes]:
    return [
        executable([Section(b"UPX0"), Section(b"UPX1")]),
        executable(gap=b"4.22\0UPX!"),
        importing(UPX_FUNCTIONS),
        importing(UPX_FUNCTIONS, 64),
        *(with_row(row) for row in POINTS[:: len(POINTS) // 40]),
        executable(),
    ]


SAMPLES = samples()


@given(
    octets=st.sampled_from(SAMPLES), cuts=st.lists(st.integers(0, 0x9000), max_size=30).map(tuple), harm=st.integers()
)
def test_cuts_and_skips_do_not_matter(octets: bytes, cuts: tuple[int, ...], harm: int) -> None:
    if harm % 3 == 0:
        rng, changed = Random(harm), bytearray(octets)
        for _ in range(rng.randrange(12)):
            changed[rng.choice([rng.randrange(len(octets)), rng.randrange(0x400)])] = rng.randrange(256)
        octets = bytes(changed)
    whole = scan(octets)
    assert scan(octets, tuple(min(cut, len(octets)) for cut in cuts)) == whole
    assert scan(octets, skips=True) == whole


@pytest.mark.parametrize("octets", SAMPLES[:8])
def test_octet_by_octet(octets: bytes) -> None:
    assert scan(octets, tuple(range(len(octets)))) == scan(octets)


def test_large_files_cost_nothing() -> None:
    scanner = PeScanner()
    octets = executable([Section(b".text", b"\x55\x8b\xec" + bytes(0x9000))], entry=PAGE)
    scanner.feed(octets[:0x800])
    assert scanner.done
    scanner = PeScanner()
    octets = executable([Section(b".data", bytes(0x100000)), Section(b".text", b"\xcc")], entry=PAGE + 0x100000)
    scanner.feed(octets[:0x1400])
    assert scanner.skips == HEADERS + 0x100000 - 2048 - 0x1400 and not scanner.done
