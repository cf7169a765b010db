"""A capture that is read several times: what can be read once only is kept meanwhile, damage is told once."""

from __future__ import annotations

import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from heapq import merge
from itertools import islice, repeat
from typing import Any, NamedTuple

from smtpinspect._core.sources import records
from smtpinspect.errors import CaptureError, UsageError
from smtpinspect.source import Input, Source, open_source


@contextmanager
def read_again(what: Input) -> Iterator[Input]:
    """The same source, to be read as often as one likes: standard input, pipes and streams lie in files meanwhile.

    Raises UsageError for standard input that is a terminal, and for a Source that is open already.
    """
    with ExitStack() as files:
        yield _again(what, files)


def renamed(fault: CaptureError, source: Input, asked: Input) -> CaptureError:
    """What went wrong with a source of `read_again`, told of what was asked for."""
    for copy, own in zip(_parts(source), _parts(asked), strict=False):
        if copy is not own and fault.path == copy:
            return fault.of("standard input" if own == "-" else str(getattr(own, "name", own)))
    return fault


def _parts(what: Any) -> Sequence[Any]:
    return what if isinstance(what, (list, tuple)) else (what,)


def frames_again(what: Input) -> Iterator[tuple[int, int, bytes, int]]:
    """Time (ns), link type, octets and length on the wire of each frame. Damage just ends them: who read the source
    first has told. Raises UsageError like `open_source`, at once.
    """
    return _whole(open_source(what))


class Place(NamedTuple):
    """A frame of one of several captures, counted in its own file from 1."""

    path: str
    number: int


def places(paths: Sequence[str], numbers: Collection[int]) -> dict[int, Place]:
    """Where the frames of these numbers lie, of captures that are read as one: in the order of time, of the same
    time in the order given. One capture, and what can be read once only, has no places."""
    if len(paths) < 2 or not numbers or not all(os.path.isfile(path) for path in paths):
        return {}
    found: dict[int, Place] = {}
    counts = dict.fromkeys(range(len(paths)), 0)
    parts = [zip((frame[0] for frame in frames_again(path)), repeat(which)) for which, path in enumerate(paths)]
    for number, (_, which) in enumerate(islice(merge(*parts), max(numbers)), 1):
        counts[which] += 1
        if number in numbers:
            found[number] = Place(paths[which], counts[which])
    return found


def _whole(opened: Source) -> Iterator[tuple[int, int, bytes, int]]:
    try:
        yield from records(opened)
    except CaptureError:
        return
    finally:
        opened.close()


def _again(what: Any, files: ExitStack) -> Any:
    if isinstance(what, str) and what == "-":
        if sys.stdin is None or sys.stdin.isatty():
            raise UsageError("standard input (-) is no capture; send one into it, as in: tcpdump -w - | ... -")
        return _kept(sys.stdin.buffer, files)
    if isinstance(what, (str, os.PathLike)):
        try:
            piped = stat.S_ISFIFO(os.stat(what).st_mode)
        except OSError:
            return what  # whoever opens it tells why
        return _kept(files.enter_context(open(what, "rb")), files) if piped else what
    if isinstance(what, Source):
        raise UsageError("an open source can be read once only; give its path")
    if callable(getattr(what, "read", None)):
        return _kept(what, files)
    if isinstance(what, (list, tuple)) and what and not isinstance(what[0], (list, tuple)):
        return [_again(part, files) for part in what]
    return what if isinstance(what, (list, tuple)) or not isinstance(what, Iterable) else list(what)


def _kept(stream: Any, files: ExitStack) -> str:
    kept = files.enter_context(tempfile.NamedTemporaryFile(prefix="standard-input-", suffix=".pcap"))  # noqa: SIM115
    shutil.copyfileobj(stream, kept)
    kept.flush()
    return kept.name
