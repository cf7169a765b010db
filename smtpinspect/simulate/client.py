"""An SMTP client that does what a `mta.Sender` tells: commands, time-outs, blocks of text, and how it ended."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final, NamedTuple

from smtpinspect.mta.base import Cause, Ending, Envelope, Sender, Step
from smtpinspect.simulate.clock import SECOND, Clock, Timer
from smtpinspect.simulate.tcp import Endpoint, Error

END_MARK: Final = b".\r\n"
LINE_MOST: Final = 4_096  # octets of a reply line; longer ones are no reply
CAUSES: Final[Mapping[Error, Cause]] = {"refused": "refused", "reset": "reset", "timeout": "timeout"}
Tell = Callable[[str], object]


class Letter(NamedTuple):
    """What is to be sent. `text` ends with CRLF, dots are stuffed; the end mark is not in it. `started`: when, in
    seconds since 1970."""

    envelope: Envelope
    text: bytes
    started: float = 1_767_225_600.0


class Client:
    """One attempt. `ending` is None until it is decided; `done` is called then, once."""

    def __init__(
        self,
        clock: Clock,
        endpoint: Endpoint,
        sender: Sender,
        letter: Letter,
        timeouts: Mapping[str, float] | None = None,
        tell: Tell = lambda event: None,
        done: Callable[[Ending], object] = lambda ending: None,
    ) -> None:
        self.clock = clock
        self.endpoint = endpoint
        self.sender = sender
        self.letter = letter
        self.timeouts = sender.timeouts(timeouts)
        self.ending: Ending | None = None
        self.step: Step = "connect"
        self.extensions: frozenset[str] = frozenset()
        self._tell = tell
        self._done = done
        self._begun = clock.now
        self._waiting: list[tuple[Step, str]] = []  # steps and commands that wait for a reply
        self._grouped: set[Step] = set()  # what went out in one go
        self._chunk: Step | None = None  # the end of what went out with them, where that is text
        self._chunked = False  # by BDAT
        self._text = memoryview(letter.text + END_MARK)
        self._written: int | None = None
        self._tail = b""  # what rides behind the end mark
        self._held = b""  # octets of an unfinished reply
        self._lines: list[str] = []
        self._out = 0  # recipients that were refused
        self._starred = False
        self._refused_ehlo = ""
        self._connecting = 0.0
        self._refusal: tuple[Step, str, str] | None = None  # what has decided, while more is read
        self._more: list[str] | None = None  # commands behind the refusal, when it is known that nothing else comes
        self._later = ""  # the first reply behind the refusal
        self._commands: list[tuple[Step, str]] = []
        self._timer: Timer | None = None
        self._over = False
        endpoint.program = self
        endpoint.nodelay = True

    def start(self) -> None:
        self._begun = self.clock.now
        fast = self.sender.fast_open
        self._tell("connects" + (" (TCP Fast Open: the failure of a SYN shows in the first read)" if fast else ""))
        self._wait(self.timeouts["greeting" if fast else "connect"])
        self.endpoint.connect(fast)

    # ---- what the stack tells

    def connected(self) -> None:
        if self.step == "connect":
            self._expect([("greeting", "")], again=not self.sender.fast_open)

    def readable(self) -> None:
        if self.step == "body" and not self._over:
            return  # nobody reads while the text is written
        self._held += self.endpoint.read()
        while not self._over:
            line, found, rest = self._held.partition(b"\n")
            if not found and len(line) <= LINE_MOST:
                break
            self._held = rest
            self._line(line.rstrip(b"\r").decode("latin-1"))
            if self.step == "body":
                return
        if self.endpoint.eof and not self._over:
            self._broken("closed")

    def writable(self) -> None:
        if self.step == "body" and not self._over:
            self._write()

    def failed(self, error: Error) -> None:
        if self.endpoint.inbox and self.step != "body":
            self.readable()
        if not self._over:
            self._broken(CAUSES[error], kernel=error == "timeout")

    # ---- replies

    def _line(self, line: str) -> None:
        if not self._waiting:
            return
        if not line[:3].isdigit() or len(line) < 3 or line[3:4] not in ("", " ", "-"):
            self._end(self._waiting[0][0], "malformed", reply=line, command=self._waiting[0][1])
            return
        self._lines.append(line)
        if line[3:4] == "-":
            return
        reply, self._lines = "\n".join(self._lines), []
        step, command = self._waiting.pop(0)
        self._stop()
        self._replied(step, command, reply)
        if self._waiting and not self._over and self.step != "body" and self._timer is None:
            self.step = self._waiting[0][0]
            self._wait(self.timeouts[self.step])

    def _replied(self, step: Step, command: str, reply: str) -> None:
        if self._refusal and not self._later:
            self._later = reply
        if step in ("rset", "quit"):
            self._afterwards()
            return
        if self._refusal:
            self._rest_of_group(step, reply)
            return
        after = self.sender.next_after(step, reply)
        if after == "skip":
            self._out += 1
            after = "continue" if self._out < len(self.letter.envelope.recipients) else "bounce"
        if after == "helo":
            self._refused_ehlo = reply
            self._greet("helo")
        elif after != "continue":
            self._refusal = (step, command, reply)
            if not self._waiting:
                self._give_up()
        elif step == "greeting":
            self._starred = self.sender.starred(reply)
            self._greet(self.sender.greets_with(reply))
        elif step in ("ehlo", "helo"):
            self._connecting = (self.clock.now - self._begun) / SECOND
            if step == "ehlo":
                self.extensions = frozenset(line[4:].partition(" ")[0].upper() for line in reply.split("\n")[1:])
            self._transaction()
        elif step == "datacmd":
            self._begin_text()
        elif step == "dot":
            self._end("dot", "sent", reply=reply)
        elif not self._waiting:
            self._next_command()

    def _rest_of_group(self, step: Step, reply: str) -> None:
        """A command of the group was refused; the replies to the others are read all the same."""
        if step == "datacmd" and reply.startswith("354"):
            self._tell("sends an empty text")
            self.endpoint.write(END_MARK)
            self._waiting.append(("dot", ""))
        if not self._waiting:
            self._give_up()

    def _afterwards(self) -> None:
        """A reply to RSET or QUIT."""
        if self._refusal:
            self._give_up()
        else:
            self._close()

    # ---- commands

    def _greet(self, step: Step) -> None:
        self._say([(step, f"{step.upper()} {self.letter.envelope.helo}")])

    def _transaction(self) -> None:
        sender, envelope = self.sender, self.letter.envelope
        mail = sender.mail_command.format(envelope.sender)
        if sender.declares_size and "SIZE" in self.extensions:
            mail += f" SIZE={len(self.letter.text)}"
        self._commands = [("mail", mail)]
        self._commands += [("rcpt", sender.rcpt_command.format(rcpt)) for rcpt in envelope.recipients]
        self._commands.append(("datacmd", "DATA"))
        self._next_command()

    def _next_command(self) -> None:
        """One command, or those that this MTA sends in one go where PIPELINING is offered."""
        group = [self._commands.pop(0)]
        if "PIPELINING" in self.extensions:
            together = self.sender.pipelines
            while self._commands and group[-1][0] in together and self._commands[0][0] in together:
                group.append(self._commands.pop(0))
        if len(group) > 1:
            self._grouped.update(step for step, _ in group)
        self._say(group)

    def _say(self, group: list[tuple[Step, str]]) -> None:
        for _, command in group:
            self._tell(command)
        self.endpoint.write("".join(f"{command}\r\n" for _, command in group).encode("latin-1", "replace"))
        self._expect(group)

    def _expect(self, group: Iterable[tuple[Step, str]], again: bool = True) -> None:
        self._waiting += group
        self.step = self._waiting[0][0]
        if again:
            self._wait(self.timeouts[self.step])

    # ---- the text

    def _begin_text(self) -> None:
        self.step = "body"
        self._written = 0
        if self.sender.pipelines_quit and "PIPELINING" in self.extensions:
            self._tail = b"QUIT\r\n"
        behind = f", and {self._tail.decode().strip()} behind it" if self._tail else ""
        self._tell(f"sends the text, {len(self._text):,} bytes with the final dot{behind}")
        self._write()

    def _write(self) -> None:
        """Blocks until the kernel takes no more. Who polls asks for room first, who blocks sleeps in write()."""
        assert self._written is not None
        before = self._written
        total = len(self._text)
        while self._written < total:
            if self.sender.polls and not self.endpoint.out.writable:
                self.endpoint.want_room()
                break
            block = bytes(self._text[self._written : self._written + self.sender.write_block])
            last = self._written + len(block) == total
            taken = self.endpoint.write(block + (self._tail if last else b""))
            if last and taken >= len(block):
                self._tail = self._tail[taken - len(block) :]
                taken = len(block)
            self._written += taken
            if taken < len(block):
                break
        if self._over:
            return
        if self._written < total:
            if self._written > before or self._timer is None:
                self._wait(self.timeouts["body"])
            return
        waiting = self._awaited()
        self._waiting = []
        self._expect(waiting)
        if self.endpoint.inbox or self.endpoint.eof:
            self.readable()

    def _awaited(self) -> list[tuple[Step, str]]:
        """What is waited for when the text is written."""
        if not (self.sender.pipelines_quit and "PIPELINING" in self.extensions):
            return [("dot", "")]
        if self.sender.half_closes:
            self.endpoint.shutdown()
        return [("dot", ""), ("quit", "QUIT")]

    @property
    def taken(self) -> int | None:
        """Octets of the text that the kernel had taken; None before the text."""
        return self._written

    # ---- ends

    def _give_up(self) -> None:
        """A refusal has decided; what this MTA still sends, then the end."""
        assert self._refusal
        step, command, reply = self._refusal
        if self._more is None:
            self._more = list(self.sender.after_refusal(step, reply))
        if self._more:
            word = self._more.pop(0)
            after: Step = "rset" if word.upper().startswith("RSET") else "quit"
            if after == "quit" and not self.sender.awaits_quit:
                self._tell(word)
                self.endpoint.write(f"{word}\r\n".encode())
            else:
                self._say([(after, word)])
                return
        self._end(step, "reply", reply=reply, command=command)

    def _broken(self, cause: Cause, kernel: bool = False) -> None:
        if self.ending is not None:
            self._close()
        elif self._refusal:
            step, command, reply = self._refusal
            self._end(step, "reply", reply=reply, command=command)
        else:
            command = self._waiting[0][1] if self._waiting else ""
            self._end(self.step, cause, command=command, kernel=kernel)

    def _timed_out(self) -> None:
        self._timer = None
        if not self._over:
            self._broken("timeout")

    def _end(self, step: Step, cause: Cause, *, reply: str = "", command: str = "", kernel: bool = False) -> None:
        self._stop()
        seconds = (self.clock.now - self._begun) / SECOND
        self.ending = Ending(
            step,
            cause,
            self.letter.envelope,
            seconds,
            command,
            step in self._grouped,
            reply,
            self._later,
            self.taken,
            kernel,
            self.sender.fast_open,
            self._starred,
            self._refused_ehlo,
            "ENHANCEDSTATUSCODES" in self.extensions,
            self._connecting or seconds,
            chunk=self._chunk,
            chunked=self._chunked,
            started=self.letter.started,
        )
        self._done(self.ending)
        if cause == "sent" and not any(step == "quit" for step, _ in self._waiting):
            if self.sender.awaits_quit:
                self._say([("quit", "QUIT")])
                return
            self._tell("QUIT")
            self.endpoint.write(b"QUIT\r\n")
        elif cause == "sent":
            return  # the reply to the QUIT that rode behind the end mark
        self._close()

    def _close(self) -> None:
        self._over = True
        self._stop()
        self.endpoint.close()

    def _wait(self, seconds: float) -> None:
        """0 seconds: without a time-out of its own."""
        self._stop()
        if seconds:
            self._timer = self.clock.after(int(seconds * SECOND), self._timed_out)

    def _stop(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None
