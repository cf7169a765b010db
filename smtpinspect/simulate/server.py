"""An SMTP server that does what a `mta.Receiver` tells: replies, time-outs, and how the session ended."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from math import isinf
from typing import Final

from smtpinspect.mta.base import Envelope, Loss, Receiver, Step
from smtpinspect.simulate.clock import MILLISECOND, SECOND, Clock, Timer
from smtpinspect.simulate.tcp import Endpoint, Error

END_MARK: Final = b"\r\n.\r\n"
VERBS: Final[Mapping[str, Step]] = {
    "EHLO": "ehlo", "HELO": "helo", "MAIL": "mail", "RCPT": "rcpt", "DATA": "datacmd", "RSET": "rset",
    "QUIT": "quit", "STARTTLS": "starttls", "AUTH": "auth",
}  # fmt: skip
WORK: Final = 2 * MILLISECOND  # from the end mark to its reply: the queue file goes to the disk


class Server:
    """One session. `overrides`: replies by step that are given instead of the receiver's own."""

    def __init__(
        self,
        clock: Clock,
        endpoint: Endpoint,
        receiver: Receiver,
        envelope: Envelope,
        *,
        extensions: Iterable[str] | None = None,
        overrides: Mapping[str, str] | None = None,
        timeouts: Mapping[str, float] | None = None,
        started: float = 0.0,
        tell: Callable[[str], object] = lambda event: None,
        done: Callable[[Loss], object] = lambda loss: None,
    ) -> None:
        self.clock = clock
        self.endpoint = endpoint
        self.receiver = receiver
        self.envelope = envelope
        self.extensions = tuple(receiver.extensions if extensions is None else extensions)
        self.overrides = dict(overrides or {})
        self.loss: Loss | None = None
        self.accepted = False
        self.step: Step = "connect"  # the last one answered; body: reading the text
        self._tell = tell
        self._done = done
        self._begun = clock.now
        self._esmtp = False
        self._held = b""
        self._text = bytearray()  # its last octets
        self._body = 0
        self._header_done = False
        self._alarm: Timer | None = None
        self._working = False  # the end mark was read, and its reply is not yet due
        self._failed = ""  # what the stack has told meanwhile
        self._started = started
        self._timeouts = timeouts
        endpoint.program = self
        endpoint.nodelay = True
        endpoint.listen()

    # ---- what the stack tells

    def connected(self) -> None:
        self._begun = self.clock.now
        self._say("greeting")

    def readable(self) -> None:
        self._held += self.endpoint.read()
        self._wait()
        while self._held and self.loss is None and not self._working:
            if self.step == "body":
                if not self._read_text():
                    break
            else:
                line, found, rest = self._held.partition(b"\n")
                if not found:
                    break
                self._held = rest
                self._command(line.rstrip(b"\r").decode("latin-1"))
        if self.endpoint.eof and self.loss is None and not self._working:
            self._end("closed")

    def writable(self) -> None:
        pass

    def failed(self, error: Error) -> None:
        self._failed = "timeout" if error == "timeout" else "reset"
        if not self._working:
            self._end(self._failed)

    # ---- commands and text

    def _command(self, line: str) -> None:
        step = VERBS.get(line[:8].partition(" ")[0].upper())
        if step is None:
            self._write(self.receiver.reply("other", self.envelope))
            return
        if step in ("ehlo", "helo") and self._code(step) == 2:
            self._esmtp = step == "ehlo"
        self._say(step)
        if step == "datacmd" and self._code(step) == 3:
            self.step = "body"
            self._text = bytearray(b"\r\n")
        elif step == "quit":
            self._end("quit")

    def _read_text(self) -> bool:
        """Octets of the text; False when all have been read and the end mark is not among them."""
        before = len(self._text)
        self._text += self._held
        at = self._text.find(END_MARK, max(0, before - len(END_MARK)))
        if not self._header_done:
            self._header_done = b"\r\n\r\n" in self._text
        if at < 0:
            self._body += len(self._held)
            self._held = b""
            del self._text[: -len(END_MARK) + 1]
            return False
        end = at + len(END_MARK) - before
        self._body += max(at + 2 - before, 0)
        self._held = self._held[end:]
        self._text.clear()
        self._working = True
        self.clock.after(WORK, self._queued)
        return True

    def _queued(self) -> None:
        """The text has been taken. An RST that came meanwhile has not undone it (measured: Linux hands out what had
        arrived before it); who looks for the client's end finds it all the same."""
        self._working = False
        self.step = "dot"
        gone = (self.endpoint.eof and not self._held) or bool(self._failed)
        if gone and not self.receiver.keeps("closed"):
            self._end(self._failed or "closed")
            return
        self.accepted = self._code("dot") == 2
        if self._failed:
            self._end(self._failed)
            return
        self._say("dot")
        self.readable()

    def _code(self, step: Step) -> int:
        return int(self._reply(step)[:1] or 0)

    def _reply(self, step: Step) -> str:
        if step in self.overrides:
            return self.overrides[step]
        if step not in self.receiver.replies:
            return self.receiver.reply("other", self.envelope)
        reply = self.receiver.reply(step, self.envelope)
        if step == "ehlo" and reply.startswith("250"):
            lines = [reply.split("\n")[0][4:], *self.extensions]
            reply = "\n".join(f"250{'-' if i < len(lines) - 1 else ' '}{line}" for i, line in enumerate(lines))
        return reply

    def _say(self, step: Step) -> None:
        self.step = step
        self._write(self._reply(step))

    def _write(self, reply: str) -> None:
        self._tell(reply.split("\n")[-1])
        self.endpoint.write("".join(f"{line}\r\n" for line in reply.split("\n")).encode("latin-1", "replace"))
        self._wait()

    # ---- ends

    def _wait(self) -> None:
        if self._alarm:
            self._alarm.cancel()
        if self.loss is None:
            seconds = self.receiver.read_timeout(self.step, self._timeouts)
            if not isinf(seconds):
                self._alarm = self.clock.after(int(seconds * SECOND), self._timed_out)

    def _timed_out(self) -> None:
        if self.loss is not None:
            return
        reply = self.receiver.timeout_reply(self.step, self.envelope)
        if reply:
            self._write(reply)
        self._end("timeout")

    def _end(self, cause: str) -> None:
        if self.loss is not None:
            return
        self.loss = Loss(
            self.step,
            cause,  # type: ignore[arg-type]
            self.envelope,
            (self.clock.now - self._begun) / SECOND,
            self._esmtp,
            self._body,
            self._header_done,
            self.accepted,
            started=self._started,
        )
        if self._alarm:
            self._alarm.cancel()
        self._done(self.loss)
        self.endpoint.close()
