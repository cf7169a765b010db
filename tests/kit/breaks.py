"""Mails that broke, as look-alikes do it: at the receiver, on a narrow way, on one that loses much."""

from __future__ import annotations

from kit.broken import Connection, message

FULL = 1460  # octets of a full segment


def at_the_receiver() -> Connection:
    return Connection(ttl=64, client_ttl=57)


def told_that_it_was_too_many(*, twice: bool) -> Connection:
    """At the receiver: the client's text never comes, and with it the acknowledgement of the 354, which is sent again.
    The client says that it had it (D-SACK); what it says has a number behind the text."""
    made = at_the_receiver().envelope()
    at = made.sent["S"] - len(b"354 go on\r\n")
    made.packets.pop()  # its acknowledgement
    made.say("C", message(4000), arrives=False, seen=False).wait(0.2).again("S", at, 11, arrives=True)
    return made.emit("C", 0x10, twice=(at, at + 11) if twice else None).wait(20).close("S", answered=False)


def waited_for_text(*, at_receiver: bool, complete: bool = False) -> Connection:
    """The server waits for 300 s: for the rest of a text, or for its own filter; then nobody answers it."""
    made = at_the_receiver() if at_receiver else Connection()
    text = message(600)
    made.envelope().say("C", text if complete else text[:300], acked=True).wait(300)
    at = made.sent["S"]
    reply = b"250 2.0.0 Ok\r\n" if complete else b"421 4.4.2 Error: timeout exceeded\r\n"
    made.say("S", reply, arrives=False)
    for n in range(5):
        made.wait(0.4 * 2**n).again("S", at, len(reply))
    return made


def narrow() -> Connection:
    """A segment of 1,200 octets is lost, smaller ones pass."""
    made = Connection(mss=1200).envelope()
    at = made.sent["C"]
    made.say("C", message(4000)[:1200], arrives=False)
    for n in range(5):
        made.wait(0.4 * 2**n).again("C", at, 1200)
    return made.wait(2).close("C")


def often_lost() -> Connection:
    """Two commands come through at the third and the fourth try."""
    made = Connection().open().say("S", b"220 mx.example.net ESMTP\r\n", acked=True)
    for command, reply, tries in ((b"EHLO out.example.org\r\n", b"250 mx.example.net\r\n", 2),
                                  (b"MAIL FROM:<alice@example.org>\r\n", b"250 Ok\r\n", 3)):  # fmt: skip
        at = made.sent["C"]
        made.say("C", command, arrives=False)
        for n in range(tries):
            made.wait(0.3 * 2**n).again("C", at, len(command), arrives=n == tries - 1)
        made.ack("S").say("S", reply, acked=True)
    at = made.sent["C"]
    made.say("C", b"RCPT TO:<bob@example.net>\r\n", arrives=False)
    for n in range(4):
        made.wait(0.3 * 2**n).again("C", at, 27)
    return made


def closed_by_a_late_route() -> Connection:
    """The server's FIN comes by a way that is one hop longer."""
    return Connection().envelope().say("C", message(600), acked=True).emit("S", 0x11, ttl=56)


def came_in_pieces() -> Connection:
    """A full segment, lost twice, comes through in two halves; another one is still lost at the end."""
    made = Connection().envelope()
    at = made.sent["C"]
    made.say("C", message(4000)[: 2 * FULL], arrives=False).wait(0.4).again("C", at, FULL).wait(0.8)
    made.again("C", at, 700, arrives=True).ack("S").again("C", at + 700, FULL - 700, arrives=True).ack("S")
    for n in range(3):
        made.wait(0.4 * 2**n).again("C", at + FULL, FULL)
    return made.wait(2).close("C", answered=False)


def acknowledged_too_late() -> Connection:
    """The text is acknowledged with the FIN, when the client has given up."""
    made = Connection().envelope()
    at = made.sent["C"]
    text = message(1200)
    made.say("C", text, arrives=False)
    for n in range(8):
        made.wait(0.4 * 2**n).again("C", at, len(text), arrives=n == 7)
    return made.close("C")


def narrowed(begin: int) -> Connection:
    """The server's field is small: without the SYNs nobody knows of what it counts."""
    made = Connection().envelope()
    made.window["S"] = 502
    made.say("C", message(4000)[:FULL], acked=True).wait(20).ack("C").ack("S").wait(20).ack("C").ack("S").reset("C")
    del made.packets[:begin]
    return made
