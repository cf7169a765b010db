"""What begins with which octets: a capture that is read, and what is none."""

from __future__ import annotations

from typing import Final

# pcap in both byte orders, with microseconds and with nanoseconds (draft-ietf-opsawg-pcap 4); pcapng
CAPTURES: Final = tuple(bytes.fromhex(magic) for magic in ("a1b2c3d4", "d4c3b2a1", "a1b23c4d", "4d3cb2a1", "0a0d0d0a"))
FOREIGN: Final = {
    b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd", b"BZh": "bzip2", b"\xfd7zXZ\0": "xz",
    b"\x04\x22\x4d\x18": "lz4", b"PK\x03\x04": "zip", b"7z\xbc\xaf": "7-Zip", b"Rar!": "RAR",
}  # fmt: skip
OTHER_CAPTURES: Final = {
    b"snoop\0\0\0": "snoop", b"GMBU": "Network Monitor", b"RTSS": "Network Monitor", b"XCP\0": "Sniffer",
    b"TRSNIFF": "Sniffer", b"\x05VNF": "WildPackets", b"\x7fVNF": "WildPackets", b"iptrace ": "iptrace",
    b"\xa1\xb2\xcd\x34": "modified pcap", b"\x34\xcd\xb2\xa1": "modified pcap",
    b"\xa1\xb2\x34\xcd": "modified pcap", b"\xcd\x34\xb2\xa1": "modified pcap",
    b"\x1c\x00\x01\xac": "IXIA pcap", b"\xac\x01\x00\x1c": "IXIA pcap",
}


def looks_like(head: bytes) -> str:
    """What the first octets of something that is no capture look like."""
    if not head:
        return "it is empty"
    for magic, kind in FOREIGN.items():
        if head.startswith(magic):
            return f"it is packed with {kind}; unpack it first"
    for magic, kind in OTHER_CAPTURES.items():
        if head.startswith(magic):
            how = "convert it with: editcap -F pcap IN OUT"
            return f"it is a {kind} capture (its magic is {magic.hex(' ')}); {how}"
    if not head.strip(b"\0"):
        return "it begins with zeros"
    text = head[:48].decode("utf-8", "ignore")
    if all(char.isprintable() or char.isspace() for char in text) and len(text) > 2 * len(head[:48]) // 3:
        return f"it begins with text, {' '.join(text.split())[:40]!r}"
    return f"it begins with {head[:8].hex(' ')}, which neither pcap nor pcapng does"
