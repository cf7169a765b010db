"""How packed executables are told: names of sections, marks in the first octets, imports, what the code begins with.

A pattern is written octet by octet: hexadecimal, `..` for any octet, `##` for a digit, 'text' for ASCII; rel8, rel32
and abs32 are the operand of a jump or a call (little-endian; relative, or an address), and what follows stands where
it leads. Entry point: raw octets in the file. Marker: anywhere in the first `within` octets. Section: all these names.
Imports: the functions of the first DLL, all of them and in this order, with a condition.

Patterns marked DIE are those of Detect It Easy (commit 7f3119c of August 2026, db/PE/packer_*.2.sg):
Copyright (c) 2012-2026 hors<horsicq@gmail.com>, MIT License; its text stands in the file LICENSE.
That the patterns tell a packer is confirmed by their source; that the firewall tells it by the same is this project's
reading of its settings' names. `observed`: seen in files that UPX 4.2.2 made.

DIE's rows that another one implies are left out. It looks for UPX's stub in a 32-bit DLL 27 octets behind the entry
point; in DLLs that UPX 4.2.2 made it stands 11 behind: both have a row.

Not judged by name alone: `.pklstb` and `.petite`, of which only memory tells; the entry point tells these packers.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

Group = Literal["documented", "optional"]
Evidence = Literal["section", "marker", "entry point", "imports"]
Basis = Literal["confirmed", "observed", "project"]
# unpacks: the first section has no octets in the file, there are more than two, code and uninitialised data have a
# size, and the entry point is not 0x1018 (Upack's). no code: the size of code is 0.
Condition = Literal["", "unpacks", "unpacks, DLL", "no code"]

DIE: Final = "Detect It Easy db/PE/packer_{}.2.sg"
UPX_MADE: Final = "files made by UPX 4.2.2"


class Row(NamedTuple):
    """One way to tell a packer. `bits`: 32, 64 or 0 for both; a marker lies in the octets from `first` to `within`."""

    packer: str
    group: Group
    evidence: Evidence
    pattern: str
    bits: int
    version: str
    source: str
    basis: Basis
    within: int = 0
    condition: Condition = ""
    first: int = 0


def _points(packer: str, group: Group, bits: int, text: str) -> list[Row]:
    """A row for each line: version (? where none is told), then the pattern; a line that begins with `+` goes on."""
    made: list[Row] = []
    for line in text.replace("\n    + ", "").strip().splitlines():
        version, _, pattern = line.strip().partition("  ")
        source = DIE.format(packer.replace("32", ""))
        made.append(Row(packer, group, "entry point", pattern, bits, version, source, "confirmed"))
    return made


_FSG: Final = """
    1.31  BE........BF........BB........53BB........B280
    1.0  BB........BF........BE........53E80A00000002D275058A164612D2
    1.1  BB........BF........BE........FCB2808A064688074702D275058A16
    1.10  EB02CD2003..8D..80....00..................EB02
    1.10  80E9A1C1C11368E4167546C1C1055EEB019D6864863746EB028CE05FF7D0
    1.10  EB0102EB02CD20B8........EB0155BEF400000013DF13D80FB638D1F3F7
    1.10  EB02CD202BC868........EB021EBB5EEB02CD2068B12B6E37405B0FB6C9
    1.10  23CAEB025A0DE8020000006A3558C1C910BE........0FB6C9EB02CD20BB
    1.10  2BC2E802000000954A598D3D52F12AE8C1C81CBE2E....18EB02ABA003F7
    1.10  EB012EEB02A555BB........87FE8D05AACEE063EB0175BA5ECEE063EB02
    1.10  EB02CD20EB02CD20EB02CD20C1E618BB........EB0282B8EB01108D05F4
    1.10  C1C810EB010FBF03746677C1E91D6883....77EB02CD205EEB02CD202BF7
    1.10  1BDBE8020000001A0D5B68........E801000000EA5A58EB02CD2068F400
    1.10  EB0156E802000000B2D9596880..4100E8020000006532595EEB02CD20BB
    1.10  F7D80FBEC2BE........0FBEC9BF083B6507EB02D829BBECC59AF8EB0194
    1.10  03F723FE33FBEB02CD20BB........EB0186EB0190B8F400000083EE052B
    1.10  EB01DBE80200000086435E8D1DD075CF83C1EE1D6850..8F83EB023D0F5A
    1.10  EB0209940FB7FF68........81F68E0000005BEB0211C28D05F400000047
    1.10  C1CB10EB010FB90374F6EE0FB6D38D0583....EF80F3F62BC1EB01DE6877
    1.10  2C711BCAEB012AEB01658D3580....0080C98480C968BBF4000000EB01EB
    1.10  33D20FBED2EB01C7EB01D88D0580......EB02CD20EB01F8BEF4000000EB
    1.10  E8010000005A5EE802000000BADD5E03F2EB0164BB........8BFAEB01A8
    1.10  0BD08BDAE80200000040A05AEB019DB8........EB02CD2003D38D35F400
    1.10  87FEE80200000098CC5FBB80....00EB02CD2068F4000000E801000000E3
    1.10  F7D84049EB02E00A8D3580......0FB6C2EB019C8D1DF4000000EB013C80
    1.10  F7DB80EABFB92F4067BAEB010168AF..A7BA80EA9D58C1C2092BC18BD768
    1.10  F7D0EB02CD20BEBB741CFBEB02CD20BF3B....FBC1C10333F7EB02CD2068
    1.10  03DEEB01F8B8........EB02CD206817A0B3ABEB01E8590FB6DB680BA1B3
    1.10  91EB02CD20BF50BC046F91BED0....6FEB02CD202BF7EB02F0468D1DF400
    1.10  C1CE10C1F60F68........2BFA5B23F98D15........E801000000B65E0B
    1.10  E8010000000E59E8010000005858BE........EB0261E968F4000000C1C8
    1.10  EB014D83F64C68........EB02CD205BEB012368481C2B3AE80200000038
    1.10  EB02AB35EB02B5C68D05........C1C211BEF4000000F7DBF7DB0FBE38E8
    1.10  EB02CD20..CF....80....00................00
    1.20  C1F007EB02CD20BE........1BC68D1DF40000000FB606EB02CD208A160F
    1.20  0FBEC1EB010E8D35C3BEB622F7D16843....22EB02B5155FC1F11533F780
    1.20  0FB6D0E8010000000C5AB8........EB0200DE8D35F4000000F7D2EB020E
    1.20  33C22CFB8D3D7E45B480E8020000008A45586802..8C7FEB02CD205E80C9
    1.20  EB02CD20EB01918D35........33C26883937E7D0CA45B23C36877937E7D
    1.20  C1E006EB02CD20EB0127EB0124BE........49EB01998D1DF4000000EB01
    1.31  BB........BF........BE........53BB........B280A4B680FFD373F9
    1.33  BE........AD93AD97AD5696B280A4B680FF1373
    1.3.3  BE........AD97AD569683CD..EB
    2.0  8725........619455A4B6..FF13
