"""A client that sends a captured mail again, and a server that answers as the captured one did."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from smtpinspect.mta.base import Cause, Step
from smtpinspect.simulate.client import END_MARK, Client
from smtpinspect.simulate.clock import SECOND
from smtpinspect.simulate.script import Command, Reply, Script, Transaction
from smtpinspect.simulate.server import WORK, Server
from smtpinspect.simulate.spoken import shown

# The extension without which a parameter is not sent: RFC 1870, 6152, 3030, 6531, 3461, 4954.
NEEDS: Final = {
    "SIZE": "SIZE", "BODY": "8BITMIME", "SMTPUTF8": "SMTPUTF8", "RET": "DSN", "ENVID": "DSN", "NOTIFY": "DSN",
    "ORCPT": "DSN", "AUTH": "AUTH",
}  # fmt: skip
PIX_AGE: Final = 500  # smtp_pix_workaround_threshold_time (Postfix src/global/mail_params.h)
PIX_DELAY: Final = 10  # smtp_pix_workaround_delay_time
DELAYED: Final = "delay_dotcrlf"  # of smtp_pix_workarounds


class Wish(NamedTuple):
    """What the client does beside the mail itself, as it did in the capture; `require_...` as its administrator said.

    `auth`: the lines of its AUTH dialogue. `chunks`: it prefers BDAT. `parameters`: it uses DSN as the captured client
    did; else another MTA sends. `age`: of the mail, in seconds.
    """

    mail: Transaction | None
    tls: bool = False
    auth: tuple[Command, ...] = ()
    chunks: bool = False
    parameters: bool = True
    require_tls: bool = False
    require_auth: bool = False
    age: float = 0.0


class Again(Client):
    """One attempt with a captured mail. `encrypted`: it went into TLS, where nobody looks."""

    def __init__(self, wish: Wish, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self.wish = wish
        self.encrypted = False
        self._answers = list(wish.auth)
        self._through = False  # with AUTH
        self._chunks: list[bytes] = []  # of the text, not yet sent
        self._sent = 0  # octets of those before
        self._head = 0  # octets before this one: commands
        self._group: list[tuple[Step, str]] = []  # commands in one segment with it
        self._taken = ""  # the reply to the chunk before
        self._dot_waits = False

    # ---- before the transaction

    def _transaction(self) -> None:
        if (self.wish.tls or self.wish.require_tls) and not self.encrypted:
            if self.sender.starttls and "STARTTLS" in self.extensions:
                self._say([("starttls", "STARTTLS")])
                return
            if self.wish.require_tls:
                self._end("starttls", "lacking")
                return
            self._tell("is not offered STARTTLS: goes on in clear text")
        if (self.wish.auth or self.wish.require_auth) and not self._through:
            if self.wish.auth and "AUTH" in self.extensions:
                self._authenticate()
                return
            if self.wish.require_auth and "AUTH" not in self.extensions:
                self._end("auth", "lacking")
                return
            self._tell("goes on without AUTH")
        self._mail()

    def _replied(self, step: Step, command: str, reply: str) -> None:
        good = reply[:1] == "2"
        if step == "datacmd" and self._chunking and not self._refusal:
            if good:
                self._taken = reply
                self._next_chunk([])
            else:
                self._refuse("body", command, reply)
        elif step == "starttls" and good:
            self.encrypted = True
            self._tell("begins TLS: what follows is not seen")
            self._waiting = [("quit", "QUIT")]  # said in TLS, too
            self._end("dot", "sent", reply=_last(self.wish.mail) or "250 2.0.0 Ok")
            self._close()
        elif step == "starttls" and not self.wish.require_tls:
            self._tell("goes on in clear text")
            self.wish = self.wish._replace(tls=False)
            self._transaction()
        elif step == "starttls":
            self._refuse(step, command, reply)
        elif step == "auth" and reply[:3] == "334" and self._answers:
            self._authenticate()
        elif step == "auth" and good:
            self._through = True
            self._transaction()
        elif step == "auth" or (step == "ehlo" and not good and self.wish.require_tls and self.sender.tls_needs_ehlo):
            self._refuse(step, command, reply)
        else:
            super()._replied(step, command, reply)

    def _refuse(self, step: Step, command: str, reply: str) -> None:
        self._refusal = (step, command, reply)
        self._give_up()

    def _authenticate(self) -> None:
        said = self._answers.pop(0)
        self._tell(shown(said))
        self.endpoint.write(said.line.rstrip(b"\r\n") + b"\r\n")
        self._expect([("auth", f"{shown(said)} ...")])

    # ---- the transaction

    def _mail(self) -> None:
        sender, envelope, mail = self.sender, self.letter.envelope, self.wish.mail
        size = [f"SIZE={len(self.letter.text)}"] if sender.declares_size else []
        given = list(mail.mail.parameters) if mail is not None else []
        if not any(each.upper().startswith("SIZE=") for each in given):
            given = size + given
        self._commands = [("mail", self._with(sender.mail_command.format(envelope.sender), given))]
        for place, rcpt in enumerate(envelope.recipients):
            said = mail.rcpts[place].parameters if mail is not None and place < len(mail.rcpts) else ()
            self._commands.append(("rcpt", self._with(sender.rcpt_command.format(rcpt), said)))
        if not self._chunking:
            self._commands.append(("datacmd", "DATA"))
        self._next_command()

    def _with(self, command: str, parameters: tuple[str, ...] | list[str]) -> str:
        """The command with those of its parameters that the server's extensions allow."""
        offered = self.extensions
        needs = [(each, NEEDS.get(key := each.partition("=")[0].upper(), key)) for each in parameters]
        kept = [each for each, need in needs if need in offered and (need != "DSN" or self.wish.parameters)]
        return " ".join([command, *kept])

    @property
    def _chunking(self) -> bool:
        return self.wish.chunks and "CHUNKING" in self.extensions

    def _next_command(self) -> None:
        most = self.sender.chunk_most
        joins = bool(most) and self._chunking and "PIPELINING" in self.extensions
        if self._commands and not joins:
            super()._next_command()
            return
        # the text in chunks: without the dots of stuffing
        raw = self.letter.text.replace(b"\r\n..", b"\r\n.")
        head = raw.find(b"\r\n\r\n") + 4
        self._chunks = [raw[:head], raw[head:]] if most and len(raw) > most and 4 <= head < len(raw) else [raw]
        group, self._commands = self._commands, []
        self._grouped.update(step for step, _ in group)
        self._next_chunk(group)

    def _next_chunk(self, group: list[tuple[Step, str]]) -> None:
        """With these commands before it, in one go."""
        raw = self._chunks.pop(0)
        command = f"BDAT {len(raw)}{'' if self._chunks else ' LAST'}"
        for said in (*(each for _, each in group), command):
            self._tell(said)
        head = "".join(f"{each}\r\n" for each in (*(said for _, said in group), command)).encode("latin-1", "replace")
        self._sent = self.taken or 0
        self._group, self._head, self._chunked = group, len(head), True
        self._chunk = None if not group else "body" if self._chunks else "dot"
        self._text = memoryview(head + raw)
        self.step = "body"
        self._written = 0
        if not self._chunks and self.sender.pipelines_quit and "PIPELINING" in self.extensions:
            self._tail = b"QUIT\r\n"
        self._write()

    def _awaited(self) -> list[tuple[Step, str]]:
        """Of a chunk that is not the last one its reply, which is waited for like one to a command."""
        return [*self._group, *([("datacmd", "")] if self._chunks else super()._awaited())]

    @property
    def taken(self) -> int | None:
        """Without the commands before it."""
        return None if self._written is None else self._sent + max(self._written - self._head, 0)

    def _end(self, step: Step, cause: Cause, *, reply: str = "", command: str = "", kernel: bool = False) -> None:
        chunk = step == "datacmd" and self._head > 0
        reply = reply or (self._taken if cause == "reset" and step == "body" else "")
        super()._end("body" if chunk else step, cause, reply=reply, command=command, kernel=kernel)

    def _begin_text(self) -> None:
        if self._starred and self.wish.age > PIX_AGE and self.sender.starred("220 ***"):
            # so that the dot never shares a segment with the text before it
            self._dot_waits = True
            self._text = memoryview(self.letter.text)
        super()._begin_text()

    def _write(self) -> None:
        super()._write()
        if self._dot_waits and self._written == len(self._text) and not self._over:
            self._dot_waits = False
            self._tell(f"waits {PIX_DELAY} s before the dot ({DELAYED})")
            self._wait(0)
            self.clock.after(PIX_DELAY * SECOND, self._dot)

    def _dot(self) -> None:
        if self._over or self._written is None:
            return
        self.endpoint.write(END_MARK)
        self._written += len(END_MARK)
        self._wait(self.timeouts["dot"])


