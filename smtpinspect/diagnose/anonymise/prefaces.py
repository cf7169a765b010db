"""What a client says before SMTP begins: the addresses in it are binary, or names behind their lengths.

A SOCKS proxy is asked for a server (version 4, and RFC 1928 3 and 4); a balancer tells whom it speaks for (PROXY
protocol, version 2: HAProxy, proxy-protocol.txt 2.2).
"""

from __future__ import annotations

import re
from typing import Final

from smtpinspect.diagnose.anonymise.texts import Texts

MOST: Final = 256  # octets that are waited for
_PROXY: Final = re.compile(
    rb"\r\n\r\n\0\r\nQUIT\n[\x20\x21](?s:[\x11\x12](?:\0.)(?P<four>.{8})|[\x21\x22](?:\0.)(?P<six>.{32}))"
)
_SOCKS: Final = re.compile(
    rb"(?s:\x05(?:\x01.|\x02..|\x03...)\x05[\x01-\x03]\0(?:\x01(?P<four>.{4})|\x04(?P<six>.{16}))"
    rb"|\x04[\x01\x02]..(?P<old>.{4}))"
)
_NAMED: Final = re.compile(rb"(?s:\x05(?:\x01.|\x02..|\x03...)\x05[\x01-\x03]\0\x03(.))")
_FIRST: Final = (b"\r", b"\x04", b"\x05")


def waits(octets: bytes) -> bool:
    """May more octets make it a preface?"""
    return octets[:1] in _FIRST and len(octets) < MOST and (octets[:1] != b"\r" or octets[:5] in b"\r\n\r\n\0")


def replaced(octets: bytes, texts: Texts) -> bytes:
    """The preface with other addresses; nothing where there is none, or not yet a whole one."""
    if (named := _NAMED.match(octets)) and len(octets) >= (behind := named.end() + named[1][0] + 2):
        return named[0] + texts.names(octets[named.end() : behind - 2]) + octets[behind - 2 : behind]
    found = _PROXY.match(octets) or _SOCKS.match(octets)
    if found is None:
        return b""
    out = bytearray(found[0])
    for name, text in found.groupdict().items():
        size = 16 if name == "six" else 4
        for at in range(0, len(text or b""), size):
            begin = found.start(name) + at
            out[begin : begin + size] = texts.addresses.binary(bytes(out[begin : begin + size]))
    return bytes(out)