"""

_PKLITE: Final = """
    1.1  68........68........68........E8 rel32 558BECA1
    1.1  68........68........B8........2B4424..50E8 rel32 558BECA1
"""

_PETITE: Final = """
    1.2  9C60E8CA......03..04..05..06..07..08
    1.2  669C60E8 rel32 582C..508BC88BD081C1........81C2........89208BE15081
    1.3  669C60508D8800F000008D90041600008BDC8BE1
    1.4  669C60508BD803006854BC00006A00FF50148BCC
    2.1-2.3  64FF350000000064892500000000669C60508BD8
    ?  B8........669C60508D..........68........83
    1.3, 1.3a  B8........669C60508D88........8D90........8BDC8BE168
    2.1  B8........6A..68........64FF35........648925........669C6050
    2.2  B8........68........64FF35........648925........669C6050
    2.2  B8........669C605033DB8D90........68........833A..0F84........8B0A
    1.4-2.2  B8........669C60508BD803..68........6A..FF50
    2.4  B8........608DA8........68........6A40680030000068........6A00FF90........8944241CBB........8DB5......
    + ..8BF850
"""

_ASPACK: Final = """
    1.00b-1.07b  60E8000000005D81ED........B8........03C5
    1.08.00-1.08.02  60EB..5DEB..FF..........E9
    1.08.03  60E8000000005D............BB........03DD
    1.08.X  60E8000000005D81ED........BB........01EB
    1.08.04  60E841060000EB41
    1.08.X  60EB..5DFFE5E8........81ED........BB........03DD2B9D
    2.000  60E870050000EB4C
    2.001  60E872050000EB4C
    2.1  60E872050000EB3387DB9000
    2.11  60E93D040000
    2.11d  60E802000000EB095D55
    2.12-2.42  60E803000000E9EB045D4555C3E801
    2.12b  9060E8 rel32 5D4555C3
    2.1X-2.39  60E8 rel32 8B2C2481ED........C3
    2.1X-2.39  9060E8 rel32 8B2C2481ED........C3
