"""A modelled TCP end does what Linux does: when it sends again, when it gives up, how much a writer may leave."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import pytest

import smtpinspect
from smtpinspect.enforce.craft import Segment, build, parse, sound
from smtpinspect.enforce.firewall import Fate
from smtpinspect.simulate.clock import SECOND, Clock
from smtpinspect.simulate.sockets import Error, Event, Flow
from smtpinspect.simulate.stack import LINUX, Stack, read_options
from smtpinspect.simulate.tcp import Endpoint
from smtpinspect.simulate.wire import Wire

FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16
CLIENT, SERVER = ("198.51.100.25", 40_112), ("192.0.2.25", 25)


class Program:
    """Writes what it has, in blocks; keeps what it reads. `polls`: asks for room before it writes."""

    def __init__(self, end: Endpoint, to_write: bytes = b"", block: int = 8_192, polls: bool = False) -> None:
        self.end = end
        self.left = to_write
        self.block = block
        self.polls = polls
        self.read = bytearray()
        self.written = 0
        self.errors: list[tuple[float, Error]] = []
        end.program = self

    def connected(self) -> None:
        self.writable()

    def writable(self) -> None:
        while self.left:
            if self.polls and not self.end.out.writable:
                self.end.want_room()
                return
            block = self.left[: self.block]
            taken = self.end.write(block)
            self.written += taken
            self.left = self.left[taken:]
            if taken < len(block):
                return

    def readable(self) -> None:
        self.read += self.end.read()

    def failed(self, error: Error) -> None:
        self.errors.append((self.end.clock.now / SECOND, error))


class Box:
    """Passes everything until `breaks` says of a segment that it does not; then it drops, and sends `made` first."""

    def __init__(
        self, breaks: Callable[[Segment], bool], made: Callable[[Segment], list[tuple[str, bytes]]] = lambda _: []
    ) -> None:
        self.breaks = breaks
        self.made = made
        self.broken = False

    def take(self, ns: int, ip: bytes) -> Fate:
        segment = parse(ip)
        assert segment is not None
        assert sound(ip)
        if self.broken:
            return Fate("drop")
        if not self.breaks(segment):
            return Fate("pass")
        self.broken = True
        return Fate("drop", injected=tuple(self.made(segment)))  # type: ignore[arg-type]


class Line(NamedTuple):
    clock: Clock
    wire: Wire
    client: Program
    server: Program
    again: list[tuple[float, Event]]  # of the client

    def run(self, seconds: float) -> None:
        self.clock.run(until=int(seconds * SECOND))

    def sent(self, side: str = "client") -> list[tuple[float, Segment]]:
        """What a side has put on the wire."""
        tap, here = (self.wire.client_tap, CLIENT) if side == "client" else (self.wire.server_tap, SERVER)
        parsed = [(ns / SECOND, parse(ip)) for ns, ip in tap.packets]
        return [(t, segment) for t, segment in parsed if segment and segment.src == here[0]]


def line(
    to_write: bytes = b"", box: object = None, stack: Stack = LINUX, block: int = 8_192, polls: bool = False
) -> Line:
    clock = Clock()
    wire = Wire(clock, box)  # type: ignore[arg-type]
    again: list[tuple[float, Event]] = []
    near = Endpoint(clock, CLIENT, SERVER, wire.from_client, stack, 1_000)
    near.observe = lambda event, *_: again.append((clock.now / SECOND, event))
    far = Endpoint(clock, SERVER, CLIENT, wire.from_server, stack, 9_000)
    wire.attach("client", near.receive)
    wire.attach("server", far.receive)
    made = Line(clock, wire, Program(near, to_write, block, polls), Program(far), again)
    far.listen()
    near.nodelay = True
    near.connect()
    return made


def octets_of_client(n: int) -> Callable[[Segment], bool]:
    """Breaks at the segment that holds the client's octet number n."""
    total = 0

    def breaks(segment: Segment) -> bool:
        nonlocal total
        total += len(segment.payload) if segment.dport == 25 else 0
        return total > n

    return breaks


def told(flags: int) -> Callable[[Segment], list[tuple[str, bytes]]]:
    """An RST or FIN to the client, which acknowledges the segment that was taken away."""

    def made(segment: Segment) -> list[tuple[str, bytes]]:
        ack = (segment.seq + len(segment.payload) + bool(segment.flags & SYN)) % 2**32
        seq = 0 if segment.flags & SYN else segment.ack
        packet = build(Segment(SERVER[0], CLIENT[0], 25, CLIENT[1], seq, ack, flags, 500, b"", b"", 64, 0))
        return [("client", packet)]

    return made


def never(segment: Segment) -> bool:
    return False


# ---- what arrives


