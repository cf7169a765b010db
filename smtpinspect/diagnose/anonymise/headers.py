"""What IP and TCP headers say of hosts beside their addresses: options and extension headers, emptied.

Their lengths stay, and what TCP goes by: MSS, window scale, SACK, time stamps (RFC 9293 3.2, RFC 7323, RFC 2018).
"""

from __future__ import annotations

from typing import Final

from smtpinspect.diagnose.anonymise.addresses import Addresses

_NOP: Final = b"\x01"
_PAD_N: Final = 1  # an option of IPv6 (RFC 8200 4.2)
_TCP_KEPT: Final = frozenset((2, 3, 4, 5, 8))
_OPTIONS: Final = frozenset((0, 60))  # hop-by-hop and destination options
_ROUTING, _AUTHENTICATION, _FRAGMENT, _TCP = 43, 51, 44, 6


def four(head: bytes, addresses: Addresses) -> bytes:
    """An IPv4 header; its checksum is made anew."""
    out = bytearray(head)
    for place in (12, 16):
        out[place : place + 4] = addresses.binary(head[place : place + 4])
    out[20:] = _NOP * (len(head) - 20)
    out[10:12] = bytes(2)
    out[10:12] = (0xFFFF - ones_sum(bytes(out))).to_bytes(2, "big")
    return bytes(out)


def six(head: bytes, addresses: Addresses) -> bytes:
    """An IPv6 header with what stands between it and TCP."""
    out = bytearray(head)
    for place in (8, 24):
        out[place : place + 16] = addresses.binary(head[place : place + 16])
    kind, at = head[6], 40
    while at + 8 <= len(head) and kind != _TCP:
        # the length of most is in units of 8 octets, that of AH of 4 (RFC 4302 2.2)
        n = 8 if kind == _FRAGMENT else (head[at + 1] + 2) * 4 if kind == _AUTHENTICATION else (head[at + 1] + 1) * 8
        end = min(at + n, len(head))
        if kind in _OPTIONS:
            out[at + 2 : end] = _padding(end - at - 2)
        elif kind == _ROUTING:
            out[at + 4 : end] = bytes(end - at - 4)
        elif kind != _FRAGMENT:
            out[at + 12 : end] = bytes(max(end - at - 12, 0))
        kind, at = head[at], at + n
    return bytes(out)


def _padding(n: int) -> bytes:
    """Options that mean nothing."""
    out = b""
    while n > 1:
        step = min(n, 257)
        out += bytes((_PAD_N, step - 2)) + bytes(step - 2)
        n -= step
    return out + bytes(n)


def tcp(head: bytes) -> bytes:
    """A TCP header whose other options hold nothing (a middlebox's hold addresses, MD5 and MPTCP keys)."""
    out = bytearray(head)
    at = 20
    while at + 1 < len(head) and head[at] != 0:
        if head[at] == 1:
            at += 1
            continue
        n = head[at + 1]
        if n < 2:
            break
        if head[at] not in _TCP_KEPT:
            end = min(at + n, len(head))
            out[at + 2 : end] = bytes(end - at - 2)
        at += n
    return bytes(out)


def ones_sum(octets: bytes) -> int:
    """The ones' complement sum of 16-bit words (RFC 1071)."""
    if len(octets) % 2:
        octets += b"\0"
    rest = int.from_bytes(octets, "big") % 0xFFFF
    return rest or (0xFFFF if any(octets) else 0)