def _last(mail: Transaction | None) -> str:
    return mail.reply.text if mail is not None and mail.reply is not None else ""


class Mirror(Server):
    """Answers with the captured replies; with its own where the capture has none."""

    def __init__(self, script: Script, mail: Transaction | None, *args: Any, **more: Any) -> None:
        self.script = script
        self.mail = mail
        self._said = ""
        self._chunk = -1  # octets of a chunk to come
        self._last_chunk = False
        self._auth = [each.reply for each in script.commands if each.verb == "AUTH" or each.answer]
        self._in_auth = False
        self._replies = _replies(script, mail)
        super().__init__(*args, **more)

    def _command(self, line: str) -> None:
        self._said = line
        words = line.split()
        if self._in_auth:
            self._in_auth = False
            self._say_auth()
        elif words[:1] and words[0].upper() == "AUTH":
            self._say_auth()
        elif words[:1] and words[0].upper() == "BDAT" and words[1:2] and words[1].isdigit():
            self._chunk = int(words[1])
            self._last_chunk = len(words) > 2
            self.step = "body"
            if not self._chunk:
                self._chunk_done()
        else:
            super()._command(line)

    def _say_auth(self) -> None:
        self.step = "auth"
        reply = self._auth.pop(0) if self._auth else None
        text = _told(reply) or "504 5.5.4 Unrecognized authentication type"
        self._in_auth = text.startswith("334")
        self._write(text)

    def _read_text(self) -> bool:
        if self._chunk < 0:
            return super()._read_text()
        taken = self._held[: self._chunk]
        self._held = self._held[len(taken) :]
        self._chunk -= len(taken)
        self._body += len(taken)
        self._header_done = self._header_done or b"\r\n\r\n" in taken
        if not self._chunk:
            self._chunk_done()
        return True

    def _chunk_done(self) -> None:
        self._chunk = -1
        if self._last_chunk:
            self._working = True
            self.clock.after(WORK, self._queued)
        else:
            self._write("250 2.0.0 Ok: chunk")
            self.step = "rcpt"

    def _reply(self, step: Step) -> str:
        if step in self.overrides:
            return self.overrides[step]
        if step == "rcpt" and self.mail is not None:
            for each in self.mail.rcpts:
                if each.path and each.path.lower() in self._said.lower() and (told := _told(each.reply)):
                    return told
        return self._replies.get(step) or super()._reply(step)


def _told(reply: Reply | None) -> str:
    return reply.text if reply is not None and reply.code is not None else ""


def _replies(script: Script, mail: Transaction | None) -> dict[Step, str]:
    """The captured replies by step; "" where the capture has none that fits."""
    made: dict[Step, str] = {"greeting": _told(script.greeting)}
    for each in script.commands:
        told = _told(each.reply)
        if each.verb in ("EHLO", "HELO", "QUIT", "RSET", "STARTTLS") and told:
            step: Step = each.verb.lower()  # type: ignore[assignment]
            made[step] = told
    if "ehlo" not in made and "helo" in made:
        made["ehlo"] = made["helo"]  # nobody asked for its extensions
    if "helo" not in made and made.get("ehlo", "").startswith("250"):
        made["helo"] = "250 " + made["ehlo"].split("\n")[0][4:]
    if mail is not None:
        made["mail"] = _told(mail.mail.reply)
        # a server may tell of the chunk in a line before
        made["dot"] = _told(mail.reply).split("\n")[-1] if mail.chunks else _told(mail.reply)
        if mail.data is not None and mail.data.verb == "DATA":
            made["datacmd"] = _told(mail.data.reply)
    return made