def test_a_megabyte_arrives() -> None:
    text = bytes(range(256)) * 4_096
    it = line(text)
    it.run(10)
    assert it.server.read == text
    assert it.again == []


def test_the_handshake_agrees_on_what_both_offer() -> None:
    it = line(b"x")
    it.run(1)
    syn, ack, *_ = (segment for _, segment in it.sent())
    offered = read_options(syn.options)
    assert (offered.mss, offered.scale, offered.sack_permitted) == (1460, 7, True)
    assert read_options(ack.options).timestamp is not None


def test_without_timestamps_a_segment_holds_12_octets_more() -> None:
    it = line(b"x" * 5_000, stack=Stack(timestamps=False))
    it.run(1)
    assert max(len(segment.payload) for _, segment in it.sent()) == 1460


@pytest.mark.parametrize("lost", [0, 3, 7])
def test_one_lost_segment_is_made_good(lost: int) -> None:
    class Once:
        seen = 0

        def take(self, ns: int, ip: bytes) -> Fate:
            segment = parse(ip)
            assert segment
            if segment.dport == 25 and segment.payload:
                self.seen += 1
                if self.seen == lost + 1:
                    return Fate("drop")
            return Fate("pass")

    text = bytes(range(256)) * 200
    it = line(text, Once())
    it.run(10)
    assert it.server.read == text
    assert it.again != []


# ---- when it is sent again


def test_a_dead_path_is_asked_at_0_2_0_4_0_8() -> None:
    it = line(b"MAIL FROM:<a@example.org>\r\n", Box(octets_of_client(0)))
    it.run(30)
    first = next(t for t, segment in it.sent() if segment.payload)
    assert [event for _, event in it.again] == ["probe", *["again"] * 7]
    gaps = [t - first for t, _ in it.again]
    assert gaps == pytest.approx([0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6], rel=0.02)


def test_without_sack_there_is_no_probe() -> None:
    it = line(b"DATA\r\n", Box(octets_of_client(0)), Stack(sack=False))
    it.run(30)
    assert {event for _, event in it.again} == {"again"}
    assert [round(t, 1) for t, _ in it.again][:4] == [0.2, 0.6, 1.4, 3.0]


def test_the_time_between_two_tries_ends_at_two_minutes() -> None:
    it = line(b"DATA\r\n", Box(octets_of_client(0)))
    it.run(2_000)
    times = [t for t, event in it.again if event == "again"]
    assert max(b - a for a, b in pairwise(times)) == pytest.approx(120)


def test_the_kernel_gives_up_behind_924_6_seconds() -> None:
    it = line(b"DATA\r\n", Box(octets_of_client(0)))
    it.run(2_000)
    ((when, error),) = it.client.errors
    assert error == "timeout"
    assert 924.6 < when < 960
    assert Stack().death(15) == 924.6 * SECOND


def test_nothing_in_flight_nothing_ends() -> None:
    it = line(b"", Box(lambda segment: segment.dport == 25 and bool(segment.payload)))
    it.run(5_000)
    assert it.client.errors == []


def test_syns_go_out_as_since_linux_6_5() -> None:
    it = line(b"", Box(lambda segment: bool(segment.flags & SYN)))
    it.run(200)
    assert [t for t, _ in it.sent()] == [0, 1, 2, 3, 4, 5, 7, 11, 19, 35, 67]
    assert it.client.errors == [(131, "timeout")]


def test_a_half_open_server_forgets_after_63_seconds() -> None:
    it = line(b"", Box(lambda segment: segment.flags & (SYN | ACK) == SYN | ACK))
    it.run(200)
    assert len(it.sent("server")) == 6
    assert it.server.errors == [(pytest.approx(63, abs=0.01), "timeout")]


def test_a_closed_socket_goes_on_sending_for_100_seconds() -> None:
    it = line(b"QUIT\r\n", Box(octets_of_client(0)))
    it.run(5)
    it.client.end.close()
    it.run(2_000)
    last, event = it.again[-1]
    assert event == "given-up"
    assert 100 < last < 210  # the first time-out behind 102.2 s
    assert it.client.errors == []  # nobody is left to be told


# ---- how it ends


def test_an_rst_to_a_syn_is_a_refusal() -> None:
    it = line(b"", Box(lambda segment: bool(segment.flags & SYN), told(RST | ACK)))
    it.run(1)
    assert [error for _, error in it.client.errors] == ["refused"]


def test_nobody_believes_a_fin_to_a_syn() -> None:
    it = line(b"", Box(lambda segment: bool(segment.flags & SYN), told(FIN | ACK)))
    it.run(200)
    assert it.client.errors == [(131, "timeout")]


