"""Packed captures: gzip, bzip2, xz, zstd and lz4, told by their first octets and never by a name.

What unpacks them is imported when it is wanted.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any, Final, NamedTuple, Protocol, cast

from smtpinspect.errors import UsageError

CHUNK: Final = 64 << 10  # packed octets per read: a damaged chunk costs the records in it

# A decompression bomb costs time only, for memory stays flat; so these are generous.
MAX_RATIO: Final = 2_000  # gzip cannot do more than 1,032
RATIO_FREE: Final = 1 << 30  # unpacked octets up to which no ratio is looked at
MAX_UNPACKED: Final = 1 << 44  # 16 TiB
MAX_MEMORY: Final = 128 << 20  # that an xz or zstd file may ask its reader to hold; `xz -9` asks for 65 MiB

SKIPPABLE: Final = tuple(bytes((0x50 + low, 0x2A, 0x4D, 0x18)) for low in range(16))  # RFC 8878 3.1.2


class Damaged(Exception):
    """Packed octets that end too early, make no sense, or cannot be unpacked here."""


class Readable(Protocol):
    """A binary file object, as far as it is read here."""

    def read(self, n: int, /) -> bytes: ...


class Decoder(Protocol):
    """One member, stream or frame, as in the modules bz2 and lzma."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes | None: ...
    def decompress(self, data: bytes, max_length: int) -> bytes: ...


class Gzip:
    """zlib's decompressor in the shape of bz2's."""

    def __init__(self) -> None:
        import zlib

        self._zlib = zlib.decompressobj(16 + zlib.MAX_WBITS)
        self.needs_input = True

    @property
    def eof(self) -> bool:
        return self._zlib.eof

    @property
    def unused_data(self) -> bytes:
        return self._zlib.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        octets = self._zlib.decompress(self._zlib.unconsumed_tail + data, max_length)
        # short of the limit, all input was used up and nothing is held back
        self.needs_input = len(octets) < max_length and not self._zlib.unconsumed_tail
        return octets


class Zstd:
    """The zstandard package's decompressor in the shape of bz2's.

    It knows no limit for what it gives at once, so it is fed little: 4 octets can become 128 KiB.
    """

    STEP: Final = 2 << 10

    def __init__(self, package: Any) -> None:
        self._frame = package.ZstdDecompressor(max_window_size=MAX_MEMORY).decompressobj()
        self._input = b""
        self._output = b""

    @property
    def eof(self) -> bool:
        return self._frame.eof and not self._output

    @property
    def needs_input(self) -> bool:
        return not self._input and not self._output

    @property
    def unused_data(self) -> bytes:
        return cast(bytes, self._frame.unused_data) + self._input

    def decompress(self, data: bytes, max_length: int) -> bytes:
        self._input += data
        parts = [self._output]
        size = len(self._output)
        at = 0
        while size < max_length and at < len(self._input) and not self._frame.eof:
            parts.append(self._frame.decompress(self._input[at : at + self.STEP]))
            size += len(parts[-1])
            at += self.STEP
        self._input = self._input[at:]
        octets = b"".join(parts)
        self._output = octets[max_length:]
        return octets[:max_length]


def _bzip2() -> Decoder:
    import bz2

    return bz2.BZ2Decompressor()


def _xz() -> Decoder:
    import lzma

    return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=MAX_MEMORY)


def _zstd() -> Decoder:
    if sys.version_info >= (3, 14):
        options = {
            import_module("compression.zstd").DecompressionParameter.window_log_max: MAX_MEMORY.bit_length()
            - 1
        }
        return cast(Decoder, import_module("compression.zstd").ZstdDecompressor(options=options))
    return Zstd(_package("zstandard", "zstd", "'smtpinspect[zstd]'"))


def _lz4() -> Decoder:
    return cast(Decoder, _package("lz4.frame", "lz4", "lz4").LZ4FrameDecompressor())


def _package(module: str, kind: str, install: str) -> Any:
    try:
        return import_module(module)
    except ImportError:
        raise Damaged(
            f"packed with {kind}, which needs the package {module.partition('.')[0]}: pip install {install}"
        ) from None


class Packing(NamedTuple):
    """How a file may be packed, told by its first octets; `decoder` raises Damaged where its package is missing."""

    kind: str
    magics: tuple[bytes, ...]
    decoder: Callable[[], Decoder]


