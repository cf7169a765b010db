"""A network interface as a source."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterable
from typing import Final

from smtpinspect._core.ring import THERE, Ring
from smtpinspect.errors import UsageError
from smtpinspect.grammar import limits
from smtpinspect.source import filters

ANY: Final = "any"
FOLDER: Final = "/sys/class/net"
ETHERNET: Final = ("1", "772")  # ARPHRD_ETHER, ARPHRD_LOOPBACK: what `type` tells of an interface


def interfaces() -> list[str]:
    """The names that this machine has, and `any`."""
    import socket

    return [*sorted(name for _, name in socket.if_nameindex()), ANY]


def open_live(
    interface: str,
    ports: Iterable[int],
    *,
    expression: str | None = None,
    mebibytes: int = limits.LIVE_RING,
    promiscuous: bool = True,
    most: int = 0,
) -> Ring:
    """The frames of an interface from now on; `any`: of all of them.

    Without an `expression` (pcap-filter(7)) TCP of these ports is let through; an empty one lets everything through.
    `mebibytes` are what the kernel may fill, `most` frames are read (0: no limit). Raises UsageError for what cannot
    be opened. Linux only.
    """
    if not THERE:
        raise UsageError(
            f"live reads packet sockets, which {sys.platform} has not (Linux has). Elsewhere: "
            f"tcpdump -i {interface} -U -s 0 -w - port 25 | smtpinspect replay -"
        )
    known = interfaces()
    if interface not in known:
        import difflib  # wanted only for what somebody misspelt

        near = difflib.get_close_matches(interface, known, n=1, cutoff=0.5)
        guess = f" Did you mean {near[0]}?" if near else ""
        raise UsageError(f"{interface}: no such interface.{guess} There are: {' '.join(known)}")
    name = None if interface == ANY else interface
    if expression is None:
        program = filters.of_ports(ports)
    elif expression.strip():
        program = filters.compiled(expression, name, _is_ethernet(name))
    else:
        program = b""
    try:
        return Ring(
            name, interface, instructions=program, mebibytes=mebibytes, promiscuous=promiscuous, most=most
        )
    except OSError as error:
        raise UsageError(f"{interface}: {_why(error, interface, mebibytes)}") from None


def _is_ethernet(name: str | None) -> bool:
    if name is None:
        return False
    try:
        with open(os.path.join(FOLDER, name, "type"), encoding="ascii") as file:
            return file.read().strip() in ETHERNET
    except OSError:
        return False


def _why(error: OSError, interface: str, mebibytes: int) -> str:
    if error.errno in (errno.EPERM, errno.EACCES):
        program = os.path.realpath(sys.executable)
        return (
            f"you may not capture: that needs CAP_NET_RAW. As root: sudo smtpinspect live {interface} ...; or give it "
            f"to this Python, and so to every program that it runs: sudo setcap cap_net_raw+ep {program}"
        )
    if error.filename == "ring":
        return f"no ring of {mebibytes:,} MiB: {error.strerror}; --buffer takes a smaller one"
    if error.filename == "filter":
        return f"the kernel does not take the filter: {error.strerror}"
    return f"cannot be opened ({error.filename}): {error.strerror}"