def test_an_rst_ends_it_at_once() -> None:
    it = line(b"x" * 3_000_000, Box(octets_of_client(20_000), told(RST | ACK)))
    it.run(1)
    ((when, error),) = it.client.errors
    assert error == "reset"
    assert when < 0.1
    assert it.client.end.write(b"more") == 0


def test_an_rst_with_another_number_is_challenged() -> None:
    def wrong(segment: Segment) -> list[tuple[str, bytes]]:
        made = Segment(SERVER[0], CLIENT[0], 25, CLIENT[1], segment.ack + 100, 0, RST, 0, b"", b"", 64, 0)
        return [("client", build(made))]

    it = line(b"x" * 100, Box(octets_of_client(0), wrong))
    it.run(0.1)
    assert it.client.errors == []
    assert it.sent()[-1][1].payload == b""  # the challenge


def test_a_fin_amid_a_body_leaves_the_writer_writing_until_it_blocks() -> None:
    it = line(b"x" * 3_000_000, Box(octets_of_client(20_000), told(FIN | ACK)))
    it.run(300)
    assert it.client.end.eof
    assert it.client.errors == []
    assert 60_000 < it.client.written < 3_000_000


def test_octets_that_came_before_an_rst_can_be_read() -> None:
    it = line(b"hello")
    it.run(1)
    it.server.read.clear()
    it.server.end.program = None
    it.client.end.write(b"end mark")
    it.run(2)
    it.client.end.abort()
    it.run(3)
    assert it.server.end.error == "reset"
    assert it.server.end.inbox == b"end mark"


def test_who_closes_with_octets_unread_sends_an_rst() -> None:
    it = line(b"hello")
    it.server.end.program = None
    it.run(1)
    it.server.end.close()
    it.run(2)
    assert [error for _, error in it.client.errors] == ["reset"]


def test_both_sides_close_in_peace() -> None:
    it = line(b"QUIT\r\n")
    it.run(1)
    it.client.end.close()
    it.run(2)
    assert it.server.end.eof
    it.server.end.close()
    it.run(3)
    assert it.client.end.state == "time-wait"
    assert it.server.end.state == "closed"


# ---- how much a writer may leave with the kernel (measured: Linux 6.18, veth without offloads)


def test_a_sleeping_writer_leaves_78_kilobytes_behind_a_lost_first_segment() -> None:
    it = line(b"x" * 3_000_000, Box(octets_of_client(0)), block=8_192)
    it.run(100)
    assert it.client.written == 77_696  # to the octet


def test_who_polls_is_stopped_at_two_thirds() -> None:
    it = line(b"x" * 3_000_000, Box(octets_of_client(0)), block=4_096, polls=True)
    it.run(100)
    assert 40_960 <= it.client.written <= 49_152  # as runs gave


@pytest.mark.parametrize("size", [2_000, 20_000, 70_000])
def test_a_small_body_is_taken_whole(size: int) -> None:
    it = line(b"x" * size, Box(octets_of_client(0)))
    it.run(100)
    assert it.client.written == size


def test_the_buffer_grows_with_the_window() -> None:
    written = []
    for n in (0, 20_000, 100_000, 1_000_000):
        it = line(b"x" * 6_000_000, Box(octets_of_client(n)))
        it.run(100)
        written.append(it.client.written - n)
    assert written == sorted(written)
    assert written[-1] <= 4_194_304 + 1_000_000


# ---- a connection that had begun elsewhere


def test_an_end_goes_on_where_a_capture_left_it() -> None:
    clock = Clock(100 * SECOND)
    wire = Wire(clock)
    end = Endpoint(clock, CLIENT, SERVER, wire.from_client)
    wire.attach("client", end.receive)
    una = 2**32 - 3
    flow = Flow(una, 777, ((una, b"DATA\r\n", 100 * SECOND - SECOND // 10),), clock=(100 * SECOND, 5_000), recent=42)
    end.adopt(flow)
    clock.run(until=101 * SECOND)
    again = [parse(ip) for _, ip in wire.client_tap.packets]
    assert [segment and (segment.seq, segment.ack, segment.payload) for segment in again] == [
        (una, 777, b"DATA\r\n")
    ] * len(again)
    assert wire.client_tap.packets[0][0] == pytest.approx(100.1 * SECOND, abs=SECOND // 100)
    assert again[0] and read_options(again[0].options).timestamp == (5_101, 42)


# ---- what a tap writes


def test_a_tap_is_a_capture(tmp_path: Path) -> None:
    it = line(b"EHLO a\r\n")
    it.server.left = b"220 b ESMTP\r\n"
    it.run(1)
    it.client.end.close()
    it.run(2)
    it.wire.client_tap.write(tmp_path / "client.pcap")
    result = smtpinspect.replay(tmp_path / "client.pcap")
    assert len(result.flows) == 1
    assert not result.flows[0].confidence
