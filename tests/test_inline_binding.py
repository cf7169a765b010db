"""The loop at the queue, with a stand-in for the kernel's binding: no root is wanted."""

from __future__ import annotations

import os
import sys
import types

import pytest

from smtpinspect.cli import main
from smtpinspect.enforce import craft, inline
from smtpinspect.enforce.firewall import PASSED, Fate
from smtpinspect.errors import UsageError

IP = craft.build(craft.Segment("192.0.2.1", "192.0.2.2", 4000, 25, 1, 2, craft.ACK, 9, b"", b"abc", 64, 0))
OTHER = craft.edited(IP, payload=b"xyz")


class Packet:
    def __init__(self, octets):
        self.octets, self.done, self.given = octets, "", None

    def get_payload(self):
        return self.octets

    def set_payload(self, octets):
        self.given = octets

    def accept(self):
        assert not self.done
        self.done = "accept"

    def drop(self):
        assert not self.done
        self.done = "drop"


class Queue:
    """What NetfilterQueue has; `packets` come with the next `run`."""

    def __init__(self):
        self.packets, self.bound = [], True
        self.read, self.write = os.pipe()

    def bind(self, number, callback, max_len, sock_len):
        self.number, self.callback, self.length = number, callback, max_len

    def get_fd(self):
        return self.read

    def run(self, block):
        assert not block
        os.read(self.read, 1)
        for packet in self.packets:
            self.callback(packet)

    def unbind(self):
        self.bound = False


@pytest.fixture
def queue(monkeypatch):
    made = Queue()
    module = types.ModuleType("netfilterqueue")
    module.NetfilterQueue = lambda: made
    monkeypatch.setitem(sys.modules, "netfilterqueue", module)
    monkeypatch.setattr(inline, "_fail_open", lambda fd, number: True)
    return made


class Box:
    def __init__(self, *fates):
        self.fates = list(fates)

    def take(self, ns, ip):
        assert ns > 1_700_000_000 * 10**9
        fate = self.fates.pop(0)
        if isinstance(fate, BaseException):
            raise fate
        return fate


def run(queue, fates, sent=None, **options):
    made = inline.Inline(Box(*fates), 5, **options)
    made._sockets.send = lambda octets: (sent if sent is not None else []).append(octets)
    queue.packets = [Packet(IP) for _ in fates]
    os.write(queue.write, b"x")
    made.run(lambda each: each.stop())
    made.close()
    assert not queue.bound
    return made


def test_each_fate_becomes_a_verdict(queue):
    sent = []
    more = Fate("drop", injected=(("client", OTHER), ("server", IP)), released=((IP, Fate("edit", OTHER)),))
    fates = [PASSED, Fate("pass", why="told"), Fate("edit", OTHER), Fate("drop"), Fate("hold"), more]
    told = []
    made = run(queue, fates, sent, told=told.append)
    assert [packet.done for packet in queue.packets] == ["accept", "accept", "accept", "drop", "drop", "drop"]
    assert queue.packets[2].given == OTHER and sent == [OTHER, OTHER, IP]
    assert told == fates[1:]  # a plain pass costs nothing more
    found = inline.described(made)
    assert {key: found[key] for key in ("packets", "passed", "edited", "dropped", "held", "injected", "released")} == {
        "packets": 6, "passed": 2, "edited": 1, "dropped": 2, "held": 1, "injected": 2, "released": 1,
    }  # fmt: skip


@pytest.mark.parametrize("fail, verdict", [("open", "accept"), ("closed", "drop")])
def test_an_error_inside_fails_as_it_was_chosen(queue, fail, verdict):
    made = run(queue, [RuntimeError("on purpose"), PASSED], fail=fail)
    assert [packet.done for packet in queue.packets] == [verdict, "accept"]
    assert made.counts.errors == 1 and "on purpose" in str(made.error)


def test_a_packet_that_cannot_be_sent_is_counted(queue):
    made = inline.Inline(Box(Fate("drop", injected=(("client", OTHER),))), 5)

    def fail(octets):
        raise OSError("no route")

    made._sockets.send = fail
    queue.packets = [Packet(IP)]
    os.write(queue.write, b"x")
    made.run(lambda each: each.stop())
    assert made.counts.unsent == 1


def test_what_the_teller_raises_ends_the_run(queue):
    def told(fate):
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        run(queue, [Fate("drop"), PASSED], told=told)
    assert queue.packets[0].done == "drop"


def test_without_the_binding_its_packages_are_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "netfilterqueue", None)
    with pytest.raises(UsageError, match=r"libnetfilter-queue-dev.* -m pip install NetfilterQueue"):
        inline.Inline(Box(), 5)


def test_a_queue_that_cannot_be_had_is_told(queue):
    def bind(*words, **more):
        raise OSError("Failed to create queue 5.")

    queue.bind = bind
    with pytest.raises(UsageError, match=r"queue 5 cannot be had.*root"):
        inline.Inline(Box(), 5)


def test_the_rules_are_printed(capsys):
    assert main(["inline", "--queue", "5", "--print-rules"]) == 0
    out = capsys.readouterr().out
    rule = "FORWARD -p tcp -m multiport --dports 25,587,465,2525 -m mark ! --mark 0x534d5450 -j NFQUEUE --queue-num 5"
    for program in ("iptables", "ip6tables"):
        assert f"{program} -t mangle -A {rule} --queue-bypass\n" in out
        assert f"{program} -t mangle -D {rule} --queue-bypass\n" in out
    assert "nft delete table inet smtpinspect\n" in out
    words = ["--fail", "closed", "--chain", "INPUT", "--chain", "OUTPUT", "--port", "2525", "--mark", "7"]
    main(["inline", "--queue", "6", "--print-rules", *words])
    out = capsys.readouterr().out
    assert "bypass" not in out and "FORWARD" not in out
    assert "iptables -t mangle -A OUTPUT -p tcp -m multiport --sports 2525 -m mark ! --mark 0x7 -j NFQUEUE" in out
    assert "meta mark != 0x7 tcp dport { 2525 } queue num 6'" in out


@pytest.mark.parametrize(
    "words, told",
    [
        ([], "one of -i INSPECTOR and --at"),
        (["-i", "sonicwall", "-i", "stormshield"], "takes one -i"),
        (["--at", "dot"], "belong together"),
        (["-i", "sonicwall", "--at", "dot", "--break", "rst"], "one of -i INSPECTOR and --at"),
        (["-i", "nonsense"], "nonsense"),
        (["-i", "sonicwall", "--format", "asa"], "log of mailguard"),
    ],
)
def test_wrong_usage(queue, capsys, words, told):
    assert main(["inline", "--queue", "5", *words]) == 2
    assert told in capsys.readouterr().err


def test_packets_leave_marked():
    if os.geteuid() != 0:
        pytest.skip("root is wanted for raw sockets")
    import socket

    sockets = inline._Sockets(7)
    v6 = craft.build(craft.Segment("::1", "::1", 4000, 25, 1, 2, craft.RST, 9, b"", b"", 64, 0))
    v4 = craft.build(craft.Segment("127.0.0.1", "127.0.0.1", 4000, 25, 1, 2, craft.RST, 9, b"", b"", 64, 0))
    for octets in (v4, v6):
        sockets.send(octets)
    marks = {each.getsockopt(socket.SOL_SOCKET, socket.SO_MARK) for each in sockets._open.values()}
    sockets.close()
    assert marks == {7}
