"""Which frames a packet socket lets through: classic BPF programs (bpf(4), Documentation/networking/filter.rst).

The usual one, for the server ports, is written here; an expression of the user's is compiled by libpcap.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from smtpinspect.errors import UsageError

LIBRARIES: Final = ("libpcap.so.1", "libpcap.so.0.8", "libpcap.so")
SNAPLEN: Final = 0x40000
ETHERNET, RAW = 1, 12  # DLT_ values; a cooked socket begins with IP
ERRORS: Final = 256  # PCAP_ERRBUF_SIZE

# Opcodes of linux/bpf_common.h, and loads relative to the IP header wherever that lies (linux/filter.h)
LOAD_BYTE, LOAD_HALF, LOAD_HALF_AT, LOAD_VALUE = 0x30, 0x28, 0x48, 0x00
AND, SHIFT, TO_INDEX, EQUAL, ANY_BIT, JUMP, RETURN = 0x54, 0x64, 0x07, 0x15, 0x45, 0x05, 0x06
NETWORK: Final = 0xFFF00000  # SKF_NET_OFF
PROTOCOL: Final = 0xFFFFF000  # SKF_AD_OFF + SKF_AD_PROTOCOL: EtherType behind a tag that the kernel took out

IP4, IP6, TCP = 0x0800, 0x86DD, 6
TAGS: Final = (0x8100, 0x88A8, 0x9100, 0x9200, 0x9300)  # one that is still there: VLAN in VLAN
EXTENSIONS: Final = (0, 43, 44, 51, 60, 135, 139, 140)  # IPv6 headers behind which TCP may lie (frame.pyx)

Instruction = tuple[int, int, int, int]  # code, jump if true, jump if false, value


def packed(program: Iterable[Instruction]) -> bytes:
    """As the kernel wants it: struct sock_filter, in this machine's byte order."""
    import struct

    return b"".join(struct.pack("=HBBI", code, true, false, value) for code, true, false, value in program)


def of_ports(ports: Iterable[int]) -> bytes:
    """TCP from or to one of these ports, and what may be such: IP fragments, of which only the first tells its
    ports, IPv6 behind extension headers, and frames with a second VLAN tag. IP over anything else is not let in.
    """
    keep, drop = (RETURN, 0, 0, SNAPLEN), (RETURN, 0, 0, 0)
    tcp: list[Instruction] = []
    for at in (NETWORK, NETWORK + 2):
        tcp.append((LOAD_HALF_AT, 0, 0, at))
        for port in ports:
            tcp += [(EQUAL, 0, 1, port), keep]
    tcp.append(drop)
    ip6: list[Instruction] = [(LOAD_BYTE, 0, 0, NETWORK + 6)]
    for header in EXTENSIONS:
        ip6 += [(EQUAL, 0, 1, header), keep]
    ip6 += [(EQUAL, 1, 0, TCP), drop, (LOAD_VALUE, 0, 0, 40), (TO_INDEX, 0, 0, 0)]
    ip4: list[Instruction] = [
        (LOAD_BYTE, 0, 0, NETWORK + 9),
        (EQUAL, 1, 0, TCP),
        drop,
        (LOAD_HALF, 0, 0, NETWORK + 6),
        (ANY_BIT, 0, 1, 0x3FFF),  # more fragments, or an offset
        keep,
        (LOAD_BYTE, 0, 0, NETWORK),
        (AND, 0, 0, 0x0F),
        (SHIFT, 0, 0, 2),
        (TO_INDEX, 0, 0, 0),
        (JUMP, 0, 0, len(ip6)),
    ]
    program: list[Instruction] = [(LOAD_HALF, 0, 0, PROTOCOL)]
    for tag in TAGS:
        program += [(EQUAL, 0, 1, tag), keep]
    program += [(EQUAL, 2, 0, IP4), (EQUAL, 0, 1, IP6), (JUMP, 0, 0, len(ip4) + 2), (EQUAL, 1, 0, IP4), drop]
    return packed(program + ip4 + ip6 + tcp)


def compiled(expression: str, interface: str | None, ethernet: bool) -> bytes:
    """An expression of pcap-filter(7), compiled by libpcap for this interface (None: all of them).

    Raises UsageError with libpcap's own words for one that it does not take, and when there is no libpcap.
    """
    import ctypes

    library = _library(ctypes)

    class Program(ctypes.Structure):
        _fields_ = [("length", ctypes.c_uint), ("instructions", ctypes.c_void_p)]

    program = Program()
    errors = ctypes.create_string_buffer(ERRORS)
    # An open interface lets libpcap ask the kernel for the tags that it took out: "vlan 5".
    handle = None
    if interface is not None and ethernet:
        handle = library.pcap_open_live(interface.encode(), 64, 0, 0, errors)
    if not handle:
        handle = library.pcap_open_dead(ETHERNET if ethernet else RAW, SNAPLEN)
    try:
        if library.pcap_compile(handle, ctypes.byref(program), expression.encode(), 1, 0xFFFFFFFF):
            why = library.pcap_geterr(handle).decode(errors="replace")
            raise UsageError(f"--filter {expression!r}: {why} (libpcap's words; man pcap-filter)")
        octets = ctypes.string_at(program.instructions, 8 * program.length)
        library.pcap_freecode(ctypes.byref(program))
    finally:
        library.pcap_close(handle)
    return octets


def _library(ctypes: Any) -> Any:
    for name in LIBRARIES:
        try:
            library = ctypes.CDLL(name)
            break
        except OSError:
            continue
    else:
        raise UsageError(
            "--filter is compiled by libpcap, which is not there: apt-get install libpcap0.8 (Fedora: dnf install "
            "libpcap). Without --filter the server ports are let through; --filter '' lets everything through"
        )
    library.pcap_open_live.restype = library.pcap_open_dead.restype = ctypes.c_void_p
    library.pcap_geterr.restype = ctypes.c_char_p
    for function in (library.pcap_close, library.pcap_geterr):
        function.argtypes = [ctypes.c_void_p]
    library.pcap_compile.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int, ctypes.c_uint]
    library.pcap_freecode.argtypes = [ctypes.c_void_p]
    return library
