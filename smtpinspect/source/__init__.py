"""Where frames come from."""

from __future__ import annotations

import io
import os
import stat
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeGuard

from smtpinspect._core.files import File, Stream
from smtpinspect._core.iterated import Frames
from smtpinspect._core.merged import Merged
from smtpinspect._core.sources import Source
from smtpinspect.errors import UsageError
from smtpinspect.source.unpack import LONGEST_MAGIC, Octets, Readable, packing_of

if TYPE_CHECKING:
    from decimal import Decimal
    from fractions import Fraction

__all__ = ["Frame", "Input", "Source", "open_source"]

ETHERNET: Final = 1

Frame: TypeAlias = "tuple[int | float | Decimal | Fraction, bytes | bytearray | memoryview]"
Input: TypeAlias = "str | os.PathLike[str] | Readable | Iterable[Frame] | Source | Sequence[Input]"


def open_source(what: Input, *, linktype: int | None = None) -> Source:
    """Records from a path, "-" (standard input), a binary file object, an iterable, or a list of these.

    pcap and pcapng are read, also packed. A list is merged in order of time. An iterable gives pairs of a
    time in seconds since 1970 and a frame; `linktype` (Ethernet unless told) says what its frames are.
    A float holds no nanoseconds of our days and is taken to the microsecond: a Decimal keeps them.

    Raises UsageError for what cannot be opened. What cannot be read to its end is told by `Source.fault`.
    """
    if isinstance(what, Source):
        return what
    if isinstance(what, str) and what == "-":
        return _standard_input()
    if isinstance(what, (str, os.PathLike)):
        return _path(os.fspath(what))
    if isinstance(what, (bytes, bytearray, memoryview)):
        raise UsageError("octets are no capture's name; wrap them in io.BytesIO to read a capture from them")
    if _is_readable(what):
        return _file_object(what)
    if isinstance(what, (list, tuple)) and not (what and _is_frame(what[0])):
        return _merged(what, linktype)
    if isinstance(what, Iterable):
        return Frames(what, "the iterable", linktype=ETHERNET if linktype is None else linktype)
    raise UsageError(
        f"{type(what).__name__} is neither a path, a binary file object nor an iterable of frames"
    )


def _is_readable(what: object) -> TypeGuard[Readable]:
    return callable(getattr(what, "read", None))


def _is_frame(item: object) -> bool:
    if not (isinstance(item, (list, tuple)) and len(item) == 2):
        return False
    if isinstance(item[0], (int, float)):
        return True
    from decimal import Decimal
    from fractions import Fraction

    return isinstance(item[0], (Decimal, Fraction))


def _merged(parts: Sequence[Any], linktype: int | None) -> Source:
    if sum(isinstance(part, str) and part == "-" for part in parts) > 1:
        raise UsageError("standard input (-) can be read once only")
    sources: list[Source] = []
    try:
        sources.extend(open_source(part, linktype=linktype) for part in parts)
    except BaseException:
        for source in sources:
            source.close()
        raise
    return sources[0] if len(sources) == 1 else Merged(sources, f"{len(sources)} captures")


def _standard_input() -> Source:
    if sys.stdin is None:
        raise UsageError("standard input (-) is closed")
    raw: Any = getattr(sys.stdin, "buffer", sys.stdin)
    if sys.stdin.isatty():
        raise UsageError(
            "standard input (-) is a terminal; send a capture into it, as in: tcpdump -w - | ... -"
        )
    return Stream(Octets(raw), "standard input")


def _file_object(file: Readable) -> Source:
    name = getattr(file, "name", None)
    name = name if isinstance(name, str) else f"the {type(file).__name__}"
    if isinstance(file, io.TextIOBase):
        raise UsageError(f"{name}: is open as text; open it in binary mode ('rb')")
    return Stream(Octets(file), name)


def _path(path: str) -> Source:
    try:
        fd = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    except FileNotFoundError:
        raise UsageError(f"{path}: no such file{_nearest(path)}") from None
    except PermissionError:
        raise UsageError(
            f"{path}: you may not read it (captures often belong to root: try sudo, or chmod)"
        ) from None
    except (OSError, ValueError) as error:
        raise UsageError(f"{path!r}: {getattr(error, 'strerror', None) or error}") from None
    try:
        status = os.fstat(fd)
        if stat.S_ISDIR(status.st_mode):
            raise UsageError(
                f"{path}: is a directory; name the captures in it, as in: {os.path.join(path, '*.pcap')}"
            )
        if not stat.S_ISREG(status.st_mode):  # a pipe with a name, a device
            return Stream(Octets(os.fdopen(fd, "rb"), owned=True), path)
        if packing_of(_head(fd)) is None:
            return File(fd, path, path)

        def again() -> Octets:
            return Octets(open(path, "rb", buffering=0), owned=True, total=status.st_size)

        source = Stream(again(), path, again=again)
    except BaseException:
        os.close(fd)
        raise
    os.close(fd)
    return source


def _head(fd: int) -> bytes:
    try:
        return os.pread(fd, LONGEST_MAGIC, 0)
    except OSError:
        return b""  # the reader will meet the same, and tell where


def _nearest(path: str) -> str:
    from smtpinspect.grammar.phrases import alike

    folder, name = os.path.split(path)
    try:
        near = alike(name, os.listdir(folder or "."))
    except OSError:
        return f" ({folder} is no directory that can be read)"
    return f"; did you mean {os.path.join(folder, near)}?" if near else ""
