"""Both programs of a captured dialogue, taken up where it stands: they go on saying what the capture says, as long as
the other side does, and behave as their mail servers do when it does not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import isinf
from typing import Final, Literal

from smtpinspect.mta.base import Cause, Ending, Loss, Receiver, Sender, Step
from smtpinspect.simulate.clock import SECOND, Clock, Timer
from smtpinspect.simulate.script import Reply, Script, Transaction
from smtpinspect.simulate.tcp import Endpoint, Error
from smtpinspect.simulate.turns import Turn, envelope_of, turns_of

_AWAITED: Final[Mapping[Step, str]] = {
    "connect": "the SYN", "greeting": "the connection (220)", "ehlo": "EHLO", "helo": "HELO", "starttls": "STARTTLS",
    "auth": "AUTH", "mail": "MAIL", "rcpt": "RCPT", "datacmd": "DATA", "body": "the text", "dot": "the dot",
    "rset": "a command", "quit": "QUIT",
}  # fmt: skip


class _Player:
    """What both have in common: a socket, a timer, an end."""

    def __init__(self, clock: Clock, script: Script, began: int) -> None:
        self.clock = clock
        self.script = script
        self.began = began
        self.over = False
        self.tell: Callable[[str], object] = lambda text: None
        self._timer: Timer | None = None
        self._socket: Endpoint | None = None

    def take(self, socket: Endpoint) -> None:
        self._socket = socket

    def connected(self) -> None:  # it was long before
        pass

    def _seconds(self) -> float:
        return (self.clock.now - self.began) / SECOND

    def _wait(self, seconds: float, since: int, act: Callable[[], object]) -> None:
        """No seconds: without a time-out of its own."""
        self._stop()
        if seconds and not isinf(seconds):
            self._timer = self.clock.at(since + round(seconds * SECOND), act)

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _close(self) -> None:
        if self._socket is not None:
            self._socket.close()


class ClientPlayer(_Player):
    """The client. `sent` and `got` are stream offsets: what it has sent, what has come from the server."""

    def __init__(
        self,
        clock: Clock,
        script: Script,
        sender: Sender,
        began: int,
        *,
        sent: int,
        got: int,
        since: int,
        mail: Transaction | None,
        connecting: float = 0.0,
        timeouts: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__(clock, script, began)
        self.sender = sender
        self.mail = mail
        self.times = sender.timeouts(timeouts)
        self.turns = turns_of(script)
        self.sent = sent
        self.got = got
        self.since = since
        self.ending: Ending | None = None
        self.unplayed = ""  # why the capture cannot tell how it would have gone on
        self._input = bytearray()
        self._withheld: set[int] = set()
        self._blocked = False
        self._connecting = connecting
        self._asked = self._first_asked()

    def start(self) -> None:
        """Go on; timers run since the last octet that was sent or came."""
        self._go_on()

    # --- called by the stack

    def readable(self) -> None:
        if self.over or self._writing():
            return  # while it writes a text, nobody reads
        self._read()

    def writable(self) -> None:
        if not self.over:
            self._go_on()

    def failed(self, error: Error) -> None:
        cause: Cause = "timeout" if error == "timeout" else "reset"
        self._end(cause, kernel=error == "timeout")

    # --- what it does

    def _first_asked(self) -> int:
        """The place of the turn whose reply is the next to come; -1: the greeting."""
        greeting = self.script.greeting
        if greeting is not None and greeting.end > self.got:
            return -1
        for place, turn in enumerate(self.turns):
            if turn.reply is None or turn.reply.end > self.got or turn.end > self.sent:
                return place
        return len(self.turns)

    def _next(self) -> Turn | None:
        """The turn that is being written, or will be."""
        return next((turn for turn in self.turns if turn.end > self.sent), None)

    def _writing(self) -> bool:
        turn = self._next()
        return turn is not None and turn.step == "dot" and turn.mail is not None and turn.at < self.sent

    def _go_on(self) -> None:
        self._write()
        if self.over:
            return
        if self._blocked:
            self._wait(self.times["body"], self.clock.now, lambda: self._end("timeout"))
            return
        if self._asked >= len(self.turns) and self._next() is None:
            self._end("closed")
            return
        self._wait(self.times[self._step()], self.since, lambda: self._end("timeout"))
        self._read()

    def _write(self) -> None:
        self._blocked = False
        socket = self._socket
        stream = self.script.streams[0]
        while socket is not None and (turn := self._next()) is not None and turn.needs <= self.got:
            block = self.sender.write_block if turn.step == "dot" and turn.mail is not None else turn.end
            octets = stream[self.sent : min(turn.end, self.sent + block)]
            if not octets:
                self._part("the capture does not hold what the client went on to send")
                return
            if self.sender.polls and not socket.out.writable:
                socket.want_room()
                self._blocked = True
                return
            taken = socket.write(octets)
            self.sent += taken
            self.since = self.clock.now
            if taken < len(octets):
                self._blocked = True
                return

    def _read(self) -> None:
        socket = self._socket
        if socket is None or self.over:
            return
        self._input += socket.read()
        while not self.over and (reply := self._taken()) is not None:
            self._answered(reply)
        if not self.over and socket.eof:
            self._end("closed")

    def _taken(self) -> bytes | None:
        """The next whole reply."""
        at = 0
        while (end := self._input.find(b"\n", at)) >= 0:
            line = bytes(self._input[at : end + 1])
            at = end + 1
            if line[3:4] != b"-" or not line[:3].isdigit():
                reply = bytes(self._input[:at])
                del self._input[:at]
                return reply
        return None

    def _answered(self, reply: bytes) -> None:
        text = "\n".join(line.decode("latin-1") for line in reply.splitlines())
        expected = self._expected()
        code = int(text[:3]) if text[:3].isdigit() else 0
        self.since = self.clock.now
        self.got += len(reply)
        self.tell(f"gets {text.splitlines()[-1] if text else 'an empty line'}")
        if expected is not None and expected.code is not None and expected.code // 100 == code // 100:
            if self._parts(reply, expected):
                self._part("the client would go on in another way than it did in the capture")
                return
            self.got = expected.end
            if self._step() in ("ehlo", "helo"):
                self._connecting = self._seconds()
            if self._final():
                self._end("sent" if code // 100 == 2 else "reply", text)
            if not self.over:
                self._asked = self._first_asked()
                self._go_on()
        elif code == 0:
            self._end("malformed", text)
        elif self._step() == "rset" and expected is not None:
            self.got = expected.end  # VRFY and the like: whatever the reply, the dialogue goes on
            self._asked = self._first_asked()
            self._go_on()
        elif self.sender.next_after(self._step(), text) in ("continue", "helo", "skip"):
            self._part("the capture does not show what the client does after this reply")
        else:
            self._end("reply", text)

    def _parts(self, reply: bytes, expected: Reply) -> bool:
        """Does the dialogue part from the capture here? Other keywords, or the server has not got the command."""
        turn = self.turns[self._asked] if 0 <= self._asked < len(self.turns) else None
        if turn is None or turn.step in ("rset", "quit"):
            return False
        return turn.at in self._withheld or (turn.step == "ehlo" and reply != expected.octets)

    def withhold(self, at: int) -> None:
        """The command at this offset is answered by a box; the server never gets it."""
        self._withheld.add(at)

    def _expected(self) -> Reply | None:
        if self._asked < 0:
            return self.script.greeting
        return self.turns[self._asked].reply if self._asked < len(self.turns) else None

    def _final(self) -> bool:
        """Is the reply that has come the one that decides the mail?"""
        if not 0 <= self._asked < len(self.turns):
            return False
        turn = self.turns[self._asked]
        return turn.step == "dot" and turn.mail is not None and turn.mail == self.mail

    def _step(self) -> Step:
        if self._asked < 0:
            return "greeting"
        if self._asked >= len(self.turns):
            return "quit"
        return self.turns[self._asked].step

    def _written(self) -> int | None:
        mail = self.mail
        if mail is None or mail.text_at is None or self.sent <= mail.text_at:
            return None
        return min(self.sent, mail.text_end or self.sent) - mail.text_at

    def _part(self, why: str) -> None:
        """Nobody knows how it goes on."""
        self.unplayed = why
        self.over = True
        self._stop()
        self.tell(f"{why}: what follows is not known")

    def _end(self, cause: Cause, reply: str = "", kernel: bool = False) -> None:
        if self.over:
            return
        self._stop()
        if self.ending is None:
            self.ending = self._ended(cause, reply, kernel)
            self.tell(_told(self.ending))
            if cause == "sent":
                return
        self.over = True
        self._close()

    def _ended(self, cause: Cause, reply: str, kernel: bool) -> Ending:
        step = self._step()
        turn = self.turns[self._asked] if 0 <= self._asked < len(self.turns) else None
        if self._blocked or (cause == "reset" and self._writing()):
            step = "body"
        return Ending(
            step=step,
            cause=cause,
            seconds=self._seconds(),
            envelope=envelope_of(self.script, self.mail),
            command=turn.command if turn is not None else "",
            pipelined=turn is not None and turn.grouped,
            reply=reply,
            written=self._written() if step in ("body", "dot") else None,
            kernel=kernel,
            starred=self.script.greeting is not None and self.sender.starred(self.script.greeting.text),
            enhanced="ENHANCEDSTATUSCODES" in (word.upper() for word in self.script.keywords),
            connecting=self._connecting or self._seconds(),
            started=self.began / SECOND,
        )


def _told(ending: Ending) -> str:
    """An end, for a timeline."""
    where = "while it sends the text" if ending.step == "body" else f"waiting for the reply to {_AWAITED[ending.step]}"
    if ending.cause == "timeout":
        who = "its kernel gives up" if ending.kernel else "it has waited long enough"
        return f"{who}, {where}: closes"
    if ending.cause in ("closed", "reset"):
        return f"the connection is {'closed' if ending.cause == 'closed' else 'reset'}, {where}"
    return {"sent": "the mail is accepted", "malformed": "that is no reply: gives up"}.get(ending.cause, "gives up")


class ServerPlayer(_Player):
    """The server. `got` and `sent` are stream offsets: what has come from the client, what it has sent."""

    def __init__(
        self,
        clock: Clock,
        script: Script,
        receiver: Receiver,
        began: int,
        *,
        sent: int,
        got: int,
        since: int,
        mail: Transaction | None,
        timeouts: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__(clock, script, began)
        self.receiver = receiver
        self.mail = mail
        self.timeouts = timeouts
        self.sent = sent
        self.got = got
        self.since = since
        self.loss: Loss | None = None
        self.accepted = False
        self.turns = turns_of(script)
        self._skipped: list[tuple[int, int]] = []

    def start(self) -> None:
        self._go_on(self.since)

    def skip(self, at: int, end: int) -> None:
        """These octets of the client never come: a box has answered that command itself."""
        if end > at:
            self._skipped.append((at, end))
            self.turns = [turn for turn in self.turns if turn.at != at]

    def readable(self) -> None:
        socket = self._socket
        if self.over or socket is None:
            return
        self._take(len(socket.read()))
        self._go_on(self.clock.now)
        if socket.eof and not self.over:
            self._lost("closed")

    def _take(self, n: int) -> None:
        """So many octets have come; what never comes is stepped over."""
        for at, end in self._skipped:
            if self.got <= at < self.got + n:
                n -= at - self.got
                self.got = end
        self.got += n

    def writable(self) -> None:
        pass

    def failed(self, error: Error) -> None:
        self._lost("timeout" if error == "timeout" else "reset")

    def _go_on(self, since: int) -> None:
        """Say what is due, then wait for the client."""
        socket = self._socket
        if socket is None:
            return
        for turn in self.turns:
            if turn.end > self.got:
                break
            reply = turn.reply
            if reply is not None and reply.end > self.sent:
                socket.write(reply.octets[max(0, self.sent - reply.at) :])
                self.sent = reply.end
                since = self.clock.now
            if turn.step == "dot" and turn.mail == self.mail and reply is not None and self._last(turn):
                self.accepted = (reply.code or 0) // 100 == 2
            if turn.step == "quit":
                self._lost("quit")
                return
        step = self._step()
        self._wait(self.receiver.read_timeout(step, self.timeouts), since, self._silent)

    def _last(self, turn: Turn) -> bool:
        """The end of the text? A chunk that is not the last one is answered, too."""
        return self.mail is not None and self.mail.text_end is not None and turn.end >= self.mail.text_end

    def _step(self) -> Step:
        """The last step that it has answered, or `body`, `dot` in a text."""
        last: Step = "connect" if self.script.greeting is None else "greeting"
        for turn in self.turns:
            if turn.at >= self.got:
                break
            if turn.end > self.got:
                return "body" if turn.step == "dot" else last
            last = turn.step
        if last == "datacmd":
            return "body"
        return last

    def _body(self) -> bytes:
        mail = self.mail
        if mail is None or mail.text_at is None or self.got <= mail.text_at:
            return b""
        return mail.text[: self.got - mail.text_at]

    def _came(self) -> int:
        """Octets of the text; a dot without its line end is one, too."""
        mail = self.mail
        if mail is None or mail.text_at is None or self.got <= mail.text_at:
            return 0
        if mail.text_end is not None and self.got >= mail.text_end:
            return len(mail.text)
        return self.got - mail.text_at

    def _silent(self) -> None:
        envelope = envelope_of(self.script, self.mail)
        self.tell("has heard nothing for long enough: closes")
        words = self.receiver.timeout_reply(self._step(), envelope)
        if words and self._socket is not None:
            self._socket.write(words.encode("latin-1").rstrip(b"\r\n") + b"\r\n")
        self._lost("timeout")

    def _lost(self, cause: Literal["timeout", "closed", "reset", "quit"]) -> None:
        if self.over:
            return
        self.over = True
        self._stop()
        body = self._body()
        hello = self.script.hello
        self.loss = Loss(
            step=self._step(),
            cause=cause,
            seconds=self._seconds(),
            envelope=envelope_of(self.script, self.mail),
            esmtp=hello is None or hello.verb != "HELO",
            octets=self._came(),
            header_done=b"\r\n\r\n" in body,
            accepted=self.accepted,
            started=self.began / SECOND,
        )
        self._close()
