"""Statuses, complaints, and where the output goes."""

from __future__ import annotations

import io
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from typing import TYPE_CHECKING, Any, BinaryIO, Final, TextIO, cast

from smtpinspect.errors import CaptureError, UsageError

if TYPE_CHECKING:
    from smtpinspect.engine import Engine
    from smtpinspect.report.terminal import Style

DONE: Final = 0
MATCHED: Final = 1  # --fail-on
USAGE: Final = 2
UNREADABLE: Final = 3
STOPPED: Final = 130  # 128 + SIGINT, as a shell tells it
BROKEN_PIPE: Final = 141  # 128 + SIGPIPE
BIG: Final = 4_000_000  # octets from which a progress line is worth its import
PROG: Final = "smtpinspect"


def complain(text: str, status: int, *more: str) -> int:
    """Say on standard error what is wrong; the status."""
    lead = f"{PROG}: "
    lines = [lead + text, *(" " * len(lead) + line for line in more)]
    print("\n".join(lines) + f"   (exit status {status})", file=sys.stderr)
    return status


def give_up_output() -> None:
    """The interpreter's own flush at exit must not complain."""
    with suppress(OSError, ValueError), open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), sys.stdout.fileno())


def unreadable(error: CaptureError) -> int:
    """Say where a capture, or a log, could not be read on, and what was read before; the status."""
    before = error.record - 1
    those = f"The {error.unit} before it was" if before == 1 else f"The {before:,} {error.unit}s before it were"
    more = [f"{those} processed."] if before > 0 else []
    return complain(f"{str(error).rstrip('.')}.", UNREADABLE, *more)


def columns() -> int:
    """Of the terminal; COLUMNS goes before, 80 where there is none."""
    told = os.environ.get("COLUMNS", "")
    if told.isascii() and told.isdigit() and int(told):
        return max(int(told), 40)
    try:
        return max(os.get_terminal_size(sys.__stdout__.fileno() if sys.__stdout__ else 1).columns, 40)
    except (OSError, ValueError):
        return 80


def check_output(out: str | None, inputs: Sequence[str], option: str = "-o") -> None:
    """Never write over what is to be read: captures, logs, messages. Raises UsageError."""
    for path in inputs:
        if (
            out
            and path != "-"
            and os.path.exists(out)
            and os.path.exists(path)
            and os.path.samefile(out, path)
        ):
            raise UsageError(f"{option} {out}: that is what is to be read")


def _opened(path: str, mode: str, option: str = "-o", **more: Any) -> Any:
    try:
        return open(path, mode, **more)
    except OSError as error:
        raise UsageError(f"{option} {path}: cannot be written: {error.strerror}") from None


def _stdout() -> TextIO:
    if sys.stdout is None:
        raise UsageError("standard output is closed; -o FILE writes to a file")
    return sys.stdout


@contextmanager
def binary(path: str | None, option: str = "-o") -> Iterator[BinaryIO]:
    """Where octets go: a file, else standard output. Raises UsageError for what cannot be written."""
    if path is None:
        out = _stdout()
        buffer = getattr(out, "buffer", out)
        if isinstance(buffer, io.RawIOBase):  # PYTHONUNBUFFERED: what a signal interrupts would be written in part
            buffer = io.BufferedWriter(buffer)
            yield buffer
            buffer.detach()
            return
        yield cast(BinaryIO, buffer)
        out.flush()
        return
    with _opened(path, "wb", option) as file:
        yield file


@contextmanager
def text_out(path: str | None) -> Iterator[tuple[TextIO, int | None, Style]]:
    """Where text goes, how wide it may be (None: as wide as it is), and its colours."""
    from smtpinspect.report.terminal import Style, wants_colour

    if path is not None:
        with _opened(path, "w", encoding="utf-8", errors="backslashreplace") as file:
            yield file, None, Style(False)
        return
    out = _stdout()
    yield out, columns() if out.isatty() else None, Style(wants_colour(out))


def write_json(out: TextIO, made: object) -> None:
    """An object of `--format json`, in ASCII; the last line ends, too."""
    import json

    json.dump(made, out, indent=1)
    out.write("\n")


@contextmanager
def interruptible(engine: Engine) -> Iterator[None]:
    """Ctrl-C stops the reading, and never the telling of what was read: then it counts before the next reading."""

    def stop(signal_number: int, frame: object) -> None:
        if engine.reading:
            raise KeyboardInterrupt
        engine.stop()

    try:
        before = signal.signal(signal.SIGINT, stop)
    except ValueError:  # not the main thread: nobody interrupts this one
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def watched(engine: Engine, captures: Sequence[str]) -> Iterator[None]:
    """A line tells how far it is; Ctrl-C ends the reading, and what was read is told."""
    with progress(engine, captures, None), interruptible(engine):
        yield


def progress(
    engine: Engine, captures: Sequence[str], out: BinaryIO | None
) -> AbstractContextManager[object]:
    """A line on standard error while a large capture is read, for a person only."""
    if sys.stderr is None or not sys.stderr.isatty() or (out is not None and out.isatty()):
        return nullcontext()
    total = sum(os.path.getsize(path) for path in captures if os.path.isfile(path))
    if total < BIG and "-" not in captures:
        return nullcontext()
    from smtpinspect.report.progress import progress

    return progress(engine)
