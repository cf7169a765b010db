"""Addresses replaced so that common prefixes stay common, and each text keeps its length.

IPv4 goes octet by octet, within those of as many digits, IPv6 digit by digit; what stands for one hangs on the key and
on all digits before it. Special networks stay what they are (RFC 6890): loopback, private, link-local, multicast.
"""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache
from ipaddress import IPv6Address, ip_address
from typing import Final

TEXT: Final = re.compile(
    rb"(?<![0-9A-Za-z.])\d{1,3}(?:\.\d{1,3}){3}(?![0-9A-Za-z]|\.\d)"
    rb"|(?<![0-9A-Za-z:.])(?:IPv6:)?(?:[0-9A-Fa-f]{0,4}:){2,7}[0-9A-Fa-f]{0,4}(?![0-9A-Za-z:])"
)
_CLOCK: Final = re.compile(rb"\d\d?:\d\d:\d\d?")
_DIGITS: Final = ((0, 10), (10, 100), (100, 256))  # octets of as many decimal digits
# Octets that stay, by the octets before them, and the range within which the next ones stay.
_FIXED: Final = {(): (0, 10, 127, 172, 192, 169, 255, *range(224, 240)), (192,): (168,), (169,): (254,)}
_SIX: Final = ("20010db8", "fe80", "fc", "fd")  # documentation, link-local, unique local
_WHOLE: Final = (bytes(4), b"\xff\xff\xff\xff", bytes(16), bytes(15) + b"\1")


class Addresses:
    """The addresses under one key."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self.binary = lru_cache(65_536)(self._binary)
        self._octet = lru_cache(65_536)(self._permuted)
        self._digit = lru_cache(65_536)(self._hexed)

    def _binary(self, address: bytes) -> bytes:
        """Another address for this one (4 or 16 octets)."""
        if address in _WHOLE or address[:1] == b"\x7f" * (len(address) == 4):
            return address
        return self._four(address) if len(address) == 4 else self._six(address)

    def told(self, text: bytes) -> bytes | None:
        """Another text of the same length for an address as text; None when it is none."""
        lead = text[:5] if text[:5].lower() == b"ipv6:" else b""
        body = text[len(lead) :]
        if _CLOCK.fullmatch(body):
            return None
        try:
            address = ip_address(body.decode())
        except ValueError:
            return None
        made = self.binary(address.packed)
        if len(made) == 4:
            return lead + ".".join(map(str, made)).encode()
        return lead + _shaped(body, IPv6Address(made))

    def _four(self, address: bytes) -> bytes:
        if 224 <= address[0] < 240:
            return address
        made = b""
        for n, octet in enumerate(address):
            made += bytes([self._octet(address[:n])[octet]])
        return made

    def _permuted(self, prefix: bytes) -> bytes:
        table = bytearray(range(256))
        fixed = _FIXED.get(tuple(prefix), ())
        for low, high in _DIGITS:
            groups = [[*range(low, high)]]
            if prefix == b"\xac":  # 172.16/12
                groups = [[n for n in range(low, high) if (16 <= n < 32) is within] for within in (True, False)]
            for group in groups:
                members = [n for n in group if n not in fixed]
                for member, other in zip(members, self._shuffled(b"4" + prefix, members), strict=True):
                    table[member] = other
        return bytes(table)

    def _six(self, address: bytes) -> bytes:
        digits = address.hex()
        if digits.startswith(("ff", "0000")):
            return address[:12] + self._four(address[12:]) if digits.startswith("0" * 20) else address
        kept = max(len(prefix) if digits.startswith(prefix) else 0 for prefix in _SIX)
        made = digits[:kept]
        for n in range(kept, 32):
            # A group keeps its leading zeros, and so its length as text.
            leading = not digits[n - n % 4 : n].strip("0")
            made += self._digit(digits[:n], leading)[int(digits[n], 16)]
        return bytes.fromhex(made)

    def _hexed(self, prefix: str, leading: bool) -> str:
        members = [*range(1 if leading else 0, 16)]
        shuffled = self._shuffled(b"6" + prefix.encode(), members)
        return "".join(f"{n:x}" for n in ([0] if leading else []) + shuffled)

    def _shuffled(self, about: bytes, members: list[int]) -> list[int]:
        def rank(n: int) -> bytes:
            return hashlib.blake2b(about + b"/%d" % n, key=self._key, digest_size=8).digest()

        return sorted(members, key=rank)


def _shaped(text: bytes, made: IPv6Address) -> bytes:
    """The groups of an address in the form in which another one stood: its zeros left out, its letters' case."""
    head, gap, tail = text.decode().partition("::")
    groups = [f"{int(group, 16):x}" for group in made.exploded.split(":")]
    before = head.split(":") if head else []
    behind = tail.split(":") if tail else []
    shown = groups[: len(before)] + groups[8 - len(behind) :] if gap else groups
    wide = [new.rjust(len(old), "0") for old, new in zip(before + behind, shown, strict=True)]
    out = ":".join(wide[: len(before)]) + gap + ":".join(wide[len(before) :])
    return (out.upper() if text.upper() == text else out).encode()