"""

# Behind such a jump stands what stands at the entry point else.
_ASPACK_JUMPS: Final = (
    "7500E9 907500E9 90907500E9 90750190E9 907501FFE9 90907501FFE9 9090907500E9 9090750190E9 909090750190E9 "
    "9090907501FFE9"
).split()

_PECOMPACT: Final = """
    0.90-0.92  EB0668........C39C60BD........B902......B0908DBD........F3AA01AD........FFB5
    0.94  EB0668........C39C60E8........5D555881ED........2B85........0185........50B902
    1.68-1.84  EB rel8 9C60E8 rel32 8BC483....938BE38B....81EB........87DD8B85........0185........66C785
    1.00-1.3X  EB rel8 9C60E8 rel32 83C4..8B4424..50505B5D81ED........8B85........0185........66C785
    1.00-1.3X  EB rel8 9C60E8 rel32 5D555B81ED........8B85........0185........66C785
    1.84  33C08BC483C004938BE38B5BFC81
    2.0 beta  B8........05........5064FF350000000064892500000000CC90909090
    2.X beta  B8........80002840
    2.20-3.02  B8........5064FF..........6489..........33C08908
    2.53-2.76  B8........5553515756528D98........8B5318528BE86A406800100000FF7304
    ?  B8 abs32 B8........5553515756528D98
"""

_MPRESS_32: Final = """
    0.71-0.75  575653515255E8 rel32 E8 rel32 5805........8B3003F02BC08BFE66ADC1E0..8BC8AD2BC803F18BC8498A4439..
    + 74..880431EB
    0.77  60E8 rel32 E8 rel32 5805........8B3003F02BC08BFE66ADC1E0..8BC8AD2BC803F18BC8498A4439..74..880431EB
    0.85-0.97  60E8 rel32 5805........8B3003F02BC08BFE66ADC1E0..8BC850AD2BC803F18BC857498A4439..74..880431EB
    1.27  60E8 rel32 5805........8B3003F02BC08BFE66ADC1E0..8BC850AD2BC803F18BC85751498A4439..74..880431EB
    2.01-2.12  60E8 rel32 5805........8B3003F02BC08BFE66ADC1E0..8BC850AD2BC803F18BC85751498A4439..88043175
"""

_MPRESS_64: Final = """
    0.71-0.92  57565351524150E8 rel32 488D05........488B304803F0482BC0488BFE66ADC1E0..488BC8AD2BC84803F18BC8FFC9
    + 8A4439..74..880431EB
    0.97  57565351524150488D05........488B304803F0482BC0488BFE66ADC1E0..488BC850AD2BC84803F18BC857FFC98A4439..74
    + ..880431EB
    1.27-2.12  57565351524150488D05........488B304803F0482BC0488BFE66ADC1E0..488BC850AD2BC84803F18BC857448BC1FF
    + C98A4439..88043175
"""

_NSPACK: Final = """
    3.7  9C60E8..........83....8D8D........8039..0F..........C601..8BC5
    3.1  9C60E8........5D83ED..8D9D........8A033C..74..8D9D........8A03
    3.6  9C60E8........5D83ED..8D85........8338..0F..........C700........8BD5
    3.5  9C60E8........5D83ED..8D85........8038..0F..........C600..8BD5
    2.9  9C60E8........5DB8........2BE88DB5........8A063C..74..8BF5
    2.3-2.9  E9 rel32 E9 rel32 E9 rel32 9C60E8........5DB8........2BE88DB5........8B06
    3.3  9C60E8........5D83ED..8D85........8038..74..8D85........8038..0F84........C600..8BD5
