"""A message as the packets that would carry it: an SMTP dialogue in which nothing but the text can fire a rule."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from smtpinspect.enforce.craft import ACK, FIN, PSH, SYN, Segment, build, edited

IP_LINK: Final = 101  # LINKTYPE_RAW: IP packets without a link header
SEGMENT: Final = 32_768  # octets: borders of segments decide no rule on content
SERVER: Final = "198.51.100.25"
# 198.18.0.0/15 is for tests of network devices (RFC 2544): a client for each message.
_CLIENTS: Final = 198 << 24 | 18 << 16 | 1
_PORTS: Final = 60_000
END: Final = b"\r\n.\r\n"

_GREETING: Final = b"220 mx.example.net ESMTP\r\n"
_EHLO: Final = b"250-mx.example.net\r\n250-8BITMIME\r\n250 SMTPUTF8\r\n"


def client_of(index: int) -> tuple[str, int]:
    """Address and port from which message `index` is sent."""
    number = _CLIENTS + index // _PORTS % 0x1FFFE
    return ".".join(str(number >> shift & 255) for shift in (24, 16, 8, 0)), 1_024 + index % _PORTS


def index_of(client: str) -> int:
    """The message that is sent from this end (`ADDRESS:PORT`)."""
    address, _, port = client.rpartition(":")
    number = 0
    for part in address.split("."):
        number = number << 8 | int(part)
    return (number - _CLIENTS) * _PORTS + int(port) - 1_024


def commands(utf8: bool) -> tuple[tuple[bytes, bytes], ...]:
    """What is said before the text, each with its reply."""
    sender = b"MAIL FROM:<sender@example.org> BODY=8BITMIME" + (b" SMTPUTF8" if utf8 else b"")
    return (
        (b"EHLO mail.example.org\r\n", _EHLO),
        (sender + b"\r\n", b"250 2.1.0 Ok\r\n"),
        (b"RCPT TO:<recipient@example.net>\r\n", b"250 2.1.5 Ok\r\n"),
        (b"DATA\r\n", b"354 End data with <CR><LF>.<CR><LF>\r\n"),
    )


def begin_of_text(utf8: bool) -> int:
    """Offset of the text's first octet in the client's stream."""
    return sum(len(command) for command, _ in commands(utf8))


def packets(index: int, text: Iterable[bytes], port: int, utf8: bool) -> Iterator[bytes]:
    """The IP packets of one connection that carries this text (its end mark is made here)."""
    talk = _Talk(index, port)
    yield talk.client(b"", SYN)
    yield talk.server(b"", SYN | ACK)
    yield talk.client(b"")
    yield talk.server(_GREETING)
    for command, reply in commands(utf8):
        yield talk.client(command)
        yield talk.server(reply)
    held = bytearray()
    for piece in text:
        held += piece
        # The end mark goes with the octets before it, in one segment.
        while len(held) > SEGMENT + len(END):
            yield talk.client(bytes(held[:SEGMENT]))
            del held[:SEGMENT]
    end = END[2:] if not held or held.endswith(b"\r\n") else END
    yield talk.client(bytes(held) + end)
    yield talk.server(b"250 2.0.0 Ok\r\n")
    yield talk.client(b"QUIT\r\n")
    yield talk.server(b"221 2.0.0 Bye\r\n", FIN | ACK)
    yield talk.client(b"", FIN | ACK)
    yield talk.server(b"")


class _Talk:
    """Both ends' sequence numbers; a packet of each is made once and changed then."""

    def __init__(self, index: int, port: int) -> None:
        client = client_of(index)
        self.models = (_model(*client, SERVER, port), _model(SERVER, port, *client))
        self.numbers = [1_000, 5_000]

    def client(self, payload: bytes, flags: int = ACK) -> bytes:
        return self._segment(0, payload, flags)

    def server(self, payload: bytes, flags: int = ACK) -> bytes:
        return self._segment(1, payload, flags)

    def _segment(self, side: int, payload: bytes, flags: int) -> bytes:
        seq, ack = self.numbers[side], self.numbers[1 - side] if flags & ACK else 0
        self.numbers[side] += len(payload) + bool(flags & (SYN | FIN))
        flags |= PSH if payload else 0
        return edited(self.models[side], payload=payload, seq=seq, ack=ack, flags=flags)


def _model(src: str, sport: int, dst: str, dport: int) -> bytes:
    return build(Segment(src, dst, sport, dport, 0, 0, ACK, 65_535, b"", b"", 64, 0))
