"""Feeds a content scanner: whole, in pieces, with what it does not want left out."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from smtpinspect._core.scanner import Found, Scanner

ALL = ("zip-encrypted", "ole-vba", "ooxml-vba", "pe-packed", "archive-nested", "scan-limit")


def scan(octets: bytes, wants: Sequence[str] = ALL) -> list[Found]:
    """In one piece."""
    scanner = Scanner(wants)
    return scanner.feed(octets) + scanner.end()


def scan_cut(octets: bytes, cuts: Sequence[int], wants: Sequence[str] = ALL) -> list[Found]:
    """Cut before these indexes."""
    scanner, found, at = Scanner(wants), [], 0
    for cut in [*cuts, len(octets)]:
        found += scanner.feed(octets[at:cut])
        at = cut
    return found + scanner.end()


def scan_skipping(octets: bytes, rng: Random, wants: Sequence[str] = ALL) -> list[Found]:
    """In pieces of chance; what need not be fed is left out, wholly or in part."""
    scanner, found, at = Scanner(wants), [], 0
    while at < len(octets) and not scanner.done:
        skips = min(scanner.skips, len(octets) - at)
        if skips:
            n = rng.choice([1, skips, rng.randint(1, skips)])
            scanner.skip(n)
        else:
            n = min(rng.choice([1, 2, 7, 40, 1000, 70_000]), len(octets) - at)
            found += scanner.feed(octets[at : at + n])
        at += n
    return found + scanner.end()