"""


def _aspack() -> list[Row]:
    plain = _points("ASPack", "documented", 32, _ASPACK)
    behind = [row._replace(pattern=f"{jump} rel32 {row.pattern}") for jump in _ASPACK_JUMPS for row in plain]
    return plain + behind


_UPX_SOURCE: Final = DIE.format("UPX")
_DLL_32: Final = "807C" + 25 * ".."
_DLL_64: Final = "4889" + 22 * ".."
_STUB_32: Final = "60BE........8DBE........57"
_STUB_64: Final = "53565755488D35........488DBE........57"

_UPX: Final[tuple[tuple[int, str, str, str, Basis], ...]] = (
    (32, "?", _STUB_32, _UPX_SOURCE, "confirmed"),
    (32, "? DLL", "807C2408010F85........" + _STUB_32, UPX_MADE, "observed"),
    (32, "? DLL", _DLL_32 + _STUB_32, _UPX_SOURCE, "confirmed"),
    (32, "0.70", "60E8000000005883E8..508DB8........578DB0........83CD..31DB9090909001DB75", _UPX_SOURCE, "confirmed"),
    (64, "3.91-", _STUB_64, _UPX_SOURCE, "confirmed"),
    (64, "3.91- DLL", _DLL_64 + _STUB_64, _UPX_SOURCE, "confirmed"),
)

_ALL_SIX: Final = "LoadLibraryA GetProcAddress VirtualProtect VirtualAlloc VirtualFree ExitProcess"

_UPX_4: Final = "LoadLibraryA ExitProcess GetProcAddress VirtualProtect"

# With other names of sections. Two functions alone, which DIE takes too, are those of many packers: left out.
_UPX_IMPORTS: Final[tuple[tuple[str, Condition], ...]] = (
    ("LoadLibraryA GetProcAddress ExitProcess", "unpacks"),
    ("LoadLibraryA GetProcAddress VirtualProtect", "unpacks, DLL"),
    ("LoadLibraryA GetProcAddress VirtualProtect ExitProcess", "unpacks"),
    (_ALL_SIX, "unpacks"),
)

_STUB: Final = 0x2E  # where MPRESS keeps its text
_MPRESS_STUBS: Final = (  # and how long it is
    ("'Win32 .EXE.'", 11),
    ("'Win64 .EXE.'", 11),
    ("'Win32 .DLL.'", 11),
    ("'Win64 .DLL.'", 11),
    ("'It'27's .NET EXE'", 13),
)

ROWS: Final[tuple[Row, ...]] = (
    Row("UPX", "documented", "section", "UPX0 UPX1", 0, "?", UPX_MADE, "observed"),
    Row("UPX", "documented", "marker", "##2E####00'UPX!'", 0, "?", _UPX_SOURCE, "confirmed", within=1024),
    Row("UPX", "documented", "marker", "'$Id: UPX '", 0, "?", _UPX_SOURCE, "confirmed", within=1024),
    *(
        Row("UPX", "documented", "entry point", pattern, bits, version, source, basis)
        for bits, version, pattern, source, basis in _UPX
    ),
    *(
        Row("UPX", "documented", "imports", names, 0, "?", _UPX_SOURCE, "confirmed", condition=condition)
        for names, condition in _UPX_IMPORTS
    ),
    Row("UPX", "documented", "imports", _UPX_4, 0, "4.2.2", UPX_MADE, "observed", condition="unpacks"),
    *_points("FSG", "documented", 32, _FSG),
    *_points("PKLite32", "documented", 32, _PKLITE),
    *_points("Petite", "documented", 32, _PETITE),
    Row("ASPack", "documented", "section", ".aspack .adata", 0, "2.12-", DIE.format("ASPack"), "confirmed"),
    *_aspack(),
    Row("PECompact", "optional", "marker", "'PEC2'", 0, "2-", DIE.format("PECompact"), "project", within=0x600),
    *_points("PECompact", "optional", 32, _PECOMPACT),
    Row("MPRESS", "optional", "section", ".MPRESS1 .MPRESS2", 0, "?", DIE.format("MPRESS"), "project"),
    *(
        Row("MPRESS", "optional", "marker", text, 0, "?", DIE.format("MPRESS"), "confirmed", _STUB + n, first=_STUB)
        for text, n in _MPRESS_STUBS
    ),
    *_points("MPRESS", "optional", 32, _MPRESS_32),
    *_points("MPRESS", "optional", 64, _MPRESS_64),
    Row("NsPack", "optional", "imports", _ALL_SIX, 0, "2-3", DIE.format("NsPack"), "confirmed", condition="no code"),
    *_points("NsPack", "optional", 32, _NSPACK),
)
