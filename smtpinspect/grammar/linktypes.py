"""Link types of captures, and what can lie between a link header and the TCP connection.

Numbers and names are those of the registry of link-layer header types, https://www.tcpdump.org/linktypes.html
("registry" below). `ext/smtpinspect/_core/frame.pyx` reads those marked so; a test holds the two together.
"""

from __future__ import annotations

from typing import Final, NamedTuple


class LinkType(NamedTuple):
    """A number of the registry. `read`: its packets are read; of the others it is only told what they are."""

    number: int
    name: str
    source: str
    read: bool = False


LINK_TYPES: Final = (
    LinkType(
        0, "NULL", "registry; address family in the byte order of the host, its values differ by system", True
    ),
    LinkType(1, "ETHERNET", "registry; IEEE 802.3, with 802.2 LLC and SNAP (RFC 1042) and VLAN tags", True),
    LinkType(9, "PPP", "registry; RFC 1661, 1662"),
    LinkType(12, "RAW", "pcap-linktype(7): DLT_RAW; on OpenBSD it is DLT_LOOP", True),
    LinkType(14, "RAW", "pcap-linktype(7): DLT_RAW on OpenBSD", True),
    LinkType(50, "PPP_HDLC", "registry; RFC 1662 4.3"),
    LinkType(51, "PPP_ETHER", "registry; RFC 2516"),
    LinkType(101, "RAW", "registry; IPv4 or IPv6 by the version", True),
    LinkType(104, "C_HDLC", "registry; RFC 1547 4.3.1"),
    LinkType(105, "IEEE802_11", "registry"),
    LinkType(107, "FRELAY", "registry; RFC 2427"),
    LinkType(108, "LOOP", "registry; as NULL, in network byte order", True),
    LinkType(109, "ENC", "registry; OpenBSD enc(4)"),
    LinkType(113, "LINUX_SLL", "registry; Linux cooked capture v1, `tcpdump -i any`", True),
    LinkType(117, "PFLOG", "registry; OpenBSD pflog(4)"),
    LinkType(127, "IEEE802_11_RADIOTAP", "registry; radiotap.org"),
    LinkType(147, "USER0", "registry; private use"),
    LinkType(192, "PPI", "registry"),
    LinkType(228, "IPV4", "registry", True),
    LinkType(229, "IPV6", "registry", True),
    LinkType(239, "NFLOG", "registry; Linux netfilter log"),
    LinkType(253, "NETLINK", "registry"),
    LinkType(276, "LINUX_SLL2", "registry; Linux cooked capture v2", True),
)

BY_NUMBER: Final = {link.number: link for link in LINK_TYPES}


class Tunnel(NamedTuple):
    """What may stand between a link header and a connection's IP packets."""

    name: str
    where: str  # what announces it
    source: str


# Seen between the link layer and the connection, and not unwrapped yet.
LATER: Final = (
    Tunnel("MPLS", "EtherType 0x8847, 0x8848", "RFC 3032, 5332"),
    Tunnel("PPPoE", "EtherType 0x8864", "RFC 2516"),
    Tunnel("MAC-in-MAC", "EtherType 0x88E7", "IEEE 802.1ah"),
    Tunnel("NSH", "EtherType 0x894F", "RFC 8300"),
    Tunnel("VN-tag", "EtherType 0x8926", "IEEE 802.1Qbh draft"),
    Tunnel("GRE and ERSPAN", "protocol 47", "RFC 2784, 2890, 2637; draft-foschiano-erspan"),
    Tunnel("IPv4 and IPv6 in IP", "protocols 4 and 41", "RFC 2003, 2473, 4213"),
    Tunnel("EtherIP", "protocol 97", "RFC 3378"),
    Tunnel("VXLAN", "UDP port 4789", "RFC 7348"),
    Tunnel("Geneve", "UDP port 6081", "RFC 8926"),
    Tunnel("GTP-U", "UDP port 2152", "3GPP TS 29.281"),
    Tunnel("Teredo", "UDP port 3544", "RFC 4380"),
)


def named(number: int) -> str:
    """A link type as a message calls it."""
    link = BY_NUMBER.get(number)
    return f"link type {number} ({link.name})" if link else f"link type {number}"


def readable() -> str:
    """The link types that are read, for a message."""
    return ", ".join(dict.fromkeys(link.name for link in LINK_TYPES if link.read))