PACKINGS: Final = (
    Packing("gzip", (b"\x1f\x8b\x08",), Gzip),
    Packing("bzip2", (b"BZh",), _bzip2),
    Packing("xz", (b"\xfd7zXZ\x00",), _xz),
    Packing("zstd", (b"\x28\xb5\x2f\xfd", *SKIPPABLE), _zstd),
    Packing("lz4", (b"\x04\x22\x4d\x18",), _lz4),
)
LONGEST_MAGIC: Final = max(len(magic) for packing in PACKINGS for magic in packing.magics)


def packing_of(head: bytes) -> Packing | None:
    """How octets that begin so are packed."""
    return next((packing for packing in PACKINGS if head.startswith(packing.magics)), None)


class Octets:
    """What a binary file object holds, unpacked where it is packed. It is read forwards only, as asked."""

    def __init__(self, raw: Readable, *, owned: bool = False, total: int = 0) -> None:
        self.octets_read = 0  # of the file, packed as it is
        self.octets_total = total
        self._raw = raw
        self._owned = owned
        # read1 waits for no more than one read of the system: a pipe's records are seen as they come
        self._read = cast(Callable[[int], object], getattr(raw, "read1", raw.read))
        self._begun = False
        self._packing: Packing | None = None
        self._decoder: Decoder | None = None
        self._input = b""
        self._members = 0
        self._unpacked = 0

    def read(self, n: int) -> bytes:
        """At most n octets; none at the end."""
        if not self._begun:
            self._begun = True
            self._ahead()
            self._packing = packing_of(self._input)
        if self._packing is not None:
            octets = self._unpack(self._packing, n)
            self._unpacked += len(octets)
            if self._unpacked > MAX_UNPACKED or (
                self._unpacked > RATIO_FREE and self._unpacked > MAX_RATIO * self.octets_read
            ):
                raise Damaged(
                    f"{self.octets_read:,} bytes of {self._packing.kind} unpack to {self._unpacked:,} "
                    "and more: taken for a decompression bomb"
                )
            return octets
        octets, self._input = self._input[:n], self._input[n:]
        return octets or self._take(n)

    def close(self) -> None:
        if self._owned:
            cast(Any, self._raw).close()

    def _take(self, n: int) -> bytes:
        octets = self._read(n)
        if octets is None:
            raise OSError("it gives nothing now, being in non-blocking mode")
        if not isinstance(octets, (bytes, bytearray, memoryview)):
            raise UsageError(f"read() gave {type(octets).__name__}, not bytes: open the file in binary mode")
        self.octets_read += len(octets)
        return bytes(octets)

    def _ahead(self) -> None:
        """Input enough to tell a magic."""
        while len(self._input) < LONGEST_MAGIC:
            octets = self._take(CHUNK)
            if not octets:
                break
            self._input += octets

    def _unpack(self, packing: Packing, n: int) -> bytes:
        while True:
            if self._decoder is None:
                if self._members:
                    self._pass_padding()
                    if not self._input:
                        return b""
                    self._ahead()
                    if len(self._input) < LONGEST_MAGIC and any(
                        magic.startswith(self._input) for magic in packing.magics
                    ):
                        raise Damaged(f"the {packing.kind} data are cut off")
                    if packing_of(self._input) is not packing:
                        raise Damaged(f"behind the {packing.kind} data there is something else")
                self._decoder = packing.decoder()
            octets = b""
            if self._decoder.needs_input:
                octets, self._input = self._input or self._take(CHUNK), b""
                if not octets:
                    raise Damaged(f"the {packing.kind} data are cut off")
            try:
                octets = self._decoder.decompress(octets, n)
            except Exception as error:  # each package has its own
                raise Damaged(f"the {packing.kind} data are damaged: {error}") from error
            if self._decoder.eof:
                self._input = self._decoder.unused_data or b""  # lz4 says None
                self._decoder = None
                self._members += 1
            if octets:
                return octets

    def _pass_padding(self) -> None:
        """Zeros between members and behind the last: a tape's, or xz's stream padding."""
        while True:
            self._input = self._input.lstrip(b"\0")
            if self._input:
                return
            self._input = self._take(CHUNK)
            if not self._input:
                return
