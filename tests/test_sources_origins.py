"""Where captures come from: files, pipes, standard input, file objects, and what cannot be opened."""

from __future__ import annotations

import gzip
import io
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from kit import capture
from smtpinspect._core import sources as handed
from smtpinspect.errors import UsageError
from smtpinspect.source import open_source
from sourced import PCAP, PCAPNG, RECORDS, ROWS, read, whole, written


def test_standard_input(tmp_path: Path) -> None:
    """A pipe cannot be read twice, nor sought in; a cut one is told as a file is."""
    code = (
        "from smtpinspect.source import open_source\n"
        "from smtpinspect._core.sources import records\n"
        "n = 0\n"
        "try:\n"
        "    for n, _ in enumerate(records(open_source('-')), 1): pass\n"
        "except Exception as error: print(error)\n"
        "print(n)\n"
    )

    def run(octets: bytes) -> str:
        done = subprocess.run(
            [sys.executable, "-c", code], input=octets, capture_output=True, timeout=60, check=True
        )
        return done.stdout.decode()

    for octets in (PCAP, PCAPNG, gzip.compress(PCAP)):
        assert run(octets) == f"{len(RECORDS)}\n"
    assert run(PCAP[:-1]).startswith("standard input: cut off inside record 39")
    assert run(b"").startswith("standard input: not a capture: it is empty")


def test_a_pipe_is_read_as_it_comes() -> None:
    """The records that were written are seen before the writer goes on."""
    end, start = os.pipe()
    edges = [len(capture.pcap(RECORDS[:n])) for n in range(len(RECORDS) + 1)]
    with os.fdopen(end, "rb") as reader, os.fdopen(start, "wb", buffering=0) as writer:
        rows = handed.records(open_source(reader))
        writer.write(PCAP[: edges[1]])
        assert next(rows) == ROWS[0]
        writer.write(PCAP[edges[1] : edges[3]])
        assert [next(rows), next(rows)] == ROWS[1:3]
        writer.write(PCAP[edges[3] :])
        writer.close()
        assert list(rows) == ROWS[3:]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_named_pipe(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    writer = threading.Thread(target=fifo.write_bytes, args=(gzip.compress(PCAP),))
    writer.start()
    assert whole(fifo) == ROWS
    writer.join()


def test_a_file_object_is_not_closed(tmp_path: Path) -> None:
    for octets in (PCAP, gzip.compress(PCAP)):
        with written(tmp_path, octets).open("rb") as file:
            assert whole(file) == ROWS
            assert not file.closed


def test_paths_of_all_types(tmp_path: Path) -> None:
    file = written(tmp_path, PCAP, "Größe 1.pcap")
    assert whole(file) == whole(str(file)) == whole([file]) == whole((file,)) == ROWS
    source = open_source(file)
    assert open_source(source) is source
    assert source.name == str(file)


def test_what_cannot_be_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tmp_path, PCAP, "capture.pcap")
    cases: list[tuple[Any, str]] = [
        (tmp_path / "capture.pcpa", "no such file; did you mean .*capture.pcap?"),
        (tmp_path / "missing" / "capture.pcap", "no such file .*missing is no directory"),
        (tmp_path, "is a directory; name the captures in it"),
        (tmp_path / "capture.pcap" / "deeper", "Not a directory"),
        ("a\0b", "null"),
        (tmp_path / ("x" * 5000), "name too long"),
        (b"octets", "wrap them in io.BytesIO"),
        (42, "int is neither"),
        (io.StringIO("text"), "is open as text"),
        ([tmp_path / "capture.pcap", tmp_path], "is a directory"),
        (["-", "-"], "once only"),
    ]
    for what, said in cases:
        with pytest.raises(UsageError, match=said):
            open_source(what)
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(UsageError, match="standard input"):
        open_source("-")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission(tmp_path: Path) -> None:
    file = written(tmp_path, PCAP)
    file.chmod(0)
    with pytest.raises(UsageError, match="may not read"):
        open_source(file)


class Failing(io.RawIOBase):
    """Gives octets, then raises."""

    def __init__(self, octets: bytes, error: BaseException) -> None:
        self.octets, self.error = octets, error

    def read(self, n: int = -1) -> bytes:
        octets, self.octets = self.octets[:n], self.octets[n:]
        if not octets:
            raise self.error
        return octets


def test_a_file_object_that_fails() -> None:
    rows, fault = read(Failing(PCAP[:-3], OSError(5, "Input/output error")))
    assert rows == ROWS[:-1]
    assert "Input/output error" in str(fault)
    assert "record 39" in str(fault)
    rows, fault = read(Failing(PCAP, OSError(5, "Input/output error")))
    assert rows == ROWS
    assert fault is not None
    for error in (KeyboardInterrupt(), SystemExit(1)):
        source = open_source(Failing(PCAP, error))
        with pytest.raises(type(error)):
            list(handed.records(source))
        source.close()


def test_a_file_object_that_gives_text() -> None:
    class Text:
        def read(self, n: int) -> Any:
            return "text"

    with pytest.raises(UsageError, match="open the file in binary mode"):
        list(handed.records(open_source(Text())))
