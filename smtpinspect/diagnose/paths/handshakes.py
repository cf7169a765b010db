"""Captures that hold the same connection, so that they cannot be read as one: two points of a path, or one twice."""

from __future__ import annotations

import os
from collections.abc import Sequence
from ipaddress import ip_address
from itertools import islice
from typing import Any

from smtpinspect._core.fragments import Fragments
from smtpinspect.enforce.craft import ACK, SYN
from smtpinspect.grammar import limits
from smtpinspect.source.again import frames_again


def shared(paths: Sequence[str]) -> tuple[str, str, str] | None:
    """The first two of these files that hold the same handshake, and between whom it is; None: no two do.

    A SYN and its answer in the second file are those of the first: a file that goes on where another ends has other
    ones. The first `limits.SHARED_FRAMES` frames of each file are looked at.
    """
    found: dict[tuple[Any, ...], int] = {}
    for n, path in enumerate(paths if len(paths) > 1 else ()):
        for key in _handshakes(path) if os.path.isfile(path) else ():
            first = found.setdefault(key, n)
            if first != n:
                (client, port), (server, other) = key[:2], key[2:4]
                return paths[first], path, f"{_end(client, port)} to {_end(server, other)}"
    return None


def _end(address: bytes, port: int) -> str:
    told = str(ip_address(address))
    return f"[{told}]:{port}" if ":" in told else f"{told}:{port}"


def _handshakes(path: str) -> set[tuple[Any, ...]]:
    """Ends, and the sequence numbers of both SYNs."""
    made = set()
    opened: dict[tuple[Any, ...], int] = {}
    joiner = Fragments()
    for ns, link, frame, wirelen in islice(frames_again(path), limits.SHARED_FRAMES):
        fields = joiner.feed(link, frame, ns, wirelen)
        if fields is None or fields["kind"] != "tcp" or not fields["flags"] & SYN:
            continue
        ends = fields["src"], fields["sport"], fields["dst"], fields["dport"]
        back = *ends[2:], *ends[:2]
        if not fields["flags"] & ACK:
            opened[ends] = fields["seq"]
        elif opened.get(back) == (fields["ack"] - 1) % (1 << 32):
            made.add((*back, fields["ack"], fields["seq"]))
    return made
