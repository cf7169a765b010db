"""What needs no interface: the filter for the server ports, and the frames that are kept for --write."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

import smtpinspect
from kit import capture, ip, link, wire
from kit.dialogue import DELIVERY, parse
from kit.segment import ACK, FIN, PSH, SYN, Segment
from smtpinspect._core.keep import Kept, file_header
from smtpinspect.grammar import limits
from smtpinspect.source import filters, open_source

FAKE = DELIVERY.replace("C: MAIL", "C: Some-fake-command\nS: 500 5.5.1 unknown\nC: MAIL", 1)
INSPECTORS = ["stormshield", "mailguard:asa-8"]

# ---- the filter: run here as the kernel runs it (linux/filter.h), on an EtherType and an IP packet

LOADS = {0x30: 1, 0x28: 2, 0x48: 2}


def let_in(program: bytes, protocol: int, packet: bytes) -> bool:
    rows = list(struct.iter_unpack("=HBBI", program))
    at = a = x = 0
    while True:
        code, true, false, k = rows[at]
        at += 1
        if code in LOADS:
            place = k - filters.NETWORK + (x if code == 0x48 else 0)
            if k == filters.PROTOCOL:
                a = protocol
            elif place + LOADS[code] > len(packet):
                return False
            else:
                a = int.from_bytes(packet[place : place + LOADS[code]], "big")
        elif code == 0x00:
            a = k
        elif code == 0x54:
            a &= k
        elif code == 0x64:
            a <<= k
        elif code == 0x07:
            x = a
        elif code == 0x15:
            at += true if a == k else false
        elif code == 0x45:
            at += true if a & k else false
        elif code == 0x05:
            at += k
        else:
            assert code == 0x06
            return k > 0


def packets(ends: wire.Ends) -> list[wire.Packet]:
    return wire.packets(wire.build(parse(DELIVERY)), ends)


@pytest.mark.parametrize(("client", "server"), [("192.0.2.10", "198.51.100.25"), ("2001:db8::10", "2001:db8:1::25")])
@pytest.mark.parametrize("ports", [(25,), (25, 587, 465, 2525), tuple(range(1, 400))])
def test_the_filter_lets_the_ports_in(client: str, server: str, ports: tuple[int, ...]) -> None:
    program = filters.of_ports(ports)
    ethertype = filters.IP6 if ":" in client else filters.IP4
    for port in (*ports[:2], ports[-1], 8025):
        for each in packets(wire.Ends(client, server, server_port=port)):
            assert let_in(program, ethertype, each.octets) == (port != 8025)
            assert let_in(program, 0x0806, each.octets) is False
            assert let_in(program, 0x8100, each.octets)
            for piece in ip.fragments(each, 16):
                whole = len(piece.octets) == len(each.octets) and not ip.is_v6(piece.octets)
                assert let_in(program, ethertype, piece.octets) == (port != 8025 or not whole)


def test_the_filter_looks_behind_options_and_before_extensions() -> None:
    program = filters.of_ports([25])
    for port in (25, 26):
        for each in packets(wire.Ends(server_port=port)):
            assert let_in(program, filters.IP4, ip.with_options(each, b"\1" * 9).octets) == (port == 25)
        for each in packets(wire.Ends("2001:db8::10", "2001:db8:1::25", server_port=port)):
            for kind in (ip.HOP_BY_HOP, ip.ROUTING, ip.FRAGMENT, ip.AUTH_HEADER, ip.DESTINATION, ip.MOBILITY):
                assert let_in(program, filters.IP6, ip.with_extensions(each, [kind]).octets)


def test_an_udp_port_is_none() -> None:
    program = filters.of_ports([25])
    (head, payload) = ip.split4(packets(wire.V4)[0].octets)
    assert not let_in(program, filters.IP4, head[:9] + b"\x11" + head[10:] + payload)


# ---- frames that are kept


def records_of(*connections: Iterable[wire.Packet], how: str = "ethernet") -> list[capture.Record]:
    """Of several connections, a packet of each in turn."""
    queues = [list(each) for each in connections]
    ordered = [queue[n] for n in range(max(map(len, queues))) for queue in queues if n < len(queue)]
    return [
        record._replace(time=wire.START + n / 1000)
        for n, record in enumerate(capture.records(ordered, link.LINKS[how]))
    ]


def connection(text: str, port: int, ends: wire.Ends = wire.V4, **how: Any) -> list[wire.Packet]:
    made = wire.Ends(ends.client, ends.server, port, 25)
    return wire.packets(wire.build(parse(text), **how), made)


def kept(tmp_path: Path, records: list[capture.Record], **options: Any) -> tuple[Any, Path, Kept]:
    """Replayed with all frames kept on the way; the records, what was written, and who kept them."""
    taken, written = tmp_path / "taken.pcap", tmp_path / "written.pcap"
    taken.write_bytes(capture.pcap(records, magic=capture.NANO, link=options.pop("link", 1)))
    source = Kept(open_source(str(taken)))
    result = list(smtpinspect.Engine(INSPECTORS, **options).run(source))
    written.write_bytes(file_header(max(source.linktype, 0)) + source.taken())
    return result, written, source


def told(flow: Any) -> tuple[Any, ...]:
    return flow.flow_id, flow.client, flow.server, flow.verdict, flow.broken_by, flow.mails


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("how", ["ethernet", "vlan"])
def test_a_replay_of_what_is_kept_says_the_same(tmp_path: Path, how: str, threads: int) -> None:
    texts = [FAKE if n % 4 == 0 else DELIVERY for n in range(12)]
    ends = [wire.V6 if n % 8 == 0 else wire.V4 for n in range(12)]
    records = records_of(
        *(connection(text, 40_000 + n, end) for n, (text, end) in enumerate(zip(texts, ends, strict=True))), how=how
    )
    result, written, source = kept(tmp_path, records, threads=threads)
    flows = [record for record in result if type(record).__name__ == "Flow"]
    broken = [told(flow) for flow in flows if flow.broken_by]
    again = smtpinspect.replay(str(written), INSPECTORS)
    assert len(broken) == 3 and source.cut == 0 and source.connections == 3
    assert sorted(map(told, again.flows)) == sorted(broken)
    mails = [record for record in result if type(record).__name__ == "Mail" and record.broken_by]
    assert sorted((m.mail_from, m.outcome, m.verdict, m.broken_by) for m in again.mails) == sorted(
        (m.mail_from, m.outcome, m.verdict, m.broken_by) for m in mails
    )


def test_fragments_are_kept(tmp_path: Path) -> None:
    pieces = [
        piece for n, each in enumerate(connection(FAKE, 40_000)) for piece in ip.fragments(each, 64, ident=n + 1)
    ]
    result, written, _ = kept(tmp_path, records_of(pieces, connection(DELIVERY, 40_001)))
    again = smtpinspect.replay(str(written), INSPECTORS)
    flows = [record for record in result if type(record).__name__ == "Flow"]
    assert [told(flow) for flow in again.flows] == [told(flow) for flow in flows if flow.broken_by]
    assert len(again.flows) == 1


def test_ends_that_are_used_again_are_two_connections(tmp_path: Path) -> None:
    """The first breaks and was never closed; the SYN of the second ends it, and begins that."""
    first = connection(FAKE, 40_000, close="none")
    second = wire.packets(
        wire.build(parse(DELIVERY), client_isn=900_000_000, server_isn=800_000_000), wire.Ends(client_port=40_000)
    )
    _, written, source = kept(tmp_path, records_of([*first, *second]))
    assert source.connections == 1
    assert smtpinspect.replay(str(written), INSPECTORS).stats.packets == len(first)  # type: ignore[union-attr]
    _, written, source = kept(tmp_path, records_of([*connection(DELIVERY, 40_000, close="none"), *wire.packets(
        wire.build(parse(FAKE), client_isn=900_000_000, server_isn=800_000_000), wire.Ends(client_port=40_000))]))
    (flow,) = smtpinspect.replay(str(written), INSPECTORS).flows
    assert source.connections == 1 and not set(flow.confidence)


def test_what_is_too_much_is_cut_and_counted(tmp_path: Path) -> None:
    """A connection of more than the limit, which breaks at its end; one beside it is whole."""
    size = 1 << 16
    before = wire.packets(wire.build(parse(DELIVERY.partition("C: QUIT")[0]), close="none"))
    sent = wire.build(parse(FAKE), close="none")
    last = [s for s in sent if s.direction == "C"][-1]
    big = [
        Segment("C", (last.seq + len(last.payload) + at) & wire.MASK, last.ack, ACK | PSH, bytes(60_000), wire.START)
        for at in range(0, limits.KEPT_CONNECTION + size, 60_000)
    ]
    end = big[-1]
    big.append(Segment("C", end.seq + 60_000, end.ack, FIN | ACK, b"", wire.START))
    _, written, source = kept(
        tmp_path, records_of(wire.packets([*sent, *big]), connection(FAKE, 40_001), before and connection(DELIVERY, 7))
    )
    assert (source.connections, source.cut) == (2, 1)
    assert written.stat().st_size < limits.KEPT_CONNECTION + size
    assert source.held < size


def test_all_that_is_kept_has_a_limit(tmp_path: Path) -> None:
    """Connections that never end: those silent longest are forgotten."""
    count = 6
    share = limits.KEPT_TOTAL // (count - 1)
    begun = wire.build(parse(DELIVERY.partition("C: QUIT")[0]), close="none")
    last = [s for s in begun if s.direction == "C"][-1]
    big = [
        Segment("C", (last.seq + len(last.payload) + at) & wire.MASK, last.ack, ACK, bytes(60_000), wire.START)
        for at in range(0, min(share, limits.KEPT_CONNECTION) - (1 << 17), 60_000)
    ]
    most = 0

    def frames() -> Iterable[tuple[float, bytes]]:
        nonlocal most
        for n in range(count):
            for each in wire.packets([*begun, *big], wire.Ends(client_port=40_000 + n)):
                most = max(most, source.held)
                yield each.time + n, link.LINKS["ethernet"].encode(each)

    source = Kept(open_source(frames()))
    for _ in smtpinspect.Engine(INSPECTORS).run(source):
        pass
    assert limits.KEPT_TOTAL * 3 // 4 < most <= limits.KEPT_TOTAL
    assert source.held < 1 << 16


def test_scans_are_no_connections_that_break(tmp_path: Path) -> None:
    syns = [
        wire.packet(Segment("C", 1000, 0, SYN, b"", wire.START), wire.Ends(client_port=port)) for port in range(1, 3000)
    ]
    _, written, source = kept(tmp_path, records_of(syns))
    assert source.connections == 0 and written.stat().st_size == 24
    assert source.held == 0
