"""A filter that overwrites octets in place, as a PIX does: lengths stay, checksums change."""

import re
import socket
import struct
import threading
from collections.abc import Callable

ETHERTYPE_IPV4 = 0x0800
ETHERTYPE_ALL = 0x0003

# (the segment comes from the client, its octets) -> as many octets
Edit = Callable[[bool, bytes], bytes]

# Keywords that `inspect esmtp` names itself; its default map masks all others.
_NAMED_KEYWORDS = frozenset(b"8BITMIME AUTH DSN ENHANCEDSTATUSCODES ETRN PIPELINING SIZE VRFY".split())


def ehlo_overwritten(from_client: bool, octets: bytes) -> bytes:
    """EHLO becomes XXXX, which no server knows."""
    return re.sub(rb"\AEHLO", b"XXXX", octets) if from_client else octets


def banner_and_keywords_masked(from_client: bool, octets: bytes) -> bytes:
    """The greeting in stars, and keywords of the EHLO reply as X with a letter that counts them."""
    if from_client:
        return octets
    if octets.startswith(b"220 "):
        return re.sub(rb"(?<=^220 ).*(?=\r\n)", lambda banner: b"*" * len(banner[0]), octets)
    if octets.startswith(b"250-"):
        return _keywords_masked(octets)
    return octets


def _keywords_masked(reply: bytes) -> bytes:
    first, *lines = reply.splitlines(keepends=True)
    masked = 0
    for number, line in enumerate(lines):
        text = line[4:].rstrip(b"\r\n")
        if text.split(b" ")[0] not in _NAMED_KEYWORDS:
            letter = bytes([ord("A") + masked % 26])
            lines[number] = line[:4] + b"X" * (len(text) - 1) + letter + b"\r\n"
            masked += 1
    return first + b"".join(lines)


class Filter:
    """Carries frames between two interfaces and edits the TCP payloads on their way."""

    def __init__(self, outside: str, inside: str, edit: Edit) -> None:
        self._edit = edit
        ends = _open(outside), _open(inside)
        for source, target, from_client in ((*ends, True), (*reversed(ends), False)):
            threading.Thread(target=self._carry, args=(source, target, from_client), daemon=True).start()

    def _carry(self, source: socket.socket, target: socket.socket, from_client: bool) -> None:
        while True:
            frame, (_, _, kind, *_) = source.recvfrom(65536)
            if kind != socket.PACKET_OUTGOING:  # what this filter itself sent there
                target.send(self._edited(from_client, frame))

    def _edited(self, from_client: bool, frame: bytes) -> bytes:
        ip = frame[14:]
        if int.from_bytes(frame[12:14], "big") != ETHERTYPE_IPV4 or ip[9] != socket.IPPROTO_TCP:
            return frame
        tcp = ip[(ip[0] & 15) * 4 : int.from_bytes(ip[2:4], "big")]
        header, octets = tcp[: (tcp[12] >> 4) * 4], tcp[(tcp[12] >> 4) * 4 :]
        edited = self._edit(from_client, octets)
        assert len(edited) == len(octets)
        header = header[:16] + b"\0\0" + header[18:]
        pseudo = ip[12:20] + struct.pack("!HH", socket.IPPROTO_TCP, len(tcp))
        checksum = struct.pack("!H", _checksum(pseudo + header + edited))
        return frame[: 14 + (ip[0] & 15) * 4] + header[:16] + checksum + header[18:] + edited


def _open(interface: str) -> socket.socket:
    end = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETHERTYPE_ALL))
    end.bind((interface, ETHERTYPE_ALL))
    return end


def _checksum(octets: bytes) -> int:
    """RFC 1071."""
    padded = octets + b"\0" * (len(octets) % 2)
    total: int = sum(struct.unpack(f"!{len(padded) // 2}H", padded))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
